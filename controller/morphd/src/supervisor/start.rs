//! From nothing, or from what another morphd left, to a running supervisor.

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use morph_store::{Client, op};
use tokio::sync::mpsc;

use super::observe::{Observed, Snapshot, observe};
use super::parts::{self, Part, PartName};
use super::quarantine::Aside;
use super::requests::release_write;
use super::{Event, Feed, INBOX, Managed, Supervisor};
use crate::app;
use crate::bundle;
use crate::config::Settings;
use crate::counts::Counts;
use crate::process::{Ending, Process};
use crate::proxy::Proxy;
use crate::records::{
    APPS, AppRow, EVENTS, RELEASES, Records, ReleaseRow, ReleaseStatus, UPGRADES, Write,
};
use crate::release::{self, Release, Releases};
use morph_api::lock::{Holder, Lock, LockError};

/// For a part to get ready: a large store is read, or verified after a crash, before it serves.
const READY: Duration = Duration::from_secs(150);
/// Whoever waits for one is told so often.
const STILL: Duration = Duration::from_secs(10);

/// Starts or adopts everything. An error ends what was started.
pub async fn start(settings: Settings) -> anyhow::Result<Supervisor> {
    make_folders(&settings)?;
    let lock = take_lock(&settings)?;
    let owners = settings
        .children
        .prepare(&settings.state_dir, &settings.run_dir)?;
    if !settings.children.real_time() {
        crate::realtime::switch_off();
    }
    let settings = Arc::new(settings);
    let store = Client::new(settings.run("store.sock"));
    let mut started = Vec::new();
    let result = start_parts(&settings, &store, &mut started).await;
    let (store_process, proxy_process, proxy, post, inbox, snapshot) = match result {
        Ok(parts) => parts,
        Err(error) => return Err(give_up(error, &started).await),
    };
    let records = Arc::new(Records::new(store.clone()));
    let mut supervisor = Supervisor {
        store,
        records,
        proxy,
        inbox,
        post,
        releases: Releases::default(),
        apps: BTreeMap::new(),
        instances: BTreeMap::new(),
        together: BTreeMap::new(),
        aside: Aside::default(),
        store_part: Part::new(PartName::Store, Arc::clone(&store_process)),
        proxy_part: Part::new(PartName::Proxy, Arc::clone(&proxy_process)),
        incarnation: Some(snapshot.incarnation),
        feeds: VecDeque::new(),
        followers: Vec::new(),
        counts: Counts::default(),
        last_id: 0,
        bound_logs_at: Instant::now(),
        settings,
        owners,
        _lock: lock,
    };
    supervisor.watch_part(PartName::Store, &store_process);
    supervisor.watch_part(PartName::Proxy, &proxy_process);
    if let Err(error) = supervisor.begin(snapshot).await {
        return Err(give_up(error, &started).await);
    }
    Ok(supervisor)
}

type Parts = (
    Arc<Process>,
    Arc<Process>,
    Proxy,
    mpsc::Sender<Event>,
    mpsc::Receiver<Event>,
    Snapshot,
);

/// The store, then the proxy; `started` takes what was not there before.
async fn start_parts(
    settings: &Arc<Settings>,
    store: &Client,
    started: &mut Vec<Arc<Process>>,
) -> anyhow::Result<Parts> {
    let (store_process, new) = parts::find_or_start(PartName::Store, settings).await?;
    started.extend(new.then(|| Arc::clone(&store_process)));
    get_ready(
        PartName::Store,
        settings,
        &store_process,
        store.ready(READY),
    )
    .await?;
    let (proxy_process, new) = parts::find_or_start(PartName::Proxy, settings).await?;
    started.extend(new.then(|| Arc::clone(&proxy_process)));
    let proxy = Proxy::new(&settings.run("proxy.sock"));
    let (post, mut inbox) = mpsc::channel(INBOX);
    tokio::spawn(observe(proxy.clone(), post.clone()));
    let snapshot = first_snapshot(&mut inbox);
    let snapshot = get_ready(PartName::Proxy, settings, &proxy_process, snapshot).await?;
    Ok((store_process, proxy_process, proxy, post, inbox, snapshot))
}

