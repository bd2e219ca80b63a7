//! Instructions of morphd, and reports to it.

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

use super::path::MigrationPath;
use super::shadow::Shadow;
use super::{CommitOutcome, FatalError, FlushState, GO, HEALTH, Instance, Now, Output, Role};
use crate::{App, alarms, install, rule_loss, view};

/// Most switches of which lost rules are reported.
const LOSSES: usize = 64;

impl<A: App> Instance<A> {
    pub(super) fn instruction(&mut self, bytes: Bytes, now: Now, out: &mut Vec<Output>) {
        use instruction::Instruction as Kind;
        let kind = match Instruction::decode(bytes) {
            Ok(instruction) => instruction.instruction,
            Err(error) => {
                tracing::error!(
                    "an instruction of morphd is ignored, as it cannot be decoded: {error}"
                );
                return;
            }
        };
        match kind {
            Some(Kind::Ping(ping)) => {
                let pong = Pong {
                    token: ping.token,
                    revision: self.primary.revision,
                };
                self.report(report::Report::Pong(pong), out);
            }
            Some(Kind::MakeShadow(order)) => self.order_shadow(order, out),
            Some(Kind::StopShadow(_)) => {
                self.shadow = None;
                self.shadow_order = None;
            }
            Some(Kind::Flush(_)) => self.flush(now),
            Some(Kind::Go(_)) => self.go(),
            Some(Kind::Stop(_)) => {
                tracing::info!("morphd told this instance to stop");
                self.exit(0, out);
            }
            None => tracing::warn!(
                "an instruction of morphd is ignored: the SDK of this release does not know its kind"
            ),
        }
    }

