use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::dhcp::option;
use super::*;
use crate::{Key, MacAddr, Vlan};

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

/// Bytes of which packets are made, so that these may borrow them.
fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..most)
}

/// Options of IPv4 or TCP.
fn options() -> impl Strategy<Value = Vec<u8>> {
    (0_usize..=10, any::<u8>()).prop_map(|(words, byte)| vec![byte; words * 4])
}

fn tags() -> impl Strategy<Value = Vec<Tag>> {
    let tag = (any::<bool>(), 0_u8..8, any::<bool>(), 0_u16..0x1000);
    let tag = tag.prop_map(|(is_service, priority, drop_eligible, id)| Tag {
        kind: match is_service {
            true => ether_type::SERVICE_VLAN,
            false => ether_type::VLAN,
        },
        priority,
        drop_eligible,
        id,
    });
    prop::collection::vec(tag, 0..=2)
}

/// Contents of an IP packet of each kind.
fn transports<'a>(
    is_v4: bool,
    numbers: [u16; 4],
    options: &'a [u8],
    payload: &'a [u8],
) -> Vec<Transport<'a>> {
    let [src, dst, one, two] = numbers;
    let icmp = Icmp {
        kind: one as u8,
        code: two as u8,
        rest: [1, 2, 3, src as u8],
        payload,
    };
    let tcp = Tcp {
        src,
        dst,
        sequence: u32::from(one) << 16 | u32::from(two),
        acknowledgment: u32::from(two) << 16 | u32::from(one),
        flags: one as u8,
        window: one,
        urgent: two,
        options,
        payload,
    };
    vec![
        Transport::Tcp(tcp),
        Transport::Udp(Udp { src, dst, payload }),
        match is_v4 {
            true => Transport::Icmp(icmp),
            false => Transport::Icmpv6(icmp),
        },
        Transport::Other {
            protocol: 200,
            payload,
        },
    ]
}

fn tagged<'a>(tags: &[Tag], content: Content<'a>) -> Packet<'a> {
    Packet {
        tags: tags.to_vec(),
        ..Packet::new(A, B, content)
    }
}

fn comes_back(packet: &Packet<'_>) -> Result<(), TestCaseError> {
    let frame = packet.to_bytes();
    prop_assert!(frame.len() >= 60);
    let parsed = Packet::parse(&frame);
    prop_assert_eq!(parsed.as_ref(), Some(packet));
    Ok(())
}

proptest! {
    #[test]
    fn a_packet_that_was_built_is_parsed_as_it_was(
        tags in tags(),
        (src4, dst4) in any::<([u8; 4], [u8; 4])>(),
        (src6, dst6) in any::<([u8; 16], [u8; 16])>(),
        (ttl, class, id, dont_fragment) in any::<(u8, u8, u16, bool)>(),
        numbers: [u16; 4],
        (options, payload) in (options(), bytes(200)),
    ) {
        for content in transports(true, numbers, &options, &payload) {
            let ip = Ipv4 {
                ttl,
                traffic_class: class,
                id,
                dont_fragment,
                options: &options,
                ..Ipv4::new(src4.into(), dst4.into(), content)
            };
            comes_back(&tagged(&tags, Content::Ipv4(ip)))?;
        }
        let fragment = Transport::Fragment { protocol: 17, offset: id & 0x1fff, more: id & 0x1fff == 0 || dont_fragment, payload: &payload };
        comes_back(&tagged(&tags, Content::Ipv4(Ipv4::new(src4.into(), dst4.into(), fragment))))?;
        for content in transports(false, numbers, &options, &payload) {
            // A header of hop-by-hop options, which leads to the content.
            let hops = [content.protocol(), 0, 1, 4, 0, 0, 0, 0];
            for extensions in [None, Some((0, &hops[..]))] {
                let ip = Ipv6 {
                    hop_limit: ttl,
                    traffic_class: class,
                    flow_label: u32::from(id) << 4,
                    extensions,
                    ..Ipv6::new(src6.into(), dst6.into(), content)
                };
                comes_back(&tagged(&tags, Content::Ipv6(ip)))?;
            }
        }
        let arp = Arp { operation: id, sender_mac: A, sender_ip: src4.into(), target_mac: B, target_ip: dst4.into() };
        comes_back(&tagged(&tags, Content::Arp(arp)))?;
    }

    #[test]
    fn arbitrary_bytes_are_parsed_without_a_panic(mut frame in bytes(120), kind in 0_usize..6, protocol: u8) {
        let kinds = [ether_type::ARP, ether_type::IPV4, ether_type::IPV6, ether_type::VLAN, ether_type::SERVICE_VLAN, 7];
        for plausible in [false, true] {
            if plausible && frame.len() > 34 {
                frame[12..14].copy_from_slice(&kinds[kind].to_be_bytes());
                frame[14] = if kind == 1 { 0x45 } else { 0x60 };
                frame[23] = [1, 6, 17, 58][usize::from(protocol) % 4];
                frame[20] = [0, 43, 44, 58, 60, 6][usize::from(protocol) % 6];
            }
            if let Some(packet) = Packet::parse(&frame) {
                let _ = (packet.flow(), packet.echo_reply(), packet.address_reply(A), packet.vlan());
                let built = packet.to_bytes();
                prop_assert!(Packet::parse(&built).is_some());
            }
            let _ = Ethernet::parse(&frame).and_then(|ethernet| ethernet.ipv6());
            let _ = Dhcp::parse(&frame);
        }
    }

    #[test]
    fn dhcp_comes_back(
        (is_request, transaction, seconds, broadcast, hops) in any::<(bool, u32, u16, bool, u8)>(),
        ips: [[u8; 4]; 4],
        options in prop::collection::btree_map(1_u8..255, bytes(600), 0..6),
    ) {
        let [client_ip, your_ip, next_server, relay_ip] = ips.map(Ipv4Addr::from);
        let options: Vec<_> = options.into_iter().collect();
        let message = Dhcp {
            is_request, transaction, seconds, broadcast, hops, client_ip, your_ip, next_server, relay_ip, client_mac: A, options,
        };
        prop_assert_eq!(Dhcp::parse(&message.to_bytes()), Some(message));
    }

    #[test]
    fn arbitrary_bytes_are_no_dhcp_or_parsed_without_a_panic(options in bytes(80)) {
        let mut message = Dhcp::request(Dhcp::REQUEST, A, 7).to_bytes();
        message.truncate(240);
        message.extend(options);
        let _ = Dhcp::parse(&message);
    }
}

