//! Requests about upgrades: checked, refused with a reason, or begun.

use std::time::{Duration, Instant};

use morph_api::management::{Step, UpgradeStatus};
use semver::Version;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use super::requests::refused;
use super::statuses::followed;
use super::upgrades::Running;
use super::{Feed, Supervisor};
use crate::records::{Desired, UpgradeRow};
use crate::release::{self, Release};
use crate::upgrade::{Input, Mode, Plan, State, Upgrade};

impl Supervisor {
    pub(super) fn begin_upgrade(
        &mut self,
        app: &str,
        version: Option<Version>,
        probation: Option<Duration>,
    ) -> Result<mpsc::Receiver<UpgradeStatus>, Status> {
        let (from, to, mode) = self.may_upgrade(app, version)?;
        let probation = probation.unwrap_or(self.settings.probation);
        let plan = Plan {
            mode,
            old_schema: from.manifest.schema,
            new_schema: to.manifest.schema,
            probation,
        };
        let now = super::unix_ms();
        self.last_id = now.max(self.last_id + 1);
        let row = UpgradeRow {
            id: format!("{app}-{:x}", self.last_id),
            from: from.manifest.version.to_string(),
            to: to.manifest.version.to_string(),
            step: Step::Staged.as_str_name().to_owned(),
            started_unix_ms: now,
            step_unix_ms: now,
            mode: mode_name(mode).to_owned(),
            old_schema: plan.old_schema,
            new_schema: plan.new_schema,
            probation_ms: u64::try_from(probation.as_millis()).unwrap_or(u64::MAX),
            was: Some(to.row.status),
            ..UpgradeRow::default()
        };
        let (asker, statuses) = followed();
        let mut out = Vec::new();
        let running = Running {
            machine: Upgrade::begin(plan, &mut out),
            row,
            from: from.manifest.version.clone(),
            to: to.manifest.version.clone(),
            new: None,
            old: None,
            started: Instant::now(),
            fenced: None,
            asker: Some(asker),
            waiting: Vec::new(),
        };
        if let Some(managed) = self.apps.get_mut(app) {
            let mut running = running;
            // The maker of a copy is told of from here on; others once the slot is yielded.
            running.old = managed.machine.instance().cloned();
            managed.upgrade = Some(running);
        }
        self.carry_out_upgrade(app, out);
        Ok(statuses)
    }

    fn may_upgrade(
        &self,
        app: &str,
        version: Option<Version>,
    ) -> Result<(Release, Release, Mode), Status> {
        let managed = self.known(app)?;
        self.not_upgrading(app, managed)?;
        let runs = &managed.row.release;
        let from = self.release(app, runs)?;
        let to = match version {
            Some(version) => self.release(app, &version)?,
            None => self.releases.newest_staged(app, runs).ok_or_else(|| {
                refused(format!(
                    "no staged release of {app} is newer than {runs}, which runs; installed: {}. Name one, as in \
                     `morphctl upgrade app={app}@VERSION`, or install one with `morphctl app install PATH`",
                    self.releases.versions(app)
                ))
            })?,
        };
        if to.manifest.version == *runs {
            return Err(refused(format!("{app}@{runs} is the release that runs")));
        }
        if managed.row.desired != Desired::Running {
            return Err(refused(format!(
                "{app} does not run: `morphctl app start {app}` first"
            )));
        }
        let mode = release::way(&from.manifest, &to.manifest).map_err(refused)?;
        let mut together = self.present(app);
        release::readers_left_behind(&to.manifest, &together).map_err(refused)?;
        together.push(&to.manifest);
        release::fit_together(&together).map_err(refused)?;
        Ok((from.clone(), to.clone(), mode))
    }

    pub(super) fn commit(&mut self, app: &str) -> Result<oneshot::Receiver<UpgradeStatus>, Status> {
        self.known(app)?;
        let running = self
            .apps
            .get_mut(app)
            .and_then(|managed| managed.upgrade.as_mut());
        let running =
            running.ok_or_else(|| refused(format!("no upgrade of {app} is in progress")))?;
        match running.machine.state() {
            State::Upgraded => {}
            State::Settling | State::Finishing(_) => {}
            _ => {
                return Err(refused(format!(
                    "the upgrade of {app} is not in probation; see `morphctl status`"
                )));
            }
        }
        let (sender, receiver) = oneshot::channel();
        running.waiting.push(sender);
        self.feed(Feed::Upgrade(app.to_owned(), Input::Commit));
        Ok(receiver)
    }

    pub(super) fn roll_back(
        &mut self,
        app: &str,
    ) -> Result<oneshot::Receiver<UpgradeStatus>, Status> {
        self.known(app)?;
        let Some(managed) = self.apps.get_mut(app) else {
            return Err(Status::not_found(format!("there is no app {app}")));
        };
        let Some(running) = managed.upgrade.as_mut() else {
            let committed = managed
                .last
                .as_ref()
                .filter(|row| row.step == Step::Committed.as_str_name());
            return Err(refused(match committed {
                Some(row) => format!(
                    "the upgrade of {app} to {} is committed; to go back: `morphctl upgrade app={app}@{}`",
                    row.to, row.from
                ),
                None => format!("no upgrade of {app} is in progress"),
            }));
        };
        let (sender, receiver) = oneshot::channel();
        running.waiting.push(sender);
        self.feed(Feed::Upgrade(app.to_owned(), Input::Rollback));
        Ok(receiver)
    }
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Plain => "plain",
        Mode::Through => "through",
        Mode::CopyFirst => "copy_first",
    }
}
