//! Deliveries of one app, and what may be dropped by age: a packet that waited longer than the target, was not delivered before,
//! and did not have to wait in a pause.
//!
//! The packets are those of one switch, so that they are delivered in the order of their arrival. Whether there was a pause is
//! found in what the proxy and the instance send each other.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use morph_api::session::{Event, ToApp, TurnEnd, event, to_app};
use morph_api::{Record, Records};
use morph_openflow::v13::{self, Message};
use morph_proxy::machine::TARGET_DELAY;
use prost::Message as _;

#[derive(Debug, Clone)]
pub(super) struct Deliveries {
    /// Times at which the packets arrived that wait for their delivery, in order.
    waiting: VecDeque<Instant>,
    /// Number of the last packet that was delivered or told as lost.
    last: u64,
    /// Content of each event by its number.
    contents: BTreeMap<u64, Content>,
    /// Numbers of the events that the live instance has not answered.
    unanswered: Range<u64>,
    /// Time of the delivery of the first of them or, where that is later, of the last answer.
    since: Instant,
    /// End of the last pause.
    paused_at: Instant,
    /// Turns that are not accepted: the last event of each by epoch and number.
    turns: BTreeMap<(u64, u64), u64>,
    wrong: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    /// Packet with this number.
    Packet(u64),
    /// Number of lost packets.
    Lost(u64),
    Other,
}

impl Deliveries {
    pub(super) fn new(now: Instant) -> Self {
        Deliveries {
            waiting: VecDeque::new(),
            last: 0,
            contents: BTreeMap::new(),
            unanswered: 0..0,
            since: now,
            paused_at: now,
            turns: BTreeMap::new(),
            wrong: None,
        }
    }

    pub(super) fn any_waits(&self) -> bool {
        !self.waiting.is_empty() || !self.unanswered.is_empty()
    }

    /// Sentence about the first packet that was dropped and must not be.
    pub(super) fn wrong(&self) -> Option<String> {
        self.wrong.clone()
    }

    /// Notes packets that came from the switch.
    pub(super) fn arrived(&mut self, count: usize, now: Instant) {
        self.waiting.extend(std::iter::repeat_n(now, count));
    }

    /// Notes turns that the instance has sent.
    pub(super) fn ask(&mut self, turns: impl Iterator<Item = TurnEnd>) {
        let events = turns.filter_map(|end| Some(((end.epoch, end.turn), end.event?.n)));
        self.turns.extend(events);
    }

    /// Notes what the instance is sent.
    pub(super) fn deliver(&mut self, blob: &Bytes, now: Instant) {
        let mut announced = None;
        for record in Records::new(blob.clone()).flatten() {
            match record {
                Record::Message { message, .. } => {
                    if let Some(event) = announced.take() {
                        self.event(event, packet(&message), now);
                    }
                }
                Record::Control(bytes) => match ToApp::decode(bytes).ok().and_then(|r| r.record) {
                    Some(to_app::Record::Event(event)) => match event.what {
                        Some(event::What::Message(_)) => announced = Some(event),
                        Some(event::What::Lost(lost)) => {
                            self.event(event, Content::Lost(lost.count), now);
                        }
                        _ => self.event(event, Content::Other, now),
                    },
                    Some(to_app::Record::Resume(_)) => {
                        self.turns.clear();
                        (self.unanswered, self.paused_at) = (0..0, now);
                    }
                    Some(to_app::Record::Accepted(turn)) => {
                        let event = self.turns.remove(&(turn.epoch, turn.turn));
                        self.answered(event, now);
                    }
                    _ => {}
                },
            }
        }
    }

    fn answered(&mut self, event: Option<u64>, now: Instant) {
        let Some(n) = event.filter(|n| self.unanswered.contains(n)) else {
            return;
        };
        if waited(self.since, now) > TARGET_DELAY {
            self.paused_at = now;
        }
        self.unanswered.start = n + 1;
        self.since = now;
    }

    fn event(&mut self, event: Event, content: Content, now: Instant) {
        let n = event.seq.map_or(0, |seq| seq.n);
        if event.replayed || event.alone {
            self.paused_at = now;
        }
        if self.unanswered.is_empty() {
            (self.unanswered.start, self.since) = (n, now);
        }
        self.unanswered.end = n + 1;
        let wrong = match self.contents.get(&n) {
            Some(before) if *before != content => Some(format!(
                "event {n} was delivered as {before:?}, and comes as {content:?}"
            )),
            Some(_) => None,
            None => self.first(&content, now),
        };
        self.wrong = self.wrong.take().or(wrong);
        self.contents.insert(n, content);
    }

    /// Notes the first delivery of an event. Returns what is wrong with it.
    fn first(&mut self, content: &Content, now: Instant) -> Option<String> {
        let count = match content {
            Content::Packet(_) => 1,
            Content::Lost(count) => *count,
            Content::Other => 0,
        };
        let mut wrong = None;
        for _ in 0..count {
            self.last += 1;
            let (number, paused_at) = (self.last, self.paused_at);
            let Some(arrived) = self.waiting.pop_front() else {
                return Some(format!("packet {number} has not come"));
            };
            let waited = waited(arrived, now);
            wrong = wrong.or(match content {
                Content::Packet(found) if *found != number => {
                    Some(format!("packet {found} is delivered before {number}"))
                }
                Content::Lost(_) if waited <= TARGET_DELAY => {
                    Some(format!("packet {number} is dropped after {waited:?}"))
                }
                Content::Lost(_) if arrived <= paused_at => {
                    Some(format!("packet {number} is dropped after a pause"))
                }
                Content::Packet(_) | Content::Lost(_) | Content::Other => None,
            });
        }
        wrong
    }
}

fn waited(since: Instant, now: Instant) -> Duration {
    now.saturating_duration_since(since)
}

fn packet(message: &Bytes) -> Content {
    let message = v13::decode(message).ok();
    match message.map(|(_, message)| message) {
        Some(Message::PacketIn(packet)) => {
            let number = packet.data.get(1).copied();
            Content::Packet(number.unwrap_or(0).into())
        }
        _ => Content::Other,
    }
}