/// Sums of a packet over what each checksum covers are 0 where it is right.
fn sums_up(covered: &[&[u8]]) -> bool {
    let mut sum = checksum::Sum::default();
    covered.iter().for_each(|part| sum.add(part));
    sum.checksum() == 0
}

#[test]
fn checksums_are_right() {
    let (src, dst) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    for content in transports(true, [1, 2, 3, 4], &[1; 4], b"odd") {
        let ip = Ipv4 {
            options: &[1; 8],
            ..Ipv4::new(src, dst, content)
        };
        let frame = Packet::new(A, B, Content::Ipv4(ip)).to_bytes();
        assert!(sums_up(&[&frame[14..42]]), "{content:?}");
        let length = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
        let segment = &frame[42..14 + length];
        let addresses = [src.octets(), dst.octets()].concat();
        let pseudo = [
            &addresses[..],
            &[0, content.protocol(), 0, segment.len() as u8],
        ]
        .concat();
        match content {
            Transport::Icmp(_) => assert!(sums_up(&[segment])),
            Transport::Tcp(_) | Transport::Udp(_) => assert!(sums_up(&[&pseudo, segment])),
            _ => {}
        }
    }
    // The words of a pseudo header and a datagram, added here.
    let udp = Udp {
        src: 0xa08f,
        dst: 0x2694,
        payload: &[0x0a, 0x0d, 0x0a, 0x0d],
    };
    let (src, dst) = ([152, 1, 51, 27].into(), [152, 14, 94, 75].into());
    let ip = Ipv4::new(src, dst, Transport::Udp(udp));
    let frame = Packet::new(A, B, Content::Ipv4(ip)).to_bytes();
    let words = [
        0x9801, 0x331b, 0x980e, 0x5e4b, 17, 12, 0xa08f, 0x2694, 12, 0x0a0d, 0x0a0d,
    ];
    let sum: u32 = words.iter().sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    assert_eq!(frame[40..42], sum.to_be_bytes());
}

#[test]
fn a_cut_packet_is_parsed_as_far_as_it_is_there() {
    let udp = Transport::Udp(Udp {
        src: 5,
        dst: 6,
        payload: &[7; 400],
    });
    let (one, two) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    let v4 = Content::Ipv4(Ipv4::new(one, two, udp));
    let (one, two) = (Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED);
    let v6 = Content::Ipv6(Ipv6::new(one, two, udp));
    for content in [v4, v6] {
        let packet = Packet::new(A, B, content);
        let frame = packet.to_bytes();
        let cut = Packet::parse(&frame[..128]).unwrap();
        assert_eq!(cut.flow(), packet.flow());
        assert_eq!(packet.flow().unwrap().dst_port, 6);
        for length in 0..frame.len() {
            let _ = Packet::parse(&frame[..length]).map(|packet| packet.flow());
        }
    }
}

