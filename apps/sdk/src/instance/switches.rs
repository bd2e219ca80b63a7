//! What is known of the rules in each connected switch.
//!
//! ```text
//!           read()              last reply           take()
//!   Unread --------> Reading ---------------> Read ----------> InStep --+ changes go out one by one
//!     ^                 |                      |                 |      |
//!     +--- failed, or too late ----------------+-- resumed ------+ <----+
//! ```
//!
//! Only a switch that is in step is sent anything: what it lacks otherwise is in the difference that follows its reading.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use morph_api::cookie::Cookie;
use morph_openflow::rule::{Difference, RuleKey, RuleSet, from_stats};
use morph_openflow::v13::{self, FlowStatsRequest, Message, MultipartBody, MultipartRequest};

use crate::wanted::Stale;
use crate::{Dpid, install};

/// How long a switch has to answer a reading.
const ANSWER: Duration = Duration::from_secs(5);
/// When a reading that failed is tried again; doubled each time that a rule fails again.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest time until a switch that refused rules is read again.
const AGAIN_MOST: Duration = Duration::from_secs(60);

/// Token of all flow-mods: they are answered only by errors.
pub(super) const FLOW_MOD: u32 = 1;
/// Token of all packet-outs.
pub(super) const PACKET_OUT: u32 = 2;
/// The first token of a reading.
const READING: u32 = 16;

#[derive(Debug, Clone)]
enum State {
    Unread {
        not_before: Option<Instant>,
    },
    Reading {
        token: u32,
        deadline: Instant,
        read: RuleSet,
    },
    Read(RuleSet),
    InStep {
        installed: RuleSet,
        stale: BTreeSet<RuleKey>,
        /// When it is read again because it refused a rule.
        again: Option<Instant>,
    },
}

#[derive(Debug, Clone)]
struct Known {
    channel: u32,
    state: State,
    /// Readings that failed, or rules refused, since it connected.
    failures: u32,
}

/// The rules of the connected switches.
#[derive(Debug, Clone)]
pub(super) struct Switches {
    app: u8,
    known: BTreeMap<Dpid, Known>,
    by_channel: BTreeMap<u32, Dpid>,
    next_token: u32,
}

/// What a reply came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing to note.
    Nothing,
    /// A rule was refused.
    RuleFailed(Dpid, String),
    /// Something else was.
    Error(Dpid, String),
}

impl Switches {
    pub(super) fn new(app: u8) -> Self {
        Switches {
            app,
            known: BTreeMap::new(),
            by_channel: BTreeMap::new(),
            next_token: READING,
        }
    }

    /// None of the switches is known any more.
    pub(super) fn forget(&mut self) {
        self.known.clear();
        self.by_channel.clear();
    }

    /// A channel is there; false: a newer one of the same switch is.
    pub(super) fn connect(&mut self, dpid: Dpid, channel: u32) -> bool {
        if let Some(known) = self.known.get(&dpid) {
            if known.channel >= channel {
                return known.channel == channel;
            }
            self.by_channel.remove(&known.channel);
        }
        self.by_channel.insert(channel, dpid);
        let state = State::Unread { not_before: None };
        let known = Known {
            channel,
            state,
            failures: 0,
        };
        self.known.insert(dpid, known);
        true
    }

    /// A channel is gone; false: it was not the one of this switch.
    pub(super) fn disconnect(&mut self, dpid: Dpid, channel: u32) -> bool {
        let is_it = |known: &Known| known.channel == channel;
        if !self.known.get(&dpid).is_some_and(is_it) {
            return false;
        }
        self.by_channel.remove(&channel);
        self.known.remove(&dpid).is_some()
    }

    pub(super) fn dpids(&self) -> impl Iterator<Item = Dpid> {
        self.known.keys().copied()
    }

    pub(super) fn dpid(&self, channel: u32) -> Option<Dpid> {
        self.by_channel.get(&channel).copied()
    }

