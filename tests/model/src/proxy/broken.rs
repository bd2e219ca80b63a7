//! Defects of the proxy. The driver changes what goes into the mediator and what comes out of it; one app at a time.
//!
//! To have the mediator go on behind an event that the instance did not answer, the driver ends a turn for it by itself.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use morph_api::session::{Durable, Event, FromApp, Lost, ToApp, TurnEnd, event, from_app, to_app};
use morph_api::store::Seq;
use morph_api::{Record, Records, put_control, put_message};
use morph_openflow::v13::{self, Message};
use morph_proxy::machine::{Input, TARGET_DELAY};
use prost::Message as _;

use super::{Effect, Proxy};
use crate::setup::Mutation;

/// Turn number of the driver's own turns. Those of an instance begin at 1.
const OWN_TURN: u64 = 0;

/// A defect, and what it needs to know of the turns that passed.
#[derive(Debug, Clone, Default)]
pub(super) struct Defect {
    mutation: Option<Mutation>,
    /// Epoch of the live instance.
    epoch: u64,
    /// Number of the last event whose turn was accepted.
    accepted_to: u64,
    /// Numbers of the events that were the last ones of accepted turns.
    last_ones: BTreeSet<u64>,
}

/// Turn as an instance sends it.
pub(super) struct Turn {
    pub(super) end: TurnEnd,
    packets: Vec<Effect>,
}

impl Defect {
    pub(super) fn new(mutation: Option<Mutation>) -> Self {
        let is_of_proxy = |mutation: &Mutation| {
            matches!(
                mutation,
                Mutation::OnlyLastAccepted
                    | Mutation::MixedReplay
                    | Mutation::DeliveredEventDropped
                    | Mutation::DeliveredEventTooOld
                    | Mutation::PauseIgnored
            )
        };
        Defect {
            mutation: mutation.filter(is_of_proxy),
            ..Defect::default()
        }
    }

    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Whether an event is told as lost in the place of its delivery.
    fn is_dropped_by_age(&self, event: &Event) -> bool {
        let drops = match event.replayed {
            true => self.is(Mutation::DeliveredEventTooOld),
            false => self.is(Mutation::PauseIgnored),
        };
        let is_packet = matches!(event.what, Some(event::What::Message(_)));
        drops && is_packet && Duration::from_micros(event.waited_us) > TARGET_DELAY
    }

    fn was_accepted(&self, event: &Event) -> bool {
        number(event) <= self.accepted_to
    }
}

impl Proxy {
    /// Feeds the mediator an input, with the defect.
    pub(super) fn put_broken(&mut self, input: Input) -> Vec<Effect> {
        if self.defect.mutation.is_none() {
            return self.mediate(input);
        }
        let turns = match &input {
            Input::Blob { records, .. } => turns(records),
            _ => Vec::new(),
        };
        let mut effects = self.mediate(input);
        let blobs = effects.iter().filter_map(|effect| match effect {
            Effect::Blob(_, blob) => Some(control(blob)),
            _ => None,
        });
        let mut accepted = BTreeSet::new();
        for record in blobs.flatten() {
            match record {
                to_app::Record::Resume(resume) => self.defect.epoch = resume.epoch,
                to_app::Record::Accepted(turn) => drop(accepted.insert(turn.turn)),
                _ => {}
            }
        }
        for turn in turns.into_iter().filter(|t| accepted.contains(&t.end.turn)) {
            effects.extend(self.note(turn));
        }
        self.change(effects)
    }

    /// Notes an accepted turn. Returns packets that leave because of the defect: the mediator has dropped them.
    fn note(&mut self, turn: Turn) -> Vec<Effect> {
        let defect = &mut self.defect;
        let Some(event) = turn.end.event else {
            return Vec::new();
        };
        let again = event.n <= defect.accepted_to;
        defect.accepted_to = defect.accepted_to.max(event.n);
        let noted = !defect.last_ones.insert(event.n);
        match again && !noted && defect.is(Mutation::OnlyLastAccepted) {
            true => turn.packets,
            false => Vec::new(),
        }
    }

    /// Changes what is delivered.
    fn change(&mut self, effects: Vec<Effect>) -> Vec<Effect> {
        let mut changed = Vec::new();
        for effect in effects {
            match effect {
                Effect::Blob(session, blob) => changed.extend(self.deliver(session, blob)),
                other => changed.push(other),
            }
        }
        changed
    }

