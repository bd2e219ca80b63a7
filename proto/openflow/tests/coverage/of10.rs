//! Table rows of OpenFlow 1.0.

use bytes::Bytes;
use morph_openflow::v10::*;

use crate::{Kind, Rows, hex, variant};

/// Action type on the wire, and the specification's name.
fn action_name(action: &Action) -> Option<(u32, &'static str)> {
    Some(match action {
        Action::Output { .. } => (0, "OUTPUT"),
        Action::SetVlanVid(_) => (1, "SET_VLAN_VID"),
        Action::SetVlanPcp(_) => (2, "SET_VLAN_PCP"),
        Action::StripVlan => (3, "STRIP_VLAN"),
        Action::SetDlSrc(_) => (4, "SET_DL_SRC"),
        Action::SetDlDst(_) => (5, "SET_DL_DST"),
        Action::SetNwSrc(_) => (6, "SET_NW_SRC"),
        Action::SetNwDst(_) => (7, "SET_NW_DST"),
        Action::SetNwTos(_) => (8, "SET_NW_TOS"),
        Action::SetTpSrc(_) => (9, "SET_TP_SRC"),
        Action::SetTpDst(_) => (10, "SET_TP_DST"),
        Action::Enqueue { .. } => (11, "ENQUEUE"),
        Action::Vendor { .. } => (0xffff, "VENDOR"),
        Action::Unknown { .. } => return None,
    })
}

const STATISTICS: [&str; 6] = ["DESC", "FLOW", "AGGREGATE", "TABLE", "PORT", "QUEUE"];

fn statistics_name(kind: u16) -> Option<&'static str> {
    match kind {
        stats_kind::VENDOR => Some("VENDOR"),
        kind => STATISTICS.get(usize::from(kind)).copied(),
    }
}

/// Fields that are matched, by wildcard bit and name.
fn fields(of: &Match) -> Vec<(u32, &'static str)> {
    let flags = [
        (wildcard::IN_PORT, "in_port"),
        (wildcard::DL_SRC, "dl_src"),
        (wildcard::DL_DST, "dl_dst"),
        (wildcard::DL_VLAN, "dl_vlan"),
        (wildcard::DL_VLAN_PCP, "dl_vlan_pcp"),
        (wildcard::DL_TYPE, "dl_type"),
        (wildcard::NW_TOS, "nw_tos"),
        (wildcard::NW_PROTO, "nw_proto"),
        (wildcard::TP_SRC, "tp_src"),
        (wildcard::TP_DST, "tp_dst"),
    ];
    let of_flags = (0..).zip(flags).filter(|(_, (flag, _))| of.has(*flag));
    let of_flags = of_flags.map(|(number, (_, name))| (number, name));
    let addresses = [
        (of.nw_src_bits(), (20, "nw_src")),
        (of.nw_dst_bits(), (21, "nw_dst")),
    ];
    let addresses = addresses.into_iter().filter(|(bits, _)| *bits > 0);
    of_flags
        .chain(addresses.map(|(_, address)| address))
        .collect()
}

/// Adds a row for everything in a vector. Parts kept as bytes because they are unknown get none.
fn add(rows: &mut Rows, vector: &str, message: &Message) {
    let Some(name) = kind::name(message.kind()) else {
        return;
    };
    let number = u32::from(message.kind().0);
    // Nicira's messages are numbered after the others.
    let (number, name) = match message {
        Message::Vendor(Vendor::NxRoleRequest(_)) => (100, "VENDOR (Nicira: role request)"),
        Message::Vendor(Vendor::NxRoleReply(_)) => (101, "VENDOR (Nicira: role reply)"),
        _ => (number, name),
    };
    rows.seen(Kind::Message, number, name, &variant(message), vector);
    let mut part = |kind: u16, way: &str, last: u32, value: &str| {
        if let Some(name) = statistics_name(kind) {
            let (number, name) = (u32::from(kind) * 2 + last, format!("{name} {way}"));
            rows.seen(Kind::Multipart, number, &name, value, vector);
        }
    };
    match message {
        Message::StatsRequest(request) => part(request.kind(), "request", 0, &variant(request)),
        Message::StatsReply(reply) => part(reply.body.kind(), "reply", 1, &variant(&reply.body)),
        _ => (),
    }
    let (match_, actions) = match message {
        Message::FlowMod(m) => (m.match_, &m.actions[..]),
        Message::PacketOut(m) => (Match::default(), &m.actions[..]),
        _ => (Match::default(), &[][..]),
    };
    for (number, name) in fields(&match_) {
        rows.seen(Kind::Oxm, number, name, "Match", vector);
    }
    for action in actions {
        if let Some((number, name)) = action_name(action) {
            rows.seen(Kind::Action, number, name, &variant(action), vector);
        }
    }
}

/// Decodes an error body, and checks that it is encoded to the same bytes.
fn read_error(body: &[u8]) -> (u16, u16, String) {
    let frame: Bytes = [&[VERSION, 1, 0, 12, 0, 0, 0, 42][..], body]
        .concat()
        .into();
    let (_, message) = decode(&frame).unwrap();
    assert_eq!(message.encode(42), frame);
    let Message::Error(error) = message else {
        panic!("{message:?}");
    };
    (error.kind, error.code, error.to_string())
}

fn words(kind: Kind) -> &'static str {
    match kind {
        Kind::Message => "message",
        Kind::Multipart => "statistics",
        Kind::Instruction => "instruction",
        Kind::Action => "action",
        Kind::Oxm => "match",
        Kind::Error => "error",
    }
}

pub(crate) fn lines() -> String {
    let mut rows = Rows::default();
    for name in hex::OF10.names() {
        let frame = hex::OF10.load(&name);
        let (header, message) = decode(&frame).unwrap();
        assert_eq!(message.encode(header.xid), frame, "{name}");
        add(&mut rows, &name, &message);
    }
    crate::errors(&mut rows, hex::OF10, error::ALL, read_error);
    // Everything in the specification, and Nicira's role messages. OpenFlow 1.0 has no instructions.
    assert_eq!(rows.counts(), [24, 14, 0, 13, 12, 6]);
    rows.lines("1.0", words)
}
