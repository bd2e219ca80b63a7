//! A network on paper: topology's tables for the router to read, and a model of tables that packets pass through.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};

use morph_sdk::bench::{Bench, Outcome};
use morph_sdk::packet::ether_type;
use morph_sdk::{
    Action, Dpid, FlowMod, FlowModCommand, Instruction, Key, MacAddr, Match, OxmField, Pipeline,
    Rows, RuleBody, RuleKey, RuleSet, Table, Vlan, port,
};
use proptest::prelude::*;
use router::graph::End;
use router::hosts::{Destination, Hosts};
use router::{Release, Router};
use serde_json::{Value, json};

const SWITCHES: Table<Dpid, Value> = Table::of("topology", "switches");
const PORTS: Table<(Dpid, u32), Value> = Table::of("topology", "ports");
const LINKS: Table<(Dpid, u32), Value> = Table::of("topology", "links");
const BONDS: Table<(Dpid, u32), Value> = Table::of("topology", "bonds");
pub const WEIGHTS: Table<String, u32> = Table::new("weights");

pub const PIPELINE: Pipeline = Pipeline {
    app: 3,
    first: 20,
    exit: 29,
};

pub const fn end(dpid: u64, port: u32) -> End {
    End {
        dpid: Dpid(dpid),
        port,
    }
}

pub const fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

/// Host with this address and no VLAN.
pub const fn untagged(mac: MacAddr) -> Destination {
    let vlan = Vlan::NONE;
    Destination { mac, vlan }
}

/// Topology's table of hosts, as a release reads it.
pub const fn hosts_of<R: Release>() -> Table<<R::Hosts as Hosts>::Host, Value> {
    Table::of("topology", "hosts")
}

/// Topology's table of IP addresses, as a release reads it.
const fn ips_of<R: Release>() -> Table<<R::Hosts as Hosts>::Ip, Value> {
    Table::of("topology", "ips")
}

/// Cables between switches; each port has at most one.
#[derive(Debug, Clone, Default)]
pub struct Net {
    pub switches: BTreeSet<Dpid>,
    pub cables: BTreeMap<End, End>,
    pub hosts: BTreeMap<MacAddr, End>,
}

impl Net {
    /// Makes cables between switches of these numbers: the n-th uses port n + 1 at both its ends.
    pub fn of(pairs: impl IntoIterator<Item = (u64, u64)>) -> Net {
        let mut net = Net::default();
        for (n, (a, b)) in pairs.into_iter().enumerate() {
            let port = n as u32 + 1;
            net.cable(end(a, port), end(b, port));
        }
        net
    }

    pub fn cable(&mut self, a: End, b: End) {
        self.switches.extend([a.dpid, b.dpid]);
        self.cables.extend([(a, b), (b, a)]);
    }

    pub fn host(mut self, n: u8, at: End) -> Net {
        self.switches.insert(at.dpid);
        self.hosts.insert(mac(n), at);
        self
    }

    /// The router on its bench, resumed, with these rows of its own and with all of this network known to it.
    pub fn bench<R: Release>(&self, rows: &Rows) -> Bench<Router<R>> {
        let mut bench = self.before_resume(rows);
        bench.resume();
        bench
    }

    /// The router on its bench before it is resumed.
    pub fn before_resume<R: Release>(&self, rows: &Rows) -> Bench<Router<R>> {
        let mut bench = Bench::new(Router::new(), PIPELINE);
        for &dpid in &self.switches {
            bench.switch(dpid, 1..60);
        }
        bench.load_of("topology", &self.topology::<R>());
        bench.load(rows);
        bench
    }

    fn topology<R: Release>(&self) -> Rows {
        let mut rows = Rows::new();
        for &dpid in &self.switches {
            put(&mut rows, &SWITCHES, &dpid, json!({"connected": true}));
        }
        for (&a, &b) in &self.cables {
            put(&mut rows, &PORTS, &(a.dpid, a.port), port_row("link"));
            put(&mut rows, &LINKS, &(a.dpid, a.port), end_row(b));
        }
        for (&mac, &at) in &self.hosts {
            put(&mut rows, &PORTS, &(at.dpid, at.port), port_row("host"));
            let host = R::Hosts::host(untagged(mac));
            put(&mut rows, &hosts_of::<R>(), &host, end_row(at));
            let ip = R::Hosts::ip(ip(mac), Vlan::NONE);
            put(&mut rows, &ips_of::<R>(), &ip, json!(mac));
        }
        rows
    }

