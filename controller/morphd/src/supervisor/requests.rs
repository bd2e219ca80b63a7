//! What people ask for through the management API: checked, refused with a reason, or begun.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use morph_api::check::Check;
use morph_api::management::{self, PlannedUpgrade, UpgradeStatus};
use semver::Version;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use super::looping::told;
use super::statuses::followed;
use super::{Feed, Managed, PartView, Supervisor};
use crate::app::{self, State};
use crate::bundle::Bundle;
use crate::counts::Counts;
use crate::records::{AppRow, Desired, RELEASES, ReleaseRow, ReleaseStatus, Write};
use crate::release::{self, Release};

/// The answer to a request.
pub type Reply<T> = oneshot::Sender<Result<T, Status>>;

/// What is asked of the supervisor.
pub enum Request {
    /// All apps.
    Apps(Reply<Vec<AppView>>),
    /// What there is and what was counted, for metrics.
    Figures(Reply<Figures>),
    /// Whether there is such an app.
    Known(String, Reply<()>),
    /// All releases, or those of one app.
    Releases(String, Reply<Vec<management::Release>>),
    /// Whether a bundle may be installed: false where it is known already.
    MayInstall(Bundle, Reply<bool>),
    /// Stages a bundle that has been copied.
    Stage(Bundle, PathBuf, Reply<management::Release>),
    /// Starts an app, in a version where one is named.
    Start(String, Option<Version>, Reply<()>),
    /// Ends an app's instance.
    Stop(String, Reply<()>),
    /// Bypasses an app and ends its instance; answers its id, whose rules are then to be deleted.
    Remove(String, Reply<u8>),
    /// Upgrades apps as one: the receiver gets every status of each.
    Upgrade(Asked, Reply<mpsc::Receiver<UpgradeStatus>>),
    /// What an upgrade would do.
    Plan(Asked, Reply<Vec<PlannedUpgrade>>),
    /// Ends a probation; the receivers get the last statuses, first that of the app.
    Commit(String, Reply<Vec<Last>>),
    /// Goes back; the receivers get the last statuses, first that of the app.
    Rollback(String, Reply<Vec<Last>>),
    /// Statuses that are, and a receiver for those to come.
    Status(
        Option<String>,
        Reply<(Vec<UpgradeStatus>, mpsc::Receiver<UpgradeStatus>)>,
    ),
    /// The events that were set aside, or those of one app.
    Quarantined(String, Reply<Vec<management::QuarantinedEvent>>),
    /// Delivers one again.
    RetryEvent(String, Reply<management::QuarantinedEvent>),
    /// Forgets one.
    DropEvent(String, Reply<management::QuarantinedEvent>),
    /// The last shadow of each app's state, or of one app's.
    Migrations(String, Reply<Vec<management::Migration>>),
    /// The config tables of an app's running release, and what their entries have to be.
    Config(String, Reply<(Vec<String>, BTreeMap<String, Check>)>),
}

/// What the supervisor knows, in figures.
#[derive(Debug, Default)]
pub struct Figures {
    /// The apps.
    pub apps: Vec<AppView>,
    /// The proxy and the store daemon.
    pub parts: Vec<PartView>,
    /// The running upgrades and the last one of each app.
    pub upgrades: Vec<UpgradeStatus>,
    /// Upgrades that ended, since its start.
    pub counts: Counts,
}

/// Gets the last status of one app's upgrade.
pub type Last = oneshot::Receiver<UpgradeStatus>;

/// An upgrade that is asked for.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Apps, and to which release of each; none: the newest staged.
    pub releases: Vec<(String, Option<Version>)>,
    /// How long the probation lasts.
    pub probation: Option<Duration>,
    /// At its end the upgrade goes back, unless it was committed.
    pub confirm: bool,
    /// An older release may lose rows.
    pub allow_loss: bool,
    /// How long steps may take, in the place of what the release says.
    pub deadlines: Vec<(String, Duration)>,
    /// Who asks.
    pub who: String,
}

/// An app, as the supervisor knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppView {
    /// Name.
    pub name: String,
    /// Id.
    pub id: u8,
    /// The release that runs, or would.
    pub release: String,
    /// As management.proto says.
    pub status: &'static str,
    /// Of the last fence.
    pub epoch: u64,
    /// 0: no process.
    pub pid: u32,
    /// The instance's id.
    pub instance: String,
    /// After crashes.
    pub restarts: u64,
    /// It takes part in the pipeline.
    pub present: bool,
    /// Events that killed it and were set aside.
    pub quarantined: u64,
    /// It kept dying, and what was done about it; empty: it did not.
    pub trouble: String,
}

