//! Records of the proxy.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use morph_api::session::{self, Hello, Resume, SwitchUp, Welcome, event::What, from_app, to_app};
use morph_api::store::Seq;
use morph_openflow::{v10, v13};

use super::delivery::{Announcement, ChannelChange, Delivery, Place};
use super::rule_sync::ReplyOutcome;
use super::{FatalError, HEALTH, Instance, LiveState, Now, Output, Role, TICK, TimerState};
use crate::rank::StaleRules;
use crate::{App, Changes, Dpid, Event, Pipeline, Switch};

/// OpenFlow versions of switches whose channels speak 1.3 behind the proxy; those of 1.0 have one table.
const SPOKEN: [u32; 2] = [v13::VERSION as u32, v10::VERSION as u32];

impl<A: App> Instance<A> {
    pub(super) fn session_up(&mut self, out: &mut Vec<Output>) {
        let manifest = &self.config.manifest;
        let hello = Hello {
            app: manifest.name.clone(),
            instance: self.config.instance.clone(),
            release: manifest.version.to_string(),
            pid: self.config.pid,
            protocol: morph_api::PROTOCOL,
            confirms_rules: true,
        };
        out.push(Output::Control(from_app::Record::Hello(hello)));
    }

    /// Reverts the unaccepted turn. Accepted turns go on to the store; whoever is live next learns of them there.
    pub(super) fn session_down(&mut self) {
        self.drop_unaccepted();
        self.stop();
        self.role = Role::Waiting;
        self.welcomed = false;
        self.announcement = None;
    }

    /// Ends being live; the instance goes on following the store.
    pub(super) fn pause(&mut self) {
        self.stop();
        if matches!(self.role, Role::Live(_)) {
            tracing::info!("paused: no longer live, follows the store");
        }
        self.role = Role::Paused;
    }

    fn stop(&mut self) {
        self.queue.clear();
        self.changes = None;
    }

    pub(super) fn control(
        &mut self,
        record: to_app::Record,
        now: Now,
        out: &mut Vec<Output>,
    ) -> Result<(), FatalError> {
        use to_app::Record;
        match record {
            Record::Welcome(welcome) => self.welcome(welcome),
            Record::Pipeline(pipeline) => self.move_tables(&pipeline),
            Record::Event(event) => self.deliver(event, now),
            Record::Accepted(accepted) => self.accepted(&accepted, now, out),
            Record::Rejected(rejected) => self.rejected(&rejected)?,
            Record::Resume(resume) => self.resume(&resume, now),
            Record::Quiesce(quiesce) => match &mut self.role {
                Role::Live(live) if live.epoch == quiesce.epoch => live.quiesce = true,
                Role::Live(_) | Role::Waiting | Role::Paused => tracing::warn!(
                    "the proxy asked to quiesce epoch {}, in which this instance is not live",
                    quiesce.epoch
                ),
            },
            Record::Pause(_) => {
                self.drop_unaccepted();
                self.pause();
            }
            Record::Instruction(bytes) => self.instruction(bytes, now, out),
            Record::Reply(_) => self.announcement = Some(Announcement::Reply),
            Record::SwitchUp(up) => self.switch_up(&up),
            Record::SwitchDown(down) => {
                if self.rule_sync.disconnect(Dpid(down.dpid), down.channel) {
                    self.engine.remove_switch(Dpid(down.dpid));
                }
            }
            // A proxy that speaks another protocol will not change its mind.
            Record::Refused(refused) if refused.permanent => {
                let message = format!("the proxy refused the session: {}", refused.message);
                self.fail_with(morph_api::EXIT_PROTOCOL, message, out);
            }
            // The session ends and the driver attaches again, as the reason may pass: a proxy that was just started
            // does not know the apps yet.
            Record::Refused(refused) => {
                tracing::warn!(
                    "the proxy refused the session, another one is begun: {}",
                    refused.message
                );
            }
        }
        Ok(())
    }

