//! Requests about upgrades: checked, refused with a reason, or begun.

use std::time::{Duration, Instant};

use morph_api::deadlines::Deadlines;
use morph_api::management::{Step, UpgradeStatus};
use semver::Version;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use super::requests::{Asked, Last, refused};
use super::statuses::followed;
use super::upgrades::Running;
use super::{Feed, Supervisor};
use crate::records::{Desired, UpgradeRow};
use crate::release::{self, Release};
use crate::upgrade::{Input, Mode, Output, Plan, State, Together, Upgrade};

/// A checked upgrade of one app.
pub(super) struct Way {
    pub(super) app: String,
    pub(super) from: Release,
    pub(super) to: Release,
    pub(super) mode: Mode,
    pub(super) deadlines: Deadlines,
}

impl Supervisor {
    pub(super) fn begin_upgrade(
        &mut self,
        asked: &Asked,
    ) -> Result<mpsc::Receiver<UpgradeStatus>, Status> {
        let ways = self.may_upgrade(asked)?;
        let now = super::unix_ms();
        self.last_id = now.max(self.last_id + 1);
        let names: Vec<String> = ways.iter().map(|way| way.app.clone()).collect();
        let group = match names.len() {
            1 => String::new(),
            _ => format!("{}-{:x}", names.join("+"), self.last_id),
        };
        if !group.is_empty() {
            self.together
                .insert(group.clone(), Together::new(names.iter().cloned()));
        }
        let (asker, statuses) = followed();
        let mut begun = Vec::new();
        for way in ways {
            let others = names.iter().filter(|name| **name != way.app).cloned();
            let row = UpgradeRow {
                id: format!("{}-{:x}", way.app, self.last_id),
                group: group.clone(),
                with: others.collect(),
                started_unix_ms: now,
                step_unix_ms: now,
                ..UpgradeRow::default()
            };
            begun.push((
                way.app.clone(),
                self.begin_one(way, row, asked, asker.clone()),
            ));
        }
        for (app, out) in begun {
            self.carry_out_upgrade(&app, out);
        }
        Ok(statuses)
    }

    fn begin_one(
        &mut self,
        way: Way,
        row: UpgradeRow,
        asked: &Asked,
        asker: mpsc::Sender<UpgradeStatus>,
    ) -> Vec<Output> {
        let Way {
            app,
            from,
            to,
            mode,
            deadlines,
        } = way;
        let probation = asked.probation.unwrap_or(self.settings.probation);
        let plan = Plan {
            mode,
            old_schema: from.manifest.schema,
            new_schema: to.manifest.schema,
            probation,
            confirm: asked.confirm,
            allow_loss: asked.allow_loss,
            deadlines,
        };
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let row = UpgradeRow {
            from: from.manifest.version.to_string(),
            to: to.manifest.version.to_string(),
            step: Step::Staged.as_str_name().to_owned(),
            mode: mode_name(mode).to_owned(),
            old_schema: plan.old_schema,
            new_schema: plan.new_schema,
            probation_ms: ms(probation),
            confirm: asked.confirm,
            allow_loss: asked.allow_loss,
            deadlines_ms: deadlines
                .all()
                .map(|(name, time)| (name.to_owned(), ms(time)))
                .into(),
            who: asked.who.clone(),
            was: Some(to.row.status),
            ..row
        };
        let mut out = Vec::new();
        let mut running = Running {
            machine: Upgrade::begin(plan, &mut out),
            row,
            from: from.manifest.version,
            to: to.manifest.version,
            new: None,
            old: None,
            started: Instant::now(),
            fenced: None,
            untold: None,
            said: None,
            asker: Some(asker),
            waiting: Vec::new(),
        };
        if let Some(managed) = self.apps.get_mut(&app) {
            // The maker of a shadow is told of from here on; others once the slot is yielded.
            running.old = managed.machine.instance().cloned();
            managed.upgrade = Some(running);
        }
        out
    }

    /// Checks all of them, alone and together: nothing is changed before each may go.
    pub(super) fn may_upgrade(&self, asked: &Asked) -> Result<Vec<Way>, Status> {
        let mut ways: Vec<Way> = Vec::new();
        for (app, version) in &asked.releases {
            if ways.iter().any(|way| way.app == *app) {
                return Err(refused(format!("{app} is named twice: name it once")));
            }
            let (from, to) = self.releases_of(app, version.as_ref())?;
            let mode = release::migration_mode(&from.manifest, &to.manifest).map_err(refused)?;
            let mut deadlines = to.manifest.deadlines().map_err(refused)?;
            for (name, time) in &asked.deadlines {
                deadlines
                    .set(name, *time)
                    .map_err(Status::invalid_argument)?;
            }
            deadlines.check().map_err(Status::invalid_argument)?;
            ways.push(Way {
                app: app.clone(),
                from: from.clone(),
                to: to.clone(),
                mode,
                deadlines,
            });
        }
        let mut together = self.present("");
        together.retain(|manifest| ways.iter().all(|way| way.app != manifest.name));
        together.extend(ways.iter().map(|way| &way.to.manifest));
        for way in &ways {
            let (from, to) = (&way.from.manifest, &way.to.manifest);
            release::check_readers(from, to, &together).map_err(refused)?;
            release::check_reads(to, &together).map_err(refused)?;
        }
        release::check_coexistence(&together).map_err(refused)?;
        Ok(ways)
    }

    /// The release that runs, and the one to go to.
    fn releases_of(
        &self,
        app: &str,
        version: Option<&Version>,
    ) -> Result<(&Release, &Release), Status> {
        let managed = self.known(app)?;
        self.not_upgrading(app, managed)?;
        let runs = &managed.row.release;
        let from = self.release(app, runs)?;
        let to = match version {
            Some(version) => self.release(app, version)?,
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
        Ok((from, to))
    }

    pub(super) fn commit(&mut self, app: &str) -> Result<Vec<Last>, Status> {
        self.known(app)?;
        if self.running(app).is_none() {
            return Err(refused(format!("no upgrade of {app} is in progress")));
        }
        for member in self.all_of(app) {
            let state = self.running(&member).map(|running| running.machine.state());
            match state {
                Some(State::Upgraded | State::Settling | State::Finishing(_)) => {}
                Some(_) | None => {
                    return Err(refused(format!(
                        "the upgrade of {member} is not in probation; see `morphctl status`"
                    )));
                }
            }
        }
        let all = self.all_of(app);
        let last = self.last_ones(app);
        for member in all {
            self.feed(Feed::Upgrade(member, Input::Commit));
        }
        Ok(last)
    }

    /// For the last statuses of an app's upgrade, and of those that go with it.
    fn last_ones(&mut self, app: &str) -> Vec<Last> {
        let mut all = self.all_of(app);
        all.sort_by_key(|member| member != app);
        let mut last = Vec::new();
        for member in all {
            if let Some(running) = self.running(&member) {
                let (sender, receiver) = oneshot::channel();
                running.waiting.push(sender);
                last.push(receiver);
            }
        }
        last
    }

    pub(super) fn roll_back(&mut self, app: &str) -> Result<Vec<Last>, Status> {
        self.known(app)?;
        let Some(managed) = self.apps.get_mut(app) else {
            return Err(Status::not_found(format!("there is no app {app}")));
        };
        if managed.upgrade.is_none() {
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
        }
        let last = self.last_ones(app);
        self.feed(Feed::Upgrade(app.to_owned(), Input::Rollback));
        Ok(last)
    }
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Plain => "plain",
        Mode::Online => "online",
        Mode::Backfill => "backfill",
    }
}
