//! Carries out what the machine of an upgrade asks for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use morph_api::management::{Step, UpgradeStatus};
use morph_api::store::{Op, Reason};
use morph_api::supervisor::{
    Flush, Go, HoldReply, MakeCopy, Ping, StopCopy, hold_reply, instruction,
};
use morph_store::op;
use semver::Version;
use tokio::sync::{mpsc, oneshot};

use super::apps::resume;
use super::{Feed, Supervisor};
use crate::app::{InstanceId, State as AppState};
use crate::records::{
    APPS, AppRow, Fenced, Fencing, RELEASES, Records, ReleaseStatus, UPGRADES, UpgradeRow, Write,
};
use crate::upgrade::{HoldOutcome, Input, Order, Output, Resumption, Side, Upgrade};

/// For the old instance to finish its turns.
const QUIESCE: Duration = Duration::from_secs(1);
/// For the whole hold; the proxy keeps it.
const HOLD: Duration = Duration::from_secs(5);
/// For the fence of a hand-over: well within the hold.
const FENCE: Duration = Duration::from_secs(2);

/// An upgrade in hand.
pub(crate) struct Running {
    pub(super) machine: Upgrade,
    pub(super) row: UpgradeRow,
    pub(super) from: Version,
    pub(super) to: Version,
    /// The newcomer.
    pub(super) new: Option<InstanceId>,
    /// The instance of the old release.
    pub(super) old: Option<InstanceId>,
    pub(super) started: Instant,
    pub(super) fenced: Option<Fenced>,
    /// Whoever asked for this upgrade, for each of its statuses.
    pub(super) asker: Option<mpsc::Sender<UpgradeStatus>>,
    /// Whoever waits for its end.
    pub(super) waiting: Vec<oneshot::Sender<UpgradeStatus>>,
}

impl Supervisor {
    fn running(&mut self, app: &str) -> Option<&mut Running> {
        self.apps.get_mut(app)?.upgrade.as_mut()
    }

    pub(super) fn feed_upgrade(&mut self, app: &str, input: Input) {
        let Some(running) = self.running(app) else {
            return;
        };
        let mut out = Vec::new();
        running.machine.handle(input, Instant::now(), &mut out);
        self.carry_out_upgrade(app, out);
    }

    pub(super) fn carry_out_upgrade(&mut self, app: &str, out: Vec<Output>) {
        for output in out {
            self.carry_out(app, output);
        }
        if self
            .running(app)
            .is_some_and(|running| running.machine.ended())
        {
            self.upgrade_ended(app);
        }
    }

    fn answer(&mut self, app: &str, input: Input) {
        self.feed(Feed::Upgrade(app.to_owned(), input));
    }

    fn carry_out(&mut self, app: &str, output: Output) {
        match output {
            Output::Record(step) => self.record(app, step),
            Output::Publish(step, message) => self.publish(app, step, message),
            Output::MakeSpace(side, schema) => self.make_space(app, side, schema),
            Output::DropSpace(space) => self.drop_space(app, space),
            Output::Spawn(side, space) => self.spawn_side(app, side, space),
            Output::Tell(side, order) => self.tell(app, side, order),
            Output::End(side) => match self.instance_of(app, side) {
                Some(instance) => self.end_instance(&instance),
                None => self.answer(app, Input::Gone(side, "is not there".into())),
            },
            Output::Hold => {
                let yielded = self
                    .apps
                    .get(app)
                    .is_some_and(|m| *m.machine.state() == AppState::Yielded);
                match yielded {
                    true => self.hold(app),
                    false => self.feed(Feed::App(app.to_owned(), crate::app::Input::Yield)),
                }
            }
            Output::Fence(side, swap) => self.fence(app, side, swap),
            Output::Resume(side) => self.resume_side(app, side),
            Output::Sample => self.sample(app),
            Output::Finish(step, swap) => self.finish(app, step, swap),
        }
    }

