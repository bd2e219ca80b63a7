//! What a fake switch says about itself: features, ports, tables and statistics.

use super::message::{FEATURES_REPLY, V10, V13, error, msg, u16_at, u32_at, v10, v13};

fn fixed(s: &str, n: usize) -> Vec<u8> {
    let mut v = s.as_bytes()[..s.len().min(n - 1)].to_vec();
    v.resize(n, 0);
    v
}

fn port(version: u8, dpid: u64, no: u32) -> Vec<u8> {
    let d = dpid.to_be_bytes();
    let mac = [0x02, 0xb0, d[6], d[7], (no >> 8) as u8, no as u8];
    let mut b = Vec::with_capacity(64);
    if version == V10 {
        b.extend_from_slice(&(no as u16).to_be_bytes());
        b.extend_from_slice(&mac);
        b.extend(fixed(&format!("s{dpid}-p{no}"), 16));
        b.extend_from_slice(&0u32.to_be_bytes()); // config
        b.extend_from_slice(&0u32.to_be_bytes()); // state: up
        b.extend_from_slice(&0xc0u32.to_be_bytes()); // curr: 10GB_FD | COPPER
        b.extend_from_slice(&[0; 12]);
    } else {
        b.extend_from_slice(&no.to_be_bytes());
        b.extend_from_slice(&[0; 4]);
        b.extend_from_slice(&mac);
        b.extend_from_slice(&[0; 2]);
        b.extend(fixed(&format!("s{dpid}-p{no}"), 16));
        b.extend_from_slice(&0u32.to_be_bytes()); // config
        b.extend_from_slice(&4u32.to_be_bytes()); // state: LIVE
        b.extend_from_slice(&0x840u32.to_be_bytes()); // curr: 10GB_FD | COPPER
        b.extend_from_slice(&[0; 12]);
        b.extend_from_slice(&10_000_000u32.to_be_bytes());
        b.extend_from_slice(&10_000_000u32.to_be_bytes());
    }
    b
}

pub(crate) fn ports(version: u8, dpid: u64, n: u32) -> Vec<u8> {
    (1..=n).flat_map(|p| port(version, dpid, p)).collect()
}

pub(crate) fn features_reply(
    out: &mut Vec<u8>,
    version: u8,
    xid: u32,
    dpid: u64,
    n_ports: u32,
    n_tables: u8,
) {
    let mut b = dpid.to_be_bytes().to_vec();
    b.extend_from_slice(&256u32.to_be_bytes()); // n_buffers
    b.push(n_tables);
    if version == V10 {
        b.extend_from_slice(&[0; 3]);
        b.extend_from_slice(&0xc7u32.to_be_bytes());
        b.extend_from_slice(&0xfffu32.to_be_bytes());
        b.extend(ports(version, dpid, n_ports));
    } else {
        b.extend_from_slice(&[0; 3]); // auxiliary_id, pad
        b.extend_from_slice(&0x4fu32.to_be_bytes());
        b.extend_from_slice(&0u32.to_be_bytes());
    }
    msg(out, version, FEATURES_REPLY, xid, &b);
}

fn desc(dpid: u64) -> Vec<u8> {
    let mut b = fixed("ofbench", 256);
    b.extend(fixed("fake switch", 256));
    b.extend(fixed(concat!("ofbench ", env!("CARGO_PKG_VERSION")), 256));
    b.extend(fixed(&format!("{dpid}"), 32));
    b.extend(fixed(&format!("ofbench switch {dpid}"), 256));
    b
}

/// OpenFlow 1.3 match fields (number, length) that the fake tables claim to support.
const FIELDS: [(u32, u32); 39] = [
    (0, 4),
    (1, 4),
    (2, 8),
    (3, 6),
    (4, 6),
    (5, 2),
    (6, 2),
    (7, 1),
    (8, 1),
    (9, 1),
    (10, 1),
    (11, 4),
    (12, 4),
    (13, 2),
    (14, 2),
    (15, 2),
    (16, 2),
    (17, 2),
    (18, 2),
    (19, 1),
    (20, 1),
    (21, 2),
    (22, 4),
    (23, 4),
    (24, 6),
    (25, 6),
    (26, 16),
    (27, 16),
    (28, 4),
    (29, 1),
    (30, 1),
    (31, 16),
    (32, 6),
    (33, 6),
    (34, 4),
    (35, 1),
    (36, 1),
    (38, 8),
    (39, 2),
];

fn property(b: &mut Vec<u8>, ty: u16, data: &[u8]) {
    b.extend_from_slice(&ty.to_be_bytes());
    b.extend_from_slice(&((4 + data.len()) as u16).to_be_bytes());
    b.extend_from_slice(data);
    b.resize(b.len().div_ceil(8) * 8, 0);
}

