//! Ethernet frames of the hosts.

pub(crate) const MAGIC: [u8; 4] = *b"OFBn";
/// Offset of the tag (magic, index, generation) inside the frame: Ethernet 14, IPv4 20, UDP 8.
pub(crate) const TAG_AT: usize = 42;
pub(crate) const MIN_FRAME: usize = TAG_AT + 12;

/// An IPv4/UDP frame carrying the tag; checksums are right for the IP header, absent (0) for UDP.
/// With a VLAN (not 0) the frame has an 802.1Q tag, and everything after the addresses lies 4 bytes further.
pub(crate) fn frame(
    f: &mut [u8],
    dst: [u8; 6],
    src: [u8; 6],
    vlan: u16,
    index: u32,
    generation: u32,
) {
    f[0..6].copy_from_slice(&dst);
    f[6..12].copy_from_slice(&src);
    let f = if vlan != 0 {
        f[12..14].copy_from_slice(&[0x81, 0]);
        f[14..16].copy_from_slice(&vlan.to_be_bytes());
        &mut f[4..]
    } else {
        f
    };
    let n = f.len();
    f[12..14].copy_from_slice(&[8, 0]);
    let ip = &mut f[14..34];
    ip.copy_from_slice(&[
        0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 0, 10, 255, 255, 254,
    ]);
    ip[2..4].copy_from_slice(&((n - 14) as u16).to_be_bytes());
    ip[13..16].copy_from_slice(&index.to_be_bytes()[1..4]);
    let mut s: u32 = ip
        .chunks_exact(2)
        .map(|c| u16::from_be_bytes([c[0], c[1]]) as u32)
        .sum();
    s = (s & 0xffff) + (s >> 16);
    s = (s & 0xffff) + (s >> 16);
    ip[10..12].copy_from_slice(&(!(s as u16)).to_be_bytes());
    f[34..42].copy_from_slice(&[0x13, 0x88, 0x13, 0x89, 0, 0, 0, 0]);
    f[38..40].copy_from_slice(&((n - 34) as u16).to_be_bytes());
    f[TAG_AT..TAG_AT + 4].copy_from_slice(&MAGIC);
    f[TAG_AT + 4..TAG_AT + 8].copy_from_slice(&index.to_be_bytes());
    f[TAG_AT + 8..TAG_AT + 12].copy_from_slice(&generation.to_be_bytes());
}

/// A gratuitous ARP from `mac`, for the controller to learn it.
pub(crate) fn arp(mac: [u8; 6], ip: [u8; 4], vlan: u16) -> Vec<u8> {
    let mut f = vec![0xff; 6];
    f.extend_from_slice(&mac);
    if vlan != 0 {
        f.extend_from_slice(&[0x81, 0]);
        f.extend_from_slice(&vlan.to_be_bytes());
    }
    f.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
    f.extend_from_slice(&mac);
    f.extend_from_slice(&ip);
    f.extend_from_slice(&mac);
    f.extend_from_slice(&ip);
    f.resize(60, 0);
    f
}
