//! The two parts of Morpheus that every app needs: morph-stored and morph-proxy.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::Signal;

use super::{Event, Supervisor};
use crate::answers::{ANSWER, Answers, News, Outcome};
use crate::config::Settings;
use crate::priority::{self, Priority};
use crate::process::{Ending, Process};
use crate::restarts::Restarts;
use morph_api::lock::{self, Holder, LockState};

/// For the process that holds a lock to write down its pid.
const NAMED: Duration = Duration::from_secs(2);
/// Between two looks at a lock file.
const LOOK: Duration = Duration::from_millis(20);

/// Which part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartName {
    /// morph-stored.
    Store,
    /// morph-proxy.
    Proxy,
}

impl PartName {
    /// The executable, and the log.
    pub fn executable(self) -> &'static str {
        match self {
            PartName::Store => "morph-stored",
            PartName::Proxy => "morph-proxy",
        }
    }

    fn lock(self) -> &'static str {
        match self {
            PartName::Store => "stored.lock",
            PartName::Proxy => "proxy.lock",
        }
    }

    fn args(self, settings: &Settings) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["--run-dir".into(), settings.run_dir.clone().into()];
        match self {
            PartName::Store => {
                args.extend(["--dir".into(), settings.state_dir.join("store").into()]);
                if let Some(url) = &settings.store {
                    args.extend(["--backend".into(), url.into()]);
                }
            }
            PartName::Proxy => {
                for address in &settings.openflow {
                    args.extend(["--openflow".into(), address.into()]);
                }
                args.extend(["--node".into(), settings.node.clone().into()]);
                args.extend(["--role".into(), settings.role.name().into()]);
            }
        }
        args
    }
}

/// One of them, and what is to be done about it.
#[derive(Debug)]
pub(super) struct Part {
    name: PartName,
    pub(super) process: Option<Arc<Process>>,
    restarts: Restarts,
    start_at: Option<Instant>,
    /// Whether it answers.
    pub(super) answers: Answers,
}

/// A part, as the supervisor knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartView {
    /// Its executable.
    pub name: &'static str,
    /// 0: no process.
    pub pid: u32,
    /// running, hung (it does not answer) or gone.
    pub state: &'static str,
    /// Deaths since morphd's start.
    pub restarts: u64,
}

impl Part {
    pub(super) fn new(name: PartName, process: Arc<Process>) -> Self {
        Part {
            name,
            process: Some(process),
            // Two deaths are answered at once; from the third one within ten seconds on there are waits between.
            restarts: Restarts::new(2),
            start_at: None,
            answers: Answers::new(Instant::now()),
        }
    }

    fn view(&self) -> PartView {
        PartView {
            name: self.name.executable(),
            pid: self.process.as_ref().map_or(0, |process| process.pid()),
            state: match &self.process {
                None => "gone",
                Some(_) if self.answers.hangs() => "hung",
                Some(_) => "running",
            },
            restarts: self.restarts.total(),
        }
    }

    pub(super) fn start_at(&self) -> Option<Instant> {
        self.start_at
    }
}

/// Starts a part, or takes hold of the one that runs; says whether it was started.
pub(super) async fn find_or_start(
    name: PartName,
    settings: &Settings,
) -> anyhow::Result<(Arc<Process>, bool)> {
    let path = settings.run(name.lock());
    let until = Instant::now() + NAMED;
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        match lock::inspect(&path).with_context(|| format!("cannot look at {}", path.display()))? {
            LockState::Free => return Ok((spawn(name, settings)?, true)),
            LockState::Held(holder) => {
                same_store(name, settings, &holder)?;
                // One that ends at this moment lets go of its lock: look again.
                if let Ok(process) = Process::adopt(&holder) {
                    tracing::info!(part = name.executable(), pid = holder.pid, "adopted");
                    let process = Arc::new(process);
                    priority::set(&process, Priority::Raised);
                    return Ok((process, false));
                }
            }
            LockState::Unnamed => {}
        }
        if Instant::now() >= until {
            bail!(
                "{} is held by a process that does not say which it is",
                path.display()
            );
        }
    }
}

/// A store that runs and has its data elsewhere than it is to be now is not taken for the one that is wanted.
fn same_store(name: PartName, settings: &Settings, holder: &Holder) -> anyhow::Result<()> {
    let directory = || settings.state_dir.join("store").display().to_string();
    let wanted = settings.store.clone().unwrap_or_else(directory);
    if name != PartName::Store || holder.store.is_empty() || holder.store == wanted {
        return Ok(());
    }
    let (pid, found) = (holder.pid, &holder.store);
    bail!(
        "morph-stored, pid {pid}, runs with its data in {found}, not in {wanted}: end it first, or start morphd with the \
         --store or --state-dir that it has"
    )
}

fn spawn(name: PartName, settings: &Settings) -> anyhow::Result<Arc<Process>> {
    let exec = settings.executables.join(name.executable());
    let log = crate::log::path(&settings.state_dir, name.executable());
    let process = Process::spawn(&exec, &name.args(settings), &log)
        .with_context(|| format!("cannot start {}", exec.display()))?;
    tracing::info!(part = name.executable(), pid = process.pid(), "started");
    let process = Arc::new(process);
    priority::set(&process, Priority::Raised);
    Ok(process)
}