    /// Host ports that a frame comes out by, each as often as it does, and switches that punt it (port 0). A loop shows as more than
    /// any tree has.
    pub fn spread(&self, rules: &BTreeMap<Dpid, RuleSet>, from: End, frame: Frame) -> Vec<End> {
        let mut ends = Vec::new();
        let mut arrived = vec![from];
        let mut hops = 0;
        while let Some(at) = arrived.pop() {
            hops += 1;
            if hops > 1000 {
                panic!("a loop: {from:?}");
            }
            for port in look_up(rules.get(&at.dpid), at.port, frame) {
                let dpid = at.dpid;
                let leaves = End { dpid, port };
                match (port, self.cables.get(&leaves)) {
                    (port::CONTROLLER, _) => ends.push(End { dpid, port: 0 }),
                    (port, _) if port == at.port => {}
                    (_, Some(far)) => arrived.push(*far),
                    (_, None) => ends.push(leaves),
                }
            }
        }
        ends
    }

    /// End of a frame's way from one host to an address, by the rules alone.
    pub fn walk(&self, rules: &BTreeMap<Dpid, RuleSet>, from: End, dst: MacAddr) -> Fate {
        self.walk_on(rules, from, untagged(dst))
    }

    /// End of the way of a frame on a VLAN.
    pub fn walk_on(&self, rules: &BTreeMap<Dpid, RuleSet>, from: End, dst: Destination) -> Fate {
        let mut at = from;
        for _ in 0..=self.switches.len() {
            let out = match look_up(rules.get(&at.dpid), at.port, Frame::to(dst))[..] {
                [] => return Fate::Dropped(at),
                [out] => out,
                ref several => panic!("{several:?}"),
            };
            match out {
                port::CONTROLLER => return Fate::Punted(at),
                out if out == at.port => return Fate::Dropped(at),
                out => {
                    let leaves = End {
                        dpid: at.dpid,
                        port: out,
                    };
                    match self.cables.get(&leaves) {
                        Some(&far) => at = far,
                        None => return Fate::Left(leaves),
                    }
                }
            }
        }
        Fate::Looped
    }
}

/// End of a frame's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Left(End),
    Punted(End),
    Dropped(End),
    Looped,
}

fn put<K: Key>(rows: &mut Rows, table: &Table<K, Value>, key: &K, value: Value) {
    rows.put(table, key, &value).unwrap();
}

fn port_row(kind: &str) -> Value {
    json!({"name": "p", "mac": mac(99), "up": true, "kind": kind})
}

fn end_row(end: End) -> Value {
    json!({"dpid": end.dpid, "port": end.port})
}

fn ip(mac: MacAddr) -> String {
    format!("10.0.0.{}", mac.0[5])
}

pub fn connected<R: Release>(bench: &mut Bench<Router<R>>, dpid: Dpid, yes: bool) -> Outcome {
    bench.row(&SWITCHES, &dpid, &json!({"connected": yes}))
}

pub fn port_is<R: Release>(bench: &mut Bench<Router<R>>, at: End, kind: &str) -> Outcome {
    bench.row(&PORTS, &(at.dpid, at.port), &port_row(kind))
}

pub fn link<R: Release>(bench: &mut Bench<Router<R>>, from: End, to: Option<End>) -> Outcome {
    let key = (from.dpid, from.port);
    match to {
        Some(to) => bench.row(&LINKS, &key, &end_row(to)),
        None => bench.no_row(&LINKS, &key),
    }
}

pub fn host_port<R: Release>(bench: &mut Bench<Router<R>>, at: End) -> Outcome {
    bench.row(&PORTS, &(at.dpid, at.port), &port_row("host"))
}

/// Makes a port the other one of a bond, or no longer.
pub fn bond<R: Release>(bench: &mut Bench<Router<R>>, other: End, home: Option<End>) -> Outcome {
    let key = (other.dpid, other.port);
    match home {
        Some(home) => bench.row(&BONDS, &key, &end_row(home)),
        None => bench.no_row(&BONDS, &key),
    }
}

pub fn cut<R: Release>(bench: &mut Bench<Router<R>>, net: &mut Net, a: End) -> Vec<Outcome> {
    let Some(b) = net.cables.remove(&a) else {
        return Vec::new();
    };
    net.cables.remove(&b);
    let there = link(bench, a, None);
    vec![there, link(bench, b, None)]
}

pub fn host<R: Release>(bench: &mut Bench<Router<R>>, mac: MacAddr, at: End) -> Outcome {
    host_on(bench, untagged(mac), at)
}

pub fn host_on<R: Release>(bench: &mut Bench<Router<R>>, host: Destination, at: End) -> Outcome {
    let ip = R::Hosts::ip(ip(host.mac), host.vlan);
    bench.row(&ips_of::<R>(), &ip, &json!(host.mac));
    bench.row(&hosts_of::<R>(), &R::Hosts::host(host), &end_row(at))
}

