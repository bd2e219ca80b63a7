//! Ethernet addresses of the hosts behind a fake switch.

pub(crate) fn host_mac(no: u16, index: u32) -> [u8; 6] {
    [
        0x0a,
        (no >> 8) as u8,
        no as u8,
        (index >> 16) as u8,
        (index >> 8) as u8,
        index as u8,
    ]
}
pub(crate) fn known_mac(no: u16) -> [u8; 6] {
    [0x0e, (no >> 8) as u8, no as u8, 0xff, 0xff, 0xff]
}
pub(crate) fn unknown_mac(no: u16, index: u32) -> [u8; 6] {
    [
        0x06,
        (no >> 8) as u8,
        no as u8,
        (index >> 16) as u8,
        (index >> 8) as u8,
        index as u8,
    ]
}
pub(crate) fn index_of(no: u16, mac: Option<[u8; 6]>) -> Option<u32> {
    let m = mac?;
    if m[0] == 0x0a && m[1] == (no >> 8) as u8 && m[2] == no as u8 {
        return Some((m[3] as u32) << 16 | (m[4] as u32) << 8 | m[5] as u32);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_map_back_to_their_index() {
        for i in [0u32, 1, 255, 256, 65_535, 65_536, 1_048_575] {
            assert_eq!(index_of(7, Some(host_mac(7, i))), Some(i));
            assert_eq!(index_of(8, Some(host_mac(7, i))), None);
            assert_eq!(index_of(7, Some(unknown_mac(7, i))), None);
        }
        assert_eq!(index_of(7, Some(known_mac(7))), None);
    }
}
