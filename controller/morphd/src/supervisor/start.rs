//! From nothing, or from what another morphd left, to a running supervisor.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use morph_api::lock::{Holder, Lock, LockError};
use morph_api::manifest::Manifest;
use morph_store::Client;
use semver::Version;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::calls::Calls;
use super::children::Children;
use super::clients::Clients;
use super::daemons::{self, Daemons};
use super::event::{Event, present};
use super::observe::observe;
use super::{INBOX, Supervisor};
use crate::bundle::{self, Bundle};
use crate::children::AppUsers;
use crate::config::Settings;
use crate::launch::{self, DescribeError};
use crate::machine::call::{NewPrimary, StoreView};
use crate::machine::daemon::DaemonName;
use crate::machine::liveness::Watch;
use crate::machine::record::{APPS, EVENTS, PIPELINE, RELEASES, ReleaseRow, UPGRADES, Write};
use crate::machine::{Node, NodeConfig, Observed, Records as Found, Snapshot};
use crate::machine::{first_apps, first_row, pipeline, query, staged};
use crate::process::{Ending, Process};
use crate::proxy::Proxy;
use crate::records::{self, Records};
use crate::release::{self, Release};

/// Time for a daemon to get ready: a large store is read, or verified after a crash, before it serves.
const READY: Duration = Duration::from_secs(150);
/// Between two messages to whoever waits for that.
const STILL: Duration = Duration::from_secs(10);

/// Starts or adopts everything. An error ends what was started.
pub async fn start(settings: Settings) -> anyhow::Result<Supervisor> {
    make_folders(&settings)?;
    let lock = take_lock(&settings)?;
    let users = settings
        .children
        .prepare(&settings.state_dir, &settings.run_dir)?;
    if !settings.children.real_time() {
        crate::realtime::switch_off();
    }
    let settings = Arc::new(settings);
    let mut started = Vec::new();
    let ready = start_daemons(&settings, &mut started).await;
    let ready = match ready {
        Ok(ready) => ready,
        Err(error) => return Err(give_up(error, &started).await),
    };
    let config = NodeConfig {
        node: settings.node.clone(),
        probation: settings.probation,
    };
    let calls = Calls::new(ready.store, ready.proxy);
    let mut supervisor = Supervisor {
        calls,
        inbox: ready.inbox,
        node: Node::new(config, present()),
        watch: Watch::default(),
        children: Children::new(users),
        daemons: Daemons::new(ready.store_process, ready.proxy_process, &ready.post),
        clients: Clients::default(),
        post: ready.post,
        logs_at: Instant::now(),
        settings,
        _lock: lock,
    };
    match supervisor.begin(ready.snapshot).await {
        Ok(()) => Ok(supervisor),
        Err(error) => Err(give_up(error, &started).await),
    }
}

/// Both daemons, ready, and the first snapshot of the proxy.
struct Ready {
    store: Client,
    proxy: Proxy,
    store_process: Arc<Process>,
    proxy_process: Arc<Process>,
    post: mpsc::Sender<Event>,
    inbox: mpsc::Receiver<Event>,
    snapshot: Snapshot,
}

/// The store, then the proxy; `started` takes what was not there before.
async fn start_daemons(
    settings: &Arc<Settings>,
    started: &mut Vec<Arc<Process>>,
) -> anyhow::Result<Ready> {
    let store = Client::new(settings.run("store.sock"));
    let (name, ready) = (DaemonName::Store, store.ready(READY));
    let (store_process, new) = daemons::find_or_start(name, settings).await?;
    started.extend(new.then(|| Arc::clone(&store_process)));
    get_ready(name, settings, &store_process, ready).await?;
    let name = DaemonName::Proxy;
    let (proxy_process, new) = daemons::find_or_start(name, settings).await?;
    started.extend(new.then(|| Arc::clone(&proxy_process)));
    let proxy = Proxy::new(&settings.run("proxy.sock"));
    let (post, mut inbox) = mpsc::channel(INBOX);
    tokio::spawn(observe(proxy.clone(), post.clone()));
    let snapshot = first_snapshot(&mut inbox);
    let snapshot = get_ready(name, settings, &proxy_process, snapshot).await?;
    Ok(Ready {
        store,
        proxy,
        store_process,
        proxy_process,
        post,
        inbox,
        snapshot,
    })
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

/// Waits for a daemon, and no longer than it lives.
async fn get_ready<T, E: std::fmt::Display>(
    name: DaemonName,
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
            let words = daemons::last_words(name, settings, Ending::Unknown);
            bail!("{executable} ended at its start{words}")
        }
        () = told => bail!("{executable} is not ready after {} s", READY.as_secs()),
    }
}

