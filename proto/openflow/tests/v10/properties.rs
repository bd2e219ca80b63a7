//! Property tests: values survive encoding and decoding; arbitrary bytes are decoded or refused.

use bytes::Bytes;
use morph_openflow::v10::*;
use morph_openflow::{Header, MacAddr, MessageType};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cases;
use crate::vectors;

fn blob(most: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=most).prop_map(Bytes::from)
}

/// Body after a header of 4 or 8 bytes, of a length that needs no padding.
fn padded_blob(header: usize) -> impl Strategy<Value = Bytes> {
    (0_usize..4).prop_flat_map(move |n| vec(any::<u8>(), 8 * n + 8 - header).prop_map(Bytes::from))
}

fn mac() -> impl Strategy<Value = MacAddr> {
    any::<[u8; 6]>().prop_map(MacAddr)
}

fn a_match() -> impl Strategy<Value = Match> {
    let numbers = any::<(u32, u16, u16, u16, u16, u16)>();
    let octets = any::<([u8; 3], [u8; 4], [u8; 4])>();
    (numbers, mac(), mac(), octets).prop_map(|(n, dl_src, dl_dst, octets)| Match {
        wildcards: n.0,
        in_port: n.1,
        dl_src,
        dl_dst,
        dl_vlan: n.2,
        dl_vlan_pcp: octets.0[0],
        dl_type: n.3,
        nw_tos: octets.0[1],
        nw_proto: octets.0[2],
        nw_src: octets.1.into(),
        nw_dst: octets.2.into(),
        tp_src: n.4,
        tp_dst: n.5,
    })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => any::<(u16, u16)>().prop_map(|(port, max_len)| Action::Output { port, max_len }),
        1 => any::<u16>().prop_map(Action::SetVlanVid),
        1 => any::<u8>().prop_map(Action::SetVlanPcp),
        1 => Just(Action::StripVlan),
        1 => mac().prop_map(Action::SetDlSrc),
        1 => mac().prop_map(Action::SetDlDst),
        1 => any::<[u8; 4]>().prop_map(|a| Action::SetNwSrc(a.into())),
        1 => any::<[u8; 4]>().prop_map(|a| Action::SetNwDst(a.into())),
        1 => any::<u8>().prop_map(Action::SetNwTos),
        1 => any::<u16>().prop_map(Action::SetTpSrc),
        1 => any::<u16>().prop_map(Action::SetTpDst),
        1 => any::<(u16, u32)>().prop_map(|(port, queue_id)| Action::Enqueue { port, queue_id }),
        1 => (any::<u32>(), padded_blob(8)).prop_map(|(vendor, body)| Action::Vendor { vendor, body }),
        1 => (12_u16..0xffff, padded_blob(4)).prop_map(|(kind, body)| Action::Unknown { kind, body }),
    ]
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    vec(action(), 0..5)
}

fn a_port() -> impl Strategy<Value = PhyPort> {
    (any::<u16>(), mac(), "[a-z0-9é]{0,7}", any::<[u32; 6]>()).prop_map(
        |(port_no, hw_addr, name, n)| PhyPort {
            port_no,
            hw_addr,
            name,
            config: n[0],
            state: n[1],
            curr: n[2],
            advertised: n[3],
            supported: n[4],
            peer: n[5],
        },
    )
}

fn flow_stats() -> impl Strategy<Value = FlowStats> {
    let numbers = any::<(u8, u32, u32, u16, u16, u16, u64, u64, u64)>();
    (numbers, a_match(), actions()).prop_map(|(n, match_, actions)| FlowStats {
        table_id: n.0,
        match_,
        duration_sec: n.1,
        duration_nsec: n.2,
        priority: n.3,
        idle_timeout: n.4,
        hard_timeout: n.5,
        cookie: n.6,
        packet_count: n.7,
        byte_count: n.8,
        actions,
    })
}

fn flow_mod() -> impl Strategy<Value = FlowMod> {
    (flow_stats(), 0_u16..5, any::<(u32, u16, u16)>()).prop_map(|(rule, command, n)| FlowMod {
        match_: rule.match_,
        cookie: rule.cookie,
        command: u8::try_from(command)
            .ok()
            .and_then(FlowModCommand::from_u8)
            .unwrap_or_default(),
        idle_timeout: rule.idle_timeout,
        hard_timeout: rule.hard_timeout,
        priority: rule.priority,
        buffer_id: n.0,
        out_port: n.1,
        flags: n.2,
        actions: rule.actions,
    })
}