    pub(super) fn channel(&self, dpid: Dpid) -> Option<u32> {
        self.known.get(&dpid).map(|known| known.channel)
    }

    /// Others may have written to all switches.
    pub(super) fn unread(&mut self) {
        for known in self.known.values_mut() {
            known.state = State::Unread { not_before: None };
            known.failures = 0;
        }
    }

    /// Others may have written to this switch, or to all of them.
    pub(super) fn unread_again(&mut self, dpid: Option<Dpid>) {
        match dpid {
            None => self.unread(),
            Some(dpid) => {
                if let Some(known) = self.known.get_mut(&dpid) {
                    known.state = State::Unread { not_before: None };
                    known.failures = 0;
                }
            }
        }
    }

    /// Starts the readings that are due; the requests, by channel.
    pub(super) fn read(&mut self, now: Instant) -> Vec<(u32, Vec<Bytes>)> {
        let mut requests = Vec::new();
        for (dpid, known) in &mut self.known {
            known.expire(*dpid, now);
            let due = match &known.state {
                State::Unread { not_before } => not_before.is_none_or(|at| at <= now),
                State::InStep { again, .. } => again.is_some_and(|at| at <= now),
                State::Reading { .. } | State::Read(_) => false,
            };
            if !due {
                continue;
            }
            let token = self.next_token;
            self.next_token = self.next_token.checked_add(1).unwrap_or(READING);
            known.state = State::Reading {
                token,
                deadline: now + ANSWER,
                read: RuleSet::new(),
            };
            let (cookie, mask) = Cookie::all_of(self.app);
            let stats = MultipartRequest::Flow(FlowStatsRequest::by_cookie(cookie, mask));
            // The barrier: what was sent before, by whomever, is in the statistics.
            let messages = [Message::BarrierRequest, Message::MultipartRequest(stats)];
            let messages = messages.iter().map(|m| m.encode(token)).collect();
            requests.push((known.channel, messages));
        }
        requests
    }

    /// A reply or an error with one of our tokens.
    /// `tables`: the app's own; rules elsewhere that bear its id are Morpheus's.
    pub(super) fn reply(
        &mut self,
        channel: u32,
        message: &Bytes,
        tables: Range<u8>,
        now: Instant,
    ) -> Answer {
        let Some(dpid) = self.dpid(channel) else {
            return Answer::Nothing;
        };
        let Some(known) = self.known.get_mut(&dpid) else {
            return Answer::Nothing;
        };
        let (header, message) = match v13::decode(message) {
            Ok(decoded) => decoded,
            Err(error) => {
                known.fail(now);
                return Answer::Error(dpid, format!("a reply cannot be read: {error}"));
            }
        };
        match message {
            Message::Error(error) if header.xid == FLOW_MOD => {
                known.refuse(now);
                Answer::RuleFailed(dpid, error.to_string())
            }
            Message::Error(error) => {
                if matches!(known.state, State::Reading { token, .. } if token == header.xid) {
                    known.fail(now);
                }
                Answer::Error(dpid, error.to_string())
            }
            Message::MultipartReply(reply) => {
                known.statistics(header.xid, reply, tables);
                Answer::Nothing
            }
            _ => Answer::Nothing,
        }
    }

    /// Whether every switch has been read, or could not be.
    pub(super) fn all_read(&self) -> bool {
        self.known.values().all(|known| match known.state {
            State::Read(_) | State::InStep { .. } => true,
            State::Unread { .. } | State::Reading { .. } => known.failures > 0,
        })
    }

    /// Whether every switch is in step.
    pub(super) fn all_in_step(&self) -> bool {
        let in_step = |known: &Known| matches!(known.state, State::InStep { .. });
        self.known.values().all(in_step)
    }

    /// Whether rules are to be sent to any switch.
    pub(super) fn has_work(&self) -> bool {
        self.known.values().any(|known| match &known.state {
            State::Read(_) => true,
            State::InStep { stale, .. } => !stale.is_empty(),
            State::Unread { .. } | State::Reading { .. } => false,
        })
    }

