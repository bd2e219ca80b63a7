//! Compares the codec with `ovs-ofctl`, which must print our vectors with our values.

use std::process::{Command, Stdio};

use bytes::Bytes;
use morph_openflow::v10::*;

use crate::{cases, vectors};

const OFCTL: &str = "/usr/bin/ovs-ofctl";
const WEB: &str = "tcp,in_port=7,nw_dst=10.0.0.0/8,tp_dst=80";

/// Words that the printed form of a vector must contain. Vectors that are missing here hold something unknown to
/// 1.0.
const WORDS: &[(&str, &[&str])] = &[
    ("hello", &["OFPT_HELLO", "0x01"]),
    ("error", &["OFPT_ERROR", "OFPFMFC_OVERLAP"]),
    ("echo_request", &["OFPT_ECHO_REQUEST", "4 bytes of payload"]),
    ("echo_reply", &["OFPT_ECHO_REPLY", "4 bytes of payload"]),
    ("nx_role_request", &["NXT_ROLE_REQUEST"]),
    ("nx_role_reply", &["NXT_ROLE_REPLY"]),
    ("features_request", &["OFPT_FEATURES_REQUEST"]),
    (
        "features_reply",
        &[
            "dpid:0000000000000001",
            "n_tables:254, n_buffers:256",
            "ARP_MATCH_IP",
            "2(s1-eth2)",
            "PORT_DOWN",
        ],
    ),
    ("get_config_request", &["OFPT_GET_CONFIG_REQUEST"]),
    ("get_config_reply", &["frags=drop miss_send_len=65535"]),
    ("set_config", &["OFPT_SET_CONFIG", "frags=drop"]),
    (
        "packet_in",
        &["total_len=64 in_port=7 (via action) data_len=6 (unbuffered)"],
    ),
    (
        "flow_removed",
        &["priority=100", WEB, "reason=idle", "idle10 pkts7 bytes512"],
    ),
    (
        "port_status",
        &["MOD: 2(s1-eth2)", "STP_FORWARD", "COPPER AUTO_NEG"],
    ),
    ("packet_out", &["actions=FLOOD data_len=4"]),
    (
        "flow_mod",
        &[
            "ADD",
            "priority=100",
            WEB,
            "cookie:0x4d01000200000003",
            "idle:10 hard:30",
            "mod_vlan_vid:5",
            "mod_vlan_pcp:3",
            "strip_vlan",
            "mod_dl_src:02:00:00:00:00:01",
            "mod_dl_dst:02:00:00:00:00:02",
            "mod_nw_src:10.0.0.1",
            "mod_nw_dst:10.0.0.2",
            "mod_nw_tos:184",
            "mod_tp_src:1024",
            "mod_tp_dst:8080",
            "enqueue:2:3",
            "CONTROLLER:65535",
            "dec_ttl",
        ],
    ),
    (
        "match",
        &[
            "DEL",
            "in_port=7",
            "dl_vlan=5",
            "dl_vlan_pcp=3",
            "dl_src=02:00:00:00:00:01",
            "dl_dst=02:00:00:00:00:02",
            "nw_src=10.0.0.1",
            "nw_dst=10.0.0.2",
            "nw_tos=184",
            "tp_src=1024",
            "tp_dst=53",
            "out_port:2",
        ],
    ),
    (
        "port_mod",
        &[
            "port: 2: addr:02:00:00:00:00:02",
            "PORT_DOWN NO_FLOOD",
            "UNCHANGED",
        ],
    ),
    ("desc_request", &["OFPST_DESC request"]),
    ("flow_request", &["OFPST_FLOW request"]),
    ("aggregate_request", &["table=0 out_port=2", WEB]),
    ("table_request", &["OFPST_TABLE request"]),
    ("port_request", &["port_no=ANY"]),
    ("queue_request", &["port=ANY queue=ALL"]),
    ("desc_reply", &["Manufacturer: Morp", "Serial Num: 1"]),
    (
        "flow_reply",
        &[
            "flags=[more]",
            "n_packets=7, n_bytes=512, hard_timeout=30",
            "actions=output:2",
            "priority=0 actions=drop",
        ],
    ),
    (
        "aggregate_reply",
        &["packet_count=7 byte_count=512 flow_count=2"],
    ),
    (
        "table_reply",
        &[
            "\"classifier\"",
            "active=3, lookup=9, matched=8",
            "max_entries=1000000",
        ],
    ),
    (
        "port_reply",
        &[
            "rx pkts=1, bytes=3, drop=5, errs=7, frame=9, over=10, crc=11",
            "tx pkts=2, bytes=4, drop=6, errs=8, coll=12",
        ],
    ),
    (
        "queue_reply",
        &["port 2 queue 3: bytes=4, pkts=5, errors=6"],
    ),
    ("barrier_request", &["OFPT_BARRIER_REQUEST"]),
    ("barrier_reply", &["OFPT_BARRIER_REPLY"]),
    ("queue_get_config_request", &["port=2"]),
    (
        "queue_get_config_reply",
        &["queue 3: min_rate:50.0%", "queue 4:"],
    ),
];

fn printed(frame: &Bytes) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), frame).unwrap();
    let mut ofctl = Command::new(OFCTL);
    ofctl.arg("ofp-parse").arg(file.path()).stdin(Stdio::null());
    String::from_utf8_lossy(&ofctl.output().unwrap().stdout).into_owned()
}

/// Vector without its last action if that is unknown to Open vSwitch.
fn printable(name: &str) -> Bytes {
    let mut value = cases::all()
        .into_iter()
        .find(|case| case.0 == name)
        .unwrap()
        .1;
    let Message::FlowMod(flow) = &mut value else {
        return vectors::frame(name);
    };
    if let Some(Action::Unknown { .. }) = flow.actions.last() {
        flow.actions.pop();
    }
    value.encode(42)
}

#[test]
fn ovs_ofctl_prints_our_values() {
    for (name, words) in WORDS {
        let text = printed(&printable(name));
        assert!(!text.contains("error***"), "{name}: {text}");
        for word in *words {
            assert!(text.contains(word), "{name} lacks {word}: {text}");
        }
    }
    let foreign = ["vendor", "unknown"];
    let of_1_0 = cases::all().into_iter().map(|(name, _)| name);
    let of_1_0 = of_1_0.filter(|name| !foreign.iter().any(|f| name.starts_with(f)));
    let named: Vec<_> = WORDS.iter().map(|(name, _)| *name).collect();
    for name in of_1_0 {
        assert!(named.contains(&name), "{name}");
    }
}