    /// The instance of a side, if there is one that is not being ended.
    fn instance_of(&self, app: &str, side: Side) -> Option<InstanceId> {
        let managed = self.apps.get(app)?;
        let running = managed.upgrade.as_ref()?;
        let id = match side {
            Side::New => running.new.as_ref(),
            // Before the hold the old instance is the app's own.
            Side::Old => running.old.as_ref().or(managed.machine.instance()),
        }?;
        let there = self
            .instances
            .get(id)
            .is_some_and(|instance| !instance.ending);
        there.then(|| id.clone())
    }

    fn spawn_side(&mut self, app: &str, side: Side, space: Option<u32>) {
        let Some(running) = self.running(app) else {
            return;
        };
        let version = match side {
            Side::New => running.to.clone(),
            Side::Old => running.from.clone(),
        };
        match self.spawn_instance(app, &version, space) {
            Ok(id) => {
                if let Some(running) = self.running(app) {
                    match side {
                        Side::New => running.new = Some(id),
                        Side::Old => running.old = Some(id),
                    }
                }
            }
            Err(why) => self.answer(app, Input::Gone(side, why)),
        }
    }

    fn tell(&mut self, app: &str, side: Side, order: Order) {
        // A missing instance is told of by its own end.
        let Some(instance) = self.instance_of(app, side) else {
            return;
        };
        let what = match order {
            Order::Ping => instruction::Instruction::Ping(Ping {
                token: super::unix_ms(),
            }),
            Order::MakeCopy(space, schema) => {
                instruction::Instruction::MakeCopy(MakeCopy { space, schema })
            }
            Order::StopCopy => instruction::Instruction::StopCopy(StopCopy {}),
            Order::Flush => instruction::Instruction::Flush(Flush {}),
            Order::Go => instruction::Instruction::Go(Go {}),
        };
        let (proxy, name) = (self.proxy.clone(), app.to_owned());
        let call = async move { (proxy.tell(&name, &instance, what).await, name, instance) };
        self.after(call, move |_, (result, app, instance)| {
            if let Err(status) = result {
                // What waits for the answer has a deadline.
                tracing::warn!(
                    app,
                    instance,
                    ?order,
                    error = status.message(),
                    "could not be told"
                );
            }
        });
    }

    /// Holds the slot, which is the upgrade's.
    pub(super) fn hold(&mut self, app: &str) {
        let (proxy, name) = (self.proxy.clone(), app.to_owned());
        let call = async move { proxy.hold(&name, QUIESCE, HOLD).await };
        let name = app.to_owned();
        self.after(call, move |supervisor, result| {
            let input = match result {
                Ok(reply) => Input::Held(outcome(&reply)),
                Err(status) => Input::HoldFailed(status.message().to_owned()),
            };
            supervisor.feed_upgrade(&name, input);
        });
    }

    fn resume_side(&mut self, app: &str, side: Side) {
        let instance = self.instance_of(app, side);
        let fenced = self.running(app).and_then(|running| running.fenced);
        let (Some(instance), Some(fenced)) = (instance, fenced) else {
            return self.answer(app, Input::ResumeFailed("it is not there".into()));
        };
        let (proxy, name, id) = (self.proxy.clone(), app.to_owned(), instance.clone());
        let call = async move { resume(&proxy, &name, &id, fenced).await };
        let name = app.to_owned();
        self.after(call, move |supervisor, result| {
            let input = match result {
                Ok(reply) => {
                    supervisor.is_live(&name, &instance);
                    Input::Resumed(Resumption {
                        queued: reply.queued,
                        replayed: reply.replayed,
                        held_us: reply.held_us,
                    })
                }
                Err(why) => Input::ResumeFailed(why),
            };
            supervisor.feed_upgrade(&name, input);
        });
    }

