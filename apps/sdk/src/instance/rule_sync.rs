//! Keeps the rules of the connected switches in line with the wanted ones.
//!
//! ```text
//!           read()              last reply           write()
//!   Unread --------> Reading ---------------> Read ----------> Compared --+ changes go out, within a window
//!     ^                 |                      |                  |       |
//!     +--- failed, or much too late -----------+-- resumed -------+ <-----+
//! ```
//!
//! A compared switch stays so: the verification compares it again and again, and holds nothing (`verification`).
//!
//! 1. The rules of a switch are compared once it was read, and the difference is sent. Changes that an event of the network
//!    causes meanwhile are sent at once, and not compared, as the answer may be older than they are; other changes are part of
//!    the difference. A rule whose removal is an event that waits is not compared either.
//! 2. A change waits as the key of its rule. Its flow-mod is made when it is sent, so a later change replaces one that waits.
//! 3. A switch is sent changes while the number and size of those that it has not confirmed are within the window. Barrier
//!    requests among them, in the same turn, ask for the confirmation.
//! 4. A switch that confirms late, or never, delays its own rules only. A channel that is lost takes its window along: the
//!    reading over the next one shows what arrived.
//! 5. Groups and meters are read, compared and changed beside the rules that use them ([`entries`]).
//! 6. Changes of a group whose rules have ranks are ordered over all switches ([`order`]).

mod entries;
mod order;
mod reading;
mod switch;
#[cfg(test)]
mod tests;
mod tokens;
mod verification;
mod waiting;
mod window;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use bytes::Bytes;
use morph_api::cookie::Cookie;
use morph_api::supervisor::{RuleDifference, Vanishing};
use morph_api::verification::VerificationPeriods;
use morph_openflow::entry::EntrySet;
use morph_openflow::rule::{RuleKey, RuleSet};
use morph_openflow::v13::{self, FlowStatsRequest, Message, MultipartRequest};

use crate::entries::StaleEntries;
use crate::event::expired_key;
use crate::rank::{RuleId, Stage, StaleRules};
use crate::{Dpid, FlowRemoved};
use order::Orders;
use switch::{ReadState, SwitchRules};
use tokens::ENTRY_MOD;
use tokens::Tokens;
pub(super) use tokens::{FLOW_MOD, PACKET_OUT};
use verification::Question;
pub use window::RuleWindow;
use writer::{RuleWriter, Turn};

/// Bytes of messages of one turn, after which other switches have to wait for the next. The proxy takes twice as many.
const TURN: usize = 8 << 20;

/// Meaning of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReplyOutcome {
    /// Nothing to report.
    Nothing,
    /// The switch refused a rule.
    RuleFailed(Dpid, SwitchError),
    /// The switch refused something else.
    Error(Dpid, SwitchError),
}

/// Error of a switch in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SwitchError {
    /// Error, and type of the refused message.
    pub(super) kind: String,
    /// Error, and the refused message as far as the switch quotes it.
    pub(super) message: String,
}

impl From<&v13::ErrorMsg> for SwitchError {
    fn from(error: &v13::ErrorMsg) -> Self {
        let with = |refused: String| match refused.as_str() {
            "" => error.to_string(),
            refused => format!("{error} for {refused}"),
        };
        SwitchError {
            kind: with(error.refused_type()),
            message: with(error.refused_message()),
        }
    }
}

/// Messages of a turn that bring rules in line.
#[derive(Debug, Default)]
pub(super) struct RuleMessages {
    /// Messages by channel, in their order.
    pub(super) messages: Vec<(u32, Bytes)>,
    /// Channels whose messages are of a difference that was read: they take effect together where the switch can do that.
    pub(super) together: Vec<u32>,
}

