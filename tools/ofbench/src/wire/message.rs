//! Numbers of the messages, and the messages that are alike in all versions.

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
