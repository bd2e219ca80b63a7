//! Plain switches: Linux bridges that cables connect with the switches of a lab, and copies of broadcasts that hosts get.

use crate::lab::Lab;
use crate::morpheus::repository;
use crate::newflows::PYTHON;
use crate::shape::{host, no_offloads, plan_host};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Stdio};

/// Forwarding mask of a bridge that passes LLDP on: the bit of 01:80:c2:00:00:0e.
const PASSES_LLDP: u32 = 1 << 14;

impl Lab {
    /// Adds a Linux bridge with a host behind it, and a cable to each of these switches; a switch may be named more than once.
    /// Cables are numbered from 1.
    pub fn add_plain_switch(&self, host: usize, to: &[usize], passes_lldp: bool) -> Result<()> {
        let mask = if passes_lldp { PASSES_LLDP } else { 0 };
        let mut script = format!(
            "ip link add plain type bridge group_fwd_mask {mask}\n\
             sysctl -qw net.ipv6.conf.plain.disable_ipv6=1\n\
             ip link set plain up\n"
        );
        plan_host(&mut script, host, "plain-host");
        let _ = writeln!(script, "ip link set plain-host master plain");
        for (at, switch) in to.iter().enumerate() {
            let (here, there) = (cable(at + 1), port(at + 1, *switch));
            let _ = writeln!(
                script,
                "ip link add {here} type veth peer name {there}\n\
                 ip link set {here} master plain up\n\
                 ip link set {there} up"
            );
            no_offloads(&mut script, "", &here);
            no_offloads(&mut script, "", &there);
        }
        self.sandbox().script(&script)?;
        for (at, switch) in to.iter().enumerate() {
            let (bridge, port) = (format!("s{switch}"), port(at + 1, *switch));
            self.ovs().vsctl(&["add-port", &bridge, &port])?;
        }
        Ok(())
    }

    /// Cuts or mends a cable of the plain switch.
    pub fn plain_cable(&self, number: usize, up: bool) -> Result<()> {
        let state = if up { "up" } else { "down" };
        let script = format!("ip link set {} {state}", cable(number));
        self.sandbox().script(&script).map(drop)
    }

    /// Has a host send so many broadcasts. Returns the copies of each, by number, that each of the other hosts got.
    pub fn copies(
        &self,
        from: usize,
        to: &[usize],
        count: u32,
    ) -> Result<BTreeMap<usize, BTreeMap<u32, u32>>> {
        let counters = to.iter().map(|to| Ok((*to, Counter::start(self, *to)?)));
        let counters: Vec<(usize, Counter)> = counters.collect::<Result<_>>()?;
        let mut send = self.sandbox().host_command(&host(from), PYTHON);
        send.arg(repository().join("mininet/copies.py"));
        let sent = send.args(["send", "eth0", &count.to_string()]).status()?;
        ensure!(sent.success(), "copies.py send: {sent}");
        // A copy that still goes round does so within the time of a few frames.
        let settle = self
            .sandbox()
            .host_command(&host(from), "sleep")
            .arg("1")
            .status()?;
        ensure!(settle.success(), "sleep: {settle}");
        let counts = counters
            .into_iter()
            .map(|(to, counter)| Ok((to, counter.finish()?)));
        counts.collect()
    }
}

fn cable(number: usize) -> String {
    format!("plain-{number}")
}

fn port(number: usize, switch: usize) -> String {
    format!("s{switch}-plain{number}")
}

/// Counter of copies on one host that is running.
struct Counter {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Counter {
    fn start(lab: &Lab, on: usize) -> Result<Self> {
        let mut command = lab.sandbox().host_command(&host(on), PYTHON);
        command.arg(repository().join("mininet/copies.py"));
        command.args(["count", "eth0"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let output = child.stdout.take().context("no standard output")?;
        let mut output = BufReader::new(output);
        output.read_line(&mut String::new())?;
        Ok(Self { child, output })
    }

    fn finish(mut self) -> Result<BTreeMap<u32, u32>> {
        drop(self.child.stdin.take());
        let mut text = String::new();
        self.output.read_to_string(&mut text)?;
        self.child.wait()?;
        Ok(serde_json::from_str(&text)?)
    }
}
