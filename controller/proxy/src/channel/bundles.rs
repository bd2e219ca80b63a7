//! Bundles: changes that a switch makes together or not at all (extension 230 of the ONF to OpenFlow 1.3).
//!
//! ```text
//!                                            commit answered
//!   OPEN, ADD ..., COMMIT, BARRIER sent ---------------------------------------------> made, without those refused when added
//!                                   `------------------------------------------------> not made: sent one by one
//!                                     commit refused; barrier answered first; 5 s over
//! ```
//!
//! 1. An empty bundle, opened during the handshake, asks whether the switch has bundles. Silence is a no.
//! 2. All messages behind a bundle wait until it is settled, so the switch gets them in their order, whatever becomes of it.
//! 3. Changes that were not made are sent one by one. The switch refuses each bad one again, now with its own error, and
//!    makes the others.
//! 4. The barrier shows that the switch has come to the commit request without an answer. Such a switch, and one that answers
//!    neither for 5 s, gets no further bundle on this connection.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use morph_openflow::frame;
use morph_openflow::v13::bundle::{control, flag};
use morph_openflow::v13::{BundleAdd, BundleControl, ErrorMsg, Message};

/// Fewest changes that make a bundle: it takes four messages more.
const LEAST: usize = 8;
/// Time for the answer to a commit request. Open vSwitch keeps an idle bundle for 10 s.
const ANSWER: Duration = Duration::from_secs(5);
/// Flags of all bundles.
const FLAGS: u16 = flag::ATOMIC | flag::ORDERED;
/// Bytes of a message that adds another one, besides that one.
const ADD_ROOM: usize = 24;

/// Answer of a switch to a message of a bundle.
#[derive(Debug)]
pub(super) enum BundleAnswer {
    /// Reply to a bundle control message.
    Control,
    Error(ErrorMsg),
    Barrier,
}

/// Something that an answer, or its absence, says about bundles.
#[derive(Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(super) enum BundleEvent {
    Nothing,
    /// The switch has no bundles.
    Absent(ErrorMsg),
    /// The switch refused a message of a bundle. Its commit request is still to be answered.
    MessageRefused,
    /// The switch refused to make the changes of a bundle.
    Refused {
        changes: usize,
        error: ErrorMsg,
    },
    /// The switch did not answer a commit request.
    Unanswered {
        changes: usize,
    },
}

/// Bundle whose fate is known.
#[derive(Debug)]
pub(super) struct SettledBundle {
    pub(super) session: u64,
    /// Xids of its messages up to the commit request.
    pub(super) xids: Vec<u32>,
    /// Changes that the switch did not make.
    pub(super) left: Vec<Bytes>,
    /// Encoded messages that waited for it.
    pub(super) behind: BytesMut,
}

#[derive(Debug, Clone)]
struct Bundle {
    session: u64,
    /// Xid of its first message. The others follow: one for each change, the commit request, the barrier request.
    first: u32,
    changes: Vec<Bytes>,
    /// Changes that the switch refused to add.
    refused: BTreeSet<usize>,
    /// Encoded messages that wait for it, such as the next bundle.
    behind: BytesMut,
}

#[derive(Debug, Clone, Copy, Default)]
struct Question {
    open: Option<u32>,
    discard: Option<u32>,
}

/// Bundles of one channel.
#[derive(Debug, Clone, Default)]
pub(super) struct Bundles {
    /// Xids of the messages that ask whether the switch has bundles, until they are answered.
    question: Question,
    usable: bool,
    last_id: u32,
    /// Unsettled bundles. The first one is on its way, the others wait behind it.
    unsettled: VecDeque<Bundle>,
    /// Time since which the first one is awaited.
    since: Option<Instant>,
}

impl Bundles {
    /// Returns the messages that ask whether the switch has bundles.
    pub(super) fn question(&mut self) -> [Message; 2] {
        let id = self.next_id();
        [control::OPEN_REQUEST, control::DISCARD_REQUEST].map(|kind| control(id, kind))
    }

    /// Notes their xids.
    pub(super) fn asked(&mut self, [open, discard]: [u32; 2]) {
        self.question = Question {
            open: Some(open),
            discard: Some(discard),
        };
    }

    /// Returns whether these changes are to be a bundle.
    pub(super) fn takes(&self, changes: &[Bytes]) -> bool {
        let fits = |change: &Bytes| change.len() + ADD_ROOM <= usize::from(u16::MAX);
        self.usable && changes.len() >= LEAST && changes.iter().all(fits)
    }

    /// Adds a bundle of these changes, with xids from `first` on, behind the others. Returns the number of messages that it takes,
    /// which are written to where further messages go.
    pub(super) fn put(
        &mut self,
        session: u64,
        changes: Vec<Bytes>,
        first: u32,
        buffer: &mut BytesMut,
        now: Instant,
    ) -> u64 {
        let id = self.next_id();
        let out = self.behind().unwrap_or(buffer);
        let mut xid = first;
        let mut put = |message: Message| {
            message.encode_into(xid, out);
            xid = xid.wrapping_add(1);
            xid
        };
        let mut next = put(control(id, control::OPEN_REQUEST));
        for change in &changes {
            let mut inner = BytesMut::from(&change[..]);
            frame::set_xid(&mut inner, next);
            let add = BundleAdd::new(id, FLAGS, inner.freeze());
            next = put(Message::BundleAdd(add));
        }
        put(control(id, control::COMMIT_REQUEST));
        put(Message::BarrierRequest);
        let messages = changes.len() as u64 + 3;
        self.since.get_or_insert(now);
        self.unsettled.push_back(Bundle {
            session,
            first,
            changes,
            refused: BTreeSet::new(),
            behind: BytesMut::new(),
        });
        messages
    }

