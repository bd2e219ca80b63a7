//! Table rows of OpenFlow 1.3.

use bytes::Bytes;
use morph_openflow::MessageType;
use morph_openflow::v13::*;

use crate::{Kind, Rows, hex, variant};

fn parts(message: &Message) -> (Match, Vec<Instruction>, Vec<Action>) {
    match message.clone() {
        Message::FlowMod(m) => (m.match_, m.instructions, vec![]),
        Message::PacketOut(m) => (Match::new(), vec![], m.actions),
        _ => (Match::new(), vec![], vec![]),
    }
}

/// Instruction type on the wire, and the specification's name.
fn instruction_name(instruction: &Instruction) -> Option<(u32, &'static str)> {
    Some(match instruction {
        Instruction::GotoTable(_) => (1, "GOTO_TABLE"),
        Instruction::WriteMetadata { .. } => (2, "WRITE_METADATA"),
        Instruction::WriteActions(_) => (3, "WRITE_ACTIONS"),
        Instruction::ApplyActions(_) => (4, "APPLY_ACTIONS"),
        Instruction::ClearActions => (5, "CLEAR_ACTIONS"),
        Instruction::Meter(_) => (6, "METER"),
        Instruction::Experimenter { .. } => (0xffff, "EXPERIMENTER"),
        Instruction::Unknown { .. } => return None,
    })
}

fn action_name(action: &Action) -> Option<(u32, &'static str)> {
    Some(match action {
        Action::Output { .. } => (0, "OUTPUT"),
        Action::CopyTtlOut => (11, "COPY_TTL_OUT"),
        Action::CopyTtlIn => (12, "COPY_TTL_IN"),
        Action::SetMplsTtl(_) => (15, "SET_MPLS_TTL"),
        Action::DecMplsTtl => (16, "DEC_MPLS_TTL"),
        Action::PushVlan(_) => (17, "PUSH_VLAN"),
        Action::PopVlan => (18, "POP_VLAN"),
        Action::PushMpls(_) => (19, "PUSH_MPLS"),
        Action::PopMpls(_) => (20, "POP_MPLS"),
        Action::SetQueue(_) => (21, "SET_QUEUE"),
        Action::Group(_) => (22, "GROUP"),
        Action::SetNwTtl(_) => (23, "SET_NW_TTL"),
        Action::DecNwTtl => (24, "DEC_NW_TTL"),
        Action::SetField(_) => (25, "SET_FIELD"),
        Action::PushPbb(_) => (26, "PUSH_PBB"),
        Action::PopPbb => (27, "POP_PBB"),
        Action::Resubmit(_) => (0xfffe, "EXPERIMENTER (Nicira: resubmit)"),
        Action::Experimenter { .. } => (0xffff, "EXPERIMENTER (others)"),
        Action::Unknown { .. } => return None,
    })
}

const MULTIPARTS: [&str; 14] = [
    "DESC",
    "FLOW",
    "AGGREGATE",
    "TABLE",
    "PORT_STATS",
    "QUEUE",
    "GROUP",
    "GROUP_DESC",
    "GROUP_FEATURES",
    "METER",
    "METER_CONFIG",
    "METER_FEATURES",
    "TABLE_FEATURES",
    "PORT_DESC",
];

fn multipart_name(kind: u16) -> &'static str {
    MULTIPARTS.get(usize::from(kind)).unwrap_or(&"EXPERIMENTER")
}

/// Adds a row for everything in a vector. Parts kept as bytes because they are unknown get none.
fn add(rows: &mut Rows, vector: &str, message: &Message) {
    let MessageType(kind) = message.kind();
    let name = message.kind().name().unwrap();
    // Bundle messages are experimenter messages in the specification; numbered after the others.
    let (number, name) = match message {
        Message::BundleControl(_) => (100, "EXPERIMENTER (ONF: bundle control)"),
        Message::BundleAdd(_) => (101, "EXPERIMENTER (ONF: bundle add)"),
        _ => (u32::from(kind), name),
    };
    rows.seen(Kind::Message, number, name, &variant(message), vector);
    match message {
        Message::MultipartRequest(request) => {
            let (number, name) = (request.kind(), multipart_name(request.kind()));
            let (number, name) = (u32::from(number) * 2, format!("{name} request"));
            rows.seen(Kind::Multipart, number, &name, &variant(request), vector);
        }
        Message::MultipartReply(reply) => {
            let (number, name) = (reply.body.kind(), multipart_name(reply.body.kind()));
            let (number, name) = (u32::from(number) * 2 + 1, format!("{name} reply"));
            rows.seen(
                Kind::Multipart,
                number,
                &name,
                &variant(&reply.body),
                vector,
            );
        }
        _ => (),
    }
    let (match_, instructions, actions) = parts(message);
    for oxm in &match_.fields {
        let number = u32::from(oxm.field.1);
        match oxm.field {
            OxmField(OxmField::BASIC, _) => {
                rows.seen(Kind::Oxm, number, &oxm.field.to_string(), "Oxm", vector);
            }
            OxmField(OxmField::NXM_1, 0..8) => {
                rows.seen(
                    Kind::Oxm,
                    100 + number,
                    &oxm.field.to_string(),
                    "Oxm",
                    vector,
                );
            }
            OxmField(OxmField::EXPERIMENTER, _) => {
                rows.seen(Kind::Oxm, 200, "experimenters'", "Oxm", vector);
            }
            _ => (),
        }
    }
    let mut actions = actions;
    for instruction in &instructions {
        if let Some((number, name)) = instruction_name(instruction) {
            rows.seen(
                Kind::Instruction,
                number,
                name,
                &variant(instruction),
                vector,
            );
        }
        if let Instruction::ApplyActions(list) | Instruction::WriteActions(list) = instruction {
            actions.extend(list.iter().cloned());
        }
    }
    for action in &actions {
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
        Kind::Multipart => "multipart",
        Kind::Instruction => "instruction",
        Kind::Action => "action",
        Kind::Oxm => "oxm",
        Kind::Error => "error",
    }
}

pub(crate) fn lines() -> String {
    let mut rows = Rows::default();
    for name in hex::OF13.names() {
        let frame = hex::OF13.load(&name);
        let (header, message) = decode(&frame).unwrap();
        assert_eq!(message.encode(header.xid), frame, "{name}");
        add(&mut rows, &name, &message);
    }
    crate::errors(&mut rows, hex::OF13, error::ALL, read_error);
    let bundle = error::BUNDLE_FAILED_NAMES.join(", ");
    let name = format!("EXPERIMENTER (ONF: bundle failed): {bundle}");
    let vector = "error_experimenter";
    rows.seen(Kind::Error, 0xffff, &name, "ErrorMsg", vector);
    // Everything in the specification, and 2 bundle messages, resubmit, 8 registers, experimenter fields, and
    // bundle errors.
    assert_eq!(rows.counts(), [32, 30, 7, 18, 49, 15]);
    rows.lines("1.3", words)
}
