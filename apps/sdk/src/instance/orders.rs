//! What morphd says, and is told.

use std::time::Instant;

use bytes::Bytes;
use morph_api::session::{Quiesced, from_app};
use morph_api::store::Keyspace;
use morph_api::supervisor::{
    Flushed, Health, Instruction, MakeShadow, Pong, Ready, RuleDifference, ShadowProgress,
    instruction, report,
};
use morph_openflow::rule::RuleSet;
use prost::Message as _;

use super::layers::Layers;
use super::shadow::Shadow;
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
                    revision: self.primary.revision,
                };
                self.say(report::Report::Pong(pong), out);
            }
            Some(Told::MakeShadow(order)) => self.order_shadow(order, out),
            Some(Told::StopShadow(_)) => {
                self.shadow = None;
                self.shadow_order = None;
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
            self.look_for_primary();
        }
    }

    /// Ends a flush, once the keyspace that is the primary now is followed.
    pub(super) fn go_on(&mut self, now: Now, out: &mut Vec<Output>) {
        let follows = self.follows_primary();
        let Role::Live(live) = &mut self.role else {
            return;
        };
        let Some(flush) = &live.flush else {
            return;
        };
        if flush.going && follows {
            live.flush = None;
        } else if !flush.going && flush.deadline <= now.instant {
            tracing::warn!("no Go within {GO:?}: looks for the primary by itself");
            self.go();
            self.follow_due(now, out);
        }
    }

    fn order_shadow(&mut self, order: MakeShadow, out: &mut Vec<Output>) {
        if let Some(shadow) = self
            .shadow
            .as_ref()
            .filter(|shadow| shadow.keyspace == order.keyspace)
        {
            let progress = shadow.progress(&self.primary);
            self.say(report::Report::Shadow(progress), out);
        } else if self.primary.way(order.schema).is_some() {
            self.shadow_order = Some((order.keyspace, order.schema));
        } else {
            let (version, schema) = (&self.config.manifest.version, order.schema);
            let error = format!("release {version} has no migration to schema version {schema}");
            self.no_shadow(order.keyspace, error, out);
        }
    }

    fn no_shadow(&mut self, keyspace: u32, error: String, out: &mut Vec<Output>) {
        tracing::error!("shadow {keyspace} cannot be made: {error}");
        self.shadow = None;
        let progress = ShadowProgress {
            keyspace,
            error,
            ..ShadowProgress::default()
        };
        self.say(report::Report::Shadow(progress), out);
    }

    /// When the shadow has something to do.
    pub(super) fn shadow_deadline(&self) -> Option<Instant> {
        let shadow = self.shadow.as_ref().filter(|_| self.own_loaded());
        shadow.and_then(Shadow::next_deadline)
    }

    /// Writes the next part of the shadow, if one is to be made.
    pub(super) fn make_shadow(&mut self, now: Now, out: &mut Vec<Output>) -> Result<(), Fatal> {
        if !self.own_loaded() {
            return Ok(());
        }
        if let Some((keyspace, schema)) = self.shadow_order.take() {
            self.begin_shadow(keyspace, schema, out);
        }
        let Some(shadow) = &mut self.shadow else {
            return Ok(());
        };
        if let Role::Live(live) = &self.role
            && (live.quiesce || live.flush.is_some())
        {
            shadow.hurry();
        }
        let (tables, id) = (&self.engine.tables, &mut self.last_commit);
        match shadow.next(&self.primary, tables, &self.hands, id, now.instant) {
            Ok(Some((id, transaction))) => out.push(Output::Commit { id, transaction }),
            Ok(None) => {}
            // Through the migration, what fails here fails every turn as well.
            Err(error) if self.primary.is_through() => return Err(error.into()),
            Err(error) => {
                let keyspace = shadow.keyspace;
                self.no_shadow(keyspace, error.to_string(), out);
            }
        }
        Ok(())
    }

    fn begin_shadow(&mut self, keyspace: u32, schema: u32, out: &mut Vec<Output>) {
        let app = &self.config.manifest.name;
        let owner = &self.config.instance;
        let way = self.primary.way(schema).unwrap_or_default();
        let of_view = way.is_empty();
        if of_view != self.primary.is_through() {
            let now = self
                .primary
                .keyspace
                .as_ref()
                .map_or(0, |keyspace| keyspace.schema);
            let error =
                format!("the primary has schema version {now}, the shadow is to have {schema}");
            return self.no_shadow(keyspace, error, out);
        }
        tracing::info!("makes shadow {keyspace} in schema version {schema}");
        self.primary
            .group_by(way.first().copied(), &self.engine.tables);
        self.shadow = Some(match of_view {
            true => Shadow::of_view(app, owner, keyspace, &self.primary, &self.hands),
            false => Shadow::over(app, owner, keyspace, way, &self.primary, &self.hands),
        });
    }

    /// The former primary stays, for those that read its schema version.
    pub(super) fn keep_shadow(
        &mut self,
        keyspace: &Keyspace,
        layers: Layers,
        out: &mut Vec<Output>,
    ) {
        tracing::info!(
            "keeps shadow {} in schema version {}",
            keyspace.id,
            keyspace.schema
        );
        let (app, owner) = (&self.config.manifest.name, &self.config.instance);
        let shadow = Shadow::kept(app, owner, keyspace, layers);
        let progress = shadow.progress(&self.primary);
        self.shadow = Some(shadow);
        self.say(report::Report::Shadow(progress), out);
    }

    pub(super) fn shadow_committed(
        &mut self,
        id: u64,
        outcome: &Outcome,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let Some(shadow) = &mut self.shadow else {
            return;
        };
        match shadow.committed(id, outcome, now.instant) {
            Some(Ok(())) => {
                let progress = shadow.progress(&self.primary);
                self.say(report::Report::Shadow(progress), out);
            }
            Some(Err(error)) => {
                let keyspace = shadow.keyspace;
                self.no_shadow(keyspace, error, out);
            }
            None => {}
        }
    }

    fn shadow_is_current(&self) -> bool {
        self.shadow_order.is_none()
            && self
                .shadow
                .as_ref()
                .is_none_or(|shadow| shadow.is_current(&self.primary))
    }

    /// Once all turns are durable, and a shadow that was ordered reflects them.
    pub(super) fn answer_quiesce(&mut self, out: &mut Vec<Output>) {
        let done = self.hands.is_empty() && self.shadow_is_current();
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
        let done = self.hands.is_empty() && self.shadow_is_current();
        let (Role::Live(live), Some(shadow)) = (&mut self.role, &self.shadow) else {
            return;
        };
        if let Some(flush) = live.flush.as_mut().filter(|flush| !flush.told && done) {
            flush.told = true;
            let flushed = Flushed {
                keyspace: shadow.keyspace,
                watermark: shadow.watermark(),
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
        let rows = self.engine.tables.keyspace(None).map_or(0, view::count) as u64;
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
        let unhealthy = self.engine.healthy().err().map(|error| error.to_string());
        if let Some(why) = &unhealthy {
            tracing::warn!("the app is not well: {why}");
        }
        let health = Health {
            events: self.counters.events,
            errors: self.counters.errors,
            rule_failures: self.counters.rule_failures,
            cursor,
            unhealthy: unhealthy.unwrap_or_default(),
        };
        self.say(report::Report::Health(health), out);
    }
}
