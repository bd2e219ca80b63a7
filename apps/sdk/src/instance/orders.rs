//! What morphd says, and is told.

use std::time::Instant;

use bytes::Bytes;
use morph_api::session::{Quiesced, from_app};
use morph_api::store::Space;
use morph_api::supervisor::{
    CopyProgress, Flushed, Health, Instruction, MakeCopy, Pong, Ready, RuleDifference, instruction,
    report,
};
use morph_openflow::rule::RuleSet;
use prost::Message as _;

use super::copy::Copy;
use super::layers::Layers;
use super::turns::counts;
use super::{Fatal, Flush, GO, HEALTH, Instance, Now, Outcome, Output, Role};
use crate::{App, install, view};

impl<A: App> Instance<A> {
    pub(super) fn told(&mut self, bytes: Bytes, now: Now, out: &mut Vec<Output>) {
        use instruction::Instruction as Told;
        let told = match Instruction::decode(bytes) {
            Ok(told) => told.instruction,
            Err(error) => {
                tracing::error!("an instruction cannot be read: {error}");
                return;
            }
        };
        match told {
            Some(Told::Ping(ping)) => {
                let pong = Pong {
                    token: ping.token,
                    revision: self.truth.revision,
                };
                self.say(report::Report::Pong(pong), out);
            }
            Some(Told::MakeCopy(order)) => self.order_copy(order, out),
            Some(Told::StopCopy(_)) => {
                self.copy = None;
                self.copy_order = None;
            }
            Some(Told::Flush(_)) => self.flush(now),
            Some(Told::Go(_)) => self.go(),
            Some(Told::Stop(_)) => {
                tracing::info!("told to stop");
                self.exit(0, out);
            }
            None => tracing::warn!("an instruction of a kind that this release does not know"),
        }
    }

    fn flush(&mut self, now: Now) {
        if let Role::Live(live) = &mut self.role {
            live.flush = Some(Flush {
                deadline: now.instant + GO,
                told: false,
                going: false,
            });
        }
    }

    fn go(&mut self) {
        if let Role::Live(live) = &mut self.role
            && let Some(flush) = &mut live.flush
        {
            flush.going = true;
            self.look_for_truth();
        }
    }

    /// Ends a flush, once the space that is the truth now is followed.
    pub(super) fn go_on(&mut self, now: Now, out: &mut Vec<Output>) {
        let follows = self.follows_truth();
        let Role::Live(live) = &mut self.role else {
            return;
        };
        let Some(flush) = &live.flush else {
            return;
        };
        if flush.going && follows {
            live.flush = None;
        } else if !flush.going && flush.deadline <= now.instant {
            tracing::warn!("no Go within {GO:?}: looks for the truth by itself");
            self.go();
            self.follow_due(now, out);
        }
    }

    fn order_copy(&mut self, order: MakeCopy, out: &mut Vec<Output>) {
        if let Some(copy) = self.copy.as_ref().filter(|copy| copy.space == order.space) {
            let progress = copy.progress(&self.truth);
            self.say(report::Report::Copy(progress), out);
        } else if self.truth.way(order.schema).is_some() {
            self.copy_order = Some((order.space, order.schema));
        } else {
            let (version, schema) = (&self.config.manifest.version, order.schema);
            let error = format!("release {version} has no migration to schema version {schema}");
            self.no_copy(order.space, error, out);
        }
    }

    fn no_copy(&mut self, space: u32, error: String, out: &mut Vec<Output>) {
        tracing::error!("copy {space} cannot be made: {error}");
        self.copy = None;
        let progress = CopyProgress {
            space,
            error,
            ..CopyProgress::default()
        };
        self.say(report::Report::Copy(progress), out);
    }

    /// When the copy has something to do.
    pub(super) fn copy_deadline(&self) -> Option<Instant> {
        let copy = self.copy.as_ref().filter(|_| self.own_loaded());
        copy.and_then(Copy::next_deadline)
    }

    /// Writes the next part of the copy, if one is to be made.
    pub(super) fn make_copy(&mut self, now: Now, out: &mut Vec<Output>) -> Result<(), Fatal> {
        if !self.own_loaded() {
            return Ok(());
        }
        if let Some((space, schema)) = self.copy_order.take() {
            self.begin_copy(space, schema, out);
        }
        let Some(copy) = &mut self.copy else {
            return Ok(());
        };
        if let Role::Live(live) = &self.role
            && (live.quiesce || live.flush.is_some())
        {
            copy.hurry();
        }
        let (tables, id) = (&self.engine.tables, &mut self.last_commit);
        match copy.next(&self.truth, tables, &self.hands, id, now.instant) {
            Ok(Some((id, transaction))) => out.push(Output::Commit { id, transaction }),
            Ok(None) => {}
            // Through the migration, what fails here fails every turn as well.
            Err(error) if self.truth.is_through() => return Err(error.into()),
            Err(error) => {
                let space = copy.space;
                self.no_copy(space, error.to_string(), out);
            }
        }
        Ok(())
    }