    /// What was read of each switch.
    pub(super) fn as_read(&self) -> impl Iterator<Item = (Dpid, &RuleSet)> {
        self.known
            .iter()
            .filter_map(|(dpid, known)| match &known.state {
                State::Read(read) => Some((*dpid, read)),
                _ => None,
            })
    }

    /// The wanted form of these rules may have changed.
    pub(super) fn note(&mut self, changed: Stale) {
        for (dpid, keys) in changed {
            if let Some(known) = self.known.get_mut(&dpid)
                && let State::InStep { stale, .. } = &mut known.state
            {
                stale.extend(keys);
            }
        }
    }

    /// The differences to be sent now; `true`: it is the switch's first since its reading. All of them are in step then.
    /// `reinstall`: all that was read is deleted first, and added again.
    pub(super) fn take(
        &mut self,
        wanted: &BTreeMap<Dpid, RuleSet>,
        epoch: u64,
        reinstall: bool,
    ) -> Vec<(Dpid, Difference, bool)> {
        let none = RuleSet::new();
        let mut taken = Vec::new();
        for (dpid, known) in &mut self.known {
            let wanted = wanted.get(dpid).unwrap_or(&none);
            match &mut known.state {
                State::Read(read) => {
                    let mut installed = std::mem::take(read);
                    if reinstall {
                        let away = install::all(&mut installed, &RuleSet::new(), epoch);
                        taken.push((*dpid, away, false));
                    }
                    let difference = install::all(&mut installed, wanted, epoch);
                    taken.push((*dpid, difference, true));
                    known.state = State::InStep {
                        installed,
                        stale: BTreeSet::new(),
                        again: None,
                    };
                }
                State::InStep {
                    installed, stale, ..
                } if !stale.is_empty() => {
                    let keys = std::mem::take(stale);
                    taken.push((*dpid, install::some(installed, wanted, &keys, epoch), false));
                }
                State::InStep { .. } | State::Unread { .. } | State::Reading { .. } => {}
            }
        }
        taken
    }

    /// When something is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let due = |known: &Known| match &known.state {
            State::Unread { not_before } => *not_before,
            State::Reading { deadline, .. } => Some(*deadline),
            State::Read(_) => None,
            State::InStep { again, .. } => *again,
        };
        self.known.values().filter_map(due).min()
    }
}

impl Known {
    /// The reading did not come off.
    fn fail(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.state = State::Unread {
            not_before: Some(now + self.patience()),
        };
    }

    /// A rule was refused: what is there is not what was thought. Other rules are not held up by that.
    fn refuse(&mut self, now: Instant) {
        let patience = self.patience();
        if let State::InStep { again, .. } = &mut self.state
            && again.is_none()
        {
            *again = Some(now + patience);
            self.failures = self.failures.saturating_add(1);
        }
    }

    fn patience(&self) -> Duration {
        AGAIN
            .saturating_mul(1 << self.failures.min(6))
            .min(AGAIN_MOST)
    }

    fn expire(&mut self, dpid: Dpid, now: Instant) {
        if matches!(self.state, State::Reading { deadline, .. } if deadline <= now) {
            tracing::warn!("switch {dpid} did not say its rules within {ANSWER:?}");
            self.fail(now);
        }
    }

    fn statistics(&mut self, xid: u32, reply: v13::MultipartReply, tables: Range<u8>) {
        let State::Reading { token, read, .. } = &mut self.state else {
            return;
        };
        let MultipartBody::Flow(rules) = reply.body else {
            return;
        };
        if xid != *token {
            return;
        }
        let own = rules.iter().filter(|rule| tables.contains(&rule.table_id));
        read.extend(own.map(from_stats));
        if !reply.more {
            self.state = State::Read(std::mem::take(read));
        }
    }
}
