//! Requests for rules: queued for each switch, and sent one at a time.

use bytes::Bytes;
use morph_openflow::v13::{multipart_kind, peek};
use morph_openflow::{Dpid, Header, MessageType};

use super::*;
use crate::channel::{Expects, Requester};
use crate::reads::{Asker, Read, WaitingRead};

/// Returns whether a message asks for rules.
pub(super) fn is_of_rules(message: &[u8]) -> bool {
    peek::multipart(message).is_ok_and(|fixed| fixed.kind() == multipart_kind::FLOW)
}

/// Returns whether a message asks for rules or their number, so that the answer may take long.
pub(super) fn is_read(message: &[u8]) -> bool {
    let kind = peek::multipart(message).map(|fixed| fixed.kind());
    kind.is_ok_and(|kind| [multipart_kind::FLOW, multipart_kind::AGGREGATE].contains(&kind))
}

impl Mediator {
    /// Queues a request of an instance; discards it if the channel is gone.
    pub(super) fn queue_read(&mut self, session: u64, conn: u32, message: &[u8], now: Instant) {
        let token = Header::read(message).map_or(0, |header| header.xid);
        let switch = self.switches.get_mut(&conn);
        let Some(switch) = switch.filter(|switch| switch.announced) else {
            return;
        };
        let requester = Requester::Session { session, token };
        let message = Bytes::copy_from_slice(message);
        switch.reads.push(WaitingRead::new(requester, message));
        self.read_next(conn, now);
    }

    /// Sends the next request, if no answer is awaited.
    pub(super) fn read_next(&mut self, conn: u32, now: Instant) {
        let Some(switch) = self.switches.get_mut(&conn) else {
            return;
        };
        let (sessions, queries) = (&self.sessions, &self.queries);
        switch.reads.retain(|requester| match requester {
            Requester::Session { session, .. } => sessions.contains_key(session),
            Requester::Morphd(ticket) => queries.contains_key(ticket),
            Requester::Pipeline | Requester::Channel => true,
        });
        let Some(Read { message, askers }) = switch.reads.next() else {
            return;
        };
        let Some(first) = askers.first() else {
            return;
        };
        let transport = &mut switch.channel.transport;
        let xid = transport.forward(&message, first.requester, Expects::Reply, now);
        for asker in &askers {
            match asker.requester {
                Requester::Pipeline if is_of_rules(&message) => switch.reconciliation.sent(xid),
                Requester::Pipeline => switch.verification.sent(xid),
                Requester::Session { .. } | Requester::Channel | Requester::Morphd(_) => {}
            }
        }
        switch.reads.sent(xid, askers, now);
        let deadline = switch.reads.next_deadline();
        self.arm(deadline);
        self.mark_dirty(conn);
    }

    /// Gives up the request whose answer is missing, and sends the next one. Instances ask again when they want to; the proxy
    /// does so at once.
    pub(super) fn read_missing(&mut self, conn: u32, now: Instant, out: &mut Vec<Output>) {
        let Some(switch) = self.switches.get_mut(&conn) else {
            return;
        };
        let Some((xid, askers)) = switch.reads.expire(now) else {
            return;
        };
        let dpid = Dpid(switch.channel.dpid());
        if switch.verification.awaits(xid) {
            switch.verification.count_missing();
            switch.reads.drop_own();
            self.read_next(conn, now);
            return self.arm_verification(conn);
        }
        let is_own = switch.reconciliation.awaits(xid);
        tracing::warn!(%dpid, is_own, "the switch did not report its rules in time");
        if is_own {
            self.read_pipeline(conn, now);
        }
        for asker in askers {
            if let Requester::Morphd(ticket) = asker.requester {
                self.query_missed(ticket, out);
            }
        }
        self.read_next(conn, now);
    }

    /// Passes a part of an answer, or an error, on to those who asked.
    pub(super) fn distribute(
        &mut self,
        conn: u32,
        header: Header,
        frame: &Bytes,
        askers: Vec<Asker>,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        for Asker {
            requester,
            selection,
        } in askers
        {
            let selection = selection.filter(|_| header.kind == MessageType::MULTIPART_REPLY);
            let part = selection.and_then(|selection| selection.part(frame).ok());
            // Each asker says for itself what it cannot decode.
            let part = part.unwrap_or_else(|| frame.clone());
            self.deliver_reply(conn, header, &part, requester, now, out);
        }
    }

    /// Tells an instance, with the last part of rules that it has read, which of them are missing because of an event that it
    /// has not handled durably.
    pub(super) fn tell_removals(&mut self, session: u64, conn: u32, token: u32) {
        let app = self.sessions.get(&session).and_then(|s| s.app);
        let Some(slot) = app.and_then(|app| self.slots.get(&app)) else {
            return;
        };
        let removals: Vec<Bytes> = slot.removals(conn).cloned().collect();
        for removal in removals {
            self.reply_to_session(session, conn, &removal, token);
        }
    }
}
