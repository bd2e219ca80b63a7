//! Decodes the annotated frames in `vectors/of13` and encodes them again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

#[path = "../hex/mod.rs"]
mod hex;

mod changes;
mod lists;
mod multiparts;

use std::collections::BTreeSet;

use bytes::Bytes;
use morph_openflow::MacAddr;
use morph_openflow::v13::*;

const XID: u32 = 42;
const COOKIE: u64 = 0x4d01_0002_0000_0003;

fn port() -> Port {
    Port {
        port_no: 2,
        hw_addr: MacAddr([2, 0, 0, 0, 0, 2]),
        name: "s1-eth2".into(),
        config: port_config::DOWN,
        state: port_state::LINK_DOWN | port_state::LIVE,
        curr: 0x840,
        advertised: 0x20,
        supported: 0x3f,
        peer: 0,
        curr_speed: 10_000_000,
        max_speed: 10_000_000,
    }
}

fn flow_mod() -> FlowMod {
    let register = OxmField::reg(4);
    FlowMod {
        cookie: COOKIE,
        table_id: 10,
        idle_timeout: 10,
        hard_timeout: 30,
        priority: 100,
        flags: flow_mod::flag::SEND_FLOW_REM,
        match_: Match {
            fields: vec![
                Oxm::exact(OxmField::ETH_TYPE, &[8, 0]),
                Oxm::masked(OxmField::IPV4_DST, &[10, 0, 0, 0], &[255, 0, 0, 0]),
                Oxm::exact(register, &[0, 0, 0, 9]),
            ],
        },
        instructions: vec![
            Instruction::ApplyActions(vec![
                Action::PushVlan(0x8100),
                Action::SetField(Oxm::exact(OxmField::VLAN_VID, &[0x10, 5])),
                Action::DecNwTtl,
                Action::SetQueue(3),
                Action::output(2),
                Action::Experimenter {
                    experimenter: 0x2320,
                    body: Bytes::from_static(&[0, 0x2b, 0, 0, 0, 0, 0, 0]),
                },
                Action::Unknown {
                    kind: 35,
                    body: Bytes::from_static(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
                },
            ]),
            Instruction::WriteMetadata {
                metadata: 5,
                mask: 0xff,
            },
            Instruction::GotoTable(20),
        ],
        ..FlowMod::default()
    }
}

fn flow_reply() -> Vec<FlowStats> {
    let first = FlowStats {
        table_id: 10,
        duration_sec: 5,
        duration_nsec: 6,
        priority: 100,
        idle_timeout: 0,
        hard_timeout: 30,
        flags: flow_mod::flag::SEND_FLOW_REM,
        cookie: COOKIE,
        packet_count: 7,
        byte_count: 512,
        match_: Match::new().in_port(7),
        instructions: vec![Instruction::GotoTable(20)],
    };
    let second = FlowStats {
        table_id: 0,
        priority: 0,
        hard_timeout: 0,
        flags: 0,
        cookie: 0,
        packet_count: 0,
        byte_count: 0,
        match_: Match::new(),
        instructions: vec![],
        ..first.clone()
    };
    vec![first, second]
}

fn symmetric() -> Vec<(&'static str, Message)> {
    let ping = || Bytes::from_static(b"ping");
    let config = SwitchConfig {
        flags: 1,
        miss_send_len: 0xffff,
    };
    let role = Role {
        role: role::MASTER,
        generation_id: 9,
    };
    vec![
        ("hello", Message::Hello(Hello::V13)),
        (
            "error",
            Message::Error(ErrorMsg {
                kind: error::kind::BAD_MATCH,
                code: 9,
                data: Bytes::from_static(&[4, 14, 0, 0x50, 0, 0, 0, 7]),
            }),
        ),
        ("echo_request", Message::EchoRequest(ping())),
        ("echo_reply", Message::EchoReply(ping())),
        ("features_request", Message::FeaturesRequest),
        (
            "features_reply",
            Message::FeaturesReply(FeaturesReply {
                datapath_id: 1,
                n_buffers: 256,
                n_tables: 254,
                auxiliary_id: 0,
                capabilities: 0x4f,
                reserved: 0,
            }),
        ),
        ("get_config_request", Message::GetConfigRequest),
        ("get_config_reply", Message::GetConfigReply(config)),
        ("set_config", Message::SetConfig(config)),
        ("barrier_request", Message::BarrierRequest),
        ("barrier_reply", Message::BarrierReply),
        ("role_request", Message::RoleRequest(role)),
        ("role_reply", Message::RoleReply(role)),
    ]
}

fn packets_and_rules() -> Vec<(&'static str, Message)> {
    vec![
        (
            "packet_in",
            Message::PacketIn(PacketIn {
                buffer_id: NO_BUFFER,
                total_len: 64,
                reason: packet_in::reason::ACTION,
                table_id: 10,
                cookie: COOKIE,
                match_: Match::new().in_port(7),
                data: Bytes::from_static(&[0xde, 0xad, 0xbe, 0xef, 0, 1, 2, 3]),
            }),
        ),
        (
            "flow_removed",
            Message::FlowRemoved(FlowRemoved {
                cookie: COOKIE,
                priority: 100,
                reason: flow_removed::reason::IDLE_TIMEOUT,
                table_id: 10,
                duration_sec: 5,
                duration_nsec: 6,
                idle_timeout: 10,
                hard_timeout: 30,
                packet_count: 7,
                byte_count: 512,
                match_: Match::new().eth_dst(MacAddr([2, 0, 0, 0, 0, 1])),
            }),
        ),
        (
            "port_status",
            Message::PortStatus(PortStatus {
                reason: port_reason::MODIFY,
                port: port(),
            }),
        ),
        (
            "packet_out",
            Message::PacketOut(PacketOut {
                buffer_id: NO_BUFFER,
                in_port: port::CONTROLLER,
                actions: vec![Action::output(port::FLOOD)],
                data: Bytes::from_static(&[0xde, 0xad, 0xbe, 0xef]),
            }),
        ),
        ("flow_mod", Message::FlowMod(flow_mod())),
    ]
}

fn requests() -> Vec<(&'static str, Message)> {
    let rules = FlowStatsRequest::by_cookie(0x4d01 << 48, 0xffff << 48);
    let requests = vec![
        ("desc_request", MultipartRequest::Desc),
        ("flow_request", MultipartRequest::Flow(rules.clone())),
        ("aggregate_request", MultipartRequest::Aggregate(rules)),
        (
            "port_stats_request",
            MultipartRequest::PortStats { port_no: port::ANY },
        ),
        ("port_desc_request", MultipartRequest::PortDesc),
    ];
    let message = |(name, request)| (name, Message::MultipartRequest(request));
    let all = requests.into_iter().chain(multiparts::requests());
    all.map(message).collect()
}

fn replies() -> Vec<(&'static str, Message)> {
    let desc = Desc {
        mfr_desc: "Morp".into(),
        hw_desc: "hw".into(),
        sw_desc: "sw".into(),
        serial_num: "1".into(),
        dp_desc: String::new(),
    };
    let sum = AggregateStats {
        packet_count: 7,
        byte_count: 512,
        flow_count: 2,
    };
    let counters = PortStats {
        port_no: 2,
        rx_packets: 1,
        tx_packets: 2,
        rx_bytes: 3,
        tx_bytes: 4,
        rx_dropped: 5,
        tx_dropped: 6,
        rx_errors: 7,
        tx_errors: 8,
        rx_frame_err: 9,
        rx_over_err: 10,
        rx_crc_err: 11,
        collisions: 12,
        duration_sec: 13,
        duration_nsec: 14,
    };
    let replies = vec![
        ("desc_reply", false, MultipartBody::Desc(desc)),
        ("flow_reply", true, MultipartBody::Flow(flow_reply())),
        ("aggregate_reply", false, MultipartBody::Aggregate(sum)),
        (
            "port_stats_reply",
            false,
            MultipartBody::PortStats(vec![counters]),
        ),
        (
            "port_desc_reply",
            false,
            MultipartBody::PortDesc(vec![port()]),
        ),
    ];
    let message =
        |(name, more, body)| (name, Message::MultipartReply(MultipartReply { more, body }));
    let all = replies.into_iter().chain(multiparts::replies());
    all.map(message).collect()
}

fn all() -> Vec<(&'static str, Message)> {
    [
        symmetric(),
        packets_and_rules(),
        changes::all(),
        lists::all(),
        requests(),
        replies(),
    ]
    .concat()
}

#[test]
fn vectors_decode_to_their_values_and_back() {
    for (name, value) in all() {
        let bytes = hex::OF13.load(name);
        let (header, decoded) = decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((header.version, header.xid), (VERSION, XID), "{name}");
        assert_eq!(decoded, value, "{name}");
        assert_eq!(value.encode(XID), bytes, "{name}");
        assert_eq!(decoded.encode(XID), bytes, "{name}, again");
    }
}

/// Messages that end with any number of bytes.
const FREE_END: [&str; 10] = [
    "actions",
    "echo_reply",
    "echo_request",
    "error",
    "error_experimenter",
    "experimenter",
    "experimenter_multipart_reply",
    "experimenter_multipart_request",
    "packet_in",
    "packet_out",
];
/// Messages whose last padding may be missing, as at the end of a hello.
const MAY_LACK_PADDING: [&str; 2] = ["bundle_add", "bundle_control"];

/// Frame truncated or extended to `length`, which the header states too.
fn twin(bytes: &[u8], length: usize) -> Bytes {
    let mut twin = bytes.to_vec();
    twin.resize(length, 0);
    twin[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    twin.into()
}

#[test]
fn truncated_and_over_long_vectors_are_refused() {
    for (name, value) in all() {
        let bytes = value.encode(XID);
        let short = bytes.slice(..bytes.len() - 1);
        assert!(decode(&short).is_err(), "{name}, its header not telling");
        for length in [bytes.len() - 1, bytes.len() + 1, bytes.len() + 5] {
            let twin = twin(&bytes, length);
            let decoded = decode(&twin);
            let shorter = length < bytes.len();
            if length < 8 {
                assert!(decoded.is_err(), "{name}");
            } else if FREE_END.contains(&name) && !(shorter && name == "actions") {
                let (_, other) = decoded.unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(other.encode(XID), twin, "{name}");
                assert_ne!(other, value, "{name}");
            } else if shorter && MAY_LACK_PADDING.contains(&name) {
                assert_eq!(decoded.unwrap().1, value, "{name}");
            } else {
                let error = decoded.expect_err(name);
                assert!(error.offset <= length, "{name}: {error}");
            }
        }
    }
}

#[test]
fn every_vector_is_tested() {
    let files: BTreeSet<String> = hex::OF13.names().into_iter().collect();
    let values = all().into_iter().map(|(name, _)| name.to_owned());
    assert_eq!(files, values.collect());
}

#[test]
fn views_agree_with_decoded_values() {
    let bytes = hex::OF13.load("flow_mod");
    let view = peek::flow_mod(&bytes).unwrap();
    assert_eq!((view.cookie(), view.cookie_mask()), (COOKIE, 0));
    assert_eq!((view.table_id(), view.command()), (10, 0));
    let bytes = hex::OF13.load("packet_in");
    let view = peek::packet_in(&bytes).unwrap();
    assert_eq!((view.cookie(), view.table_id()), (COOKIE, 10));
    assert_eq!((view.reason(), view.total_len()), (1, 64));
    let bytes = hex::OF13.load("flow_removed");
    let view = peek::flow_removed(&bytes).unwrap();
    assert_eq!((view.cookie(), view.table_id()), (COOKIE, 10));
    let bytes = hex::OF13.load("flow_reply");
    let view = peek::multipart(&bytes).unwrap();
    assert_eq!((view.kind(), view.flags()), (multipart_kind::FLOW, 1));
    let bytes = hex::OF13.load("error");
    let view = peek::error(&bytes).unwrap();
    assert_eq!((view.kind(), view.code()), (4, 9));
    let bytes = hex::OF13.load("group_mod");
    assert_eq!(peek::group_mod(&bytes).unwrap().group_id(), 5);

    let error = peek::group_mod(&bytes[..15]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "group_mod at byte 8: needs 8 bytes, 7 are left"
    );
    assert!(peek::meter_mod(&bytes).is_err(), "another message");
}

#[test]
fn direct_writers_give_the_bytes_of_the_encoded_value() {
    let head = FlowMod {
        cookie: COOKIE,
        table_id: 10,
        priority: 100,
        ..FlowMod::default()
    };
    let actions = [Action::DecNwTtl, Action::output(2)];
    let dst = [2, 0, 0, 0, 0, 1];
    let mut out = bytes::BytesMut::new();
    let fields: [(OxmField, &[u8]); 2] = [(OxmField::ETH_DST, &dst), (OxmField::ETH_TYPE, &[8, 0])];
    head.write(XID, &fields, &actions, &mut out).unwrap();
    let value = FlowMod {
        match_: Match::new().eth_dst(MacAddr(dst)).eth_type(0x800),
        instructions: vec![Instruction::ApplyActions(actions.to_vec())],
        ..head
    };
    assert_eq!(out, Message::FlowMod(value).encode(XID));

    out.clear();
    PacketOut::write(XID, 3, &actions, b"packet", &mut out).unwrap();
    let value = PacketOut {
        buffer_id: NO_BUFFER,
        in_port: 3,
        actions: actions.to_vec(),
        data: Bytes::from_static(b"packet"),
    };
    assert_eq!(out, Message::PacketOut(value).encode(XID));
}