/// What a part that ended said last.
pub(super) fn last_words(name: PartName, settings: &Settings, ending: Ending) -> String {
    let log = crate::log::path(&settings.state_dir, name.executable());
    match crate::log::last_message(&log, 0, ending.panicked()) {
        Some(words) => format!(": {words} (see {})", log.display()),
        None => format!(" (see {})", log.display()),
    }
}

impl Supervisor {
    /// Reports the end of a part's process.
    pub(super) fn watch_part(&self, name: PartName, process: &Arc<Process>) {
        let (process, post) = (Arc::clone(process), self.post.clone());
        tokio::spawn(async move {
            let ending = process.wait().await;
            let _ = post
                .send(Event::PartEnded(name, process.pid(), ending))
                .await;
        });
    }

    pub(super) fn part_views(&self) -> Vec<PartView> {
        vec![self.store_part.view(), self.proxy_part.view()]
    }

    /// Asks each part whose turn it is whether it answers.
    pub(super) fn ask_parts(&mut self, now: Instant) {
        if self.store_part.answers.is_due(now) {
            let store = self.store.clone();
            self.ask_part(PartName::Store, async move { store.status().await.is_ok() });
        }
        if self.proxy_part.answers.is_due(now) {
            let proxy = self.proxy.clone();
            self.ask_part(PartName::Proxy, async move { proxy.slots().await.is_ok() });
        }
    }

    fn ask_part(&mut self, name: PartName, answer: impl Future<Output = bool> + Send + 'static) {
        let pid = self.part(name).view().pid;
        let call = async move { tokio::time::timeout(ANSWER, answer).await };
        self.after(call, move |supervisor, answered| {
            let part = supervisor.part(name);
            let same = pid != 0 && part.view().pid == pid;
            let outcome = match answered {
                Ok(true) => Outcome::Answered,
                Err(_) if same => Outcome::Silent,
                Ok(false) | Err(_) => Outcome::Away,
            };
            if let Some(news) = part.answers.outcome(outcome, Instant::now()) {
                supervisor.part_news(name, pid, news);
            }
        });
    }

    /// The store daemon can be replaced: what was acknowledged is on disk, and who writes asks again. The proxy cannot: its
    /// end would be that of all channels, and of the events that they brought.
    fn part_news(&mut self, name: PartName, pid: u32, news: News) {
        let part = name.executable();
        match (news, name) {
            (News::Back, _) => tracing::warn!(part, pid, "answers again"),
            (News::Hangs, PartName::Store) => {
                tracing::error!(
                    part,
                    pid,
                    "does not answer: nothing is stored; it is ended if that lasts"
                );
            }
            (News::Hangs, PartName::Proxy) => {
                tracing::error!(
                    part,
                    pid,
                    "does not answer: switches and apps wait. It is not ended, since switches would lose their channels; \
                     `kill -9 {pid}` makes morphd start another"
                );
            }
            (News::GivenUp, PartName::Store) => {
                tracing::error!(part, pid, "still does not answer, and is killed");
                if let Some(process) = &self.part(name).process {
                    process.signal(Signal::KILL);
                }
            }
            (News::GivenUp, PartName::Proxy) => {
                tracing::error!(part, pid, "still does not answer");
            }
        }
    }

    fn part(&mut self, name: PartName) -> &mut Part {
        match name {
            PartName::Store => &mut self.store_part,
            PartName::Proxy => &mut self.proxy_part,
        }
    }

    pub(super) fn part_ended(&mut self, name: PartName, pid: u32, ending: Ending) {
        let words = match ending {
            // Nobody says anything about a SIGKILL.
            Ending::Killed(9) => String::new(),
            Ending::Exited(_) | Ending::Killed(_) | Ending::Unknown => {
                last_words(name, &self.settings, ending)
            }
        };
        let part = self.part(name);
        if part
            .process
            .as_ref()
            .is_none_or(|process| process.pid() != pid)
        {
            return;
        }
        part.process = None;
        let now = Instant::now();
        let at = part.restarts.died(now);
        part.start_at = Some(at);
        let (executable, row) = (name.executable(), part.restarts.in_row());
        tracing::error!(part = executable, pid, "{ending}{words}");
        if row >= 3 {
            let wait = at.saturating_duration_since(now);
            tracing::error!(
                part = executable,
                deaths = row,
                ?wait,
                "it keeps dying; it is started again after a wait"
            );
        }
    }

    pub(super) fn restart_due_parts(&mut self, now: Instant) {
        for name in [PartName::Store, PartName::Proxy] {
            let part = self.part(name);
            if part.start_at.is_some_and(|at| at <= now) {
                part.start_at = None;
                self.restart(name, now);
            }
        }
    }

    fn restart(&mut self, name: PartName, now: Instant) {
        match spawn(name, &self.settings) {
            Ok(process) => {
                self.watch_part(name, &process);
                self.part(name).process = Some(process);
            }
            Err(error) => {
                tracing::error!("{error:#}");
                let part = self.part(name);
                part.start_at = Some(part.restarts.died(now));
            }
        }
        debug_assert_eq!(self.part(name).name, name);
    }
}
