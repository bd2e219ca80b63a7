//! Property tests on arbitrary values: whatever can be encoded decodes to the same value.

mod more;

use bytes::Bytes;
use morph_openflow::MacAddr;
use morph_openflow::rule::{self, RuleBody, RuleKey, RuleSet};
use morph_openflow::v13::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn blob(most: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=most).prop_map(Bytes::from)
}

/// Body after a header of 4 or 8 bytes, of a length that needs no padding.
fn padded_blob(header: usize) -> impl Strategy<Value = Bytes> {
    (0_usize..4).prop_flat_map(move |n| vec(any::<u8>(), 8 * n + 8 - header).prop_map(Bytes::from))
}

fn oxm() -> impl Strategy<Value = Oxm> {
    let basic = prop_oneof![
        Just((OxmField::IN_PORT, 4)),
        Just((OxmField::METADATA, 8)),
        Just((OxmField::ETH_DST, 6)),
        Just((OxmField::ETH_TYPE, 2)),
        Just((OxmField::VLAN_VID, 2)),
        Just((OxmField::IP_PROTO, 1)),
        Just((OxmField::IPV4_DST, 4)),
        Just((OxmField::ARP_SPA, 4)),
        Just((OxmField::IPV6_DST, 16)),
        Just((OxmField::PBB_ISID, 3)),
        Just((OxmField::reg(7), 4)),
    ];
    let known = basic.prop_flat_map(|(field, length)| oxm_of(field, length, length));
    let foreign = (2_u16..4, 0_u8..128, 0_usize..9)
        .prop_flat_map(|(class, field, n)| oxm_of(OxmField(class, field), n, n));
    let experimenter = (0_u8..128, 0_usize..9)
        .prop_flat_map(|(field, n)| oxm_of(OxmField(OxmField::EXPERIMENTER, field), n + 4, n));
    prop_oneof![6 => known, 1 => foreign, 1 => experimenter]
}

fn oxm_of(field: OxmField, value: usize, mask: usize) -> impl Strategy<Value = Oxm> {
    let mask = prop::option::of(vec(prop_oneof![Just(0_u8), Just(0xff), any::<u8>()], mask));
    (vec(any::<u8>(), value), mask).prop_map(move |(value, mask)| Oxm {
        field,
        value: value.into(),
        mask: mask.map(Into::into),
    })
}

fn a_match() -> impl Strategy<Value = Match> {
    vec(oxm(), 0..6).prop_map(|fields| Match { fields })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (any::<u32>(), any::<u16>())
            .prop_map(|(port, max_len)| Action::Output { port, max_len }),
        1 => any::<u32>().prop_map(Action::Group),
        1 => any::<u32>().prop_map(Action::SetQueue),
        1 => any::<u8>().prop_map(Action::SetNwTtl),
        1 => any::<u8>().prop_map(Action::SetMplsTtl),
        1 => prop::sample::select(vec![
            Action::DecNwTtl, Action::CopyTtlOut, Action::CopyTtlIn, Action::DecMplsTtl,
            Action::PopVlan, Action::PopPbb,
        ]),
        1 => any::<u16>().prop_map(Action::PushVlan),
        1 => any::<u16>().prop_map(Action::PushMpls),
        1 => any::<u16>().prop_map(Action::PopMpls),
        1 => any::<u16>().prop_map(Action::PushPbb),
        3 => oxm().prop_map(Action::SetField),
        1 => (any::<u32>(), padded_blob(8))
            .prop_map(|(experimenter, body)| Action::Experimenter { experimenter, body }),
        1 => more::resubmit(),
        1 => (30_u16..0xffff, padded_blob(4))
            .prop_map(|(kind, body)| Action::Unknown { kind, body }),
    ]
}

fn instruction() -> impl Strategy<Value = Instruction> {
    let actions = || vec(action(), 0..5);
    prop_oneof![
        2 => any::<u8>().prop_map(Instruction::GotoTable),
        1 => (any::<u64>(), any::<u64>())
            .prop_map(|(metadata, mask)| Instruction::WriteMetadata { metadata, mask }),
        1 => actions().prop_map(Instruction::WriteActions),
        3 => actions().prop_map(Instruction::ApplyActions),
        1 => Just(Instruction::ClearActions),
        1 => any::<u32>().prop_map(Instruction::Meter),
        1 => (any::<u32>(), padded_blob(8))
            .prop_map(|(experimenter, body)| Instruction::Experimenter { experimenter, body }),
        1 => (7_u16..0xffff, padded_blob(4))
            .prop_map(|(kind, body)| Instruction::Unknown { kind, body }),
    ]
}

