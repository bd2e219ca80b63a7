//! The shape of a network, and the commands that build it: a script and arguments of ovs-vsctl.

use std::fmt::Write as _;

/// Kind of connection between two switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Patch ports: cheap, and never down.
    Patch,
    /// Pairs of virtual Ethernet interfaces, which can be cut.
    Veth,
}

/// Switches, links between them, and the switch of each host. Everything is numbered from 1.
#[derive(Clone, Debug)]
pub struct Shape {
    pub switches: usize,
    /// Pairs of switches.
    pub links: Vec<(usize, usize)>,
    /// Switch of h1, of h2, and so on.
    pub hosts: Vec<usize>,
    pub kind: Links,
    /// OVS column `protocols`; `None` leaves the default of OVS.
    pub protocols: Option<&'static str>,
}

impl Shape {
    /// One switch with hosts.
    pub fn single(hosts: usize) -> Self {
        Self {
            switches: 1,
            links: Vec::new(),
            hosts: vec![1; hosts],
            kind: Links::Patch,
            protocols: Some("OpenFlow13"),
        }
    }

    /// No real switch and no host, for labs with fake switches.
    pub fn none() -> Self {
        Self::of(0, Vec::new())
    }

    /// One host on each switch.
    fn of(switches: usize, links: Vec<(usize, usize)>) -> Self {
        Self {
            switches,
            links,
            hosts: (1..=switches).collect(),
            ..Self::single(0)
        }
    }

    /// Switches in a line.
    pub fn line(switches: usize) -> Self {
        Self::of(switches, (1..switches).map(|n| (n, n + 1)).collect())
    }

    /// Four switches in a square: s1 is opposite to s4, s2 to s3.
    pub fn diamond() -> Self {
        Self::of(4, vec![(1, 2), (1, 3), (2, 4), (3, 4)])
    }

    /// Torus in row-major order, with s1 in the corner.
    pub fn torus(rows: usize, columns: usize) -> Self {
        let at = |row: usize, column: usize| (row % rows) * columns + column % columns + 1;
        let mut links = Vec::new();
        for row in 0..rows {
            for column in 0..columns {
                links.push((at(row, column), at(row, column + 1)));
                links.push((at(row, column), at(row + 1, column)));
            }
        }
        Self::of(rows * columns, links)
    }

    /// Switches in a ring.
    pub fn ring(switches: usize) -> Self {
        let next = |n: usize| n % switches + 1;
        Self::of(switches, (1..=switches).map(|n| (n, next(n))).collect())
    }

    /// Fat tree of 20 switches with four ports each, for 16 hosts: s1 to s4 are the core, then come four pods of two aggregation
    /// and two edge switches. Hosts h1 to h4 are in the first pod, and so on.
    pub fn fat_tree() -> Self {
        let (mut links, mut hosts) = (Vec::new(), Vec::new());
        for pod in 0..4 {
            let first = 5 + 4 * pod;
            for n in 0..2 {
                let (aggregation, edge) = (first + n, first + 2 + n);
                links.extend([(aggregation, 2 * n + 1), (aggregation, 2 * n + 2)]);
                links.extend([(edge, first), (edge, first + 1)]);
                hosts.extend([edge, edge]);
            }
        }
        Self {
            hosts,
            ..Self::of(20, links)
        }
    }

    /// Sets the kind of all links.
    pub fn with(mut self, kind: Links) -> Self {
        self.kind = kind;
        self
    }
}

pub(crate) fn host(n: usize) -> String {
    format!("h{n}")
}

pub(crate) fn address(host: usize) -> String {
    format!("10.0.0.{host}")
}

/// Address of a host's echo server. The host's kernel does not have it.
pub(crate) fn echo_address(host: usize) -> String {
    format!("10.0.1.{host}")
}

pub(crate) fn mac(host: usize) -> String {
    format!("02:00:00:00:00:{host:02x}")
}

/// Script that makes hosts and links, arguments of ovs-vsctl, and the two interfaces of each link.
pub(crate) fn plan(shape: &Shape) -> (String, String, Vec<(String, String)>) {
    let (mut script, mut vsctl) = (String::new(), String::new());
    let mut ports = vec![0; shape.switches + 1];
    for n in 1..=shape.switches {
        let protocols = shape
            .protocols
            .map_or(String::new(), |p| format!("protocols={p}"));
        let _ = write!(
            vsctl,
            " -- add-br s{n} -- set bridge s{n} datapath_type=netdev fail_mode=secure {protocols} \
             other-config:datapath-id={n:016x} other-config:disable-in-band=true"
        );
    }
    for (index, switch) in shape.hosts.iter().enumerate() {
        let interface = next_port(&mut ports, *switch, &mut vsctl);
        plan_host(&mut script, index + 1, &interface);
    }
    let mut interfaces = Vec::new();
    for (a, b) in &shape.links {
        let one = next_port(&mut ports, *a, &mut vsctl);
        let two = next_port(&mut ports, *b, &mut vsctl);
        match shape.kind {
            Links::Patch => {
                let _ = write!(
                    vsctl,
                    " -- set interface {one} type=patch options:peer={two} \
                     -- set interface {two} type=patch options:peer={one}"
                );
            }
            Links::Veth => {
                let _ = writeln!(script, "ip link add {one} type veth peer name {two}");
                for interface in [&one, &two] {
                    let _ = writeln!(script, "ip link set {interface} up");
                    no_offloads(&mut script, "", interface);
                }
            }
        }
        interfaces.push((one, two));
    }
    (script, vsctl, interfaces)
}

/// Adds a port to the switch. Its number is the next free one and part of its name.
fn next_port(ports: &mut [usize], switch: usize, vsctl: &mut String) -> String {
    ports[switch] += 1;
    let number = ports[switch];
    let interface = format!("s{switch}-eth{number}");
    let _ = write!(
        vsctl,
        " -- add-port s{switch} {interface} -- set interface {interface} ofport_request={number}"
    );
    interface
}

/// Adds a host: a network namespace with eth0, whose peer is the switch's `interface`.
pub(crate) fn plan_host(script: &mut String, n: usize, interface: &str) {
    let (address, mac) = (address(n), mac(n));
    let enter = format!("nsenter --net=/run/netns/h{n}");
    let _ = writeln!(
        script,
        "ip netns add h{n}\n\
         {enter} sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1\n\
         ip link add {interface} type veth peer name eth0 address {mac} netns h{n}\n\
         ip link set {interface} up\n\
         ip -n h{n} link set lo up\n\
         ip -n h{n} address add {address}/8 dev eth0\n\
         ip -n h{n} link set eth0 up"
    );
    no_offloads(script, "", interface);
    no_offloads(script, &enter, "eth0");
}

/// Switches offloads off: with them TCP through a user-space switch stalls.
pub(crate) fn no_offloads(script: &mut String, enter: &str, interface: &str) {
    let _ = writeln!(
        script,
        "{enter} ethtool -K {interface} tx off tso off gso off gro off >/dev/null 2>&1"
    );
}
