//! A transaction at work: what it would change, gathered beside the state.

use std::collections::{BTreeMap, BTreeSet};

use morph_api::store::op::Op as Kind;
use morph_api::store::{Expect, Lane, Reason, Refused, Row, Seq, Space, Transaction, Turn};

use super::lease::{self, Lease};
use super::refuse::{Stop, conflict, invalid, of_lane};
use super::{At, Effects, LaneKey, Rows, SpaceKey, State};

/// A row that the transaction writes.
pub(super) struct Write {
    /// Its revision before the transaction.
    before: Option<u64>,
    /// Its value after it.
    after: Option<String>,
}

impl Write {
    fn changes(&self) -> bool {
        self.before.is_some() || self.after.is_some()
    }
}

pub(super) struct Draft<'a, R> {
    pub(super) state: &'a State,
    rows: &'a R,
    pub(super) turn: Option<Turn>,
    pub(super) lanes: BTreeMap<LaneKey, Lane>,
    /// None: dropped.
    pub(super) spaces: BTreeMap<SpaceKey, Option<Space>>,
    pub(super) created: BTreeSet<SpaceKey>,
    /// Copies that the transaction has a mark for; the mark itself is judged where it stands.
    marked: BTreeSet<SpaceKey>,
    expected: BTreeSet<At>,
    writes: BTreeMap<At, Write>,
    /// Those that are touched; none: ended.
    pub(super) leases: BTreeMap<String, Option<Lease>>,
    /// Rows whose lease the transaction changes, and which it is now.
    pub(super) bindings: BTreeMap<At, Option<String>>,
}

impl<'a, R: Rows> Draft<'a, R> {
    pub(super) fn new(state: &'a State, rows: &'a R, transaction: &Transaction) -> Self {
        let marks = transaction.ops.iter().filter_map(|op| match &op.op {
            Some(Kind::Mark(mark)) => Some((mark.app.clone(), mark.id)),
            _ => None,
        });
        Draft {
            state,
            rows,
            turn: transaction.turn.clone(),
            lanes: BTreeMap::new(),
            spaces: BTreeMap::new(),
            created: BTreeSet::new(),
            marked: marks.collect(),
            expected: BTreeSet::new(),
            writes: BTreeMap::new(),
            leases: BTreeMap::new(),
            bindings: BTreeMap::new(),
        }
    }

    /// Is it this turn's turn? Epoch before place: who has been shut out must stop, whatever it sends.
    pub(super) fn turn(&mut self) -> Result<(), Box<Refused>> {
        let Some(turn) = &self.turn else {
            return Ok(());
        };
        let mut lane = self.lane(&turn.app, &turn.node);
        let (app, node) = (&turn.app, &turn.node);
        if turn.epoch != lane.epoch || lane.epoch == 0 {
            let (epoch, now) = (turn.epoch, lane.epoch);
            let message = format!("a turn of epoch {epoch} on lane {app}@{node}, at {now}");
            return Err(of_lane(Reason::StaleEpoch, lane, message));
        }
        if turn.follows != lane.turn {
            let reason = match turn.follows < lane.turn {
                true => Reason::Already,
                false => Reason::Gap,
            };
            let (follows, now) = (turn.follows, lane.turn);
            let message = format!("a turn after {follows} on lane {app}@{node}, at {now}");
            return Err(of_lane(reason, lane, message));
        }
        if let Some(cursor) = turn.cursor {
            let now = lane.cursor.unwrap_or(Seq::ZERO);
            if cursor <= now {
                return Err(invalid(format!(
                    "cursor {cursor} is not past {now}, where lane {app}@{node} is"
                )));
            }
            lane.cursor = Some(cursor);
        }
        lane.turn += 1;
        self.lanes
            .insert((lane.app.clone(), lane.node.clone()), lane);
        Ok(())
    }

    /// Looks at the rows as they were before: no operation has been applied yet.
    pub(super) fn expect(&mut self, expect: &Expect) -> Result<(), Stop<R::Error>> {
        let Some(row) = &expect.row else {
            return Err(invalid("expect: no row").into());
        };
        let at = self.resolve(row).ok();
        let revision = match &at {
            Some(at) => self.rows.revision(at).map_err(Stop::Failed)?.unwrap_or(0),
            None => 0, // where there is no space there is no row
        };
        if revision != expect.revision {
            let (app, table, key) = (&row.app, &row.table, &row.key);
            let what = |revision| match revision {
                0 => "absent".to_owned(),
                _ => format!("at revision {revision}"),
            };
            return Err(conflict(format!(
                "row {app}/{table}/{key} is {}, not {}",
                what(revision),
                what(expect.revision)
            ))
            .into());
        }
        self.expected.extend(at);
        Ok(())
    }

    /// The lane as the transaction has it by now; one that was never fenced is at epoch 0.
    pub(super) fn lane(&self, app: &str, node: &str) -> Lane {
        let key = (app.to_owned(), node.to_owned());
        let lane = self.lanes.get(&key).or_else(|| self.state.lanes.get(&key));
        lane.cloned().unwrap_or_else(|| Lane {
            app: key.0,
            node: key.1,
            cursor: Some(Seq::ZERO),
            ..Lane::default()
        })
    }

    pub(super) fn space(&self, app: &str, id: u32) -> Option<&Space> {
        let key = (app.to_owned(), id);
        match self.spaces.get(&key) {
            Some(space) => space.as_ref(),
            None => self.state.spaces.get(&key),
        }
    }

