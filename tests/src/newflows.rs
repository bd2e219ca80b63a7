//! New flows and their echo server: `mininet/newflows.py` and `mininet/udpecho.py`.

use crate::morpheus::repository;
use crate::sandbox::Sandbox;
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Stdio};

/// Debian's own Python, which has the modules that the scripts need.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// Limit in seconds after which a flow is lost, for tests that must lose none. Nothing is sent twice, so a flow that lost a
/// packet never ends; one that ends late lost nothing. The limit only has to be longer than a busy disk or processor
/// delays a turn.
pub const LOST_AFTER: f64 = 10.0;

pub struct Echo(Child);

impl Echo {
    /// Serves `address`, which the host's kernel must not have.
    pub fn start(sandbox: &Sandbox, host: &str, address: &str) -> Result<Self> {
        let script = repository().join("mininet/udpecho.py");
        let mut child = sandbox
            .host_command(host, PYTHON)
            .arg(script)
            .args(["--interface", "eth0", "--address", address])
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child
            .stdout
            .take()
            .context("standard output is not a pipe")?;
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

/// Generator of new flows that is running.
pub struct NewFlows {
    child: Child,
    output: BufReader<ChildStdout>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewFlowsSummary {
    pub sent: u64,
    /// Flows that got their ARP reply and their echo.
    pub ok: u64,
    /// Flows that did not get them in time.
    pub lost: u64,
    /// Lost flows that got no ARP reply.
    pub lost_at_arp: u64,
    pub longest_ms: f64,
    pub median_ms: f64,
    /// Number after the last flow: the next generator begins with it.
    pub next: u64,
}

impl NewFlows {
    /// Starts one flow every `interval_ms` from `host` to the echo server at `target`. Flows are numbered from
    /// `first`; a number is an address, so none is used twice in a lab. A flow is lost when it has no echo after
    /// `timeout_s`.
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
            .context("cannot start newflows.py")?;
        let mut output = BufReader::new(
            child
                .stdout
                .take()
                .context("standard output is not a pipe")?,
        );
        output.read_line(&mut String::new())?;
        Ok(Self { child, output })
    }

    /// Starts no more flows and waits for those in flight.
    pub fn stop(mut self) -> Result<NewFlowsSummary> {
        if let Some(pid) = Pid::from_raw(i32::try_from(self.child.id())?) {
            kill_process(pid, Signal::TERM)?;
        }
        let mut text = String::new();
        self.output.read_to_string(&mut text)?;
        self.child.wait()?;
        let line = text.lines().last().context("newflows.py printed nothing")?;
        let value: Value = serde_json::from_str(line)?;
        let count = |key: &str| {
            value[key]
                .as_u64()
                .with_context(|| format!("no {key} in {line}"))
        };
        let time = |key: &str| {
            value[key]
                .as_f64()
                .with_context(|| format!("no {key} in {line}"))
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
