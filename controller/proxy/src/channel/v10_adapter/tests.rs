//! Tests of the translation between OpenFlow 1.0 and 1.3, by tables.

use morph_openflow::v13::{Action, Match, Oxm, OxmField, PacketOut, port};
use morph_openflow::{MacAddr, frame};
use proptest::prelude::*;

use super::*;

const TABLE: u8 = 10;
const COOKIE: u64 = 0x4d01_0001_0000_0007;

fn adapter() -> V10Adapter {
    let mut adapter = V10Adapter::default();
    adapter.place(TABLE);
    adapter
}

fn rule() -> FlowMod {
    FlowMod {
        cookie: COOKIE,
        table_id: TABLE,
        priority: 2,
        match_: Match::new().in_port(1).eth_dst(MacAddr([2; 6])),
        instructions: vec![Instruction::ApplyActions(vec![Action::output(2)])],
        ..FlowMod::default()
    }
}

/// Returns the translated message, or the text of the refusal.
fn sent(adapter: &mut V10Adapter, xid: u32, message: Message) -> Result<v10::Message, String> {
    let mut out = BytesMut::new();
    let result = adapter.send(xid, &message, &mut out);
    result.map_err(|why| why.to_string())?;
    let frame = frame::split(&mut out).unwrap().unwrap();
    assert!(out.is_empty());
    let (header, message) = v10::decode(&frame).unwrap();
    assert_eq!(header.xid, xid);
    Ok(message)
}

fn received(adapter: &mut V10Adapter, xid: u32, message: v10::Message) -> Vec<Message> {
    let (frames, skipped) = adapter.receive(&message.encode(xid)).unwrap();
    assert!(skipped.is_empty());
    let decode = |frame: &Bytes| {
        let (header, message) = v13::decode(frame).unwrap();
        assert_eq!(header.xid, xid);
        message
    };
    frames.iter().map(decode).collect()
}

