//! An app that puts every action, instruction and flag of the SDK that Open vSwitch has into rules, and every kind of group and
//! meter beside them: the end-to-end tests read them back. A catalogue of what an app can say to a switch, too.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;

use morph_sdk::{
    Action, App, AppError, Dpid, Event, MacAddr, Match, MeterBand, Oxm, RuleBuilder, RuleInput,
    Rules, Turn, View, Watch, port,
};

const V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

struct EveryAction;

impl App for EveryAction {
    type Group = Dpid;

    fn event(&mut self, _: &Event, _: &mut Turn<'_>) -> Result<(), AppError> {
        Ok(())
    }

    fn groups(&self, input: &RuleInput<'_>, _: &View<'_>) -> Vec<Dpid> {
        match input {
            RuleInput::Switch(dpid) => vec![*dpid],
            RuleInput::Row(_) => Vec::new(),
        }
    }

    fn rules(&self, dpid: &Dpid, view: &View<'_>, rules: &mut Rules) {
        if view.switch(*dpid).is_none() {
            return;
        }
        for (priority, (matching, action)) in (1..).zip(actions()) {
            let rule = rules.on(*dpid).priority(priority).matching(matching);
            rule.actions(action);
        }
        instructions(*dpid, rules);
        flags(*dpid, rules);
        groups(*dpid, rules);
        meters(*dpid, rules);
    }
}

fn ip() -> Match {
    Match::new().eth_type(0x0800)
}

fn ipv6() -> Match {
    Match::new().eth_type(0x86dd)
}

fn neighbour(kind: u8) -> Match {
    ipv6().ip_proto(58).icmpv6_type(kind)
}

/// Actions of one rule each, with packets that they suit.
fn actions() -> Vec<(Match, Vec<Action>)> {
    use Action as A;
    let set = |matching: Match, field: Oxm| (matching, vec![A::set_field(field), A::output(1)]);
    let arp = || Match::new().eth_type(0x0806);
    let vlan = || Match::new().vlan_vid(7);
    let mpls = || Match::new().eth_type(0x8847);
    let (tcp, udp, sctp) = (ip().ip_proto(6), ip().ip_proto(17), ip().ip_proto(132));
    let icmp = || ip().ip_proto(1);
    vec![
        set(Match::new(), Oxm::eth_dst(MAC)),
        set(Match::new(), Oxm::eth_src(MAC)),
        set(vlan(), Oxm::vlan_vid(8)),
        set(vlan(), Oxm::vlan_pcp(5)),
        set(ip(), Oxm::ip_dscp(46)),
        set(ipv6(), Oxm::ip_ecn(2)),
        set(ip(), Oxm::ipv4_src(V4)),
        set(ip(), Oxm::ipv4_dst(V4)),
        set(tcp.clone(), Oxm::tcp_src(80)),
        set(tcp, Oxm::tcp_dst(80)),
        set(udp.clone(), Oxm::udp_src(53)),
        set(udp, Oxm::udp_dst(53)),
        set(sctp.clone(), Oxm::sctp_src(9)),
        set(sctp, Oxm::sctp_dst(9)),
        set(icmp(), Oxm::icmpv4_type(0)),
        set(icmp(), Oxm::icmpv4_code(0)),
        set(arp(), Oxm::arp_op(2)),
        set(arp(), Oxm::arp_spa(V4)),
        set(arp(), Oxm::arp_tpa(V4)),
        set(arp(), Oxm::arp_sha(MAC)),
        set(arp(), Oxm::arp_tha(MAC)),
        set(ipv6(), Oxm::ipv6_src(V6)),
        set(ipv6(), Oxm::ipv6_dst(V6)),
        set(ipv6(), Oxm::ipv6_flabel(0xf_ffff)),
        set(ipv6().ip_proto(58), Oxm::icmpv6_type(136)),
        set(ipv6().ip_proto(58), Oxm::icmpv6_code(0)),
        set(neighbour(135), Oxm::ipv6_nd_target(V6)),
        set(neighbour(135), Oxm::ipv6_nd_sll(MAC)),
        set(neighbour(136), Oxm::ipv6_nd_tll(MAC)),
        set(mpls(), Oxm::mpls_label(100)),
        set(mpls(), Oxm::mpls_tc(3)),
        set(Match::new(), Oxm::tunnel_id(1 << 40)),
        (
            Match::new(),
            vec![
                A::PushVlan(0x8100),
                A::set_field(Oxm::vlan_vid(9)),
                A::output(1),
            ],
        ),
        (Match::new(), vec![A::PushVlan(0x88a8), A::output(1)]),
        (vlan(), vec![A::PopVlan, A::output(port::IN_PORT)]),
        (
            ip(),
            vec![
                A::PushMpls(0x8847),
                A::set_field(Oxm::mpls_label(7)),
                A::output(1),
            ],
        ),
        (
            mpls().mpls_bos(1),
            vec![A::PopMpls(0x0800), A::DecNwTtl, A::output(1)],
        ),
        (mpls(), vec![A::SetMplsTtl(9), A::output(1)]),
        (mpls(), vec![A::DecMplsTtl, A::output(1)]),
        (ip(), vec![A::SetNwTtl(64), A::output(1)]),
        (ipv6(), vec![A::DecNwTtl, A::output(1)]),
        (Match::new(), vec![A::SetQueue(3), A::output(1)]),
        (Match::new(), vec![A::output(port::FLOOD)]),
        (Match::new(), vec![A::output(port::ALL)]),
        (Match::new(), vec![A::output(port::NORMAL)]),
        (
            Match::new(),
            vec![A::output(port::LOCAL), A::to_controller()],
        ),
    ]
}

