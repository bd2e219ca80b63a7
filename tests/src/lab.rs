//! A whole network for one test.

use crate::morpheus::{self, Morpheus};
use crate::newflows::{Echo, NewFlows};
use crate::ovs::Ovs;
use crate::ping::Ping;
use crate::processes::Process;
use crate::rules::Rules;
use crate::sandbox::Sandbox;
use crate::shape::{Shape, address, echo_address, host, mac, plan};
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where Morpheus listens.
const CONTROLLER: &str = "tcp:127.0.0.1:6653";

/// A network, and Morpheus where the test has started it.
pub struct Lab {
    // Dropped in this order: what runs outside first.
    morpheus: Option<Morpheus>,
    ovs: Ovs,
    shape: Shape,
    /// The interfaces of each link.
    wires: Vec<(String, String)>,
    finished: bool,
    sandbox: Sandbox,
}

impl Lab {
    /// Builds the network; its switches have no controller yet.
    ///
    /// # Errors
    /// When a tool is missing, or not root.
    pub fn new(shape: Shape) -> Result<Self> {
        let sandbox = Sandbox::new()?;
        let (script, vsctl, wires) = plan(&shape);
        let ovs = if shape.switches == 0 {
            Ovs::absent(&sandbox)
        } else {
            let ovs = Ovs::start(&sandbox)?;
            sandbox.script(&script)?;
            let args: Vec<&str> = vsctl.split_whitespace().collect();
            ovs.vsctl(&args)?;
            ovs
        };
        Ok(Self {
            morpheus: None,
            ovs,
            shape,
            wires,
            finished: false,
            sandbox,
        })
    }

    /// Builds the network, starts Morpheus with these apps, attaches the switches, and waits until
    /// all are there.
    ///
    /// # Errors
    /// When anything does not come.
    pub fn with_morpheus(shape: Shape, flags: &[&str]) -> Result<Self> {
        let mut lab = Self::new(shape)?;
        lab.start_morpheus(flags)?;
        lab.attach()?;
        lab.morpheus()?.wait_switches(lab.shape.switches)?;
        Ok(lab)
    }