    fn welcome(&mut self, welcome: Welcome) {
        self.welcomed = true;
        self.ready_reported = false;
        if let Some(pipeline) = &welcome.pipeline {
            self.set_tables(pipeline);
        }
        let connected: BTreeSet<Dpid> = welcome.switches.iter().map(|up| Dpid(up.dpid)).collect();
        let gone: Vec<Dpid> = self.engine.switches.keys().copied().collect();
        for dpid in gone.into_iter().filter(|dpid| !connected.contains(dpid)) {
            self.engine.remove_switch(dpid);
        }
        // Channels of an earlier session mean nothing here.
        self.rule_sync.forget();
        for up in &welcome.switches {
            self.switch_up(up);
        }
    }

    /// Takes over tables that the proxy tells. Returns the rules that may have changed.
    fn set_tables(&mut self, pipeline: &session::Pipeline) -> StaleRules {
        let byte = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
        let second = Some(byte(pipeline.second_table)).filter(|first| *first != 0);
        self.awaited_tables = Some(pipeline.serial).filter(|serial| *serial != 0);
        let pipeline = Pipeline {
            app: byte(pipeline.app_id),
            first: byte(pipeline.first_table),
            exit: byte(pipeline.last_table),
        };
        let mut stale = StaleRules::new();
        if self.engine.set_pipeline(pipeline, second, &mut stale)
            && matches!(self.role, Role::Live(_))
        {
            // The app may have to do with fewer tables of a switch.
            self.changes = Some(Changes::all());
        }
        stale
    }

    /// Moves the rules to other tables. Where they are in other tables than before, the switches are read, so that it is known when
    /// they have confirmed them.
    fn move_tables(&mut self, pipeline: &session::Pipeline) {
        let before = self.firsts();
        let stale = self.set_tables(pipeline);
        let Pipeline { first, exit, .. } = self.engine.pipeline;
        tracing::info!(first, exit, second = self.engine.second, "the app's tables");
        if self.firsts() == before {
            return self.rule_sync.note(stale, self.engine.wanted(), false);
        }
        self.rule_sync.mark_all_unread();
    }

    /// First tables of its ranges.
    fn firsts(&self) -> BTreeSet<u8> {
        let first = self.engine.pipeline.first;
        [first].into_iter().chain(self.engine.second).collect()
    }

    /// Reports once that all switches have confirmed the rules in the tables that were told.
    pub(super) fn report_tables(&mut self, out: &mut Vec<Output>) {
        if matches!(self.role, Role::Live(_))
            && self.rule_sync.all_in_step()
            && let Some(serial) = self.awaited_tables.take()
        {
            let ready = session::TablesReady { serial };
            out.push(Output::Control(from_app::Record::TablesReady(ready)));
        }
    }

    fn switch_up(&mut self, up: &SwitchUp) {
        if !SPOKEN.contains(&up.version) {
            tracing::warn!(
                "switch {} is left out: it speaks wire version {} of OpenFlow, and apps need 1.3 (4) or 1.0 (1)",
                Dpid(up.dpid),
                up.version
            );
        } else if self.rule_sync.connect(Dpid(up.dpid), up.channel) {
            self.engine
                .set_switch(Switch::from_session(up, self.engine.pipeline.range()));
        }
    }

    fn resume(&mut self, resume: &Resume, now: Now) {
        self.drop_unaccepted();
        self.in_flight.drop_unwritten();
        self.stop();
        let cursor = resume.cursor.unwrap_or(Seq::ZERO);
        tracing::info!("live in epoch {}, after event {cursor}", resume.epoch);
        self.role = Role::Live(LiveState {
            epoch: resume.epoch,
            cursor,
            turn: resume.turn,
            revision: resume.revision,
            quiesce: false,
            flush: None,
            tick: now.instant + TICK,
            timers: TimerState::default(),
            health: now.instant + HEALTH,
            singly_to: Seq::ZERO,
            all_synced: false,
            gated: resume.group,
        });
        self.live_epochs.insert(resume.epoch);
        self.changes = Some(Changes::all());
        self.rule_sync.mark_all_unread();
        if !self.own_loaded() {
            // The app may have had no keyspace before the fence.
            self.look_for_primary();
        }
    }

