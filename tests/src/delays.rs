//! Channels with a delay of their own for each switch, as switches differ in how fast they are.

use crate::lab::Lab;
use crate::morpheus::repository;
use crate::newflows::PYTHON;
use crate::wait::wait_until;
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;

/// Port of Morpheus, and the relay's first one.
const PORTS: [&str; 2] = ["6653", "7001"];

/// Relay of all channels.
pub struct DelayedChannels {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Lab {
    /// Has the switches connect anew, by channels with these delays of what Morpheus sends, in milliseconds, in the order of the
    /// switches.
    pub fn delay_channels(&self, delays: &[u32]) -> Result<DelayedChannels> {
        let mut command = self.sandbox().command(PYTHON);
        command.arg(repository().join("mininet/delays.py"));
        command.args(PORTS).args(delays.iter().map(u32::to_string));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().context("no standard output")?;
        let stdin = child.stdin.take();
        let channels = DelayedChannels { child, stdin };
        BufReader::new(output).read_line(&mut String::new())?;
        let bridges = self.bridges();
        let connects = self.ovs().connects();
        for (at, bridge) in bridges.iter().enumerate() {
            let target = format!("tcp:127.0.0.1:{}", 7001 + at);
            self.ovs().vsctl(&["set-controller", bridge, &target])?;
        }
        wait_until(
            "all switches have connected anew",
            Duration::from_secs(20),
            || Ok((self.ovs().connects() >= connects + bridges.len()).then_some(())),
        )?;
        self.morpheus()?.wait_switches(bridges.len())?;
        self.wait_links()?;
        self.wait_idle()?;
        Ok(channels)
    }
}

impl Drop for DelayedChannels {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
