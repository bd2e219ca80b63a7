//! The store daemon and the proxy as processes.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use morph_api::lock::{self, Holder, LockState};
use rustix::process::Signal;
use tokio::sync::mpsc;

use super::calls::Calls;
use super::event::Event;
use crate::config::Settings;
use crate::machine::daemon::{ANSWER, Daemon, DaemonName, DaemonOutput, DaemonReply, DaemonView};
use crate::priority::{self, Priority};
use crate::process::{Ending, Process};

/// Time for the process that holds a lock to write down its pid.
const NAMED: Duration = Duration::from_secs(2);
/// Between two looks at a lock file.
const LOOK: Duration = Duration::from_millis(20);

fn lock_name(name: DaemonName) -> &'static str {
    match name {
        DaemonName::Store => "stored.lock",
        DaemonName::Proxy => "proxy.lock",
    }
}

fn args(name: DaemonName, settings: &Settings) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["--run-dir".into(), settings.run_dir.clone().into()];
    match name {
        DaemonName::Store => {
            args.extend(["--dir".into(), settings.state_dir.join("store").into()]);
            if let Some(url) = &settings.store {
                args.extend(["--backend".into(), url.into()]);
            }
        }
        DaemonName::Proxy => {
            for address in &settings.openflow {
                args.extend(["--openflow".into(), address.into()]);
            }
            args.extend(["--node".into(), settings.node.clone().into()]);
            args.extend(["--role".into(), settings.switches.role.name().into()]);
            let periods = settings.switches.verification.to_string();
            args.extend(["--verify".into(), periods.into()]);
        }
    }
    args
}

/// A daemon's machine, and its process.
struct Part {
    machine: Daemon,
    process: Option<Arc<Process>>,
}

pub(super) struct Daemons {
    store: Part,
    proxy: Part,
}

impl Daemons {
    pub(super) fn new(
        store: Arc<Process>,
        proxy: Arc<Process>,
        post: &mpsc::Sender<Event>,
    ) -> Self {
        let now = Instant::now();
        let part = |name, process: Arc<Process>| {
            watch(name, &process, post);
            Part {
                machine: Daemon::new(name, process.pid(), now),
                process: Some(process),
            }
        };
        Daemons {
            store: part(DaemonName::Store, store),
            proxy: part(DaemonName::Proxy, proxy),
        }
    }

    fn part(&mut self, name: DaemonName) -> &mut Part {
        match name {
            DaemonName::Store => &mut self.store,
            DaemonName::Proxy => &mut self.proxy,
        }
    }

    pub(super) fn views(&self) -> Vec<DaemonView> {
        vec![self.store.machine.view(), self.proxy.machine.view()]
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [&self.store, &self.proxy].map(|part| part.machine.next_deadline());
        deadlines.into_iter().flatten().min()
    }

    pub(super) fn time(
        &mut self,
        now: Instant,
        settings: &Settings,
        calls: &Calls,
        post: &mpsc::Sender<Event>,
    ) {
        for name in [DaemonName::Store, DaemonName::Proxy] {
            let mut out = Vec::new();
            self.part(name).machine.time(now, &mut out);
            for output in out {
                match output {
                    DaemonOutput::Start => self.start(name, settings, post),
                    DaemonOutput::Probe(pid) => probe(name, pid, calls, post),
                    DaemonOutput::Kill(pid) => self.kill(name, pid),
                }
            }
        }
    }

    fn start(&mut self, name: DaemonName, settings: &Settings, post: &mpsc::Sender<Event>) {
        match spawn(name, settings) {
            Ok(process) => {
                watch(name, &process, post);
                let part = self.part(name);
                part.machine.started(process.pid());
                part.process = Some(process);
            }
            Err(error) => {
                tracing::error!("{error:#}");
                self.part(name).machine.start_failed(Instant::now());
            }
        }
    }

    fn kill(&mut self, name: DaemonName, pid: u32) {
        let process = self.part(name).process.as_ref();
        if let Some(process) = process.filter(|process| process.pid() == pid) {
            process.signal(Signal::KILL);
        }
    }

    pub(super) fn ended(
        &mut self,
        name: DaemonName,
        pid: u32,
        ending: Ending,
        settings: &Settings,
        now: Instant,
    ) {
        let words = match ending {
            // Nobody says anything about a SIGKILL.
            Ending::Killed(9) => String::new(),
            Ending::Exited(_) | Ending::Killed(_) | Ending::Unknown => {
                last_words(name, settings, ending)
            }
        };
        let part = self.part(name);
        part.process.take_if(|process| process.pid() == pid);
        part.machine.ended(pid, &format!("{ending}{words}"), now);
    }

