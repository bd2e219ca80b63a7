//! The record of an upgrade: written before every step, with the fence, and with the end.

use std::sync::Arc;
use std::time::Duration;

use morph_api::fail;
use morph_api::management::Step;

use super::Supervisor;
use crate::boot::Moment;
use crate::records::{
    APPS, AppRow, Fenced, Fencing, RELEASES, ReleaseRow, ReleaseStatus, UPGRADES, UpgradeRow, Write,
};
use crate::upgrade::{Input, Numbers, Side};

/// For the fence of a hand-over: well within the hold.
const FENCE: Duration = Duration::from_secs(2);

/// Puts into a record what the upgrade has counted by now.
pub(super) fn count(row: &mut UpgradeRow, numbers: &Numbers) {
    if let Some(forward) = numbers.forward {
        row.handover_us = forward.held_us;
        row.events_held = forward.queued;
        row.events_replayed = forward.replayed;
    }
    let mut rules = numbers.forward_rules;
    if let Some(back) = numbers.back {
        row.back_handover_us = back.held_us;
        rules = numbers.back_rules;
    }
    row.rules_added = rules.added;
    row.rules_changed = rules.changed;
    row.rules_removed = rules.removed;
    row.rules_unchanged = rules.unchanged;
}

/// A place where tests have the record of a step refused, as a full disk does: `morphd.record.STEP`.
fn record_refused(step: Step) -> Result<(), String> {
    let name = format!("morphd.record.{}", step.as_str_name().to_lowercase());
    fail::point(&name).map_err(|failed| failed.to_string())
}

