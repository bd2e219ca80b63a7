//! Turns: made of one input or of several events, accepted by the proxy, committed in the store.
//!
//! 1. The app handles the input: rows change in the view, packets are to be sent. Events that wait are handled in the same
//!    turn, until it has lasted for a while. One on which the app fails loses its own changes only.
//! 2. The dirty groups of rules are computed again; differences from the switches that were read become flow-mods, as fast as
//!    these confirm them.
//! 3. Flow-mods, packet-outs and TurnEnd go to the proxy. An empty turn is not sent, unless it has handled an event.
//!
//! The way of a sent turn to the disk is in `commits`.

use bytes::BytesMut;
use morph_api::session::{RulesConfirmed, TurnEnd, from_app};
use morph_api::store::Seq;
use morph_api::supervisor::{RuleDifference, RulesSynced, report};
use morph_openflow::v13;

use super::batch::Batch;
use super::delivery::{ChannelChange, Delivery};
use super::in_flight::{InFlightTurn, TurnCommit};
use super::rule_sync::PACKET_OUT;
use super::{FatalError, Instance, LiveState, Now, Output, Role, TICK};
use crate::engine::{Cause, Effects};
use crate::{App, Changes, Dpid, DueTimer, Event, PacketOut};

/// Bytes of a packet-out besides its data, where it has a single action.
const PACKET_OUT_ROOM: usize = 40;

/// Input of the next turn. `Rules` is a turn without the app: rules are to be sent.
enum TurnInput {
    Rules,
    Tick,
    /// Timers that are due, of which this is the first.
    Timers(DueTimer),
    Changes(Changes),
    Events(Box<Delivery>),
}

/// Whether an event says that something happened in the network. Others say what is to be compared, as does an event that is
/// handled again.
fn is_of_network(delivery: &Delivery) -> bool {
    let kinds = matches!(
        delivery.event,
        Some(Event::PacketIn(_) | Event::FlowRemoved(_) | Event::PortStatus { .. })
    );
    kinds && !delivery.repeated
}

impl<A: App> Instance<A> {
    /// Whether a turn may be made now.
    pub(super) fn may_turn(&self) -> bool {
        let Role::Live(live) = &self.role else {
            return false;
        };
        self.in_flight
            .has_room(live.epoch, self.config.manifest.durability)
            && self.deferred.is_none()
            && !live.quiesce
            && live.flush.is_none()
            && (!live.gated || self.rule_sync.all_read())
            && self.view_reached(live.revision)
            // The instance may have become live before it was ready: rows that it does not see yet it would take for
            // deleted.
            && self.others_settled()
    }

    /// Makes the next turn. True if there was one, and it needs no acceptance.
    pub(super) fn make_turn(
        &mut self,
        now: Now,
        out: &mut Vec<Output>,
    ) -> Result<bool, FatalError> {
        if !self.may_turn() {
            return Ok(false);
        }
        self.send_rules_ready(out);
        let Some(input) = self.next_input(now) else {
            return Ok(false);
        };
        self.make(input, now, out)?;
        Ok(self.in_flight.accepting.is_none())
    }

    /// Reports RulesReady in a group upgrade: the rules go out in the turn that is made next.
    fn send_rules_ready(&mut self, out: &mut Vec<Output>) {
        if let Role::Live(live) = &mut self.role
            && std::mem::take(&mut live.gated)
        {
            let epoch = live.epoch;
            let ready = morph_api::session::RulesReady { epoch };
            out.push(Output::Control(from_app::Record::RulesReady(ready)));
        }
    }

    /// Chooses the next input. Events come last, as there may always be another one; all other inputs are rare.
    fn next_input(&mut self, now: Now) -> Option<TurnInput> {
        let Role::Live(live) = &mut self.role else {
            return None;
        };
        // A reverted turn's rules are wanted again in a moment: handle its event before they are removed from the
        // switches.
        if let Some(delivery) = self.queue.pop_front_if(|delivery| delivery.repeated) {
            return Some(TurnInput::Events(Box::new(delivery)));
        }
        if let Some(changes) = self.changes.take() {
            return Some(TurnInput::Changes(changes));
        }
        if self.rule_sync.has_work(now.instant) {
            return Some(TurnInput::Rules);
        }
        if live.tick <= now.instant {
            live.tick = now.instant + TICK;
            return Some(TurnInput::Tick);
        }
        let timers_last = std::mem::take(&mut live.timers.last);
        if (!timers_last || self.queue.is_empty())
            && let Some(timer) = DueTimer::first(&self.engine.view(), now.wall)
        {
            live.timers.last = true;
            return Some(TurnInput::Timers(timer));
        }
        let delivery = self.queue.pop_front()?;
        Some(TurnInput::Events(Box::new(delivery)))
    }

