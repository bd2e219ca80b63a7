//! The table in `README.md`: made from what the vectors decode to, and compared with what stands there.
//!
//! `UPDATE_README=1 cargo test -p morph-openflow --test coverage` writes it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod hex;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use bytes::Bytes;
use morph_openflow::MessageType;
use morph_openflow::v13::*;

const BEGIN: &str = "<!-- table of 1.3: begin -->\n";
const END: &str = "<!-- table of 1.3: end -->\n";

/// What it is called, what it decodes to, and in which vectors it is.
type Row = (String, String, BTreeSet<String>);

/// In the order of the table: by kind, and by the number on the wire.
#[derive(Default)]
struct Rows(BTreeMap<(u8, String, u32), Row>);

impl Rows {
    fn seen(&mut self, kind: &str, number: u32, name: &str, value: &str, vector: &str) {
        let order = "mpiaoe".find(&kind[..1]).unwrap() as u8;
        let row = self.0.entry((order, kind.to_owned(), number));
        let row = row.or_insert_with(|| (name.to_owned(), value.to_owned(), BTreeSet::new()));
        row.2.insert(vector.to_owned());
    }
}

/// A variant's name.
fn variant(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    let end = text.find(|c: char| !c.is_alphanumeric());
    text[..end.unwrap_or(text.len())].to_owned()
}

fn parts(message: &Message) -> (Match, Vec<Instruction>, Vec<Action>) {
    match message.clone() {
        Message::FlowMod(m) => (m.match_, m.instructions, vec![]),
        Message::PacketOut(m) => (Match::new(), vec![], m.actions),
        _ => (Match::new(), vec![], vec![]),
    }
}

/// The number on the wire, and the specification's name.
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

/// All that a vector holds. What is kept as it is because it is not known does not count.
fn add(rows: &mut Rows, vector: &str, message: &Message) {
    let MessageType(kind) = message.kind();
    let name = message.kind().name().unwrap();
    // The bundle's messages are experimenters' to the specification, and come after the others.
    let (number, name) = match message {
        Message::BundleControl(_) => (100, "EXPERIMENTER (ONF: bundle control)"),
        Message::BundleAdd(_) => (101, "EXPERIMENTER (ONF: bundle add)"),
        _ => (u32::from(kind), name),
    };
    rows.seen("message", number, name, &variant(message), vector);
    match message {
        Message::MultipartRequest(request) => {
            let (number, name) = (request.kind(), multipart_name(request.kind()));
            let (number, name) = (u32::from(number) * 2, format!("{name} request"));
            rows.seen("part", number, &name, &variant(request), vector);
        }
        Message::MultipartReply(reply) => {
            let (number, name) = (reply.body.kind(), multipart_name(reply.body.kind()));
            let (number, name) = (u32::from(number) * 2 + 1, format!("{name} reply"));
            rows.seen("part", number, &name, &variant(&reply.body), vector);
        }
        _ => (),
    }
    let (match_, instructions, actions) = parts(message);
    for oxm in &match_.fields {
        let number = u32::from(oxm.field.1);
        match oxm.field {
            OxmField(OxmField::BASIC, _) => {
                rows.seen("oxm", number, &oxm.field.to_string(), "Oxm", vector);
            }
            OxmField(OxmField::NXM_1, 0..8) => {
                rows.seen("oxm", 100 + number, &oxm.field.to_string(), "Oxm", vector);
            }
            OxmField(OxmField::EXPERIMENTER, _) => {
                rows.seen("oxm", 200, "experimenters'", "Oxm", vector);
            }
            _ => (),
        }
    }
    let mut actions = actions;
    for instruction in &instructions {
        if let Some((number, name)) = instruction_name(instruction) {
            rows.seen("instruction", number, name, &variant(instruction), vector);
        }
        if let Instruction::ApplyActions(list) | Instruction::WriteActions(list) = instruction {
            actions.extend(list.iter().cloned());
        }
    }
    for action in &actions {
        if let Some((number, name)) = action_name(action) {
            rows.seen("action", number, name, &variant(action), vector);
        }
    }
}

/// `vectors/errors.list`: type and code as on the wire, then both names.
fn errors(rows: &mut Rows) {
    let text = std::fs::read_to_string(hex::folder().join("errors.list")).unwrap();
    let mut listed = BTreeSet::new();
    for line in text.lines() {
        let (bytes, names) = line.split_once("  ").unwrap();
        let body = hex::parse(bytes);
        let frame: Bytes = [&[4, 1, 0, 12, 0, 0, 0, 42][..], &body].concat().into();
        let (_, message) = decode(&frame).unwrap();
        assert_eq!(message.encode(42), frame, "{line}");
        let Message::Error(error) = message else {
            panic!("{line}");
        };
        assert_eq!(error.to_string(), names);
        listed.insert((error.kind, error.code));
    }
    for (kind, name, codes) in error::ALL {
        for (code, _) in *codes {
            assert!(listed.contains(&(*kind, *code)), "{name} {code}");
        }
        let codes: Vec<&str> = codes.iter().map(|(_, name)| *name).collect();
        let name = format!("{name}: {}", codes.join(", "));
        rows.seen("error", u32::from(*kind), &name, "ErrorMsg", "errors.list");
    }
    let bundle = error::BUNDLE_FAILED_NAMES.join(", ");
    let name = format!("EXPERIMENTER (ONF: bundle failed): {bundle}");
    rows.seen("error", 0xffff, &name, "ErrorMsg", "error_experimenter");
}

fn table() -> String {
    let mut rows = Rows::default();
    for name in hex::names() {
        let frame = hex::load(&name);
        let (header, message) = decode(&frame).unwrap();
        assert_eq!(message.encode(header.xid), frame, "{name}");
        add(&mut rows, &name, &message);
    }
    errors(&mut rows);
    let count = |kind: &str| rows.0.keys().filter(|(_, k, _)| k == kind).count();
    let kinds = ["message", "part", "instruction", "action", "oxm", "error"];
    // Of the specification, and 2 bundle messages, resubmit, 8 registers and experimenters', bundle failed.
    assert_eq!(kinds.map(count), [32, 30, 7, 18, 49, 15]);
    let mut text =
        String::from("| what | name | decode | encode | vector |\n|---|---|---|---|---|\n");
    for ((_, kind, _), (name, value, vectors)) in rows.0 {
        let kind = if kind == "part" { "multipart" } else { &kind };
        let shown = vectors.iter().take(2).cloned().collect::<Vec<_>>();
        let vectors = shown.join(", ");
        assert!(
            ![kind, &name, &value, &vectors].contains(&""),
            "an empty cell"
        );
        let line = format!("| {kind} | {name} | `{value}` | same bytes | {vectors} |");
        writeln!(text, "{line}").unwrap();
    }
    text
}

#[test]
fn the_readme_lists_all_and_lacks_nothing() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).unwrap();
    let (there, after) = rest.split_once(END).unwrap();
    let table = table();
    if std::env::var_os("UPDATE_README").is_some() {
        let readme = format!("{before}{BEGIN}{table}{END}{after}");
        std::fs::write(&path, readme).unwrap();
    } else if there != table {
        let pairs = there.lines().zip(table.lines());
        let other = pairs.into_iter().find(|(a, b)| a != b);
        panic!("README.md is not up to date (UPDATE_README=1 makes it): {other:?}");
    }
}
