//! Vectors of actions, instructions and match fields: one of each.

use bytes::Bytes;
use morph_openflow::v13::nicira::{self, Resubmit};
use morph_openflow::v13::*;

fn actions() -> Vec<Action> {
    let resubmit = |in_port, table| Action::Resubmit(Resubmit { in_port, table });
    let conntrack = [0, 0x23, 0, 1, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0, 0, 0];
    vec![
        Action::to_controller(),
        Action::CopyTtlOut,
        Action::CopyTtlIn,
        Action::SetMplsTtl(9),
        Action::DecMplsTtl,
        Action::PushVlan(0x88a8),
        Action::PopVlan,
        Action::PushMpls(0x8847),
        Action::PopMpls(0x0800),
        Action::SetQueue(3),
        Action::Group(5),
        Action::SetNwTtl(64),
        Action::DecNwTtl,
        Action::SetField(Oxm::exact(OxmField::ETH_SRC, &[2, 0, 0, 0, 0, 1])),
        Action::PushPbb(0x88e7),
        Action::PopPbb,
        resubmit(3, None),
        resubmit(nicira::IN_PORT, Some(20)),
        Action::Experimenter {
            experimenter: experimenter::NICIRA,
            body: Bytes::copy_from_slice(&conntrack),
        },
        Action::Experimenter {
            experimenter: 999,
            body: Bytes::new(),
        },
        Action::Unknown {
            kind: 35,
            body: Bytes::from_static(&[1, 2, 3, 4]),
        },
    ]
}

fn instructions() -> Vec<Instruction> {
    vec![
        Instruction::Meter(9),
        Instruction::ApplyActions(vec![Action::output(2)]),
        Instruction::ClearActions,
        Instruction::WriteActions(vec![Action::Group(5)]),
        Instruction::WriteMetadata {
            metadata: 5,
            mask: 0xff,
        },
        Instruction::GotoTable(20),
        Instruction::Experimenter {
            experimenter: 999,
            body: Bytes::from_static(&[1, 2, 3, 4, 5, 6, 7, 8]),
        },
        Instruction::Unknown {
            kind: 9,
            body: Bytes::from_static(&[1, 2, 3, 4]),
        },
    ]
}

/// Length of each field in bytes, and whether it can have a mask (table 12 of the specification).
const FIELDS: [(usize, bool); 40] = [
    (4, false),
    (4, false),
    (8, true),
    (6, true),
    (6, true),
    (2, false),
    (2, true),
    (1, false),
    (1, false),
    (1, false),
    (1, false),
    (4, true),
    (4, true),
    (2, false),
    (2, false),
    (2, false),
    (2, false),
    (2, false),
    (2, false),
    (1, false),
    (1, false),
    (2, false),
    (4, true),
    (4, true),
    (6, true),
    (6, true),
    (16, true),
    (16, true),
    (4, true),
    (1, false),
    (1, false),
    (16, false),
    (6, false),
    (6, false),
    (4, false),
    (1, false),
    (1, false),
    (3, true),
    (8, true),
    (2, true),
];

fn fields() -> Match {
    let mut fields = Vec::new();
    for (number, (length, maskable)) in FIELDS.into_iter().enumerate() {
        let field = OxmField::ALL_BASIC[number];
        assert_eq!(field, OxmField(OxmField::BASIC, number as u8));
        assert_eq!(field.is_maskable(), maskable, "{field}");
        let mut one = vec![0; length];
        one[length - 1] = 1;
        fields.push(Oxm::exact(field, &one));
        if maskable {
            fields.push(Oxm::masked(field, &one, &one));
        }
    }
    let one = [0, 0, 0, 1];
    fields.extend((0..8).map(|n| Oxm::exact(OxmField::reg(n), &one)));
    fields.push(Oxm::masked(OxmField::reg(0), &one, &one));
    let tcp_flags = OxmField(OxmField::EXPERIMENTER, 42);
    fields.push(Oxm::masked(
        tcp_flags,
        &[0x4f, 0x4e, 0x46, 0, 0, 2],
        &[0, 2],
    ));
    Match { fields }
}

pub(super) fn all() -> Vec<(&'static str, Message)> {
    let packet_out = PacketOut {
        buffer_id: NO_BUFFER,
        in_port: port::CONTROLLER,
        actions: actions(),
        data: Bytes::new(),
    };
    let instructions = FlowMod {
        instructions: instructions(),
        ..FlowMod::default()
    };
    let oxm = FlowMod {
        match_: fields(),
        ..FlowMod::default()
    };
    vec![
        ("actions", Message::PacketOut(packet_out)),
        ("instructions", Message::FlowMod(instructions)),
        ("oxm", Message::FlowMod(oxm)),
    ]
}
