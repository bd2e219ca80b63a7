//! Vectors of messages on groups, meters, ports, tables, queues, asynchronous configuration and experimenters.

use bytes::Bytes;
use morph_openflow::MacAddr;
use morph_openflow::v13::*;

const OTHER: u32 = 999;

fn failover() -> GroupMod {
    let watched = |weight, watch_port, watch_group, action| Bucket {
        weight,
        watch_port,
        watch_group,
        actions: vec![action],
    };
    GroupMod {
        command: group::command::ADD,
        kind: group::kind::FF,
        group_id: 5,
        buckets: vec![
            watched(0, 2, GROUP_ANY, Action::output(2)),
            watched(7, port::ANY, 6, Action::Group(6)),
        ],
    }
}

fn meter() -> MeterMod {
    MeterMod {
        command: meter::command::MODIFY,
        flags: meter::flag::KBPS | meter::flag::BURST | meter::flag::STATS,
        meter_id: 9,
        bands: vec![
            MeterBand::Drop {
                rate: 1000,
                burst_size: 100,
            },
            MeterBand::DscpRemark {
                rate: 500,
                burst_size: 50,
                prec_level: 1,
            },
            MeterBand::Experimenter {
                rate: 10,
                burst_size: 11,
                experimenter: OTHER,
                body: Bytes::from_static(&[1, 2, 3, 4]),
            },
            MeterBand::Unknown {
                kind: 7,
                body: Bytes::from_static(&[1, 2, 3, 4, 5, 6, 7, 8]),
            },
        ],
    }
}

fn queues() -> QueueGetConfigReply {
    let properties = vec![
        QueueProperty::MinRate(100),
        QueueProperty::MaxRate(900),
        QueueProperty::Experimenter {
            experimenter: OTHER,
            body: Bytes::from_static(&[1, 2]),
        },
        QueueProperty::Unknown {
            kind: 9,
            body: [vec![0; 4], (0..16).collect()].concat().into(),
        },
    ];
    let queue = |queue_id, properties| PacketQueue {
        queue_id,
        port: 2,
        properties,
    };
    QueueGetConfigReply {
        port: 2,
        queues: vec![queue(1, properties), queue(3, vec![])],
    }
}

fn bundles() -> [(&'static str, Message); 2] {
    let flags = bundle::flag::ATOMIC | bundle::flag::ORDERED;
    let property = |body: &'static [u8]| {
        let (kind, body) = (0xffff, Bytes::from_static(body));
        vec![BundleProperty { kind, body }]
    };
    let control = BundleControl {
        bundle_id: 7,
        kind: bundle::control::COMMIT_REQUEST,
        flags,
        properties: property(&[0, 0, 3, 0xe7, 0, 0, 0, 1, 5]),
    };
    let echo = Message::EchoRequest(Bytes::from_static(b"ping"));
    let add = BundleAdd {
        properties: property(&[0, 0, 3, 0xe7, 0, 0, 0, 1]),
        ..BundleAdd::new(7, flags, echo.encode(super::XID))
    };
    assert_eq!(decode(&add.frame).unwrap().1, echo);
    [
        ("bundle_control", Message::BundleControl(control)),
        ("bundle_add", Message::BundleAdd(add)),
    ]
}

pub(super) fn all() -> Vec<(&'static str, Message)> {
    let asynchronous = AsyncConfig {
        packet_in_mask: [7, 0],
        port_status_mask: [7, 5],
        flow_removed_mask: [15, 8],
    };
    let port_mod = PortMod {
        port_no: 2,
        hw_addr: MacAddr([2, 0, 0, 0, 0, 2]),
        config: port_config::DOWN,
        mask: port_config::DOWN | port_config::NO_PACKET_IN,
        advertise: port_feature::RATE_1GB_FD | port_feature::COPPER | port_feature::AUTONEG,
    };
    let table_mod = TableMod {
        table_id: TABLE_ALL,
        config: 3,
    };
    let experimenter = Experimenter {
        experimenter: experimenter::NICIRA,
        exp_type: 10,
        data: Bytes::from_static(&[0, 0, 0, 1]),
    };
    let refused = ErrorMsg {
        kind: error::kind::EXPERIMENTER,
        code: 2303,
        data: Bytes::from_static(&[0x4f, 0x4e, 0x46, 0, 4, 4, 0, 24, 0, 0, 0, 41]),
    };
    let mut all = vec![
        ("group_mod", Message::GroupMod(failover())),
        ("meter_mod", Message::MeterMod(meter())),
        ("port_mod", Message::PortMod(port_mod)),
        ("table_mod", Message::TableMod(table_mod)),
        (
            "queue_get_config_request",
            Message::QueueGetConfigRequest(QueueGetConfigRequest { port: 2 }),
        ),
        (
            "queue_get_config_reply",
            Message::QueueGetConfigReply(queues()),
        ),
        ("get_async_request", Message::GetAsyncRequest),
        ("get_async_reply", Message::GetAsyncReply(asynchronous)),
        ("set_async", Message::SetAsync(asynchronous)),
        ("experimenter", Message::Experimenter(experimenter)),
        ("error_experimenter", Message::Error(refused)),
    ];
    all.extend(bundles());
    all
}