/// Refused, nothing changed.
pub(super) fn refused(message: impl Into<String>) -> Status {
    Status::failed_precondition(message.into())
}

impl Supervisor {
    pub(super) fn asked(&mut self, request: Request) {
        // Who no longer waits for the answer does not need it.
        match request {
            Request::Apps(reply) => drop(reply.send(Ok(self.app_views()))),
            Request::Figures(reply) => drop(reply.send(Ok(self.figures()))),
            Request::Known(app, reply) => drop(reply.send(self.known(&app).map(drop))),
            Request::Releases(app, reply) => drop(reply.send(self.release_list(&app))),
            Request::MayInstall(bundle, reply) => drop(reply.send(self.may_install(&bundle))),
            Request::Stage(bundle, folder, reply) => self.stage(bundle, folder, reply),
            Request::Start(app, version, reply) => self.start_app(&app, version, reply),
            Request::Stop(app, reply) => self.stop_app(&app, reply),
            Request::Remove(app, reply) => self.remove_app(&app, reply),
            Request::Upgrade(asked, reply) => drop(reply.send(self.begin_upgrade(&asked))),
            Request::Plan(asked, reply) => drop(reply.send(Ok(self.plan_upgrade(&asked)))),
            Request::Commit(app, reply) => drop(reply.send(self.commit(&app))),
            Request::Rollback(app, reply) => drop(reply.send(self.roll_back(&app))),
            Request::Status(app, reply) => {
                let (sender, receiver) = followed();
                let statuses = self.statuses(app.as_deref());
                self.followers.push((app, sender));
                drop(reply.send(Ok((statuses, receiver))));
            }
            Request::Quarantined(app, reply) => drop(reply.send(self.quarantined(&app))),
            Request::RetryEvent(id, reply) => self.retry_event(&id, reply),
            Request::DropEvent(id, reply) => self.drop_event(&id, reply),
            Request::Migrations(app, reply) => drop(reply.send(Ok(self.migrations(&app)))),
            Request::Config(app, reply) => drop(reply.send(self.config_tables(&app))),
        }
    }

    pub(super) fn known(&self, app: &str) -> Result<&Managed, Status> {
        self.apps.get(app).ok_or_else(|| {
            let names: Vec<&str> = self.apps.keys().map(String::as_str).collect();
            let names = if names.is_empty() {
                "none".into()
            } else {
                names.join(", ")
            };
            match self.releases.newest(app) {
                Some(_) => refused(format!(
                    "{app} is installed ({}) and was never started; `morphctl app start {app}` starts it",
                    self.releases.versions(app)
                )),
                None => Status::not_found(format!("there is no app {app}; there are: {names}")),
            }
        })
    }

    fn figures(&self) -> Figures {
        Figures {
            apps: self.app_views(),
            parts: self.part_views(),
            upgrades: self.statuses(None),
            counts: self.counts.clone(),
        }
    }

    fn app_views(&self) -> Vec<AppView> {
        self.apps
            .iter()
            .map(|(name, managed)| self.app_view(name, managed))
            .collect()
    }

    fn app_view(&self, name: &str, managed: &Managed) -> AppView {
        let live = self.instances.iter().find(|(_, i)| i.app == name && i.live);
        let own = managed
            .machine
            .instance()
            .and_then(|id| self.instances.get_key_value(id));
        let shown = live.or(own);
        let status = match (&managed.upgrade, managed.machine.state()) {
            (Some(_), _) => "upgrading",
            (None, State::Running { .. }) => "running",
            (None, State::Starting { .. } | State::Resuming { .. } | State::Again { .. }) => {
                "starting"
            }
            (None, State::Stopped) if managed.gave_up() => "failed",
            (None, State::Stopped | State::Ending { .. } | State::Yielded) => "stopped",
            (None, State::Waiting { .. } | State::Looping) => "crashed",
        };
        AppView {
            name: name.to_owned(),
            id: managed.row.id,
            release: live
                .map_or(&managed.row.release, |(_, i)| &i.release)
                .to_string(),
            status,
            epoch: managed.row.epoch,
            pid: shown.map_or(0, |(_, i)| i.process.pid()),
            instance: shown.map(|(id, _)| id.clone()).unwrap_or_default(),
            restarts: managed.machine.deaths(),
            present: managed.present(),
            quarantined: self.aside.of(name),
            trouble: managed.row.trouble.as_ref().map(told).unwrap_or_default(),
        }
    }

