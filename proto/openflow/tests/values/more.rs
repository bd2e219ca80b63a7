//! Strategies for groups, meters, queues, tables, experimenter messages and bundles.

use morph_openflow::v13::nicira::Resubmit;

use super::*;

pub(super) fn resubmit() -> impl Strategy<Value = Action> {
    (any::<u16>(), prop::option::of(any::<u8>()))
        .prop_map(|(in_port, table)| Action::Resubmit(Resubmit { in_port, table }))
}

fn bucket() -> impl Strategy<Value = Bucket> {
    (any::<(u16, u32, u32)>(), vec(action(), 0..4)).prop_map(|(n, actions)| Bucket {
        weight: n.0,
        watch_port: n.1,
        watch_group: n.2,
        actions,
    })
}

fn group_mod() -> impl Strategy<Value = GroupMod> {
    (any::<(u16, u8, u32)>(), vec(bucket(), 0..4)).prop_map(|(n, buckets)| GroupMod {
        command: n.0,
        kind: n.1,
        group_id: n.2,
        buckets,
    })
}

fn band() -> impl Strategy<Value = MeterBand> {
    prop_oneof![
        any::<(u32, u32)>().prop_map(|(rate, burst_size)| MeterBand::Drop { rate, burst_size }),
        any::<(u32, u32, u8)>().prop_map(|n| MeterBand::DscpRemark {
            rate: n.0,
            burst_size: n.1,
            prec_level: n.2,
        }),
        (any::<(u32, u32, u32)>(), blob(9)).prop_map(|(n, body)| MeterBand::Experimenter {
            rate: n.0,
            burst_size: n.1,
            experimenter: n.2,
            body,
        }),
        (3_u16..0xffff, blob(9)).prop_map(|(kind, body)| MeterBand::Unknown { kind, body }),
    ]
}

fn meter_config() -> impl Strategy<Value = MeterConfig> {
    (any::<(u16, u32)>(), vec(band(), 0..4)).prop_map(|((flags, meter_id), bands)| MeterConfig {
        flags,
        meter_id,
        bands,
    })
}

fn queue() -> impl Strategy<Value = PacketQueue> {
    let property = prop_oneof![
        any::<u16>().prop_map(QueueProperty::MinRate),
        any::<u16>().prop_map(QueueProperty::MaxRate),
        (any::<u32>(), blob(9))
            .prop_map(|(experimenter, body)| QueueProperty::Experimenter { experimenter, body }),
        (3_u16..0xffff, blob(9)).prop_map(|(kind, body)| QueueProperty::Unknown { kind, body }),
    ];
    (any::<(u32, u32)>(), vec(property, 0..4)).prop_map(|((queue_id, port), properties)| {
        PacketQueue {
            queue_id,
            port,
            properties,
        }
    })
}

fn an_experimenter() -> impl Strategy<Value = Experimenter> {
    (any::<(u32, u32)>(), blob(40)).prop_map(|((experimenter, exp_type), data)| Experimenter {
        experimenter,
        exp_type,
        data,
    })
}

fn bundle() -> impl Strategy<Value = Message> {
    let properties = || {
        let property = (any::<u16>(), blob(20));
        vec(property, 0..3).prop_map(|all| {
            let property = |(kind, body)| BundleProperty { kind, body };
            all.into_iter().map(property).collect::<Vec<_>>()
        })
    };
    let numbers = || any::<(u32, u16, u16)>();
    let control = (numbers(), properties()).prop_map(|(n, properties)| BundleControl {
        bundle_id: n.0,
        kind: n.1,
        flags: n.2,
        properties,
    });
    let add = (numbers(), blob(40), properties()).prop_map(|(n, data, properties)| BundleAdd {
        bundle_id: n.0,
        flags: n.2,
        frame: Message::EchoRequest(data).encode(1),
        properties,
    });
    prop_oneof![
        control.prop_map(Message::BundleControl),
        add.prop_map(Message::BundleAdd),
    ]
}