    fn deliver(&mut self, event: session::Event, now: Now) {
        let waited = Duration::from_micros(event.waited_us);
        let place = Place {
            seq: event.seq.unwrap_or(Seq::ZERO),
            alone: event.alone,
            arrived: now.instant.checked_sub(waited).unwrap_or(now.instant),
        };
        let (event, channel) = match event.what {
            Some(What::Message(_)) => {
                let dpid = event.dpid;
                self.announcement = Some(Announcement::Event { dpid, place });
                return;
            }
            Some(What::SwitchUp(up)) if SPOKEN.contains(&up.version) => {
                let (dpid, channel) = (Dpid(up.dpid), up.channel);
                let change = ChannelChange::Up { dpid, channel };
                let event =
                    Event::SwitchUp(Switch::from_session(&up, self.engine.pipeline.range()));
                (Some(event), Some(change))
            }
            Some(What::SwitchDown(down)) => {
                let (dpid, channel) = (Dpid(down.dpid), down.channel);
                let change = ChannelChange::Down { dpid, channel };
                (Some(Event::SwitchDown(dpid)), Some(change))
            }
            Some(What::Lost(lost)) => {
                let (dpid, count) = (Dpid(lost.dpid), lost.count);
                (Some(Event::Lost { dpid, count }), None)
            }
            Some(What::Resync(resync)) if resync.forget => {
                (Some(Event::SwitchForgotten(Dpid(resync.dpid))), None)
            }
            Some(What::Resync(resync)) => {
                let dpid = (resync.dpid != 0).then_some(Dpid(resync.dpid));
                self.rule_sync.mark_unread(dpid);
                (Some(Event::Resync { dpid }), None)
            }
            Some(What::SwitchUp(_)) | None => (None, None),
        };
        self.enqueue(place, event, channel);
    }

    fn enqueue(&mut self, place: Place, event: Option<Event>, channel: Option<ChannelChange>) {
        if !matches!(self.role, Role::Live(_)) {
            tracing::warn!(
                "event {} came while this instance is not live: the live one will handle it",
                place.seq
            );
            return;
        }
        self.queue.push_back(Delivery {
            place,
            event,
            channel,
            repeated: false,
        });
    }

    pub(super) fn message(&mut self, channel: u32, message: Bytes, now: Now) {
        match self.announcement.take() {
            Some(Announcement::Event { dpid, place }) => {
                let known = (dpid != 0).then_some(Dpid(dpid));
                let dpid = known.or_else(|| self.rule_sync.dpid(channel));
                let event = self.read_event(dpid, &message, now);
                self.enqueue(place, event, None);
            }
            Some(Announcement::Reply) => self.reply(channel, &message, now),
            None => tracing::warn!("an unannounced message of channel {channel} is ignored"),
        }
    }

    fn reply(&mut self, channel: u32, message: &Bytes, now: Now) {
        match self.rule_sync.reply(channel, message, now.instant) {
            ReplyOutcome::Nothing => {}
            ReplyOutcome::RuleFailed(dpid, error) => {
                self.counters.rule_failures += 1;
                let kind = format!("switch {dpid} refused a rule: {}", error.kind);
                if self.repeats.note(&kind, now.instant) {
                    let message = error.message;
                    tracing::error!("switch {dpid} refused a rule, and is read again: {message}");
                }
            }
            ReplyOutcome::Error(dpid, error) => {
                let kind = format!("switch {dpid} reported an error: {}", error.kind);
                if self.repeats.note(&kind, now.instant) {
                    tracing::error!("switch {dpid} reported an error: {}", error.message);
                }
            }
        }
    }

    fn read_event(&mut self, dpid: Option<Dpid>, message: &Bytes, now: Now) -> Option<Event> {
        let dpid = dpid?;
        match Event::read(self.engine.pipeline.app, dpid, message) {
            Ok(Some(Event::FlowRemoved(removed))) if !self.is_passed(removed.table) => {
                self.rule_sync.note_end(&removed, now.instant);
                None
            }
            Ok(event) => event,
            Err(error) => {
                tracing::error!(
                    "a message of switch {dpid} is ignored, as it cannot be decoded: {error}"
                );
                None
            }
        }
    }

    /// Whether packets pass this table of the app. The end of a rule elsewhere says nothing: it was a copy, in tables that packets do
    /// not pass yet, or no longer.
    fn is_passed(&self, table: u8) -> bool {
        let Pipeline { first, exit, .. } = self.engine.pipeline;
        (first..exit).contains(&table)
    }
}
