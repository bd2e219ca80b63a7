//! Rules in each connected switch, as far as they are known.
//!
//! ```text
//!           read()              last reply           take()
//!   Unread --------> Reading ---------------> Read ----------> InStep --+ changes go out one by one
//!     ^                 |                      |                 |      |
//!     +--- failed, or too late ----------------+-- resumed ------+ <----+
//! ```
//!
//! Rules are sent only to a switch that is in step. Changes before that are part of the difference that follows its
//! reading.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use morph_api::cookie::Cookie;
use morph_openflow::rule::{Difference, RuleKey, RuleSet, from_stats};
use morph_openflow::v13::{self, FlowStatsRequest, Message, MultipartBody, MultipartRequest};

use crate::wanted::StaleRules;
use crate::{Dpid, install};

/// Deadline of a switch's answers to one reading.
const ANSWER: Duration = Duration::from_secs(5);
/// Backoff before a failed reading is tried again, doubled with each failure.
const SHORTEST_BACKOFF: Duration = Duration::from_secs(1);
/// Longest backoff before a switch is read again.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// Token of all flow-mods, which are answered only by errors.
pub(super) const FLOW_MOD: u32 = 1;
/// Token of all packet-outs.
pub(super) const PACKET_OUT: u32 = 2;
/// Token of the first reading.
const READING: u32 = 16;

#[derive(Debug, Clone)]
enum ReadState {
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
        /// Time at which it is read again, because it refused a rule.
        reread_at: Option<Instant>,
    },
}

#[derive(Debug, Clone)]
struct SwitchRules {
    channel: u32,
    state: ReadState,
    /// Rules that the switch removed by itself since its last reading began, and that no difference has covered yet.
    expired: BTreeSet<RuleKey>,
    /// Failed readings and refused rules since the switch connected.
    failures: u32,
}

/// Rules of the connected switches.
#[derive(Debug, Clone)]
pub(super) struct Switches {
    app: u8,
    by_dpid: BTreeMap<Dpid, SwitchRules>,
    by_channel: BTreeMap<u32, Dpid>,
    next_token: u32,
}

/// Meaning of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReplyOutcome {
    /// Nothing to report.
    Nothing,
    /// The switch refused a rule.
    RuleFailed(Dpid, String),
    /// The switch refused something else.
    Error(Dpid, String),
}

impl Switches {
    pub(super) fn new(app: u8) -> Self {
        Switches {
            app,
            by_dpid: BTreeMap::new(),
            by_channel: BTreeMap::new(),
            next_token: READING,
        }
    }

    /// Forgets all switches.
    pub(super) fn forget(&mut self) {
        self.by_dpid.clear();
        self.by_channel.clear();
    }

    /// Notes a channel. False if a newer one of the same switch is known.
    pub(super) fn connect(&mut self, dpid: Dpid, channel: u32) -> bool {
        if let Some(switch) = self.by_dpid.get(&dpid) {
            if switch.channel >= channel {
                return switch.channel == channel;
            }
            self.by_channel.remove(&switch.channel);
        }
        self.by_channel.insert(channel, dpid);
        let state = ReadState::Unread { not_before: None };
        let switch = SwitchRules {
            channel,
            state,
            expired: BTreeSet::new(),
            failures: 0,
        };
        self.by_dpid.insert(dpid, switch);
        true
    }

    /// Removes a channel. False if it was not the switch's current one.
    pub(super) fn disconnect(&mut self, dpid: Dpid, channel: u32) -> bool {
        let is_it = |switch: &SwitchRules| switch.channel == channel;
        if !self.by_dpid.get(&dpid).is_some_and(is_it) {
            return false;
        }
        self.by_channel.remove(&channel);
        self.by_dpid.remove(&dpid).is_some()
    }

    pub(super) fn dpids(&self) -> impl Iterator<Item = Dpid> {
        self.by_dpid.keys().copied()
    }

    pub(super) fn dpid(&self, channel: u32) -> Option<Dpid> {
        self.by_channel.get(&channel).copied()
    }

    pub(super) fn channel(&self, dpid: Dpid) -> Option<u32> {
        self.by_dpid.get(&dpid).map(|switch| switch.channel)
    }

