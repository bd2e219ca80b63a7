//! App instances as processes and sessions: started, ended, found dead.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use morph_api::manifest::Manifest;
use morph_api::supervisor::{Ping, Stop, instruction};
use rustix::process::{Resource, Signal};
use semver::Version;
use tonic::Code;

use super::{Event, Feed, Managed, Supervisor};
use crate::app::{self, InstanceId};
use crate::priority::{self, Priority};
use crate::process::{Ending, Process, SpawnOptions, machine_memory};
use crate::proxy::Proxy;
use crate::pulse::{Beat, Pulse, Question};
use crate::upgrade::{self, Side};

/// From `Stop` to SIGTERM.
const TO_TERM: Duration = Duration::from_secs(1);
/// From SIGTERM to SIGKILL.
const TO_KILL: Duration = Duration::from_secs(2);
/// Between the end of a session and that of its process: what it says last is worth this wait.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// A process of an app.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) app: String,
    pub(super) release: Version,
    pub(super) process: Arc<Process>,
    /// How long the app's log was when it was started.
    log_since: u64,
    /// It has a session with the proxy.
    pub(super) attached: bool,
    /// It has said that it is ready.
    pub(super) ready: bool,
    /// What it said with that.
    pub(super) said: String,
    /// It was resumed last.
    pub(super) live: bool,
    /// It is being ended: its end is no failure.
    pub(super) ending: bool,
    /// Whether it answers.
    pub(super) pulse: Pulse,
}

impl Instance {
    /// It should answer. One that is not ready yet should come to a session soon, and answers while it gets ready.
    fn is_asked(&self) -> bool {
        !self.ending && (self.attached || !self.ready)
    }
}

impl Supervisor {
    /// An id that no other instance had: time, and later than the last one.
    fn next_instance_id(&mut self) -> InstanceId {
        self.last_id = super::unix_ms().max(self.last_id + 1);
        format!("{:x}", self.last_id)
    }