    /// How much waits and how far the cursor is. While the store is away nothing can be said against the app.
    fn sample(&mut self, app: &str) {
        let (proxy, store, name) = (self.proxy.clone(), self.store.clone(), app.to_owned());
        let node = self.settings.node.clone();
        let call = async move {
            let slots = proxy.slots().await.ok()?;
            let status = store.status().await.ok()?;
            let slot = slots.slots.into_iter().find(|slot| slot.app == name)?;
            let mut lanes = status.lanes.into_iter();
            let cursor = lanes
                .find(|lane| lane.app == name && lane.node == node)?
                .cursor
                .unwrap_or_default();
            Some((slot.backlog, (cursor.stream, cursor.n)))
        };
        let name = app.to_owned();
        self.after(call, move |supervisor, load| {
            let input = match load {
                Some((backlog, durable)) => Input::Load { backlog, durable },
                None => Input::Unobserved,
            };
            supervisor.feed_upgrade(&name, input);
        });
    }

    fn make_space(&mut self, app: &str, side: Side, schema: u32) {
        let Some(owner) = self.instance_of(app, side) else {
            return self.answer(app, Input::SpaceFailed("its maker is not there".into()));
        };
        let (records, name) = (Arc::clone(&self.records), app.to_owned());
        let call = async move { make_space(&records, &name, schema, &owner).await };
        let name = app.to_owned();
        self.after(call, move |supervisor, result| {
            let input = match result {
                Ok(space) => Input::SpaceMade(space),
                Err(why) => Input::SpaceFailed(why),
            };
            supervisor.feed_upgrade(&name, input);
        });
    }

    fn drop_space(&mut self, app: &str, space: u32) {
        let (records, name) = (Arc::clone(&self.records), app.to_owned());
        let call = async move { records.write(&[], &[op::drop_space(name, space)]).await };
        self.after(call, move |_, result| {
            if let Err(refusal) = result {
                tracing::warn!(space, %refusal, "the copy is not dropped");
            }
        });
    }

    /// Drops an app's copies: all of them, or those that one instance made. A new copy takes an old one's place
    /// anyway; this is so that none lies about.
    pub(super) fn drop_copies(&mut self, app: &str, owner: Option<InstanceId>) {
        let (records, name) = (Arc::clone(&self.records), app.to_owned());
        let call = async move {
            let spaces = records.status().await.spaces;
            let copies = spaces
                .into_iter()
                .filter(|space| space.app == name && !space.truth);
            let useless =
                copies.filter(|space| owner.as_ref().is_none_or(|owner| space.owner == *owner));
            let drops: Vec<Op> = useless
                .map(|space| op::drop_space(&name, space.id))
                .collect();
            if drops.is_empty() {
                return Ok(());
            }
            records.write(&[], &drops).await.map(drop)
        };
        self.after(call, |_, result| {
            if let Err(refusal) = result {
                tracing::warn!(%refusal, "a copy is not dropped");
            }
        });
    }

    // ---- the record ----

