//! The operations, one by one.

use morph_api::store::op::Op as Kind;
use morph_api::store::{
    CreateSpace, DropSpace, Fence, Mark, Op, Reason, Refused, Seq, Skip, Space, Swap,
};

use super::Rows;
use super::draft::Draft;
use super::refuse::{Stop, conflict, invalid, of_lane, refuse};

impl<R: Rows> Draft<'_, R> {
    pub(super) fn op(&mut self, op: Op) -> Result<(), Stop<R::Error>> {
        let Some(kind) = op.op else {
            return Err(invalid("an operation that says nothing").into());
        };
        let done = match kind {
            Kind::Put(put) => {
                let row = put.row.ok_or_else(|| invalid("put: no row"))?;
                return self.write(&row, Some(put.value), &put.lease);
            }
            Kind::Delete(row) => return self.write(&row, None, ""),
            _ if self.turn.is_some() => Err(invalid("a turn puts and deletes, and no more")),
            Kind::Fence(fence) => self.fence(&fence),
            Kind::Skip(skip) => self.skip(&skip),
            Kind::CreateSpace(create) => self.create(&create),
            Kind::DropSpace(drop) => self.drop(&drop),
            Kind::Mark(mark) => self.mark(&mark),
            Kind::Swap(swap) => self.swap(&swap),
            Kind::Grant(grant) => self.grant(&grant),
            Kind::Keep(keep) => self.keep(&keep),
            Kind::Revoke(revoke) => return self.revoke(&revoke),
        };
        Ok(done?)
    }

    fn fence(&mut self, fence: &Fence) -> Result<(), Box<Refused>> {
        let mut lane = self.lane(&fence.app, &fence.node);
        if lane.epoch != fence.expect_epoch {
            let (app, node) = (&fence.app, &fence.node);
            let (expected, now) = (fence.expect_epoch, lane.epoch);
            let message = format!("a fence at epoch {expected} of lane {app}@{node}, at {now}");
            return Err(of_lane(Reason::StaleEpoch, lane, message));
        }
        lane.epoch += 1;
        lane.release.clone_from(&fence.release);
        self.lanes
            .insert((lane.app.clone(), lane.node.clone()), lane);
        Ok(())
    }

    /// The fence before it is what makes it sure that none of the skipped events is answered meanwhile.
    fn skip(&mut self, skip: &Skip) -> Result<(), Box<Refused>> {
        let (app, node) = (&skip.app, &skip.node);
        let key = (app.clone(), node.clone());
        let before = self.state.lanes.get(&key).map_or(0, |lane| lane.epoch);
        let mut lane = self.lane(app, node);
        if lane.epoch == before {
            return Err(invalid(format!(
                "the cursor of lane {app}@{node} is moved together with its fence only"
            )));
        }
        let (from, to) = (skip.from.unwrap_or(Seq::ZERO), skip.to.unwrap_or(Seq::ZERO));
        let now = lane.cursor.unwrap_or(Seq::ZERO);
        if now != from {
            return Err(conflict(format!(
                "the cursor of lane {app}@{node} is {now}, not {from}"
            )));
        }
        if to <= from {
            return Err(invalid(format!(
                "cursor {to} is not past {from}, where lane {app}@{node} is"
            )));
        }
        lane.cursor = Some(to);
        self.lanes.insert(key, lane);
        Ok(())
    }

    fn create(&mut self, create: &CreateSpace) -> Result<(), Box<Refused>> {
        let (app, id) = (&create.app, create.id);
        let key = (app.clone(), id);
        if id == 0 || create.schema == 0 {
            return Err(invalid("ids of spaces and schema versions count from 1"));
        }
        if self.state.used.contains(&key) || self.created.contains(&key) {
            return Err(conflict(format!("id {id} was used before in app {app:?}")));
        }
        match (create.truth, self.spaces_of(app)) {
            (true, (Some(truth), _)) => {
                let truth = truth.id;
                return Err(invalid(format!("app {app:?} has a truth, space {truth}")));
            }
            (false, (None, _)) => {
                return Err(invalid(format!("app {app:?} has no truth to copy")));
            }
            (false, (Some(_), Some(copy))) => {
                let copy = copy.id;
                return Err(invalid(format!("app {app:?} has a copy, space {copy}")));
            }
            (true, (None, _)) | (false, (Some(_), None)) => {}
        }
        let space = Space {
            app: app.clone(),
            id,
            schema: create.schema,
            truth: create.truth,
            owner: create.owner.clone(),
            mark: 0,
            // Not 0: a copy of an empty truth is current once its owner says so, and not before.
            modified: self.state.revision + 1,
            keys: 0,
        };
        self.created.insert(key.clone());
        self.spaces.insert(key, Some(space));
        Ok(())
    }

    fn drop(&mut self, drop: &DropSpace) -> Result<(), Box<Refused>> {
        let (app, id) = (&drop.app, drop.id);
        match self.space(app, id) {
            None => Ok(()),
            Some(space) if space.truth => Err(invalid(format!(
                "space {id} of app {app:?} is the truth, which is never dropped"
            ))),
            Some(_) => {
                self.spaces.insert((app.clone(), id), None);
                Ok(())
            }
        }
    }

    fn mark(&mut self, mark: &Mark) -> Result<(), Box<Refused>> {
        let (app, id) = (&mark.app, mark.id);
        let space = match self.space(app, id) {
            None => return Err(invalid(format!("app {app:?} has no space {id}"))),
            Some(space) if space.truth => {
                return Err(invalid(format!(
                    "space {id} of app {app:?} is the truth, not a copy"
                )));
            }
            Some(space) if space.owner != mark.owner => {
                let (owner, other) = (&space.owner, &mark.owner);
                return Err(refuse(
                    Reason::StaleEpoch,
                    format!("space {id} of app {app:?} is {owner:?}'s to write, not {other:?}'s"),
                ));
            }
            Some(space) => space,
        };
        if mark.mark > self.state.revision {
            let (mark, now) = (mark.mark, self.state.revision);
            return Err(invalid(format!(
                "mark {mark} of space {id} of app {app:?} is ahead of the store, at {now}"
            )));
        }
        // It may go back: a copy that is being made again is not current.
        let space = Space {
            mark: mark.mark,
            ..space.clone()
        };
        self.spaces.insert((app.clone(), id), Some(space));
        Ok(())
    }

    fn swap(&mut self, swap: &Swap) -> Result<(), Box<Refused>> {
        let app = &swap.app;
        let (truth, copy) = match self.spaces_of(app) {
            (Some(truth), Some(copy)) if (truth.id, copy.id) == (swap.truth, swap.copy) => {
                (truth, copy)
            }
            (truth, copy) => {
                let is = |space: Option<&Space>| space.map_or("none".into(), |s| s.id.to_string());
                let (truth, copy) = (is(truth), is(copy));
                let (said, of) = (swap.truth, swap.copy);
                return Err(conflict(format!(
                    "app {app:?} has truth {truth} and copy {copy}, not {said} and {of}"
                )));
            }
        };
        let (id, mark, modified) = (copy.id, copy.mark, truth.modified);
        if mark < modified || self.writes_to(app, truth.id) {
            return Err(refuse(
                Reason::NotCurrent,
                format!("copy {id} of app {app:?} is at {mark}, its truth at {modified} or later"),
            ));
        }
        let new = Space {
            truth: true,
            owner: String::new(),
            mark: 0,
            ..copy.clone()
        };
        let kept = (!swap.keep.is_empty()).then(|| Space {
            truth: false,
            owner: swap.keep.clone(),
            // By now it is what the new truth maps to.
            mark: self.state.revision,
            ..truth.clone()
        });
        self.unbind_all(app, swap.truth)?;
        self.spaces.insert((app.clone(), swap.truth), kept);
        self.spaces.insert((app.clone(), swap.copy), Some(new));
        Ok(())
    }
}
