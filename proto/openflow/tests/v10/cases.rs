//! Values of each kind of message, by the name of their vector.

use bytes::Bytes;
use morph_openflow::v10::*;
use morph_openflow::{MacAddr, MessageType};

const COOKIE: u64 = 0x4d01_0002_0000_0003;

fn web() -> Match {
    let counts = wildcard::IN_PORT | wildcard::DL_TYPE | wildcard::NW_PROTO | wildcard::TP_DST;
    let bits = wildcard::NW_BITS << wildcard::NW_DST_SHIFT;
    Match {
        wildcards: wildcard::ALL & !counts & !bits | 24 << wildcard::NW_DST_SHIFT,
        in_port: 7,
        dl_type: 0x800,
        nw_proto: 6,
        nw_dst: [10, 0, 0, 0].into(),
        tp_dst: 80,
        ..Match::default()
    }
}

/// Match without wildcards.
fn exact() -> Match {
    Match {
        wildcards: 0,
        in_port: 7,
        dl_src: MacAddr([2, 0, 0, 0, 0, 1]),
        dl_dst: MacAddr([2, 0, 0, 0, 0, 2]),
        dl_vlan: 5,
        dl_vlan_pcp: 3,
        dl_type: 0x800,
        nw_tos: 0xb8,
        nw_proto: 17,
        nw_src: [10, 0, 0, 1].into(),
        nw_dst: [10, 0, 0, 2].into(),
        tp_src: 1024,
        tp_dst: 53,
    }
}

fn port() -> PhyPort {
    PhyPort {
        port_no: 2,
        hw_addr: MacAddr([2, 0, 0, 0, 0, 2]),
        name: "s1-eth2".into(),
        config: port_config::PORT_DOWN,
        state: port_state::LINK_DOWN | port_state::STP_FORWARD,
        curr: 0x2a0,
        advertised: 0x20,
        supported: 0x3f,
        peer: 0,
    }
}

fn actions() -> Vec<Action> {
    vec![
        Action::SetVlanVid(5),
        Action::SetVlanPcp(3),
        Action::StripVlan,
        Action::SetDlSrc(MacAddr([2, 0, 0, 0, 0, 1])),
        Action::SetDlDst(MacAddr([2, 0, 0, 0, 0, 2])),
        Action::SetNwSrc([10, 0, 0, 1].into()),
        Action::SetNwDst([10, 0, 0, 2].into()),
        Action::SetNwTos(0xb8),
        Action::SetTpSrc(1024),
        Action::SetTpDst(8080),
        Action::Enqueue {
            port: 2,
            queue_id: 3,
        },
        Action::to_controller(),
        Action::Vendor {
            vendor: vendor::NICIRA,
            body: Bytes::from_static(&[0, 0x12, 0, 0, 0, 0, 0, 0]),
        },
        Action::Unknown {
            kind: 12,
            body: Bytes::from_static(&[1, 2, 3, 4]),
        },
    ]
}

fn symmetric() -> Vec<(&'static str, Message)> {
    let ping = || Bytes::from_static(b"ping");
    let config = SwitchConfig {
        flags: 1,
        miss_send_len: 0xffff,
    };
    let error = ErrorMsg {
        kind: error::kind::FLOW_MOD_FAILED,
        code: 1,
        data: Bytes::from_static(&[1, 14, 0, 0x48, 0, 0, 0, 7]),
    };
    let onf = Vendor::Unknown {
        vendor: 0x4f4e_4600,
        body: Bytes::from_static(&[1, 2, 3, 4]),
    };
    let features = FeaturesReply {
        datapath_id: 1,
        n_buffers: 256,
        n_tables: 254,
        capabilities: capability::FLOW_STATS
            | capability::TABLE_STATS
            | capability::PORT_STATS
            | capability::QUEUE_STATS
            | capability::ARP_MATCH_IP,
        actions: 0xfff,
        ports: vec![port()],
    };
    vec![
        ("hello", Message::Hello(Bytes::new())),
        ("error", Message::Error(error)),
        ("echo_request", Message::EchoRequest(ping())),
        ("echo_reply", Message::EchoReply(ping())),
        ("vendor", Message::Vendor(onf)),
        (
            "nx_role_request",
            Message::Vendor(Vendor::NxRoleRequest(vendor::role::MASTER)),
        ),
        (
            "nx_role_reply",
            Message::Vendor(Vendor::NxRoleReply(vendor::role::SLAVE)),
        ),
        ("features_request", Message::FeaturesRequest),
        ("features_reply", Message::FeaturesReply(features)),
        ("get_config_request", Message::GetConfigRequest),
        ("get_config_reply", Message::GetConfigReply(config)),
        ("set_config", Message::SetConfig(config)),
        ("barrier_request", Message::BarrierRequest),
        ("barrier_reply", Message::BarrierReply),
        (
            "unknown",
            Message::Unknown {
                kind: MessageType(22),
                body: Bytes::from_static(&[1, 2, 3]),
            },
        ),
    ]
}

