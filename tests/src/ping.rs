//! `ping` of iputils, and its output as figures.

use crate::sandbox::Sandbox;
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Number of pings started in this process, for file names.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Requests that may be unanswered when a ping is stopped.
const IN_FLIGHT: u64 = 20;

pub struct Ping {
    child: Child,
    output: PathBuf,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct PingSummary {
    pub sent: u64,
    pub received: u64,
    /// Sequence numbers that were never answered, without those in flight when the ping was stopped.
    pub lost: Vec<u64>,
    /// Answers beyond the first to one request.
    pub duplicates: u64,
    /// Longest time between two answers.
    pub longest_gap: Duration,
}

impl Ping {
    /// Pings from `host` to `address` every `interval_ms`, until stopped or `count` requests are sent.
    pub fn start(
        sandbox: &Sandbox,
        host: &str,
        address: &str,
        interval_ms: u32,
        count: Option<u32>,
    ) -> Result<Self> {
        // Several pings may run between the same two hosts.
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let output = sandbox
            .dir()
            .join(format!("ping-{number}-{host}-{address}.out"));
        let mut command = sandbox.host_command(host, "ping");
        command.args(["-D", "-n", "-W", "1", "-i"]);
        command.arg(format!("{:.3}", f64::from(interval_ms) / 1000.0));
        if let Some(count) = count {
            command.args(["-c", &count.to_string()]);
        }
        let file = File::create(&output)?;
        command.arg(address).stdout(file).stderr(Stdio::inherit());
        let child = command
            .spawn()
            .context("cannot start ping (package iputils-ping)")?;
        Ok(Self { child, output })
    }

    /// Waits until all requests are sent and answered or timed out.
    pub fn finish(mut self) -> Result<PingSummary> {
        self.child.wait()?;
        let summary = read(&fs::read_to_string(&self.output)?)?;
        ensure!(summary.sent > 0, "ping has sent no request");
        Ok(summary)
    }

    /// Stops the ping now. Fails when more requests are unanswered than can be in flight.
    pub fn stop(mut self) -> Result<PingSummary> {
        let id = self.child.id();
        // A signal that comes sooner ends it without a summary, or is lost where the tests were started in the background.
        wait_until("ping catches SIGINT", Duration::from_secs(10), || {
            Ok(catches_interrupt(id)?.then_some(()))
        })?;
        if let Some(pid) = Pid::from_raw(i32::try_from(id)?) {
            kill_process(pid, Signal::INT)?;
        }
        self.child.wait()?;
        let mut summary = read(&fs::read_to_string(&self.output)?)?;
        let last = summary.lost.len() as u64 + summary.received;
        // Requests after the last answer are in flight, up to a bound.
        while summary.lost.last() == Some(&summary.sent) {
            summary.lost.pop();
            summary.sent -= 1;
            ensure!(
                last - summary.sent <= IN_FLIGHT,
                "too many unanswered requests at the end: {summary:?}"
            );
        }
        Ok(summary)
    }
}

impl Drop for Ping {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a process has a handler for SIGINT, or has ended.
fn catches_interrupt(pid: u32) -> Result<bool> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let Some(caught) = status.lines().find_map(|line| line.strip_prefix("SigCgt:")) else {
        return Ok(true);
    };
    let caught = u64::from_str_radix(caught.trim(), 16)?;
    // Bit 0 is signal 1.
    let interrupt = 1 << (Signal::INT.as_raw() - 1);
    Ok(caught & interrupt != 0 || status.contains("State:\tZ"))
}

/// Reads the output of `ping -D -n`.
fn read(text: &str) -> Result<PingSummary> {
    let mut summary = PingSummary::default();
    let mut seen: Vec<bool> = vec![true];
    let mut last_time: Option<f64> = None;
    let mut last = 0_u64;
    for line in text.lines() {
        if let Some((time, seq)) = answer(line) {
            let seq = unwrapped(last, seq);
            last = last.max(seq);
            let index = usize::try_from(seq)?;
            if seen.len() <= index {
                seen.resize(index + 1, false);
            }
            if seen[index] {
                summary.duplicates += 1;
                continue;
            }
            seen[index] = true;
            let gap = last_time.map_or(0.0, |before| time - before).max(0.0);
            summary.longest_gap = summary.longest_gap.max(Duration::from_secs_f64(gap));
            last_time = Some(time);
        } else if line.contains(" packets transmitted, ") {
            summary.sent = line
                .split(' ')
                .next()
                .unwrap_or("")
                .parse()
                .context("transmitted")?;
        }
    }
    seen.resize(
        usize::try_from(summary.sent)?.max(seen.len() - 1) + 1,
        false,
    );
    summary.lost = (1..=summary.sent)
        .filter(|seq| !seen[*seq as usize])
        .collect();
    summary.received = summary.sent - summary.lost.len() as u64;
    Ok(summary)
}

/// Time and sequence number of `[1700000000.123456] 64 bytes from A: icmp_seq=1 ttl=64 ...`.
fn answer(line: &str) -> Option<(f64, u16)> {
    let (time, rest) = line.strip_prefix('[')?.split_once(']')?;
    if !rest.contains("bytes from") {
        return None;
    }
    let seq = rest.split_once("icmp_seq=")?.1.split(' ').next()?;
    Some((time.parse().ok()?, seq.parse().ok()?))
}

/// Full sequence number nearest to `last` with these low sixteen bits.
fn unwrapped(last: u64, seq: u16) -> u64 {
    let difference = seq.wrapping_sub(last as u16) as i16;
    last.saturating_add_signed(i64::from(difference))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "PING 10.0.0.2 (10.0.0.2) 56(84) bytes of data.\n\
        [100.000] 64 bytes from 10.0.0.2: icmp_seq=1 ttl=64 time=0.1 ms\n\
        [100.001] 64 bytes from 10.0.0.2: icmp_seq=2 ttl=64 time=0.1 ms\n\
        [100.001] 64 bytes from 10.0.0.2: icmp_seq=2 ttl=64 time=0.1 ms (DUP!)\n\
        [100.251] 64 bytes from 10.0.0.2: icmp_seq=4 ttl=64 time=0.1 ms\n\
        \n--- 10.0.0.2 ping statistics ---\n\
        5 packets transmitted, 3 received, +1 duplicates, 40% packet loss, time 4ms\n";

    #[test]
    fn losses_are_counted_by_sequence_number() {
        let summary = read(TEXT).unwrap();
        assert_eq!(
            (summary.sent, summary.received, summary.duplicates),
            (5, 3, 1)
        );
        assert_eq!(summary.lost, [3, 5]);
        assert_eq!(summary.longest_gap.as_millis(), 250);
    }

    #[test]
    fn sequence_numbers_continue_after_sixteen_bits() {
        assert_eq!(unwrapped(65535, 0), 65536);
        assert_eq!(unwrapped(65537, 65535), 65535);
        assert_eq!(unwrapped(131072, 3), 131075);
    }
}
