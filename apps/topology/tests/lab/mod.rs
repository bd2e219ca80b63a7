//! A lab: the topology app on its bench, and cables that carry the frames it sends back to it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use morph_sdk::bench::{Bench, Outcome};
use morph_sdk::lldp::Probe;
use morph_sdk::packet::{self, Arp, ether_type};
use morph_sdk::{
    Action, AppError, Bytes, Dpid, Event, FlowRemoved, MacAddr, Match, PacketIn, Pipeline,
    PortInfo, PortReason, Vlan, lldp, port,
};
use topology::Topology;
use topology::host_tables::{HOSTS, IPS, from_host};
use topology::rules::HOST_PRIORITY;
use topology::secrets::{Carrier, sign};
use topology::tables::{End, HostRow, Kind, LINKS, PORTS, SWITCHES};

pub const PIPELINE: Pipeline = Pipeline {
    app: 2,
    first: 2,
    exit: 9,
};

/// State bit `OFPPS_LINK_DOWN`.
const LINK_DOWN: u32 = 1;

pub const fn at(dpid: u64, port: u32) -> End {
    (Dpid(dpid), port)
}

pub const fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

/// Other bytes with each call.
pub fn random() -> Result<[u8; 32], AppError> {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let mut bytes = [0x5e; 32];
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    bytes[..8].copy_from_slice(&call.to_be_bytes());
    Ok(bytes)
}

pub struct Lab {
    pub bench: Bench<Topology>,
    /// Ports where what leaves by a port arrives.
    cables: BTreeMap<End, BTreeSet<End>>,
    /// Plain switches by their ports, which keep LLDP to themselves.
    bridges: Vec<BTreeSet<End>>,
    /// Ports between which ARP alone passes.
    arp_alone: Option<[End; 2]>,
    /// Last probe that left by a port, by its EtherType.
    sent: BTreeMap<(End, u16), Bytes>,
    up: BTreeSet<Dpid>,
}

impl Lab {
    /// Makes a lab of these cables, and these switches with ports 1 to 4, just connected.
    pub fn new(cables: &[(End, End)], switches: impl IntoIterator<Item = u64>) -> Lab {
        let mut lab = Lab {
            bench: Bench::new(Topology::new(random), PIPELINE),
            cables: BTreeMap::new(),
            bridges: Vec::new(),
            arp_alone: None,
            sent: BTreeMap::new(),
            up: BTreeSet::new(),
        };
        // A first tick makes the secret of probes.
        lab.bench.tick(Duration::ZERO);
        for (a, b) in cables {
            lab.cable(*a, *b);
        }
        for dpid in switches {
            lab.connect(dpid);
        }
        lab
    }

    /// Makes a lab of two switches, their ports 1 cabled, all settled.
    pub fn pair() -> Lab {
        let mut lab = Lab::new(&[(at(1, 1), at(2, 1))], [1, 2]);
        lab.run(1000);
        lab
    }

    pub fn connect(&mut self, dpid: u64) {
        self.up.insert(Dpid(dpid));
        let outcome = self.bench.switch(Dpid(dpid), 1..5);
        self.carry(outcome);
    }

    pub fn disconnect(&mut self, dpid: u64) {
        self.up.remove(&Dpid(dpid));
        self.event(Event::SwitchDown(Dpid(dpid)));
    }

    /// Breaks a cable without a report of any switch.
    pub fn break_silently(&mut self, end: End) {
        for far in self.cables.remove(&end).unwrap_or_default() {
            self.cables.remove(&far);
        }
    }

    pub fn cable(&mut self, a: End, b: End) {
        for (from, to) in [(a, b), (b, a)] {
            self.cables.entry(from).or_default().insert(to);
        }
    }

    /// Connects ports by something that passes all frames on to all others.
    pub fn hub(&mut self, ends: &[End]) {
        for a in ends {
            for b in ends.iter().filter(|b| *b != a) {
                self.cable(*a, *b);
            }
        }
    }

    /// Connects two ports by something that passes ARP on, and no probe.
    pub fn carries_arp_alone(&mut self, ends: [End; 2]) {
        self.arp_alone = Some(ends);
    }

    /// Connects ports by a plain switch.
    pub fn bridge(&mut self, ends: &[End]) {
        self.bridges.push(ends.iter().copied().collect());
    }

    /// Takes a cable from its plain switch.
    pub fn unplug(&mut self, end: End) {
        for ends in &mut self.bridges {
            ends.remove(&end);
        }
    }

