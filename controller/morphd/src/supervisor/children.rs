//! App instances as processes: started, adopted, ended.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use morph_api::lock::{self, Holder, LockState};
use morph_api::store::Seq;
use morph_api::supervisor::{Stop, instruction};
use morph_api::verification::VARIABLE;
use rustix::process::Signal;
use semver::Version;
use tokio::sync::mpsc;

use super::event::Event;
use crate::children::AppUsers;
use crate::config::Settings;
use crate::launch;
use crate::machine::liveness::CpuTime;
use crate::machine::outbox::Spawn;
use crate::machine::{FoundInstance, InstanceId, NodeInput};
use crate::priority::{self, Priority};
use crate::process::{Ending, Process};
use crate::proxy::Proxy;

/// Time from the instruction to end to SIGTERM.
const TO_TERM: Duration = Duration::from_secs(1);
/// Time from SIGTERM to SIGKILL.
const TO_KILL: Duration = Duration::from_secs(2);

/// Most dead instances whose event is known: morphd asks about each once, soon after its death.
const MARKED: usize = 64;

struct Child {
    app: String,
    process: Arc<Process>,
    /// Length of the app's log when it was started.
    log_since: u64,
}

pub(super) struct Children {
    all: HashMap<InstanceId, Child>,
    /// Events that instances were handling when they died, the last ones of these.
    marked: VecDeque<(InstanceId, Seq)>,
    /// Users of the apps; none: instances run as morphd does.
    users: Option<AppUsers>,
}

impl Children {
    pub(super) fn new(users: Option<AppUsers>) -> Self {
        Children {
            all: HashMap::new(),
            marked: VecDeque::new(),
            users,
        }
    }

    pub(super) fn users(&self) -> Option<AppUsers> {
        self.users
    }

    /// Starts an instance, and says whether it runs.
    pub(super) fn spawn(
        &mut self,
        spawn: Spawn,
        settings: &Settings,
        post: &mpsc::Sender<Event>,
    ) -> NodeInput {
        let instance = spawn.instance.clone();
        match self.try_spawn(spawn, settings, post) {
            Ok(pid) => NodeInput::InstanceStarted(instance, pid),
            Err(why) => NodeInput::InstanceEnded(instance, why),
        }
    }

    fn try_spawn(
        &mut self,
        spawn: Spawn,
        settings: &Settings,
        post: &mpsc::Sender<Event>,
    ) -> Result<u32, String> {
        let (id, release) = (spawn.instance, spawn.release);
        let (app, version) = (&release.manifest.name, &release.manifest.version);
        let (exec, manifest) = (release.exec(), release.folder.join("app.toml"));
        let mut args: Vec<OsString> = vec!["--manifest".into(), manifest.into()];
        args.extend(["--instance".into(), id.clone().into()]);
        args.extend(["--run-dir".into(), settings.run_dir.clone().into()]);
        args.extend(["--node".into(), settings.node.clone().into()]);
        if let Some(keyspace) = spawn.keyspace {
            args.extend(["--keyspace".into(), keyspace.to_string().into()]);
        }
        let mut options = launch::options(self.users, &release.manifest);
        if spawn.alone {
            options.environment.push(("MORPH_ALONE", "1".to_owned()));
        }
        let verification = settings.switches.verification.to_string();
        options.environment.push((VARIABLE, verification));
        let log = crate::log::path(&settings.state_dir, app);
        let log_since = crate::log::length(&log);
        let lock = lock_file(settings, app, &id);
        let failed = |path: &Path, error: std::io::Error| {
            format!("could not be started: {}: {error}", path.display())
        };
        if let Some(credentials) = options.credentials {
            // In a folder where it may make none.
            let made = credentials.make_file(&lock);
            made.map_err(|error| failed(&lock, error))?;
        }
        let process = Process::spawn_with(&options, &exec, &args, &log).map_err(|error| {
            let _ = std::fs::remove_file(&lock);
            let why = cannot_run(&exec, &error);
            // A program that cannot be run logs nothing. morphd's own log has the reason, too, should this line be lost.
            let _ = crate::log::append(&log, &format!("morphd: {app}@{version}: {why}"));
            why
        })?;
        let pid = process.pid();
        tracing::info!(app, release = %version, instance = id, pid, "started");
        self.add(id, app, process, log_since, post);
        Ok(pid)
    }

    fn add(
        &mut self,
        id: InstanceId,
        app: &str,
        process: Process,
        log_since: u64,
        post: &mpsc::Sender<Event>,
    ) {
        let process = Arc::new(process);
        let (watched, post, ended) = (Arc::clone(&process), post.clone(), id.clone());
        tokio::spawn(async move {
            let ending = watched.wait().await;
            let _ = post.send(Event::InstanceEnded(ended, ending)).await;
        });
        let app = app.to_owned();
        self.all.insert(
            id,
            Child {
                app,
                process,
                log_since,
            },
        );
    }

    /// Takes hold of every instance whose lock file is held.
    pub(super) fn adopt(
        &mut self,
        settings: &Settings,
        post: &mpsc::Sender<Event>,
    ) -> Vec<FoundInstance> {
        let mut found = Vec::new();
        let Ok(entries) = std::fs::read_dir(settings.run("instances")) else {
            return found;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            match lock::inspect(&path) {
                Ok(LockState::Held(holder)) => found.extend(self.adopt_one(&path, &holder, post)),
                Ok(LockState::Free) => {
                    self.note_marked(&path);
                    let _ = std::fs::remove_file(&path);
                }
                Ok(LockState::Unnamed) => {
                    tracing::warn!(file = %path.display(), "a lock is held by a process that it does not name");
                }
                Err(error) => {
                    tracing::warn!(file = %path.display(), %error, "a lock cannot be read");
                }
            }
        }
        found
    }

