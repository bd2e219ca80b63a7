//! Rules of many kinds, in orders and forms in which an app may write them.

use std::net::Ipv6Addr;

use morph_openflow::rule::{RuleBody, RuleKey};
use morph_openflow::v13::flow_mod::flag;
use morph_openflow::v13::{Action, Instruction, Match, Oxm, OxmField, port};
use morph_openflow::{MacAddr, Vlan};

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const GROUP: MacAddr = MacAddr([1, 0, 0, 0, 0, 0]);
/// Cookie of all rules in these tests.
pub(crate) const COOKIE: u64 = 0x4d01_0001_0000_0007;

fn apply(actions: Vec<Action>) -> Vec<Instruction> {
    vec![Instruction::ApplyActions(actions)]
}

fn set(field: OxmField, value: &[u8]) -> Action {
    Action::SetField(Oxm::exact(field, value))
}

/// Matches in orders and forms in which an app may write them.
fn matches() -> Vec<Match> {
    let v6: Ipv6Addr = "2001:db8::1".parse().unwrap();
    let v6_mask: Ipv6Addr = "ffff:ffff::".parse().unwrap();
    let ip = || Match::new().eth_type(0x800);
    let ip6 = || Match::new().eth_type(0x86dd);
    let arp = || Match::new().eth_type(0x806);
    vec![
        Match::new(),
        Match::new().in_port(1),
        Match::new().in_port(port::LOCAL),
        Match::new().eth_dst(MAC).eth_src(MAC).in_port(7),
        Match::new().eth_dst_masked(GROUP, GROUP),
        Match::new().eth_dst_masked(MAC, MacAddr::BROADCAST),
        Match::new().eth_dst_masked(MAC, MacAddr([0; 6])).in_port(2),
        Match::new().eth_type(0x88cc),
        Match::new().vlan_vid(7),
        Match::new().vlan_vid(7).vlan_pcp(3),
        Match::new().vlan_any(),
        Match::new().vlan_none(),
        Match::new().vlan(Vlan::NONE),
        Match::new().with(Oxm::masked(OxmField::VLAN_VID, &[0x10, 8], &[0x1f, 0xff])),
        Match::new().with(Oxm::masked(OxmField::VLAN_VID, &[0x10, 9], &[0xff, 0xff])),
        Match::new()
            .vlan_vid(8)
            .eth_type(0x800)
            .ipv4_dst([10, 0, 0, 9].into()),
        Match::new().metadata(5),
        Match::new().metadata_masked(0xff05, 0xff),
        Match::new().metadata_masked(6, u64::MAX),
        Match::new().tunnel_id(9),
        Match::new().tunnel_id_masked(0x1ff, 0xf0),
        ip(),
        ip().ipv4_dst([10, 0, 0, 1].into()),
        ip().ipv4_dst_masked([10, 0, 0, 2].into(), [255; 4].into()),
        ip().ipv4_src_masked([10, 1, 2, 3].into(), [255, 255, 0, 0].into()),
        ip().ipv4_src_masked([10, 1, 2, 3].into(), [255, 0, 255, 0].into()),
        ip().ip_dscp(46).ip_ecn(1),
        ip().ip_proto(1).icmpv4_type(8).icmpv4_code(0),
        ip().ip_proto(6).tcp_src(1000).tcp_dst(80),
        ip().ip_proto(17).udp_src(67).udp_dst(68).in_port(1),
        ip().ip_proto(132).sctp_src(1).sctp_dst(2),
        ip().ip_proto(6)
            .with(Oxm::masked(OxmField::TCP_DST, &[0x1f, 0x90], &[0xff, 0xf0])),
        arp(),
        arp()
            .arp_op(1)
            .arp_spa([10, 0, 0, 1].into())
            .arp_tpa([10, 0, 0, 2].into()),
        arp().arp_spa_masked([10, 0, 0, 1].into(), [255, 255, 255, 0].into()),
        arp().arp_spa_masked([10, 0, 0, 3].into(), [255; 4].into()),
        arp().arp_sha(MAC).arp_tha_masked(GROUP, GROUP).eth_src(MAC),
        ip6().ipv6_src(v6).ipv6_dst_masked(v6, v6_mask),
        ip6().ipv6_flabel(0x12345),
        ip6().with(Oxm::masked(
            OxmField::IPV6_FLABEL,
            &[0, 1, 2, 3],
            &[0, 0xf, 0xff, 0xff],
        )),
        ip6()
            .ip_proto(58)
            .icmpv6_type(135)
            .icmpv6_code(0)
            .ipv6_nd_target(v6)
            .ipv6_nd_sll(MAC),
        ip6()
            .ip_proto(58)
            .icmpv6_type(136)
            .icmpv6_code(0)
            .ipv6_nd_tll(MAC),
        ip6().ip_proto(6).tcp_dst(443),
        Match::new()
            .eth_type(0x8847)
            .mpls_label(77)
            .mpls_tc(2)
            .mpls_bos(1),
    ]
}

