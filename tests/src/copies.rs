//! Numbered frames, and the copies of each that hosts get.

use crate::lab::Lab;
use crate::morpheus::repository;
use crate::newflows::PYTHON;
use crate::shape::{host, mac};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Copies of each frame by its number.
pub type Copies = BTreeMap<u32, u32>;

/// Frames of a stream that did not arrive once each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamFaults {
    /// Number of frames sent.
    pub sent: u32,
    pub lost: Vec<u32>,
    /// Numbers of frames that came more than once.
    pub doubled: Vec<u32>,
    /// Largest number of frames in a row that were lost: as many milliseconds.
    pub longest_gap: u32,
}

impl Lab {
    /// Has all of these hosts send so many broadcasts at once, and checks that each of them gets one copy of those of the others, and
    /// none of its own.
    pub fn check_one_copy_each(&self, hosts: &[usize], count: u32) -> Result<()> {
        let counters = hosts.iter().map(|host| Ok((*host, self.counter(*host)?)));
        let counters: Vec<(usize, Counter)> = counters.collect::<Result<_>>()?;
        let first = |host: usize| host as u32 * count;
        let senders = hosts.iter().map(|host| {
            let (count, first) = (count.to_string(), first(*host).to_string());
            let mut send = copies_command(self, *host);
            Ok(send.args(["send", "eth0", &count, &first]).spawn()?)
        });
        for mut sender in senders.collect::<Result<Vec<Child>>>()? {
            let sent = sender.wait()?;
            ensure!(sent.success(), "copies.py send: {sent}");
        }
        if let Some(host) = hosts.first() {
            self.let_copies_arrive(*host)?;
        }
        for (host, counter) in counters {
            let copies = counter.finish()?;
            for from in hosts {
                let expected = u32::from(*from != host);
                let numbers = first(*from)..first(*from) + count;
                let copies_of = |number: u32| copies.get(&number).copied().unwrap_or(0);
                let each = numbers.map(copies_of).collect::<Vec<u32>>();
                ensure!(
                    each.iter().all(|copies| *copies == expected),
                    "copies at h{host} of what h{from} sent: {each:?}"
                );
            }
        }
        Ok(())
    }

    /// Starts a stream from a host to another one, or to all, of a frame each millisecond.
    pub fn stream(&self, from: usize, to: Option<usize>) -> Result<Stream> {
        let to = to.map_or_else(|| "ff:ff:ff:ff:ff:ff".to_owned(), mac);
        let mut command = copies_command(self, from);
        command.args(["stream", "eth0", &to]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (stdin, output) = (child.stdin.take(), child.stdout.take());
        Ok(Stream {
            child,
            stdin,
            output: output.context("no standard output")?,
        })
    }

    /// Starts to count the copies that a host gets.
    pub fn counter(&self, on: usize) -> Result<Counter> {
        let mut command = copies_command(self, on);
        command.args(["count", "eth0"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().context("no standard output")?;
        let mut output = BufReader::new(output);
        output.read_line(&mut String::new())?;
        Ok(Counter { child, output })
    }

    /// Number of frames that the ports of all switches have received so far. Each switch that a frame passes receives it once; one
    /// that goes round is received again and again.
    pub fn received(&self) -> Result<u64> {
        let links = self.sandbox().script("ip -s -j link")?;
        let links: Vec<serde_json::Value> = serde_json::from_str(&links)?;
        let names = |link: &serde_json::Value| {
            let name = link["ifname"].as_str().unwrap_or_default();
            name.starts_with('s') && name.contains("-eth")
        };
        let ports = links.iter().filter(|link| names(link));
        Ok(ports
            .filter_map(|port| port["stats64"]["rx"]["packets"].as_u64())
            .sum())
    }

    /// Waits as long as a copy that still goes round may need to arrive.
    pub fn let_copies_arrive(&self, from: usize) -> Result<()> {
        let mut settle = self.sandbox().host_command(&host(from), "sleep");
        let settle = settle.arg("1").status()?;
        ensure!(settle.success(), "sleep: {settle}");
        Ok(())
    }
}

fn copies_command(lab: &Lab, on: usize) -> Command {
    let mut command = lab.sandbox().host_command(&host(on), PYTHON);
    command.arg(repository().join("mininet/copies.py"));
    command
}

/// Stream of frames that is sent.
pub struct Stream {
    child: Child,
    stdin: Option<ChildStdin>,
    output: ChildStdout,
}

impl Stream {
    /// Ends the stream. Returns the number of frames sent.
    pub fn stop(mut self) -> Result<u32> {
        drop(self.stdin.take());
        let mut text = String::new();
        self.output.read_to_string(&mut text)?;
        self.child.wait()?;
        Ok(text.trim().parse()?)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl StreamFaults {
    pub fn of(sent: u32, copies: &Copies) -> Self {
        let copies_of = |number: u32| copies.get(&number).copied().unwrap_or(0);
        let numbered = |is: fn(u32) -> bool| (0..sent).filter(move |n| is(copies_of(*n)));
        let lost: Vec<u32> = numbered(|copies| copies == 0).collect();
        let (mut gap, mut longest_gap) = (0, 0);
        for number in 0..sent {
            gap = if copies_of(number) == 0 { gap + 1 } else { 0 };
            longest_gap = longest_gap.max(gap);
        }
        StreamFaults {
            sent,
            lost,
            doubled: numbered(|copies| copies > 1).collect(),
            longest_gap,
        }
    }
}

/// Counter of copies on one host that is running.
pub struct Counter {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Counter {
    /// Ends the count. Returns the copies of each frame, by its number.
    pub fn finish(mut self) -> Result<Copies> {
        drop(self.child.stdin.take());
        let mut text = String::new();
        self.output.read_to_string(&mut text)?;
        self.child.wait()?;
        Ok(serde_json::from_str(&text)?)
    }
}
