//! Hosts behind a bond without LACP, which sends by both members in turn. It is a program: kernels without the module `bonding` are
//! common.
//!
//! ```text
//! h8: eth0 ---- bond8 == bond.py == bond8-1 ---- s1
//!                                == bond8-2 ---- s2
//! ```

use crate::lab::Lab;
use crate::morpheus::repository;
use crate::newflows::PYTHON;
use crate::shape::{no_offloads, plan_host};
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Stdio};

/// Bond that is running. Dropping the value ends it.
pub struct Bond {
    child: Child,
    _input: ChildStdin,
}

impl Lab {
    /// Adds a host behind a bond, with a member at a port of each of these switches.
    pub fn add_bond(&self, host: usize, to: [usize; 2]) -> Result<Bond> {
        let near = format!("bond{host}");
        let cables = [(1, to[0]), (2, to[1])];
        let cables = cables.map(|(n, to)| (format!("{near}-{n}"), format!("s{to}-{near}-{n}"), to));
        let mut script = String::new();
        plan_host(&mut script, host, &near);
        let _ = writeln!(script, "ip link set {near} promisc on");
        for (here, there, _) in &cables {
            let _ = writeln!(
                script,
                "ip link add {here} type veth peer name {there}\n\
                 sysctl -qw net.ipv6.conf.{here}.disable_ipv6=1 net.ipv6.conf.{there}.disable_ipv6=1\n\
                 ip link set {here} up promisc on\n\
                 ip link set {there} up"
            );
            no_offloads(&mut script, "", here);
            no_offloads(&mut script, "", there);
        }
        self.sandbox().script(&script)?;
        let mut command = self.sandbox().command(PYTHON);
        command.arg(repository().join("mininet/bond.py")).arg(&near);
        command.args(cables.each_ref().map(|(here, _, _)| here));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().context("no standard input")?;
        let output = child.stdout.take().context("no standard output")?;
        BufReader::new(output).read_line(&mut String::new())?;
        for (_, there, switch) in &cables {
            self.ovs()
                .vsctl(&["add-port", &format!("s{switch}"), there])?;
        }
        Ok(Bond {
            child,
            _input: input,
        })
    }
}

impl Drop for Bond {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
