//! Rules in the connected switches.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;
use morph_api::cookie::Cookie;
use morph_openflow::rule::{Difference, RuleKey, RuleSet};
use morph_openflow::v13::{self, FlowStatsRequest, Message, MultipartRequest};

use super::switch_rules::{ANSWER, ReadState, SwitchRules};
use crate::Dpid;
use crate::wanted::StaleRules;

/// Token of all flow-mods, which are answered only by errors.
pub(super) const FLOW_MOD: u32 = 1;
/// Token of all packet-outs.
pub(super) const PACKET_OUT: u32 = 2;
/// Token of the first reading.
const READING: u32 = 16;

/// Rules of the connected switches.
#[derive(Debug, Clone)]
pub(super) struct Switches {
    app: u8,
    by_dpid: BTreeMap<Dpid, SwitchRules>,
    by_channel: BTreeMap<u32, Dpid>,
    /// Switches for which something is to be done or awaited: a turn does not look at all of them.
    unsettled: BTreeSet<Dpid>,
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
            unsettled: BTreeSet::new(),
            next_token: READING,
        }
    }

    /// Forgets all switches.
    pub(super) fn forget(&mut self) {
        self.by_dpid.clear();
        self.by_channel.clear();
        self.unsettled.clear();
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
        self.unsettled.insert(dpid);
        true
    }

    /// Removes a channel. False if it was not the switch's current one.
    pub(super) fn disconnect(&mut self, dpid: Dpid, channel: u32) -> bool {
        let is_it = |switch: &SwitchRules| switch.channel == channel;
        if !self.by_dpid.get(&dpid).is_some_and(is_it) {
            return false;
        }
        self.by_channel.remove(&channel);
        self.unsettled.remove(&dpid);
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
        self.unsettled.extend(self.by_dpid.keys());
    }

    /// Marks a switch, or all of them, as unread.
    pub(super) fn mark_unread(&mut self, dpid: Option<Dpid>) {
        match dpid {
            None => self.mark_all_unread(),
            Some(dpid) => {
                if let Some(switch) = self.by_dpid.get_mut(&dpid) {
                    switch.state = ReadState::Unread { not_before: None };
                    switch.failures = 0;
                    self.unsettled.insert(dpid);
                }
            }
        }
    }

    /// Starts the readings that are due. Returns the requests by channel.
    pub(super) fn read(&mut self, now: Instant) -> Vec<(u32, Vec<Bytes>)> {
        let mut requests = Vec::new();
        for dpid in &self.unsettled {
            let Some(switch) = self.by_dpid.get_mut(dpid) else {
                continue;
            };
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
                self.unsettled.insert(dpid);
                return ReplyOutcome::Error(dpid, format!("a reply cannot be decoded: {error}"));
            }
        };
        match message {
            Message::Error(error) if header.xid == FLOW_MOD => {
                switch.refuse(now);
                self.unsettled.insert(dpid);
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

    fn unsettled(&self) -> impl Iterator<Item = &SwitchRules> {
        let dpids = self.unsettled.iter();
        dpids.filter_map(|dpid| self.by_dpid.get(dpid))
    }

    /// Whether every switch has been read, or could not be.
    pub(super) fn all_read(&self) -> bool {
        self.unsettled().all(|switch| match switch.state {
            ReadState::Read(_) | ReadState::InStep { .. } => true,
            ReadState::Unread { .. } | ReadState::Reading { .. } => switch.failures > 0,
        })
    }

    pub(super) fn all_in_step(&self) -> bool {
        let in_step = |switch: &SwitchRules| matches!(switch.state, ReadState::InStep { .. });
        self.unsettled().all(in_step)
    }

    /// Whether rules are to be sent to any switch.
    pub(super) fn has_work(&self) -> bool {
        self.unsettled().any(|switch| match &switch.state {
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
                self.unsettled.insert(dpid);
            }
        }
    }

    /// Notes a rule that the switch removed by itself. If it is still wanted, it is added again.
    pub(super) fn note_expired(&mut self, dpid: Dpid, key: RuleKey) {
        if let Some(switch) = self.by_dpid.get_mut(&dpid) {
            if let ReadState::InStep { stale, .. } = &mut switch.state {
                stale.insert(key.clone());
                self.unsettled.insert(dpid);
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
        for dpid in &self.unsettled {
            let Some(switch) = self.by_dpid.get_mut(dpid) else {
                continue;
            };
            let wanted = wanted.get(dpid).unwrap_or(&none);
            let difference = switch.take(wanted, epoch);
            taken.extend(difference.map(|(difference, first)| (*dpid, difference, first)));
        }
        let by_dpid = &self.by_dpid;
        let waits = |dpid: &Dpid| by_dpid.get(dpid).is_some_and(SwitchRules::is_unsettled);
        self.unsettled.retain(waits);
        taken
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let due = |switch: &SwitchRules| match &switch.state {
            ReadState::Unread { not_before } => *not_before,
            ReadState::Reading { deadline, .. } => Some(*deadline),
            ReadState::Read(_) => None,
            ReadState::InStep { reread_at, .. } => *reread_at,
        };
        self.unsettled().filter_map(due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Switches in step after a turn.
    fn in_step(count: u32) -> Switches {
        let mut switches = Switches::new(7);
        for n in 1..=count {
            switches.connect(Dpid(n.into()), n);
        }
        for switch in switches.by_dpid.values_mut() {
            switch.state = ReadState::Read(RuleSet::new());
        }
        assert_eq!(
            switches.take(&BTreeMap::new(), 1).len(),
            switches.by_dpid.len()
        );
        switches
    }

    #[test]
    fn a_turn_looks_at_switches_with_something_to_do_however_many_there_are() {
        for count in [3, 1000] {
            let mut switches = in_step(count);
            assert!(switches.unsettled.is_empty());
            let key = RuleKey {
                table: 10,
                priority: 1,
                match_: v13::Match::new().into(),
            };
            switches.note(StaleRules::from([(Dpid(2), BTreeSet::from([key]))]));
            assert_eq!(switches.unsettled.len(), 1);
            assert!(switches.has_work());
            assert_eq!(switches.take(&BTreeMap::new(), 1).len(), 1);
            assert!(switches.unsettled.is_empty());
        }
    }
}
