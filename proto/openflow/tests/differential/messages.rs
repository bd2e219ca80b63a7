//! Random messages that Open vSwitch understands, each with the words that its printed form must contain.

use bytes::Bytes;
use morph_openflow::MacAddr;
use morph_openflow::v13::nicira::{self, Resubmit};
use morph_openflow::v13::*;
use proptest::collection::vec;
use proptest::prelude::*;

use super::Case;

fn mac() -> impl Strategy<Value = MacAddr> {
    // Local, unicast address.
    any::<[u8; 5]>().prop_map(|n| MacAddr([2, n[0], n[1], n[2], n[3], n[4]]))
}

fn a_match() -> impl Strategy<Value = Match> {
    let any_ip = any::<(u16, u16, u32, u32, u8)>();
    prop_oneof![
        Just(Match::new()),
        (1_u32..1000, mac(), mac())
            .prop_map(|(port, src, dst)| Match::new().in_port(port).eth_src(src).eth_dst(dst)),
        any_ip.prop_map(|(src, dst, from, to, prefix)| {
            let mask = u32::MAX << (prefix % 31 + 1);
            Match::new()
                .eth_type(0x800)
                .ip_proto(6)
                .ipv4_src(from.into())
                .ipv4_dst_masked(to.into(), mask.into())
                .tcp_src(src)
                .tcp_dst(dst)
        }),
        (any::<u32>(), mac())
            .prop_map(|(ip, mac)| Match::new().eth_type(0x806).arp_tpa(ip.into()).arp_sha(mac)),
        (any::<u128>(), 0_u32..1 << 20).prop_map(|(ip, l)| Match::new()
            .eth_type(0x86dd)
            .ipv6_dst(ip.into())
            .ipv6_flabel(l)),
        (1_u16..4095, 1_u8..8).prop_map(|(vid, pcp)| Match::new().vlan_vid(vid).vlan_pcp(pcp)),
        any::<(u64, u64, u64)>()
            .prop_map(|n| Match::new().metadata_masked(n.0, n.1).tunnel_id(n.2)),
        (0_u8..8, any::<u32>())
            .prop_map(|(n, v)| Match::new().with(Oxm::exact(OxmField::reg(n), &v.to_be_bytes()))),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        (1_u32..1000).prop_map(Action::output),
        any::<u16>().prop_map(|max_len| Action::Output {
            port: port::CONTROLLER,
            max_len
        }),
        (0_u32..1000).prop_map(Action::Group),
        (0_u32..1000).prop_map(Action::SetQueue),
        mac().prop_map(|mac| Action::SetField(Oxm::exact(OxmField::ETH_DST, &mac.0))),
        any::<u32>().prop_map(|v| Action::SetField(Oxm::exact(OxmField::reg(3), &v.to_be_bytes()))),
        (0_u8..254).prop_map(|table| Action::Resubmit(Resubmit {
            in_port: nicira::IN_PORT,
            table: Some(table)
        })),
    ]
}

/// Words for an action in the output of `ovs-ofctl`.
fn action_words(action: &Action) -> String {
    match action {
        Action::Output { port, max_len } if *port == port::CONTROLLER => {
            format!("CONTROLLER:{max_len}")
        }
        other => other.to_string(),
    }
}

/// Words for each field by itself, because the order of fields in the output is not specified.
fn fields(match_: &Match) -> Vec<String> {
    let text = match_.to_string();
    let fields = text.split(',').filter(|field| *field != "any");
    fields.map(str::to_owned).collect()
}

fn instructions() -> impl Strategy<Value = Vec<Instruction>> {
    (vec(action(), 1..5), any::<(bool, bool, u64)>(), 201_u8..250).prop_map(
        |(actions, n, table)| {
            let mut all = vec![Instruction::ApplyActions(actions)];
            if n.0 {
                let (metadata, mask) = (n.2 & 0xffff, 0xffff);
                all.push(Instruction::WriteMetadata { metadata, mask });
            }
            if n.1 {
                all.push(Instruction::GotoTable(table));
            }
            all
        },
    )
}

fn instruction_words(instructions: &[Instruction]) -> Vec<String> {
    let mut words = Vec::new();
    for instruction in instructions {
        match instruction {
            Instruction::ApplyActions(actions) => words.extend(actions.iter().map(action_words)),
            other => words.push(other.to_string()),
        }
    }
    words
}

