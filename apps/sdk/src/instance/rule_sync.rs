//! Keeps the rules of the connected switches in line with the wanted ones.
//!
//! ```text
//!           read()              last reply           write()
//!   Unread --------> Reading ---------------> Read ----------> Writing --+ changes go out, within a window
//!     ^                 |                      |                  |      |
//!     +--- failed, or too late ----------------+-- resumed -------+ <----+
//! ```
//!
//! 1. Rules are sent only to a switch that was read. The difference found by the reading waits first.
//! 2. A change waits as the key of its rule. Its flow-mod is made when it is sent, so a later change replaces one that waits.
//! 3. A switch is sent changes while the number and size of those that it has not confirmed are within the window. Barrier
//!    requests among them, in the same turn, ask for the confirmation.
//! 4. A switch that confirms late, or never, delays its own rules only. A channel that is lost takes its window along: the
//!    reading over the next one shows what arrived.

mod switch;
#[cfg(test)]
mod tests;
mod tokens;
mod waiting;
mod window;
mod writer;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;
use morph_api::cookie::Cookie;
use morph_api::supervisor::RuleDifference;
use morph_openflow::rule::RuleSet;
use morph_openflow::v13::{self, FlowStatsRequest, Message, MultipartRequest};

use crate::Dpid;
use crate::wanted::StaleRules;
use switch::{ReadState, SwitchRules};
use tokens::Tokens;
pub(super) use tokens::{FLOW_MOD, PACKET_OUT};
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
    RuleFailed(Dpid, String),
    /// The switch refused something else.
    Error(Dpid, String),
}

/// Rules of the connected switches.
#[derive(Debug, Clone)]
pub(super) struct RuleSync {
    app: u8,
    window: RuleWindow,
    by_dpid: BTreeMap<Dpid, SwitchRules>,
    by_channel: BTreeMap<u32, Dpid>,
    tokens: Tokens,
    /// Whether a switch may have come into step since [`RuleSync::take_synced`].
    unlooked: bool,
}

