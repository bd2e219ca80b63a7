//! The record of an upgrade: written before every step, with the fence, and with the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use morph_api::deadlines::Deadlines;
use morph_api::fail;
use morph_api::management::Step;

use super::statuses::may_fail;
use super::{Supervisor, history};
use crate::app::InstanceId;
use crate::boot::Moment;
use crate::records::{
    APPS, AppRow, Fenced, Fencing, RELEASES, ReleaseRow, ReleaseStatus, UPGRADES, UpgradeRow, Write,
};
use crate::upgrade::{Input, Numbers, Side};

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

/// The step whose record goes with the fence for this side.
fn fence_step(side: Side) -> Step {
    match side {
        Side::New => Step::Resuming,
        Side::Old => Step::RollingBack,
    }
}

/// One app's part of a fence.
struct FencePart {
    /// Who is let in.
    instance: InstanceId,
    /// What the release is from then on.
    status: ReleaseStatus,
    fencing: Fencing,
    writes: Vec<Write>,
    row: AppRow,
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
        row.keyspace = machine.keyspace().unwrap_or(0);
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
        let then = move |result| match result {
            Ok(()) => Input::Recorded(step),
            // No space: the lock says that there is no other morphd.
            Err(why) => {
                tracing::error!(why, "the record of an upgrade was refused");
                Input::NotRecorded(step, why)
            }
        };
        self.write_in_order(vec![(app.to_owned(), None)], step, writes, then);
    }

    /// Writes after all earlier writes of these apps, and swaps to those shadows; where it is one app's, unless a later
    /// one came first. Each of them is told.
    fn write_in_order(
        &mut self,
        apps: Vec<(String, Option<u32>)>,
        step: Step,
        writes: Vec<Write>,
        then: impl Fn(Result<(), String>) -> Input + Send + 'static,
    ) {
        let mut orders = Vec::new();
        for (app, _) in &apps {
            let Some(managed) = self.apps.get_mut(app) else {
                return;
            };
            managed.writes += 1;
            orders.push((managed.writes, Arc::clone(&managed.order)));
        }
        let alone = apps.len() == 1;
        let keeps = match step {
            Step::Committed => self.keepers(&apps),
            _ => BTreeMap::new(),
        };
        let (records, swaps) = (Arc::clone(&self.records), apps.clone());
        let call = async move {
            // Always in the apps' order, so that no two wait for each other.
            let mut held = Vec::new();
            for (number, order) in orders {
                let mut newest = order.lock_owned().await;
                if alone && *newest > number {
                    return Ok(());
                }
                *newest = (*newest).max(number);
                held.push(newest);
            }
            record_refused(step)?;
            let more = records.swaps(&swaps, &keeps).await;
            let more = more.map_err(|refusal| refusal.to_string())?;
            let written = records.write(&writes, &more).await;
            written.map(drop).map_err(|refusal| refusal.to_string())
        };
        self.after(call, move |supervisor, result: Result<(), String>| {
            let (several, last) = (apps.len() > 1, matches!(then(Ok(())), Input::Finished));
            if several && last {
                may_fail("morphd.upgrade.committed_as_one");
            }
            for (app, _) in apps {
                supervisor.feed_upgrade(&app, then(result.clone()));
            }
        });
    }

    pub(super) fn fence(&mut self, app: &str, side: Side, swap: Option<u32>) {
        self.fence_all(&[(app.to_owned(), swap)], side);
    }

    /// The fence: one transaction for all these apps, with their records, rows and the releases' statuses.
    pub(super) fn fence_all(&mut self, members: &[(String, Option<u32>)], side: Side) {
        let parts = members
            .iter()
            .map(|(app, swap)| self.fence_part(app, side, *swap));
        let Some(parts) = parts.collect::<Option<Vec<FencePart>>>() else {
            return;
        };
        let fencings: Vec<Fencing> = parts.iter().map(|part| part.fencing.clone()).collect();
        let limits = parts
            .iter()
            .map(|part| self.deadlines(&part.fencing.app).fence);
        let limit = limits.min().unwrap_or(Deadlines::DEFAULT.fence);
        let records = Arc::clone(&self.records);
        let rows: Vec<_> = parts
            .iter()
            .map(|p| (p.writes.clone(), p.row.clone()))
            .collect();
        may_fail("morphd.upgrade.fencing");
        let step = fence_step(side);
        let call = async move {
            record_refused(step)?;
            let apps: Vec<String> = fencings.iter().map(|fencing| fencing.app.clone()).collect();
            let writes = |epochs: &[u64]| {
                let mut all = Vec::new();
                for (((writes, row), app), epoch) in rows.iter().zip(&apps).zip(epochs) {
                    all.extend(writes.iter().cloned());
                    let row = AppRow {
                        epoch: *epoch,
                        ..row.clone()
                    };
                    all.push(Write::new(APPS, app.as_str(), &row));
                }
                all
            };
            let fence = records.fence(fencings, writes);
            if side == Side::Old {
                // The way back has no failure exit: it waits for the store.
                let fenced = fence.await.map_err(|refusal| refusal.to_string())?;
                // Nothing of an earlier fence lands any more.
                return Ok((fenced, records.primaries(&apps).await));
            }
            match tokio::time::timeout(limit, fence).await {
                Ok(Ok(fenced)) => Ok((fenced, Vec::new())),
                Ok(Err(refusal)) => Err(refusal.to_string()),
                Err(_) => Err("the store did not answer in time".into()),
            }
        };
        self.after(call, move |supervisor, result| {
            supervisor.fence_answered(parts, result)
        });
    }

    fn fence_part(&mut self, app: &str, side: Side, swap: Option<u32>) -> Option<FencePart> {
        let step = fence_step(side);
        let instance = self.instance_of(app, side).unwrap_or_default();
        let mut row = self.renew_row(app, step)?;
        let managed = self.apps.get(app)?;
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
            skip: None,
        };
        let mut writes = vec![Write::new(UPGRADES, app, &row)];
        writes.extend(self.release_write(app, &row.to, status));
        Some(FencePart {
            row: AppRow {
                instance: instance.clone(),
                ..managed.row.clone()
            },
            instance,
            status,
            fencing,
            writes,
        })
    }

    /// With the schema versions of the primaries, in the order of the apps, where it was for the old releases.
    fn fence_answered(
        &mut self,
        parts: Vec<FencePart>,
        result: Result<(Vec<Fenced>, Vec<Option<u32>>), String>,
    ) {
        may_fail("morphd.upgrade.fenced");
        let (fenced, primaries) = match result {
            Ok(fenced) => fenced,
            Err(why) => {
                for part in parts {
                    if let Some(running) = self.running(&part.fencing.app) {
                        // Maybe. Whoever finds the record fences for the old release, which settles it.
                        running.row.fenced = true;
                    }
                    self.feed_upgrade(&part.fencing.app, Input::FenceRefused(why.clone()));
                }
                return;
            }
        };
        for (part, fenced) in parts.iter().zip(&fenced) {
            let app = &part.fencing.app;
            self.checkpoint_is(app, &part.instance, *fenced);
            if let Some(running) = self.running(app) {
                running.fenced = Some(*fenced);
                running.row.fenced = true;
                let to = running.to.clone();
                self.releases.set_status(app, &to, part.status);
            }
        }
        let primaries = primaries.into_iter().chain(std::iter::repeat(None));
        for (part, primary) in parts.into_iter().zip(primaries) {
            if let Some(schema) = primary {
                self.feed_upgrade(&part.fencing.app, Input::Primary(schema));
            }
            self.feed_upgrade(&part.fencing.app, Input::Fenced);
        }
    }

    fn release_write(&self, app: &str, version: &str, status: ReleaseStatus) -> Option<Write> {
        let release = self.releases.get(app, &version.parse().ok()?)?;
        let row = ReleaseRow {
            status,
            ..release.row.clone()
        };
        Some(Write::new(RELEASES, format!("{app}/{version}"), &row))
    }

    pub(super) fn finish(&mut self, app: &str, step: Step, swap: Option<u32>) {
        self.finish_all(vec![(app.to_owned(), swap)], step);
    }

    /// The last records, with what the end makes of the apps and of their releases.
    pub(super) fn finish_all(&mut self, members: Vec<(String, Option<u32>)>, step: Step) {
        let mut writes = Vec::new();
        for (app, _) in &members {
            match self.last_writes(app, step) {
                Some(more) => writes.extend(more),
                None => return,
            }
        }
        let rows = members.iter().filter_map(|(app, _)| {
            let running = self.apps.get(app)?.upgrade.as_ref()?;
            Some((app.clone(), running.row.clone()))
        });
        let rows: Vec<_> = rows.collect();
        writes.extend(rows.iter().map(|(app, row)| history::write(app, row)));
        self.write_in_order(members, step, writes, |result| match result {
            Ok(()) => Input::Finished,
            Err(why) => Input::FinishRefused(why),
        });
    }

    /// Of the apps whose former schema somebody reads: the newcomers, who keep it up.
    fn keepers(&self, members: &[(String, Option<u32>)]) -> BTreeMap<String, InstanceId> {
        let read = |app: &String| {
            let row = &self.apps.get(app)?.upgrade.as_ref()?.row;
            let mut readers = self.readers(app).into_iter();
            readers.find(|(_, schema)| *schema == row.old_schema)?;
            Some((app.clone(), self.instance_of(app, Side::New)?))
        };
        members.iter().filter_map(|(app, _)| read(app)).collect()
    }

    fn last_writes(&mut self, app: &str, step: Step) -> Option<Vec<Write>> {
        let row = self.renew_row(app, step)?;
        let managed = self.apps.get(app)?;
        let mut writes = vec![Write::new(UPGRADES, app, &row)];
        let was = row.was.unwrap_or(ReleaseStatus::Staged);
        if step == Step::Committed {
            let release = row
                .to
                .parse()
                .unwrap_or_else(|_| managed.row.release.clone());
            let app_row = AppRow {
                former: managed.former_than(&release),
                release,
                trouble: None,
                ..managed.row.clone()
            };
            writes.push(Write::new(APPS, app, &app_row));
            writes.extend(self.release_write(app, &row.to, ReleaseStatus::Permanent));
            writes.extend(self.release_write(app, &row.from, ReleaseStatus::Old));
        } else {
            writes.extend(self.release_write(app, &row.to, was));
        }
        Some(writes)
    }
}
