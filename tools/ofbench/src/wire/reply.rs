//! Messages of the controller that answer a packet-in.

use super::frame::{MAGIC, TAG_AT};
use super::message::{FLOW_MOD, NO_BUFFER, V10, u16_at, u32_at, u64_at};

/// Reference of a FLOW_MOD or PACKET_OUT to the packet-in that it answers.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Reply {
    pub(crate) buffer: Option<u32>,
    pub(crate) src: Option<[u8; 6]>,
    pub(crate) dst: Option<[u8; 6]>,
    /// index and generation from the frame's tag (PACKET_OUT with data)
    pub(crate) tag: Option<(u32, u32)>,
    /// the PACKET_OUT's frame is a topology probe (LLDP 0x88cc, BDDP 0x8942)
    pub(crate) probe: bool,
    /// the FLOW_MOD deletes: never an answer
    pub(crate) delete: bool,
    pub(crate) cookie: u64,
    pub(crate) priority: u16,
}

fn mac_at(m: &[u8], o: usize) -> Option<[u8; 6]> {
    m.get(o..o + 6)?.try_into().ok()
}

/// The buffer id and the length of the message at the beginning of `b`, if it is a whole, well-formed FLOW_MOD of this
/// version that has a buffer id and does not delete.
#[inline]
pub(crate) fn flow_mod_buffer(version: u8, b: &[u8]) -> Option<(u32, usize)> {
    let (least, command, buffer) = if version == V10 {
        (72, 57, 64)
    } else {
        (56, 25, 32)
    };
    let head = b.get(..least)?;
    let len = u16::from_be_bytes([head[2], head[3]]) as usize;
    if head[0] != version
        || head[1] != FLOW_MOD
        || len < least
        || len > b.len()
        || matches!(head[command], 3 | 4)
    {
        return None;
    }
    Some((u32_at(head, buffer)?, len)).filter(|(b, _)| *b != NO_BUFFER)
}

pub(crate) fn parse_flow_mod(version: u8, m: &[u8]) -> Option<Reply> {
    let mut r = Reply::default();
    if version == V10 {
        let wild = u32_at(m, 8)?;
        if wild & 4 == 0 {
            r.src = mac_at(m, 14);
        }
        if wild & 8 == 0 {
            r.dst = mac_at(m, 20);
        }
        r.cookie = u64_at(m, 48)?;
        r.delete = matches!(u16_at(m, 56)?, 3 | 4);
        r.priority = u16_at(m, 62)?;
        r.buffer = Some(u32_at(m, 64)?);
    } else {
        r.cookie = u64_at(m, 8)?;
        r.delete = matches!(*m.get(25)?, 3 | 4);
        r.priority = u16_at(m, 30)?;
        r.buffer = Some(u32_at(m, 32)?);
        let end = 48 + u16_at(m, 50)? as usize;
        let mut o = 52;
        while o + 4 <= end.min(m.len()) {
            let h = u32_at(m, o)?;
            let (class, field, masked, n) = (
                h >> 16,
                (h >> 9) & 0x7f,
                h & 0x100 != 0,
                (h & 0xff) as usize,
            );
            if class == 0x8000 && !masked {
                match field {
                    3 => r.dst = mac_at(m, o + 4),
                    4 => r.src = mac_at(m, o + 4),
                    _ => {}
                }
            }
            o += 4 + n;
        }
    }
    r.buffer = r.buffer.filter(|b| *b != NO_BUFFER);
    Some(r)
}

pub(crate) fn parse_packet_out(version: u8, m: &[u8]) -> Option<Reply> {
    let mut r = Reply {
        buffer: Some(u32_at(m, 8)?).filter(|b| *b != NO_BUFFER),
        ..Reply::default()
    };
    let data = if version == V10 {
        16 + u16_at(m, 14)? as usize
    } else {
        24 + u16_at(m, 16)? as usize
    };
    let f = m.get(data..).unwrap_or(&[]);
    if f.len() >= 14 {
        r.dst = mac_at(f, 0);
        r.src = mac_at(f, 6);
        let mut at = 12;
        let mut ty = u16_at(f, at)?;
        while matches!(ty, 0x8100 | 0x88a8) {
            at += 4;
            ty = u16_at(f, at)?;
        }
        r.probe = matches!(ty, 0x88cc | 0x8942);
        let tag = TAG_AT + at - 12;
        if ty == 0x0800 && f.get(tag..tag + 4) == Some(&MAGIC[..]) {
            r.tag = Some((u32_at(f, tag + 4)?, u32_at(f, tag + 8)?));
        }
    }
    Some(r)
}