    /// Starts an instance of a release; `alone`: nobody serves the app meanwhile. The message of a failure is for people.
    pub(super) fn spawn_instance(
        &mut self,
        app: &str,
        version: &Version,
        keyspace: Option<u32>,
        alone: bool,
    ) -> Result<InstanceId, String> {
        let release = self.releases.get(app, version);
        let release =
            release.ok_or_else(|| format!("{app}@{version} is not installed any longer"))?;
        let (exec, folder) = (release.exec(), release.folder.clone());
        let terms = self.terms(&release.manifest, alone);
        let id = self.next_instance_id();
        let settings = &self.settings;
        let mut args: Vec<OsString> = vec!["--manifest".into(), folder.join("app.toml").into()];
        args.extend(["--instance".into(), id.clone().into()]);
        args.extend(["--run-dir".into(), settings.run_dir.clone().into()]);
        args.extend(["--node".into(), settings.node.clone().into()]);
        if let Some(keyspace) = keyspace {
            args.extend(["--keyspace".into(), keyspace.to_string().into()]);
        }
        let log = crate::log::path(&settings.state_dir, app);
        let log_since = crate::log::length(&log);
        let lock = settings.run("instances").join(format!("{app}-{id}"));
        if let Some(ids) = terms.credentials {
            // In a folder where it may make none.
            ids.make_file(&lock)
                .map_err(|error| format!("could not be started: {}: {error}", lock.display()))?;
        }
        let process = Process::spawn_with(&terms, &exec, &args, &log).map_err(|error| {
            let _ = std::fs::remove_file(&lock);
            format!("could not be started: {}: {error}", exec.display())
        })?;
        tracing::info!(app, release = %version, instance = id, pid = process.pid(), "started");
        self.add_instance(id.clone(), app, version, Arc::new(process));
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.log_since = log_since;
        }
        Ok(id)
    }

    /// As whom an instance runs, and what it may have.
    fn terms(&self, manifest: &Manifest, alone: bool) -> SpawnOptions {
        let user = self.owners.map(|owners| owners.of(manifest.id));
        let (memory, more) = (manifest.memory_mib.map(|mib| mib << 20), &manifest.limits);
        let memory = memory.or_else(|| Some(machine_memory()? / 2));
        let mut limits = vec![
            (Resource::Core, more.core_mib << 20),
            (Resource::Nofile, more.open_files.into()),
        ];
        // One that wants more memory aborts, and the machine has enough for all others.
        limits.extend(memory.map(|bytes| (Resource::Data, bytes)));
        // It counts all that a user has: where the user is ours too, that is not the app's.
        limits.extend(user.map(|_| (Resource::Nproc, more.processes.into())));
        SpawnOptions {
            credentials: user,
            limits,
            environment: alone.then_some(("MORPH_ALONE", "1")).into_iter().collect(),
        }
    }

    /// Watches over a process, started or adopted.
    pub(super) fn add_instance(
        &mut self,
        id: InstanceId,
        app: &str,
        version: &Version,
        process: Arc<Process>,
    ) {
        let (watched, post, ended) = (Arc::clone(&process), self.post.clone(), id.clone());
        tokio::spawn(async move {
            let ending = watched.wait().await;
            let _ = post.send(Event::InstanceEnded(ended, ending)).await;
        });
        let instance = Instance {
            app: app.to_owned(),
            release: version.clone(),
            process,
            log_since: 0,
            attached: false,
            ready: false,
            said: String::new(),
            live: false,
            ending: false,
            pulse: Pulse::new(Instant::now()),
        };
        self.instances.insert(id, instance);
    }

    /// When an instance is to be asked next.
    pub(super) fn next_pulse(&self) -> Option<Instant> {
        let asked = self.instances.values().filter(|i| i.is_asked());
        asked.map(|instance| instance.pulse.next_deadline()).min()
    }

    /// Asks whoever is due whether it still answers. One that hangs is ended as if it had crashed.
    pub(super) fn feel_pulses(&mut self, now: Instant) {
        let mut due = Vec::new();
        for (id, instance) in &mut self.instances {
            if instance.is_asked() {
                let (process, ready) = (&instance.process, instance.ready);
                let beat = instance.pulse.beat(now, ready, || process.cpu_time());
                due.push((id.clone(), instance.app.clone(), ready, beat));
            }
        }
        for (id, app, ready, beat) in due {
            let why = match ready {
                true => "does not answer any longer",
                false => "is not ready, and does not answer",
            };
            match beat {
                Beat::Rest => {}
                Beat::Ask => self.ask(app, id),
                Beat::Hung => self.kill_instance(&id, why.into()),
            }
        }
    }

    fn ask(&self, app: String, id: InstanceId) {
        let (proxy, token) = (self.proxy.clone(), super::unix_ms());
        let call = async move {
            let ping = instruction::Instruction::Ping(Ping { token });
            let question = match proxy.tell(&app, &id, ping).await {
                Ok(()) => Question::HandedOver,
                Err(status) if status.code() == Code::Unavailable => Question::Lost,
                Err(_) => Question::NoSession,
            };
            (id, question)
        };
        self.after(call, |supervisor, (id, question)| {
            if let Some(instance) = supervisor.instances.get_mut(&id) {
                instance.pulse.asked(question, instance.ready);
            }
        });
    }

    /// Ends an instance: told first, then SIGTERM, then SIGKILL.
    pub(super) fn end_instance(&mut self, id: &str) {
        let Some(instance) = self.instances.get_mut(id) else {
            return;
        };
        if std::mem::replace(&mut instance.ending, true) {
            return;
        }
        let (app, process) = (instance.app.clone(), Arc::clone(&instance.process));
        let (proxy, id) = (self.proxy.clone(), id.to_owned());
        tracing::info!(app, instance = id, pid = process.pid(), "ending");
        tokio::spawn(async move { end_gently(&proxy, &app, &id, &process).await });
    }

    pub(super) fn instance_ended(&mut self, id: &str, ending: Ending) {
        let Some(instance) = self.instances.remove(id) else {
            return;
        };
        let app = instance.app.clone();
        // One that ended by itself has done so. The name was its own, and no other instance gets it.
        let _ = std::fs::remove_file(self.settings.run("instances").join(format!("{app}-{id}")));
        if instance.ending {
            tracing::info!(app, instance = id, "{ending}");
            return self.gone(&app, id, &ending.to_string());
        }
        let log = crate::log::path(&self.settings.state_dir, &app);
        let why = match crate::log::last_message(&log, instance.log_since, ending.panicked()) {
            Some(words) if ending != Ending::Killed(9) => format!("{ending}: {words}"),
            Some(_) | None => ending.to_string(),
        };
        tracing::warn!(app, instance = id, release = %instance.release, "{why}");
        self.note_death(&app, id, &instance.release, &why);
        self.gone(&app, id, &why);
    }

    /// Its session ended. Either its process ends too, and says why, or it is no use without one.
    pub(super) fn session_ended(&mut self, id: &str, reason: String) {
        let Some(instance) = self.instances.get_mut(id) else {
            return;
        };
        instance.attached = false;
        let was_live = std::mem::replace(&mut instance.live, false);
        if instance.ending {
            return;
        }
        let (process, app) = (Arc::clone(&instance.process), instance.app.clone());
        let yielded = |managed: &Managed| *managed.machine.state() == app::State::Yielded;
        let live_in_upgrade = was_live && self.apps.get(&app).is_some_and(yielded);
        // What a newcomer was told may have been lost with the session.
        let on_trial = live_in_upgrade || self.side_of(&app, id) == Some(Side::New);
        if was_live && !on_trial {
            // If it attaches again it is resumed: nobody is live meanwhile.
            self.feed(Feed::App(app, app::Input::SessionLost));
        }
        let id = id.to_owned();
        self.after(
            async move { process.ended_within(LAST_WORDS).await },
            move |supervisor, ended| {
                if !ended {
                    supervisor.lost_session(&id, on_trial, &reason);
                }
            },
        );
    }

    fn lost_session(&mut self, id: &str, on_trial: bool, reason: &str) {
        let Some(instance) = self.instances.get(id) else {
            return;
        };
        if instance.ending || instance.live {
            return;
        }
        // It may have attached again meanwhile. In an upgrade, where it is on trial, this is as a crash.
        if !instance.attached || on_trial {
            self.kill_instance(id, format!("lost its session: {reason}"));
        }
    }

    /// It is of no use any longer.
    fn kill_instance(&mut self, id: &str, why: String) {
        let Some(instance) = self.instances.get_mut(id) else {
            return;
        };
        instance.ending = true;
        instance.process.signal(Signal::KILL);
        let (app, pid) = (instance.app.clone(), instance.process.pid());
        let release = instance.release.clone();
        tracing::warn!(app, instance = id, pid, "{why}, and is killed");
        self.note_death(&app, id, &release, &why);
        self.gone(&app, id, &why);
    }

    /// Tells whoever owns the slot that an instance is gone.
    fn gone(&mut self, app: &str, id: &str, why: &str) {
        if let Some(side) = self.side_of(app, id) {
            let input = upgrade::Input::Gone(side, why.to_owned());
            self.feed(Feed::Upgrade(app.to_owned(), input));
        }
        if let Some(managed) = self.apps.get_mut(app) {
            managed.last_end = why.to_owned();
        }
        self.feed(Feed::App(app.to_owned(), app::Input::Gone(id.to_owned())));
    }

    /// Which part an instance has in its app's upgrade.
    pub(super) fn side_of(&self, app: &str, id: &str) -> Option<Side> {
        let running = self.apps.get(app)?.upgrade.as_ref()?;
        if running.new.as_deref() == Some(id) {
            return Some(Side::New);
        }
        (running.old.as_deref() == Some(id)).then_some(Side::Old)
    }

    /// Those that are ready go before morphd. While their app is upgraded that is the newcomer alone, from the first look
    /// in its probation on: until then the upgrade makes work, which the other apps shall not notice.
    pub(super) fn rank(&self, app: &str) {
        let managed = self.apps.get(app);
        let upgrade = managed.and_then(|managed| managed.upgrade.as_ref());
        let of = |instance: &&Instance| instance.app == app && instance.ready && !instance.ending;
        for instance in self.instances.values().filter(of) {
            let raised =
                upgrade.is_none_or(|running| instance.live && running.machine.is_looked_at());
            let priority = if raised {
                Priority::Raised
            } else {
                Priority::Normal
            };
            priority::set(&instance.process, priority);
        }
    }

    /// An instance that is attached and ready is of use to whoever owns the slot.
    pub(super) fn tell_ready(&mut self, id: &str) {
        let Some(instance) = self.instances.get(id) else {
            return;
        };
        if !(instance.attached && instance.ready) || instance.ending {
            return;
        }
        let (app, said) = (instance.app.clone(), instance.said.clone());
        self.rank(&app);
        if let Some(side) = self.side_of(&app, id) {
            self.feed(Feed::Upgrade(
                app.clone(),
                upgrade::Input::Ready(side, said),
            ));
        }
        self.feed(Feed::App(app, app::Input::Ready(id.to_owned())));
    }
}

/// Told first, then SIGTERM, then SIGKILL; returns when it is gone.
pub(super) async fn end_gently(proxy: &Proxy, app: &str, id: &str, process: &Process) {
    // One that has no session cannot be told; the signals are for it.
    let told = proxy
        .tell(app, id, instruction::Instruction::Stop(Stop {}))
        .await
        .is_ok();
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
