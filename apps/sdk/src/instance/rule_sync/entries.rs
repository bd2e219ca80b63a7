//! Groups and meters of one switch, as far as they are known.
//!
//! ```text
//!           read()             last answer         compare()
//!   Unread --------> Reading -------------> Read ----------> Compared
//!     ^                 |                                       |
//!     +--- too late ----+----- the rules are read again --------+
//! ```
//!
//! 1. A switch is asked only where the app wants any there, or the switch has some of the app's.
//! 2. An entry is added or changed once the groups that it refers to are there, and before the rules that use it; barriers stand
//!    between. It is deleted behind the rules and groups that use it.
//! 3. A rule waits for its entries. Where the switch cannot have them, the rule is left out.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use morph_openflow::entry::{self, EntryKey, EntrySet};
use morph_openflow::rule::{RuleBody, RuleSet};
use morph_openflow::v13::{Message, MultipartBody, MultipartReply, MultipartRequest, meter};

use super::tokens::Tokens;
use crate::{Dpid, entries};

/// Deadline of the answers.
const ANSWER: Duration = Duration::from_secs(10);
/// Backoff before the switch is asked again, doubled with each failure.
const SHORTEST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
enum State {
    Unread {
        /// Time of the next question after a failure.
        not_before: Option<Instant>,
    },
    Reading {
        /// Tokens of the answers that are not complete.
        groups: Option<u32>,
        meters: Option<u32>,
        deadline: Instant,
        read: EntrySet,
    },
    Read(EntrySet),
    Compared {
        /// Time of another reading, because the switch has refused an entry.
        again: Option<Instant>,
    },
}

/// Reason why a rule is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lack {
    /// Its entries are still to be read or sent.
    Waits,
    /// The switch does not get this entry.
    Missing(EntryKey, &'static str),
}

#[derive(Debug, Clone)]
pub(super) struct Entries {
    app: u8,
    state: State,
    /// Entries that the switch has once it has handled all that was sent.
    installed: EntrySet,
    /// Entries to be added or changed.
    waiting: BTreeSet<EntryKey>,
    /// Entries among them that refer to groups that are not wanted, or to each other.
    stuck: BTreeSet<EntryKey>,
    /// Entries to be deleted.
    gone: BTreeSet<EntryKey>,
    /// Entries sent since the question: its answer may show them as they were before.
    sent_since: BTreeSet<EntryKey>,
    /// The switch refuses to tell its groups, and so has none; as for meters.
    has_no_groups: bool,
    has_no_meters: bool,
    /// The app wants any on this switch, or the switch has some of the app's.
    is_used: bool,
    /// Failed readings and refused entries since the switch was marked as unread.
    failures: u32,
}

impl Entries {
    pub(super) fn new(app: u8) -> Self {
        Entries {
            app,
            state: State::Unread { not_before: None },
            installed: EntrySet::new(),
            waiting: BTreeSet::new(),
            stuck: BTreeSet::new(),
            gone: BTreeSet::new(),
            sent_since: BTreeSet::new(),
            has_no_groups: false,
            has_no_meters: false,
            is_used: false,
            failures: 0,
        }
    }

    /// Notes whether the app wants any on this switch.
    pub(super) fn use_for(&mut self, wanted: &EntrySet) {
        self.is_used = !wanted.is_empty() || !self.installed.is_empty();
    }

    /// Notes entries whose wanted form has changed. Those that could not be sent may be possible now.
    pub(super) fn note(&mut self, keys: BTreeSet<EntryKey>, wanted: &EntrySet) {
        self.use_for(wanted);
        self.waiting.append(&mut self.stuck);
        for key in keys {
            let (wants, there) = (wanted.get(&key), self.installed.get(&key));
            self.waiting.remove(&key);
            self.gone.remove(&key);
            match wants {
                Some(_) if wants != there => self.waiting.insert(key),
                None if there.is_some() => self.gone.insert(key),
                _ => false,
            };
        }
    }