    fn make(
        &mut self,
        input: TurnInput,
        now: Now,
        out: &mut Vec<Output>,
    ) -> Result<(), FatalError> {
        let singly_to = match &self.role {
            Role::Live(live) => live.singly_to,
            Role::Waiting | Role::Paused => Seq::ZERO,
        };
        let room = match input {
            TurnInput::Events(_) => 1 + self.queue.len(),
            TurnInput::Rules | TurnInput::Tick | TurnInput::Timers(_) | TurnInput::Changes(_) => 0,
        };
        let mut batch = Batch::new(self.config.clock, singly_to, room);
        match input {
            TurnInput::Rules => {}
            TurnInput::Tick => {
                let effects = self.app_turn(Cause::Tick, now, &mut batch);
                self.counters.failures += u64::from(effects.error.is_some());
                batch.add("a tick", effects, &self.engine.tables);
            }
            TurnInput::Timers(first) => self.timers(first, &mut batch, now),
            TurnInput::Changes(changes) => {
                let cause = Cause::Changed(&changes);
                let effects = self.app_turn(cause, now, &mut batch);
                self.counters.failures += u64::from(effects.error.is_some());
                batch.add("changed tables", effects, &self.engine.tables);
            }
            TurnInput::Events(first) => self.events(*first, &mut batch, now),
        }
        self.primary.note(batch.journal.keys(), &self.engine.tables);
        self.settle_as(!batch.deliveries.is_empty() && batch.deliveries.iter().all(is_of_network));
        let sent = self.check_reads().and_then(|()| self.send(batch, now, out));
        self.config.event_mark.set(Seq::ZERO);
        sent
    }

    /// Has the app handle an event, and those that wait behind it as long as the turn takes them.
    fn events(&mut self, first: Delivery, batch: &mut Batch, now: Now) {
        let mut next = Some(first);
        while let Some(delivery) = next {
            self.config.event_mark.set(delivery.place.seq);
            let packets_before = batch.packet_outs.len();
            let effects = self.event(&delivery, batch, now);
            if delivery.repeated {
                // Packets of a repeated event have left already.
                batch.packet_outs.truncate(packets_before);
            }
            let what = format_args!("event {}", delivery.place.seq);
            batch.add(what, effects, &self.engine.tables);
            batch.deliveries.push(delivery);
            next = self.queue.pop_front_if(|next| batch.takes(next));
        }
        if batch.deliveries.len() > 1 {
            // None of them alone is to blame for what follows.
            self.config.event_mark.set(Seq::ZERO);
        }
        batch.keep_changes(&self.engine.tables);
    }

    /// Has the app handle a due timer, and those that are due as well as long as the turn takes them.
    fn timers(&mut self, first: DueTimer, batch: &mut Batch, now: Now) {
        let mut next = Some(first);
        while let Some(timer) = next {
            let effects = self.app_turn(Cause::Timer(&timer), now, batch);
            if effects.error.is_some() {
                self.counters.errors += 1;
            }
            batch.add(&timer, effects, &self.engine.tables);
            let has_room = batch.has_room();
            next = DueTimer::first(&self.engine.view(), now.wall).filter(|_| has_room);
        }
        batch.keep_changes(&self.engine.tables);
    }

    /// Notes when the next timer is due. A step of the wall clock is seen with the next tick.
    pub(super) fn wait_for_timers(&mut self, now: Now) {
        if let Role::Live(live) = &mut self.role {
            let next = DueTimer::next_in(&self.engine.view(), now.wall);
            live.timers.due = next.and_then(|wait| now.instant.checked_add(wait));
        }
    }

    /// Brings the switches in line with an event, then lets the app handle it.
    fn event(&mut self, delivery: &Delivery, batch: &mut Batch, now: Now) -> Effects {
        self.counters.events += 1;
        let past = matches!(&self.role, Role::Live(live) if delivery.place.seq <= live.cursor);
        let Some(event) = delivery.event.as_ref().filter(|_| !past) else {
            return Effects::default();
        };
        let counts = match delivery.channel {
            // A channel that has been replaced meanwhile: the app is told, and the view is ahead.
            Some(ChannelChange::Up { dpid, channel }) => self.rule_sync.connect(dpid, channel),
            Some(ChannelChange::Down { dpid, channel }) => self.rule_sync.disconnect(dpid, channel),
            None => true,
        };
        if counts {
            self.engine.see(event);
        }
        if let Event::FlowRemoved(removed) = event {
            self.rule_sync.note_end(removed, now.instant);
        }
        let cause = Cause::Event(event, delivery.place.arrived);
        let effects = self.app_turn(cause, now, batch);
        if effects.error.is_some() {
            self.counters.errors += 1;
        }
        if effects.cut > 0 {
            self.log_cut(event, now);
        }
        effects
    }

    /// Logs that packets were dropped because only their beginning came.
    fn log_cut(&mut self, event: &Event, now: Now) {
        let dpid = event.dpid().unwrap_or(Dpid(0));
        let kind = format!(
            "packets from switch {dpid} are dropped: it sent only their beginning, and the switch that was to send them on does \
             not have the rest"
        );
        if self.repeats.note(&kind, now.instant) {
            tracing::warn!("{kind}");
        }
    }

