//! Turns: made of one input, accepted by the proxy, committed in the store.
//!
//! 1. The app answers the input: rows change in the view, packets are to be sent.
//! 2. The groups of rules that this touches are computed again; what differs from the switches in step becomes flow-mods.
//! 3. Flow-mods, packet-outs and TurnEnd go to the proxy. One that comes to nothing is not sent, unless it answers an event.
//!
//! How a turn that was sent becomes durable is in `commits`.

use std::time::Duration;

use morph_api::session::{TurnEnd, from_app};
use morph_api::supervisor::{RuleDifference, RulesSynced, report};
use morph_openflow::rule::Difference;
use morph_openflow::v13::{self, Message, NO_BUFFER};

use super::hands::{Hand, Stage};
use super::primary::Effect;
use super::session::{Delivered, Link};
use super::switches::{FLOW_MOD, PACKET_OUT};
use super::{Fatal, Instance, Live, Now, Output, Role, TICK};
use crate::engine::{Cause, Made};
use crate::turn::Journal;
use crate::{App, Changes, Dpid, PacketOut};

/// What a turn is made of, beside what the machine knows by itself: rules to be sent.
enum Input {
    Rules,
    Tick,
    Changes(Changes),
    Event(Box<Delivered>),
}

impl<A: App> Instance<A> {
    /// Whether a turn could be made.
    pub(super) fn may_turn(&self) -> bool {
        let Role::Live(live) = &self.role else {
            return false;
        };
        self.hands
            .have_room(live.epoch, self.config.manifest.durability)
            && self.deferred.is_none()
            && !live.quiesce
            && live.flush.is_none()
            && (!live.group || self.switches.all_read())
            && self.view_reached(live.revision)
            // Whoever is made live before it was ready: what it does not see yet it would take for gone.
            && self.others_settled()
    }

    /// Makes the next turn; whether there was one to make, and none has to be accepted because of it.
    pub(super) fn step(&mut self, now: Now, out: &mut Vec<Output>) -> Result<bool, Fatal> {
        if !self.may_turn() {
            return Ok(false);
        }
        self.say_rules_ready(out);
        let Some(input) = self.next_input(now) else {
            self.say_all_synced(out);
            return Ok(false);
        };
        self.make(input, now, out)?;
        Ok(self.hands.accepting.is_none())
    }

    /// Resumed as one of a group: the rules go out in the turn that is made next.
    fn say_rules_ready(&mut self, out: &mut Vec<Output>) {
        if let Role::Live(live) = &mut self.role
            && std::mem::take(&mut live.group)
        {
            let epoch = live.epoch;
            let ready = morph_api::session::RulesReady { epoch };
            out.push(Output::Control(from_app::Record::RulesReady(ready)));
        }
    }

    /// Events come last, as there may always be another one; all others come seldom.
    fn next_input(&mut self, now: Now) -> Option<Input> {
        let Role::Live(live) = &mut self.role else {
            return None;
        };
        // What was taken back is wanted again in a moment: not to be undone in the switches meanwhile.
        if let Some(delivered) = self.queue.pop_front_if(|delivered| delivered.again) {
            return Some(Input::Event(Box::new(delivered)));
        }
        if let Some(changes) = self.changes.take() {
            return Some(Input::Changes(changes));
        }
        if self.switches.has_work() {
            return Some(Input::Rules);
        }
        if live.tick <= now.instant {
            live.tick = now.instant + TICK;
            return Some(Input::Tick);
        }
        let delivered = self.queue.pop_front()?;
        Some(Input::Event(Box::new(delivered)))
    }

    fn make(&mut self, input: Input, now: Now, out: &mut Vec<Output>) -> Result<(), Fatal> {
        let made = match &input {
            Input::Rules => Made::default(),
            Input::Tick => self.engine.turn(Cause::Tick, now.instant, now.wall),
            Input::Changes(changes) => {
                let cause = Cause::Changed(changes);
                self.engine.turn(cause, now.instant, now.wall)
            }
            Input::Event(delivered) => self.event(delivered, now),
        };
        let Made {
            journal,
            mut packet_outs,
            error,
        } = made;
        if let Some(error) = error {
            let what = match &input {
                Input::Event(delivered) => format!("event {}", delivered.seq),
                Input::Rules | Input::Tick => "a tick".to_owned(),
                Input::Changes(_) => "changed tables".to_owned(),
            };
            tracing::error!("the app failed on {what}: {error}");
        }
        let answers = match input {
            Input::Event(delivered) => Some(*delivered),
            Input::Rules | Input::Tick | Input::Changes(_) => None,
        };
        if answers.as_ref().is_some_and(|delivered| delivered.again) {
            packet_outs.clear();
        }
        self.primary.note(journal.keys(), &self.engine.tables);
        self.settle();
        self.send(answers, journal, packet_outs, out)
    }

