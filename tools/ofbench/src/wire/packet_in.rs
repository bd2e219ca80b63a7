//! Packet-ins, built once and changed in place for each one sent.

use super::frame::TAG_AT;
use super::message::{NO_BUFFER, PACKET_IN, V10, msg};

/// Appends a packet-in (no buffer id) and returns where in it the frame begins.
pub(crate) fn packet_in(
    out: &mut Vec<u8>,
    version: u8,
    in_port: u32,
    reason: u8,
    table: u8,
    cookie: u64,
    frame: &[u8],
) -> usize {
    let mut b = NO_BUFFER.to_be_bytes().to_vec();
    b.extend_from_slice(&(frame.len() as u16).to_be_bytes());
    if version == V10 {
        b.extend_from_slice(&(in_port as u16).to_be_bytes());
        b.extend_from_slice(&[reason, 0]);
    } else {
        b.extend_from_slice(&[reason, table]);
        b.extend_from_slice(&cookie.to_be_bytes());
        b.extend_from_slice(&[0, 1, 0, 12, 0x80, 0, 0, 4]); // OXM match: in_port
        b.extend_from_slice(&in_port.to_be_bytes());
        b.extend_from_slice(&[0; 4]); // match padding
        b.extend_from_slice(&[0; 2]);
    }
    let frame_at = 8 + b.len();
    b.extend_from_slice(frame);
    msg(out, version, PACKET_IN, 0, &b);
    frame_at
}

/// Prebuilt packet-ins, one behind the other: only the bytes that vary are written again for each one sent.
pub(crate) struct PacketIns {
    bytes: Vec<u8>,
    at: Layout,
}

#[derive(Clone, Copy)]
struct Layout {
    length: usize,
    frame: usize,
    ip: usize,
    ip_sum: u32,
}

impl PacketIns {
    /// `frame` is what `frame()` made for index 0, with this VLAN.
    pub(crate) fn new(
        n: usize,
        version: u8,
        reason: u8,
        table: u8,
        cookie: u64,
        vlan: u16,
        f: &[u8],
    ) -> PacketIns {
        let mut bytes = Vec::new();
        let frame = packet_in(&mut bytes, version, 1, reason, table, cookie, f);
        let ip = frame + if vlan != 0 { 18 } else { 14 };
        let sum = u16::from_be_bytes([bytes[ip + 10], bytes[ip + 11]]);
        let at = Layout {
            length: bytes.len(),
            frame,
            ip,
            ip_sum: !sum as u32,
        };
        PacketIns {
            bytes: bytes.repeat(n),
            at,
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The length of each.
    pub(crate) fn length(&self) -> usize {
        self.at.length
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = PacketIn<'_>> {
        let at = self.at;
        self.bytes
            .chunks_exact_mut(at.length)
            .map(move |bytes| PacketIn { bytes, at })
    }
}

pub(crate) struct PacketIn<'a> {
    bytes: &'a mut [u8],
    at: Layout,
}

impl PacketIn<'_> {
    /// Makes it the one with this index (in the source addresses and the tag), generation and buffer id.
    #[inline]
    pub(crate) fn set(&mut self, index: u32, generation: u32, buffer: u32) {
        const TAG: usize = TAG_AT - 14; // from the IP header on
        let (i, g, m) = (
            index.to_be_bytes(),
            generation.to_be_bytes(),
            &mut *self.bytes,
        );
        m[4..8].copy_from_slice(&index.wrapping_add(generation << 8).to_be_bytes());
        m[8..12].copy_from_slice(&buffer.to_be_bytes());
        m[self.at.frame + 9..self.at.frame + 12].copy_from_slice(&i[1..]);
        let ip = &mut m[self.at.ip..self.at.ip + TAG + 12];
        let mut s = self.at.ip_sum + (index >> 16) + (index & 0xffff);
        s = (s & 0xffff) + (s >> 16);
        s = (s & 0xffff) + (s >> 16);
        ip[10..12].copy_from_slice(&(!s as u16).to_be_bytes());
        ip[13..16].copy_from_slice(&i[1..]);
        ip[TAG + 4..TAG + 8].copy_from_slice(&i);
        ip[TAG + 8..TAG + 12].copy_from_slice(&g);
    }

    pub(crate) fn set_destination(&mut self, mac: [u8; 6]) {
        self.bytes[self.at.frame..self.at.frame + 6].copy_from_slice(&mac);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{V13, frame, u16_at};

    #[test]
    fn packet_in_lengths() {
        let mut b = Vec::new();
        assert_eq!(packet_in(&mut b, V10, 1, 0, 0, 0, &[0; 64]), 18);
        assert_eq!(b.len(), 18 + 64);
        b.clear();
        assert_eq!(packet_in(&mut b, V13, 1, 0, 0, 0, &[0; 64]), 42);
        assert_eq!(b.len(), 42 + 64);
        assert_eq!(u16_at(&b, 2), Some(106));
    }

    #[test]
    fn a_prebuilt_packet_in_has_the_bytes_of_one_built_anew() {
        for (version, vlan) in [(V10, 0u16), (V13, 0), (V13, 100)] {
            let mut f = vec![0; 64 + 4 * (vlan != 0) as usize];
            let src = |i: u32| [0x0a, 0, 1, (i >> 16) as u8, (i >> 8) as u8, i as u8];
            frame(&mut f, [2; 6], src(0), vlan, 0, 0);
            let mut p = PacketIns::new(2, version, 0, 0, 7, vlan, &f);
            for (i, g) in [
                (0u32, 1u32),
                (0xf_ffff, u32::MAX),
                (1, 2),
                (255, 3),
                (65_535, 0x1234_5678),
            ] {
                let dst = [i as u8; 6];
                frame(&mut f, dst, src(i), vlan, i, g);
                let mut want = Vec::new();
                packet_in(&mut want, version, 1, 0, 0, 7, &f);
                want[4..8].copy_from_slice(&i.wrapping_add(g << 8).to_be_bytes());
                want[8..12].copy_from_slice(&(g ^ i).to_be_bytes());
                let mut m = p.iter_mut().nth(1).unwrap();
                m.set(i, g, g ^ i);
                m.set_destination(dst);
                assert_eq!(&p.bytes()[p.length()..], &want[..], "{i} {g}");
            }
        }
    }
}
