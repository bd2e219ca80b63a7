//! Fake OpenFlow 1.3 switches, many on one thread, which send numbered packets and count the answers.
//!
//! ```text
//!   test --- Switches ----+                     one thread, in the sandbox's network
//!                         |    +--------------------------------------------------------+
//!                   Mutex<Switch> <--- connection: connects, reads, writes -- TCP --> morph-proxy
//!                         |    |        Datapath (crate fake-switch): rules and answers
//!                         |    |        Tally: packets sent, and how they were answered
//!                         |    +--------------------------------------------------------+
//! ```
//!
//! A switch sends a packet to the controller only if its rules say so. A missing rule shows at once: packets stop.

mod connection;
mod dump;
mod tally;

use crate::sandbox::Sandbox;
use crate::wait::wait_until;
use anyhow::{Context, Result, bail, ensure};
use morph_fake_switch::{Datapath, RequestKind};
use morph_openflow::rule::RuleSet;
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;

pub use connection::Pace;
pub use dump::SlowDump;
pub use tally::{Load, Percentiles, Tally};

/// Name of the thread of all switches.
const THREAD: &str = "switches";
/// Time that all switches may take to connect.
const CONNECT: Duration = Duration::from_secs(20);

/// Fake switches with datapath ids from 1. Dropping the value ends them.
pub struct Switches {
    all: Vec<Arc<Mutex<Switch>>>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// State of one switch, shared by its connection and the test.
#[derive(Debug)]
struct Switch {
    datapath: Datapath,
    tallies: BTreeMap<u32, Tally>,
    pace: Pace,
    dumps: dump::Dumps,
    connected: bool,
    disconnects: u64,
}

impl Switch {
    fn new(dpid: u64) -> Self {
        Self {
            datapath: Datapath::new(dpid, RuleSet::new()),
            tallies: BTreeMap::new(),
            pace: Pace::Prompt,
            dumps: dump::Dumps::default(),
            connected: false,
            disconnects: 0,
        }
    }
}

/// Ignores poisoning: a panic of the switches' thread is reported when they are stopped, and their state stays
/// readable.
fn lock(switch: &Mutex<Switch>) -> MutexGuard<'_, Switch> {
    switch.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Switches {
    /// Starts `count` switches, which connect to Morpheus and connect again when cut off.
    pub fn start(sandbox: &Sandbox, count: usize) -> Result<Self> {
        Self::start_with(sandbox, count, |_, _| {})
    }

    /// As [`start`](Self::start), with switches that are changed before they connect.
    pub fn start_with(
        sandbox: &Sandbox,
        count: usize,
        change: impl Fn(u64, &mut Datapath),
    ) -> Result<Self> {
        let switch = |dpid| {
            let mut switch = Switch::new(dpid);
            change(dpid, &mut switch.datapath);
            switch
        };
        Self::run(sandbox, (1..=count as u64).map(switch))
    }

    /// As [`start`](Self::start), with a switch for each of these times to report its rules.
    pub fn start_slow(sandbox: &Sandbox, dumps: &[SlowDump]) -> Result<Self> {
        let switch = |(dpid, dump): (u64, &SlowDump)| {
            let mut switch = Switch::new(dpid);
            switch.dumps.slow_down(*dump);
            switch
        };
        Self::run(sandbox, (1..).zip(dumps).map(switch))
    }

    fn run(sandbox: &Sandbox, switches: impl Iterator<Item = Switch>) -> Result<Self> {
        let all: Vec<_> = switches
            .map(|switch| Arc::new(Mutex::new(switch)))
            .collect();
        let (stop, stopped) = watch::channel(false);
        let shared = all.clone();
        let thread = sandbox.thread(THREAD, move || connection::run(shared, stopped))?;
        Ok(Self {
            all,
            stop,
            thread: Some(thread),
        })
    }

    /// Gives the switches' thread real-time priority, as if the switches were on machines of their own. Measured
    /// times then hold how long Morpheus takes, not how long a switch waits for a processor.
    pub fn raise_priority(&self) -> Result<()> {
        for task in fs::read_dir("/proc/self/task")? {
            let task = task?.path();
            let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
            if name.trim_end() != THREAD {
                continue;
            }
            let id = task
                .file_name()
                .context("a directory of /proc/self/task without a name")?;
            let status = Command::new("chrt")
                .args(["--fifo", "--pid", "1"])
                .arg(id)
                .status()
                .context("chrt")?;
            ensure!(status.success(), "chrt failed: {status}");
            return Ok(());
        }
        bail!("the thread of the fake switches has ended")
    }

    /// Waits until each switch is connected and sends packets of this port to the controller.
    pub fn wait_punting(&self, port: u32) -> Result<()> {
        wait_until(
            "all fake switches are connected and send packets to the controller",
            CONNECT,
            || {
                let ready = |switch: &Arc<Mutex<Switch>>| {
                    let mut switch = lock(switch);
                    switch.connected && switch.datapath.punt(port).is_some()
                };
                Ok(self.all.iter().all(ready).then_some(()))
            },
        )
    }

    /// Lets one switch handle what it is sent in this way from now on.
    pub fn set_pace(&self, dpid: u64, pace: Pace) {
        if let Some(mut switch) = self.switch(dpid) {
            switch.pace = pace;
        }
    }

    /// Lets one switch refuse requests of these kinds from now on.
    pub fn refuse(&self, dpid: u64, kinds: &[RequestKind]) {
        if let Some(mut switch) = self.switch(dpid) {
            switch.datapath.refuse(kinds);
        }
    }

    /// Lets one switch take this long to report its rules from now on.
    pub fn slow_dumps(&self, dpid: u64, dump: SlowDump) {
        if let Some(mut switch) = self.switch(dpid) {
            switch.dumps.slow_down(dump);
        }
    }

    /// Number of requests for its rules that a switch has got since it is slow to report them, and of those that it has not
    /// answered.
    pub fn dumps(&self, dpid: u64) -> (u64, usize) {
        self.switch(dpid).map_or((0, 0), |switch| {
            (switch.dumps.asked(), switch.dumps.pending())
        })
    }

    /// Rules of one table of a switch.
    pub fn rules(&self, dpid: u64, table: u8) -> RuleSet {
        let Some(switch) = self.switch(dpid) else {
            return RuleSet::new();
        };
        let rules = switch.datapath.rules().iter();
        let rules = rules.filter(|(key, _)| key.table == table);
        rules.map(|(k, body)| (k.clone(), body.clone())).collect()
    }

    /// Number of flow-mods that a switch has carried out.
    pub fn flow_mods(&self, dpid: u64) -> u64 {
        self.switch(dpid)
            .map_or(0, |switch| switch.datapath.flow_mods())
    }

    /// Number of bundles that a switch has carried out.
    pub fn bundles(&self, dpid: u64) -> u64 {
        self.switch(dpid)
            .map_or(0, |switch| switch.datapath.bundles())
    }

    /// Lets each switch send numbered packets at this rate from now on, as if a host at the port did.
    pub fn load(&self, port: u32, load: Load) {
        for dpid in 1..=self.all.len() as u64 {
            self.load_of(dpid, port, load);
        }
    }

    /// Lets one switch send numbered packets at this rate from now on.
    pub fn load_of(&self, dpid: u64, port: u32, load: Load) {
        if let Some(mut switch) = self.switch(dpid) {
            let tally = switch.tallies.entry(port).or_default();
            tally.pace(load, Instant::now());
        }
    }

    /// Lets one switch send numbered packets at once. The one at the place `marked`, from 1, bears a mark.
    pub fn burst(&self, dpid: u64, port: u32, count: u64, marked: Option<u64>) {
        if let Some(mut switch) = self.switch(dpid) {
            switch.tallies.entry(port).or_default().burst(count, marked);
        }
    }

    fn switch(&self, dpid: u64) -> Option<MutexGuard<'_, Switch>> {
        let at = usize::try_from(dpid.checked_sub(1)?).ok()?;
        self.all.get(at).map(|switch| lock(switch))
    }

