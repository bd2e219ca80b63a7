//! New flows and their echo: `mininet/newflows.py` and `mininet/udpecho.py`.

use crate::morpheus::repository;
use crate::sandbox::Sandbox;
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Stdio};

/// Debian's own, which has all that the scripts need.
const PYTHON: &str = "/usr/bin/python3";

/// An echo server that runs on a host.
pub struct Echo(Child);

impl Echo {
    /// Serves `address`, which the host's kernel must not have.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start(sandbox: &Sandbox, host: &str, address: &str) -> Result<Self> {
        let script = repository().join("mininet/udpecho.py");
        let mut child = sandbox
            .host_command(host, PYTHON)
            .arg(script)
            .args(["--interface", "eth0", "--address", address])
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().context("no output")?;
        BufReader::new(out).read_line(&mut String::new())?;
        Ok(Self(child))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A generator that runs.
pub struct NewFlows {
    child: Child,
    output: BufReader<ChildStdout>,
}

/// What became of the flows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewFlowsSummary {
    /// Flows begun.
    pub sent: u64,
    /// Flows that had their ARP reply and their echo.
    pub ok: u64,
    /// Flows that had not, in time.
    pub lost: u64,
    /// Of them, those without an ARP reply.
    pub lost_at_arp: u64,
    /// The longest that a flow took.
    pub longest_ms: f64,
    /// Half of them were faster.
    pub median_ms: f64,
    /// The number after the last flow: where the next generator begins.
    pub next: u64,
}

impl NewFlows {
    /// From `host` to the echo server at `target`: one flow every `interval_ms`, the first of them
    /// numbered `first` (a number is an address: none is used twice in a lab), lost when not done
    /// after `timeout_s`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        sandbox: &Sandbox,
        host: &str,
        target: &str,
        interval_ms: f64,
        first: u64,
        timeout_s: f64,
    ) -> Result<Self> {
        let script = repository().join("mininet/newflows.py");
        let mut child = sandbox
            .host_command(host, PYTHON)
            .arg(script)
            .args(["--interface", "eth0", "--target", target])
            .args(["--interval-ms", &interval_ms.to_string()])
            .args(["--first", &first.to_string()])
            .args(["--timeout", &timeout_s.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .context("newflows.py")?;
        let mut output = BufReader::new(child.stdout.take().context("no output")?);
        output.read_line(&mut String::new())?;
        Ok(Self { child, output })
    }

    /// Begins no more flows, waits for those under way.
    ///
    /// # Errors
    /// When it has failed meanwhile.
    pub fn stop(mut self) -> Result<NewFlowsSummary> {
        if let Some(pid) = Pid::from_raw(i32::try_from(self.child.id())?) {
            kill_process(pid, Signal::TERM)?;
        }
        let mut text = String::new();
        self.output.read_to_string(&mut text)?;
        self.child.wait()?;
        let line = text
            .lines()
            .last()
            .context("newflows.py has said nothing")?;
        let value: Value = serde_json::from_str(line)?;
        let count = |key: &str| {
            value[key]
                .as_u64()
                .with_context(|| format!("{key} in {line}"))
        };
        let time = |key: &str| {
            value[key]
                .as_f64()
                .with_context(|| format!("{key} in {line}"))
        };
        Ok(NewFlowsSummary {
            sent: count("sent")?,
            ok: count("ok")?,
            lost: count("lost")?,
            lost_at_arp: count("lost_at_arp")?,
            longest_ms: time("longest_ms")?,
            median_ms: time("median_ms")?,
            next: count("next")?,
        })
    }
}

impl Drop for NewFlows {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