fn flow_mod() -> impl Strategy<Value = Case> {
    let numbers = any::<(u64, u16, u16, u16)>();
    (numbers, 1_u8..200, a_match(), instructions()).prop_map(|(n, table_id, match_, list)| {
        let mut wanted = fields(&match_);
        wanted.extend(instruction_words(&list));
        wanted.push(format!("table:{table_id} "));
        wanted.push(format!("cookie:{:#x}", n.0 | 1));
        wanted.push(format!("idle:{}", n.1 | 1));
        wanted.push(format!("hard:{}", n.2 | 1));
        wanted.push("FLOW_MOD (OF1.3)".into());
        let flow_mod = FlowMod {
            cookie: n.0 | 1,
            table_id,
            idle_timeout: n.1 | 1,
            hard_timeout: n.2 | 1,
            priority: n.3,
            match_,
            instructions: list,
            ..FlowMod::default()
        };
        (Message::FlowMod(flow_mod), wanted)
    })
}

fn flow_reply() -> impl Strategy<Value = Case> {
    let numbers = any::<(u64, u64, u64, u32, u16)>();
    (numbers, 1_u8..200, a_match(), instructions()).prop_map(|(n, table_id, match_, list)| {
        let mut wanted = fields(&match_);
        wanted.extend(instruction_words(&list));
        wanted.push(format!("cookie={:#x}, duration={}s", n.0, n.3));
        wanted.push(format!(
            "table={table_id}, n_packets={}, n_bytes={}",
            n.1, n.2
        ));
        wanted.push(format!("priority={}", n.4));
        // The default priority is not printed.
        let priority = if n.4 == 0x8000 { 1 } else { n.4 };
        let stats = FlowStats {
            table_id,
            duration_sec: n.3,
            duration_nsec: 0,
            priority,
            idle_timeout: 0,
            hard_timeout: 0,
            flags: 0,
            cookie: n.0,
            packet_count: n.1,
            byte_count: n.2,
            match_,
            instructions: list,
        };
        (reply(MultipartBody::Flow(vec![stats])), wanted)
    })
}

fn reply(body: MultipartBody) -> Message {
    Message::MultipartReply(MultipartReply { more: false, body })
}

fn bucket() -> impl Strategy<Value = Bucket> {
    (any::<u16>(), vec(action(), 1..4)).prop_map(|(weight, actions)| Bucket {
        weight: weight.max(1),
        ..Bucket::new(actions)
    })
}

fn bucket_words(buckets: &[Bucket]) -> Vec<String> {
    let one = |bucket: &Bucket| {
        let actions: Vec<String> = bucket.actions.iter().map(action_words).collect();
        format!(
            "bucket=weight:{},actions={}",
            bucket.weight,
            actions.join(",")
        )
    };
    buckets.iter().map(one).collect()
}

fn group_mod() -> impl Strategy<Value = Case> {
    (0_u16..2, 0_u32..1000, vec(bucket(), 0..4)).prop_map(|(command, group_id, buckets)| {
        let mut wanted = bucket_words(&buckets);
        wanted.push(format!("group_id={group_id},type=select"));
        wanted.push(["ADD", "MOD"][usize::from(command)].into());
        let group_mod = GroupMod {
            command,
            kind: group::kind::SELECT,
            group_id,
            buckets,
        };
        (Message::GroupMod(group_mod), wanted)
    })
}

fn group_reply() -> impl Strategy<Value = Case> {
    let desc = (0_u32..1000, vec(bucket(), 0..4)).prop_map(|(group_id, buckets)| {
        let mut wanted = bucket_words(&buckets);
        wanted.push(format!("group_id={group_id},type=select"));
        let kind = group::kind::SELECT;
        let desc = GroupDesc {
            kind,
            group_id,
            buckets,
        };
        (reply(MultipartBody::GroupDesc(vec![desc])), wanted)
    });
    let stats = (any::<[u32; 3]>(), any::<[u64; 4]>()).prop_map(|(n, c)| {
        let wanted = vec![
            format!("group_id={},duration={}s,ref_count={}", n[0], n[1], n[2]),
            format!("packet_count={},byte_count={}", c[0], c[1]),
            format!("bucket0:packet_count={},byte_count={}", c[2], c[3]),
        ];
        let stats = GroupStats {
            group_id: n[0],
            duration_sec: n[1],
            ref_count: n[2],
            packet_count: c[0],
            byte_count: c[1],
            buckets: vec![BucketCounter {
                packet_count: c[2],
                byte_count: c[3],
            }],
            ..GroupStats::default()
        };
        (reply(MultipartBody::Group(vec![stats])), wanted)
    });
    prop_oneof![desc, stats]
}