    /// Starts Morpheus.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn start_morpheus(&mut self, flags: &[&str]) -> Result<()> {
        match &mut self.morpheus {
            Some(morpheus) => morpheus.start_again(&self.sandbox, flags),
            None => {
                self.morpheus = Some(Morpheus::start(&self.sandbox, flags)?);
                Ok(())
            }
        }
    }

    /// Ends Morpheus in order.
    ///
    /// # Errors
    /// When something of it stays.
    pub fn stop_morpheus(&mut self) -> Result<()> {
        let morpheus = self.morpheus.as_mut().context("no Morpheus in this lab")?;
        morpheus.stop(&self.sandbox)
    }

    /// Names Morpheus as the controller of every switch.
    ///
    /// # Errors
    /// When OVS refuses.
    pub fn attach(&self) -> Result<()> {
        let mut args = Vec::new();
        let bridges = self.bridges();
        for bridge in &bridges {
            args.extend(["--", "set-controller", bridge, CONTROLLER]);
        }
        self.ovs.vsctl(&args)?;
        Ok(())
    }

    /// Morpheus.
    ///
    /// # Errors
    /// When the test has started none.
    pub fn morpheus(&self) -> Result<&Morpheus> {
        self.morpheus.as_ref().context("no Morpheus in this lab")
    }

    /// Morpheus, to wait for its end.
    ///
    /// # Errors
    /// When the test has started none.
    pub fn morpheus_mut(&mut self) -> Result<&mut Morpheus> {
        self.morpheus.as_mut().context("no Morpheus in this lab")
    }

    /// Its processes.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn processes(&self) -> Result<Vec<Process>> {
        morpheus::ours(&self.sandbox)
    }

    /// The one process of Morpheus whose executable has this name.
    ///
    /// # Errors
    /// When there are none or several.
    pub fn process(&self, name: &str) -> Result<Process> {
        let mut found = morpheus::named(&self.sandbox, name)?;
        ensure!(
            found.len() == 1,
            "{} processes are {name}: {found:?}",
            found.len()
        );
        found.pop().context(name.to_owned())
    }

    /// How many descriptors each of them has open, by name.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn descriptors(&self) -> Result<BTreeMap<String, Vec<usize>>> {
        let mut counts: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for process in self.processes()? {
            counts
                .entry(process.name().to_owned())
                .or_default()
                .push(process.descriptors);
        }
        Ok(counts)
    }

    /// What the network looks like.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Open vSwitch.
    pub fn ovs(&self) -> &Ovs {
        &self.ovs
    }

    /// The namespaces.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// The namespaces, before something is started in them.
    pub fn sandbox_mut(&mut self) -> &mut Sandbox {
        &mut self.sandbox
    }

    /// The directory of everything.
    pub fn dir(&self) -> &Path {
        self.sandbox.dir()
    }

    /// The names of all switches.
    pub fn bridges(&self) -> Vec<String> {
        (1..=self.shape.switches).map(|n| format!("s{n}")).collect()
    }

    /// The names of all hosts.
    pub fn hosts(&self) -> Vec<String> {
        (1..=self.shape.hosts.len())
            .map(|n| format!("h{n}"))
            .collect()
    }

    /// The number of the link between two switches.
    ///
    /// # Errors
    /// When there is none.
    pub fn link_between(&self, a: usize, b: usize) -> Result<usize> {
        let found = self
            .shape
            .links
            .iter()
            .position(|link| *link == (a, b) || *link == (b, a));
        found.with_context(|| format!("no link between s{a} and s{b}"))
    }

    /// Takes the `n`th link (from 0) down, or up again. Only links of kind [`Links::Veth`].
    ///
    /// # Errors
    /// When it is none.
    pub fn link(&self, n: usize, up: bool) -> Result<()> {
        let (interface, _) = self.wires.get(n).context("no such link")?;
        let state = if up { "up" } else { "down" };
        self.sandbox
            .script(&format!("ip link set {interface} {state}"))?;
        Ok(())
    }

    /// Pings from host to host, a given number of times.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn ping(&self, from: usize, to: usize, every_ms: u32, count: u32) -> Result<Ping> {
        Ping::start(
            &self.sandbox,
            &host(from),
            &address(to),
            every_ms,
            Some(count),
        )
    }

    /// Pings from host to host until stopped.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn ping_on(&self, from: usize, to: usize, every_ms: u32) -> Result<Ping> {
        Ping::start(&self.sandbox, &host(from), &address(to), every_ms, None)
    }

    /// Waits until one ping from host to host is answered.
    ///
    /// # Errors
    /// When none is.
    pub fn wait_ping(&self, from: usize, to: usize) -> Result<()> {
        wait_until(
            &format!("h{from} reaches h{to}"),
            Duration::from_secs(20),
            || {
                let summary = self.ping(from, to, 200, 1)?.finish()?;
                Ok((summary.received == 1).then_some(()))
            },
        )
    }

    /// Pings once from every host to every other; gives the pairs that failed.
    ///
    /// # Errors
    /// When ping cannot be started.
    pub fn ping_all(&self) -> Result<Vec<(usize, usize)>> {
        let mut failed = Vec::new();
        let hosts = self.shape.hosts.len();
        for from in 1..=hosts {
            let mut running = Vec::new();
            for to in (1..=hosts).filter(|to| *to != from) {
                running.push((to, self.ping(from, to, 10, 1)?));
            }
            for (to, ping) in running {
                if ping.finish()?.received != 1 {
                    failed.push((from, to));
                }
            }
        }
        Ok(failed)
    }

    /// Lets every host know every other host's MAC address.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn static_arp(&self) -> Result<()> {
        let mut script = String::new();
        let hosts = self.shape.hosts.len();
        for from in 1..=hosts {
            for to in (1..=hosts).filter(|to| *to != from) {
                let (address, mac) = (address(to), mac(to));
                let _ = writeln!(
                    script,
                    "ip -n h{from} neigh replace {address} lladdr {mac} dev eth0 nud permanent"
                );
            }
        }
        self.sandbox.script(&script)?;
        Ok(())
    }

    /// Serves echoes on a host, for new flows.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn echo(&self, on: usize) -> Result<Echo> {
        Echo::start(&self.sandbox, &host(on), &echo_address(on))
    }

    /// New flows from a host to the echo server of another; see [`NewFlows::start`].
    ///
    /// # Errors
    /// When they cannot be started.
    pub fn new_flows(
        &self,
        from: usize,
        to: usize,
        every_ms: f64,
        first: u64,
        timeout_s: f64,
    ) -> Result<NewFlows> {
        let target = echo_address(to);
        NewFlows::start(
            &self.sandbox,
            &host(from),
            &target,
            every_ms,
            first,
            timeout_s,
        )
    }

    /// All rules of all switches that have this app's cookie, and when they were added.
    ///
    /// # Errors
    /// When a switch does not answer.
    pub fn rules(&self, app: u8) -> Result<Rules> {
        let mut rules = Rules::new();
        for bridge in self.bridges() {
            let now = Instant::now();
            for flow in self.ovs.flows(&bridge)? {
                let age = Duration::from_secs_f64(flow.duration);
                let added = now.checked_sub(age).unwrap_or(now);
                if flow.app() == Some(app) {
                    rules.insert((bridge.clone(), flow.key.clone()), (flow, added));
                }
            }
        }
        Ok(rules)
    }

    /// The logs of morphd and of all that it has started, by file.
    pub fn logs(&self) -> Vec<(String, String)> {
        let mut paths = Vec::new();
        logs_below(self.dir(), 4, &mut paths);
        let read = |path: PathBuf| {
            let name = path
                .strip_prefix(self.dir())
                .unwrap_or(&path)
                .display()
                .to_string();
            let text = std::fs::read(&path).unwrap_or_default();
            (name, String::from_utf8_lossy(&text).into_owned())
        };
        paths.into_iter().map(read).collect()
    }

    /// Ends the test well: Morpheus is told to end, and all of it has to.
    ///
    /// # Errors
    /// When something of it stays.
    pub fn finish(mut self) -> Result<()> {
        if let Some(morpheus) = &mut self.morpheus {
            morpheus.stop(&self.sandbox)?;
        }
        self.finished = true;
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // The test has failed: what Morpheus said last.
        for (name, text) in self.logs() {
            let lines: Vec<&str> = text.lines().collect();
            let tail = &lines[lines.len().saturating_sub(40)..];
            eprintln!("---- the end of {name} ----\n{}", tail.join("\n"));
        }
    }
}

/// Log files, but for those of OVS.
fn logs_below(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && depth > 0 && path.file_name().is_some_and(|n| n != "ovs") {
            logs_below(&path, depth - 1, found);
        } else if path.extension().is_some_and(|e| e == "log") {
            found.push(path);
        }
    }
}