    fn begin_copy(&mut self, space: u32, schema: u32, out: &mut Vec<Output>) {
        let app = &self.config.manifest.name;
        let owner = &self.config.instance;
        let way = self.truth.way(schema).unwrap_or_default();
        let of_view = way.is_empty();
        if of_view != self.truth.is_through() {
            let now = self.truth.space.as_ref().map_or(0, |space| space.schema);
            let error = format!("the truth has schema version {now}, the copy is to have {schema}");
            return self.no_copy(space, error, out);
        }
        tracing::info!("makes copy {space} in schema version {schema}");
        self.truth
            .group_by(way.first().copied(), &self.engine.tables);
        self.copy = Some(match of_view {
            true => Copy::of_view(app, owner, space, &self.truth, &self.hands),
            false => Copy::over(app, owner, space, way, &self.truth, &self.hands),
        });
    }

    /// The former truth stays, for those that read its schema version.
    pub(super) fn keep_copy(&mut self, space: &Space, layers: Layers, out: &mut Vec<Output>) {
        tracing::info!("keeps copy {} in schema version {}", space.id, space.schema);
        let (app, owner) = (&self.config.manifest.name, &self.config.instance);
        let copy = Copy::kept(app, owner, space, layers);
        let progress = copy.progress(&self.truth);
        self.copy = Some(copy);
        self.say(report::Report::Copy(progress), out);
    }

    pub(super) fn copy_committed(
        &mut self,
        id: u64,
        outcome: &Outcome,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let Some(copy) = &mut self.copy else {
            return;
        };
        match copy.committed(id, outcome, now.instant) {
            Some(Ok(())) => {
                let progress = copy.progress(&self.truth);
                self.say(report::Report::Copy(progress), out);
            }
            Some(Err(error)) => {
                let space = copy.space;
                self.no_copy(space, error, out);
            }
            None => {}
        }
    }

    fn copy_is_current(&self) -> bool {
        self.copy_order.is_none()
            && self
                .copy
                .as_ref()
                .is_none_or(|copy| copy.is_current(&self.truth))
    }

    /// Once all turns are durable, and a copy that was ordered reflects them.
    pub(super) fn answer_quiesce(&mut self, out: &mut Vec<Output>) {
        let done = self.hands.is_empty() && self.copy_is_current();
        let Role::Live(live) = &self.role else {
            return;
        };
        if live.quiesce && done {
            let quiesced = Quiesced {
                epoch: live.epoch,
                cursor: Some(live.cursor),
                turn: live.turn,
            };
            out.push(Output::Control(from_app::Record::Quiesced(quiesced)));
            self.pause();
        }
    }

    pub(super) fn answer_flush(&mut self, out: &mut Vec<Output>) {
        let done = self.hands.is_empty() && self.copy_is_current();
        let (Role::Live(live), Some(copy)) = (&mut self.role, &self.copy) else {
            return;
        };
        if let Some(flush) = live.flush.as_mut().filter(|flush| !flush.told && done) {
            flush.told = true;
            let flushed = Flushed {
                space: copy.space,
                mark: copy.mark(),
            };
            self.say(report::Report::Flushed(flushed), out);
        }
    }

    /// Once per session: the view is loaded, the switches are read, if anybody serves the app meanwhile.
    pub(super) fn say_ready(&mut self, out: &mut Vec<Output>) {
        // Also one that was resumed before: whoever started it waits for this word.
        let waits = self.welcomed && !self.ready_said;
        let read = self.config.alone || self.switches.all_read();
        if !waits || !self.view_settled() || !read {
            return;
        }
        self.ready_said = true;
        let none = RuleSet::new();
        let mut sum = RuleDifference::default();
        for (dpid, read) in self.switches.as_read() {
            let wanted = self.engine.wanted().get(&dpid).unwrap_or(&none);
            let one = counts(&install::difference(read, wanted));
            sum.added += one.added;
            sum.changed += one.changed;
            sum.removed += one.removed;
            sum.unchanged += one.unchanged;
        }
        let rows = self.engine.tables.space(None).map_or(0, view::count) as u64;
        tracing::info!(
            rows,
            added = sum.added,
            changed = sum.changed,
            removed = sum.removed,
            unchanged = sum.unchanged,
            "ready"
        );
        let ready = Ready {
            schema: self.config.manifest.schema,
            difference: Some(sum),
            rows,
        };
        self.say(report::Report::Ready(ready), out);
    }

    pub(super) fn say_health(&mut self, now: Now, out: &mut Vec<Output>) {
        let Role::Live(live) = &mut self.role else {
            return;
        };
        if live.health > now.instant {
            return;
        }
        live.health = now.instant + HEALTH;
        let cursor = Some(live.cursor);
        let unwell = self.engine.healthy().err().map(|error| error.to_string());
        if let Some(why) = &unwell {
            tracing::warn!("the app is not well: {why}");
        }
        let health = Health {
            events: self.counters.events,
            errors: self.counters.errors,
            rule_failures: self.counters.rule_failures,
            cursor,
            unwell: unwell.unwrap_or_default(),
        };
        self.say(report::Report::Health(health), out);
    }
}