    /// Returns the place of messages that are sent now, if they have to wait.
    pub(super) fn behind(&mut self) -> Option<&mut BytesMut> {
        self.unsettled.back_mut().map(|bundle| &mut bundle.behind)
    }

    /// Returns the number of bytes that wait.
    pub(super) fn waiting(&self) -> usize {
        let behind = self.unsettled.iter().map(|bundle| bundle.behind.len());
        behind.sum()
    }

    /// Returns whether an answer with this xid concerns the question, or a bundle that is on its way.
    pub(super) fn concerns(&self, xid: u32) -> bool {
        let Question { open, discard } = self.question;
        let first = self.unsettled.front();
        let is_of_first = first.is_some_and(|bundle| bundle.place(xid).is_some());
        [open, discard].contains(&Some(xid)) || is_of_first
    }

    /// Handles an answer that concerns bundles. Returns the first one if that settles it.
    pub(super) fn answered(
        &mut self,
        xid: u32,
        answer: BundleAnswer,
        now: Instant,
    ) -> (BundleEvent, Option<SettledBundle>) {
        let nothing = (BundleEvent::Nothing, None);
        self.question.discard.take_if(|discard| *discard == xid);
        if self.question.open.take_if(|open| *open == xid).is_some() {
            self.usable = matches!(answer, BundleAnswer::Control);
            return match answer {
                BundleAnswer::Error(error) => (BundleEvent::Absent(error), None),
                BundleAnswer::Control | BundleAnswer::Barrier => nothing,
            };
        }
        let Some(bundle) = self.unsettled.front_mut() else {
            return nothing;
        };
        let (changes, place) = (bundle.changes.len(), bundle.place(xid));
        let Some(part) = place.map(|place| Part::of(place, changes)) else {
            return nothing;
        };
        match (part, answer) {
            (Part::Commit, BundleAnswer::Control) => (BundleEvent::Nothing, self.settle(true, now)),
            (Part::Commit, BundleAnswer::Error(error)) => {
                let event = BundleEvent::Refused { changes, error };
                (event, self.settle(false, now))
            }
            (Part::Barrier, BundleAnswer::Barrier | BundleAnswer::Error(_)) => self.give_up(now),
            (Part::Change(at), BundleAnswer::Error(_)) => {
                bundle.refused.insert(at);
                (BundleEvent::MessageRefused, None)
            }
            // A bundle that could not be opened cannot be committed either.
            (Part::Open, BundleAnswer::Error(_)) => (BundleEvent::MessageRefused, None),
            (Part::Open | Part::Change(_) | Part::Commit | Part::Barrier, _) => nothing,
        }
    }

    /// Returns the time at which the first bundle has waited for too long.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.since.map(|since| since + ANSWER)
    }

    /// Gives the first bundle up, as the switch does not answer. No further ones are made.
    pub(super) fn give_up(&mut self, now: Instant) -> (BundleEvent, Option<SettledBundle>) {
        self.usable = false;
        let settled = self.settle(false, now);
        let changes = settled.as_ref().map_or(0, |settled| settled.left.len());
        (BundleEvent::Unanswered { changes }, settled)
    }

    /// Begins the wait anew: the proxy itself stood still.
    pub(super) fn wait_anew(&mut self, now: Instant) {
        self.since = self.since.map(|_| now);
    }

    /// Forgets all bundles, with what waits for them. Returns the xids of those that are on their way.
    pub(super) fn clear(&mut self) -> Vec<u32> {
        self.since = None;
        let unsettled = std::mem::take(&mut self.unsettled);
        unsettled.iter().flat_map(Bundle::xids).collect()
    }

    fn settle(&mut self, is_made: bool, now: Instant) -> Option<SettledBundle> {
        let bundle = self.unsettled.pop_front()?;
        self.since = (!self.unsettled.is_empty()).then_some(now);
        let xids = bundle.xids().collect();
        let is_left = |at: &usize| !is_made || bundle.refused.contains(at);
        let left = bundle.changes.into_iter().enumerate();
        let left = left.filter(|(at, _)| is_left(at));
        Some(SettledBundle {
            session: bundle.session,
            xids,
            left: left.map(|(_, change)| change).collect(),
            behind: bundle.behind,
        })
    }

    fn next_id(&mut self) -> u32 {
        self.last_id = self.last_id.wrapping_add(1);
        self.last_id
    }
}

/// Part of a bundle that a message is.
#[derive(Debug, Clone, Copy)]
enum Part {
    Open,
    /// Change with this index.
    Change(usize),
    Commit,
    Barrier,
}

impl Part {
    /// Returns the part at this place of a bundle with so many changes.
    fn of(place: usize, changes: usize) -> Part {
        match place {
            0 => Part::Open,
            place if place <= changes => Part::Change(place - 1),
            place if place == changes + 1 => Part::Commit,
            _ => Part::Barrier,
        }
    }
}

impl Bundle {
    /// Returns the place of the message with this xid: 0 is the open request.
    fn place(&self, xid: u32) -> Option<usize> {
        let place = xid.wrapping_sub(self.first) as usize;
        (place <= self.changes.len() + 2).then_some(place)
    }

    /// Returns the xids of its messages up to the commit request.
    fn xids(&self) -> impl Iterator<Item = u32> {
        let commit = self.changes.len() as u32 + 1;
        let first = self.first;
        (0..=commit).map(move |place| first.wrapping_add(place))
    }
}

fn control(bundle_id: u32, kind: u16) -> Message {
    Message::BundleControl(BundleControl {
        bundle_id,
        kind,
        flags: FLAGS,
        properties: Vec::new(),
    })
}
