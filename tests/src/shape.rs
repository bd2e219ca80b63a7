//! What a network looks like, and how it is made: a script and the arguments of ovs-vsctl.

use std::fmt::Write as _;

/// What is between two switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Patch ports: cheap, and never down.
    Patch,
    /// Pairs of virtual Ethernet interfaces: can be cut.
    Veth,
}

/// Switches, links between them, and to which switch each host belongs. Everything counts from 1.
#[derive(Clone, Debug)]
pub struct Shape {
    /// How many switches.
    pub switches: usize,
    /// Pairs of them.
    pub links: Vec<(usize, usize)>,
    /// The switch of h1, of h2, ...
    pub hosts: Vec<usize>,
    /// What the links are.
    pub kind: Links,
    /// The OVS column `protocols`; `None`: as OVS comes.
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

    /// No real switch and no host: for fake ones.
    pub fn none() -> Self {
        Self::of(0, Vec::new())
    }

    /// One host on each of these switches.
    fn of(switches: usize, links: Vec<(usize, usize)>) -> Self {
        Self {
            switches,
            links,
            hosts: (1..=switches).collect(),
            ..Self::single(0)
        }
    }

    /// A line.
    pub fn line(switches: usize) -> Self {
        Self::of(switches, (1..switches).map(|n| (n, n + 1)).collect())
    }

    /// Four switches in a square: s1 and s4 are opposite, s2 and s3 too.
    pub fn diamond() -> Self {
        Self::of(4, vec![(1, 2), (1, 3), (2, 4), (3, 4)])
    }

    /// A torus; s1 is its corner, rows follow one another.
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

    /// With links of this kind.
    pub fn with(mut self, kind: Links) -> Self {
        self.kind = kind;
        self
    }
}

/// The name of a host.
pub(crate) fn host(n: usize) -> String {
    format!("h{n}")
}

/// The address of a host.
pub(crate) fn address(host: usize) -> String {
    format!("10.0.0.{host}")
}

/// The address of a host's echo server, which its kernel does not have.
pub(crate) fn echo_address(host: usize) -> String {
    format!("10.0.1.{host}")
}

pub(crate) fn mac(host: usize) -> String {
    format!("02:00:00:00:00:{host:02x}")
}

/// The script that makes hosts and wires, the arguments of ovs-vsctl, and the links' interfaces.
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
    let mut wires = Vec::new();
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
        wires.push((one, two));
    }
    (script, vsctl, wires)
}

/// Adds a port to the switch: its number is the next one, and in its name.
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

/// A host: a network namespace with eth0, the other end of the switch's `interface`.
fn plan_host(script: &mut String, n: usize, interface: &str) {
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

/// TCP through a switch in user space stalls with offloads.
fn no_offloads(script: &mut String, enter: &str, interface: &str) {
    let _ = writeln!(
        script,
        "{enter} ethtool -K {interface} tx off tso off gso off gro off >/dev/null 2>&1"
    );
}