    fn deliver(&mut self, session: u64, blob: Bytes) -> Vec<Effect> {
        let blob = changed(&blob, |record| match record {
            to_app::Record::Event(event) if self.defect.is_dropped_by_age(event) => {
                let (dpid, count) = (event.dpid, 1);
                let what = Some(event::What::Lost(Lost { dpid, count }));
                let lost = Event {
                    what,
                    ..event.clone()
                };
                Change::Replaced(to_app::Record::Event(lost))
            }
            _ => Change::Kept,
        });
        let last = control(&blob)
            .into_iter()
            .filter_map(|record| match record {
                to_app::Record::Event(event) => Some(event),
                _ => None,
            })
            .next_back();
        let Some(last) = last else {
            return vec![Effect::Blob(session, blob)];
        };
        if self.defect.is(Mutation::DeliveredEventDropped) && is_packet_again(&last) {
            let again = |record: &to_app::Record| matches!(record, to_app::Record::Event(event) if is_packet_again(event));
            let mut effects = self.go_on(session, number(&last), true);
            join(session, without(&blob, again), &mut effects);
            return effects;
        }
        if self.defect.is(Mutation::MixedReplay) && self.defect.was_accepted(&last) {
            let mut other = self.clone();
            let mut effects = other.go_on(session, number(&last), false);
            let others = effects.iter().any(|effect| match effect {
                Effect::Blob(_, more) => control(more).iter().any(|record| {
                    matches!(record, to_app::Record::Event(event) if !self.defect.was_accepted(event))
                }),
                _ => false,
            });
            if others {
                *self = other;
                join(session, blob, &mut effects);
                return effects;
            }
        }
        vec![Effect::Blob(session, blob)]
    }

    /// Answers all events up to this one in the place of the instance, and reports them as durable.
    fn go_on(&mut self, session: u64, n: u64, durable: bool) -> Vec<Effect> {
        let incarnation = self.incarnation;
        let seq = Some(Seq { incarnation, n });
        let end = from_app::Record::TurnEnd(TurnEnd {
            epoch: self.defect.epoch,
            turn: OWN_TURN,
            event: seq,
            ..TurnEnd::default()
        });
        let durable = durable.then_some(from_app::Record::Durable(Durable { cursor: seq }));
        let mut records = BytesMut::new();
        for record in [Some(end), durable].into_iter().flatten() {
            let record = Some(record);
            put_control(&mut records, &FromApp { record });
        }
        let records = records.freeze();
        let effects = self.mediate(Input::Blob { session, records });
        let without_answer = effects.into_iter().map(|effect| match effect {
            Effect::Blob(session, blob) => {
                let is_own = |record: &to_app::Record| matches!(record, to_app::Record::Accepted(a) if a.turn == OWN_TURN);
                Effect::Blob(session, without(&blob, is_own))
            }
            other => other,
        });
        let effects = without_answer.collect();
        self.change(effects)
    }
}

/// Whether a packet-in is delivered again.
fn is_packet_again(event: &Event) -> bool {
    event.replayed && matches!(event.what, Some(event::What::Message(_)))
}

fn number(event: &Event) -> u64 {
    event.seq.map_or(0, |seq| seq.n)
}

/// Control records of a blob for an instance.
fn control(blob: &Bytes) -> Vec<to_app::Record> {
    let records = Records::new(blob.clone()).flatten();
    let records = records.filter_map(|record| match record {
        Record::Control(bytes) => ToApp::decode(bytes).ok()?.record,
        Record::Message { .. } => None,
    });
    records.collect()
}

/// Change of a control record, and of the message behind it.
enum Change {
    Kept,
    Dropped,
    /// Replaced by a record without a message.
    Replaced(to_app::Record),
}

/// The blob without these control records and their messages.
fn without(blob: &Bytes, is_dropped: impl Fn(&to_app::Record) -> bool) -> Bytes {
    changed(blob, |record| match is_dropped(record) {
        true => Change::Dropped,
        false => Change::Kept,
    })
}

fn changed(blob: &Bytes, change: impl Fn(&to_app::Record) -> Change) -> Bytes {
    let mut kept = BytesMut::new();
    let mut is_kept = true;
    for record in Records::new(blob.clone()).flatten() {
        match record {
            Record::Message { channel, message } if is_kept => {
                put_message(&mut kept, channel, &message);
            }
            Record::Message { .. } => {}
            Record::Control(bytes) => {
                let Ok(ToApp { record }) = ToApp::decode(bytes) else {
                    continue;
                };
                let change = record.as_ref().map_or(Change::Kept, &change);
                is_kept = matches!(change, Change::Kept);
                let record = match change {
                    Change::Kept => record,
                    Change::Dropped => None,
                    Change::Replaced(other) => Some(other),
                };
                if record.is_some() {
                    put_control(&mut kept, &ToApp { record });
                }
            }
        }
    }
    kept.freeze()
}

/// Puts a blob before those of its session.
fn join(session: u64, blob: Bytes, effects: &mut Vec<Effect>) {
    for effect in effects.iter_mut() {
        if let Effect::Blob(to, more) = effect
            && *to == session
        {
            *more = [&blob[..], &more[..]].concat().into();
            return;
        }
    }
    effects.push(Effect::Blob(session, blob));
}

/// Turns in a blob of an instance.
pub(super) fn turns(blob: &Bytes) -> Vec<Turn> {
    let (mut turns, mut packets) = (Vec::new(), Vec::new());
    for record in Records::new(blob.clone()).flatten() {
        match record {
            Record::Message { message, .. } => {
                if let Ok((_, Message::PacketOut(packet))) = v13::decode(&message)
                    && let [app, number] = packet.data[..]
                {
                    packets.push(Effect::Packet(app, number));
                }
            }
            Record::Control(bytes) => {
                let record = FromApp::decode(bytes).ok().and_then(|sent| sent.record);
                if let Some(from_app::Record::TurnEnd(end)) = record {
                    let packets = std::mem::take(&mut packets);
                    turns.push(Turn { end, packets });
                }
            }
        }
    }
    turns
}