/// Instructions in orders and forms in which an app may write them.
fn instructions() -> Vec<Vec<Instruction>> {
    use Action::*;
    let goto = Instruction::GotoTable(20);
    let metadata = |metadata, mask| Instruction::WriteMetadata { metadata, mask };
    vec![
        vec![],
        apply(vec![]),
        vec![Instruction::WriteActions(vec![])],
        vec![goto.clone()],
        apply(vec![Action::output(1)]),
        apply(vec![Output {
            port: 1,
            max_len: 0xffff,
        }]),
        apply(vec![Action::to_controller()]),
        apply(vec![Output {
            port: port::CONTROLLER,
            max_len: 128,
        }]),
        apply(vec![Output {
            port: port::CONTROLLER,
            max_len: 0,
        }]),
        apply(
            [
                port::IN_PORT,
                port::NORMAL,
                port::FLOOD,
                port::ALL,
                port::LOCAL,
            ]
            .map(Action::output)
            .to_vec(),
        ),
        vec![
            goto.clone(),
            Instruction::ApplyActions(vec![Action::to_controller()]),
        ],
        vec![
            goto.clone(),
            metadata(0x1ff, 0xff),
            Instruction::ClearActions,
        ],
        vec![metadata(7, u64::MAX), goto.clone()],
        vec![metadata(7, 0), goto.clone()],
        vec![
            Instruction::WriteActions(vec![Action::output(2)]),
            goto.clone(),
        ],
        vec![
            Instruction::WriteActions(vec![Action::output(2), set(OxmField::ETH_DST, &MAC.0)]),
            Instruction::ClearActions,
            Instruction::ApplyActions(vec![Action::output(1)]),
        ],
        apply(vec![
            set(OxmField::ETH_SRC, &MAC.0),
            set(OxmField::ETH_DST, &MAC.0),
            Action::output(1),
            set(OxmField::METADATA, &7u64.to_be_bytes()),
            set(OxmField::TUNNEL_ID, &8u64.to_be_bytes()),
        ]),
        apply(vec![
            PushVlan(0x8100),
            set(OxmField::VLAN_VID, &[0x10, 5]),
            set(OxmField::VLAN_PCP, &[3]),
            Action::output(1),
        ]),
        apply(vec![SetQueue(3), Action::output(1)]),
    ]
}

/// Instructions that require a match on IPv4 and TCP.
fn tcp_instructions() -> Vec<Vec<Instruction>> {
    use Action::*;
    vec![
        apply(vec![DecNwTtl, Action::output(1)]),
        apply(vec![SetNwTtl(9), Action::output(1)]),
        apply(vec![
            set(OxmField::IPV4_SRC, &[1, 2, 3, 4]),
            set(OxmField::IPV4_DST, &[4, 3, 2, 1]),
            Action::output(1),
        ]),
        apply(vec![
            set(OxmField::TCP_SRC, &[1, 2]),
            set(OxmField::TCP_DST, &[3, 4]),
            Action::output(1),
        ]),
        apply(vec![
            set(OxmField::IP_DSCP, &[10]),
            set(OxmField::IP_ECN, &[1]),
            Action::output(1),
        ]),
        apply(vec![
            PushMpls(0x8847),
            set(OxmField::MPLS_LABEL, &[0, 0, 0, 9]),
            set(OxmField::MPLS_TC, &[1]),
            SetMplsTtl(4),
            DecMplsTtl,
            PopMpls(0x800),
        ]),
    ]
}

fn body(instructions: Vec<Instruction>) -> RuleBody {
    RuleBody {
        instructions: instructions.into(),
        cookie: COOKIE,
        ..RuleBody::default()
    }
}

/// Rules as an app writes them, not in normal form.
pub(crate) fn wanted() -> Vec<(RuleKey, RuleBody)> {
    let key = |table, n: usize, match_: Match| RuleKey {
        table,
        priority: 100 + n as u16,
        match_: match_.into(),
    };
    let mut rules = Vec::new();
    for (n, match_) in matches().into_iter().enumerate() {
        rules.push((key(2, n, match_), body(apply(vec![Action::output(1)]))));
    }
    for (n, list) in instructions().into_iter().enumerate() {
        rules.push((key(3, n, Match::new()), body(list)));
    }
    for (n, list) in tcp_instructions().into_iter().enumerate() {
        let tcp = Match::new().eth_type(0x800).ip_proto(6);
        rules.push((key(4, n, tcp), body(list)));
    }
    let tagged = Match::new().vlan_any();
    let pop = apply(vec![Action::PopVlan, Action::output(1)]);
    rules.push((key(4, 100, tagged), body(pop)));
    let all = flag::SEND_FLOW_REM | flag::CHECK_OVERLAP | flag::RESET_COUNTS;
    let quiet = flag::NO_PKT_COUNTS | flag::NO_BYT_COUNTS;
    for (n, flags) in [flag::SEND_FLOW_REM, quiet, all, all | quiet]
        .into_iter()
        .enumerate()
    {
        let body = RuleBody {
            flags,
            ..body(vec![])
        };
        rules.push((key(5, n, Match::new()), body));
    }
    let timeouts = RuleBody {
        idle_timeout: 100,
        hard_timeout: 200,
        ..body(vec![])
    };
    rules.push((key(6, 0, Match::new()), timeouts));
    rules
}
