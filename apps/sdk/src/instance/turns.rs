//! Turns: made of one input or of several events, accepted by the proxy, committed in the store.
//!
//! 1. The app handles the input: rows change in the view, packets are to be sent. Events that wait are handled in the same
//!    turn, until it has lasted for a while. One on which the app fails loses its own changes only.
//! 2. The dirty groups of rules are computed again; differences from the switches in step become flow-mods.
//! 3. Flow-mods, packet-outs and TurnEnd go to the proxy. An empty turn is not sent, unless it has handled an event.
//!
//! The way of a sent turn to the disk is in `commits`.

use morph_api::session::{TurnEnd, from_app};
use morph_api::store::Seq;
use morph_api::supervisor::{RuleDifference, RulesSynced, report};
use morph_openflow::rule::Difference;
use morph_openflow::v13::{self, Message, NO_BUFFER};

use super::batch::Batch;
use super::delivery::{ChannelChange, Delivery};
use super::in_flight::{InFlightTurn, TurnCommit};
use super::switches::{FLOW_MOD, PACKET_OUT};
use super::{FatalError, Instance, LiveState, Now, Output, Role, TICK};
use crate::engine::{Cause, Effects};
use crate::{App, Changes, Dpid, Event, PacketOut};

/// Input of the next turn. `Rules` is a turn without the app: rules are to be sent.
enum TurnInput {
    Rules,
    Tick,
    Changes(Changes),
    Events(Box<Delivery>),
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
            && (!live.gated || self.switches.all_read())
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
            self.report_all_synced(out);
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
        if self.switches.has_work() {
            return Some(TurnInput::Rules);
        }
        if live.tick <= now.instant {
            live.tick = now.instant + TICK;
            return Some(TurnInput::Tick);
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
        let mut batch = Batch::new(self.config.clock, singly_to);
        match input {
            TurnInput::Rules => {}
            TurnInput::Tick => {
                let effects = self.engine.turn(Cause::Tick, now.instant, now.wall);
                batch.add("a tick", effects, &self.engine.tables);
            }
            TurnInput::Changes(changes) => {
                let cause = Cause::Changed(&changes);
                let effects = self.engine.turn(cause, now.instant, now.wall);
                batch.add("changed tables", effects, &self.engine.tables);
            }
            TurnInput::Events(first) => self.events(*first, &mut batch, now),
        }
        self.primary.note(batch.journal.keys(), &self.engine.tables);
        self.settle();
        let sent = self.send(batch, out);
        self.config.event_mark.set(Seq::ZERO);
        sent
    }