/// Ends the daemons again that a failed start would leave behind without a morphd.
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
        let records = self.calls.records();
        records.take_over(&self.settings.node).await?;
        let mut found = self.load(&records).await?;
        let empty = found.apps.is_empty();
        if empty {
            self.first_records(&records, &mut found).await?;
        } else if !self.settings.apps.is_empty() {
            tracing::info!("--app is for an empty store; this one has its apps already");
        }
        self.node.load(found);
        let state = self.node.state();
        if let Err(why) = release::check_coexistence(&query::present(state, "")) {
            tracing::error!("the recorded apps cannot run together: {why}");
        }
        for switch in snapshot.switches.keys() {
            tracing::info!(dpid = format!("{switch:016x}"), "switch is connected");
        }
        let configuration = query::configuration(state);
        let configured = self.calls.proxy().configure(configuration).await;
        configured
            .map_err(|status| anyhow!("morph-proxy refuses the apps: {}", status.message()))?;
        let instances = self.children.adopt(&self.settings, &self.post);
        let outputs = self.node.adopt(instances, snapshot, present());
        for output in outputs {
            if let Some(input) = self.carry_out(output) {
                self.feed(input);
            }
        }
        self.watch
            .follow(&self.node.state().instances, Instant::now());
        if !empty {
            // Beside everything else: what runs is looked after first.
            self.copy_later(bundle::folders_in(&self.settings.bundles));
        }
        Ok(())
    }

    async fn load(&self, records: &Records) -> anyhow::Result<Found> {
        let bundles = self.settings.state_dir.join("bundles");
        let mut releases = Vec::new();
        for (key, row) in readable::<ReleaseRow>(records, RELEASES).await? {
            let folder = bundles.join(&row.folder);
            match Manifest::read(&folder.join("app.toml")) {
                Ok(manifest) => releases.push(Release {
                    row,
                    manifest,
                    folder,
                }),
                Err(error) => {
                    tracing::error!(release = key, %error, "its bundle is damaged; it cannot be started");
                }
            }
        }
        let status = records.status().await;
        Ok(Found {
            releases,
            apps: readable(records, APPS).await?,
            pipeline: readable(records, PIPELINE).await?,
            upgrades: readable(records, UPGRADES).await?,
            events: readable(records, EVENTS).await?,
            store: StoreView {
                checkpoints: status.checkpoints,
                keyspaces: status.keyspaces,
            },
        })
    }

    /// Fills an empty store: stages the bundles that are found beside morphd, and records the first apps.
    async fn first_records(&self, records: &Records, found: &mut Found) -> anyhow::Result<()> {
        let known = digests(&found.releases);
        for folder in bundle::folders_in(&self.settings.bundles) {
            let bundles = self.settings.state_dir.join("bundles");
            let copied = copy(self.children.users(), folder, bundles, known.clone()).await;
            if let Some(release) = copied {
                write_release(records, &release).await?;
                found.releases.push(release);
            }
        }
        // The choice is the machine's; it is made on the releases as they are.
        let mut node = Node::new(self.node.state().config.clone(), present());
        node.load(Found {
            releases: found.releases.clone(),
            ..Found::default()
        });
        let named = self.settings.apps.iter();
        let named: Vec<(String, Option<Version>)> = named
            .map(|app| (app.name.clone(), app.version.clone()))
            .collect();
        let place = self.settings.bundles.display().to_string();
        let chosen = first_apps(node.state(), &named, &place).map_err(|why| anyhow!(why))?;
        for (release, range) in chosen {
            let (manifest, row) = (&release.manifest, first_row(&release));
            let writes = [
                Write::new(APPS, &manifest.name, &row),
                pipeline::write(&manifest.name, Some(range)),
                release_record(&release),
            ];
            // The app's record, its release as permanent and its primary, at once.
            let primary = records::create(&NewPrimary::of(manifest));
            records.write(&writes, &primary).await?;
            found.apps.push((manifest.name.clone(), row));
            found.pipeline.push((manifest.name.clone(), range));
            found.releases.retain(|other| {
                (&other.manifest.name, &other.manifest.version)
                    != (&manifest.name, &manifest.version)
            });
            found.releases.push(release);
        }
        Ok(())
    }

    /// Copies bundles one after the other, while everything else runs.
    fn copy_later(&self, folders: Vec<PathBuf>) {
        let releases: Vec<Release> = self.node.state().releases.iter().cloned().collect();
        let (known, post) = (digests(&releases), self.post.clone());
        let bundles = self.settings.state_dir.join("bundles");
        let users = self.children.users();
        tokio::spawn(async move {
            for folder in folders {
                let copied = copy(users, folder, bundles.clone(), known.clone()).await;
                if let Some(release) = copied {
                    let _ = post.send(Event::Copied(Box::new(release))).await;
                }
            }
        });
    }
}