#[test]
fn pings_and_questions_for_addresses_are_answered_on_their_vlan() {
    let tag = Tag {
        kind: ether_type::VLAN,
        priority: 5,
        drop_eligible: false,
        id: 7,
    };
    let from_b = |dst, content| Packet {
        tags: vec![tag],
        ..Packet::new(dst, B, content)
    };
    let echo = |kind| Icmp {
        kind,
        code: 0,
        rest: [0, 1, 0, 2],
        payload: b"ping",
    };
    let (one, two) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    let (six, seven) = (
        Ipv6Addr::new(1, 0, 0, 0, 0, 0, 0, 6),
        Ipv6Addr::new(1, 0, 0, 0, 0, 0, 0, 7),
    );
    let v4 = Ipv4::new(two, one, Transport::Icmp(echo(Icmp::ECHO_REQUEST)));
    let v6 = Ipv6::new(seven, six, Transport::Icmpv6(echo(Icmp::V6_ECHO_REQUEST)));
    let to_v4 = Ipv4::new(one, two, Transport::Icmp(echo(Icmp::ECHO_REPLY)));
    let to_v6 = Ipv6::new(six, seven, Transport::Icmpv6(echo(Icmp::V6_ECHO_REPLY)));
    for (asked, answer) in [
        (Content::Ipv4(v4), Content::Ipv4(to_v4)),
        (Content::Ipv6(v6), Content::Ipv6(to_v6)),
    ] {
        let reply = from_b(A, asked).echo_reply().unwrap();
        let reply = Packet::parse(&reply).unwrap();
        assert_eq!((reply.dst, reply.src, reply.vlan()), (B, A, Vlan::new(7)));
        assert_eq!(reply.content, answer);
        assert_eq!(reply.echo_reply(), None, "no answer to an answer");
    }
    let arp = Arp {
        operation: Arp::REQUEST,
        sender_mac: B,
        sender_ip: two,
        target_mac: MacAddr([0; 6]),
        target_ip: one,
    };
    let reply = from_b(MacAddr::BROADCAST, Content::Arp(arp))
        .address_reply(A)
        .unwrap();
    let reply = Packet::parse(&reply).unwrap();
    let Content::Arp(answer) = reply.content else {
        panic!("{reply:?}");
    };
    assert_eq!(
        (answer.sender_mac, answer.sender_ip, answer.target_ip),
        (A, one, two)
    );
    assert_eq!((reply.dst, reply.vlan()), (B, Vlan::new(7)));
    assert_eq!(reply.address_reply(A), None);
    let question = Neighbor::Solicitation {
        target: six,
        source_mac: Some(B),
    };
    let payload = question.payload();
    for (hop_limit, src, to) in [
        (255, seven, Some((B, seven))),
        (
            255,
            Ipv6Addr::UNSPECIFIED,
            Some((
                MacAddr([0x33, 0x33, 0, 0, 0, 1]),
                "ff02::1".parse().unwrap(),
            )),
        ),
        (64, seven, None),
    ] {
        let ip = Ipv6 {
            hop_limit,
            ..Ipv6::new(src, six, Transport::Icmpv6(question.icmp(&payload)))
        };
        assert_eq!(Neighbor::of(&ip).is_some(), hop_limit == 255);
        let reply = from_b(MacAddr::BROADCAST, Content::Ipv6(ip)).address_reply(A);
        let reply = reply.as_ref().map(|reply| Packet::parse(reply).unwrap());
        assert_eq!(reply.is_some(), to.is_some(), "a router has passed it on");
        let (Some(reply), Some(to)) = (reply, to) else {
            continue;
        };
        let Content::Ipv6(answer) = reply.content else {
            panic!("{reply:?}");
        };
        assert_eq!((reply.dst, answer.dst), to);
        let expected = Neighbor::advertisement(six, A, !src.is_unspecified());
        assert_eq!(Neighbor::of(&answer), Some(expected));
    }
}

#[test]
fn a_flow_is_a_key_and_has_an_opposite() {
    let sctp = Transport::Other {
        protocol: 132,
        payload: &[0, 1, 0, 2, 9, 9],
    };
    let ip = Ipv4::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), sctp);
    let flow = Packet::new(A, B, Content::Ipv4(ip)).flow().unwrap();
    assert_eq!(flow.text(), "10.0.0.1/10.0.0.2/132/1/2");
    assert_eq!(flow.reversed().text(), "10.0.0.2/10.0.0.1/132/2/1");
    assert_eq!(FiveTuple::parse_exact(&flow.text()), Some(flow));
}

#[test]
fn a_dhcp_server_answers() {
    let discover = Dhcp::request(Dhcp::DISCOVER, A, 7);
    let discover = Dhcp {
        broadcast: true,
        relay_ip: [10, 9, 0, 1].into(),
        ..discover.with(option::REQUESTED_ADDRESS, [10, 0, 0, 8])
    };
    let read = Dhcp::parse(&discover.to_bytes()).unwrap();
    assert_eq!(read.requested_address(), Some([10, 0, 0, 8].into()));
    let offer = read.reply(Dhcp::OFFER, [10, 0, 0, 1].into(), [10, 0, 0, 8].into());
    assert_eq!(
        (offer.kind(), offer.transaction, offer.is_request),
        (Some(Dhcp::OFFER), 7, false)
    );
    assert_eq!(
        (offer.relay_ip, offer.broadcast, offer.client_mac),
        (discover.relay_ip, true, A)
    );
    let nak = offer.clone().with(option::MESSAGE_TYPE, [Dhcp::NAK]);
    assert_eq!(
        (nak.kind(), nak.options.len()),
        (Some(Dhcp::NAK), offer.options.len())
    );
}