    /// Has the app handle an input. Its packets are added to the turn.
    fn app_turn(&mut self, cause: Cause<'_>, now: Now, batch: &mut Batch) -> Effects {
        let packets = &mut batch.packet_outs;
        self.engine.turn(cause, now.instant, now.wall, packets)
    }

    fn send(&mut self, batch: Batch, now: Now, out: &mut Vec<Output>) -> Result<(), FatalError> {
        let Role::Live(live) = &self.role else {
            return Ok(());
        };
        let epoch = live.epoch;
        // Turns on their way to the store are all of this epoch; otherwise no turn would be made.
        let follows = live.turn + self.in_flight.committing.len() as u64;
        let (wanted, entries) = (self.engine.wanted(), self.engine.wanted_entries());
        let rules = self.rule_sync.write(wanted, entries, epoch, now.instant);
        let together = rules.together;
        let rules = rules.messages.into_iter();
        let rules = rules.map(|(channel, message)| Output::Message { channel, message });
        let mut commands = Vec::with_capacity(rules.len() + batch.packet_outs.len());
        commands.extend(rules);
        self.packet_outs(batch.packet_outs, &mut commands);
        let journal = batch.journal;
        let translation = self.primary.translate(&journal, &self.engine.tables)?;
        if let Some(shadow) = &mut self.shadow {
            shadow.touch(&translation.touched);
        }
        if commands.is_empty() && translation.writes.is_empty() && batch.deliveries.is_empty() {
            return Ok(());
        }
        out.append(&mut commands);
        // The store keeps the cursor; the proxy is told once that an event was handled.
        let last = batch.deliveries.last();
        let event = last.filter(|delivery| !delivery.repeated);
        out.push(Output::Control(from_app::Record::TurnEnd(TurnEnd {
            epoch,
            turn: follows + 1,
            event: event.map(|delivery| delivery.place.seq),
            together,
        })));
        self.in_flight.accepting = Some(InFlightTurn {
            epoch,
            follows,
            deliveries: batch.deliveries,
            journal,
            translation,
            cancelled: false,
            commit: TurnCommit::default(),
        });
        Ok(())
    }

    /// Writes the messages of packet-outs, all into one buffer.
    fn packet_outs(&self, packet_outs: Vec<PacketOut>, commands: &mut Vec<Output>) {
        let lengths = packet_outs.iter().map(|packet| packet.data.len());
        let room = lengths.sum::<usize>() + packet_outs.len() * PACKET_OUT_ROOM;
        let mut buffer = BytesMut::with_capacity(room);
        for packet in packet_outs {
            let (dpid, in_port) = (packet.dpid, packet.in_port);
            let Some(channel) = self.rule_sync.channel(dpid) else {
                tracing::debug!(
                    "a packet for switch {dpid} is dropped: the switch is not connected"
                );
                continue;
            };
            let (actions, data) = (&packet.actions, &packet.data);
            let written = match packet.buffer {
                None => v13::PacketOut::write(PACKET_OUT, in_port, actions, data, &mut buffer),
                Some(id) => {
                    v13::PacketOut::write_buffered(PACKET_OUT, in_port, actions, id, &mut buffer)
                }
            };
            match written {
                Ok(()) => commands.push(Output::Message {
                    channel,
                    message: buffer.split().freeze(),
                }),
                Err(error) => {
                    tracing::error!("a packet for switch {dpid} is left out: {error}");
                }
            }
        }
    }

    /// Reports the switches that have their rules now, and once that all have them.
    pub(super) fn report_synced(&mut self, out: &mut Vec<Output>) {
        let Role::Live(live) = &self.role else {
            return;
        };
        // No switch may be connected: what it would have is known once the view is.
        let is_known = self.view_reached(live.revision) && self.others_settled();
        let unreported = !live.all_synced && is_known;
        let synced = self.rule_sync.take_synced();
        if synced.is_empty() && !unreported {
            return;
        }
        let all = self.rule_sync.all_in_step();
        let count = synced.len();
        for (at, (dpid, difference)) in synced.into_iter().enumerate() {
            if let Some(channel) = self.rule_sync.channel(dpid) {
                let confirmed = RulesConfirmed { channel };
                out.push(Output::Control(from_app::Record::RulesConfirmed(confirmed)));
            }
            let last = all && at + 1 == count;
            self.report_rules(dpid.0, Some(difference), last, out);
        }
        if all && count == 0 && unreported {
            self.report_rules(0, None, true, out);
        }
    }

    fn report_rules(
        &mut self,
        dpid: u64,
        difference: Option<RuleDifference>,
        all: bool,
        out: &mut Vec<Output>,
    ) {
        let Role::Live(LiveState {
            epoch, all_synced, ..
        }) = &mut self.role
        else {
            return;
        };
        let epoch = *epoch;
        let last = all && !*all_synced;
        *all_synced |= all;
        let rules = RulesSynced {
            epoch,
            dpid,
            difference,
            last,
        };
        self.report(report::Report::Rules(rules), out);
    }
}