/// Rules of the connected switches.
#[derive(Debug, Clone)]
pub(super) struct RuleSync {
    app: u8,
    window: RuleWindow,
    periods: VerificationPeriods,
    by_dpid: BTreeMap<Dpid, SwitchRules>,
    by_channel: BTreeMap<u32, Dpid>,
    /// Switches for which something is to be done or awaited: a turn does not look at all of them.
    unsettled: BTreeSet<Dpid>,
    /// Times at which others are to be verified. A time that holds no more does no harm.
    verifications: BTreeSet<(Instant, Dpid)>,
    orders: Orders,
    tokens: Tokens,
    /// Whether a switch may have come into step since [`RuleSync::take_synced`].
    unlooked: bool,
}

impl RuleSync {
    pub(super) fn new(app: u8, window: RuleWindow, periods: VerificationPeriods) -> Self {
        RuleSync {
            app,
            window,
            periods,
            by_dpid: BTreeMap::new(),
            by_channel: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            verifications: BTreeSet::new(),
            orders: Orders::default(),
            tokens: Tokens::new(),
            unlooked: false,
        }
    }

    /// Forgets all switches.
    pub(super) fn forget(&mut self) {
        self.by_dpid.clear();
        self.by_channel.clear();
        self.unsettled.clear();
        self.verifications.clear();
        self.orders.clear();
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
        let switch = SwitchRules::new(self.app, channel, self.window, self.periods);
        self.orders.forget_switch(dpid);
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
        self.orders.forget_switch(dpid);
        self.by_dpid.remove(&dpid).is_some()
    }

    pub(super) fn dpid(&self, channel: u32) -> Option<Dpid> {
        self.by_channel.get(&channel).copied()
    }

    pub(super) fn channel(&self, dpid: Dpid) -> Option<u32> {
        self.by_dpid.get(&dpid).map(|switch| switch.channel)
    }

    /// Marks all switches as unread, as others may have written to them.
    pub(super) fn mark_all_unread(&mut self) {
        self.by_dpid.values_mut().for_each(SwitchRules::mark_unread);
        self.orders.clear();
        self.unsettled.extend(self.by_dpid.keys());
    }

    /// Marks a switch, or all of them, as unread.
    pub(super) fn mark_unread(&mut self, dpid: Option<Dpid>) {
        match dpid {
            None => self.mark_all_unread(),
            Some(dpid) => {
                if let Some(switch) = self.by_dpid.get_mut(&dpid) {
                    switch.mark_unread();
                    self.orders.forget_switch(dpid);
                    self.unsettled.insert(dpid);
                }
            }
        }
    }

    /// Starts the readings that are due, and questions of the verification if it goes on. Returns the requests by channel.
    pub(super) fn read(
        &mut self,
        entries: &BTreeMap<Dpid, EntrySet>,
        verifies: bool,
        now: Instant,
    ) -> Vec<(u32, Vec<Bytes>)> {
        while self
            .verifications
            .first()
            .is_some_and(|(at, _)| verifies && *at <= now)
        {
            let due = self.verifications.pop_first();
            let known = due.filter(|(_, dpid)| self.by_dpid.contains_key(dpid));
            self.unsettled.extend(known.map(|(_, dpid)| dpid));
        }
        let (cookie, mask) = Cookie::all_of(self.app);
        let of_app = FlowStatsRequest::by_cookie(cookie, mask);
        let none = EntrySet::new();
        let mut requests = Vec::new();
        for dpid in &self.unsettled {
            let Some(switch) = self.by_dpid.get_mut(dpid) else {
                continue;
            };
            switch.expire(*dpid, now);
            let due = switch.verification_due(now).filter(|_| verifies);
            let (is_to_be_read, of_app) = (switch.is_to_be_read(now), of_app.clone());
            let stats = match due {
                None if !is_to_be_read => None,
                None | Some(Question::Rules) => Some(MultipartRequest::Flow(of_app)),
                Some(Question::Count) => Some(MultipartRequest::Aggregate(of_app)),
            };
            let stats = stats.map(|stats| {
                let token = self.tokens.take();
                match due {
                    None => switch.begin_reading(token, now),
                    Some(question) => switch.verify(question, token, now),
                }
                (token, Message::MultipartRequest(stats))
            });
            let of_switch = switch.writer_mut().entries_mut();
            let entries = entries.get(dpid).unwrap_or(&none);
            let mut questions = of_switch.read(*dpid, entries, &mut self.tokens, now);
            questions.extend(stats);
            let Some((first, _)) = questions.first() else {
                continue;
            };
            // The barrier makes sure that the answers include all earlier changes, whoever made them.
            let barrier = Message::BarrierRequest.encode(*first);
            let questions = questions
                .iter()
                .map(|(token, question)| question.encode(*token));
            let messages = std::iter::once(barrier).chain(questions).collect();
            requests.push((switch.channel, messages));
        }
        requests
    }