fn request() -> impl Strategy<Value = StatsRequest> {
    let rules = || {
        (a_match(), any::<u8>(), any::<u16>()).prop_map(|(match_, table_id, out_port)| {
            FlowStatsRequest {
                match_,
                table_id,
                out_port,
            }
        })
    };
    prop_oneof![
        Just(StatsRequest::Desc),
        Just(StatsRequest::Table),
        rules().prop_map(StatsRequest::Flow),
        rules().prop_map(StatsRequest::Aggregate),
        any::<u16>().prop_map(|port_no| StatsRequest::Port { port_no }),
        any::<(u16, u32)>()
            .prop_map(|(port_no, queue_id)| StatsRequest::Queue { port_no, queue_id }),
        (any::<u32>(), blob(40)).prop_map(|(vendor, body)| StatsRequest::Vendor { vendor, body }),
        (6_u16..0xffff, any::<u16>(), blob(40))
            .prop_map(|(kind, flags, body)| StatsRequest::Unknown { kind, flags, body }),
    ]
}

fn reply() -> impl Strategy<Value = StatsReply> {
    let table =
        (any::<(u8, u32, u32, u32, u64, u64)>(), "[a-z0-9é]{0,15}").prop_map(|(n, name)| {
            TableStats {
                table_id: n.0,
                name,
                wildcards: n.1,
                max_entries: n.2,
                active_count: n.3,
                lookup_count: n.4,
                matched_count: n.5,
            }
        });
    let port = any::<(u16, u64, u64)>().prop_map(|n| PortStats {
        port_no: n.0,
        rx_packets: n.1,
        collisions: n.2,
        ..PortStats::default()
    });
    let queue = any::<(u16, u32, [u64; 3])>().prop_map(|n| QueueStats {
        port_no: n.0,
        queue_id: n.1,
        tx_bytes: n.2[0],
        tx_packets: n.2[1],
        tx_errors: n.2[2],
    });
    let sum = any::<(u64, u64, u32)>().prop_map(|n| AggregateStats {
        packet_count: n.0,
        byte_count: n.1,
        flow_count: n.2,
    });
    let body = prop_oneof![
        vec(flow_stats(), 0..5).prop_map(StatsBody::Flow),
        sum.prop_map(StatsBody::Aggregate),
        vec(table, 0..5).prop_map(StatsBody::Table),
        vec(port, 0..5).prop_map(StatsBody::Port),
        vec(queue, 0..5).prop_map(StatsBody::Queue),
        (any::<u32>(), blob(40)).prop_map(|(vendor, body)| StatsBody::Vendor { vendor, body }),
        (6_u16..0xffff, blob(40)).prop_map(|(kind, body)| StatsBody::Unknown { kind, body }),
    ];
    (any::<bool>(), body).prop_map(|(more, body)| StatsReply { more, body })
}

fn queues() -> impl Strategy<Value = QueueConfig> {
    let property = || {
        prop_oneof![
            Just(QueueProperty::None),
            any::<u16>().prop_map(QueueProperty::MinRate),
            (2_u16.., padded_blob(4))
                .prop_map(|(kind, body)| QueueProperty::Unknown { kind, body }),
        ]
    };
    let queue =
        (any::<u32>(), vec(property(), 0..4)).prop_map(|(queue_id, properties)| PacketQueue {
            queue_id,
            properties,
        });
    (any::<u16>(), vec(queue, 0..4)).prop_map(|(port, queues)| QueueConfig { port, queues })
}