pub(super) fn change() -> impl Strategy<Value = Message> {
    let port_mod = (any::<[u8; 6]>(), any::<[u32; 4]>()).prop_map(|(mac, n)| PortMod {
        port_no: n[0],
        hw_addr: MacAddr(mac),
        config: n[1],
        mask: n[2],
        advertise: n[3],
    });
    let meter_mod = (any::<u16>(), meter_config()).prop_map(|(command, meter)| MeterMod {
        command,
        flags: meter.flags,
        meter_id: meter.meter_id,
        bands: meter.bands,
    });
    let asynchronous = || {
        any::<[[u32; 2]; 3]>().prop_map(|n| AsyncConfig {
            packet_in_mask: n[0],
            port_status_mask: n[1],
            flow_removed_mask: n[2],
        })
    };
    prop_oneof![
        group_mod().prop_map(Message::GroupMod),
        meter_mod.prop_map(Message::MeterMod),
        port_mod.prop_map(Message::PortMod),
        any::<(u8, u32)>()
            .prop_map(|(table_id, config)| { Message::TableMod(TableMod { table_id, config }) }),
        any::<u32>()
            .prop_map(|port| { Message::QueueGetConfigRequest(QueueGetConfigRequest { port }) }),
        (any::<u32>(), vec(queue(), 0..4)).prop_map(|(port, queues)| {
            Message::QueueGetConfigReply(QueueGetConfigReply { port, queues })
        }),
        Just(Message::GetAsyncRequest),
        asynchronous().prop_map(Message::GetAsyncReply),
        asynchronous().prop_map(Message::SetAsync),
        an_experimenter().prop_map(Message::Experimenter),
        bundle(),
    ]
}

fn feature() -> impl Strategy<Value = TableFeature> {
    let ids = || {
        let body = prop_oneof![Just(Bytes::new()), blob(8)];
        vec((any::<u16>(), body), 0..4).prop_map(|all| {
            let id = |(kind, body)| FeatureId { kind, body };
            all.into_iter().map(id).collect::<Vec<_>>()
        })
    };
    let oxms = || {
        let one = any::<(bool, bool, u8, u8, u32)>().prop_map(|n| OxmId {
            field: match n.0 {
                true => OxmField(OxmField::EXPERIMENTER, n.2 & 0x7f),
                false => OxmField(OxmField::BASIC, n.2 & 0x7f),
            },
            has_mask: n.1,
            length: n.3,
            experimenter: n.0.then_some(n.4),
        });
        vec(one, 0..4)
    };
    let own = (any::<(u32, u32)>(), blob(9)).prop_map(|(n, data)| ExperimenterFeature {
        experimenter: n.0,
        exp_type: n.1,
        data,
    });
    prop_oneof![
        ids().prop_map(TableFeature::Instructions),
        ids().prop_map(TableFeature::ApplyActionsMiss),
        oxms().prop_map(TableFeature::Match),
        oxms().prop_map(TableFeature::ApplySetfieldMiss),
        blob(20).prop_map(TableFeature::NextTables),
        own.prop_map(TableFeature::Experimenter),
        (16_u16..0xfffe, blob(9)).prop_map(|(kind, body)| TableFeature::Unknown { kind, body }),
    ]
}

fn table() -> impl Strategy<Value = TableFeatures> {
    let numbers = any::<(u8, u64, u64, u32, u32)>();
    (numbers, "[a-z]{0,31}", vec(feature(), 0..4)).prop_map(|(n, name, properties)| TableFeatures {
        table_id: n.0,
        name,
        metadata_match: n.1,
        metadata_write: n.2,
        config: n.3,
        max_entries: n.4,
        properties,
    })
}