    /// Handles a reply or an error that bears one of our tokens.
    pub(super) fn reply(&mut self, channel: u32, message: &Bytes, now: Instant) -> ReplyOutcome {
        let Some(dpid) = self.dpid(channel) else {
            return ReplyOutcome::Nothing;
        };
        let Some(switch) = self.by_dpid.get_mut(&dpid) else {
            return ReplyOutcome::Nothing;
        };
        let (header, message) = match v13::decode_lenient(message) {
            Ok((header, message, skipped)) => {
                switch.note_skipped(dpid, &skipped);
                (header, message)
            }
            Err(error) => {
                switch.fail(now);
                self.unsettled.insert(dpid);
                let kind = format!("a reply cannot be decoded: {error}");
                let message = kind.clone();
                return ReplyOutcome::Error(dpid, SwitchError { kind, message });
            }
        };
        match message {
            Message::Error(error) if header.xid == FLOW_MOD => {
                switch.refuse(now);
                self.unsettled.insert(dpid);
                ReplyOutcome::RuleFailed(dpid, (&error).into())
            }
            Message::Error(error) if header.xid == ENTRY_MOD => {
                switch.writer_mut().entries_mut().fail(now);
                self.unsettled.insert(dpid);
                ReplyOutcome::RuleFailed(dpid, (&error).into())
            }
            Message::Error(_) if switch.writer().entries().awaits(header.xid) => {
                switch.writer_mut().entries_mut().refused(dpid, header.xid);
                ReplyOutcome::Nothing
            }
            Message::MultipartReply(reply) if switch.writer().entries().awaits(header.xid) => {
                switch.writer_mut().entries_mut().answer(header.xid, reply);
                ReplyOutcome::Nothing
            }
            Message::Error(_) if switch.refused_count(header.xid) => {
                tracing::info!(
                    "switch {dpid} refuses to count its rules: for the verification they are read as a whole"
                );
                ReplyOutcome::Nothing
            }
            Message::Error(error) => {
                switch.refused_request(header.xid, now);
                self.orders.confirmed(dpid, switch.writer().confirmed());
                self.unsettled.insert(dpid);
                self.unlooked = true;
                ReplyOutcome::Error(dpid, (&error).into())
            }
            Message::MultipartReply(reply) => {
                switch.statistics(header.xid, reply, now);
                ReplyOutcome::Nothing
            }
            Message::BarrierReply => {
                switch.writer_mut().confirm(header.xid);
                self.orders.confirmed(dpid, switch.writer().confirmed());
                self.unlooked = true;
                ReplyOutcome::Nothing
            }
            Message::FlowRemoved(removed) => {
                if let Some(key) = expired_key(&removed) {
                    switch.removal_waits(header.xid, key);
                }
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
        self.unsettled().all(SwitchRules::was_read)
    }

    /// Whether every switch has confirmed the changes that its reading made necessary, and that was reported.
    pub(super) fn all_in_step(&self) -> bool {
        self.unsettled().all(SwitchRules::is_in_step)
    }

    /// Whether messages are to be sent to bring the rules of any switch in line.
    pub(super) fn has_work(&self, now: Instant) -> bool {
        self.orders.is_due(now) || self.unsettled().any(|switch| switch.has_work(now))
    }

    /// Rules that were read of each switch.
    pub(super) fn as_read(&self) -> impl Iterator<Item = (Dpid, &RuleSet)> {
        self.by_dpid
            .iter()
            .filter_map(|(dpid, switch)| match &switch.state {
                ReadState::Read { read, .. } => Some((*dpid, read)),
                ReadState::Unread { .. } | ReadState::Reading(_) | ReadState::Compared => None,
            })
    }

    /// Marks rules whose wanted form has changed. `urgent` changes do not wait for a reading: they come from the network. Ordered
    /// changes are held back at the switches whose rules are known.
    pub(super) fn note(
        &mut self,
        mut changed: StaleRules,
        wanted: &BTreeMap<Dpid, RuleSet>,
        urgent: bool,
    ) {
        for (order, stages) in std::mem::take(&mut changed.orders) {
            for (id, stage) in stages {
                self.order(order, id, stage, &mut changed);
            }
        }
        for (dpid, keys) in changed.rules {
            if let Some(switch) = self.by_dpid.get_mut(&dpid) {
                let wanted = wanted.get(&dpid);
                keys.into_iter()
                    .for_each(|key| switch.note(key, wanted, urgent));
                self.unsettled.insert(dpid);
            }
        }
    }

    /// Marks groups and meters whose wanted form has changed.
    pub(super) fn note_entries(
        &mut self,
        changed: StaleEntries,
        wanted: &BTreeMap<Dpid, EntrySet>,
    ) {
        let none = EntrySet::new();
        for (dpid, keys) in changed {
            if let Some(switch) = self.by_dpid.get_mut(&dpid) {
                let wanted = wanted.get(&dpid).unwrap_or(&none);
                switch.writer_mut().note_entries(keys, wanted);
                self.unsettled.insert(dpid);
            }
        }
    }

    /// Gives a rule of an ordered group its stage. Its change is held back, if it has changed.
    fn order(&mut self, order: u64, id: RuleId, stage: Stage, changed: &mut StaleRules) {
        let switch = self.by_dpid.get_mut(&id.0);
        let Some(switch) = switch.filter(|switch| switch.is_compared()) else {
            return;
        };
        let keys = changed.rules.get_mut(&id.0);
        if keys.is_some_and(|keys| keys.remove(&id.1)) {
            switch.writer_mut().withhold(&id.1);
            self.orders.hold(order, id, stage);
        } else if self.orders.reorder(order, &id, stage) {
            switch.writer_mut().withhold(&id.1);
        }
    }

    /// Marks the ordered changes whose turn it is.
    fn release(&mut self, wanted: &BTreeMap<Dpid, RuleSet>, now: Instant) {
        while self.orders.is_due(now) {
            for (dpid, key) in self.orders.release(now) {
                let Some(switch) = self.by_dpid.get_mut(&dpid) else {
                    continue;
                };
                switch.note(key.clone(), wanted.get(&dpid), true);
                self.unsettled.insert(dpid);
                if !switch.writer().waits(&key) {
                    // A deletion of what was never sent.
                    self.orders.remove(dpid, &key);
                }
            }
        }
    }

    /// Notes the end of a rule that a switch reports.
    pub(super) fn note_end(&mut self, removed: &FlowRemoved, now: Instant) {
        let (dpid, key) = (removed.dpid, removed.key());
        match removed.is_timeout() {
            true => self.note_expired(dpid, key),
            false => self.note_removed(dpid, &key, now),
        }
    }

    /// Notes a rule that the switch removed by itself. If it is still wanted, it is added again.
    pub(super) fn note_expired(&mut self, dpid: Dpid, key: RuleKey) {
        if let Some(switch) = self.by_dpid.get_mut(&dpid) {
            switch.note_expired(key);
            self.unsettled.insert(dpid);
        }
    }

    /// Notes that the switch reports the removal of a rule, which is no timeout: others may have removed it.
    pub(super) fn note_removed(&mut self, dpid: Dpid, key: &RuleKey, now: Instant) {
        if let Some(switch) = self.by_dpid.get_mut(&dpid) {
            switch.removal_reported(key, now);
            self.unsettled.insert(dpid);
        }
    }

    /// Switches on which rules vanish again and again.
    pub(super) fn vanishing(&mut self, now: Instant) -> Vec<Vanishing> {
        let switches = self.by_dpid.iter_mut();
        let troubled = switches.filter_map(|(dpid, switch)| {
            let lasts = switch.trouble(*dpid, now)?;
            Some(Vanishing {
                dpid: dpid.0,
                lasts_ms: lasts.as_millis() as u64,
            })
        });
        troubled.collect()
    }

    /// Messages to be sent in a turn: flow-mods as far as there is room, and barrier requests.
    pub(super) fn write(
        &mut self,
        wanted: &BTreeMap<Dpid, RuleSet>,
        entries: &BTreeMap<Dpid, EntrySet>,
        epoch: u64,
        now: Instant,
    ) -> RuleMessages {
        self.release(wanted, now);
        let none = RuleSet::new();
        let no_entries = EntrySet::new();
        let mut written = RuleMessages::default();
        let mut room = TURN;
        for dpid in &self.unsettled {
            let Some(switch) = self.by_dpid.get_mut(dpid) else {
                continue;
            };
            if !switch.has_work(now) {
                continue;
            }
            let wanted = wanted.get(dpid).unwrap_or(&none);
            switch.compare(*dpid, wanted, now);
            let channel = switch.channel;
            let mut turn = Turn {
                dpid: *dpid,
                wanted,
                entries: entries.get(dpid).unwrap_or(&no_entries),
                epoch,
                now,
                room,
                messages: Vec::new(),
                written: Vec::new(),
                is_difference: false,
            };
            let writer = switch.writer_mut();
            writer.write(&mut self.tokens, &mut turn);
            if self.orders.sent(*dpid, &turn.written, writer.sent()) {
                writer.ask(&mut self.tokens, &mut turn);
                self.orders.confirmed(*dpid, writer.confirmed());
            }
            self.unlooked = true;
            room = turn.room;
            written
                .together
                .extend(turn.is_difference.then_some(channel));
            let messages = turn.messages.into_iter();
            written
                .messages
                .extend(messages.map(|message| (channel, message)));
        }
        let (by_dpid, verifications) = (&self.by_dpid, &mut self.verifications);
        self.unsettled.retain(|dpid| {
            let Some(switch) = by_dpid.get(dpid) else {
                return false;
            };
            let waits = switch.is_unsettled();
            if !waits {
                verifications.extend(switch.verification_at().map(|at| (at, *dpid)));
            }
            waits
        });
        written
    }

    /// Switches that have confirmed all changes that their reading made necessary, each once, with these.
    pub(super) fn take_synced(&mut self) -> Vec<(Dpid, RuleDifference)> {
        if !std::mem::take(&mut self.unlooked) {
            return Vec::new();
        }
        let by_dpid = &mut self.by_dpid;
        let synced = self.unsettled.iter().filter_map(|dpid| {
            let writer = by_dpid.get_mut(dpid)?.writer_mut();
            Some((*dpid, writer.take_synced()?))
        });
        synced.collect()
    }

    /// Time at which a reading has something to do, or the verification if it goes on.
    pub(super) fn next_deadline(&self, verifies: bool) -> Option<Instant> {
        let switches = self.unsettled();
        let switches = switches.filter_map(|switch| switch.next_deadline(verifies));
        let settled = self.verifications.first().filter(|_| verifies);
        switches.chain(settled.map(|(at, _)| *at)).min()
    }

    /// Time at which a turn has to send a barrier again, or what waits for a late one.
    pub(super) fn ask_again_at(&self) -> Option<Instant> {
        let writers = self.unsettled().map(SwitchRules::writer);
        let barriers = writers.filter_map(RuleWriter::ask_again_at);
        barriers.chain(self.orders.next_deadline()).min()
    }
}