    /// Ports where a frame arrives that leaves by a port.
    fn arrives(&self, from: End, frame: &[u8]) -> Vec<End> {
        let cabled = self.cables.get(&from).into_iter().flatten();
        let bridged = self.bridges.iter().filter(|ends| ends.contains(&from));
        let bridged = bridged.filter(|_| !lldp::is_lldp(frame)).flatten();
        let is_arp = frame.get(12..14) == Some(&ether_type::ARP.to_be_bytes());
        let by_arp = self.arp_alone.iter().flatten();
        let by_arp = by_arp.filter(|end| {
            is_arp && self.arp_alone.iter().flatten().any(|end| *end == from) && **end != from
        });
        let all = cabled.chain(bridged.filter(|end| **end != from));
        let all = all.chain(by_arp);
        all.filter(|end| self.up.contains(&end.0))
            .copied()
            .collect()
    }

    /// Last probe that left by a port: LLDP, or the one that bridges pass on.
    pub fn sent(&self, from: End, ether_type: u16) -> Bytes {
        self.sent[&(from, ether_type)].clone()
    }

    /// Probe as topology would send it now by a port, which need not be there.
    pub fn probe(&self, from: End) -> Bytes {
        let now = self.bench.wall().duration_since(UNIX_EPOCH).unwrap();
        let probe = Probe {
            dpid: from.0,
            port: from.1,
            sent_ms: now.as_millis() as u64,
            tag: None,
        };
        let signed = sign(Carrier::Lldp, probe, &self.bench.view()).unwrap();
        signed.frame(mac(99))
    }

    /// Subjects of the alarms of a kind.
    pub fn alarms(&self, kind: &str) -> Vec<String> {
        let alarms = self.bench.alarms().into_iter();
        let of_kind = alarms.filter(|((of, _), _)| of == kind);
        of_kind.map(|((_, subject), _)| subject).collect()
    }

    pub fn port_is(&mut self, end: End, up: bool) {
        let mut port = PortInfo::new(end.1);
        port.state = if up { 0 } else { LINK_DOWN };
        self.port_status(end.0, PortReason::Modify, port);
    }

    pub fn port_status(&mut self, dpid: Dpid, reason: PortReason, port: PortInfo) {
        self.event(Event::PortStatus { dpid, reason, port });
    }

    pub fn event(&mut self, event: Event) {
        let outcome = self.bench.event(event);
        self.carry(outcome);
    }

    pub fn punt(&mut self, end: End, data: impl Into<Bytes>) -> Outcome {
        self.punt_after(end, data, Duration::ZERO)
    }

    /// Punts a frame that waited in the proxy.
    pub fn punt_after(&mut self, end: End, data: impl Into<Bytes>, waited: Duration) -> Outcome {
        let data = data.into();
        let packet = PacketIn {
            dpid: end.0,
            in_port: end.1,
            table: PIPELINE.first,
            reason: 1,
            cookie_own: 0,
            length: data.len() as u16,
            buffer: None,
            data,
        };
        self.bench.event_after(Event::PacketIn(packet), waited)
    }

    /// Has a host announce its address here.
    pub fn arp(&mut self, end: End, host: MacAddr, ip: [u8; 4]) -> Outcome {
        self.punt(end, announces(host, ip))
    }

    /// Has a host announce its address here, in a frame with a tag.
    pub fn arp_tagged(&mut self, end: End, tag: &[u8], host: MacAddr, ip: [u8; 4]) -> Outcome {
        self.punt(end, tagged(tag, &announces(host, ip)))
    }

    /// Ends the rule of a host, for `reason`.
    pub fn rule_ends(&mut self, end: End, host: MacAddr, reason: u8) -> Outcome {
        let host = (host, Vlan::NONE);
        self.rule_of_ends(end, from_host(Match::new(), host), reason)
    }

    /// Ends a rule of hosts at a port, for `reason`.
    pub fn rule_of_ends(&mut self, end: End, host: Match, reason: u8) -> Outcome {
        self.bench.event(Event::FlowRemoved(FlowRemoved {
            dpid: end.0,
            table: PIPELINE.first,
            priority: HOST_PRIORITY,
            matching: host.in_port(end.1),
            cookie_own: 0,
            reason,
            duration: Duration::from_secs(300),
            packets: 1,
            bytes: 60,
        }))
    }