    pub(super) fn replied(&mut self, name: DaemonName, pid: u32, reply: DaemonReply, now: Instant) {
        let mut out = Vec::new();
        self.part(name).machine.replied(pid, reply, now, &mut out);
        for output in out {
            if let DaemonOutput::Kill(pid) = output {
                self.kill(name, pid);
            }
        }
    }

    /// The processes, for the end of everything: first the proxy's.
    pub(super) fn into_processes(self) -> [Option<Arc<Process>>; 2] {
        [self.proxy.process, self.store.process]
    }
}

/// Sends a probe, and reports what became of it.
fn probe(name: DaemonName, pid: u32, calls: &Calls, post: &mpsc::Sender<Event>) {
    let (store, proxy, post) = (calls.store(), calls.proxy(), post.clone());
    tokio::spawn(async move {
        let answer = async {
            match name {
                DaemonName::Store => store.status().await.is_ok(),
                DaemonName::Proxy => proxy.slots().await.is_ok(),
            }
        };
        let reply = match tokio::time::timeout(ANSWER, answer).await {
            Ok(true) => DaemonReply::Answered,
            Ok(false) => DaemonReply::Away,
            Err(_) => DaemonReply::Silent,
        };
        let _ = post.send(Event::DaemonReplied(name, pid, reply)).await;
    });
}

/// Reports the end of a daemon's process.
fn watch(name: DaemonName, process: &Arc<Process>, post: &mpsc::Sender<Event>) {
    let (process, post) = (Arc::clone(process), post.clone());
    tokio::spawn(async move {
        let ending = process.wait().await;
        let ended = Event::DaemonEnded(name, process.pid(), ending);
        let _ = post.send(ended).await;
    });
}

/// Starts a daemon, or takes hold of the one that runs; says whether it was started.
pub(super) async fn find_or_start(
    name: DaemonName,
    settings: &Settings,
) -> anyhow::Result<(Arc<Process>, bool)> {
    let path = settings.run(lock_name(name));
    let until = Instant::now() + NAMED;
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        match lock::inspect(&path).with_context(|| format!("cannot read {}", path.display()))? {
            LockState::Free => return Ok((spawn(name, settings)?, true)),
            LockState::Held(holder) => {
                same_store(name, settings, &holder)?;
                // A process that ends at this moment lets go of its lock: the next look finds that.
                if let Ok(process) = Process::adopt(&holder) {
                    tracing::info!(daemon = name.executable(), pid = holder.pid, "adopted");
                    let process = Arc::new(process);
                    priority::set(&process, priority_of(name));
                    return Ok((process, false));
                }
            }
            LockState::Unnamed => {}
        }
        if Instant::now() >= until {
            bail!(
                "{} is held by a process that it does not name: find it with `fuser {}` and end it",
                path.display(),
                path.display()
            );
        }
    }
}

/// A store daemon that has its data elsewhere than is wanted now is not taken for the one that is wanted.
fn same_store(name: DaemonName, settings: &Settings, holder: &Holder) -> anyhow::Result<()> {
    let directory = || settings.state_dir.join("store").display().to_string();
    let wanted = settings.store.clone().unwrap_or_else(directory);
    if name != DaemonName::Store || holder.store.is_empty() || holder.store == wanted {
        return Ok(());
    }
    let (pid, found) = (holder.pid, &holder.store);
    bail!(
        "morph-stored, pid {pid}, runs with its data in {found}, not in {wanted}: end it first, or start morphd with the \
         --store or --state-dir that it has"
    )
}

fn spawn(name: DaemonName, settings: &Settings) -> anyhow::Result<Arc<Process>> {
    let exec = settings.executables.join(name.executable());
    let log = crate::log::path(&settings.state_dir, name.executable());
    let process = Process::spawn(&exec, &args(name, settings), &log)
        .with_context(|| format!("cannot start {}", exec.display()))?;
    tracing::info!(daemon = name.executable(), pid = process.pid(), "started");
    let process = Arc::new(process);
    priority::set(&process, priority_of(name));
    Ok(process)
}

fn priority_of(name: DaemonName) -> Priority {
    match name {
        DaemonName::Proxy => Priority::Raised,
        DaemonName::Store => Priority::RealTime,
    }
}

/// Last message in the log of a daemon that ended.
pub(super) fn last_words(name: DaemonName, settings: &Settings, ending: Ending) -> String {
    let log = crate::log::path(&settings.state_dir, name.executable());
    match crate::log::last_message(&log, 0, ending.panicked()) {
        Some(words) => format!(": {words} (see {})", log.display()),
        None => format!(" (see {})", log.display()),
    }
}