fn instructions() -> impl Strategy<Value = Vec<Instruction>> {
    vec(instruction(), 0..4)
}

fn flow_mod() -> impl Strategy<Value = FlowMod> {
    let ids = (any::<u64>(), any::<u64>(), any::<u8>(), 0_u8..5);
    let shorts = (any::<u16>(), any::<u16>(), any::<u16>(), any::<u16>());
    let words = (any::<u32>(), any::<u32>(), any::<u32>());
    (ids, shorts, words, a_match(), instructions()).prop_map(
        |(ids, shorts, words, match_, instructions)| FlowMod {
            cookie: ids.0,
            cookie_mask: ids.1,
            table_id: ids.2,
            command: FlowModCommand::from_u8(ids.3).unwrap_or_default(),
            idle_timeout: shorts.0,
            hard_timeout: shorts.1,
            priority: shorts.2,
            buffer_id: words.0,
            out_port: words.1,
            out_group: words.2,
            flags: shorts.3,
            match_,
            instructions,
        },
    )
}

fn flow_stats() -> impl Strategy<Value = FlowStats> {
    (flow_mod(), any::<u32>(), any::<u64>()).prop_map(|(rule, duration, count)| FlowStats {
        table_id: rule.table_id,
        duration_sec: duration,
        duration_nsec: !duration,
        priority: rule.priority,
        idle_timeout: rule.idle_timeout,
        hard_timeout: rule.hard_timeout,
        flags: rule.flags,
        cookie: rule.cookie,
        packet_count: count,
        byte_count: !count,
        match_: rule.match_,
        instructions: rule.instructions,
    })
}

fn a_port() -> impl Strategy<Value = Port> {
    (any::<[u8; 6]>(), "[a-z0-9é]{0,7}", any::<[u32; 9]>()).prop_map(|(mac, name, n)| Port {
        port_no: n[0],
        hw_addr: MacAddr(mac),
        name,
        config: n[1],
        state: n[2],
        curr: n[3],
        advertised: n[4],
        supported: n[5],
        peer: n[6],
        curr_speed: n[7],
        max_speed: n[8],
    })
}

fn request() -> impl Strategy<Value = MultipartRequest> {
    let rules = || {
        (any::<u8>(), any::<[u32; 2]>(), any::<[u64; 2]>(), a_match()).prop_map(
            |(table_id, outs, cookies, match_)| FlowStatsRequest {
                table_id,
                out_port: outs[0],
                out_group: outs[1],
                cookie: cookies[0],
                cookie_mask: cookies[1],
                match_,
            },
        )
    };
    prop_oneof![
        1 => Just(MultipartRequest::Desc),
        1 => Just(MultipartRequest::PortDesc),
        1 => any::<u32>().prop_map(|port_no| MultipartRequest::PortStats { port_no }),
        1 => rules().prop_map(MultipartRequest::Flow),
        1 => rules().prop_map(MultipartRequest::Aggregate),
        6 => more::question(),
        1 => (14_u16..0xffff, any::<u16>(), blob(40))
            .prop_map(|(kind, flags, body)| { MultipartRequest::Unknown { kind, flags, body } }),
    ]
}