    /// Truth and copy, as the transaction has them by now.
    pub(super) fn spaces_of(&self, app: &str) -> (Option<&Space>, Option<&Space>) {
        let all = (app.to_owned(), 0)..=(app.to_owned(), u32::MAX);
        let touched = self
            .spaces
            .range(all)
            .filter_map(|(_, space)| space.as_ref());
        let (mut truth, mut copy) = (None, None);
        for space in self.state.spaces_of(app).chain(touched) {
            // What is touched comes last and says the last word.
            match self.space(app, space.id) {
                Some(space) if space.truth => truth = Some(space),
                Some(space) => copy = Some(space),
                None => {}
            }
        }
        (truth, copy)
    }

    fn resolve(&self, row: &Row) -> Result<At, Box<Refused>> {
        let (app, id) = (&row.app, row.space);
        let space = match id {
            0 => self.spaces_of(app).0,
            id => self.space(app, id),
        };
        let space = space.ok_or_else(|| match id {
            0 => invalid(format!("app {app:?} has no truth")),
            id => invalid(format!("app {app:?} has no space {id}")),
        })?;
        Ok(At {
            app: app.clone(),
            space: space.id,
            table: row.table.clone(),
            key: row.key.clone(),
        })
    }

    /// Puts (some) or deletes (none) a row, if it is the writer's to write. A put binds it to a lease, or to none.
    pub(super) fn write(
        &mut self,
        row: &Row,
        after: Option<String>,
        lease: &str,
    ) -> Result<(), Stop<R::Error>> {
        let at = self.resolve(row)?;
        self.may_write(&at)?;
        self.bind(&at, lease)?;
        self.set(at, after)
    }

    /// Whoever may.
    pub(super) fn set(&mut self, at: At, after: Option<String>) -> Result<(), Stop<R::Error>> {
        match self.writes.get_mut(&at) {
            Some(write) => write.after = after,
            None => {
                let before = self.rows.revision(&at).map_err(Stop::Failed)?;
                self.writes.insert(at, Write { before, after });
            }
        }
        Ok(())
    }

    fn may_write(&self, at: &At) -> Result<(), Box<Refused>> {
        let key = (at.app.clone(), at.space);
        let truth = self.space(&at.app, at.space).is_some_and(|s| s.truth);
        if lease::is_at(at) {
            let name = &at.key;
            return Err(invalid(format!(
                "lease {name:?}: it is granted, kept and revoked, and not written"
            )));
        }
        let allowed = match (&self.turn, truth) {
            (Some(turn), true) => turn.app == at.app,
            (Some(_), false) => false,
            // A space that is new has no rows that anyone could have changed meanwhile.
            (None, true) => self.expected.contains(at) || self.created.contains(&key),
            (None, false) => self.marked.contains(&key),
        };
        if allowed {
            return Ok(());
        }
        let why = match (&self.turn, truth) {
            (Some(_), _) => "a turn writes the truth of its own app only",
            (None, true) => "a write to a truth that is no turn needs an expectation on the row",
            (None, false) => "a copy is written with its mark only",
        };
        Err(invalid(format!(
            "row {}/{}/{} of space {}: {why}",
            at.app, at.table, at.key, at.space
        )))
    }

    /// Has the transaction changed a row of this space by now?
    pub(super) fn writes_to(&self, app: &str, id: u32) -> bool {
        self.writes
            .iter()
            .any(|(at, write)| at.app == app && at.space == id && write.changes())
    }

    pub(super) fn finish(mut self) -> Effects {
        let next = self.state.revision + 1;
        let leases = std::mem::take(&mut self.leases);
        for (name, lease) in &leases {
            let before = self.state.leases.get(name).map(|lease| lease.revision);
            let after = lease.as_ref().map(Lease::to_json);
            self.writes.insert(lease::at(name), Write { before, after });
        }
        let mut rows = Vec::with_capacity(self.writes.len());
        for (at, write) in std::mem::take(&mut self.writes) {
            let space = self.space(&at.app, at.space);
            if let (true, Some(space)) = (write.changes(), space.cloned()) {
                let space = counted(space, &write, next);
                self.spaces.insert((at.app.clone(), at.space), Some(space));
                rows.push((at, write.after));
            }
        }
        let old = |key: &SpaceKey| self.state.spaces.get(key);
        let changed_spaces = self
            .spaces
            .iter()
            .any(|(key, new)| old(key) != new.as_ref());
        let changed = changed_spaces || !self.lanes.is_empty() || !self.created.is_empty();
        let (kept, gone): (Vec<_>, Vec<_>) = self
            .spaces
            .into_iter()
            .partition(|(_, space)| space.is_some());
        Effects {
            changed,
            revision: if changed { next } else { self.state.revision },
            origin: self.turn,
            rows,
            lanes: self.lanes.into_values().collect(),
            spaces: kept.into_iter().filter_map(|(_, space)| space).collect(),
            dropped: gone.into_iter().map(|(key, _)| key).collect(),
            used: self.created.into_iter().collect(),
            leases: leases.into_iter().collect(),
        }
    }
}

fn counted(mut space: Space, write: &Write, revision: u64) -> Space {
    space.modified = revision;
    match (&write.before, &write.after) {
        (None, Some(_)) => space.keys += 1,
        // Saturating: a count, and not worth an outage.
        (Some(_), None) => space.keys = space.keys.saturating_sub(1),
        (Some(_), Some(_)) | (None, None) => {}
    }
    space
}
