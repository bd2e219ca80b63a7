//! Calls of the store, as morphd's driver carries them out.

use morph_api::RECORDS;
use morph_api::management::Step;
use morph_api::store::{Keyspace, Op, Reason, Transaction};
use morph_store::{Refusal, op};
use morphd::machine::NodeInput;
use morphd::machine::call::{Answer, Call, FenceAnswer, FenceRequest, StoreView};
use morphd::machine::record::{APPS, AppRow, Fenced, UPGRADES, UpgradeRecord};

use super::{Morphd, Port};
use crate::setup::Mutation;
use crate::store::Store;

/// Limit of looks and writes for a new keyspace.
const ATTEMPTS: u32 = 4;

/// The fence for targets has a deadline; other calls of the store are waited for as long as it takes.
pub(super) fn may_be_given_up(call: &Call) -> bool {
    matches!(call, Call::Fence(fence) if fence.step == Some(Step::Resuming))
}

/// The answer that a fence would have if it stood already: a mutation gives it too early.
pub(super) fn foretold(fence: &FenceRequest) -> FenceAnswer {
    let fenced = fence.parts.iter().map(|part| Fenced {
        epoch: part.fencing.epoch + 1,
        cursor: Default::default(),
        turn: 0,
        revision: 0,
    });
    FenceAnswer {
        fenced: fenced.collect(),
        primaries: Vec::new(),
    }
}

impl Morphd {
    /// Number of calls of the store on their way.
    pub(crate) fn stored(&self) -> usize {
        self.store_calls.len()
    }

    /// One of these calls comes to the store, and its answer here.
    pub(crate) fn write(&mut self, at: usize, store: &mut Store, port: &mut Port<'_>) {
        if at < self.store_calls.len() {
            let (id, call) = self.store_calls.remove(at);
            let answer = self.perform(&call, store, port.setup.mutation);
            self.feed(NodeInput::Answer(id, answer), port);
        }
    }

    /// morphd dies, and what it has asked of the store comes there.
    pub(crate) fn write_all(&mut self, store: &mut Store, mutation: Option<Mutation>) {
        for (_, call) in std::mem::take(&mut self.store_calls) {
            self.perform(&call, store, mutation);
        }
    }

    /// The first transaction of a fence that was given up.
    pub(crate) fn fence_transaction(&self, store: &Store, call: &Call) -> Option<Transaction> {
        match call {
            Call::Fence(fence) => Some(self.records.fence_transaction(store, fence)),
            _ => None,
        }
    }

    /// An app whose records say something else than the node, though nothing is being written.
    pub(crate) fn disputed(&self, store: &Store) -> Option<String> {
        if !self.store_calls.is_empty() {
            return None;
        }
        let mut apps = self.node.state().apps.iter();
        let disputed = apps.find(|(app, known)| {
            let row = store.row(RECORDS, APPS, app);
            let row = row.and_then(|row| serde_json::from_str::<AppRow>(&row.value).ok());
            let release = row.map(|row| row.release);
            let last = store.row(RECORDS, UPGRADES, app);
            let last = last.and_then(|row| serde_json::from_str::<UpgradeRecord>(&row.value).ok());
            let has_ended = |record: UpgradeRecord| {
                matches!(record.progress.step, Step::Committed | Step::RolledBack)
            };
            release.as_ref() != Some(&known.row.release) || !last.is_none_or(has_ended)
        });
        disputed.map(|(app, _)| app.clone())
    }

    fn perform(&mut self, call: &Call, store: &mut Store, mutation: Option<Mutation>) -> Answer {
        let unflushed = mutation == Some(Mutation::UnflushedFence);
        match call {
            Call::Write(write) => {
                let written = self.records.record(store, write);
                if write.step == Some(Step::Committed)
                    && let Some(Call::Write(late)) = self.held_back.take()
                {
                    // Nobody waits for this answer.
                    let _ = self.records.record(store, &late);
                }
                Answer::Written(written)
            }
            Call::Fence(fence) => {
                let mut answer = self.records.fence(store, fence, unflushed);
                if mutation == Some(Mutation::FenceRetriedWithAnotherEpoch)
                    && may_be_given_up(call)
                    && let Ok(answer) = &mut answer
                {
                    for fenced in &mut answer.fenced {
                        fenced.epoch += 1;
                    }
                }
                Answer::Fenced(answer)
            }
            Call::MakeKeyspace { app, schema, owner } => {
                Answer::Keyspace(self.make_keyspace(store, app, *schema, owner))
            }
            Call::DropKeyspaces { app, ids } => {
                Answer::Written(self.drop_keyspaces(store, app, ids))
            }
            Call::DropShadows { app, owner } => {
                let shadows = store.shadows(app);
                let useless = shadows.filter(|k| owner.as_ref().is_none_or(|o| k.owner == *o));
                let ids: Vec<u32> = useless.map(|keyspace| keyspace.id).collect();
                Answer::Written(self.drop_keyspaces(store, app, &ids))
            }
            Call::ReadStore => {
                let status = store.status();
                Answer::Store(StoreView {
                    checkpoints: status.checkpoints,
                    keyspaces: status.keyspaces,
                })
            }
            Call::BoundHistory { .. }
            | Call::Hold { .. }
            | Call::Resume(_)
            | Call::Instruct { .. }
            | Call::Suspect { .. }
            | Call::Retry(_)
            | Call::Configure(_)
            | Call::Sample { .. } => Answer::Done(Ok(())),
        }
    }

    fn drop_keyspaces(&mut self, store: &mut Store, app: &str, ids: &[u32]) -> Result<(), String> {
        if ids.is_empty() {
            return Ok(());
        }
        let drops: Vec<Op> = ids.iter().map(|id| op::drop_keyspace(app, *id)).collect();
        self.more(store, &drops)
            .map_err(|refusal| refusal.to_string())
    }

    fn more(&mut self, store: &mut Store, ops: &[Op]) -> Result<(), Box<Refusal>> {
        self.records.write(store, &[], ops, false)
    }

    /// Makes the keyspace of a shadow under an id that the app never used, in the place of its other shadows.
    fn make_keyspace(
        &mut self,
        store: &mut Store,
        app: &str,
        schema: u32,
        owner: &str,
    ) -> Result<u32, String> {
        let mut refused = String::new();
        for _ in 0..ATTEMPTS {
            let is_it = |k: &&Keyspace| k.schema == schema && k.owner == owner;
            if let Some(kept) = store.shadows(app).find(is_it) {
                return Ok(kept.id);
            }
            let drops = store.shadows(app).map(|k| op::drop_keyspace(app, k.id));
            let drops: Vec<Op> = drops.collect();
            let ids = store.shadows(app).chain(store.primary(app)).map(|k| k.id);
            let mut id = ids.max().unwrap_or(0) + 1;
            let made = loop {
                let mut ops = drops.clone();
                ops.push(op::create_shadow(app, id, schema, owner));
                match self.more(store, &ops) {
                    // Ids are not used twice.
                    Err(refusal) if refusal.reason == Reason::Conflict => id += 1,
                    made => break made,
                }
            };
            match made {
                Ok(()) => return Ok(id),
                Err(refusal) => refused = refusal.to_string(),
            }
        }
        Err(refused)
    }
}