/// Table features saying that every table can do everything, at most 16 tables.
fn table_features(n_tables: u8) -> Vec<u8> {
    let n = n_tables.min(16);
    let headers = |types: &[u16]| -> Vec<u8> {
        types
            .iter()
            .flat_map(|t| [(t >> 8) as u8, *t as u8, 0, 4])
            .collect()
    };
    let oxms: Vec<u8> = FIELDS
        .iter()
        .flat_map(|(f, l)| (0x8000_0000u32 | f << 9 | l).to_be_bytes())
        .collect();
    let actions = headers(&[0, 11, 12, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25]);
    let mut all = Vec::new();
    for t in 0..n {
        let mut e = vec![0, 0, t, 0, 0, 0, 0, 0];
        e.extend(fixed(&format!("table{t}"), 32));
        e.extend_from_slice(&u64::MAX.to_be_bytes());
        e.extend_from_slice(&u64::MAX.to_be_bytes());
        e.extend_from_slice(&3u32.to_be_bytes());
        e.extend_from_slice(&1_000_000u32.to_be_bytes());
        let later: Vec<u8> = (t + 1..n).collect();
        for miss in [0, 1] {
            property(
                &mut e,
                miss,
                &headers(if t + 1 < n {
                    &[1, 2, 3, 4, 5, 6]
                } else {
                    &[2, 3, 4, 5, 6]
                }),
            );
            property(&mut e, 2 + miss, &later);
            for ty in [4, 6] {
                property(&mut e, ty + miss, &actions);
            }
            for ty in [12, 14] {
                property(&mut e, ty + miss, &oxms);
            }
        }
        property(&mut e, 8, &oxms);
        property(&mut e, 10, &oxms);
        let len = (e.len() as u16).to_be_bytes();
        e[0..2].copy_from_slice(&len);
        all.extend(e);
    }
    all
}

/// Answers a STATS/MULTIPART request: real for DESC, PORT_DESC and TABLE_FEATURES, minimal or empty for the rest.
pub(crate) fn multipart_reply(
    out: &mut Vec<u8>,
    version: u8,
    req: &[u8],
    dpid: u64,
    n_ports: u32,
    n_tables: u8,
) {
    let (Some(xid), Some(ty)) = (u32_at(req, 4), u16_at(req, 8)) else {
        return;
    };
    if ty == 0xffff {
        let code = 3; // BAD_REQUEST / BAD_EXPERIMENTER
        return error(out, version, xid, 1, code, req);
    }
    let body = match ty {
        0 => desc(dpid),
        2 => vec![0; 24],                    // aggregate: no flows
        8 if version >= V13 => vec![0; 40],  // group features: none
        11 if version >= V13 => vec![0; 16], // meter features: none
        12 if version >= V13 => table_features(n_tables),
        13 if version >= V13 => ports(version, dpid, n_ports), // port descriptions
        4 => {
            // port statistics, all zero
            let want = if version == V10 {
                u16_at(req, 12).unwrap_or(0xffff) as u32
            } else {
                u32_at(req, 16).unwrap_or(u32::MAX)
            };
            let all = want == u32::MAX || (version == V10 && want == 0xffff);
            (1..=n_ports)
                .filter(|p| all || *p == want)
                .flat_map(|p| {
                    let mut e = if version == V10 {
                        (p as u16).to_be_bytes().to_vec()
                    } else {
                        p.to_be_bytes().to_vec()
                    };
                    e.resize(if version == V10 { 104 } else { 112 }, 0);
                    e
                })
                .collect()
        }
        _ => Vec::new(),
    };
    let mut b = ty.to_be_bytes().to_vec();
    b.extend_from_slice(&[0, 0]);
    if version >= V13 {
        b.extend_from_slice(&[0; 4]);
    }
    b.extend(body);
    msg(
        out,
        version,
        if version == V10 {
            v10::STATS_REPLY
        } else {
            v13::MULTIPART_REPLY
        },
        xid,
        &b,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_features_are_well_formed() {
        let b = table_features(254);
        let mut o = 0;
        let mut n = 0;
        while o < b.len() {
            let len = u16_at(&b, o).unwrap() as usize;
            assert!(len > 64 && len.is_multiple_of(8));
            let mut p = o + 64;
            while p < o + len {
                let l = u16_at(&b, p + 2).unwrap() as usize;
                assert!(l >= 4);
                p += l.div_ceil(8) * 8;
            }
            assert_eq!(p, o + len);
            o += len;
            n += 1;
        }
        assert_eq!((o, n), (b.len(), 16));
        assert!(b.len() + 16 <= 0xffff);
    }

    #[test]
    fn multipart_replies_have_their_sizes() {
        for (ty, want) in [
            (0u16, 16 + 1056),
            (1, 16),
            (2, 40),
            (13, 16 + 64 * 4),
            (77, 16),
        ] {
            let mut body = ty.to_be_bytes().to_vec();
            body.resize(8, 0);
            let mut req = Vec::new();
            msg(&mut req, V13, v13::MULTIPART_REQUEST, 5, &body);
            let mut out = Vec::new();
            multipart_reply(&mut out, V13, &req, 1, 4, 16);
            assert_eq!(out.len(), want, "type {ty}");
            assert_eq!(u16_at(&out, 2), Some(want as u16));
        }
    }
}
