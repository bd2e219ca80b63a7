//! Rules of one switch that was read: brings them in line with the wanted ones, as fast as the switch confirms changes.

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::Bytes;
use morph_api::supervisor::RuleDifference;
use morph_openflow::rule::{RuleKey, RuleSet};
use morph_openflow::v13::Message;

use super::tokens::{FLOW_MOD, Tokens};
use super::waiting::WaitingRules;
use super::window::{RuleWindow, Window};
use crate::{Dpid, install};

/// Difference found by the reading, until the switch has confirmed its changes.
#[derive(Debug, Clone)]
struct FirstDifference {
    counts: RuleDifference,
    /// Number of changes that are to be confirmed, once all of the difference is sent.
    sent: Option<u64>,
}

/// State of the rules of a switch that was read.
#[derive(Debug, Clone)]
pub(super) struct RuleWriter {
    /// Rules that the switch has once it has handled all that was sent.
    installed: RuleSet,
    /// Rules that wait because the switch removed them by itself.
    expired: BTreeSet<RuleKey>,
    waiting: WaitingRules,
    window: Window,
    first: Option<FirstDifference>,
    /// The log says that the switch answers barriers late or not at all.
    is_late: bool,
}

/// Messages of a turn for one switch, and what they are made with.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) dpid: Dpid,
    pub(super) wanted: &'a RuleSet,
    pub(super) epoch: u64,
    pub(super) now: Instant,
    /// Bytes that further messages of the turn may have.
    pub(super) room: usize,
    pub(super) messages: Vec<Bytes>,
}

impl Turn<'_> {
    fn put(&mut self, message: Bytes) {
        self.room = self.room.saturating_sub(message.len());
        self.messages.push(message);
    }

    fn barrier(&mut self, token: u32) {
        self.put(Message::BarrierRequest.encode(token));
    }
}

impl RuleWriter {
    /// State after a reading, with its difference from the wanted rules waiting.
    pub(super) fn new(read: RuleSet, wanted: &RuleSet, limit: RuleWindow) -> Self {
        let difference = install::difference(&read, wanted);
        let counts = install::counts(&difference);
        RuleWriter {
            installed: read,
            expired: BTreeSet::new(),
            waiting: WaitingRules::of(difference),
            window: Window::new(limit),
            first: Some(FirstDifference { counts, sent: None }),
            is_late: false,
        }
    }

    /// Notes a rule whose wanted form may have changed.
    pub(super) fn note(&mut self, key: RuleKey, wanted: Option<&RuleSet>) {
        let is_wanted = wanted.is_some_and(|wanted| wanted.contains_key(&key));
        let is_installed = self.installed.contains_key(&key);
        self.waiting.note(key, is_wanted, is_installed);
    }

    /// Notes a rule that the switch removed by itself. Its row may go in the same turn, and come back.
    pub(super) fn note_expired(&mut self, key: RuleKey) {
        if self.installed.contains_key(&key) {
            self.waiting.note(key.clone(), true, true);
            self.expired.insert(key);
        }
    }

    /// Whether anything is to be sent or awaited.
    pub(super) fn is_unsettled(&self) -> bool {
        !self.waiting.is_empty() || self.first.is_some() || self.ask_again_at().is_some()
    }

    /// Whether anything is to be sent.
    pub(super) fn has_work(&self, now: Instant) -> bool {
        let has_sent_all = self.waiting.is_empty();
        let is_unsent = |first: &FirstDifference| first.sent.is_none();
        let waits = !has_sent_all && self.window.has_room();
        let ends = has_sent_all && self.first.as_ref().is_some_and(is_unsent);
        waits || ends || self.ask_again_at().is_some_and(|at| at <= now)
    }

    /// Writes the changes for which there is room.
    pub(super) fn write(&mut self, tokens: &mut Tokens, turn: &mut Turn<'_>) {
        while self.window.has_room() && turn.room > 0 {
            let Some(key) = self.waiting.pop() else {
                break;
            };
            self.change(&key, turn);
            if self.window.is_section() {
                self.close(tokens, turn);
            }
        }
        if let Some(first) = &mut self.first
            && first.sent.is_none()
            && self.waiting.is_empty()
        {
            first.sent = Some(self.window.sent());
            if self.window.is_open() {
                self.close(tokens, turn);
            }
        }
        if let Some(token) = self.window.ask_again(turn.now) {
            turn.barrier(token);
        }
        if !self.is_late && self.window.is_late(turn.now) {
            self.is_late = true;
            tracing::warn!(
                "switch {} has not answered a barrier for 5 s: further changes of its rules wait for it",
                turn.dpid
            );
        }
    }

    fn change(&mut self, key: &RuleKey, turn: &mut Turn<'_>) {
        if self.expired.remove(key) {
            install::forget_expired(&mut self.installed, turn.wanted, key);
        }
        let flow_mod = install::one(&mut self.installed, turn.wanted, key, turn.epoch);
        let Some(message) = flow_mod.map(Message::FlowMod) else {
            return;
        };
        match message.try_encode(FLOW_MOD) {
            Ok(message) => {
                self.window.send(message.len());
                turn.put(message);
            }
            Err(error) => {
                tracing::error!("a rule for switch {} is left out: {error}", turn.dpid);
            }
        }
    }

    fn close(&mut self, tokens: &mut Tokens, turn: &mut Turn<'_>) {
        let token = tokens.take();
        self.window.close(token, turn.now);
        turn.barrier(token);
    }

    /// Handles the answer to a barrier.
    pub(super) fn confirm(&mut self, token: u32) {
        self.window.confirm(token);
    }

    /// The reading's difference, once: when the switch has confirmed its changes.
    pub(super) fn take_synced(&mut self) -> Option<RuleDifference> {
        let confirmed = self.window.confirmed();
        let is_done = |first: &mut FirstDifference| first.sent.is_some_and(|n| n <= confirmed);
        self.first.take_if(is_done).map(|first| first.counts)
    }

    /// Whether the switch has confirmed the changes found by the reading, and that was reported.
    pub(super) fn is_in_step(&self) -> bool {
        self.first.is_none()
    }

    /// Time at which a barrier is to be sent again.
    pub(super) fn ask_again_at(&self) -> Option<Instant> {
        self.window.ask_again_at()
    }
}
