//! The few OpenFlow 1.0 and 1.3 messages a fake switch needs, written and read by hand.

pub(crate) const V10: u8 = 1;
pub(crate) const V13: u8 = 4;
pub(crate) const NO_BUFFER: u32 = 0xffff_ffff;

pub(crate) const HELLO: u8 = 0;
pub(crate) const ERROR: u8 = 1;
pub(crate) const ECHO_REQUEST: u8 = 2;
pub(crate) const ECHO_REPLY: u8 = 3;
pub(crate) const EXPERIMENTER: u8 = 4;
pub(crate) const FEATURES_REQUEST: u8 = 5;
pub(crate) const FEATURES_REPLY: u8 = 6;
pub(crate) const GET_CONFIG_REQUEST: u8 = 7;
pub(crate) const GET_CONFIG_REPLY: u8 = 8;
pub(crate) const SET_CONFIG: u8 = 9;
pub(crate) const PACKET_IN: u8 = 10;
pub(crate) const PACKET_OUT: u8 = 13;
pub(crate) const FLOW_MOD: u8 = 14;

/// Message types whose numbers differ between the two versions.
pub(crate) mod v10 {
    pub(crate) const PORT_MOD: u8 = 15;
    pub(crate) const STATS_REQUEST: u8 = 16;
    pub(crate) const STATS_REPLY: u8 = 17;
    pub(crate) const BARRIER_REQUEST: u8 = 18;
    pub(crate) const BARRIER_REPLY: u8 = 19;
    pub(crate) const QUEUE_REQUEST: u8 = 20;
    pub(crate) const QUEUE_REPLY: u8 = 21;
}
pub(crate) mod v13 {
    pub(crate) const GROUP_MOD: u8 = 15;
    pub(crate) const PORT_MOD: u8 = 16;
    pub(crate) const TABLE_MOD: u8 = 17;
    pub(crate) const MULTIPART_REQUEST: u8 = 18;
    pub(crate) const MULTIPART_REPLY: u8 = 19;
    pub(crate) const BARRIER_REQUEST: u8 = 20;
    pub(crate) const BARRIER_REPLY: u8 = 21;
    pub(crate) const QUEUE_REQUEST: u8 = 22;
    pub(crate) const QUEUE_REPLY: u8 = 23;
    pub(crate) const ROLE_REQUEST: u8 = 24;
    pub(crate) const ROLE_REPLY: u8 = 25;
    pub(crate) const GET_ASYNC_REQUEST: u8 = 26;
    pub(crate) const GET_ASYNC_REPLY: u8 = 27;
    pub(crate) const SET_ASYNC: u8 = 28;
    pub(crate) const METER_MOD: u8 = 29;
}

pub(crate) fn u16_at(m: &[u8], o: usize) -> Option<u16> {
    Some(u16::from_be_bytes(m.get(o..o + 2)?.try_into().ok()?))
}
pub(crate) fn u32_at(m: &[u8], o: usize) -> Option<u32> {
    Some(u32::from_be_bytes(m.get(o..o + 4)?.try_into().ok()?))
}
pub(crate) fn u64_at(m: &[u8], o: usize) -> Option<u64> {
    Some(u64::from_be_bytes(m.get(o..o + 8)?.try_into().ok()?))
}

/// Appends one message; the length field is filled in afterwards.
pub(crate) fn msg(out: &mut Vec<u8>, version: u8, ty: u8, xid: u32, body: &[u8]) {
    let len = (8 + body.len()) as u16;
    out.extend_from_slice(&[version, ty]);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&xid.to_be_bytes());
    out.extend_from_slice(body);
}

pub(crate) fn hello(out: &mut Vec<u8>, version: u8) {
    if version >= V13 {
        // version bitmap element: exactly the version we speak
        msg(out, version, HELLO, 1, &[0, 1, 0, 8, 0, 0, 0, 1 << version]);
    } else {
        msg(out, version, HELLO, 1, &[]);
    }
}

pub(crate) fn error(
    out: &mut Vec<u8>,
    version: u8,
    xid: u32,
    ty: u16,
    code: u16,
    offending: &[u8],
) {
    let mut b = Vec::with_capacity(4 + 64);
    b.extend_from_slice(&ty.to_be_bytes());
    b.extend_from_slice(&code.to_be_bytes());
    b.extend_from_slice(&offending[..offending.len().min(64)]);
    msg(out, version, ERROR, xid, &b);
}

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

pub(crate) const MAGIC: [u8; 4] = *b"OFBn";
/// Offset of the tag (magic, index, generation) inside the frame: Ethernet 14, IPv4 20, UDP 8.
pub(crate) const TAG_AT: usize = 42;
pub(crate) const MIN_FRAME: usize = TAG_AT + 12;

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
