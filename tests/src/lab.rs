//! A whole network for one test.

use crate::morpheus::{self, Morpheus, repository};
use crate::newflows::{Echo, NewFlows, PYTHON};
use crate::ovs::Ovs;
use crate::ping::Ping;
use crate::processes::Process;
use crate::rules::Rules;
use crate::sandbox::{Files, Sandbox};
use crate::shape::{Shape, address, echo_address, host, mac, plan};
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Address of the OpenFlow port within the sandbox.
const CONTROLLER: &str = "tcp:127.0.0.1:6653";

/// Network of its own with switches and hosts, and Morpheus once the test has started it.
pub struct Lab {
    // Dropped in this order: processes first, the sandbox that they run in last.
    morpheus: Option<Morpheus>,
    ovs: Ovs,
    shape: Shape,
    /// Names of the two interfaces of each link.
    link_interfaces: Vec<(String, String)>,
    finished: bool,
    sandbox: Sandbox,
}

impl Lab {
    /// Builds the network. The switches have no controller yet. With switches of Open vSwitch, whose hosts measure how long a
    /// packet takes, all files are in memory; with fake switches they are on the disk.
    pub fn new(shape: Shape) -> Result<Self> {
        let files = if shape.switches == 0 {
            Files::Disk
        } else {
            Files::Memory
        };
        let sandbox = Sandbox::new(files)?;
        let (script, vsctl, link_interfaces) = plan(&shape);
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
            link_interfaces,
            finished: false,
            sandbox,
        })
    }

    /// Builds the network, starts Morpheus with these flags, attaches the switches, and waits until all are
    /// connected.
    pub fn with_morpheus(shape: Shape, flags: &[&str]) -> Result<Self> {
        let mut lab = Self::new(shape)?;
        lab.start_morpheus(flags)?;
        lab.attach()?;
        lab.morpheus()?.wait_switches(lab.shape.switches)?;
        Ok(lab)
    }

    pub fn start_morpheus(&mut self, flags: &[&str]) -> Result<()> {
        match &mut self.morpheus {
            Some(morpheus) => morpheus.start_morphd(&self.sandbox, flags),
            None => {
                self.morpheus = Some(Morpheus::start(&self.sandbox, flags)?);
                Ok(())
            }
        }
    }

    /// Starts Morpheus of another build, which later ones follow on the same directories.
    pub fn start_morpheus_of(&mut self, build: &Path, flags: &[&str]) -> Result<()> {
        self.morpheus = Some(Morpheus::start_of(&self.sandbox, build, flags)?);
        Ok(())
    }

    /// Ends Morpheus by SIGTERM and waits until all its processes are gone.
    pub fn stop_morpheus(&mut self) -> Result<()> {
        let morpheus = self
            .morpheus
            .as_mut()
            .context("the test has not started Morpheus")?;
        morpheus.stop(&self.sandbox)
    }

    /// Sets Morpheus as the controller of every switch.
    pub fn attach(&self) -> Result<()> {
        let mut args = Vec::new();
        let bridges = self.bridges();
        for bridge in &bridges {
            args.extend(["--", "set-controller", bridge, CONTROLLER]);
        }
        self.ovs.vsctl(&args)?;
        Ok(())
    }

    pub fn morpheus(&self) -> Result<&Morpheus> {
        self.morpheus
            .as_ref()
            .context("the test has not started Morpheus")
    }

    pub fn morpheus_mut(&mut self) -> Result<&mut Morpheus> {
        self.morpheus
            .as_mut()
            .context("the test has not started Morpheus")
    }

    /// Processes of Morpheus in the sandbox.
    pub fn processes(&self) -> Result<Vec<Process>> {
        morpheus::processes(&self.sandbox)
    }

    /// The one process of Morpheus whose executable has this name; an error when there are none or several.
    pub fn process(&self, name: &str) -> Result<Process> {
        let mut found = morpheus::processes_named(&self.sandbox, name)?;
        ensure!(
            found.len() == 1,
            "{} processes of Morpheus are named {name}, not one: {found:?}",
            found.len()
        );
        found.pop().with_context(|| format!("no process {name}"))
    }

    /// Open file descriptors of each process of Morpheus, by executable name.
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

    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    pub fn ovs(&self) -> &Ovs {
        &self.ovs
    }

    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    pub fn sandbox_mut(&mut self) -> &mut Sandbox {
        &mut self.sandbox
    }

    /// Directory with all sockets, state and logs of the lab.
    pub fn dir(&self) -> &Path {
        self.sandbox.dir()
    }

    pub fn bridges(&self) -> Vec<String> {
        (1..=self.shape.switches).map(|n| format!("s{n}")).collect()
    }

    /// Index of the link between two switches, for [`Lab::link`].
    pub fn link_between(&self, a: usize, b: usize) -> Result<usize> {
        let found = self
            .shape
            .links
            .iter()
            .position(|link| *link == (a, b) || *link == (b, a));
        found.with_context(|| format!("no link between s{a} and s{b}"))
    }

    /// Takes the `n`th link (from 0) down or up. Works only for links of kind [`Links::Veth`].
    pub fn link(&self, n: usize, up: bool) -> Result<()> {
        let (interface, _) = self
            .link_interfaces
            .get(n)
            .with_context(|| format!("the lab has no link {n}"))?;
        let state = if up { "up" } else { "down" };
        self.sandbox
            .script(&format!("ip link set {interface} {state}"))?;
        Ok(())
    }

    /// Pings from host to host, `count` times.
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
    pub fn ping_continuously(&self, from: usize, to: usize, every_ms: u32) -> Result<Ping> {
        Ping::start(&self.sandbox, &host(from), &address(to), every_ms, None)
    }

    /// Waits until one ping from host to host is answered.
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

    /// Waits until pings from host to host are not answered.
    pub fn wait_no_ping(&self, from: usize, to: usize) -> Result<()> {
        wait_until(
            &format!("h{from} does not reach h{to}"),
            Duration::from_secs(20),
            || {
                let summary = self.ping(from, to, 10, 3)?.finish()?;
                Ok((summary.received == 0).then_some(()))
            },
        )
    }

    /// Pings once from every host to every other host; returns the pairs that failed.
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

    /// Gives every host a permanent ARP entry for every other host.
    pub fn set_static_arp(&self) -> Result<()> {
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

    /// Starts an echo server on a host, as the target of new flows.
    pub fn echo(&self, on: usize) -> Result<Echo> {
        Echo::start(&self.sandbox, &host(on), &echo_address(on))
    }

    /// Starts new flows from a host to the echo server of another host; see [`NewFlows::start`].
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

    /// Sends a frame to host `to` from each of so many addresses behind host `from`, one a millisecond: 02:99 and a number of four
    /// bytes.
    pub fn send_from_addresses(&self, from: usize, to: usize, count: u32) -> Result<()> {
        self.addresses(from, to, count, "1")
    }

    /// Sends these frames as fast as the host can.
    pub fn flood_from_addresses(&self, from: usize, to: usize, count: u32) -> Result<()> {
        self.addresses(from, to, count, "0")
    }

    fn addresses(&self, from: usize, to: usize, count: u32, every_ms: &str) -> Result<()> {
        let script = repository().join("mininet/addresses.py");
        let mut command = self.sandbox.host_command(&host(from), PYTHON);
        command.arg(script);
        command.args(["--interface", "eth0", "--to", &mac(to)]);
        command.args(["--every-ms", every_ms]);
        let status = command.args(["--count", &count.to_string()]).status()?;
        ensure!(status.success(), "mininet/addresses.py ended with {status}");
        Ok(())
    }

    /// Rules of one app on all switches, with the time at which each was added.
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

    /// Logs of morphd and of everything that it has started: file name and text.
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

    /// Ends a passed test: stops Morpheus, and fails if one of its processes stays.
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
        // The test has failed: print the end of every log.
        for (name, text) in self.logs() {
            let lines: Vec<&str> = text.lines().collect();
            let tail = &lines[lines.len().saturating_sub(40)..];
            eprintln!("---- end of {name} ----\n{}", tail.join("\n"));
        }
    }
}

/// Collects the log files below `dir`, except those of Open vSwitch.
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
