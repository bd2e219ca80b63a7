//! Rules of one switch that was read: brings them in line with the wanted ones, as fast as the switch confirms changes.

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::Bytes;
use morph_api::supervisor::RuleDifference;
use morph_openflow::entry::{EntryKey, EntrySet};
use morph_openflow::rule::{RuleKey, RuleSet};
use morph_openflow::v13::Message;

use super::entries::{Entries, Lack};
use super::reading::Finding;
use super::tokens::{ENTRY_MOD, FLOW_MOD, Tokens};
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

/// State of the rules of a switch, as far as they are known: all of them once it is compared.
#[derive(Debug, Clone)]
pub(super) struct RuleWriter {
    /// Rules that the switch has once it has handled all that was sent.
    installed: RuleSet,
    /// Rules that the switch removed by itself, until they are compared or sent again.
    expired: BTreeSet<RuleKey>,
    /// Rules sent since the question of a reading: its answer may show them as they were before. `None` while there is no
    /// question, or its answer is compared.
    sent_since: Option<BTreeSet<RuleKey>>,
    waiting: WaitingRules,
    window: Window,
    first: Option<FirstDifference>,
    /// Changes wait that a reading made necessary.
    mends: bool,
    /// The log says that the switch answers barriers late or not at all.
    is_late: bool,
    /// Groups and meters.
    entries: Entries,
    /// Rules whose groups and meters the switch does not have.
    deferred: BTreeSet<RuleKey>,
    /// All rules of the switch are in `installed`.
    is_compared: bool,
    /// Groups and meters that are not wanted may have lost their last use.
    may_be_unused: bool,
}

