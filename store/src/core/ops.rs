//! Operations of a transaction.

use morph_api::store::op::Op as Kind;
use morph_api::store::{
    AdvanceWatermark, CreateKeyspace, DropKeyspace, Fence, Keyspace, Op, Reason, Refused, Seq,
    Skip, Swap,
};

use super::draft::Draft;
use super::effects::Rows;
use super::refuse::{Interrupt, conflict, invalid, of_checkpoint, refuse};

impl<R: Rows> Draft<'_, R> {
    pub(super) fn op(&mut self, op: Op) -> Result<(), Interrupt<R::Error>> {
        let Some(kind) = op.op else {
            return Err(invalid("an operation without content").into());
        };
        let done = match kind {
            Kind::Put(put) => {
                let row = put.row.ok_or_else(|| invalid("put: no row"))?;
                return self.write(&row, Some(put.value), &put.lease);
            }
            Kind::Delete(row) => return self.write(&row, None, ""),
            _ if self.turn.is_some() => Err(invalid("a turn may only put and delete rows")),
            Kind::Fence(fence) => self.fence(&fence),
            Kind::Skip(skip) => self.skip(&skip),
            Kind::CreateKeyspace(create) => self.create(&create),
            Kind::DropKeyspace(drop) => self.drop(&drop),
            Kind::AdvanceWatermark(watermark) => self.watermark(&watermark),
            Kind::Swap(swap) => self.swap(&swap),
            Kind::Grant(grant) => self.grant(&grant),
            Kind::Keep(keep) => self.keep(&keep),
            Kind::Revoke(revoke) => return self.revoke(&revoke),
        };
        Ok(done?)
    }

    fn fence(&mut self, fence: &Fence) -> Result<(), Box<Refused>> {
        let mut checkpoint = self.checkpoint(&fence.app, &fence.node);
        if checkpoint.epoch != fence.expect_epoch {
            let (app, node) = (&fence.app, &fence.node);
            let (expected, now) = (fence.expect_epoch, checkpoint.epoch);
            let message = format!(
                "the fence expects epoch {expected}, and checkpoint {app}@{node} is at epoch {now}"
            );
            return Err(of_checkpoint(Reason::StaleEpoch, checkpoint, message));
        }
        checkpoint.epoch += 1;
        checkpoint.release.clone_from(&fence.release);
        self.checkpoints.insert(
            (checkpoint.app.clone(), checkpoint.node.clone()),
            checkpoint,
        );
        Ok(())
    }

    /// Requires a fence in the same transaction: without it a turn could still answer one of the skipped events.
    fn skip(&mut self, skip: &Skip) -> Result<(), Box<Refused>> {
        let (app, node) = (&skip.app, &skip.node);
        let key = (app.clone(), node.clone());
        let before = self
            .state
            .checkpoints
            .get(&key)
            .map_or(0, |checkpoint| checkpoint.epoch);
        let mut checkpoint = self.checkpoint(app, node);
        if checkpoint.epoch == before {
            return Err(invalid(format!(
                "the cursor of checkpoint {app}@{node} can be moved only after its fence in the same transaction"
            )));
        }
        let (from, to) = (skip.from.unwrap_or(Seq::ZERO), skip.to.unwrap_or(Seq::ZERO));
        let now = checkpoint.cursor.unwrap_or(Seq::ZERO);
        if now != from {
            return Err(conflict(format!(
                "the cursor of checkpoint {app}@{node} is {now}, not {from}"
            )));
        }
        if to <= from {
            return Err(invalid(format!(
                "cursor {to} is not past {from}, the cursor of checkpoint {app}@{node}"
            )));
        }
        checkpoint.cursor = Some(to);
        self.checkpoints.insert(key, checkpoint);
        Ok(())
    }

    fn create(&mut self, create: &CreateKeyspace) -> Result<(), Box<Refused>> {
        let (app, id) = (&create.app, create.id);
        let key = (app.clone(), id);
        if id == 0 || create.schema == 0 {
            return Err(invalid("ids of keyspaces and schema versions count from 1"));
        }
        if self.state.used.contains(&key) || self.created.contains(&key) {
            return Err(conflict(format!("id {id} was used before in app {app:?}")));
        }
        match (create.primary, self.keyspaces_of(app)) {
            (true, (Some(primary), _)) => {
                let primary = primary.id;
                return Err(invalid(format!(
                    "app {app:?} has a primary, keyspace {primary}"
                )));
            }
            (false, (None, _)) => {
                return Err(invalid(format!(
                    "app {app:?} has no primary to derive a shadow from"
                )));
            }
            (false, (Some(_), Some(shadow))) => {
                let shadow = shadow.id;
                return Err(invalid(format!(
                    "app {app:?} has a shadow, keyspace {shadow}"
                )));
            }
            (true, (None, _)) | (false, (Some(_), None)) => {}
        }
        let keyspace = Keyspace {
            app: app.clone(),
            id,
            schema: create.schema,
            primary: create.primary,
            owner: create.owner.clone(),
            watermark: 0,
            // Not 0: a shadow of an empty primary is current only after its owner has said so.
            modified: self.state.revision + 1,
            keys: 0,
        };
        self.created.insert(key.clone());
        self.keyspaces.insert(key, Some(keyspace));
        Ok(())
    }

    fn drop(&mut self, drop: &DropKeyspace) -> Result<(), Box<Refused>> {
        let (app, id) = (&drop.app, drop.id);
        match self.keyspace(app, id) {
            None => Ok(()),
            Some(keyspace) if keyspace.primary => Err(invalid(format!(
                "keyspace {id} of app {app:?} is the primary, which is never dropped"
            ))),
            Some(_) => {
                self.keyspaces.insert((app.clone(), id), None);
                Ok(())
            }
        }
    }

    fn watermark(&mut self, watermark: &AdvanceWatermark) -> Result<(), Box<Refused>> {
        let (app, id) = (&watermark.app, watermark.id);
        let keyspace = match self.keyspace(app, id) {
            None => return Err(invalid(format!("app {app:?} has no keyspace {id}"))),
            Some(keyspace) if keyspace.primary => {
                return Err(invalid(format!(
                    "keyspace {id} of app {app:?} is the primary, not a shadow"
                )));
            }
            Some(keyspace) if keyspace.owner != watermark.owner => {
                let (owner, other) = (&keyspace.owner, &watermark.owner);
                return Err(refuse(
                    Reason::StaleEpoch,
                    format!(
                        "keyspace {id} of app {app:?} may be written by {owner:?} only, not by {other:?}"
                    ),
                ));
            }
            Some(keyspace) => keyspace,
        };
        if watermark.watermark > self.state.revision {
            let (watermark, now) = (watermark.watermark, self.state.revision);
            return Err(invalid(format!(
                "watermark {watermark} of keyspace {id} of app {app:?} is ahead of the store, at {now}"
            )));
        }
        // A watermark may go back, when a shadow is filled again.
        let keyspace = Keyspace {
            watermark: watermark.watermark,
            ..keyspace.clone()
        };
        self.keyspaces.insert((app.clone(), id), Some(keyspace));
        Ok(())
    }

    fn swap(&mut self, swap: &Swap) -> Result<(), Box<Refused>> {
        let app = &swap.app;
        let (primary, shadow) = match self.keyspaces_of(app) {
            (Some(primary), Some(shadow))
                if (primary.id, shadow.id) == (swap.primary, swap.shadow) =>
            {
                (primary, shadow)
            }
            (primary, shadow) => {
                let is = |keyspace: Option<&Keyspace>| {
                    keyspace.map_or("none".into(), |s| s.id.to_string())
                };
                let (primary, shadow) = (is(primary), is(shadow));
                let (said, of) = (swap.primary, swap.shadow);
                return Err(conflict(format!(
                    "app {app:?} has primary {primary} and shadow {shadow}, not {said} and {of}"
                )));
            }
        };
        let (id, watermark, modified) = (shadow.id, shadow.watermark, primary.modified);
        if watermark < modified || self.writes_to(app, primary.id) {
            return Err(refuse(
                Reason::NotCurrent,
                format!(
                    "shadow {id} of app {app:?} is at {watermark}, its primary at {modified} or later"
                ),
            ));
        }
        let new = Keyspace {
            primary: true,
            owner: String::new(),
            watermark: 0,
            ..shadow.clone()
        };
        let kept = (!swap.keep.is_empty()).then(|| Keyspace {
            primary: false,
            owner: swap.keep.clone(),
            // The old primary is what the new one maps to at this revision.
            watermark: self.state.revision,
            ..primary.clone()
        });
        self.unbind_all(app, swap.primary)?;
        self.keyspaces.insert((app.clone(), swap.primary), kept);
        self.keyspaces.insert((app.clone(), swap.shadow), Some(new));
        Ok(())
    }
}