    fn adopt_one(
        &mut self,
        path: &Path,
        holder: &Holder,
        post: &mpsc::Sender<Event>,
    ) -> Option<FoundInstance> {
        let process = Process::adopt(holder).map_err(|error| error.to_string());
        let version = holder.release.parse::<Version>();
        let version = version.map_err(|error| error.to_string());
        match process.and_then(|process| Ok((process, version?))) {
            Ok((process, release)) => {
                let (app, instance, pid) = (&holder.app, holder.instance.clone(), holder.pid);
                tracing::info!(app, instance, %release, pid, "adopted");
                self.add(instance.clone(), app, process, 0, post);
                Some(FoundInstance {
                    instance,
                    app: app.clone(),
                    release,
                    pid,
                })
            }
            Err(error) => {
                tracing::warn!(file = %path.display(), error, "an instance cannot be adopted");
                None
            }
        }
    }

    /// Forgets a child that has ended, and puts into words how.
    pub(super) fn ended(&mut self, id: &str, ending: Ending, settings: &Settings) -> String {
        let Some(child) = self.all.remove(id) else {
            return ending.to_string();
        };
        let lock = lock_file(settings, &child.app, id);
        self.note_marked(&lock);
        // An instance that ended by itself has done so. The name was its own, and no other instance gets it.
        let _ = std::fs::remove_file(lock);
        let log = crate::log::path(&settings.state_dir, &child.app);
        match crate::log::last_message(&log, child.log_since, ending.panicked()) {
            Some(words) if ending != Ending::Killed(9) => format!("{ending}: {words}"),
            Some(_) | None => ending.to_string(),
        }
    }

    /// Keeps the event that a dead instance was handling by its lock file. The app writes that file, so the name in it counts
    /// only where it is the file's.
    fn note_marked(&mut self, lock: &Path) {
        let file = lock.file_name().unwrap_or_default().to_string_lossy();
        let is_its = |(instance, _): &(InstanceId, Seq)| file.ends_with(&format!("-{instance}"));
        if let Some(marked) = lock::marked_event(lock).filter(is_its) {
            self.marked.push_back(marked);
            if self.marked.len() > MARKED {
                self.marked.pop_front();
            }
        }
    }

    /// Event that a dead instance was handling, [`Seq::ZERO`] for none; absent where it left no word.
    pub(super) fn marked_event(&self, instance: &str) -> Option<Seq> {
        let mut marked = self.marked.iter();
        let (_, event) = marked.find(|(died, _)| died == instance)?;
        Some(*event)
    }

    /// Ends an instance: told first, then SIGTERM, then SIGKILL.
    pub(super) fn end(&self, id: &str, proxy: Proxy) {
        let Some(child) = self.all.get(id) else {
            return;
        };
        let (app, process, id) = (child.app.clone(), Arc::clone(&child.process), id.to_owned());
        tracing::info!(app, instance = id, pid = process.pid(), "ending");
        tokio::spawn(async move { end_gently(&proxy, &app, &id, &process).await });
    }

    pub(super) fn kill(&self, id: &str) {
        if let Some(child) = self.all.get(id) {
            child.process.signal(Signal::KILL);
        }
    }

    pub(super) fn prioritize(&self, id: &str, first: bool) {
        let priority = match first {
            true => Priority::RealTime,
            false => Priority::Normal,
        };
        if let Some(child) = self.all.get(id) {
            priority::set(&child.process, priority);
        }
    }

    pub(super) fn cpu_time(&self, id: &str) -> Option<CpuTime> {
        self.all.get(id)?.process.cpu_time()
    }

    /// Ends all of them at once, and waits for that.
    pub(super) async fn end_all(self, proxy: &Proxy) {
        let mut ends = tokio::task::JoinSet::new();
        for (id, child) in self.all {
            let proxy = proxy.clone();
            ends.spawn(async move { end_gently(&proxy, &child.app, &id, &child.process).await });
        }
        while ends.join_next().await.is_some() {}
    }
}

/// Says why an executable was not started.
fn cannot_run(exec: &Path, error: &std::io::Error) -> String {
    let more = match error.kind() {
        std::io::ErrorKind::NotFound if exec.exists() => {
            " (the file is there; its interpreter or loader is not)"
        }
        _ if error.raw_os_error() == Some(libc::ENOEXEC) => {
            " (it is neither a program for this machine nor a script that begins with #!)"
        }
        _ => "",
    };
    format!("cannot run {}: {error}{more}", exec.display())
}

fn lock_file(settings: &Settings, app: &str, id: &str) -> std::path::PathBuf {
    settings.run("instances").join(format!("{app}-{id}"))
}

/// Tells an instance to end, then sends SIGTERM, then SIGKILL; returns when it is gone.
async fn end_gently(proxy: &Proxy, app: &str, id: &str, process: &Process) {
    // An instance without a session cannot be told; the signals are for it.
    let stop = instruction::Instruction::Stop(Stop {});
    let told = proxy.instruct(app, id, stop).await.is_ok();
    if told && process.ended_within(TO_TERM).await {
        return;
    }
    process.signal(Signal::TERM);
    if process.ended_within(TO_KILL).await {
        return;
    }
    process.signal(Signal::KILL);
    process.ended().await;
}
