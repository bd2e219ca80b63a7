//! Sending side of a channel: the queue of bytes, the xids in use, and the translation for a switch of OpenFlow 1.0.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use morph_openflow::v10::convert::ConversionError;
use morph_openflow::v13::{self, ErrorMsg, Message};
use morph_openflow::{DecodeError, MessageType, frame, v10};

use super::barriers::Barriers;
use super::bundles::{BundleAnswer, BundleEvent, Bundles, SettledBundle};
use super::v10_adapter::{Translated, V10Adapter};
use super::xids::{Expects, Requester, SentMessage, Xids};

/// Bytes that may wait for a switch before sessions that send more to it have to wait: some 30 000 flow-mods. Apps of our
/// SDK stay far below, as they send a switch few changes that it has not confirmed.
const QUEUE: usize = 4 << 20;
/// Bytes that may wait for a switch before packet-outs to it are dropped.
const PACKETS: usize = 1 << 20;
/// Time that the queue may stay full, and that a switch may take nothing of it.
const STALLED: Duration = Duration::from_secs(5);
/// Delay of a timer that shows that the proxy itself stood still.
const LATE: Duration = Duration::from_secs(1);
/// Error type `OFPET_BAD_REQUEST`, code `OFPBRC_BAD_LEN`.
const UNREADABLE: (u16, u16) = (1, 6);
/// Bytes of a refused message that an error repeats (OpenFlow 1.3.5, section 7.4.4).
const REPEATED: usize = 64;

/// Message that OpenFlow 1.0 cannot express.
#[derive(Debug, Clone)]
pub(crate) struct UnsendableMessage {
    pub(crate) reason: ConversionError,
    /// Error message, as if the switch had answered with it.
    pub(crate) error: Bytes,
}

impl UnsendableMessage {
    fn new(xid: u32, reason: ConversionError, message: &[u8]) -> Self {
        let error = Message::Error(ErrorMsg {
            kind: reason.kind,
            code: reason.code,
            data: Bytes::copy_from_slice(&message[..message.len().min(REPEATED)]),
        });
        let error = error.encode(xid);
        UnsendableMessage { reason, error }
    }
}

/// Send queue of one channel.
#[derive(Debug, Clone, Default)]
pub(crate) struct Transport {
    /// Translator of a channel that speaks OpenFlow 1.0.
    adapter: Option<V10Adapter>,
    /// Table of the apps' pipeline for which the only table of a 1.0 switch stands.
    table: u8,
    /// Messages to be answered as if the switch had refused them.
    unsendable: Vec<UnsendableMessage>,
    buffer: BytesMut,
    /// Bytes that were handed to the driver and are not written yet.
    unwritten: usize,
    full_since: Option<Instant>,
    /// Time at which the switch last took bytes, or could have, while bytes are unwritten.
    taken: Option<Instant>,
    /// A packet-out was dropped since the queue was empty last.
    drops: bool,
    xids: Xids,
    pub(super) barriers: Barriers,
    bundles: Bundles,
    pub(crate) messages_out: u64,
}

impl Transport {
    /// Sets the version that the switch speaks.
    pub(super) fn negotiated(&mut self, version: u8) {
        self.adapter = (version == v10::VERSION).then(V10Adapter::default);
        self.place(self.table);
    }

    /// Returns the version on the wire.
    pub(crate) fn version(&self) -> u8 {
        match self.adapter {
            Some(_) => v10::VERSION,
            None => v13::VERSION,
        }
    }

    /// Returns whether the switch speaks OpenFlow 1.0, so that all rules are in one table.
    pub(crate) fn has_one_table(&self) -> bool {
        self.adapter.is_some()
    }

    /// Sets the table for which the only table of such a switch stands.
    pub(crate) fn place(&mut self, table: u8) {
        self.table = table;
        if let Some(adapter) = &mut self.adapter {
            adapter.place(table);
        }
    }

    /// Translates a received message to 1.3; `None` if it is 1.3 already. Returns rules that cannot be decoded beside.
    pub(super) fn translate(&mut self, frame: &Bytes) -> Option<Result<Translated, DecodeError>> {
        Some(self.adapter.as_mut()?.receive(frame))
    }

    /// Queues a message of the proxy and returns its xid. Those of the channel itself wait for no bundle.
    pub(crate) fn send(
        &mut self,
        message: &Message,
        requester: Requester,
        expects: Expects,
        now: Instant,
    ) -> u32 {
        let xid = self.xids.next(requester, expects, now);
        self.put(xid, message, requester == Requester::Channel);
        xid
    }