#[test]
fn a_rule_of_the_apps_first_table_goes_to_the_only_table() {
    match sent(&mut adapter(), 5, Message::FlowMod(rule())).unwrap() {
        v10::Message::FlowMod(flow) => {
            assert_eq!((flow.cookie, flow.priority), (COOKIE, 2));
            assert_eq!(flow.command, FlowModCommand::Add);
            assert_eq!(flow.out_port, v10::port::NONE);
            assert_eq!(
                (flow.match_.in_port, flow.match_.dl_dst),
                (1, MacAddr([2; 6]))
            );
            assert_eq!(flow.actions, [v10::Action::output(2)]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_that_1_0_cannot_express_are_refused_with_a_reason() {
    let with = |change: fn(&mut FlowMod)| {
        let mut flow = rule();
        change(&mut flow);
        Message::FlowMod(flow)
    };
    let all = Match::new()
        .in_port(1)
        .eth_dst(MacAddr([2; 6]))
        .eth_src(MacAddr([4; 6]))
        .eth_type(0x800)
        .vlan_vid(5)
        .vlan_pcp(0)
        .ip_dscp(0)
        .ip_proto(6)
        .ipv4_src([10, 0, 0, 1].into())
        .ipv4_dst([10, 0, 0, 2].into())
        .tcp_src(1)
        .tcp_dst(2);
    let mut exact = rule();
    exact.match_ = all;
    for (message, expected) in [
        (
            with(|f| f.table_id = TABLE + 1),
            "no table 11: its only one stands for table 10",
        ),
        (
            with(|f| f.instructions = vec![Instruction::GotoTable(19)]),
            "it can only apply actions",
        ),
        (
            with(|f| f.instructions = vec![Instruction::WriteActions(vec![])]),
            "it can only apply",
        ),
        (
            with(|f| f.instructions = vec![Instruction::ApplyActions(vec![Action::Group(1)])]),
            "no action group",
        ),
        (
            with(|f| f.match_ = Match::new().metadata(1)),
            "no match on metadata",
        ),
        (
            with(|f| f.command = FlowModCommand::Delete),
            "no Delete by cookie",
        ),
        (
            with(|f| f.command = FlowModCommand::ModifyStrict),
            "no ModifyStrict by cookie",
        ),
        (
            with(|f| f.flags = v13::flow_mod::flag::NO_PKT_COUNTS),
            "no flags 0x8",
        ),
        (Message::FlowMod(exact), "no priority below the highest"),
        (Message::GetConfigRequest, "no GET_CONFIG_REQUEST"),
    ] {
        let refused = sent(&mut adapter(), 1, message).unwrap_err();
        assert!(
            refused.starts_with("OpenFlow 1.0 has") && refused.contains(expected),
            "{refused}"
        );
    }
}

#[test]
fn a_packet_of_the_controllers_own_comes_from_no_port() {
    let out = Message::PacketOut(PacketOut {
        buffer_id: v13::NO_BUFFER,
        in_port: port::CONTROLLER,
        actions: vec![Action::output(port::FLOOD)],
        data: Bytes::from_static(b"data"),
    });
    match sent(&mut adapter(), 1, out).unwrap() {
        v10::Message::PacketOut(out) => {
            assert_eq!(out.in_port, v10::port::NONE);
            assert_eq!(out.actions, [v10::Action::output(v10::port::FLOOD)]);
        }
        other => panic!("{other:?}"),
    }
}

fn installed(cookie: u64, idle_timeout: u16, actions: Vec<v10::Action>) -> v10::FlowStats {
    v10::FlowStats {
        table_id: 3,
        match_: v10::Match::default(),
        duration_sec: 1,
        duration_nsec: 2,
        priority: 4,
        idle_timeout,
        hard_timeout: 0,
        cookie,
        packet_count: 5,
        byte_count: 6,
        actions,
    }
}

fn reply(more: bool, rules: Vec<v10::FlowStats>) -> v10::Message {
    let body = StatsBody::Flow(rules);
    v10::Message::StatsReply(StatsReply { more, body })
}

fn ask(adapter: &mut V10Adapter, xid: u32, request: MultipartRequest) -> StatsRequest {
    match sent(adapter, xid, Message::MultipartRequest(request)).unwrap() {
        v10::Message::StatsRequest(request) => request,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rules_are_requested_in_full_and_filtered_part_by_part() {
    let mut adapter = adapter();
    let pending = FlowStatsRequest::by_cookie(COOKIE, 0xffff << 48);
    let request = ask(&mut adapter, 7, MultipartRequest::Flow(pending));
    assert_eq!(request, StatsRequest::Flow(v10::FlowStatsRequest::all()));
    let first = reply(
        true,
        vec![installed(1, 0, vec![]), installed(COOKIE, 9, vec![])],
    );
    let set = v10::Action::SetNwTos(4);
    let last = reply(
        false,
        vec![installed(COOKIE, 0, vec![set]), installed(0, 0, vec![])],
    );
    let mut seen = Vec::new();
    for part in [first, last] {
        for message in received(&mut adapter, 7, part) {
            match message {
                Message::MultipartReply(MultipartReply {
                    more,
                    body: MultipartBody::Flow(rules),
                }) => seen.extend(rules.into_iter().map(|rule| (more, rule))),
                other => panic!("{other:?}"),
            }
        }
    }
    let dscp = Action::SetField(Oxm::exact(OxmField::IP_DSCP, &[1]));
    let [(true, with), (false, without)] = &seen[..] else {
        panic!("{seen:?}");
    };
    assert_eq!(
        (with.table_id, with.flags, with.instructions.len()),
        (TABLE, 1, 0)
    );
    assert_eq!((without.table_id, without.flags), (TABLE, 0));
    assert_eq!(
        without.instructions,
        [Instruction::ApplyActions(vec![dscp])]
    );
    let again = received(
        &mut adapter,
        7,
        reply(false, vec![installed(COOKIE, 0, vec![])]),
    );
    assert!(again.is_empty(), "nobody pending for that");
}

#[test]
fn rules_of_another_table_are_none_and_sums_are_made_here() {
    let mut adapter = adapter();
    let mut elsewhere = FlowStatsRequest::all();
    elsewhere.table_id = 0;
    ask(&mut adapter, 1, MultipartRequest::Flow(elsewhere));
    let messages = received(&mut adapter, 1, reply(false, vec![installed(1, 0, vec![])]));
    let nothing = MultipartBody::Flow(Vec::new());
    let none = MultipartReply {
        more: false,
        body: nothing,
    };
    assert_eq!(messages, [Message::MultipartReply(none)]);

    let own = FlowStatsRequest::by_cookie(COOKIE, u64::MAX);
    ask(&mut adapter, 2, MultipartRequest::Aggregate(own));
    let two = || vec![installed(COOKIE, 0, vec![]), installed(1, 0, vec![])];
    assert!(received(&mut adapter, 2, reply(true, two())).is_empty());
    let sum = AggregateStats {
        packet_count: 10,
        byte_count: 12,
        flow_count: 2,
    };
    let sum = MultipartReply {
        more: false,
        body: MultipartBody::Aggregate(sum),
    };
    let messages = received(&mut adapter, 2, reply(false, two()));
    assert_eq!(messages, [Message::MultipartReply(sum)]);
}

#[test]
fn a_rule_that_cannot_be_decoded_is_left_out() {
    let mut adapter = adapter();
    let all = FlowStatsRequest::all();
    ask(&mut adapter, 4, MultipartRequest::Flow(all));
    let outputs = || vec![v10::Action::output(1)];
    let rules = vec![installed(1, 0, outputs()), installed(2, 0, outputs())];
    let mut frame = reply(false, rules).encode(4).to_vec();
    // Length of the action of the first rule.
    frame[12 + 88 + 3] = 3;
    let (frames, skipped) = adapter.receive(&frame.into()).unwrap();
    assert_eq!(skipped.len(), 1);
    match v13::decode(&frames[0]).unwrap().1 {
        Message::MultipartReply(MultipartReply {
            more: false,
            body: MultipartBody::Flow(rules),
        }) => assert_eq!(rules.iter().map(|r| r.cookie).collect::<Vec<_>>(), [2]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_part_that_is_too_long_in_1_3_becomes_several() {
    let mut adapter = adapter();
    ask(
        &mut adapter,
        3,
        MultipartRequest::Flow(FlowStatsRequest::all()),
    );
    let outputs = vec![v10::Action::output(1); 20];
    let rules = vec![installed(1, 0, outputs); 250];
    let messages = received(&mut adapter, 3, reply(true, rules));
    assert!(messages.len() > 1);
    let count = |message: &Message| match message {
        Message::MultipartReply(MultipartReply {
            more: true,
            body: MultipartBody::Flow(rules),
        }) => rules.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(messages.iter().map(count).sum::<usize>(), 250);
}

#[test]
fn ports_come_with_the_features_and_so_does_the_one_table() {
    let features = || {
        v10::Message::FeaturesReply(v10::FeaturesReply {
            datapath_id: 7,
            n_buffers: 0,
            n_tables: 254,
            capabilities: 0xff,
            actions: 0xfff,
            ports: vec![v10::PhyPort {
                port_no: 1,
                hw_addr: MacAddr([2; 6]),
                name: "eth1".into(),
                config: 0,
                state: 0,
                curr: 0,
                advertised: 0,
                supported: 0,
                peer: 0,
            }],
        })
    };
    let mut adapter = adapter();
    match &received(&mut adapter, 1, features())[..] {
        [Message::FeaturesReply(found)] => {
            assert_eq!((found.datapath_id, found.n_tables), (7, 1));
            assert_eq!((found.auxiliary_id, found.capabilities), (0, 0x67));
        }
        other => panic!("{other:?}"),
    }
    let ask = Message::MultipartRequest(MultipartRequest::PortDesc);
    assert_eq!(
        sent(&mut adapter, 2, ask),
        Ok(v10::Message::FeaturesRequest)
    );
    match &received(&mut adapter, 2, features())[..] {
        [
            Message::MultipartReply(MultipartReply {
                more: false,
                body: MultipartBody::PortDesc(ports),
            }),
        ] => assert_eq!((ports.len(), ports[0].port_no), (1, 1)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_packet_in_is_of_the_apps_table_and_of_no_rule() {
    let packet = v10::Message::PacketIn(v10::PacketIn {
        buffer_id: v10::NO_BUFFER,
        total_len: 4,
        in_port: v10::port::LOCAL,
        reason: 1,
        data: Bytes::from_static(b"data"),
    });
    match &received(&mut adapter(), 0, packet)[..] {
        [Message::PacketIn(packet)] => {
            assert_eq!((packet.table_id, packet.cookie), (TABLE, u64::MAX));
            assert_eq!(packet.in_port(), Some(port::LOCAL));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn roles_are_requested_by_niciras_messages() {
    use morph_openflow::v13::role::{EQUAL, MASTER, NOCHANGE, SLAVE};
    let request = |role| {
        Message::RoleRequest(v13::Role {
            role,
            generation_id: 9,
        })
    };
    for (role, nicira) in [
        (EQUAL, v10::vendor::role::OTHER),
        (MASTER, v10::vendor::role::MASTER),
        (SLAVE, v10::vendor::role::SLAVE),
    ] {
        let pending = sent(&mut adapter(), 3, request(role)).unwrap();
        let wanted = v10::Message::Vendor(v10::Vendor::NxRoleRequest(nicira));
        assert_eq!(pending, wanted);
        let reply = v10::Message::Vendor(v10::Vendor::NxRoleReply(nicira));
        match received(&mut adapter(), 3, reply)[..] {
            [Message::RoleReply(reply)] => assert_eq!(reply.role, role),
            ref other => panic!("{other:?}"),
        }
    }
    assert!(sent(&mut adapter(), 3, request(NOCHANGE)).is_err());
    // A role number without meaning is passed on as it is.
    let absurd = v10::Message::Vendor(v10::Vendor::NxRoleReply(u32::MAX));
    let absurd = received(&mut adapter(), 3, absurd);
    assert!(matches!(&absurd[..], [Message::RoleReply(role)] if role.role > SLAVE));
}

#[test]
fn messages_unknown_to_1_3_are_dropped_and_an_error_ends_a_request() {
    let mut adapter = adapter();
    let vendor = v10::Message::Vendor(v10::Vendor::NxRoleRequest(1));
    assert!(received(&mut adapter, 0, vendor).is_empty());
    ask(
        &mut adapter,
        4,
        MultipartRequest::Flow(FlowStatsRequest::all()),
    );
    let error = v10::Message::Error(v10::ErrorMsg {
        kind: 3,
        code: 0,
        data: Bytes::new(),
    });
    match &received(&mut adapter, 4, error)[..] {
        [Message::Error(error)] => assert_eq!(error.to_string(), "FLOW_MOD_FAILED/TABLE_FULL"),
        other => panic!("{other:?}"),
    }
    assert!(adapter.pending.is_empty());
    for xid in 0..2000 {
        ask(
            &mut adapter,
            xid,
            MultipartRequest::Flow(FlowStatsRequest::all()),
        );
    }
    assert_eq!(adapter.pending.len(), PENDING_REQUESTS);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_frame_is_frames_of_1_3_or_an_error(
        kind in 0_u8..24,
        which in 0_u8..7,
        body in prop::collection::vec(prop_oneof![3 => Just(0_u8), 1 => 0_u8..32, 1 => any::<u8>()], 0..300),
    ) {
        let mut adapter = adapter();
        ask(&mut adapter, 7, MultipartRequest::Flow(FlowStatsRequest::all()));
        let mut body = body;
        if kind == 17 && body.len() > 1 {
            body[0] = 0;
            body[1] = which;
        }
        let length = (8 + body.len()) as u16;
        let mut bytes = vec![1, kind];
        bytes.extend(length.to_be_bytes());
        bytes.extend([0, 0, 0, 7]);
        bytes.extend(body);
        if let Ok((frames, _)) = adapter.receive(&bytes.into()) {
            for frame in frames {
                prop_assert!(v13::decode(&frame).is_ok());
            }
        }
    }
}
