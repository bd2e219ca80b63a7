//! Numbered packets: an Ethernet frame whose payload begins with a number.

/// Ether type of numbered packets: `IEEE Std 802 - Local Experimental Ethertype 1`.
pub const ETHERTYPE: u16 = 0x88b5;
/// Length of destination, source and type.
const HEADER: usize = 14;

/// Place of the mark: behind the number.
const MARK: usize = HEADER + 8;

/// Whether a numbered packet is marked: a release that is made to die of marked packets dies of it.
pub fn is_marked(frame: &[u8]) -> bool {
    number(frame).is_some() && frame.get(MARK) == Some(&1)
}

/// Number that a frame bears; `None` for all other frames.
pub fn number(frame: &[u8]) -> Option<u64> {
    let kind = frame.get(HEADER - 2..HEADER)?;
    let payload = frame.get(HEADER..HEADER + 8)?;
    (kind == ETHERTYPE.to_be_bytes()).then(|| payload.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
}
