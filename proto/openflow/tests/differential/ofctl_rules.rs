//! Rules for `ovs-ofctl` to encode.

use bytes::Bytes;
use morph_openflow::v13::nicira::{self, Resubmit};
use morph_openflow::v13::*;

/// Rules in the syntax of `ovs-ofctl`, each with the flow-mod that its encoding must decode to.
pub(crate) fn all() -> Vec<(&'static str, FlowMod)> {
    let rule = |match_, actions| FlowMod {
        priority: 7,
        match_,
        instructions: vec![Instruction::ApplyActions(actions)],
        ..FlowMod::default()
    };
    let register = |n: u8, value: u32| Oxm::exact(OxmField::reg(n), &value.to_be_bytes());
    let tcp = Match::new().eth_type(0x800).ip_proto(6);
    let conntrack = [0, 35, 0, 1, 0, 0, 0, 0, 0, 3, 0xff, 0, 0, 0, 0, 0];
    vec![
        (
            "priority=7,in_port=3,actions=output:2",
            rule(Match::new().in_port(3), vec![Action::output(2)]),
        ),
        (
            "table=3,priority=7,tcp,nw_dst=10.0.0.0/8,tp_dst=80,actions=dec_ttl,CONTROLLER:65535",
            FlowMod {
                table_id: 3,
                ..rule(
                    tcp.ipv4_dst_masked([10, 0, 0, 0].into(), [255, 0, 0, 0].into())
                        .tcp_dst(80),
                    vec![Action::DecNwTtl, Action::to_controller()],
                )
            },
        ),
        (
            "priority=7,ip,reg3=5,actions=set_field:1->reg0,resubmit(,4),ct(commit,zone=3)",
            rule(
                Match::new().eth_type(0x800).with(register(3, 5)),
                vec![
                    Action::SetField(register(0, 1)),
                    Action::Resubmit(Resubmit {
                        in_port: nicira::IN_PORT,
                        table: Some(4),
                    }),
                    Action::Experimenter {
                        experimenter: experimenter::NICIRA,
                        body: Bytes::copy_from_slice(&conntrack),
                    },
                ],
            ),
        ),
        (
            "priority=7,dl_vlan=5,idle_timeout=9,cookie=0x11,actions=pop_vlan,group:6",
            FlowMod {
                cookie: 0x11,
                idle_timeout: 9,
                ..rule(
                    Match::new().vlan_vid(5),
                    vec![Action::PopVlan, Action::Group(6)],
                )
            },
        ),
        (
            "priority=7,arp,arp_tpa=10.0.0.1,actions=set_queue:3,FLOOD",
            rule(
                Match::new().eth_type(0x806).arp_tpa([10, 0, 0, 1].into()),
                vec![Action::SetQueue(3), Action::output(port::FLOOD)],
            ),
        ),
    ]
}
