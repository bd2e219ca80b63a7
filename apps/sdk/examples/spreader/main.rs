//! An address in front of several servers at the ports of a switch: a select group gives each connection to one of them, in
//! proportion to their weights. No packet but ARP requests comes to the app.
//!
//! A server whose weight is set to 0 gets no packets any more. The group is changed, the rules are not.

use std::net::Ipv4Addr;
use std::process::ExitCode;

use morph_sdk::packet::{Arp, Ethernet, ether_type};
use morph_sdk::{
    Action, App, AppError, Dpid, Event, MacAddr, Match, Oxm, RuleInput, Rules, Table, TableShape,
    Turn, View, port,
};
use serde::{Deserialize, Serialize};

/// The app's only group on a switch.
const SERVERS_GROUP: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Service {
    address: Ipv4Addr,
    mac: MacAddr,
    /// Port behind which the clients are.
    clients: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Server {
    address: Ipv4Addr,
    mac: MacAddr,
    weight: u16,
}

const SERVICES: Table<Dpid, Service> = Table::new("services");
const SERVERS: Table<(Dpid, u32), Server> = Table::new("servers");

struct Spreader;

impl App for Spreader {
    type Group = Dpid;

    fn tables() -> Vec<TableShape> {
        vec![SERVICES.shape(), SERVERS.shape()]
    }

    fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
        if let Event::PacketIn(packet) = event
            && let Some(service) = turn.get(&SERVICES, &packet.dpid)
            && let Some(arp) = Ethernet::parse(&packet.data).and_then(|frame| frame.arp())
        {
            let (dpid, back) = (packet.dpid, vec![Action::output(packet.in_port)]);
            turn.packet_out(dpid, port::CONTROLLER, back, arp.reply(service.mac));
        }
        Ok(())
    }

    fn groups(&self, input: &RuleInput<'_>, _: &View<'_>) -> Vec<Dpid> {
        let of_server = input.key(&SERVERS).map(|(dpid, _)| dpid);
        input.key(&SERVICES).or(of_server).into_iter().collect()
    }

    fn rules(&self, dpid: &Dpid, view: &View<'_>, rules: &mut Rules) {
        let Some(service) = view.get(&SERVICES, dpid) else {
            return;
        };
        let arp = Match::new().eth_type(ether_type::ARP);
        let asked = arp.clone().arp_op(Arp::REQUEST).arp_tpa(service.address);
        rules.on(*dpid).priority(10).matching(asked).punt();
        let flood = vec![Action::output(port::FLOOD)];
        rules.on(*dpid).priority(5).matching(arp).actions(flood);

        let servers: Vec<(u32, Server)> = view
            .prefix(&SERVERS, dpid)
            .map(|((_, port), server)| (port, server))
            .collect();
        let serving = servers.iter().filter(|(_, server)| server.weight > 0);
        let buckets = serving.map(|(port, server)| (server.weight, to_server(*port, server)));
        rules.group(*dpid, SERVERS_GROUP).select(buckets.collect());
        let ip = Match::new().eth_type(ether_type::IPV4);
        let to_service = ip
            .clone()
            .in_port(service.clients)
            .ipv4_dst(service.address);
        let rule = rules.on(*dpid).priority(10).matching(to_service);
        rule.actions(vec![Action::Group(SERVERS_GROUP)]);
        for (port, server) in servers {
            let answers = ip.clone().in_port(port).ipv4_src(server.address);
            rules.on(*dpid).priority(10).matching(answers).actions(vec![
                Action::set_field(Oxm::eth_src(service.mac)),
                Action::set_field(Oxm::ipv4_src(service.address)),
                Action::output(service.clients),
            ]);
        }
    }
}

fn to_server(port: u32, server: &Server) -> Vec<Action> {
    vec![
        Action::set_field(Oxm::eth_dst(server.mac)),
        Action::set_field(Oxm::ipv4_dst(server.address)),
        Action::output(port),
    ]
}

fn main() -> ExitCode {
    morph_sdk::run(|| Spreader)
}