fn meters() -> impl Strategy<Value = Case> {
    let bands = || {
        vec((1_u32..1 << 30, 1_u32..1 << 30, any::<bool>()), 1..4).prop_map(|bands| {
            let band_words = |(rate, burst_size, drop): &(u32, u32, bool)| match drop {
                true => format!("type=drop rate={rate} burst_size={burst_size}"),
                false => {
                    format!("type=dscp_remark rate={rate} burst_size={burst_size} prec_level=2")
                }
            };
            let wanted: Vec<String> = bands.iter().map(band_words).collect();
            let band = |(rate, burst_size, drop)| match drop {
                true => MeterBand::Drop { rate, burst_size },
                false => MeterBand::DscpRemark {
                    rate,
                    burst_size,
                    prec_level: 2,
                },
            };
            (bands.into_iter().map(band).collect::<Vec<_>>(), wanted)
        })
    };
    let flags = meter::flag::KBPS | meter::flag::BURST;
    let meter_mod = (0_u16..2, 1_u32..1000, bands()).prop_map(
        move |(command, meter_id, (bands, mut wanted))| {
            wanted.push(format!(" meter={meter_id} kbps burst bands="));
            wanted.push(["ADD", "MOD"][usize::from(command)].into());
            let meter_mod = MeterMod {
                command,
                flags,
                meter_id,
                bands,
            };
            (Message::MeterMod(meter_mod), wanted)
        },
    );
    let config = (1_u32..1000, bands()).prop_map(move |(meter_id, (bands, mut wanted))| {
        wanted.push(format!("meter={meter_id} kbps burst bands="));
        let config = MeterConfig {
            flags,
            meter_id,
            bands,
        };
        (reply(MultipartBody::MeterConfig(vec![config])), wanted)
    });
    let stats = any::<([u32; 3], [u64; 4])>().prop_map(|(n, c)| {
        let wanted = vec![
            format!("flow_count:{} packet_in_count:{}", n[1], c[0]),
            format!("byte_in_count:{} duration:{}s", c[1], n[2]),
            format!("0: packet_count:{} byte_count:{}", c[2], c[3]),
        ];
        let stats = MeterStats {
            meter_id: n[0] % 1000 + 1,
            flow_count: n[1],
            packet_in_count: c[0],
            byte_in_count: c[1],
            duration_sec: n[2],
            duration_nsec: 0,
            bands: vec![MeterBandStats {
                packet_band_count: c[2],
                byte_band_count: c[3],
            }],
        };
        (reply(MultipartBody::Meter(vec![stats])), wanted)
    });
    prop_oneof![meter_mod, config, stats]
}

fn counters() -> impl Strategy<Value = Case> {
    let queue = any::<([u32; 2], [u64; 3])>().prop_map(|(n, c)| {
        let (port_no, queue_id) = (n[0] % 1000 + 1, n[1] % 1000);
        let wanted = vec![
            format!("port {port_no} queue {queue_id}: "),
            format!("bytes={}, pkts={}, errors={}", c[0], c[1], c[2]),
        ];
        let stats = QueueStats {
            port_no,
            queue_id,
            tx_bytes: c[0],
            tx_packets: c[1],
            tx_errors: c[2],
            duration_sec: 7,
            duration_nsec: 0,
        };
        (reply(MultipartBody::Queue(vec![stats])), wanted)
    });
    let table = any::<(u8, u32, u64, u64)>().prop_map(|n| {
        let wanted = vec![
            format!("table {}", n.0 % 254),
            format!("active={}, lookup={}, matched={}", n.1, n.2, n.3),
        ];
        let stats = TableStats {
            table_id: n.0 % 254,
            active_count: n.1,
            lookup_count: n.2,
            matched_count: n.3,
        };
        (reply(MultipartBody::Table(vec![stats])), wanted)
    });
    let port = any::<(u32, [u64; 4])>().prop_map(|(n, c)| {
        let c = c.map(|n| n >> 1);
        let wanted = vec![
            format!("rx pkts={}, bytes={}", c[0], c[1]),
            format!("tx pkts={}, bytes={}", c[2], c[3]),
        ];
        let stats = PortStats {
            port_no: n % 1000 + 1,
            rx_packets: c[0],
            rx_bytes: c[1],
            tx_packets: c[2],
            tx_bytes: c[3],
            ..PortStats::default()
        };
        (reply(MultipartBody::PortStats(vec![stats])), wanted)
    });
    prop_oneof![queue, table, port]
}