    fn flush(&mut self, now: Now) {
        if let Role::Live(live) = &mut self.role {
            live.flush = Some(FlushState {
                deadline: now.instant + GO,
                reported: false,
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

    /// Ends a flush once the present primary is followed.
    pub(super) fn end_flush(&mut self, now: Now, out: &mut Vec<Output>) {
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
            tracing::warn!("morphd sent no Go within {GO:?}: the store is asked for the primary");
            self.go();
            self.follow_due(now, out);
        }
    }

    fn order_shadow(&mut self, order: MakeShadow, out: &mut Vec<Output>) {
        let shadow = self.shadow.as_ref();
        if let Some(shadow) = shadow.filter(|shadow| shadow.keyspace == order.keyspace) {
            let progress = shadow.progress(&self.primary);
            self.report(report::Report::Shadow(progress), out);
        } else if self.primary.path_to(order.schema).is_some() {
            self.shadow_order = Some((order.keyspace, order.schema));
        } else {
            let (version, schema) = (&self.config.manifest.version, order.schema);
            let error = format!("release {version} has no migration to schema version {schema}");
            self.fail_shadow(order.keyspace, error, out);
        }
    }

    fn fail_shadow(&mut self, keyspace: u32, error: String, out: &mut Vec<Output>) {
        tracing::error!("shadow {keyspace} cannot be built: {error}");
        self.shadow = None;
        let progress = ShadowProgress {
            keyspace,
            error,
            ..ShadowProgress::default()
        };
        self.report(report::Report::Shadow(progress), out);
    }

    /// Time at which the shadow has something to do.
    pub(super) fn shadow_deadline(&self) -> Option<Instant> {
        let shadow = self.shadow.as_ref().filter(|_| self.own_loaded());
        shadow.and_then(Shadow::next_deadline)
    }

    /// Writes the next part of the shadow, if one is being built.
    pub(super) fn build_shadow(
        &mut self,
        now: Now,
        out: &mut Vec<Output>,
    ) -> Result<(), FatalError> {
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
            shadow.flush();
        }
        let (tables, id) = (&self.engine.tables, &mut self.last_commit);
        match shadow.next(&self.primary, tables, &self.in_flight, id, now.instant) {
            Ok(Some((id, transaction))) => out.push(Output::Commit { id, transaction }),
            Ok(None) => {}
            // An error in a translated release fails every turn as well.
            Err(error) if self.primary.is_translated() => return Err(error.into()),
            Err(error) => {
                let keyspace = shadow.keyspace;
                self.fail_shadow(keyspace, error.to_string(), out);
            }
        }
        Ok(())
    }

    fn begin_shadow(&mut self, keyspace: u32, schema: u32, out: &mut Vec<Output>) {
        let app = &self.config.manifest.name;
        let owner = &self.config.instance;
        let steps = self.primary.path_to(schema).unwrap_or_default();
        let of_view = steps.is_empty();
        if of_view != self.primary.is_translated() {
            let now = self.primary.keyspace.as_ref();
            let now = now.map_or(0, |keyspace| keyspace.schema);
            let error =
                format!("the primary has schema version {now}, the shadow is to have {schema}");
            return self.fail_shadow(keyspace, error, out);
        }
        tracing::info!("builds shadow {keyspace} in schema version {schema}");
        self.primary
            .group_by(steps.first().copied(), &self.engine.tables);
        self.shadow = Some(match of_view {
            true => Shadow::of_view(app, owner, keyspace, &self.primary, &self.in_flight),
            false => Shadow::over(app, owner, keyspace, steps, &self.primary, &self.in_flight),
        });
    }

    /// Keeps the former primary as a shadow, for apps that read its schema version.
    pub(super) fn keep_shadow(
        &mut self,
        keyspace: &Keyspace,
        path: MigrationPath,
        out: &mut Vec<Output>,
    ) {
        tracing::info!(
            "keeps the former primary {} as a shadow in schema version {}",
            keyspace.id,
            keyspace.schema
        );
        let (app, owner) = (&self.config.manifest.name, &self.config.instance);
        let shadow = Shadow::kept(app, owner, keyspace, path);
        let progress = shadow.progress(&self.primary);
        self.shadow = Some(shadow);
        self.report(report::Report::Shadow(progress), out);
    }

    pub(super) fn shadow_committed(
        &mut self,
        id: u64,
        outcome: &CommitOutcome,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let Some(shadow) = &mut self.shadow else {
            return;
        };
        match shadow.committed(id, outcome, now.instant) {
            Some(Ok(())) => {
                let progress = shadow.progress(&self.primary);
                self.report(report::Report::Shadow(progress), out);
            }
            Some(Err(error)) => {
                let keyspace = shadow.keyspace;
                self.fail_shadow(keyspace, error, out);
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

    /// Answers Quiesce once all turns are durable, and the shadow reflects them.
    pub(super) fn answer_quiesce(&mut self, out: &mut Vec<Output>) {
        let done = self.in_flight.is_empty() && self.shadow_is_current();
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
        let done = self.in_flight.is_empty() && self.shadow_is_current();
        let (Role::Live(live), Some(shadow)) = (&mut self.role, &self.shadow) else {
            return;
        };
        if let Some(flush) = live.flush.as_mut().filter(|flush| !flush.reported && done) {
            flush.reported = true;
            let flushed = Flushed {
                keyspace: shadow.keyspace,
                watermark: shadow.watermark(),
            };
            self.report(report::Report::Flushed(flushed), out);
        }
    }

    /// Reports Ready once per session: the view is loaded, and the switches are read unless nobody serves the app.
    pub(super) fn report_ready(&mut self, out: &mut Vec<Output>) {
        // An instance that was live before reports too: whoever started it waits for this report.
        let waits = self.welcomed && !self.ready_reported;
        let read = self.config.unserved || self.rule_sync.all_read();
        if !waits || !self.view_settled() || !read {
            return;
        }
        self.ready_reported = true;
        let none = RuleSet::new();
        let mut sum = RuleDifference::default();
        let mut losses = Vec::new();
        for (dpid, read) in self.rule_sync.as_read() {
            let wanted = self.engine.wanted().get(&dpid).unwrap_or(&none);
            let one = install::counts(&install::difference(read, wanted));
            sum.added += one.added;
            sum.changed += one.changed;
            sum.removed += one.removed;
            sum.unchanged += one.unchanged;
            losses.extend(rule_loss::of_switch(dpid, read, wanted));
        }
        losses.sort_by_key(|loss| std::cmp::Reverse(loss.removed));
        losses.truncate(LOSSES);
        let rows = self.engine.tables.of(None).map_or(0, view::count) as u64;
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
            losses,
        };
        self.report(report::Report::Ready(ready), out);
    }

    pub(super) fn report_health(&mut self, now: Now, out: &mut Vec<Output>) {
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
            tracing::warn!("the app reports that it is unhealthy: {why}");
        }
        let faults = self.engine.rule_faults();
        let health = Health {
            events: self.counters.events,
            errors: self.counters.errors,
            rule_failures: self.counters.rule_failures,
            cursor,
            unhealthy: unhealthy.unwrap_or_default(),
            vanishing: self.rule_sync.vanishing(now.instant),
            failures: self.counters.failures,
            rules_left_out: faults.left_out,
            rules_disputed: faults.disputed,
            alarms_left_out: alarms::are_left_out(&self.engine.tables),
        };
        self.report(report::Report::Health(health), out);
    }
}