    fn release_list(&self, app: &str) -> Result<Vec<management::Release>, Status> {
        let all = self
            .releases
            .iter()
            .filter(|r| app.is_empty() || r.manifest.name == app);
        let found: Vec<management::Release> = all.map(as_message).collect();
        match found.is_empty() && !app.is_empty() {
            true => Err(Status::not_found(format!(
                "no release of {app} is installed"
            ))),
            false => Ok(found),
        }
    }

    fn may_install(&self, bundle: &Bundle) -> Result<bool, Status> {
        let manifest = &bundle.manifest;
        if let Some(known) = self.releases.get(&manifest.name, &manifest.version) {
            if known.row.digest == bundle.digest {
                return Ok(false);
            }
            return Err(refused(format!(
                "{}@{} is known with another digest ({}, and this is {}): give the new bundle another version",
                manifest.name,
                manifest.version,
                &known.row.digest[..12.min(known.row.digest.len())],
                &bundle.digest[..12],
            )));
        }
        let other = self
            .releases
            .iter()
            .find(|r| r.manifest.name != manifest.name && r.manifest.id == manifest.id);
        match other {
            Some(other) => Err(refused(format!(
                "id {} belongs to {}",
                manifest.id, other.manifest.name
            ))),
            None => Ok(true),
        }
    }

    fn stage(&mut self, bundle: Bundle, folder: PathBuf, reply: Reply<management::Release>) {
        match self.may_install(&bundle) {
            Err(status) => return drop(reply.send(Err(status))),
            Ok(false) => {
                let manifest = &bundle.manifest;
                let known = self
                    .releases
                    .get(&manifest.name, &manifest.version)
                    .map(as_message);
                return drop(
                    reply.send(known.ok_or_else(|| Status::internal("the release is gone"))),
                );
            }
            Ok(true) => {}
        }
        let release = staged(bundle, folder);
        let write = release_write(&release);
        let records = Arc::clone(&self.records);
        self.after(
            async move { records.write(&[write], &[]).await },
            move |supervisor, result| {
                let answer = match result {
                    Ok(_) => {
                        let (app, version) = (&release.manifest.name, &release.manifest.version);
                        tracing::info!(app, %version, digest = release.row.digest, "staged");
                        let message = as_message(&release);
                        supervisor.releases.insert(release);
                        Ok(message)
                    }
                    Err(refusal) => Err(Status::internal(refusal.to_string())),
                };
                let _ = reply.send(answer);
            },
        );
    }

    // ---- start, stop, remove ----

    fn start_app(&mut self, app: &str, version: Option<Version>, reply: Reply<()>) {
        let row = match self.may_start(app, version) {
            Ok(row) => row,
            Err(status) => return drop(reply.send(Err(status))),
        };
        let name = app.to_owned();
        self.begin_app(app, row, move |supervisor, result| {
            if result.is_ok() {
                tracing::info!(app = name, "is to run");
            }
            let _ = supervisor;
            let _ = reply.send(result.map_err(Status::unavailable));
        });
    }

    fn may_start(&self, app: &str, version: Option<Version>) -> Result<AppRow, Status> {
        let managed = self.apps.get(app);
        if let Some(managed) = managed {
            self.not_upgrading(app, managed)?;
            match managed.machine.state() {
                State::Stopped => {}
                State::Ending { .. } => {
                    return Err(refused(format!("{app} is still ending; try again")));
                }
                _ => return Err(refused(format!("{app} runs already"))),
            }
        }
        let version = match (version, managed) {
            (Some(version), _) => version,
            (None, Some(managed)) => managed.row.release.clone(),
            (None, None) => match self.releases.newest(app) {
                Some(release) => release.manifest.version.clone(),
                None => {
                    return Err(Status::not_found(format!(
                        "no release of {app} is installed"
                    )));
                }
            },
        };
        let release = self.release(app, &version)?;
        let manifest = &release.manifest;
        if let Some(managed) = managed
            && managed.row.release != version
            && let Some(was) = self.releases.get(app, &managed.row.release)
            && was.manifest.schema != manifest.schema
        {
            return Err(refused(format!(
                "the state of {app} has schema {}, and {app}@{version} wants {}: start it as it was, then \
                 `morphctl upgrade app={app}@{version}`",
                was.manifest.schema, manifest.schema
            )));
        }
        let mut together = self.present(app);
        release::check_reads(manifest, &together).map_err(refused)?;
        together.push(manifest);
        release::check_coexistence(&together).map_err(refused)?;
        Ok(AppRow {
            id: manifest.id,
            release: version,
            desired: Desired::Running,
            instance: managed.map(|m| m.row.instance.clone()).unwrap_or_default(),
            epoch: managed.map_or(0, |m| m.row.epoch),
            former: managed.and_then(|m| m.former_than(&manifest.version)),
            trouble: None,
            suspicion: managed.and_then(|m| m.row.suspicion.clone()),
        })
    }

