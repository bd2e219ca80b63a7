//! Carries out what the machine of an upgrade asks for.

use std::time::Instant;

use morph_api::deadlines::Deadlines;
use morph_api::management::{Step, UpgradeStatus};
use morph_api::supervisor::{
    Flush, Go, HoldReply, MakeShadow, Ping, StopShadow, hold_reply, instruction,
};
use semver::Version;
use tokio::sync::{mpsc, oneshot};

use super::apps::resume;
use super::{Feed, Supervisor};
use crate::app::{InstanceId, State as AppState};
use crate::records::{Fenced, ReleaseStatus, UpgradeRow};
use crate::upgrade::{Answers, HoldOutcome, Input, Order, Output, Resumption, Side, Upgrade};

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
    /// A shadow that an instance could not be told to make, as its session was away: it is told when it is back.
    pub(super) untold: Option<(Side, Order)>,
    /// The step that was last said. The record is ahead of it while it is being written.
    pub(super) said: Option<Said>,
    /// Whoever asked for this upgrade, for each of its statuses.
    pub(super) asker: Option<mpsc::Sender<UpgradeStatus>>,
    /// Whoever waits for its end.
    pub(super) waiting: Vec<oneshot::Sender<UpgradeStatus>>,
}

/// A step of an upgrade that has become true.
#[derive(Clone, Copy)]
pub(super) struct Said {
    pub(super) step: Step,
    /// Since the epoch of the wall clock.
    pub(super) unix_ms: u64,
    pub(super) since_start_us: u64,
}

impl Supervisor {
    pub(super) fn running(&mut self, app: &str) -> Option<&mut Running> {
        self.apps.get_mut(app)?.upgrade.as_mut()
    }

    /// How long the steps of an app's upgrade may take.
    pub(super) fn deadlines(&self, app: &str) -> Deadlines {
        let running = self
            .apps
            .get(app)
            .and_then(|managed| managed.upgrade.as_ref());
        running.map_or(Deadlines::DEFAULT, |running| {
            running.machine.plan().deadlines
        })
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
        match self.group_of(app) {
            Some(group) => self.pass_together(&group, app, out),
            None => {
                for output in out {
                    self.carry_out(app, output);
                }
            }
        }
        if self
            .running(app)
            .is_some_and(|running| running.machine.ended())
        {
            self.upgrade_ended(app);
        }
        self.rank(app);
    }

    pub(super) fn answer(&mut self, app: &str, input: Input) {
        self.feed(Feed::Upgrade(app.to_owned(), input));
    }

    pub(super) fn carry_out(&mut self, app: &str, output: Output) {
        match output {
            Output::Record(step) => self.record(app, step),
            Output::Publish(step, message) => self.publish(app, step, message),
            Output::MakeKeyspace(side, schema) => self.make_keyspace(app, side, schema),
            Output::DropKeyspace(keyspace) => self.drop_keyspace(app, keyspace),
            Output::Spawn(side, keyspace) => self.spawn_side(app, side, keyspace),
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
    pub(super) fn instance_of(&self, app: &str, side: Side) -> Option<InstanceId> {
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

    fn spawn_side(&mut self, app: &str, side: Side, keyspace: Option<u32>) {
        let Some(running) = self.running(app) else {
            return;
        };
        let version = match side {
            Side::New => running.to.clone(),
            Side::Old => running.from.clone(),
        };
        match self.spawn_instance(app, &version, keyspace, false) {
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
            Order::MakeShadow(keyspace, schema) => {
                instruction::Instruction::MakeShadow(MakeShadow { keyspace, schema })
            }
            Order::StopShadow => instruction::Instruction::StopShadow(StopShadow {}),
            Order::Flush => instruction::Instruction::Flush(Flush {}),
            Order::Go => instruction::Instruction::Go(Go {}),
        };
        let (proxy, name) = (self.proxy.clone(), app.to_owned());
        let call = async move { (proxy.tell(&name, &instance, what).await, name, instance) };
        self.after(call, move |supervisor, (result, app, instance)| {
            if let Err(status) = result {
                if let (Order::MakeShadow(..), Some(running)) = (order, supervisor.running(&app)) {
                    running.untold = Some((side, order));
                    // It may have come back before this answer.
                    if supervisor
                        .instances
                        .get(&instance)
                        .is_some_and(|i| i.attached)
                    {
                        supervisor.tell_again(&app, &instance);
                    }
                }
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

    /// Tells an instance that has attached again what it missed, unless that is of no use any longer.
    pub(super) fn tell_again(&mut self, app: &str, id: &str) {
        let side = self.side_of(app, id);
        let Some(running) = self.running(app) else {
            return;
        };
        let missed = running.untold.take_if(|(missed, _)| Some(*missed) == side);
        if let Some((side, Order::MakeShadow(keyspace, schema))) = missed
            && running.machine.keyspace() == Some(keyspace)
        {
            self.tell(app, side, Order::MakeShadow(keyspace, schema));
        }
    }

    /// Holds the slot, which is the upgrade's.
    pub(super) fn hold(&mut self, app: &str) {
        let deadlines = self.deadlines(app);
        let (proxy, name) = (self.proxy.clone(), app.to_owned());
        let call = async move { proxy.hold(&name, deadlines.quiesce, deadlines.hold).await };
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
        let together = self.resumed_together(app, side);
        let call = async move { resume(&proxy, &name, &id, fenced, together).await };
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
            let mut checkpoints = status.checkpoints.into_iter();
            let cursor = checkpoints
                .find(|checkpoint| checkpoint.app == name && checkpoint.node == node)?
                .cursor
                .unwrap_or_default();
            let answers = Answers {
                count: slot.answered,
                us: slot.answer_us,
            };
            Some((slot.backlog, (cursor.incarnation, cursor.n), answers))
        };
        let name = app.to_owned();
        self.after(call, move |supervisor, load| {
            let input = match load {
                Some((backlog, durable, answers)) => Input::Load {
                    backlog,
                    durable,
                    answers,
                },
                None => Input::Unobserved,
            };
            supervisor.feed_upgrade(&name, input);
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
            managed.row.former = managed.former_than(&to);
            managed.row.trouble = None;
            managed.row.release = to.clone();
            self.releases.set_status(app, &to, ReleaseStatus::Permanent);
            self.releases.set_status(app, &from, ReleaseStatus::Old);
        } else {
            self.releases
                .set_status(app, &to, running.row.was.unwrap_or(ReleaseStatus::Staged));
        }
        // Of one that another morphd left and that is gone since, the record knows.
        let maker = running.new.clone().unwrap_or(running.row.newcomer.clone());
        self.leave_group(&running.row.group);
        self.bound_history(app);
        self.last_status(app, running.row.clone(), running.asker, running.waiting);
        let (stays, goes) = match committed {
            true => (running.new, running.old),
            false => (running.old, running.new),
        };
        if let Some(goes) = goes {
            self.end_instance(&goes);
        }
        if !committed {
            self.drop_shadows(app, Some(maker));
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
