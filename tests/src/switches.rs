//! Fake switches: many small, honest OpenFlow 1.3 switches on one thread, for loads and countings that real ones do not do.
//!
//! ```text
//!   test --- Switches ----+                     one thread, in the sandbox's network
//!                         |    +--------------------------------------------------------+
//!                   Mutex<Switch> <--- line: connects, reads, paces, writes --- TCP --> morph-proxy
//!                         |    |        Datapath: what a switch answers, and where a packet goes
//!                         |    |        Tally: numbered packets sent, and how they were answered
//!                         |    +--------------------------------------------------------+
//! ```
//!
//! A switch sends a packet to the controller only where its rules say so, so a rule that is missing is seen at once.

mod datapath;
mod line;
mod tally;

use crate::sandbox::Sandbox;
use crate::wait::wait_until;
use anyhow::{Context, Result, bail, ensure};
use datapath::Datapath;
use morph_openflow::MessageType;
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;

pub use tally::{Load, Percentiles, Tally};

/// Their thread.
const THREAD: &str = "switches";
/// How long all are given to be connected.
const CONNECT: Duration = Duration::from_secs(20);

/// Some switches, with datapath ids from 1. Dropping it ends them.
pub struct Switches {
    all: Vec<Arc<Mutex<Switch>>>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// One switch, as its line and the test see it.
#[derive(Debug)]
struct Switch {
    datapath: Datapath,
    tallies: BTreeMap<u32, Tally>,
    connected: bool,
    disconnects: u64,
    /// What came, but for packet-outs, of which there are too many: when, and which. The newest, up to a bound.
    messages: std::collections::VecDeque<(Instant, MessageType)>,
    /// Messages that the test wants said.
    say: Vec<morph_openflow::v13::Message>,
}

/// So many messages are kept.
const MESSAGES: usize = 4096;

impl Switch {
    fn new(dpid: u64) -> Self {
        Self {
            datapath: Datapath::new(dpid),
            tallies: BTreeMap::new(),
            connected: false,
            disconnects: 0,
            messages: std::collections::VecDeque::new(),
            say: Vec::new(),
        }
    }

    fn note(&mut self, now: Instant, kind: MessageType) {
        if self.messages.len() == MESSAGES {
            self.messages.pop_front();
        }
        self.messages.push_back((now, kind));
    }
}

/// A panic on the switches' thread is told when they are stopped; what they saw until then can be looked at.
fn lock(switch: &Mutex<Switch>) -> MutexGuard<'_, Switch> {
    switch.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Switches {
    /// Starts so many, which connect to Morpheus and stay connected.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn start(sandbox: &Sandbox, count: usize) -> Result<Self> {
        let all: Vec<_> = (1..=count as u64)
            .map(|dpid| Arc::new(Mutex::new(Switch::new(dpid))))
            .collect();
        let (stop, stopped) = watch::channel(false);
        let theirs = all.clone();
        let thread = sandbox.thread(THREAD, move || line::run(theirs, stopped))?;
        Ok(Self {
            all,
            stop,
            thread: Some(thread),
        })
    }

    /// From now on the kernel runs their thread before all else, as if they were on machines of their own: what is measured
    /// is how long Morpheus takes, not how long a switch waits for a processor of Morpheus's machine.
    ///
    /// # Errors
    /// When the thread has ended, or the kernel refuses.
    pub fn run_first(&self) -> Result<()> {
        for task in fs::read_dir("/proc/self/task")? {
            let task = task?.path();
            let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
            if name.trim_end() != THREAD {
                continue;
            }
            let id = task.file_name().context("a task without an id")?;
            let status = Command::new("chrt")
                .args(["--fifo", "--pid", "1"])
                .arg(id)
                .status()
                .context("chrt")?;
            ensure!(status.success(), "chrt: {status}");
            return Ok(());
        }
        bail!("the switches' thread has ended")
    }

    /// Waits until each is connected and sends packets of this port to the controller.
    ///
    /// # Errors
    /// When that does not come.
    pub fn wait_punting(&self, port: u32) -> Result<()> {
        wait_until("all fake switches punt", CONNECT, || {
            let ready = |switch: &Arc<Mutex<Switch>>| {
                let mut switch = lock(switch);
                switch.connected && switch.datapath.punts(port)
            };
            Ok(self.all.iter().all(ready).then_some(()))
        })
    }