    /// Marks all switches as unread, as others may have written to them.
    pub(super) fn mark_all_unread(&mut self) {
        for switch in self.by_dpid.values_mut() {
            switch.state = ReadState::Unread { not_before: None };
            switch.failures = 0;
        }
    }

    /// Marks a switch, or all of them, as unread.
    pub(super) fn mark_unread(&mut self, dpid: Option<Dpid>) {
        match dpid {
            None => self.mark_all_unread(),
            Some(dpid) => {
                if let Some(switch) = self.by_dpid.get_mut(&dpid) {
                    switch.state = ReadState::Unread { not_before: None };
                    switch.failures = 0;
                }
            }
        }
    }

    /// Starts the readings that are due. Returns the requests by channel.
    pub(super) fn read(&mut self, now: Instant) -> Vec<(u32, Vec<Bytes>)> {
        let mut requests = Vec::new();
        for (dpid, switch) in &mut self.by_dpid {
            switch.expire(*dpid, now);
            let due = match &switch.state {
                ReadState::Unread { not_before } => not_before.is_none_or(|at| at <= now),
                ReadState::InStep { reread_at, .. } => reread_at.is_some_and(|at| at <= now),
                ReadState::Reading { .. } | ReadState::Read(_) => false,
            };
            if !due {
                continue;
            }
            let token = self.next_token;
            self.next_token = self.next_token.checked_add(1).unwrap_or(READING);
            switch.expired.clear();
            switch.state = ReadState::Reading {
                token,
                deadline: now + ANSWER,
                read: RuleSet::new(),
            };
            let (cookie, mask) = Cookie::all_of(self.app);
            let stats = MultipartRequest::Flow(FlowStatsRequest::by_cookie(cookie, mask));
            // The barrier makes sure that the statistics include all earlier changes, whoever made them.
            let messages = [Message::BarrierRequest, Message::MultipartRequest(stats)];
            let messages = messages.iter().map(|m| m.encode(token)).collect();
            requests.push((switch.channel, messages));
        }
        requests
    }

    /// Handles a reply or an error that bears one of our tokens. `tables` are the app's own; rules elsewhere that bear
    /// its id belong to Morpheus.
    pub(super) fn reply(
        &mut self,
        channel: u32,
        message: &Bytes,
        tables: Range<u8>,
        now: Instant,
    ) -> ReplyOutcome {
        let Some(dpid) = self.dpid(channel) else {
            return ReplyOutcome::Nothing;
        };
        let Some(switch) = self.by_dpid.get_mut(&dpid) else {
            return ReplyOutcome::Nothing;
        };
        let (header, message) = match v13::decode(message) {
            Ok(decoded) => decoded,
            Err(error) => {
                switch.fail(now);
                return ReplyOutcome::Error(dpid, format!("a reply cannot be decoded: {error}"));
            }
        };
        match message {
            Message::Error(error) if header.xid == FLOW_MOD => {
                switch.refuse(now);
                ReplyOutcome::RuleFailed(dpid, error.to_string())
            }
            Message::Error(error) => {
                if matches!(switch.state, ReadState::Reading { token, .. } if token == header.xid) {
                    switch.fail(now);
                }
                ReplyOutcome::Error(dpid, error.to_string())
            }
            Message::MultipartReply(reply) => {
                switch.statistics(header.xid, reply, tables);
                ReplyOutcome::Nothing
            }
            _ => ReplyOutcome::Nothing,
        }
    }

    /// Whether every switch has been read, or could not be.
    pub(super) fn all_read(&self) -> bool {
        self.by_dpid.values().all(|switch| match switch.state {
            ReadState::Read(_) | ReadState::InStep { .. } => true,
            ReadState::Unread { .. } | ReadState::Reading { .. } => switch.failures > 0,
        })
    }

    pub(super) fn all_in_step(&self) -> bool {
        let in_step = |switch: &SwitchRules| matches!(switch.state, ReadState::InStep { .. });
        self.by_dpid.values().all(in_step)
    }

    /// Whether rules are to be sent to any switch.
    pub(super) fn has_work(&self) -> bool {
        self.by_dpid.values().any(|switch| match &switch.state {
            ReadState::Read(_) => true,
            ReadState::InStep { stale, .. } => !stale.is_empty(),
            ReadState::Unread { .. } | ReadState::Reading { .. } => false,
        })
    }