fn packets_and_rules() -> Vec<(&'static str, Message)> {
    vec![
        (
            "packet_in",
            Message::PacketIn(PacketIn {
                buffer_id: NO_BUFFER,
                total_len: 64,
                in_port: 7,
                reason: packet_in::reason::ACTION,
                data: Bytes::from_static(&[0xde, 0xad, 0xbe, 0xef, 0, 1]),
            }),
        ),
        (
            "flow_removed",
            Message::FlowRemoved(FlowRemoved {
                match_: web(),
                cookie: COOKIE,
                priority: 100,
                reason: flow_removed::reason::IDLE_TIMEOUT,
                duration_sec: 5,
                duration_nsec: 6,
                idle_timeout: 10,
                packet_count: 7,
                byte_count: 512,
            }),
        ),
        (
            "packet_out",
            Message::PacketOut(PacketOut {
                buffer_id: NO_BUFFER,
                in_port: port::NONE,
                actions: vec![Action::output(port::FLOOD)],
                data: Bytes::from_static(&[0xde, 0xad, 0xbe, 0xef]),
            }),
        ),
        (
            "flow_mod",
            Message::FlowMod(FlowMod {
                match_: web(),
                cookie: COOKIE,
                idle_timeout: 10,
                hard_timeout: 30,
                priority: 100,
                flags: flow_mod::flag::SEND_FLOW_REM,
                actions: actions(),
                ..FlowMod::default()
            }),
        ),
        (
            "match",
            Message::FlowMod(FlowMod {
                match_: exact(),
                command: FlowModCommand::Delete,
                priority: 0,
                out_port: 2,
                ..FlowMod::default()
            }),
        ),
    ]
}

fn ports_and_queues() -> Vec<(&'static str, Message)> {
    let unknown = QueueProperty::Unknown {
        kind: 7,
        body: Bytes::from_static(&[1, 2, 3, 4]),
    };
    let queues = vec![
        PacketQueue {
            queue_id: 3,
            properties: vec![QueueProperty::MinRate(500), QueueProperty::None, unknown],
        },
        PacketQueue {
            queue_id: 4,
            properties: Vec::new(),
        },
    ];
    vec![
        (
            "port_status",
            Message::PortStatus(PortStatus {
                reason: port_reason::MODIFY,
                desc: port(),
            }),
        ),
        (
            "port_mod",
            Message::PortMod(PortMod {
                port_no: 2,
                hw_addr: MacAddr([2, 0, 0, 0, 0, 2]),
                config: port_config::PORT_DOWN,
                mask: port_config::PORT_DOWN | port_config::NO_FLOOD,
                advertise: 0,
            }),
        ),
        (
            "queue_get_config_request",
            Message::QueueGetConfigRequest { port: 2 },
        ),
        (
            "queue_get_config_reply",
            Message::QueueGetConfigReply(QueueConfig { port: 2, queues }),
        ),
    ]
}

fn requests() -> Vec<(&'static str, Message)> {
    let rules = FlowStatsRequest {
        match_: web(),
        table_id: 0,
        out_port: 2,
    };
    let requests = vec![
        ("desc_request", StatsRequest::Desc),
        ("flow_request", StatsRequest::Flow(FlowStatsRequest::all())),
        ("aggregate_request", StatsRequest::Aggregate(rules)),
        ("table_request", StatsRequest::Table),
        (
            "port_request",
            StatsRequest::Port {
                port_no: port::NONE,
            },
        ),
        (
            "queue_request",
            StatsRequest::Queue {
                port_no: port::ALL,
                queue_id: u32::MAX,
            },
        ),
        (
            "vendor_stats_request",
            StatsRequest::Vendor {
                vendor: vendor::NICIRA,
                body: Bytes::from_static(&[0; 8]),
            },
        ),
        (
            "unknown_stats_request",
            StatsRequest::Unknown {
                kind: 9,
                flags: 1,
                body: Bytes::from_static(&[1, 2]),
            },
        ),
    ];
    let message = |(name, request)| (name, Message::StatsRequest(request));
    requests.into_iter().map(message).collect()
}

fn flows() -> Vec<FlowStats> {
    let first = FlowStats {
        table_id: 0,
        match_: web(),
        duration_sec: 5,
        duration_nsec: 6,
        priority: 100,
        idle_timeout: 0,
        hard_timeout: 30,
        cookie: COOKIE,
        packet_count: 7,
        byte_count: 512,
        actions: vec![Action::output(2)],
    };
    let second = FlowStats {
        table_id: 1,
        match_: Match::default(),
        priority: 0,
        hard_timeout: 0,
        cookie: 0,
        packet_count: 0,
        byte_count: 0,
        actions: vec![],
        ..first.clone()
    };
    vec![first, second]
}

fn counters() -> Vec<(&'static str, bool, StatsBody)> {
    let table = TableStats {
        table_id: 0,
        name: "classifier".into(),
        wildcards: wildcard::ALL,
        max_entries: 1_000_000,
        active_count: 3,
        lookup_count: 9,
        matched_count: 8,
    };
    let port = PortStats {
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
    };
    let queue = QueueStats {
        port_no: 2,
        queue_id: 3,
        tx_bytes: 4,
        tx_packets: 5,
        tx_errors: 6,
    };
    vec![
        ("table_reply", false, StatsBody::Table(vec![table])),
        ("port_reply", false, StatsBody::Port(vec![port])),
        ("queue_reply", false, StatsBody::Queue(vec![queue])),
    ]
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
    let vendor = StatsBody::Vendor {
        vendor: vendor::NICIRA,
        body: Bytes::from_static(&[0; 8]),
    };
    let unknown = StatsBody::Unknown {
        kind: 9,
        body: Bytes::from_static(&[1, 2]),
    };
    let mut replies = vec![
        ("desc_reply", false, StatsBody::Desc(desc)),
        ("flow_reply", true, StatsBody::Flow(flows())),
        ("aggregate_reply", false, StatsBody::Aggregate(sum)),
        ("vendor_stats_reply", false, vendor),
        ("unknown_stats_reply", false, unknown),
    ];
    replies.extend(counters());
    let message = |(name, more, body)| (name, Message::StatsReply(StatsReply { more, body }));
    replies.into_iter().map(message).collect()
}

pub(crate) fn all() -> Vec<(&'static str, Message)> {
    [
        symmetric(),
        packets_and_rules(),
        ports_and_queues(),
        requests(),
        replies(),
    ]
    .concat()
}