    /// From now on each sends numbered packets like this, as if a host at this port did.
    pub fn load(&self, port: u32, load: Load) {
        let now = Instant::now();
        for switch in &self.all {
            lock(switch)
                .tallies
                .entry(port)
                .or_default()
                .pace(load, now);
        }
    }

    /// What each has sent and seen of one port, by datapath id.
    pub fn tallies(&self, port: u32) -> BTreeMap<u64, Tally> {
        let of = |(dpid, switch): (u64, &Arc<Mutex<Switch>>)| {
            let tally = lock(switch).tallies.get(&port).cloned();
            (dpid, tally.unwrap_or_default())
        };
        (1..).zip(&self.all).map(of).collect()
    }

    /// How many numbered packets all have sent from one port.
    pub fn sent(&self, port: u32) -> u64 {
        let sent =
            |switch: &Arc<Mutex<Switch>>| lock(switch).tallies.get(&port).map_or(0, Tally::sent);
        self.all.iter().map(sent).sum()
    }

    /// How many of them are answered.
    pub fn answered(&self, port: u32) -> u64 {
        let of = |switch: &Arc<Mutex<Switch>>| {
            lock(switch).tallies.get(&port).map_or(0, Tally::answered)
        };
        self.all.iter().map(of).sum()
    }

    /// Percentiles of the answering times of the packets sent within these times, over all switches.
    pub fn latencies(&self, port: u32, within: &[(Instant, Instant)]) -> Percentiles {
        let mut times = Vec::new();
        for switch in &self.all {
            if let Some(tally) = lock(switch).tallies.get(&port) {
                for (from, to) in within {
                    tally.latencies(*from, *to, &mut times);
                }
            }
        }
        Percentiles::of(times)
    }

    /// Waits until one further packet of each is answered.
    ///
    /// # Errors
    /// When that does not come in time.
    pub fn wait_answers(&self, port: u32, within: Duration) -> Result<()> {
        let before: Vec<u64> = self.tallies(port).values().map(Tally::sent).collect();
        let what = format!("new packets of port {port} are answered");
        wait_until(&what, within, || {
            let tallies = self.tallies(port);
            let answered = tallies
                .values()
                .zip(&before)
                .all(|(t, sent)| t.newest() > *sent);
            Ok(answered.then_some(()))
        })
    }

    /// When each had an answer to a packet of this port that was sent after `since`.
    ///
    /// # Errors
    /// When that does not come in time.
    pub fn answered_again(&self, port: u32, since: Instant, within: Duration) -> Result<Instant> {
        let what = format!("new packets of port {port} are answered");
        wait_until(&what, within, || {
            let first =
                |switch: &Arc<Mutex<Switch>>| lock(switch).tallies.get(&port)?.first_answer(since);
            let all: Option<Vec<Instant>> = self.all.iter().map(first).collect();
            Ok(all.and_then(|all| all.into_iter().max()))
        })
    }

    /// How often any of them lost its connection.
    pub fn disconnects(&self) -> u64 {
        self.all.iter().map(|switch| lock(switch).disconnects).sum()
    }

    /// How many messages of this kind have come from Morpheus, of the last thousands.
    pub fn count(&self, kind: MessageType) -> usize {
        let of = |switch: &Arc<Mutex<Switch>>| {
            let switch = lock(switch);
            let messages = switch.messages.iter();
            messages.filter(|(_, seen)| *seen == kind).count()
        };
        self.all.iter().map(of).sum()
    }

    /// Takes a port of one switch down, or up again, and says so.
    ///
    /// # Errors
    /// When there is no such switch.
    pub fn port(&self, dpid: u64, port: u32, up: bool) -> Result<()> {
        let at = usize::try_from(dpid)?.checked_sub(1);
        let switch = at
            .and_then(|at| self.all.get(at))
            .context("no such switch")?;
        let mut switch = lock(switch);
        let status = switch.datapath.set_port(port, up);
        switch.say.push(status);
        Ok(())
    }

    /// Ends them, and tells what went wrong on their side.
    ///
    /// # Errors
    /// With what a switch could not understand.
    pub fn stop(mut self) -> Result<()> {
        let _ = self.stop.send(true);
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        match thread.join() {
            Ok(result) => result,
            Err(_) => bail!("the fake switches have panicked"),
        }
    }

    /// None of them was ever disconnected.
    ///
    /// # Errors
    /// When one was.
    pub fn never_disconnected(&self) -> Result<()> {
        let count = self.disconnects();
        ensure!(count == 0, "{count} disconnects of fake switches");
        Ok(())
    }
}

impl Drop for Switches {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