    /// Brings the switches in line with an event, then lets the app answer it.
    fn event(&mut self, delivered: &Delivered, now: Now) -> Made {
        self.counters.events += 1;
        let past = matches!(&self.role, Role::Live(live) if delivered.seq <= live.cursor);
        let Some(event) = delivered.event.as_ref().filter(|_| !past) else {
            return Made::default();
        };
        let counts = match delivered.link {
            // Of a channel that has been replaced meanwhile: the app hears of it, the view is ahead.
            Some(Link::Up { dpid, channel }) => self.switches.connect(dpid, channel),
            Some(Link::Down { dpid, channel }) => self.switches.disconnect(dpid, channel),
            None => true,
        };
        if counts {
            self.engine.see(event);
        }
        let made = self.engine.turn(Cause::Event(event), now.instant, now.wall);
        if made.error.is_some() {
            self.counters.errors += 1;
        }
        made
    }

    fn send(
        &mut self,
        answers: Option<Delivered>,
        journal: Journal,
        packet_outs: Vec<PacketOut>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fatal> {
        let Role::Live(live) = &self.role else {
            return Ok(());
        };
        let epoch = live.epoch;
        // Those on their way to the store are all of this epoch, or no turn would be made.
        let follows = live.turn + self.hands.committing.len() as u64;
        let reinstall = self.config.reinstall;
        let wanted = self.engine.wanted();
        let differences = self.switches.take(wanted, epoch, reinstall);
        let mut commands = Vec::new();
        let mut synced = Vec::new();
        for (dpid, difference, first) in differences {
            self.flow_mods(dpid, &difference, &mut commands);
            if first {
                synced.push((dpid, counts(&difference)));
            }
        }
        self.packet_outs(packet_outs, &mut commands);
        let Effect {
            writes,
            undo,
            touched,
        } = self.primary.turn(&journal, &self.engine.tables)?;
        if let Some(shadow) = &mut self.shadow {
            shadow.touch(&touched);
        }
        if commands.is_empty() && writes.is_empty() && answers.is_none() {
            self.say_synced(synced, out);
            return Ok(());
        }
        out.append(&mut commands);
        // The store keeps the cursor; the proxy is told of an event once.
        let event = answers.as_ref().filter(|delivered| !delivered.again);
        out.push(Output::Control(from_app::Record::TurnEnd(TurnEnd {
            epoch,
            turn: follows + 1,
            event: event.map(|delivered| delivered.seq),
        })));
        self.hands.accepting = Some(Hand {
            epoch,
            follows,
            answers,
            journal,
            undo,
            writes,
            touched,
            synced,
            id: 0,
            stage: Stage::Asked,
            stored: None,
            doubtful: false,
            patience: Duration::ZERO,
            hollow: false,
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
                    "a packet for {} is dropped: it is not connected",
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

    pub(super) fn say_synced(
        &mut self,
        synced: Vec<(Dpid, RuleDifference)>,
        out: &mut Vec<Output>,
    ) {
        let all = self.switches.all_in_step();
        let count = synced.len();
        for (at, (dpid, difference)) in synced.into_iter().enumerate() {
            let last = all && at + 1 == count;
            self.say_rules(dpid.0, Some(difference), last, out);
        }
    }

    /// Where no switch is connected, they are all in step.
    fn say_all_synced(&mut self, out: &mut Vec<Output>) {
        let unsaid = matches!(&self.role, Role::Live(live) if !live.all_synced);
        if unsaid && self.switches.dpids().next().is_none() {
            self.say_rules(0, None, true, out);
        }
    }

    fn say_rules(
        &mut self,
        dpid: u64,
        difference: Option<RuleDifference>,
        all: bool,
        out: &mut Vec<Output>,
    ) {
        let Role::Live(Live {
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
        self.say(report::Report::Rules(rules), out);
    }
}

/// A message to be sent; one that no message can hold is told and left out.
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