    /// Begins a reading if one is due, and returns its requests.
    pub(super) fn read(
        &mut self,
        dpid: Dpid,
        wanted: &EntrySet,
        tokens: &mut Tokens,
        now: Instant,
    ) -> Vec<(u32, Message)> {
        self.use_for(wanted);
        if matches!(self.state, State::Reading { deadline, .. } if deadline <= now) {
            tracing::warn!(
                "switch {dpid} did not report its groups and meters within {ANSWER:?}, and is asked again"
            );
            self.fail(now);
        }
        let is_due = match self.state {
            State::Unread { not_before } => not_before.is_none_or(|at| at <= now),
            State::Compared { again } => again.is_some_and(|at| at <= now),
            State::Reading { .. } | State::Read(_) => false,
        };
        if !self.is_used || !is_due {
            return Vec::new();
        }
        let (groups, meters) = (tokens.take(), tokens.take());
        self.sent_since.clear();
        self.state = State::Reading {
            groups: Some(groups),
            meters: Some(meters),
            deadline: now + ANSWER,
            read: EntrySet::new(),
        };
        let of_all = MultipartRequest::MeterConfig {
            meter_id: meter::ALL,
        };
        vec![
            (
                groups,
                Message::MultipartRequest(MultipartRequest::GroupDesc),
            ),
            (meters, Message::MultipartRequest(of_all)),
        ]
    }

    /// Has the entries read again, with the rules.
    pub(super) fn read_again(&mut self) {
        if self.is_compared() && self.is_used {
            self.state = State::Unread { not_before: None };
        }
    }

    /// Schedules another reading: the switch has refused an entry, or is late.
    pub(super) fn fail(&mut self, now: Instant) {
        let backoff = SHORTEST_BACKOFF.saturating_mul(1 << self.failures.min(6));
        self.failures = self.failures.saturating_add(1);
        let at = Some(now + backoff.min(LONGEST_BACKOFF));
        match &mut self.state {
            // Other entries are not held up by that.
            State::Compared { again } => *again = again.or(at),
            State::Unread { .. } | State::Reading { .. } | State::Read(_) => {
                self.state = State::Unread { not_before: at };
            }
        }
    }

    fn is_compared(&self) -> bool {
        matches!(self.state, State::Compared { .. })
    }

    pub(super) fn awaits(&self, xid: u32) -> bool {
        matches!(self.state, State::Reading { groups, meters, .. } if [groups, meters].contains(&Some(xid)))
    }

    /// Adds a part of an answer.
    pub(super) fn answer(&mut self, xid: u32, reply: MultipartReply) {
        let app = self.app;
        if let State::Reading { read, .. } = &mut self.state {
            let own = |(key, _): &(EntryKey, _)| entries::is_own(app, *key);
            match reply.body {
                MultipartBody::GroupDesc(groups) => {
                    read.extend(groups.iter().map(entry::from_group).filter(own));
                }
                MultipartBody::MeterConfig(meters) => {
                    read.extend(meters.iter().map(entry::from_meter).filter(own));
                }
                _ => {}
            }
        }
        if !reply.more {
            self.complete(xid);
        }
    }

    /// Handles the refusal of a request.
    pub(super) fn refused(&mut self, dpid: Dpid, xid: u32) {
        let State::Reading { groups, .. } = self.state else {
            return;
        };
        let (what, flag) = match groups == Some(xid) {
            true => ("groups", &mut self.has_no_groups),
            false => ("meters", &mut self.has_no_meters),
        };
        if !std::mem::replace(flag, true) {
            tracing::info!("switch {dpid} has no {what}: it refuses to report them");
        }
        self.complete(xid);
    }

    fn complete(&mut self, xid: u32) {
        let State::Reading {
            groups,
            meters,
            read,
            ..
        } = &mut self.state
        else {
            return;
        };
        groups.take_if(|token| *token == xid);
        meters.take_if(|token| *token == xid);
        if groups.is_none() && meters.is_none() {
            self.state = State::Read(std::mem::take(read));
        }
    }