    /// Lets time pass in ticks of 100 ms.
    pub fn run(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            let outcome = self.bench.tick(Duration::from_millis(100));
            self.carry(outcome);
        }
    }

    /// Carries frames to the other ends of their cables, where a switch is connected.
    pub fn carry(&mut self, outcome: Outcome) {
        let mut outcomes = VecDeque::from([outcome]);
        while let Some(outcome) = outcomes.pop_front() {
            assert!(outcome.error.is_none(), "{:?}", outcome.error);
            for out in outcome.packet_outs {
                assert_eq!(out.in_port, port::CONTROLLER);
                let [Action::Output { port, .. }] = out.actions[..] else {
                    panic!("{:?}", out.actions)
                };
                assert!((1..5).contains(&port), "a probe by port {port}");
                let ether_type = u16::from_be_bytes([out.data[12], out.data[13]]);
                self.sent
                    .insert(((out.dpid, port), ether_type), out.data.clone());
                for far in self.arrives((out.dpid, port), &out.data) {
                    outcomes.push_back(self.punt(far, out.data.clone()));
                }
            }
        }
    }

    pub fn kind(&self, end: End) -> Option<Kind> {
        self.bench.view().get(&PORTS, &end).map(|row| row.kind)
    }

    pub fn links(&self) -> Vec<(End, End)> {
        let links = self.bench.view().iter(&LINKS);
        links.map(|(near, far)| (near, far.end())).collect()
    }

    pub fn host(&self, mac: MacAddr) -> Option<HostRow> {
        self.host_on(Vlan::NONE, mac)
    }

    pub fn host_on(&self, vlan: Vlan, mac: MacAddr) -> Option<HostRow> {
        self.bench.view().get(&HOSTS, &(mac, vlan))
    }

    pub fn bearer(&self, ip: &str) -> Option<MacAddr> {
        self.bearer_on(Vlan::NONE, ip)
    }

    pub fn bearer_on(&self, vlan: Vlan, ip: &str) -> Option<MacAddr> {
        self.bench.view().get(&IPS, &(ip.to_owned(), vlan))
    }

    pub fn connected(&self, dpid: u64) -> Option<bool> {
        let row = self.bench.view().get(&SWITCHES, &Dpid(dpid));
        row.map(|row| row.connected)
    }

    /// Treatment of a frame to one receiver by the rules of a switch: whether it is punted, and whether it passes.
    pub fn treats(&self, end: End, src: MacAddr, eth_type: u16) -> (bool, bool) {
        self.treats_to(end, src, mac(200), eth_type)
    }

    /// Treatment of a frame to this address.
    pub fn treats_to(&self, end: End, src: MacAddr, dst: MacAddr, eth_type: u16) -> (bool, bool) {
        self.treats_on(Vlan::NONE, end, src, dst, eth_type)
    }

    /// Treatment of a frame on a VLAN.
    pub fn treats_on(
        &self,
        vlan: Vlan,
        end: End,
        src: MacAddr,
        dst: MacAddr,
        eth_type: u16,
    ) -> (bool, bool) {
        use morph_sdk::Instruction::{ApplyActions, GotoTable};
        let rules = self.bench.rules().get(&end.0);
        let matching = rules.into_iter().flatten().filter(|(key, _)| {
            let m = &key.match_;
            m.get_in_port().is_none_or(|port| port == end.1)
                && m.get_eth_src().is_none_or(|mac| mac == src)
                && m.get_vlan().is_none_or(|of| of == vlan)
                && (m.get_eth_dst().is_none() || dst.is_multicast())
                && m.get_eth_type().is_none_or(|kind| kind == eth_type)
        });
        let best = matching.max_by_key(|(key, _)| key.priority);
        let instructions = best
            .map(|(_, body)| &body.instructions[..])
            .unwrap_or_default();
        let punts =
            |i: &_| matches!(i, ApplyActions(actions) if actions[..] == [Action::to_controller()]);
        let passes = |i: &_| matches!(i, GotoTable(table) if *table == PIPELINE.exit);
        (
            instructions.iter().any(punts),
            instructions.iter().any(passes),
        )
    }
}

pub fn ipv4(src: MacAddr, ip: [u8; 4]) -> Bytes {
    let mut header = [0; 20];
    header[0] = 0x45;
    header[3] = 20;
    header[8] = 64;
    header[12..16].copy_from_slice(&ip);
    header[16..20].copy_from_slice(&[10, 0, 0, 254]);
    packet::frame(mac(254), src, ether_type::IPV4, &header)
}

pub fn ipv6(src: MacAddr, ip: std::net::Ipv6Addr) -> Bytes {
    let mut header = [0; 40];
    header[0] = 0x60;
    header[6] = 59;
    header[8..24].copy_from_slice(&ip.octets());
    packet::frame(mac(254), src, ether_type::IPV6, &header)
}

/// ARP request by which a host announces its address.
fn announces(host: MacAddr, ip: [u8; 4]) -> Bytes {
    let arp = Arp {
        operation: Arp::REQUEST,
        sender_mac: host,
        sender_ip: ip.into(),
        target_mac: MacAddr([0; 6]),
        target_ip: [10, 0, 0, 254].into(),
    };
    arp.frame(MacAddr::BROADCAST)
}

/// Frame with these tags behind its addresses.
pub fn tagged(tags: &[u8], frame: &[u8]) -> Bytes {
    [&frame[..12], tags, &frame[12..]].concat().into()
}