pub(super) fn question() -> impl Strategy<Value = MultipartRequest> {
    prop_oneof![
        prop::sample::select(vec![
            MultipartRequest::Table,
            MultipartRequest::GroupDesc,
            MultipartRequest::GroupFeatures,
            MultipartRequest::MeterFeatures,
        ]),
        any::<(u32, u32)>().prop_map(|(port_no, queue_id)| {
            MultipartRequest::Queue(QueueStatsRequest { port_no, queue_id })
        }),
        any::<u32>().prop_map(|group_id| MultipartRequest::Group { group_id }),
        any::<u32>().prop_map(|meter_id| MultipartRequest::Meter { meter_id }),
        any::<u32>().prop_map(|meter_id| MultipartRequest::MeterConfig { meter_id }),
        (any::<bool>(), vec(table(), 0..3))
            .prop_map(|(more, tables)| MultipartRequest::TableFeatures { more, tables }),
        (any::<bool>(), an_experimenter())
            .prop_map(|(more, body)| MultipartRequest::Experimenter { more, body }),
    ]
}

fn counters() -> impl Strategy<Value = MultipartBody> {
    let numbers = || any::<([u32; 4], [u64; 3])>();
    let table = any::<(u8, u32, u64, u64)>().prop_map(|n| TableStats {
        table_id: n.0,
        active_count: n.1,
        lookup_count: n.2,
        matched_count: n.3,
    });
    let queue = numbers().prop_map(|(n, c)| QueueStats {
        port_no: n[0],
        queue_id: n[1],
        tx_bytes: c[0],
        tx_packets: c[1],
        tx_errors: c[2],
        duration_sec: n[2],
        duration_nsec: n[3],
    });
    let pairs = || vec(any::<(u64, u64)>(), 0..4);
    let group = (numbers(), pairs()).prop_map(|((n, c), pairs)| GroupStats {
        group_id: n[0],
        ref_count: n[1],
        packet_count: c[0],
        byte_count: c[1],
        duration_sec: n[2],
        duration_nsec: n[3],
        buckets: pairs
            .into_iter()
            .map(|(packet_count, byte_count)| BucketCounter {
                packet_count,
                byte_count,
            })
            .collect(),
    });
    let meter = (numbers(), pairs()).prop_map(|((n, c), pairs)| MeterStats {
        meter_id: n[0],
        flow_count: n[1],
        packet_in_count: c[0],
        byte_in_count: c[1],
        duration_sec: n[2],
        duration_nsec: n[3],
        bands: pairs
            .into_iter()
            .map(|(packet_band_count, byte_band_count)| MeterBandStats {
                packet_band_count,
                byte_band_count,
            })
            .collect(),
    });
    prop_oneof![
        vec(table, 0..4).prop_map(MultipartBody::Table),
        vec(queue, 0..4).prop_map(MultipartBody::Queue),
        vec(group, 0..4).prop_map(MultipartBody::Group),
        vec(meter, 0..4).prop_map(MultipartBody::Meter),
    ]
}

pub(super) fn answer() -> impl Strategy<Value = MultipartBody> {
    let group = (any::<(u8, u32)>(), vec(bucket(), 0..3)).prop_map(|(n, buckets)| GroupDesc {
        kind: n.0,
        group_id: n.1,
        buckets,
    });
    let groups = any::<([u32; 2], [u32; 4], [u32; 4])>().prop_map(|n| GroupFeatures {
        types: n.0[0],
        capabilities: n.0[1],
        max_groups: n.1,
        actions: n.2,
    });
    let meters = any::<([u32; 3], u8, u8)>().prop_map(|n| MeterFeatures {
        max_meter: n.0[0],
        band_types: n.0[1],
        capabilities: n.0[2],
        max_bands: n.1,
        max_color: n.2,
    });
    prop_oneof![
        4 => counters(),
        1 => vec(group, 0..4).prop_map(MultipartBody::GroupDesc),
        1 => groups.prop_map(MultipartBody::GroupFeatures),
        1 => vec(meter_config(), 0..4).prop_map(MultipartBody::MeterConfig),
        1 => meters.prop_map(MultipartBody::MeterFeatures),
        1 => vec(table(), 0..3).prop_map(MultipartBody::TableFeatures),
        1 => an_experimenter().prop_map(MultipartBody::Experimenter),
    ]
}