    /// Compares a complete answer with what is wanted. Entries sent since the question are not compared. False if there is none.
    pub(super) fn compare(&mut self, dpid: Dpid, wanted: &EntrySet) -> bool {
        let State::Read(read) = &mut self.state else {
            return false;
        };
        let mut read = std::mem::take(read);
        for key in std::mem::take(&mut self.sent_since) {
            read.remove(&key);
            read.extend(self.installed.remove_entry(&key));
        }
        let vanished = self.installed.keys().filter(|key| !read.contains_key(key));
        if let Some(example) = vanished.clone().next().filter(|_| self.failures == 0) {
            tracing::warn!(
                "groups or meters of switch {dpid} had vanished without Morpheus: {}, for example {example}",
                vanished.count()
            );
        }
        self.installed = read;
        self.state = State::Compared { again: None };
        self.stuck.clear();
        (self.waiting, self.gone) = entries::differences(&self.installed, wanted);
        self.use_for(wanted);
        true
    }

    /// Entries that may be sent now. What can never be sent is told, and set aside.
    pub(super) fn ready(&mut self, dpid: Dpid, wanted: &EntrySet) -> Vec<EntryKey> {
        if !self.is_compared() {
            return Vec::new();
        }
        let mut ready = entries::ready(&self.waiting, &self.installed, wanted);
        ready.retain(|key| self.why_not(*key).is_none());
        if ready.is_empty() {
            for key in std::mem::take(&mut self.waiting) {
                let why = self.why_not(key).unwrap_or(
                    "it refers to a group that the app does not have there, or groups refer to each other in a circle",
                );
                tracing::error!(switch = %dpid, "{key} is left out: {why}");
                self.stuck.insert(key);
            }
        }
        ready
    }

    /// Reason why the switch cannot have an entry.
    fn why_not(&self, key: EntryKey) -> Option<&'static str> {
        match key {
            EntryKey::Group(_) if self.has_no_groups => Some("the switch has no groups"),
            EntryKey::Meter(_) if self.has_no_meters => Some("the switch has no meters"),
            EntryKey::Group(_) | EntryKey::Meter(_) => None,
        }
    }

    /// Notes an entry as sent, and makes its message.
    pub(super) fn set(&mut self, key: EntryKey, wanted: &EntrySet) -> Option<Message> {
        self.waiting.remove(&key);
        self.sent_since.insert(key);
        let body = wanted.get(&key)?;
        let before = self.installed.insert(key, body.clone());
        Some(entry::set(key, body, before.is_some()))
    }

    /// Deletes the entries that no rule of the switch and no other entry uses; makes their messages.
    pub(super) fn delete_unused(&mut self, rules: &RuleSet) -> Vec<Message> {
        let unused = match self.state {
            State::Compared { .. } => entries::unused(&self.gone, &self.installed, rules),
            State::Unread { .. } | State::Reading { .. } | State::Read(_) => Vec::new(),
        };
        for key in &unused {
            self.gone.remove(key);
            self.installed.remove(key);
            self.sent_since.insert(*key);
        }
        unused.into_iter().map(entry::delete).collect()
    }

    /// Reason why a rule with this body is not to be sent now.
    pub(super) fn lack(&self, body: &RuleBody) -> Option<Lack> {
        let mut used = entry::used_by(&body.instructions);
        let lacking = used.find(|key| !self.installed.contains_key(key))?;
        if !self.is_compared() || self.waiting.contains(&lacking) {
            return Some(Lack::Waits);
        }
        let why = self.why_not(lacking);
        Some(Lack::Missing(
            lacking,
            why.unwrap_or("the app does not have it there"),
        ))
    }

    /// Whether an answer waits for its comparison.
    pub(super) fn is_answered(&self) -> bool {
        matches!(self.state, State::Read(_))
    }

    pub(super) fn has_additions(&self) -> bool {
        self.is_compared() && !self.waiting.is_empty()
    }

    pub(super) fn has_deletions(&self) -> bool {
        self.is_compared() && !self.gone.is_empty()
    }

    /// Whether anything is to be done or awaited.
    pub(super) fn is_unsettled(&self) -> bool {
        self.is_used && (!self.is_compared() || !self.waiting.is_empty())
    }

    /// Whether the switch has been sent what is wanted, as far as it answers.
    pub(super) fn is_settled(&self) -> bool {
        !self.is_unsettled() || self.failures > 0
    }

    /// Time of the next question, or of the end of the one that is under way.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self.state {
            State::Unread { not_before } => not_before.filter(|_| self.is_used),
            State::Reading { deadline, .. } => Some(deadline),
            State::Read(_) => None,
            State::Compared { again } => again,
        }
    }
}