    pub(super) fn release(&self, app: &str, version: &Version) -> Result<&Release, Status> {
        self.releases.get(app, version).ok_or_else(|| {
            let versions = self.releases.versions(app);
            Status::not_found(format!(
                "there is no release {app}@{version}; installed: {versions}"
            ))
        })
    }

    pub(super) fn not_upgrading(&self, app: &str, managed: &Managed) -> Result<(), Status> {
        match &managed.upgrade {
            None => match self.unfinished_group(app) {
                Some(together) => {
                    let apps: Vec<&str> = together.apps().map(String::as_str).collect();
                    Err(refused(format!(
                        "the upgrade of {} as one is not over yet: try again when it is; see `morphctl status`",
                        apps.join(" and ")
                    )))
                }
                None => Ok(()),
            },
            Some(running) => Err(refused(format!(
                "{app} is being upgraded from {} to {}: commit it or roll it back first",
                running.from, running.to
            ))),
        }
    }

    fn stop_app(&mut self, app: &str, reply: Reply<()>) {
        let checked = self.known(app).and_then(|managed| {
            self.not_upgrading(app, managed)?;
            match managed.row.desired {
                Desired::Running => Ok(managed.row.clone()),
                Desired::Stopped => Err(refused(format!("{app} is stopped already"))),
                Desired::Removed => Err(refused(format!("{app} is removed"))),
            }
        });
        let row = match checked {
            Ok(row) => AppRow {
                desired: Desired::Stopped,
                ..row
            },
            Err(status) => return drop(reply.send(Err(status))),
        };
        let name = app.to_owned();
        self.write_app(app, row, move |supervisor, result| {
            if result.is_ok() {
                supervisor.feed(Feed::App(name, app::Input::Stop));
            }
            let _ = reply.send(result.map_err(Status::unavailable));
        });
    }

    fn remove_app(&mut self, app: &str, reply: Reply<u8>) {
        let checked = self.known(app).and_then(|managed| {
            self.not_upgrading(app, managed)?;
            match managed.row.desired {
                Desired::Running | Desired::Stopped => Ok(managed.row.clone()),
                Desired::Removed => Err(refused(format!("{app} is removed already"))),
            }
        });
        let row = match checked {
            Ok(row) => AppRow {
                desired: Desired::Removed,
                ..row
            },
            Err(status) => return drop(reply.send(Err(status))),
        };
        let (name, id) = (app.to_owned(), row.id);
        self.write_app(app, row, move |supervisor, result| {
            if let Err(why) = result {
                return drop(reply.send(Err(Status::unavailable(why))));
            }
            // Bypassed first, then ended, then its rules are deleted.
            let (proxy, configuration) = (supervisor.proxy.clone(), supervisor.configuration());
            supervisor.after(
                async move { proxy.configure(configuration).await },
                move |supervisor, result| {
                    supervisor.feed(Feed::App(name, app::Input::Stop));
                    let _ = reply.send(result.map(|()| id));
                },
            );
        });
    }

    fn config_tables(&self, app: &str) -> Result<(Vec<String>, BTreeMap<String, Check>), Status> {
        let managed = self.known(app)?;
        let view = self.app_view(app, managed);
        let version = view
            .release
            .parse()
            .unwrap_or_else(|_| managed.row.release.clone());
        let manifest = &self.release(app, &version)?.manifest;
        Ok((manifest.config.clone(), manifest.checks.clone()))
    }
}

/// A bundle that has been copied, as a release.
pub(super) fn staged(bundle: Bundle, folder: PathBuf) -> Release {
    let row = ReleaseRow {
        status: ReleaseStatus::Staged,
        schema: bundle.manifest.schema,
        installed_unix_ms: super::unix_ms(),
        folder: bundle.installed_name(),
        digest: bundle.digest,
    };
    Release {
        row,
        manifest: bundle.manifest,
        folder,
    }
}

pub(super) fn release_write(release: &Release) -> Write {
    let (app, version) = (&release.manifest.name, &release.manifest.version);
    Write::new(RELEASES, format!("{app}/{version}"), &release.row)
}

fn as_message(release: &Release) -> management::Release {
    management::Release {
        app: release.manifest.name.clone(),
        version: release.manifest.version.to_string(),
        status: release.row.status.name().to_owned(),
        digest: release.row.digest.clone(),
        schema: release.row.schema,
        installed_unix_ms: release.row.installed_unix_ms,
    }
}
