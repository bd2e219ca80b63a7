//! Vectors of multipart requests and replies, except for rules, ports and the description of the switch.

use bytes::Bytes;
use morph_openflow::v13::*;

const OTHER: u32 = 999;

fn table() -> TableFeatures {
    TableFeatures {
        table_id: 10,
        name: "classify".into(),
        metadata_match: u64::MAX,
        metadata_write: 0xff,
        config: 3,
        max_entries: 4096,
        properties: vec![],
    }
}

fn properties() -> Vec<TableFeature> {
    let id = |kind| vec![FeatureId::new(kind)];
    let oxm = |field, has_mask, length, experimenter| OxmId {
        field,
        has_mask,
        length,
        experimenter,
    };
    let dst = || vec![oxm(OxmField::ETH_DST, false, 6, None)];
    let src = || vec![oxm(OxmField::ETH_SRC, false, 6, None)];
    let experimenters = FeatureId {
        kind: 0xffff,
        body: Bytes::from_static(&[0, 0, 3, 0xe7]),
    };
    let tcp_flags = OxmField(OxmField::EXPERIMENTER, 42);
    let own = |exp_type, data: &'static [u8]| ExperimenterFeature {
        experimenter: OTHER,
        exp_type,
        data: Bytes::from_static(data),
    };
    vec![
        TableFeature::Instructions(vec![FeatureId::new(1), experimenters]),
        TableFeature::InstructionsMiss(id(1)),
        TableFeature::NextTables(Bytes::from_static(&[11, 12])),
        TableFeature::NextTablesMiss(Bytes::from_static(&[11])),
        TableFeature::WriteActions(id(0)),
        TableFeature::WriteActionsMiss(id(22)),
        TableFeature::ApplyActions(id(0)),
        TableFeature::ApplyActionsMiss(vec![]),
        TableFeature::Match(vec![
            oxm(OxmField::ETH_DST, true, 12, None),
            oxm(tcp_flags, false, 6, Some(experimenter::ONF)),
        ]),
        TableFeature::Wildcards(dst()),
        TableFeature::WriteSetfield(dst()),
        TableFeature::WriteSetfieldMiss(src()),
        TableFeature::ApplySetfield(dst()),
        TableFeature::ApplySetfieldMiss(src()),
        TableFeature::Experimenter(own(1, &[5])),
        TableFeature::ExperimenterMiss(own(2, &[])),
        TableFeature::Unknown {
            kind: 32,
            body: Bytes::from_static(&[1, 2]),
        },
    ]
}

fn experimenter(exp_type: u32, data: &'static [u8]) -> Experimenter {
    Experimenter {
        experimenter: OTHER,
        exp_type,
        data: Bytes::from_static(data),
    }
}

pub(super) fn requests() -> Vec<(&'static str, MultipartRequest)> {
    let queue = QueueStatsRequest {
        port_no: 2,
        queue_id: queue::ALL,
    };
    let next = TableFeature::NextTables(Bytes::from_static(&[11]));
    let tables = vec![TableFeatures {
        properties: vec![next],
        ..table()
    }];
    vec![
        ("table_request", MultipartRequest::Table),
        ("queue_request", MultipartRequest::Queue(queue)),
        (
            "group_request",
            MultipartRequest::Group {
                group_id: group::ALL,
            },
        ),
        ("group_desc_request", MultipartRequest::GroupDesc),
        ("group_features_request", MultipartRequest::GroupFeatures),
        ("meter_request", MultipartRequest::Meter { meter_id: 9 }),
        (
            "meter_config_request",
            MultipartRequest::MeterConfig {
                meter_id: meter::ALL,
            },
        ),
        ("meter_features_request", MultipartRequest::MeterFeatures),
        (
            "table_features_request",
            MultipartRequest::TableFeatures { more: true, tables },
        ),
        (
            "experimenter_multipart_request",
            MultipartRequest::Experimenter {
                more: false,
                body: experimenter(1, &[5, 6]),
            },
        ),
    ]
}

fn groups() -> Vec<(&'static str, bool, MultipartBody)> {
    let counter = |packet_count| BucketCounter {
        packet_count,
        byte_count: 256,
    };
    let stats = GroupStats {
        group_id: 5,
        ref_count: 1,
        packet_count: 7,
        byte_count: 512,
        duration_sec: 5,
        duration_nsec: 6,
        buckets: vec![counter(4), counter(3)],
    };
    let bucket = Bucket {
        weight: 7,
        ..Bucket::new(vec![Action::output(2)])
    };
    let desc = |kind, group_id, buckets| GroupDesc {
        kind,
        group_id,
        buckets,
    };
    let descs = vec![
        desc(group::kind::SELECT, 5, vec![bucket]),
        desc(group::kind::ALL, 6, vec![]),
    ];
    let features = GroupFeatures {
        types: 0xf,
        capabilities: group_capability::SELECT_WEIGHT | group_capability::CHAINING,
        max_groups: [10, 11, 12, 13],
        actions: [1, 1 << 22 | 1, 0, 0x07ff_9801],
    };
    vec![
        ("group_reply", false, MultipartBody::Group(vec![stats])),
        ("group_desc_reply", false, MultipartBody::GroupDesc(descs)),
        (
            "group_features_reply",
            false,
            MultipartBody::GroupFeatures(features),
        ),
    ]
}

fn meters() -> Vec<(&'static str, bool, MultipartBody)> {
    let stats = MeterStats {
        meter_id: 9,
        flow_count: 1,
        packet_in_count: 7,
        byte_in_count: 512,
        duration_sec: 5,
        duration_nsec: 6,
        bands: vec![MeterBandStats {
            packet_band_count: 3,
            byte_band_count: 256,
        }],
    };
    let config = MeterConfig {
        flags: meter::flag::KBPS | meter::flag::STATS,
        meter_id: 9,
        bands: vec![MeterBand::Drop {
            rate: 1000,
            burst_size: 100,
        }],
    };
    let features = MeterFeatures {
        max_meter: 256,
        band_types: 6,
        capabilities: 0xf,
        max_bands: 4,
        max_color: 3,
    };
    vec![
        ("meter_reply", false, MultipartBody::Meter(vec![stats])),
        (
            "meter_config_reply",
            false,
            MultipartBody::MeterConfig(vec![config]),
        ),
        (
            "meter_features_reply",
            false,
            MultipartBody::MeterFeatures(features),
        ),
    ]
}

pub(super) fn replies() -> Vec<(&'static str, bool, MultipartBody)> {
    let counters = TableStats {
        table_id: 10,
        active_count: 2,
        lookup_count: 7,
        matched_count: 5,
    };
    let queue = QueueStats {
        port_no: 2,
        queue_id: 1,
        tx_bytes: 512,
        tx_packets: 7,
        tx_errors: 1,
        duration_sec: 5,
        duration_nsec: 6,
    };
    let features = TableFeatures {
        properties: properties(),
        ..table()
    };
    let mut all = vec![
        ("table_reply", true, MultipartBody::Table(vec![counters])),
        ("queue_reply", false, MultipartBody::Queue(vec![queue])),
        (
            "table_features_reply",
            false,
            MultipartBody::TableFeatures(vec![features]),
        ),
        (
            "experimenter_multipart_reply",
            true,
            MultipartBody::Experimenter(experimenter(2, &[7])),
        ),
    ];
    all.extend(groups());
    all.extend(meters());
    all
}