    /// Has the app handle an event, and those that wait behind it as long as the turn takes them.
    fn events(&mut self, first: Delivery, batch: &mut Batch, now: Now) {
        let mut next = Some(first);
        while let Some(delivery) = next {
            self.config.event_mark.set(delivery.place.seq);
            let mut effects = self.event(&delivery, now);
            if delivery.repeated {
                // Packets of a repeated event have left already.
                effects.packet_outs.clear();
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
        // A row may have its value of before again.
        let tables = &self.engine.tables;
        batch
            .journal
            .retain(|(table, key), before| tables.get(None, table, key) != *before);
    }

    /// Brings the switches in line with an event, then lets the app handle it.
    fn event(&mut self, delivery: &Delivery, now: Now) -> Effects {
        self.counters.events += 1;
        let past = matches!(&self.role, Role::Live(live) if delivery.place.seq <= live.cursor);
        let Some(event) = delivery.event.as_ref().filter(|_| !past) else {
            return Effects::default();
        };
        let counts = match delivery.channel {
            // A channel that has been replaced meanwhile: the app is told, and the view is ahead.
            Some(ChannelChange::Up { dpid, channel }) => self.switches.connect(dpid, channel),
            Some(ChannelChange::Down { dpid, channel }) => self.switches.disconnect(dpid, channel),
            None => true,
        };
        if counts {
            self.engine.see(event);
        }
        if let Event::FlowRemoved(removed) = event
            && let Some(key) = removed.expired_key()
        {
            self.switches.note_expired(removed.dpid, key);
        }
        let cause = Cause::Event(event, delivery.place.arrived);
        let effects = self.engine.turn(cause, now.instant, now.wall);
        if effects.error.is_some() {
            self.counters.errors += 1;
        }
        effects
    }

    fn send(&mut self, batch: Batch, out: &mut Vec<Output>) -> Result<(), FatalError> {
        let Role::Live(live) = &self.role else {
            return Ok(());
        };
        let epoch = live.epoch;
        // Turns on their way to the store are all of this epoch; otherwise no turn would be made.
        let follows = live.turn + self.in_flight.committing.len() as u64;
        let differences = self.switches.take(self.engine.wanted(), epoch);
        let mut commands = Vec::new();
        let mut synced = Vec::new();
        for (dpid, difference, first) in differences {
            self.flow_mods(dpid, &difference, &mut commands);
            if first {
                synced.push((dpid, counts(&difference)));
            }
        }
        self.packet_outs(batch.packet_outs, &mut commands);
        let journal = batch.journal;
        let translation = self.primary.translate(&journal, &self.engine.tables)?;
        if let Some(shadow) = &mut self.shadow {
            shadow.touch(&translation.touched);
        }
        if commands.is_empty() && translation.writes.is_empty() && batch.deliveries.is_empty() {
            self.report_synced(synced, out);
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
        })));
        self.in_flight.accepting = Some(InFlightTurn {
            epoch,
            follows,
            deliveries: batch.deliveries,
            journal,
            translation,
            synced,
            cancelled: false,
            commit: TurnCommit::default(),
        });
        Ok(())
    }

    fn flow_mods(&self, dpid: Dpid, difference: &Difference, commands: &mut Vec<Output>) {
        let Some(channel) = self.switches.channel(dpid) else {
            return;
        };
        let messages = difference.flow_mods().into_iter().map(Message::FlowMod);
        commands.extend(messages.filter_map(|message| command(dpid, channel, &message, FLOW_MOD)));
    }

    fn packet_outs(&self, packet_outs: Vec<PacketOut>, commands: &mut Vec<Output>) {
        for packet in packet_outs {
            let Some(channel) = self.switches.channel(packet.dpid) else {
                tracing::debug!(
                    "a packet for switch {} is dropped: the switch is not connected",
                    packet.dpid
                );
                continue;
            };
            let message = Message::PacketOut(v13::PacketOut {
                buffer_id: NO_BUFFER,
                in_port: packet.in_port,
                actions: packet.actions,
                data: packet.data,
            });
            commands.extend(command(packet.dpid, channel, &message, PACKET_OUT));
        }
    }

    pub(super) fn report_synced(
        &mut self,
        synced: Vec<(Dpid, RuleDifference)>,
        out: &mut Vec<Output>,
    ) {
        let all = self.switches.all_in_step();
        let count = synced.len();
        for (at, (dpid, difference)) in synced.into_iter().enumerate() {
            let last = all && at + 1 == count;
            self.report_rules(dpid.0, Some(difference), last, out);
        }
    }

    /// Reports that all switches are in step where none is connected.
    fn report_all_synced(&mut self, out: &mut Vec<Output>) {
        let unreported = matches!(&self.role, Role::Live(live) if !live.all_synced);
        if unreported && self.switches.dpids().next().is_none() {
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

/// Encodes a message. One that does not fit into an OpenFlow message is logged and left out.
fn command(dpid: Dpid, channel: u32, message: &Message, token: u32) -> Option<Output> {
    match message.try_encode(token) {
        Ok(message) => Some(Output::Message { channel, message }),
        Err(error) => {
            tracing::error!(
                "a {} for switch {dpid} is left out: {error}",
                message.kind()
            );
            None
        }
    }
}

pub(super) fn counts(difference: &Difference) -> RuleDifference {
    RuleDifference {
        added: difference.add.len() as u64,
        changed: difference.change.len() as u64,
        removed: difference.remove.len() as u64,
        unchanged: difference.unchanged as u64,
    }
}