/// All rows of a table. A row that cannot be read is an error: a later morphd may have written it, and what it says would be
/// lost.
async fn readable<T: DeserializeOwned>(
    records: &Records,
    table: &'static str,
) -> anyhow::Result<Vec<(String, T)>> {
    let mut rows = Vec::new();
    for (key, row) in records.load::<T>(table).await? {
        let row = row.with_context(|| {
            format!(
                "the record {key} in table {table} cannot be read by morphd {}: if a later version has written it, start \
                 that version and let its upgrades end; else restore the store from a backup (`morphctl store restore`)",
                env!("CARGO_PKG_VERSION")
            )
        })?;
        rows.push((key, row));
    }
    Ok(rows)
}

fn release_record(release: &Release) -> Write {
    let (app, version) = (&release.manifest.name, &release.manifest.version);
    Write::new(RELEASES, format!("{app}/{version}"), &release.row)
}

async fn write_release(records: &Records, release: &Release) -> anyhow::Result<()> {
    records.write(&[release_record(release)], &[]).await?;
    let (app, version) = (&release.manifest.name, &release.manifest.version);
    tracing::info!(app, %version, digest = release.row.digest, "staged");
    Ok(())
}

type Digests = BTreeMap<(String, Version), String>;

fn digests(releases: &[Release]) -> Digests {
    let digest = |release: &Release| {
        let manifest = &release.manifest;
        let name = (manifest.name.clone(), manifest.version.clone());
        (name, release.row.digest.clone())
    };
    releases.iter().map(digest).collect()
}

/// Copies a bundle unless it is known. A bundle that cannot be used is a warning: the others can.
async fn copy(
    users: Option<AppUsers>,
    folder: PathBuf,
    bundles: PathBuf,
    known: Digests,
) -> Option<Release> {
    let unix_ms = present().unix_ms;
    let work = tokio::task::spawn_blocking(move || {
        copy_unless_known(users, &folder, &bundles, &known, unix_ms)
    });
    match work.await {
        Ok(Ok(release)) => release,
        Ok(Err(why)) => {
            tracing::warn!("{why}");
            None
        }
        Err(_) => None,
    }
}

fn copy_unless_known(
    users: Option<AppUsers>,
    folder: &Path,
    bundles: &Path,
    known: &Digests,
    unix_ms: u64,
) -> Result<Option<Release>, String> {
    let mut bundle =
        Bundle::examine(folder).map_err(|error| format!("this bundle is not used: {error}"))?;
    let (name, version) = (&bundle.manifest.name, &bundle.manifest.version);
    match known.get(&(name.clone(), version.clone())) {
        Some(digest) if *digest == bundle.digest => Ok(None),
        Some(digest) => Err(format!(
            "{}: {name}@{version} is known with another digest ({}): the known one is used",
            folder.display(),
            &digest[..12.min(digest.len())]
        )),
        None => {
            let draft = bundle.draft(bundles).map_err(|error| error.to_string())?;
            match launch::describe(users, &bundle, draft.folder()) {
                Ok(description) => bundle.description = Some(description),
                Err(error @ DescribeError::Differs(_)) => {
                    return Err(format!(
                        "{}: this bundle is not used: {error}",
                        folder.display()
                    ));
                }
                // Nobody is there to say that it is wanted all the same, and what it lacks shows when it is started.
                Err(error @ DescribeError::Silent(_)) => {
                    tracing::warn!("{}: this bundle is not checked: {error}", folder.display());
                }
            }
            let installed = draft.keep().map_err(|error| error.to_string())?;
            Ok(Some(staged(bundle, installed, unix_ms)))
        }
    }
}