fn message() -> impl Strategy<Value = Message> {
    let features =
        (any::<(u64, u32, u8, u32, u32)>(), vec(a_port(), 0..4)).prop_map(|(n, ports)| {
            FeaturesReply {
                datapath_id: n.0,
                n_buffers: n.1,
                n_tables: n.2,
                capabilities: n.3,
                actions: n.4,
                ports,
            }
        });
    let packet_in = (any::<(u32, u16, u16, u8)>(), blob(90)).prop_map(|(n, data)| PacketIn {
        buffer_id: n.0,
        total_len: n.1,
        in_port: n.2,
        reason: n.3,
        data,
    });
    let packet_out =
        (any::<(u32, u16)>(), actions(), blob(90)).prop_map(|(n, actions, data)| PacketOut {
            buffer_id: n.0,
            in_port: n.1,
            actions,
            data,
        });
    let removed = (flow_stats(), any::<u8>()).prop_map(|(rule, reason)| FlowRemoved {
        match_: rule.match_,
        cookie: rule.cookie,
        priority: rule.priority,
        reason,
        duration_sec: rule.duration_sec,
        duration_nsec: rule.duration_nsec,
        idle_timeout: rule.idle_timeout,
        packet_count: rule.packet_count,
        byte_count: rule.byte_count,
    });
    let port_mod = (mac(), any::<(u16, [u32; 3])>()).prop_map(|(hw_addr, n)| PortMod {
        port_no: n.0,
        hw_addr,
        config: n.1[0],
        mask: n.1[1],
        advertise: n.1[2],
    });
    let error = (any::<(u16, u16)>(), blob(90)).prop_map(|((kind, code), data)| ErrorMsg {
        kind,
        code,
        data,
    });
    let vendor = prop_oneof![
        any::<u32>().prop_map(Vendor::NxRoleRequest),
        any::<u32>().prop_map(Vendor::NxRoleReply),
        (0_u32..1000, blob(40)).prop_map(|(vendor, body)| Vendor::Unknown { vendor, body }),
    ];
    prop_oneof![
        blob(20).prop_map(Message::Hello),
        error.prop_map(Message::Error),
        blob(90).prop_map(Message::EchoRequest),
        vendor.prop_map(Message::Vendor),
        features.prop_map(Message::FeaturesReply),
        packet_in.prop_map(Message::PacketIn),
        removed.prop_map(Message::FlowRemoved),
        (any::<u8>(), a_port())
            .prop_map(|(reason, desc)| Message::PortStatus(PortStatus { reason, desc })),
        packet_out.prop_map(Message::PacketOut),
        flow_mod().prop_map(Message::FlowMod),
        port_mod.prop_map(Message::PortMod),
        request().prop_map(Message::StatsRequest),
        reply().prop_map(Message::StatsReply),
        any::<u16>().prop_map(|port| Message::QueueGetConfigRequest { port }),
        queues().prop_map(Message::QueueGetConfigReply),
        (22_u8.., blob(40)).prop_map(|(kind, body)| Message::Unknown {
            kind: MessageType(kind),
            body,
        }),
    ]
}

/// Checks that a decoded message survives encoding and decoding.
fn check(frame: &Bytes) -> Result<(), TestCaseError> {
    let Ok((header, message)) = decode(frame) else {
        return Ok(());
    };
    let again = message.try_encode(header.xid);
    let again = again.map_err(|e| TestCaseError::fail(format!("{message:?}: {e}")))?;
    let (second, twice) = decode(&again).map_err(|e| TestCaseError::fail(e.to_string()))?;
    prop_assert_eq!(second.xid, header.xid);
    prop_assert_eq!(&twice, &message);
    Ok(())
}

fn framed(kind: u8, body: &[u8]) -> Bytes {
    let length = (Header::LEN + body.len()) as u16;
    let mut frame = vec![VERSION, kind];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&[0, 0, 0, 7]);
    frame.extend_from_slice(body);
    frame.into()
}

/// Bytes that are likely lengths and types, so that decoding gets beyond the first check.
fn likely_byte() -> impl Strategy<Value = u8> {
    prop_oneof![4 => Just(0_u8), 2 => 0_u8..=32, 1 => Just(0xff_u8), 2 => any::<u8>()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_message_comes_back(message in message(), xid in any::<u32>()) {
        let frame = message.try_encode(xid).unwrap();
        let (header, back) = decode(&frame).unwrap();
        prop_assert_eq!((header.xid, header.kind), (xid, message.kind()));
        prop_assert_eq!(usize::from(header.length), frame.len());
        prop_assert_eq!(back, message);
    }

    #[test]
    fn a_frame_cut_short_is_an_error(message in message(), cut in any::<prop::sample::Index>()) {
        let frame = message.encode(1);
        let cut = cut.index(frame.len());
        prop_assert!(decode(&frame.slice(..cut)).is_err());
    }

    #[test]
    fn any_body(kind in 0_u8..24, body in vec(likely_byte(), 0..300)) {
        check(&framed(kind, &body))?;
    }

    #[test]
    fn any_statistics(
        kind in 16_u8..18,
        which in prop_oneof![0_u8..6, any::<u8>()],
        flags in 0_u8..3,
        body in vec(likely_byte(), 0..300),
    ) {
        check(&framed(kind, &[&[0, which, 0, flags], &body[..]].concat()))?;
    }

    #[test]
    fn a_vector_with_flipped_bytes(
        which in any::<prop::sample::Index>(),
        flips in vec((any::<prop::sample::Index>(), likely_byte()), 1..4),
    ) {
        let all = cases::all();
        let mut bytes = vectors::frame(all[which.index(all.len())].0).to_vec();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        check(&bytes.into())?;
    }
}