/// Messages of a turn for one switch, and what they are made with.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) dpid: Dpid,
    pub(super) wanted: &'a RuleSet,
    pub(super) entries: &'a EntrySet,
    pub(super) epoch: u64,
    pub(super) now: Instant,
    /// Bytes that further messages of the turn may have.
    pub(super) room: usize,
    pub(super) messages: Vec<Bytes>,
    /// Rules that were looked at, changed or not.
    pub(super) written: Vec<RuleKey>,
    /// Whether changes among the messages are of a difference that was read.
    pub(super) is_difference: bool,
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
    /// State of which nothing is known.
    pub(super) fn new(limit: RuleWindow, entries: Entries) -> Self {
        RuleWriter {
            installed: RuleSet::new(),
            expired: BTreeSet::new(),
            sent_since: None,
            waiting: WaitingRules::default(),
            window: Window::new(limit),
            first: None,
            mends: false,
            is_late: false,
            entries,
            deferred: BTreeSet::new(),
            is_compared: false,
            may_be_unused: false,
        }
    }

    pub(super) fn entries(&self) -> &Entries {
        &self.entries
    }

    pub(super) fn entries_mut(&mut self) -> &mut Entries {
        &mut self.entries
    }

    /// Notes groups and meters whose wanted form has changed.
    pub(super) fn note_entries(&mut self, keys: BTreeSet<EntryKey>, wanted: &EntrySet) {
        self.may_be_unused = true;
        self.entries.note(keys, wanted);
    }

    /// Notes the question of a reading.
    pub(super) fn begin_reading(&mut self) {
        self.entries.read_again();
        self.sent_since = Some(BTreeSet::new());
        let installed = &self.installed;
        // The answer shows the others.
        self.expired.retain(|key| installed.contains_key(key));
        self.first = None;
    }

    /// Compares the rules that were read with the wanted ones. The difference waits.
    ///
    /// 1. Of a rule sent since the question, the last form that was sent counts, whatever was read.
    /// 2. A rule that is missing because its removal is an event that waits (`removed`) counts as installed: the app decides
    ///    about it when it handles the event.
    /// 3. A rule whose removal was handled since the question is missing, whatever was read.
    pub(super) fn compare(
        &mut self,
        mut read: RuleSet,
        removed: &BTreeSet<RuleKey>,
        wanted: &RuleSet,
    ) {
        for key in self.sent_since.take().unwrap_or_default() {
            read.remove(&key);
            read.extend(self.installed.remove_entry(&key));
        }
        for key in removed {
            if let Some(body) = wanted.get(key) {
                read.entry(key.clone()).or_insert_with(|| body.clone());
            }
        }
        for key in std::mem::take(&mut self.expired) {
            install::forget_expired(&mut read, wanted, &key);
        }
        let difference = install::difference(&read, wanted);
        let counts = install::counts(&difference);
        self.installed = read;
        self.is_compared = true;
        self.may_be_unused = true;
        self.waiting = WaitingRules::of(difference);
        self.mends = true;
        self.first = Some(FirstDifference { counts, sent: None });
    }

    /// Number of rules that the switch should have, and of those among them that it removed by itself.
    pub(super) fn count(&self) -> (usize, usize) {
        let expired = self.expired.iter();
        let gone = expired.filter(|key| self.installed.contains_key(key));
        (self.installed.len(), gone.count())
    }

    /// Notes the question of a verification: nothing else waits, and nothing waits for it.
    pub(super) fn begin_verification(&mut self) {
        self.sent_since = Some(BTreeSet::new());
    }

    /// Ends a verification without a comparison.
    pub(super) fn end_verification(&mut self) {
        self.sent_since = None;
        let installed = &self.installed;
        self.expired.retain(|key| installed.contains_key(key));
    }

    /// Compares the rules that were read with those that the switch should have. Differences wait to be mended. Rules sent since
    /// the question, and rules that the switch removed by itself, are not compared: their flow-mods or events decide.
    pub(super) fn verify(
        &mut self,
        mut read: RuleSet,
        removed: &BTreeSet<RuleKey>,
        wanted: &RuleSet,
    ) -> Finding {
        let mut skipped = self.sent_since.take().unwrap_or_default();
        skipped.extend(removed.iter().chain(&self.expired).cloned());
        for key in &skipped {
            read.remove(key);
        }
        let mut finding = Finding::default();
        for (key, body) in &mut self.installed {
            if skipped.contains(key) {
                continue;
            }
            match read.get(key) {
                None => finding.missing.push(key.clone()),
                Some(there) if install::is_same(there, body) => *body = there.clone(),
                Some(there) => {
                    *body = there.clone();
                    finding.changed.push(key.clone());
                }
            }
        }
        for key in &finding.missing {
            self.installed.remove(key);
        }
        for (key, body) in read {
            self.installed.entry(key).or_insert_with_key(|key| {
                finding.foreign.push(key.clone());
                body
            });
        }
        self.end_verification();
        let found = finding.missing.iter().chain(&finding.changed);
        for key in found.chain(&finding.foreign) {
            self.note(key.clone(), Some(wanted));
            self.mends = true;
        }
        finding.missing.retain(|key| wanted.contains_key(key));
        finding
    }

    /// Whether no change waits to be sent.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether the state of a rule is known before the comparison.
    pub(super) fn knows(&self, key: &RuleKey) -> bool {
        let is_sent = |sent: &BTreeSet<RuleKey>| sent.contains(key);
        self.installed.contains_key(key) || self.sent_since.as_ref().is_some_and(is_sent)
    }

    /// Notes a rule whose wanted form may have changed.
    pub(super) fn note(&mut self, key: RuleKey, wanted: Option<&RuleSet>) {
        let is_wanted = wanted.is_some_and(|wanted| wanted.contains_key(&key));
        let is_installed = self.installed.contains_key(&key);
        self.deferred.remove(&key);
        self.waiting.note(key, is_wanted, is_installed);
    }

    /// Notes a rule that the switch removed by itself. Its row may go in the same turn, and come back.
    pub(super) fn note_expired(&mut self, key: RuleKey) {
        let is_installed = self.installed.contains_key(&key);
        if is_installed {
            self.waiting.note(key.clone(), true, true);
        }
        if is_installed || self.sent_since.is_some() {
            self.expired.insert(key);
        }
    }

    /// Whether anything is to be sent or awaited.
    pub(super) fn is_unsettled(&self) -> bool {
        let waits = !self.waiting.is_empty() || self.entries.is_unsettled();
        waits || self.first.is_some() || self.ask_again_at().is_some() || self.may_delete_entries()
    }

    /// Whether anything is to be sent.
    pub(super) fn has_work(&self, now: Instant) -> bool {
        let has_sent_all = self.waiting.is_empty();
        let is_unsent = |first: &FirstDifference| first.sent.is_none();
        let may_send = !has_sent_all || self.entries.has_additions();
        let waits = may_send && self.window.has_room();
        let has_sent_all = has_sent_all && self.entries.is_settled();
        let ends = has_sent_all && self.first.as_ref().is_some_and(is_unsent);
        let entries = self.entries.is_answered() || self.may_delete_entries();
        waits || ends || entries || self.ask_again_at().is_some_and(|at| at <= now)
    }

    /// Writes the changes for which there is room.
    pub(super) fn write(&mut self, tokens: &mut Tokens, turn: &mut Turn<'_>) {
        self.write_entries(tokens, turn);
        while self.window.has_room() && turn.room > 0 {
            let Some(key) = self.waiting.pop() else {
                break;
            };
            match self.lack(&key, turn) {
                None => self.change(&key, turn),
                Some(lack) => self.defer(&key, lack, turn),
            }
            turn.written.push(key);
            if self.window.is_section() {
                self.close(tokens, turn);
            }
        }
        self.delete_entries(tokens, turn);
        self.mends &= !self.waiting.is_empty();
        if let Some(first) = &mut self.first
            && first.sent.is_none()
            && self.waiting.is_empty()
            && self.entries.is_settled()
        {
            first.sent = Some(self.window.sent());
            self.ask(tokens, turn);
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
        if let Some(sent) = &mut self.sent_since {
            sent.insert(key.clone());
        }
        self.may_be_unused = true;
        self.send(&message, FLOW_MOD, turn);
    }

    fn send(&mut self, message: &Message, token: u32, turn: &mut Turn<'_>) {
        match message.try_encode(token) {
            Ok(message) => {
                self.window.send(message.len());
                turn.is_difference |= self.mends;
                turn.put(message);
            }
            Err(error) => {
                tracing::error!("a change for switch {} is left out: {error}", turn.dpid);
            }
        }
    }

    /// Writes groups and meters that are to be added or changed. Barriers stand behind those that others refer to.
    fn write_entries(&mut self, tokens: &mut Tokens, turn: &mut Turn<'_>) {
        let mut has_changed = self.entries.compare(turn.dpid, turn.entries);
        self.may_be_unused |= has_changed;
        while self.window.has_room() && turn.room > 0 {
            let ready = self.entries.ready(turn.dpid, turn.entries);
            if ready.is_empty() {
                break;
            }
            for key in ready {
                if !self.window.has_room() || turn.room == 0 {
                    break;
                }
                if let Some(message) = self.entries.set(key, turn.entries) {
                    self.send(&message, ENTRY_MOD, turn);
                }
            }
            has_changed = true;
            self.ask(tokens, turn);
        }
        if has_changed {
            for key in std::mem::take(&mut self.deferred) {
                self.note(key, Some(turn.wanted));
            }
        }
    }

    /// Deletes groups and meters behind the rules that used them.
    fn delete_entries(&mut self, tokens: &mut Tokens, turn: &mut Turn<'_>) {
        while self.may_delete_entries() {
            let messages = self.entries.delete_unused(&self.installed);
            self.may_be_unused = !messages.is_empty();
            if !messages.is_empty() {
                self.ask(tokens, turn);
            }
            for message in messages {
                self.send(&message, ENTRY_MOD, turn);
            }
        }
    }

    /// Whether groups or meters that are not wanted are to be deleted, as far as no rule uses them.
    fn may_delete_entries(&self) -> bool {
        let is_idle = self.is_compared && self.waiting.is_empty();
        is_idle && self.may_be_unused && self.entries.has_deletions()
    }

    /// Reason why a rule is not to be sent: a group or a meter that the switch does not have.
    fn lack(&self, key: &RuleKey, turn: &Turn<'_>) -> Option<Lack> {
        self.entries.lack(turn.wanted.get(key)?)
    }

    /// Sets a rule aside until the switch has other groups or meters.
    fn defer(&mut self, key: &RuleKey, lack: Lack, turn: &Turn<'_>) {
        if let Lack::Missing(entry, why) = lack {
            tracing::error!(switch = %turn.dpid, "a rule is left out: {key} uses {entry}, but {why}");
        }
        self.deferred.insert(key.clone());
    }

    fn close(&mut self, tokens: &mut Tokens, turn: &mut Turn<'_>) {
        let token = tokens.take();
        self.window.close(token, turn.now);
        turn.barrier(token);
    }

    /// Asks the switch to confirm what it was sent, if that is not asked yet.
    pub(super) fn ask(&mut self, tokens: &mut Tokens, turn: &mut Turn<'_>) {
        if self.window.is_open() {
            self.close(tokens, turn);
        }
    }

    /// Number of changes sent in all.
    pub(super) fn sent(&self) -> u64 {
        self.window.sent()
    }

    /// Number of changes confirmed, of those sent in all.
    pub(super) fn confirmed(&self) -> u64 {
        self.window.confirmed()
    }

    /// Whether a change of this rule waits.
    pub(super) fn waits(&self, key: &RuleKey) -> bool {
        self.waiting.contains(key)
    }

    /// Takes back a change that waits.
    pub(super) fn withhold(&mut self, key: &RuleKey) {
        self.waiting.forget(key);
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