/// Whether a FLOW_MOD has an action OUTPUT to the controller.
pub(crate) fn to_controller(v: u8, m: &[u8]) -> bool {
    let action: &[u8] = if v == V10 {
        &[0, 0, 0, 8, 0xff, 0xfd]
    } else {
        &[0, 0, 0, 16, 0xff, 0xff, 0xff, 0xfd]
    };
    m.windows(action.len()).skip(48).any(|w| w == action)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{PACKET_OUT, V13, frame, msg};

    fn flow_mod13(src: [u8; 6], dst: [u8; 6], buffer: u32) -> Vec<u8> {
        let mut b = vec![0; 40];
        b[16 + 1] = 0; // ADD
        b[22..24].copy_from_slice(&7u16.to_be_bytes());
        b[24..28].copy_from_slice(&buffer.to_be_bytes());
        let mut oxm = vec![0x80, 0, 0, 4, 0, 0, 0, 1, 0x80, 0, 6, 6];
        oxm.extend_from_slice(&dst);
        oxm.extend_from_slice(&[0x80, 0, 8, 6]);
        oxm.extend_from_slice(&src);
        b.extend_from_slice(&[0, 1]);
        b.extend_from_slice(&((4 + oxm.len()) as u16).to_be_bytes());
        b.extend(oxm);
        b.resize(b.len().div_ceil(8) * 8, 0);
        let mut out = Vec::new();
        msg(&mut out, V13, FLOW_MOD, 9, &b);
        out
    }

    #[test]
    fn flow_mod_match_is_decoded() {
        let r = parse_flow_mod(V13, &flow_mod13([1; 6], [2; 6], 77)).unwrap();
        assert_eq!(
            (r.src, r.dst, r.buffer, r.priority, r.delete),
            (Some([1; 6]), Some([2; 6]), Some(77), 7, false)
        );
        let r = parse_flow_mod(V13, &flow_mod13([1; 6], [2; 6], NO_BUFFER)).unwrap();
        assert_eq!(r.buffer, None);
    }

    #[test]
    fn truncated_messages_are_refused() {
        let m = flow_mod13([1; 6], [2; 6], 77);
        for n in 0..52 {
            assert!(parse_flow_mod(V13, &m[..n]).is_none(), "{n}");
        }
        for n in 0..12 {
            assert!(parse_packet_out(V13, &m[..n]).is_none());
        }
    }

    #[test]
    fn frame_and_tag_round_trip_through_packet_out() {
        for vlan in [0u16, 100] {
            let mut f = vec![0; 64 + 4 * (vlan != 0) as usize];
            frame(&mut f, [2; 6], [1; 6], vlan, 0x12345, 9);
            let ip = if vlan == 0 { 14 } else { 18 };
            let s: u32 = f[ip..ip + 20]
                .chunks_exact(2)
                .map(|c| u16::from_be_bytes([c[0], c[1]]) as u32)
                .sum();
            assert_eq!((s & 0xffff) + (s >> 16), 0xffff, "IP checksum");
            for (v, head) in [(V10, 8usize), (V13, 16)] {
                let mut b = NO_BUFFER.to_be_bytes().to_vec();
                b.resize(head, 0);
                b.extend_from_slice(&f);
                let mut out = Vec::new();
                msg(&mut out, v, PACKET_OUT, 1, &b);
                let r = parse_packet_out(v, &out).unwrap();
                assert_eq!(r.tag, Some((0x12345, 9)));
                assert!(!r.probe && r.buffer.is_none());
                assert_eq!(r.src, Some([1; 6]));
            }
        }
    }

    #[test]
    fn lldp_is_a_probe() {
        let mut b = NO_BUFFER.to_be_bytes().to_vec();
        b.resize(16, 0);
        b.extend_from_slice(&[
            1, 0x80, 0xc2, 0, 0, 0xe, 2, 0, 0, 0, 0, 1, 0x88, 0xcc, 2, 7, 4,
        ]);
        let mut out = Vec::new();
        msg(&mut out, V13, PACKET_OUT, 1, &b);
        let r = parse_packet_out(V13, &out).unwrap();
        assert!(r.probe && r.tag.is_none());
    }

    #[test]
    fn the_short_way_to_a_buffer_id_agrees_with_the_long_one() {
        let m = flow_mod13([1; 6], [2; 6], 77);
        assert_eq!(flow_mod_buffer(V13, &m), Some((77, m.len())));
        assert_eq!(
            flow_mod_buffer(V13, &[&m[..], &m[..9]].concat()),
            Some((77, m.len()))
        );
        assert_eq!(flow_mod_buffer(V10, &m), None);
        assert_eq!(
            flow_mod_buffer(V13, &flow_mod13([1; 6], [2; 6], NO_BUFFER)),
            None
        );
        let mut d = m.clone();
        d[25] = 3;
        assert!(parse_flow_mod(V13, &d).unwrap().delete && flow_mod_buffer(V13, &d).is_none());
        for n in 0..m.len() {
            assert_eq!(flow_mod_buffer(V13, &m[..n]), None, "{n}");
        }
    }
}
