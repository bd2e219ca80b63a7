//! A relay between two ports of a switch: a loop that no probe of Morpheus passes.

use crate::lab::Lab;
use crate::morpheus::repository;
use crate::newflows::PYTHON;
use crate::shape::no_offloads;
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

/// Relay that is running. Dropping the value ends it.
pub struct Relay {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Lab {
    /// Adds two ports to a switch, and passes all frames on between these except for probes.
    pub fn relay(&self, switch: usize) -> Result<Relay> {
        let mut script = String::new();
        let bridge = format!("s{switch}");
        let cables = ["relay-1", "relay-2"].map(|here| (here, format!("{bridge}-{here}")));
        for (here, there) in &cables {
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
        command.arg(repository().join("mininet/relay.py"));
        command.args(cables.each_ref().map(|(here, _)| here));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().context("no standard input")?;
        let output = child.stdout.take().context("no standard output")?;
        let mut output = BufReader::new(output);
        output.read_line(&mut String::new())?;
        for (_, there) in &cables {
            self.ovs().vsctl(&["add-port", &bridge, there])?;
        }
        Ok(Relay {
            child,
            input,
            output,
        })
    }
}

impl Relay {
    /// Number of frames that were passed on so far.
    pub fn passed(&mut self) -> Result<u64> {
        writeln!(self.input)?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        line.trim().parse().context("relay.py printed no number")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