fn reply() -> impl Strategy<Value = MultipartReply> {
    let desc = any::<[u16; 5]>().prop_map(|n| Desc {
        mfr_desc: "m".repeat(usize::from(n[0] % 256)),
        hw_desc: "h".repeat(usize::from(n[1] % 256)),
        sw_desc: "s".repeat(usize::from(n[2] % 256)),
        serial_num: "n".repeat(usize::from(n[3] % 32)),
        dp_desc: "é".repeat(usize::from(n[4] % 128)),
    });
    let stats = any::<[u64; 3]>().prop_map(|n| PortStats {
        port_no: n[0] as u32,
        rx_packets: n[1],
        collisions: n[2],
        duration_nsec: n[2] as u32,
        ..PortStats::default()
    });
    let sum = any::<(u64, u64, u32)>().prop_map(|n| AggregateStats {
        packet_count: n.0,
        byte_count: n.1,
        flow_count: n.2,
    });
    let body = prop_oneof![
        1 => desc.prop_map(MultipartBody::Desc),
        1 => vec(flow_stats(), 0..5).prop_map(MultipartBody::Flow),
        1 => sum.prop_map(MultipartBody::Aggregate),
        1 => vec(stats, 0..5).prop_map(MultipartBody::PortStats),
        1 => vec(a_port(), 0..5).prop_map(MultipartBody::PortDesc),
        1 => (14_u16..0xffff, blob(40)).prop_map(|(kind, body)| MultipartBody::Unknown { kind, body }),
        8 => more::answer(),
    ];
    (any::<bool>(), body).prop_map(|(more, body)| MultipartReply { more, body })
}

fn packet_in() -> impl Strategy<Value = PacketIn> {
    let numbers = any::<(u32, u16, u8, u8, u64)>();
    (numbers, a_match(), blob(90)).prop_map(|(n, match_, data)| PacketIn {
        buffer_id: n.0,
        total_len: n.1,
        reason: n.2,
        table_id: n.3,
        cookie: n.4,
        match_,
        data,
    })
}

fn packet_out() -> impl Strategy<Value = PacketOut> {
    let numbers = any::<(u32, u32)>();
    (numbers, vec(action(), 0..5), blob(90)).prop_map(|(n, actions, data)| PacketOut {
        buffer_id: n.0,
        in_port: n.1,
        actions,
        data,
    })
}

fn flow_removed() -> impl Strategy<Value = FlowRemoved> {
    (flow_stats(), any::<u8>()).prop_map(|(rule, reason)| FlowRemoved {
        cookie: rule.cookie,
        priority: rule.priority,
        reason,
        table_id: rule.table_id,
        duration_sec: rule.duration_sec,
        duration_nsec: rule.duration_nsec,
        idle_timeout: rule.idle_timeout,
        hard_timeout: rule.hard_timeout,
        packet_count: rule.packet_count,
        byte_count: rule.byte_count,
        match_: rule.match_,
    })
}

