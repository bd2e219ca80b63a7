//! Carries out the node's calls of the store and the proxy, each in a task of its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use morph_api::fail;
use morph_api::management::Step;
use morph_api::store::{Keyspace, Op, Reason};
use morph_api::supervisor::{
    Flush, Go, Group, HoldReply, MakeShadow, Ping, ResumeRequest, StopShadow, hold_reply,
    instruction,
};
use morph_store::{Client, Refusal, op};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tonic::{Code, Status};

use super::event::{Event, present};
use super::history;
use crate::machine::InstanceId;
use crate::machine::call::{
    Answer, Call, CallId, FenceAnswer, FenceRefusal, FenceRequest, RecordWrite, Resume,
    RetryRefusal, StoreView,
};
use crate::machine::outbox::Milestone;
use crate::machine::record::{APPS, AppRow, Fencing, UPGRADES, Write};
use crate::machine::upgrade::{AnswerTimes, HoldOutcome, Load, Order, Resumption};
use crate::proxy::Proxy;
use crate::records::{self, Records};

/// A shadow of an upgrade that was taken back may come into being, or go, between a look and a write: then both are done again.
const ATTEMPTS: u32 = 4;

/// Calls under way, and whom they go to.
pub(super) struct Calls {
    parties: Parties,
    tasks: HashMap<CallId, Task>,
}

struct Task {
    handle: AbortHandle,
    /// A point at which tests stop morphd, once the answer is there.
    milestone: Option<&'static str>,
}

/// Clients of the store and the proxy.
#[derive(Clone)]
struct Parties {
    store: Client,
    records: Arc<Records>,
    proxy: Proxy,
}

impl Calls {
    pub(super) fn new(store: Client, proxy: Proxy) -> Self {
        let records = Arc::new(Records::new(store.clone()));
        Calls {
            parties: Parties {
                store,
                records,
                proxy,
            },
            tasks: HashMap::new(),
        }
    }

    pub(super) fn store(&self) -> Client {
        self.parties.store.clone()
    }

    pub(super) fn proxy(&self) -> Proxy {
        self.parties.proxy.clone()
    }

    pub(super) fn records(&self) -> Arc<Records> {
        Arc::clone(&self.parties.records)
    }

    pub(super) fn begin(&mut self, id: CallId, call: Call, post: &mpsc::Sender<Event>) {
        let (before, milestone) = milestones(&call);
        if let Some(before) = before {
            may_fail(before);
        }
        let (parties, post) = (self.parties.clone(), post.clone());
        let task = tokio::spawn(async move {
            let answer = parties.perform(call).await;
            // Refused only when the supervisor has ended, and then nobody waits for it.
            let _ = post.send(Event::Answered(id, answer)).await;
        });
        let handle = task.abort_handle();
        self.tasks.insert(id, Task { handle, milestone });
    }

    /// Nobody waits for the call any longer. What is on its way may arrive or not.
    pub(super) fn abandon(&mut self, id: CallId) {
        if let Some(task) = self.tasks.remove(&id) {
            task.handle.abort();
        }
    }

    pub(super) fn answered(&mut self, id: CallId) {
        if let Some(milestone) = self.tasks.remove(&id).and_then(|task| task.milestone) {
            may_fail(milestone);
        }
    }
}

/// Points at which tests stop morphd, before a call and after its answer.
fn milestones(call: &Call) -> (Option<&'static str>, Option<&'static str>) {
    match call {
        Call::Fence(request) if request.step.is_some() => (
            Some("morphd.upgrade.fencing"),
            Some("morphd.upgrade.fenced"),
        ),
        Call::Write(write) if write.step == Some(Step::Committed) => {
            let members = write.writes.iter().filter(|w| w.table == UPGRADES);
            let several = members.count() > 1;
            (None, several.then_some("morphd.upgrade.committed_as_one"))
        }
        _ => (None, None),
    }
}

/// A point at which a test can end, stop or hang morphd; nothing here could fail with an error.
fn may_fail(point: &str) {
    let _ = fail::point(point);
}

pub(super) fn reached(milestone: Milestone) {
    match milestone {
        Milestone::Step(step) => {
            let step = step.as_str_name().to_lowercase();
            may_fail(&format!("morphd.upgrade.{step}"));
        }
        Milestone::Suspected => may_fail("morphd.suspected"),
    }
}

/// A point at which tests have the record of a step refused, as a full disk does: `morphd.record.STEP`.
fn record_refused(step: Option<Step>) -> Result<(), String> {
    let Some(step) = step else { return Ok(()) };
    let point = format!("morphd.record.{}", step.as_str_name().to_lowercase());
    fail::point(&point).map_err(|failed| failed.to_string())
}