impl Supervisor {
    /// The record with everything that is known by now.
    fn renew_row(&mut self, app: &str, step: Step) -> Option<UpgradeRow> {
        let running = self.running(app)?;
        let machine = &running.machine;
        let (numbers, row) = (*machine.numbers(), &mut running.row);
        row.step = step.as_str_name().to_owned();
        row.step_unix_ms = super::unix_ms();
        row.step_at = Moment::now();
        row.since_start_us =
            u64::try_from(running.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        // One that is gone since another morphd started it stays recorded: what it made is told by its name.
        if let Some(new) = &running.new {
            row.newcomer.clone_from(new);
        }
        row.old = running.old.clone().unwrap_or_default();
        row.space = machine.space().unwrap_or(0);
        row.swapped = machine.swapped();
        if let Some(cause) = machine.cause() {
            row.message.clone_from(&cause.message);
            row.by = cause.by.to_owned();
        }
        count(row, &numbers);
        Some(row.clone())
    }

    pub(super) fn record(&mut self, app: &str, step: Step) {
        let Some(row) = self.renew_row(app, step) else {
            return;
        };
        let writes = vec![Write::new(UPGRADES, app, &row)];
        self.write_in_order(app, step, writes, None, move |result| match result {
            Ok(()) => Input::Recorded(step),
            // No space: the lock says that there is no other morphd.
            Err(why) => {
                tracing::error!(why, "the record of an upgrade was refused");
                Input::NotRecorded(step, why)
            }
        });
    }

    /// Writes after all earlier writes of this app, unless a later one came first.
    fn write_in_order(
        &mut self,
        app: &str,
        step: Step,
        writes: Vec<Write>,
        swap: Option<u32>,
        then: impl FnOnce(Result<(), String>) -> Input + Send + 'static,
    ) {
        let Some(managed) = self.apps.get_mut(app) else {
            return;
        };
        managed.writes += 1;
        let (number, order) = (managed.writes, Arc::clone(&managed.order));
        let (records, name) = (Arc::clone(&self.records), app.to_owned());
        let call = async move {
            let mut newest = order.lock().await;
            if *newest > number {
                return Ok(());
            }
            *newest = number;
            record_refused(step)?;
            let mut more = Vec::new();
            if let Some(copy) = swap {
                more.push(
                    records
                        .swap(&name, copy)
                        .await
                        .map_err(|refusal| refusal.to_string())?,
                );
            }
            records
                .write(&writes, &more)
                .await
                .map(drop)
                .map_err(|refusal| refusal.to_string())
        };
        let name = app.to_owned();
        self.after(call, move |supervisor, result| {
            supervisor.feed_upgrade(&name, then(result))
        });
    }

    /// The fence: one transaction with the record, the app's row and the release's status.
    pub(super) fn fence(&mut self, app: &str, side: Side, swap: Option<u32>) {
        let step = match side {
            Side::New => Step::Resuming,
            Side::Old => Step::RollingBack,
        };
        let instance = self.instance_of(app, side).unwrap_or_default();
        let Some(mut row) = self.renew_row(app, step) else {
            return;
        };
        let Some(managed) = self.apps.get(app) else {
            return;
        };
        row.fenced = true;
        row.swapped |= swap.is_some();
        let (release, status) = match side {
            Side::New => (row.to.clone(), ReleaseStatus::Current),
            Side::Old => (row.from.clone(), row.was.unwrap_or(ReleaseStatus::Staged)),
        };
        let fencing = Fencing {
            app: app.to_owned(),
            node: self.settings.node.clone(),
            release,
            epoch: managed.row.epoch,
            force: side == Side::Old,
            swap,
        };
        let mut others = vec![Write::new(UPGRADES, app, &row)];
        others.extend(self.release_write(app, &row.to, status));
        let row = AppRow {
            instance: instance.clone(),
            ..managed.row.clone()
        };
        let (records, name) = (Arc::clone(&self.records), app.to_owned());
        let call = async move {
            record_refused(step)?;
            let writes = |epoch| {
                let app = Write::new(
                    APPS,
                    name.as_str(),
                    &AppRow {
                        epoch,
                        ..row.clone()
                    },
                );
                [&others[..], &[app]].concat()
            };
            let fence = records.fence(fencing, writes);
            if side == Side::Old {
                // The way back has no failure exit: it waits for the store.
                return fence.await.map_err(|refusal| refusal.to_string());
            }
            match tokio::time::timeout(FENCE, fence).await {
                Ok(result) => result.map_err(|refusal| refusal.to_string()),
                Err(_) => Err("the store did not answer in time".into()),
            }
        };
        let name = app.to_owned();
        self.after(call, move |supervisor, result| {
            supervisor.fence_answered(&name, &instance, status, result)
        });
    }

    fn fence_answered(
        &mut self,
        app: &str,
        instance: &str,
        status: ReleaseStatus,
        result: Result<Fenced, String>,
    ) {
        let input = match result {
            Ok(fenced) => {
                self.lane_is(app, instance, fenced);
                if let Some(running) = self.running(app) {
                    running.fenced = Some(fenced);
                    running.row.fenced = true;
                    let to = running.to.clone();
                    self.releases.set_status(app, &to, status);
                }
                Input::Fenced
            }
            Err(why) => Input::FenceRefused(why),
        };
        self.feed_upgrade(app, input);
    }

    fn release_write(&self, app: &str, version: &str, status: ReleaseStatus) -> Option<Write> {
        let release = self.releases.get(app, &version.parse().ok()?)?;
        let row = ReleaseRow {
            status,
            ..release.row.clone()
        };
        Some(Write::new(RELEASES, format!("{app}/{version}"), &row))
    }

    /// The last record, with what the end makes of the app and of the two releases.
    pub(super) fn finish(&mut self, app: &str, step: Step, swap: Option<u32>) {
        let Some(row) = self.renew_row(app, step) else {
            return;
        };
        let Some(managed) = self.apps.get(app) else {
            return;
        };
        let mut writes = vec![Write::new(UPGRADES, app, &row)];
        let was = row.was.unwrap_or(ReleaseStatus::Staged);
        if step == Step::Committed {
            let release = row
                .to
                .parse()
                .unwrap_or_else(|_| managed.row.release.clone());
            writes.push(Write::new(
                APPS,
                app,
                &AppRow {
                    release,
                    ..managed.row.clone()
                },
            ));
            writes.extend(self.release_write(app, &row.to, ReleaseStatus::Permanent));
            writes.extend(self.release_write(app, &row.from, ReleaseStatus::Old));
        } else {
            writes.extend(self.release_write(app, &row.to, was));
        }
        self.write_in_order(app, step, writes, swap, |result| match result {
            Ok(()) => Input::Finished,
            Err(why) => Input::FinishRefused(why),
        });
    }
}