fn small() -> impl Strategy<Value = Case> {
    let port_mod = (1_u32..1000, mac()).prop_map(|(port_no, hw_addr)| {
        let wanted = vec![
            format!("port: {port_no}: addr:{hw_addr}"),
            "config: PORT_DOWN\n".into(),
            "mask:   PORT_DOWN NO_FWD\n".into(),
            "advertise: 1GB-FD COPPER".into(),
        ];
        let port_mod = PortMod {
            port_no,
            hw_addr,
            config: port_config::DOWN,
            mask: port_config::DOWN | port_config::NO_FWD,
            advertise: port_feature::RATE_1GB_FD | port_feature::COPPER,
        };
        (Message::PortMod(port_mod), wanted)
    });
    let role = any::<u64>().prop_map(|generation_id| {
        let wanted = vec![format!("role=primary generation_id={generation_id}")];
        let role = role::MASTER;
        let request = Role {
            role,
            generation_id,
        };
        (Message::RoleRequest(request), wanted)
    });
    let bundle = (any::<u32>(), flow_mod()).prop_map(|(bundle_id, (message, mut wanted))| {
        wanted.push(format!("bundle_id={bundle_id:#x} flags=ordered"));
        let flags = bundle::flag::ORDERED;
        // The xid is set when the message is sent.
        let add = BundleAdd::new(bundle_id, flags, message.encode(0));
        (Message::BundleAdd(add), wanted)
    });
    let packet_out = vec(action(), 1..4).prop_map(|actions| {
        let mut wanted: Vec<String> = actions.iter().map(action_words).collect();
        wanted.push("in_port=CONTROLLER".into());
        wanted.push("data_len=60".into());
        let packet_out = PacketOut {
            buffer_id: NO_BUFFER,
            in_port: port::CONTROLLER,
            actions,
            data: Bytes::from_static(&[2; 60]),
        };
        (Message::PacketOut(packet_out), wanted)
    });
    let removed = (a_match(), any::<(u16, u64, u64)>()).prop_map(|(match_, n)| {
        let mut wanted = fields(&match_);
        wanted.push(format!("reason=delete table_id=3 cookie:{:#x}", n.1 | 1));
        wanted.push(format!("pkts{} bytes{}", n.2, n.1));
        let removed = FlowRemoved {
            cookie: n.1 | 1,
            priority: n.0,
            reason: flow_removed::reason::DELETE,
            table_id: 3,
            duration_sec: 1,
            duration_nsec: 0,
            idle_timeout: 0,
            hard_timeout: 0,
            packet_count: n.2,
            byte_count: n.1,
            match_,
        };
        (Message::FlowRemoved(removed), wanted)
    });
    let queues = (1_u32..1000, 0_u32..1000, 1_u16..1000).prop_map(|(port, queue_id, rate)| {
        let wanted = vec![format!("queue {queue_id}:"), "max_rate:90.0%".into()];
        let queue = PacketQueue {
            queue_id,
            port,
            properties: vec![QueueProperty::MinRate(rate), QueueProperty::MaxRate(900)],
        };
        let queues = vec![queue];
        let reply = QueueGetConfigReply { port, queues };
        (Message::QueueGetConfigReply(reply), wanted)
    });
    prop_oneof![port_mod, role, bundle, packet_out, removed, queues]
}

/// Strategy for all kinds of messages.
pub(crate) fn cases() -> impl Strategy<Value = Case> {
    prop_oneof![
        flow_mod(),
        flow_reply(),
        group_mod(),
        group_reply(),
        meters(),
        counters(),
        small(),
    ]
}