/// Rules with each instruction.
fn instructions(dpid: Dpid, rules: &mut Rules) {
    let write = || {
        let to_host = Action::set_field(Oxm::eth_dst(MAC));
        vec![to_host, Action::PushVlan(0x8100), Action::output(2)]
    };
    let rule = rules
        .on(dpid)
        .priority(1000)
        .matching(Match::new().in_port(1));
    let rule = rule.write_metadata(0xabcd_0000, 0xffff_0000);
    rule.actions_then_table(vec![Action::set_field(Oxm::eth_src(MAC))], 1);
    let rule = rules
        .on(dpid)
        .priority(1000)
        .matching(Match::new().in_port(2));
    rule.write_actions(write())
        .actions_then_table(Vec::new(), 1);
    let later = Match::new().metadata_masked(0xabcd_0000, 0xffff_0000);
    let rule = rules.on(dpid).table(1).priority(1).matching(later);
    rule.clear_actions().write_actions(write()).drop_();
    rules.on(dpid).table(1).clear_actions().next();
}

/// Rules with each timeout and flag.
fn flags(dpid: Dpid, rules: &mut Rules) {
    let on = |rules: &mut Rules, priority: u16, end: fn(RuleBuilder<'_>)| {
        end(rules.on(dpid).table(1).priority(priority));
    };
    on(rules, 2001, |rule| rule.idle_timeout(3000).drop_());
    on(rules, 2002, |rule| rule.hard_timeout(3000).drop_());
    on(rules, 2003, |rule| rule.report_removal().drop_());
    on(rules, 2004, |rule| rule.no_packet_counts().drop_());
    on(rules, 2005, |rule| rule.no_byte_counts().drop_());
}

/// Groups of each type, one of which leads to two others, and a rule that uses it.
fn groups(dpid: Dpid, rules: &mut Rules) {
    let to_host = |port| vec![Action::set_field(Oxm::eth_dst(MAC)), Action::output(port)];
    rules.group(dpid, 1).all(vec![
        vec![Action::Group(2)],
        vec![Action::Group(3)],
        vec![Action::PushVlan(0x8100), Action::output(port::IN_PORT)],
    ]);
    rules
        .group(dpid, 2)
        .select(vec![(1, to_host(1)), (3, to_host(2))]);
    rules.group(dpid, 3).indirect(to_host(1));
    rules.group(dpid, 4).fast_failover(vec![
        (Watch::Port(1), to_host(1)),
        (Watch::Port(2), to_host(2)),
    ]);
    let rule = rules.on(dpid).priority(3001).matching(ip());
    rule.report_removal().actions(vec![Action::Group(1)]);
    let rule = rules.on(dpid).priority(3002).matching(ip());
    rule.write_actions(vec![Action::Group(4)]).drop_();
}

/// Meters in both units, and rules that use them.
fn meters(dpid: Dpid, rules: &mut Rules) {
    let drop = |rate, burst_size| MeterBand::Drop { rate, burst_size };
    rules.meter(dpid, 0).kilobits(vec![drop(1000, 0)]);
    rules.meter(dpid, 1).packets(vec![drop(100, 50)]);
    for meter in 0..2 {
        let rule = rules.on(dpid).priority(3003 + meter).matching(ip());
        rule.meter(meter.into()).actions(vec![Action::output(2)]);
    }
}

fn main() -> ExitCode {
    morph_sdk::run(|| EveryAction)
}