impl RuleSync {
    pub(super) fn new(app: u8, window: RuleWindow) -> Self {
        RuleSync {
            app,
            window,
            by_dpid: BTreeMap::new(),
            by_channel: BTreeMap::new(),
            tokens: Tokens::new(),
            unlooked: false,
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
        self.by_dpid.insert(dpid, SwitchRules::new(channel));
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

    pub(super) fn dpid(&self, channel: u32) -> Option<Dpid> {
        self.by_channel.get(&channel).copied()
    }

    pub(super) fn channel(&self, dpid: Dpid) -> Option<u32> {
        self.by_dpid.get(&dpid).map(|switch| switch.channel)
    }

    /// Marks all switches as unread, as others may have written to them.
    pub(super) fn mark_all_unread(&mut self) {
        self.by_dpid.values_mut().for_each(SwitchRules::mark_unread);
    }

    /// Marks a switch, or all of them, as unread.
    pub(super) fn mark_unread(&mut self, dpid: Option<Dpid>) {
        match dpid {
            None => self.mark_all_unread(),
            Some(dpid) => {
                let switch = self.by_dpid.get_mut(&dpid).into_iter();
                switch.for_each(SwitchRules::mark_unread);
            }
        }
    }

    /// Starts the readings that are due. Returns the requests by channel.
    pub(super) fn read(&mut self, now: Instant) -> Vec<(u32, Vec<Bytes>)> {
        let mut requests = Vec::new();
        for (dpid, switch) in &mut self.by_dpid {
            switch.expire(*dpid, now);
            if !switch.is_to_be_read(now) {
                continue;
            }
            let token = self.tokens.take();
            switch.begin_reading(token, now);
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
                switch.refused_request(header.xid, now);
                self.unlooked = true;
                ReplyOutcome::Error(dpid, error.to_string())
            }
            Message::MultipartReply(reply) => {
                switch.statistics(header.xid, reply, tables);
                ReplyOutcome::Nothing
            }
            Message::BarrierReply => {
                if let Some(writer) = switch.writer_mut() {
                    writer.confirm(header.xid);
                    self.unlooked = true;
                }
                ReplyOutcome::Nothing
            }
            _ => ReplyOutcome::Nothing,
        }
    }

    /// Whether every switch has been read, or could not be.
    pub(super) fn all_read(&self) -> bool {
        self.by_dpid.values().all(SwitchRules::was_read)
    }

    /// Whether every switch has confirmed the changes that its reading made necessary, and that was reported.
    pub(super) fn all_in_step(&self) -> bool {
        let mut writers = self.by_dpid.values().map(SwitchRules::writer);
        writers.all(|writer| writer.is_some_and(RuleWriter::is_in_step))
    }

    /// Whether messages are to be sent to bring the rules of any switch in line.
    pub(super) fn has_work(&self, now: Instant) -> bool {
        self.by_dpid.values().any(|switch| switch.has_work(now))
    }

    /// Rules that were read of each switch.
    pub(super) fn as_read(&self) -> impl Iterator<Item = (Dpid, &RuleSet)> {
        self.by_dpid
            .iter()
            .filter_map(|(dpid, switch)| match &switch.state {
                ReadState::Read(read) => Some((*dpid, read)),
                ReadState::Unread { .. }
                | ReadState::Reading { .. }
                | ReadState::Writing { .. } => None,
            })
    }

    /// Marks rules whose wanted form may have changed.
    pub(super) fn note(&mut self, changed: StaleRules, wanted: &BTreeMap<Dpid, RuleSet>) {
        for (dpid, keys) in changed {
            let switch = self.by_dpid.get_mut(&dpid);
            if let Some(writer) = switch.and_then(SwitchRules::writer_mut) {
                let wanted = wanted.get(&dpid);
                keys.into_iter().for_each(|key| writer.note(key, wanted));
            }
        }
    }

    /// Messages to be sent in a turn, by channel: flow-mods as far as there is room, and barrier requests.
    pub(super) fn write(
        &mut self,
        wanted: &BTreeMap<Dpid, RuleSet>,
        epoch: u64,
        now: Instant,
    ) -> Vec<(u32, Bytes)> {
        let none = RuleSet::new();
        let mut commands = Vec::new();
        let mut room = TURN;
        for (dpid, switch) in &mut self.by_dpid {
            if !switch.has_work(now) {
                continue;
            }
            let wanted = wanted.get(dpid).unwrap_or(&none);
            if let ReadState::Read(read) = &mut switch.state {
                let writer = RuleWriter::new(std::mem::take(read), wanted, self.window);
                switch.state = ReadState::Writing {
                    writer: Box::new(writer),
                    reread_at: None,
                };
            }
            let channel = switch.channel;
            let mut turn = Turn {
                dpid: *dpid,
                wanted,
                epoch,
                now,
                room,
                messages: Vec::new(),
            };
            if let Some(writer) = switch.writer_mut() {
                writer.write(&mut self.tokens, &mut turn);
                self.unlooked = true;
            }
            room = turn.room;
            commands.extend(turn.messages.into_iter().map(|message| (channel, message)));
        }
        commands
    }

    /// Switches that have confirmed all changes that their reading made necessary, each once, with these.
    pub(super) fn take_synced(&mut self) -> Vec<(Dpid, RuleDifference)> {
        if !std::mem::take(&mut self.unlooked) {
            return Vec::new();
        }
        let switches = self.by_dpid.iter_mut();
        let synced = switches.filter_map(|(dpid, switch)| {
            let difference = switch.writer_mut()?.take_synced()?;
            Some((*dpid, difference))
        });
        synced.collect()
    }

    /// Time at which a reading has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let switches = self.by_dpid.values();
        switches.filter_map(SwitchRules::next_deadline).min()
    }

    /// Time at which a turn has to send a barrier again.
    pub(super) fn ask_again_at(&self) -> Option<Instant> {
        let writers = self.by_dpid.values().filter_map(SwitchRules::writer);
        writers.filter_map(RuleWriter::ask_again_at).min()
    }
}