    /// The record with everything that is known by now.
    fn renew_row(&mut self, app: &str, step: Step) -> Option<UpgradeRow> {
        let running = self.running(app)?;
        let machine = &running.machine;
        let (numbers, row) = (*machine.numbers(), &mut running.row);
        row.step = step.as_str_name().to_owned();
        row.step_unix_ms = super::unix_ms();
        row.since_start_us =
            u64::try_from(running.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        row.newcomer = running.new.clone().unwrap_or_default();
        row.old = running.old.clone().unwrap_or_default();
        row.space = machine.space().unwrap_or(0);
        row.swapped = machine.swapped();
        if let Some(cause) = machine.cause() {
            row.message.clone_from(&cause.message);
            row.by = cause.by.to_owned();
        }
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
        Some(row.clone())
    }

    fn record(&mut self, app: &str, step: Step) {
        let Some(row) = self.renew_row(app, step) else {
            return;
        };
        let writes = vec![Write::new(UPGRADES, app, &row)];
        self.write_in_order(app, writes, Vec::new(), None, move |result| match result {
            Ok(()) => Input::Recorded(step),
            // It cannot be refused but by another morphd, and the lock says that there is none.
            Err(why) => {
                tracing::error!(why, "the record of an upgrade was refused");
                Input::Recorded(step)
            }
        });
    }

    /// Writes after all earlier writes of this app, unless a later one came first.
    fn write_in_order(
        &mut self,
        app: &str,
        writes: Vec<Write>,
        more: Vec<Op>,
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
            let mut more = more;
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
    fn fence(&mut self, app: &str, side: Side, swap: Option<u32>) {
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
        let row = crate::records::ReleaseRow {
            status,
            ..release.row.clone()
        };
        Some(Write::new(RELEASES, format!("{app}/{version}"), &row))
    }

    /// The last record, with what the end makes of the app and of the two releases.
    fn finish(&mut self, app: &str, step: Step, swap: Option<u32>) {
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
        self.write_in_order(app, writes, Vec::new(), swap, |result| match result {
            Ok(()) => Input::Finished,
            Err(why) => Input::SwapRefused(why),
        });
    }

    /// The machine has ended: the app looks after itself again.
    fn upgrade_ended(&mut self, app: &str) {
        let Some(managed) = self.apps.get_mut(app) else {
            return;
        };
        let Some(running) = managed.upgrade.take() else {
            return;
        };
        let committed = running.machine.state() == crate::upgrade::State::Committed;
        let yielded = *managed.machine.state() == AppState::Yielded;
        let (from, to) = (running.from.clone(), running.to.clone());
        if committed {
            managed.row.release = to.clone();
            self.releases.set_status(app, &to, ReleaseStatus::Permanent);
            self.releases.set_status(app, &from, ReleaseStatus::Old);
        } else {
            self.releases
                .set_status(app, &to, running.row.was.unwrap_or(ReleaseStatus::Staged));
        }
        self.last_status(app, running.row.clone(), running.asker, running.waiting);
        let (stays, goes) = match committed {
            true => (running.new, running.old),
            false => (running.old, running.new),
        };
        if let Some(goes) = goes {
            self.end_instance(&goes);
            if !committed {
                self.drop_copies(app, Some(goes));
            }
        }
        if yielded {
            let there = stays.and_then(|id| {
                let instance = self
                    .instances
                    .get(&id)
                    .filter(|instance| !instance.ending)?;
                Some((id, instance.live))
            });
            self.take_back(app, there);
        }
    }
}

fn outcome(reply: &HoldReply) -> HoldOutcome {
    match reply.outcome() {
        hold_reply::Outcome::Quiesced => HoldOutcome::Quiesced,
        hold_reply::Outcome::Gone => HoldOutcome::Gone,
        hold_reply::Outcome::Expired | hold_reply::Outcome::Unspecified => HoldOutcome::Expired,
    }
}

/// Makes a copy's space under an id that the app never used, in the place of a copy that nobody needs any longer.
async fn make_space(records: &Records, app: &str, schema: u32, owner: &str) -> Result<u32, String> {
    let status = records.status().await;
    let spaces: Vec<_> = status
        .spaces
        .iter()
        .filter(|space| space.app == app)
        .collect();
    let drops: Vec<Op> = spaces
        .iter()
        .filter(|space| !space.truth)
        .map(|space| op::drop_space(app, space.id))
        .collect();
    let mut id = spaces.iter().map(|space| space.id).max().unwrap_or(0) + 1;
    loop {
        let mut ops = drops.clone();
        ops.push(op::create_copy(app, id, schema, owner));
        match records.write(&[], &ops).await {
            Ok(_) => return Ok(id),
            // Used before; ids are not used twice.
            Err(refusal) if refusal.reason == Reason::Conflict => id += 1,
            Err(refusal) => return Err(refusal.to_string()),
        }
    }
}