/// Gives an address to another host.
pub fn binds<R: Release>(bench: &mut Bench<Router<R>>, ip: [u8; 4], mac: MacAddr) -> Outcome {
    let ip = std::net::Ipv4Addr::from(ip).to_string();
    bench.row(&ips_of::<R>(), &R::Hosts::ip(ip, Vlan::NONE), &json!(mac))
}

/// Frame as far as rules look at it.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    pub src: MacAddr,
    pub dst: MacAddr,
    pub eth_type: u16,
    pub vlan: Vlan,
}

impl Frame {
    pub fn to(destination: Destination) -> Self {
        Frame {
            src: MacAddr([2, 9, 9, 9, 9, 9]),
            dst: destination.mac,
            eth_type: ether_type::IPV4,
            vlan: destination.vlan,
        }
    }
}

fn matches(match_: &Match, in_port: u32, frame: Frame) -> bool {
    match_.fields.iter().all(|oxm| {
        let mask = |i: usize| oxm.mask.as_ref().map_or(0xff, |mask| mask[i]);
        let value: Vec<u8> = match oxm.field {
            OxmField::IN_PORT => in_port.to_be_bytes().to_vec(),
            OxmField::ETH_DST => frame.dst.0.to_vec(),
            OxmField::ETH_SRC => frame.src.0.to_vec(),
            OxmField::ETH_TYPE => frame.eth_type.to_be_bytes().to_vec(),
            OxmField::VLAN_VID => vlan_field(frame.vlan).to_vec(),
            other => panic!("{other:?}"),
        };
        (0..value.len()).all(|i| value[i] & mask(i) == oxm.value[i])
    })
}

/// Value of the VLAN field of a frame: tagged frames have the bit `OFPVID_PRESENT`.
fn vlan_field(vlan: Vlan) -> [u8; 2] {
    match vlan {
        Vlan::NONE => [0, 0],
        _ => (0x1000 | vlan.vid()).to_be_bytes(),
    }
}

/// Ports that a switch sends a frame to, by all of its tables. Two rules of one priority must not both match.
fn look_up(rules: Option<&RuleSet>, in_port: u32, frame: Frame) -> Vec<u32> {
    let mut ports = Vec::new();
    let mut table = Some(PIPELINE.first);
    while let (Some(now), Some(rules)) = (table.take(), rules) {
        let mut best: Vec<(&RuleKey, &RuleBody)> = rules
            .iter()
            .filter(|(key, _)| key.table == now && matches(&key.match_, in_port, frame))
            .collect();
        best.sort_by_key(|(key, _)| std::cmp::Reverse(key.priority));
        let Some((key, body)) = best.first().copied() else {
            break;
        };
        assert!(
            best.get(1)
                .is_none_or(|(next, _)| next.priority < key.priority)
        );
        for instruction in body.instructions.iter() {
            match instruction {
                Instruction::ApplyActions(actions) => {
                    ports.extend(actions.iter().map(|action| match action {
                        Action::Output { port, .. } => *port,
                        _ => panic!("{actions:?}"),
                    }));
                }
                Instruction::GotoTable(next) => table = Some(*next),
                other => panic!("{other:?}"),
            }
        }
    }
    ports
}

/// Rules of all switches, as flow-mods change them.
#[derive(Clone)]
pub struct Installed(pub BTreeMap<Dpid, RuleSet>);

impl Installed {
    pub fn change(&mut self, dpid: Dpid, flow: &FlowMod) {
        let key = RuleKey::new(flow.table_id, flow.priority, &flow.match_);
        let rules = self.0.entry(dpid).or_default();
        let body = RuleBody {
            instructions: flow.instructions.clone().into(),
            ..RuleBody::default()
        };
        match flow.command {
            FlowModCommand::Add => rules.insert(key, body),
            _ => rules.remove(&key),
        };
    }
}

/// Up to eight switches with random cables, some double, and hosts at ports from 50.
pub fn any_net() -> impl Strategy<Value = Net> {
    let cables = proptest::collection::vec((1u64..9, 1u64..9), 1..20);
    let hosts = proptest::collection::vec(1u64..9, 1..5);
    (cables, hosts).prop_map(|(cables, hosts)| {
        let mut net = Net::of(cables.into_iter().filter(|(a, b)| a != b));
        for (n, dpid) in hosts.into_iter().enumerate() {
            net = net.host(n as u8 + 1, end(dpid, 50 + n as u32));
        }
        net
    })
}

/// Weights of some of a net's ports.
pub fn any_weights() -> impl Strategy<Value = BTreeMap<End, u32>> {
    let weight = ((1u64..9, 1u32..20), 0u32..6);
    proptest::collection::vec(weight, 0..20).prop_map(|weights| {
        weights
            .into_iter()
            .map(|((d, p), w)| (end(d, p), w))
            .collect()
    })
}