    /// Queues a message in the version of the channel, or notes that it cannot be expressed.
    fn put(&mut self, xid: u32, message: &Message, at_once: bool) {
        let stand_in = self.barriers.stand_in(message.kind(), xid);
        let message = stand_in.as_ref().unwrap_or(message);
        let Some(adapter) = &mut self.adapter else {
            let behind = self.bundles.behind().filter(|_| !at_once);
            message.encode_into(xid, behind.unwrap_or(&mut self.buffer));
            self.messages_out += 1;
            return;
        };
        match adapter.send(xid, message, &mut self.buffer) {
            Ok(()) => self.messages_out += 1,
            Err(reason) => {
                let message = message.encode(xid);
                self.unsendable
                    .push(UnsendableMessage::new(xid, reason, &message));
            }
        }
    }

    /// Takes the messages that could not be expressed since the last call.
    pub(crate) fn take_unsendable(&mut self) -> Vec<UnsendableMessage> {
        std::mem::take(&mut self.unsendable)
    }

    /// Queues a message under an xid of the channel, which is returned.
    pub(crate) fn forward(
        &mut self,
        message: &[u8],
        requester: Requester,
        expects: Expects,
        now: Instant,
    ) -> u32 {
        let xid = self.xids.next(requester, expects, now);
        let kind = message.get(1).copied().map(MessageType);
        let is_barrier = kind == Some(MessageType::BARRIER_REQUEST);
        if self.adapter.is_some() || is_barrier && self.barriers.are_refused() {
            match v13::decode(&Bytes::copy_from_slice(message)) {
                Ok((_, message)) => self.put(xid, &message, false),
                Err(error) => {
                    let reason = ConversionError::new(UNREADABLE, error);
                    self.unsendable
                        .push(UnsendableMessage::new(xid, reason, message));
                }
            }
            return xid;
        }
        let buffer = self.bundles.behind().unwrap_or(&mut self.buffer);
        let start = buffer.len();
        buffer.extend_from_slice(message);
        frame::set_xid(&mut buffer[start..], xid);
        self.messages_out += 1;
        xid
    }

    /// Queues changes of a session that are to take effect together: as a bundle where they are many and the switch has bundles.
    pub(crate) fn forward_together(&mut self, session: u64, changes: Vec<Bytes>, now: Instant) {
        if self.barriers.are_refused() || !self.bundles.takes(&changes) {
            return self.forward_singly(session, &changes, now);
        }
        let mut next = |expects| self.xids.next(Requester::Channel, expects, now);
        let first = next(Expects::Nothing);
        for _ in 0..=changes.len() {
            next(Expects::Nothing);
        }
        next(Expects::Reply);
        let (bundles, buffer) = (&mut self.bundles, &mut self.buffer);
        self.messages_out += bundles.put(session, changes, first, buffer, now);
    }

    fn forward_singly(&mut self, session: u64, changes: &[Bytes], now: Instant) {
        for change in changes {
            let requester = Requester::of_session(session, change);
            self.forward(change, requester, Expects::Nothing, now);
        }
    }

    /// Asks whether the switch has bundles.
    pub(super) fn ask_for_bundles(&mut self, now: Instant) {
        if self.adapter.is_some() {
            return;
        }
        let question = self.bundles.question();
        let xids = question.map(|m| self.send(&m, Requester::Channel, Expects::Reply, now));
        self.bundles.asked(xids);
    }

    /// Returns whether an answer with this xid is one to the question for bundles, or to a message of a bundle.
    pub(super) fn concerns_bundles(&self, xid: u32) -> bool {
        self.bundles.concerns(xid)
    }

    /// Handles such an answer.
    pub(super) fn bundle_answered(
        &mut self,
        xid: u32,
        answer: BundleAnswer,
        now: Instant,
    ) -> BundleEvent {
        let (event, settled) = self.bundles.answered(xid, answer, now);
        self.xids.done(xid);
        self.settle(settled, now);
        event
    }

    /// Returns the time at which a bundle is given up.
    pub(super) fn bundle_deadline(&self) -> Option<Instant> {
        self.bundles.next_deadline()
    }