impl Parties {
    async fn perform(&self, call: Call) -> Answer {
        match call {
            Call::Write(write) => Answer::Written(self.write(write).await),
            Call::Fence(request) => Answer::Fenced(self.fence(request).await),
            Call::MakeKeyspace { app, schema, owner } => {
                Answer::Keyspace(self.make_keyspace(&app, schema, &owner).await)
            }
            Call::DropKeyspaces { app, ids } => {
                Answer::Written(self.drop_keyspaces(&app, &ids).await)
            }
            Call::DropShadows { app, owner } => {
                Answer::Written(self.drop_shadows(&app, owner).await)
            }
            Call::BoundHistory { app } => {
                Answer::Written(history::bound(&self.records, &app).await)
            }
            Call::ReadStore => {
                let status = self.records.status().await;
                Answer::Store(StoreView {
                    checkpoints: status.checkpoints,
                    keyspaces: status.keyspaces,
                })
            }
            Call::Hold { app, quiesce, hold } => {
                let held = self.proxy.hold(&app, quiesce, hold).await;
                Answer::Held(held.map(|reply| outcome(&reply)).map_err(message))
            }
            Call::Resume(resume) => Answer::Resumed(self.resume(resume).await),
            Call::Instruct {
                app,
                instance,
                order,
            } => {
                let order = instruction(order);
                let done = self.proxy.instruct(&app, &instance, order).await;
                Answer::Done(done.map_err(message))
            }
            Call::Suspect {
                app,
                instance,
                handling,
            } => {
                // A proxy that is away has lost its events, and those that come after it are others.
                let suspect = self.proxy.suspect(&app, &instance, handling).await;
                Answer::Suspect(suspect.unwrap_or_default())
            }
            Call::Retry(request) => Answer::Retried(match self.proxy.retry(request).await {
                Ok(reply) => Ok(reply.seq.unwrap_or_default()),
                Err(status) if status.code() == Code::Unavailable => {
                    Err(RetryRefusal::Away(message(status)))
                }
                Err(status) => Err(RetryRefusal::Refused(message(status))),
            }),
            Call::Configure(configuration) => {
                let done = self.proxy.configure(configuration).await;
                Answer::Done(done.map_err(message))
            }
            Call::Sample { app } => Answer::Load(self.sample(&app).await),
        }
    }

    // ---- the store ----

    async fn write(&self, write: RecordWrite) -> Result<(), String> {
        record_refused(write.step)?;
        let keeps: BTreeMap<String, InstanceId> = write.keeps.into_iter().collect();
        let more = self.records.swaps(&write.swaps, &keeps).await;
        let mut more = more.map_err(words)?;
        if let Some(primary) = write.primary {
            let keyspaces = self.records.status().await.keyspaces;
            let has_one = keyspaces.iter().any(|k| k.app == primary.app && k.primary);
            if !has_one {
                more.extend(records::create(&primary));
            }
        }
        let written = self.records.write(&write.writes, &more).await;
        written.map(drop).map_err(words)
    }

    async fn fence(&self, request: FenceRequest) -> Result<FenceAnswer, FenceRefusal> {
        record_refused(request.step).map_err(|message| FenceRefusal {
            conflict: false,
            message,
        })?;
        let parts = &request.parts;
        let fencings: Vec<Fencing> = parts.iter().map(|part| part.fencing.clone()).collect();
        let writes = |epochs: &[u64]| {
            let mut all = Vec::new();
            for (part, epoch) in parts.iter().zip(epochs) {
                let row = AppRow {
                    epoch: *epoch,
                    ..part.row.clone()
                };
                all.extend(part.writes.iter().cloned());
                all.push(Write::new(APPS, part.fencing.app.as_str(), &row));
            }
            all
        };
        let apps: Vec<String> = fencings.iter().map(|f| f.app.clone()).collect();
        let fenced = self.records.fence(fencings, writes).await;
        let fenced = fenced.map_err(|refusal| FenceRefusal {
            conflict: refusal.reason == Reason::Conflict,
            message: words(refusal),
        })?;
        let primaries = match request.primaries {
            // Nothing of an earlier fence is committed any more.
            true => self.records.primaries(&apps).await,
            false => Vec::new(),
        };
        Ok(FenceAnswer { fenced, primaries })
    }