    /// Packets sent and answered at one port, by datapath id.
    pub fn tallies(&self, port: u32) -> BTreeMap<u64, Tally> {
        let of = |(dpid, switch): (u64, &Arc<Mutex<Switch>>)| {
            let tally = lock(switch).tallies.get(&port).cloned();
            (dpid, tally.unwrap_or_default())
        };
        (1..).zip(&self.all).map(of).collect()
    }

    /// Number of packets that all switches have sent from one port.
    pub fn sent(&self, port: u32) -> u64 {
        let sent =
            |switch: &Arc<Mutex<Switch>>| lock(switch).tallies.get(&port).map_or(0, Tally::sent);
        self.all.iter().map(sent).sum()
    }

    /// Number of packets of one port that are answered.
    pub fn answered(&self, port: u32) -> u64 {
        let of = |switch: &Arc<Mutex<Switch>>| {
            lock(switch).tallies.get(&port).map_or(0, Tally::answered)
        };
        self.all.iter().map(of).sum()
    }

    /// Percentiles of the response times of packets sent within these intervals, over all switches.
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

    /// Waits until one further packet of each switch is answered.
    pub fn wait_answers(&self, port: u32, within: Duration) -> Result<()> {
        let before: Vec<u64> = self.tallies(port).values().map(Tally::sent).collect();
        let what = format!("every switch has a new packet of port {port} answered");
        wait_until(&what, within, || {
            let tallies = self.tallies(port);
            let answered = tallies
                .values()
                .zip(&before)
                .all(|(t, sent)| t.newest() > *sent);
            Ok(answered.then_some(()))
        })
    }

    /// Time at which every switch had an answer to a packet of this port sent after `since`.
    pub fn wait_answered_since(
        &self,
        port: u32,
        since: Instant,
        within: Duration,
    ) -> Result<Instant> {
        let what = format!("every switch has a new packet of port {port} answered");
        wait_until(&what, within, || {
            let first =
                |switch: &Arc<Mutex<Switch>>| lock(switch).tallies.get(&port)?.first_answer(since);
            let all: Option<Vec<Instant>> = self.all.iter().map(first).collect();
            Ok(all.and_then(|all| all.into_iter().max()))
        })
    }

    /// Number of lost connections over all switches.
    pub fn disconnects(&self) -> u64 {
        self.all.iter().map(|switch| lock(switch).disconnects).sum()
    }

    /// Number of lost connections of one switch.
    pub fn disconnects_of(&self, dpid: u64) -> u64 {
        self.switch(dpid).map_or(0, |switch| switch.disconnects)
    }

    /// Ends the switches; an error when one of them could not decode a message.
    pub fn stop(mut self) -> Result<()> {
        let _ = self.stop.send(true);
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        match thread.join() {
            Ok(result) => result,
            Err(_) => bail!("the thread of the fake switches has panicked"),
        }
    }

    pub fn check_no_disconnects(&self) -> Result<()> {
        let count = self.disconnects();
        ensure!(
            count == 0,
            "fake switches lost their connection {count} times"
        );
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