    /// Gives up a bundle whose time is over. It begins anew where the proxy itself stood still.
    pub(super) fn expire_bundle(&mut self, now: Instant) -> BundleEvent {
        let Some(at) = self.bundle_deadline().filter(|at| *at <= now) else {
            return BundleEvent::Nothing;
        };
        if now >= at + LATE {
            self.bundles.wait_anew(now);
            return BundleEvent::Nothing;
        }
        let (event, settled) = self.bundles.give_up(now);
        self.settle(settled, now);
        event
    }

    /// Sends what a settled bundle has left, then what waited for it.
    fn settle(&mut self, settled: Option<SettledBundle>, now: Instant) {
        let Some(settled) = settled else {
            return;
        };
        settled.xids.iter().for_each(|xid| self.xids.done(*xid));
        // The next bundle is among what waited.
        let later = std::mem::take(&mut self.bundles);
        self.forward_singly(settled.session, &settled.left, now);
        self.bundles = later;
        self.buffer.extend_from_slice(&settled.behind);
    }

    /// Discards unsettled bundles and what waits for them, as nothing more may be written.
    pub(super) fn discard_bundles(&mut self) {
        let xids = self.bundles.clear();
        xids.iter().for_each(|xid| self.xids.done(*xid));
    }

    /// Answers an echo request by a copy with another type. A switch that does not read gets no answer.
    pub(super) fn echo(&mut self, request: &[u8]) {
        if self.is_full() {
            return;
        }
        let start = self.buffer.len();
        self.buffer.extend_from_slice(request);
        self.buffer[start + 1] = MessageType::ECHO_REPLY.0;
        self.messages_out += 1;
    }

    /// Queues a message that is encoded already, and neither counted nor numbered.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes all bytes to write now.
    pub(crate) fn take_out(&mut self, now: Instant) -> Option<BytesMut> {
        if self.buffer.is_empty() {
            return None;
        }
        if self.unwritten == 0 {
            self.taken = Some(now);
        }
        self.unwritten += self.buffer.len();
        self.watch_queue(now);
        Some(self.buffer.split())
    }

    /// Notes that bytes have left the queue.
    pub(super) fn written(&mut self, bytes: usize, now: Instant) {
        self.unwritten = self.unwritten.saturating_sub(bytes);
        self.taken = (self.unwritten > 0).then_some(now);
        self.drops &= self.queued() > 0;
    }

    pub(super) fn queued(&self) -> usize {
        self.unwritten + self.buffer.len() + self.bundles.waiting()
    }

    /// Returns whether packet-outs are dropped: those that wait would come late, and the others even later.
    pub(crate) fn drops_packets(&self) -> bool {
        self.queued() > PACKETS
    }

    /// Notes a dropped packet-out. True for the first one since the queue was empty.
    pub(crate) fn note_drop(&mut self) -> bool {
        !std::mem::replace(&mut self.drops, true)
    }

    /// Returns whether sessions that send more to this channel have to wait.
    pub(crate) fn is_full(&self) -> bool {
        self.queued() > QUEUE
    }

    pub(super) fn watch_queue(&mut self, now: Instant) {
        if self.is_full() {
            self.full_since.get_or_insert(now);
        } else {
            self.full_since = None;
        }
    }

    /// Returns the time at which a queue that is full, or does not move, ends the channel.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let since = [self.full_since, self.taken].into_iter().flatten().min();
        since.map(|since| since + STALLED)
    }

    /// Returns whether that time has come. It begins anew where the proxy itself stood still: what the switch has taken meanwhile
    /// is not known yet.
    pub(super) fn is_stalled(&mut self, now: Instant) -> bool {
        let Some(at) = self.next_deadline().filter(|at| *at <= now) else {
            return false;
        };
        if now < at + LATE {
            return true;
        }
        for since in [&mut self.full_since, &mut self.taken] {
            *since = since.map(|_| now);
        }
        false
    }

    /// Looks up the message with this xid.
    pub(crate) fn sent(&self, xid: u32) -> Option<SentMessage> {
        self.xids.get(xid)
    }

    /// Forgets a message whose last answer has come.
    pub(crate) fn answered(&mut self, xid: u32) {
        self.xids.done(xid);
    }

    /// Handles the reply to a barrier.
    pub(crate) fn barrier(&mut self, xid: u32) {
        if self.barriers.are_refused() {
            return self.xids.done(xid);
        }
        self.xids.barrier(xid);
    }
}