fn make_folders(settings: &Settings) -> anyhow::Result<()> {
    let make = |path: &Path, mode: u32| -> anyhow::Result<()> {
        let missing = !path.exists();
        std::fs::create_dir_all(path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        if missing {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(path, mode)
                .with_context(|| format!("cannot set the mode of {}", path.display()))?;
        }
        Ok(())
    };
    make(&settings.state_dir, 0o700)?;
    make(&settings.run_dir, 0o755)?;
    for folder in ["store", "bundles", "log"] {
        make(&settings.state_dir.join(folder), 0o700)?;
    }
    make(&settings.run("instances"), 0o700)?;
    // Found out now, and said plainly, instead of by a child later.
    let probe = settings.state_dir.join(".writable");
    std::fs::write(&probe, "")
        .with_context(|| format!("cannot write in {}", settings.state_dir.display()))?;
    std::fs::remove_file(&probe)
        .with_context(|| format!("cannot write in {}", settings.state_dir.display()))
}

fn take_lock(settings: &Settings) -> anyhow::Result<Lock> {
    let path = settings.run("morphd.lock");
    match Lock::take(&path, &Holder::current()) {
        Ok(lock) => Ok(lock),
        Err(LockError::Held(pid)) => {
            let pid = pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
            bail!(
                "another morphd{pid} already runs on {}: end it first, or choose another --run-dir",
                settings.run_dir.display()
            )
        }
        Err(LockError::File(error)) => {
            Err(anyhow!(error).context(format!("cannot lock {}", path.display())))
        }
    }
}

/// Waits for a part, and no longer than it lives.
async fn get_ready<T, E: std::fmt::Display>(
    name: PartName,
    settings: &Settings,
    process: &Process,
    ready: impl Future<Output = Result<T, E>>,
) -> anyhow::Result<T> {
    let executable = name.executable();
    let told = async {
        for waited in (STILL.as_secs()..READY.as_secs()).step_by(STILL.as_secs() as usize) {
            tokio::time::sleep(STILL).await;
            tracing::info!("{executable} has been starting for {waited} s");
        }
        tokio::time::sleep(STILL).await;
    };
    tokio::select! {
        ready = ready => ready.map_err(|error| anyhow!("{executable} does not get ready: {error}")),
        () = process.ended() => {
            bail!("{executable} ended at its start{}", parts::last_words(name, settings, Ending::Unknown))
        }
        () = told => bail!("{executable} is not ready after {} s", READY.as_secs()),
    }
}

/// Ends the parts again that a failed start would leave behind without a morphd.
async fn give_up(error: anyhow::Error, started: &[Arc<Process>]) -> anyhow::Error {
    for process in started.iter().rev() {
        process.signal(rustix::process::Signal::TERM);
        if !process.ended_within(Duration::from_secs(2)).await {
            process.signal(rustix::process::Signal::KILL);
        }
    }
    error
}

async fn first_snapshot(inbox: &mut mpsc::Receiver<Event>) -> Result<Snapshot, String> {
    while let Some(event) = inbox.recv().await {
        if let Event::Observed(Observed::Snapshot(snapshot)) = event {
            return Ok(snapshot);
        }
    }
    Err("nobody observes it".into())
}

impl Supervisor {
    async fn begin(&mut self, snapshot: Snapshot) -> anyhow::Result<()> {
        bundle::remove_drafts(&self.settings.state_dir.join("bundles"));
        self.records.take_over(&self.settings.node).await?;
        self.load().await?;
        let empty = self.apps.is_empty();
        if empty {
            self.install_found().await?;
            self.choose_first_apps().await?;
        } else if !self.settings.apps.is_empty() {
            tracing::info!("--app is for an empty store; this one has its apps already");
        }
        if let Err(why) = release::check_coexistence(&self.present("")) {
            tracing::error!("the recorded apps do not fit together: {why}");
        }
        for switch in &snapshot.switches {
            tracing::info!(dpid = format!("{switch:016x}"), "switch is connected");
        }
        self.adopt_instances();
        self.see(&snapshot);
        let configured = self.proxy.configure(self.configuration()).await;
        configured
            .map_err(|status| anyhow!("morph-proxy refuses the apps: {}", status.message()))?;
        self.recover_apps();
        if !empty {
            // Beside everything else: what runs is looked after first.
            self.install_later(bundle::folders_in(&self.settings.bundles));
        }
        Ok(())
    }

    async fn load(&mut self) -> anyhow::Result<()> {
        let bundles = self.settings.state_dir.join("bundles");
        for (key, row) in self.records.load::<ReleaseRow>(RELEASES).await? {
            let folder = bundles.join(&row.folder);
            match morph_api::manifest::Manifest::read(&folder.join("app.toml")) {
                Ok(manifest) => self.releases.insert(Release {
                    row,
                    manifest,
                    folder,
                }),
                Err(error) => {
                    tracing::error!(release = key, %error, "its bundle is damaged; it cannot be started")
                }
            }
        }
        let apps = self.records.load::<AppRow>(APPS).await?;
        let upgrades = self.records.load(UPGRADES).await?;
        self.remember(apps, upgrades);
        self.aside = Aside::new(self.records.load(EVENTS).await?);
        // A fence whose record was lost counts as well.
        for checkpoint in self.records.status().await.checkpoints {
            if let Some(managed) = self
                .apps
                .get_mut(&checkpoint.app)
                .filter(|_| checkpoint.node == self.settings.node)
            {
                managed.row.epoch = managed.row.epoch.max(checkpoint.epoch);
            }
        }
        Ok(())
    }

    /// Starts an app that stands still: its record first, then the pipeline, then its instance.
    pub(super) fn begin_app(
        &mut self,
        name: &str,
        row: AppRow,
        then: impl FnOnce(&mut Supervisor, Result<(), String>) + Send + 'static,
    ) {
        let Some(release) = self.releases.get(name, &row.release) else {
            return then(
                self,
                Err(format!("{name}@{} is not installed", row.release)),
            );
        };
        let permanent = as_permanent(release);
        let mut writes = vec![Write::new(APPS, name, &row), release_write(&permanent)];
        let displaced = self
            .apps
            .get(name)
            .map(|managed| managed.row.release.clone());
        let displaced = displaced.filter(|version| *version != row.release);
        if let Some(old) = displaced
            .as_ref()
            .and_then(|version| self.releases.get(name, version))
        {
            let old_row = ReleaseRow {
                status: ReleaseStatus::Old,
                ..old.row.clone()
            };
            writes.push(Write::new(
                RELEASES,
                format!("{name}/{}", old.manifest.version),
                &old_row,
            ));
        }
        let (records, proxy) = (Arc::clone(&self.records), self.proxy.clone());
        let (app, schema) = (name.to_owned(), row_schema(&permanent));
        let call = async move {
            let has_primary = records
                .status()
                .await
                .keyspaces
                .iter()
                .any(|keyspace| keyspace.app == app && keyspace.primary);
            let keyspace: Vec<_> = (!has_primary)
                .then(|| op::create_primary(&app, 1, schema))
                .into_iter()
                .collect();
            records
                .write(&writes, &keyspace)
                .await
                .map_err(|refusal| refusal.to_string())
        };
        let name = name.to_owned();
        self.after(call, move |supervisor, result| {
            if let Err(why) = result {
                return then(supervisor, Err(why));
            }
            supervisor.releases.insert(permanent);
            if let Some(old) = displaced {
                supervisor
                    .releases
                    .set_status(&name, &old, ReleaseStatus::Old);
            }
            let managed = supervisor
                .apps
                .entry(name.clone())
                .or_insert_with(|| Managed::new(row.clone()));
            managed.row = row;
            let configuration = supervisor.configuration();
            supervisor.after(
                async move { proxy.configure(configuration).await },
                move |supervisor, result| {
                    // Refused or away: it is configured again when the proxy speaks again.
                    if let Err(status) = &result {
                        tracing::error!(
                            error = status.message(),
                            "the proxy does not take the present apps"
                        );
                    }
                    supervisor.feed(Feed::App(name, app::Input::Start));
                    then(supervisor, Ok(()));
                },
            );
        });
    }
}

fn row_schema(release: &Release) -> u32 {
    release.manifest.schema
}

pub(super) fn as_permanent(release: &Release) -> Release {
    let mut permanent = release.clone();
    permanent.row.status = ReleaseStatus::Permanent;
    permanent
}
