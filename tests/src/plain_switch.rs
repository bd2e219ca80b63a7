//! Plain switches: Linux bridges that cables connect with the switches of a lab.

use crate::lab::Lab;
use crate::shape::{no_offloads, plan_host};
use anyhow::Result;
use std::fmt::Write as _;

/// Forwarding mask of a bridge that passes LLDP on: the bit of 01:80:c2:00:00:0e.
const PASSES_LLDP: u32 = 1 << 14;

impl Lab {
    /// Adds a Linux bridge with a host behind it, and a cable to each of these switches; a switch may be named more than once.
    /// Cables are numbered from 1. The bridge passes LLDP on.
    pub fn add_plain_switch(&self, host: usize, to: &[usize]) -> Result<()> {
        let mut script = format!(
            "ip link add plain type bridge group_fwd_mask {PASSES_LLDP}\n\
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

    /// Has the plain switch keep LLDP to itself from now on.
    pub fn plain_keeps_lldp(&self) -> Result<()> {
        let script = "ip link set plain type bridge group_fwd_mask 0";
        self.sandbox().script(script).map(drop)
    }

    /// Cuts or mends a cable of the plain switch.
    pub fn plain_cable(&self, number: usize, up: bool) -> Result<()> {
        let state = if up { "up" } else { "down" };
        let script = format!("ip link set {} {state}", cable(number));
        self.sandbox().script(&script).map(drop)
    }
}

fn cable(number: usize) -> String {
    format!("plain-{number}")
}

fn port(number: usize, switch: usize) -> String {
    format!("s{switch}-plain{number}")
}