    /// Makes a shadow's keyspace under an id that the app never used, in the place of a shadow that nobody needs any longer.
    async fn make_keyspace(&self, app: &str, schema: u32, owner: &str) -> Result<u32, String> {
        let mut refused = String::new();
        for _ in 0..ATTEMPTS {
            let status = self.records.status().await;
            let keyspaces = status.keyspaces.iter().filter(|k| k.app == app);
            let keyspaces: Vec<&Keyspace> = keyspaces.collect();
            let shadows = || keyspaces.iter().filter(|k| !k.primary);
            let mut kept = shadows();
            if let Some(kept) = kept.find(|k| k.schema == schema && k.owner == owner) {
                return Ok(kept.id);
            }
            let drops: Vec<Op> = shadows().map(|k| op::drop_keyspace(app, k.id)).collect();
            let newest = keyspaces.iter().map(|k| k.id).max().unwrap_or(0);
            let made = self.create(&drops, newest + 1, (app, schema, owner)).await;
            match made {
                Ok(id) => return Ok(id),
                Err(refusal) => refused = words(refusal),
            }
        }
        Err(refused)
    }

    /// Drops these, and makes a shadow's keyspace under the first id from `id` on that was never used.
    async fn create(
        &self,
        drops: &[Op],
        mut id: u32,
        (app, schema, owner): (&str, u32, &str),
    ) -> Result<u32, Refusal> {
        loop {
            let mut ops = drops.to_vec();
            ops.push(op::create_shadow(app, id, schema, owner));
            match self.records.write(&[], &ops).await {
                Ok(_) => return Ok(id),
                // Used before; ids are not used twice.
                Err(refusal) if refusal.reason == Reason::Conflict => id += 1,
                Err(refusal) => return Err(refusal),
            }
        }
    }

    async fn drop_keyspaces(&self, app: &str, ids: &[u32]) -> Result<(), String> {
        let drops: Vec<Op> = ids.iter().map(|id| op::drop_keyspace(app, *id)).collect();
        if drops.is_empty() {
            return Ok(());
        }
        let dropped = self.records.write(&[], &drops).await;
        dropped.map(drop).map_err(words)
    }

    /// A new shadow takes an old one's place anyway; this is so that none lies about.
    async fn drop_shadows(&self, app: &str, owner: Option<InstanceId>) -> Result<(), String> {
        let keyspaces = self.records.status().await.keyspaces.into_iter();
        let shadows = keyspaces.filter(|k| k.app == app && !k.primary);
        let useless = shadows.filter(|k| owner.as_ref().is_none_or(|owner| k.owner == *owner));
        let ids: Vec<u32> = useless.map(|keyspace| keyspace.id).collect();
        self.drop_keyspaces(app, &ids).await
    }

    // ---- the proxy ----

    async fn resume(&self, resume: Resume) -> Result<Resumption, String> {
        let fenced = resume.fenced;
        let group = resume.group.map(|(id, apps, wait)| Group {
            id,
            apps,
            wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
        });
        let request = ResumeRequest {
            app: resume.app,
            instance: resume.instance,
            epoch: fenced.epoch,
            cursor: Some(fenced.cursor),
            turn: fenced.turn,
            revision: fenced.revision,
            group,
        };
        let reply = self.proxy.resume(request).await.map_err(message)?;
        Ok(Resumption {
            queued: reply.queued,
            replayed: reply.replayed,
            held_us: reply.held_us,
        })
    }

    /// Samples how an app answers. While the store does not answer there is no sample: nothing can be said against the app.
    async fn sample(&self, app: &str) -> Option<Load> {
        let slots = self.proxy.slots().await.ok()?.slots;
        self.store.status().await.ok()?;
        let slot = slots.into_iter().find(|slot| slot.app == app)?;
        Some(Load {
            silent: Duration::from_micros(slot.silent_us),
            answers: AnswerTimes {
                count: slot.answered,
                us: slot.answer_us,
            },
        })
    }
}

fn outcome(reply: &HoldReply) -> HoldOutcome {
    match reply.outcome() {
        hold_reply::Outcome::Quiesced => HoldOutcome::Quiesced,
        hold_reply::Outcome::Gone => HoldOutcome::Gone,
        hold_reply::Outcome::Expired | hold_reply::Outcome::Unspecified => HoldOutcome::Expired,
    }
}

fn instruction(order: Order) -> instruction::Instruction {
    match order {
        Order::Ping => instruction::Instruction::Ping(Ping {
            token: present().unix_ms,
        }),
        Order::MakeShadow { keyspace, schema } => {
            instruction::Instruction::MakeShadow(MakeShadow { keyspace, schema })
        }
        Order::StopShadow => instruction::Instruction::StopShadow(StopShadow {}),
        Order::Flush => instruction::Instruction::Flush(Flush {}),
        Order::Go => instruction::Instruction::Go(Go {}),
    }
}

fn message(status: Status) -> String {
    status.message().to_owned()
}

fn words(refusal: Refusal) -> String {
    refusal.to_string()
}