    /// Rules that were read of each switch.
    pub(super) fn as_read(&self) -> impl Iterator<Item = (Dpid, &RuleSet)> {
        self.by_dpid
            .iter()
            .filter_map(|(dpid, switch)| match &switch.state {
                ReadState::Read(read) => Some((*dpid, read)),
                _ => None,
            })
    }

    /// Marks rules whose wanted form may have changed.
    pub(super) fn note(&mut self, changed: StaleRules) {
        for (dpid, keys) in changed {
            if let Some(switch) = self.by_dpid.get_mut(&dpid)
                && let ReadState::InStep { stale, .. } = &mut switch.state
            {
                stale.extend(keys);
            }
        }
    }

    /// Notes a rule that the switch removed by itself. If it is still wanted, it is added again.
    pub(super) fn note_expired(&mut self, dpid: Dpid, key: RuleKey) {
        if let Some(switch) = self.by_dpid.get_mut(&dpid) {
            if let ReadState::InStep { stale, .. } = &mut switch.state {
                stale.insert(key.clone());
            }
            switch.expired.insert(key);
        }
    }

    /// Differences to be sent now; true for a switch's first one since its reading. All these switches are in step
    /// afterwards.
    pub(super) fn take(
        &mut self,
        wanted: &BTreeMap<Dpid, RuleSet>,
        epoch: u64,
    ) -> Vec<(Dpid, Difference, bool)> {
        let none = RuleSet::new();
        let mut taken = Vec::new();
        for (dpid, switch) in &mut self.by_dpid {
            let wanted = wanted.get(dpid).unwrap_or(&none);
            match &mut switch.state {
                ReadState::Read(read) => {
                    let mut installed = std::mem::take(read);
                    let expired = std::mem::take(&mut switch.expired);
                    install::forget_expired(&mut installed, wanted, expired);
                    let difference = install::all(&mut installed, wanted, epoch);
                    taken.push((*dpid, difference, true));
                    switch.state = ReadState::InStep {
                        installed,
                        stale: BTreeSet::new(),
                        reread_at: None,
                    };
                }
                ReadState::InStep {
                    installed, stale, ..
                } if !stale.is_empty() => {
                    let keys = std::mem::take(stale);
                    let expired = std::mem::take(&mut switch.expired);
                    install::forget_expired(installed, wanted, expired);
                    taken.push((*dpid, install::some(installed, wanted, &keys, epoch), false));
                }
                ReadState::InStep { .. } | ReadState::Unread { .. } | ReadState::Reading { .. } => {
                }
            }
        }
        taken
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let due = |switch: &SwitchRules| match &switch.state {
            ReadState::Unread { not_before } => *not_before,
            ReadState::Reading { deadline, .. } => Some(*deadline),
            ReadState::Read(_) => None,
            ReadState::InStep { reread_at, .. } => *reread_at,
        };
        self.by_dpid.values().filter_map(due).min()
    }
}

impl SwitchRules {
    /// Schedules another reading after a failed one.
    fn fail(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.state = ReadState::Unread {
            not_before: Some(now + self.backoff()),
        };
    }

    /// Schedules another reading: the switch has other rules than was thought. Other rules are not held up by that.
    fn refuse(&mut self, now: Instant) {
        let backoff = self.backoff();
        if let ReadState::InStep { reread_at, .. } = &mut self.state
            && reread_at.is_none()
        {
            *reread_at = Some(now + backoff);
            self.failures = self.failures.saturating_add(1);
        }
    }

    fn backoff(&self) -> Duration {
        SHORTEST_BACKOFF
            .saturating_mul(1 << self.failures.min(6))
            .min(LONGEST_BACKOFF)
    }

    fn expire(&mut self, dpid: Dpid, now: Instant) {
        if matches!(self.state, ReadState::Reading { deadline, .. } if deadline <= now) {
            tracing::warn!(
                "switch {dpid} did not report its rules within {ANSWER:?}, and is asked again"
            );
            self.fail(now);
        }
    }

    fn statistics(&mut self, xid: u32, reply: v13::MultipartReply, tables: Range<u8>) {
        let ReadState::Reading { token, read, .. } = &mut self.state else {
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
            self.state = ReadState::Read(std::mem::take(read));
        }
    }
}