fn message() -> impl Strategy<Value = Message> {
    let role = || {
        any::<(u32, u64)>().prop_map(|(role, generation_id)| Role {
            role,
            generation_id,
        })
    };
    let config = || {
        any::<(u16, u16)>().prop_map(|(flags, miss_send_len)| SwitchConfig {
            flags,
            miss_send_len,
        })
    };
    let error = (any::<(u16, u16)>(), blob(90)).prop_map(|((kind, code), data)| ErrorMsg {
        kind,
        code,
        data,
    });
    let features = any::<(u64, u32, u8, u8, u32, u32)>().prop_map(|n| FeaturesReply {
        datapath_id: n.0,
        n_buffers: n.1,
        n_tables: n.2,
        auxiliary_id: n.3,
        capabilities: n.4,
        reserved: n.5,
    });
    let empty = prop::sample::select(vec![
        Message::FeaturesRequest,
        Message::GetConfigRequest,
        Message::BarrierRequest,
        Message::BarrierReply,
    ]);
    let small = prop_oneof![
        prop::option::of(any::<u32>()).prop_map(|versions| Message::Hello(Hello { versions })),
        error.prop_map(Message::Error),
        blob(90).prop_map(Message::EchoRequest),
        blob(90).prop_map(Message::EchoReply),
        empty,
        features.prop_map(Message::FeaturesReply),
        config().prop_map(Message::GetConfigReply),
        config().prop_map(Message::SetConfig),
        role().prop_map(Message::RoleRequest),
        role().prop_map(Message::RoleReply),
        (30_u8.., blob(90)).prop_map(|(kind, body)| Message::Unknown {
            kind: morph_openflow::MessageType(kind),
            body,
        }),
    ];
    prop_oneof![
        3 => small,
        1 => packet_in().prop_map(Message::PacketIn),
        1 => flow_removed().prop_map(Message::FlowRemoved),
        1 => (any::<u8>(), a_port()).prop_map(|(reason, port)| Message::PortStatus(PortStatus { reason, port })),
        1 => packet_out().prop_map(Message::PacketOut),
        1 => flow_mod().prop_map(Message::FlowMod),
        3 => more::change(),
        1 => request().prop_map(Message::MultipartRequest),
        2 => reply().prop_map(Message::MultipartReply),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_message_comes_back(message in message(), xid in any::<u32>()) {
        let frame = message.try_encode(xid).unwrap();
        let (header, back) = decode(&frame).unwrap();
        prop_assert_eq!((header.xid, header.kind), (xid, message.kind()));
        prop_assert_eq!(usize::from(header.length), frame.len());
        prop_assert_eq!(back, message);
    }

    #[test]
    fn view_and_value_agree(value in packet_in(), xid in any::<u32>()) {
        let frame = Message::PacketIn(value.clone()).encode(xid);
        let view = PacketInView::new(&frame).unwrap();
        prop_assert_eq!(view.in_port(), value.in_port());
        prop_assert_eq!(view.data(), &value.data[..]);
        prop_assert_eq!(view.fixed().cookie(), value.cookie);
        let fields: Vec<_> = view.fields().map(Result::unwrap).collect();
        prop_assert_eq!(fields.len(), value.match_.fields.len());
        for (view, value) in fields.iter().zip(&value.match_.fields) {
            prop_assert_eq!(view.field(), value.field);
            prop_assert_eq!(view.value(), &value.value[..]);
            prop_assert_eq!(view.mask(), value.mask.as_deref());
        }
    }

    #[test]
    fn the_normal_form_of_a_valid_match_is_valid(match_ in a_match()) {
        if match_.check().is_ok() {
            prop_assert_eq!(match_.normal().check(), Ok(()), "{}", match_);
        }
    }

    #[test]
    fn a_frame_cut_short_is_an_error(message in message(), cut in any::<prop::sample::Index>()) {
        let frame = message.encode(1);
        let cut = cut.index(frame.len());
        prop_assert!(decode(&frame.slice(..cut)).is_err());
    }

    #[test]
    fn a_flipped_byte_is_no_panic(message in message(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut frame = message.encode(1).to_vec();
        let at = at.index(frame.len());
        frame[at] = byte;
        let _ = decode(&frame.into());
    }

    #[test]
    fn the_normal_form_is_idempotent_and_ignores_order(match_ in a_match(), list in instructions()) {
        let normal = match_.normal();
        prop_assert!(normal.is_normal());
        prop_assert_eq!(normal.normal(), normal.clone());
        let reversed = Match { fields: match_.fields.iter().rev().cloned().collect() };
        prop_assert_eq!(reversed.normal(), normal);
        let once = instruction::normal(&list);
        prop_assert_eq!(instruction::normal(&once), once);
    }

    #[test]
    fn applying_a_difference_leaves_no_difference(installed in vec(flow_stats(), 0..6), wanted in vec(flow_mod(), 0..6)) {
        let installed: RuleSet = installed.iter().map(rule::from_stats).collect();
        let wanted: RuleSet = wanted.iter().map(|rule| (
            RuleKey { table: rule.table_id, priority: rule.priority, match_: rule.match_.clone().into() },
            RuleBody {
                instructions: rule.instructions.clone().into(),
                idle_timeout: rule.idle_timeout,
                hard_timeout: rule.hard_timeout,
                flags: rule.flags,
                cookie: rule.cookie,
            },
        )).collect();
        let difference = rule::difference(&installed, &wanted, 0);
        let mut after = installed;
        for rule in difference.flow_mods() {
            let key = RuleKey::new(rule.table_id, rule.priority, &rule.match_);
            prop_assert_eq!(&*key.match_, &rule.match_);
            match rule.command {
                FlowModCommand::Add => after.insert(key, RuleBody {
                    instructions: rule.instructions.into(),
                    idle_timeout: rule.idle_timeout,
                    hard_timeout: rule.hard_timeout,
                    flags: rule.flags,
                    cookie: rule.cookie,
                }),
                FlowModCommand::DeleteStrict => after.remove(&key),
                other => panic!("{other:?} in a difference"),
            };
        }
        let left = rule::difference(&after, &wanted, 0);
        prop_assert!(left.is_empty(), "{:?}", left);
    }
}
