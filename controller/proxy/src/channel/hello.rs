//! Negotiation of the OpenFlow version of a channel (OpenFlow 1.3.5, section 6.3.1).

use bytes::{BufMut, Bytes, BytesMut};
use morph_openflow::{v10, v13};

/// Hello element type `OFPHET_VERSIONBITMAP`.
const VERSION_BITMAP: u16 = 1;
/// Bitmap of the wire versions that Morpheus speaks.
pub(super) const OURS: u32 = 1 << v13::VERSION | 1 << v10::VERSION;
/// Message type `OFPT_ERROR`; `OFPET_HELLO_FAILED` and `OFPHFC_INCOMPATIBLE` are both 0.
const ERROR: u8 = 1;

/// Failed negotiation: there is no common version.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Incompatible {
    /// Explanation for the log and the switch.
    pub(super) text: String,
    /// Wire version of the error message.
    version: u8,
}

/// Chooses the highest common version from the peer's hello.
pub(super) fn negotiate(hello: &[u8]) -> Result<u8, Incompatible> {
    let theirs = hello.first().copied().unwrap_or_default();
    let version = theirs.min(v13::VERSION);
    if let Some(bitmap) = bitmap(hello) {
        for ours in [v13::VERSION, v10::VERSION] {
            if bitmap & 1 << ours != 0 {
                return Ok(ours);
            }
        }
        let spoken: Vec<&str> = (1..=6).filter(|v| bitmap & 1 << v != 0).map(name).collect();
        return Err(incompatible(&spoken.join(", "), version));
    }
    if OURS & 1 << version != 0 {
        return Ok(version);
    }
    Err(incompatible(name(theirs), version))
}

fn incompatible(spoken: &str, version: u8) -> Incompatible {
    Incompatible {
        text: format!(
            "speaks OpenFlow {spoken} only, and Morpheus 1.3 and 1.0: set protocols=OpenFlow13 on the bridge"
        ),
        version,
    }
}

/// Builds the error message for the switch.
pub(super) fn refusal(incompatible: &Incompatible, xid: u32) -> Bytes {
    let text = incompatible.text.as_bytes();
    let mut message = BytesMut::with_capacity(12 + text.len());
    message.put_u8(incompatible.version);
    message.put_u8(ERROR);
    message.put_u16(12 + text.len() as u16);
    message.put_u32(xid);
    message.put_u32(0);
    message.put_slice(text);
    message.freeze()
}

/// Returns the first word of the version bitmap, if the hello has one.
fn bitmap(hello: &[u8]) -> Option<u32> {
    let mut elements = hello.get(8..)?;
    while let Some(&[t1, t0, l1, l0]) = elements.get(..4) {
        let length = usize::from(u16::from_be_bytes([l1, l0]));
        if u16::from_be_bytes([t1, t0]) == VERSION_BITMAP {
            let word: [u8; 4] = elements.get(4..8.min(length.max(4)))?.try_into().ok()?;
            return Some(u32::from_be_bytes(word));
        }
        // Elements are padded to 8 bytes.
        elements = elements.get(length.max(4).next_multiple_of(8)..)?;
    }
    None
}

fn name(version: u8) -> &'static str {
    match version {
        1 => "1.0",
        2 => "1.1",
        3 => "1.2",
        4 => "1.3",
        5 => "1.4",
        6 => "1.5",
        _ => "of an unknown version",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds a hello with this header version and bitmap.
    fn hello(version: u8, bitmap: Option<u32>) -> Vec<u8> {
        let mut bytes = vec![version, 0, 0, 8, 0, 0, 0, 1];
        if let Some(bitmap) = bitmap {
            bytes[3] = 16;
            bytes.extend([0, 1, 0, 8]);
            bytes.extend(bitmap.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn the_highest_common_version_is_chosen_or_the_lack_explained() {
        for (hello, result) in [
            (hello(4, Some(1 << 4)), Ok(4)),
            // Default of Open vSwitch: 1.0 to 1.5, no bitmap.
            (hello(6, None), Ok(4)),
            (hello(6, Some(0b0111_1110)), Ok(4)),
            (hello(4, None), Ok(4)),
            (hello(1, None), Ok(1)),
            (hello(1, Some(1 << 1)), Ok(1)),
            (hello(4, Some(0b0001_0010)), Ok(4)),
            (hello(2, None), Err("OpenFlow 1.1 only")),
            (hello(0, None), Err("of an unknown version only")),
            (hello(3, None), Err("OpenFlow 1.2 only")),
            (hello(5, Some(0b0010_0010)), Ok(1)),
            (hello(5, Some(0b0010_0100)), Err("OpenFlow 1.1, 1.4 only")),
            (hello(6, Some(1 << 6)), Err("OpenFlow 1.5 only")),
        ] {
            match (negotiate(&hello), result) {
                (Ok(version), Ok(wanted)) => assert_eq!(version, wanted),
                (Err(error), Err(expected)) => {
                    assert!(error.text.contains(expected), "{}", error.text)
                }
                (found, wanted) => panic!("{hello:?}: {found:?}, not {wanted:?}"),
            }
        }
    }

    #[test]
    fn broken_elements_are_no_bitmap() {
        for elements in [
            &[0, 1, 0, 4][..],
            &[0, 1, 0, 8, 0],
            &[0, 9, 0xff, 0xff, 0, 0, 0, 0],
            &[0, 9, 0, 0, 0, 0, 0, 0],
        ] {
            let mut bytes = hello(6, None);
            bytes.extend(elements);
            assert_eq!(negotiate(&bytes), Ok(4), "{elements:?}");
        }
        let mut second = hello(6, None);
        second.extend([0, 9, 0, 5, 1, 0, 0, 0, 0, 1, 0, 8, 0, 0, 0, 0x10]);
        assert_eq!(bitmap(&second), Some(0x10));
    }
}
