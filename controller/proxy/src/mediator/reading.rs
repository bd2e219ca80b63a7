//! Requests for rules: queued for each switch, and sent one at a time.

use bytes::Bytes;
use morph_openflow::v13::{multipart_kind, peek};
use morph_openflow::{Dpid, Header};

use super::*;
use crate::channel::{Expects, Requester};
use crate::reads::WaitingRead;

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
        switch.reads.push(WaitingRead {
            requester: Requester::Session { session, token },
            message: Bytes::copy_from_slice(message),
        });
        self.read_next(conn, now);
    }

    /// Sends the next request, if no answer is awaited.
    pub(super) fn read_next(&mut self, conn: u32, now: Instant) {
        let Some(switch) = self.switches.get_mut(&conn) else {
            return;
        };
        while let Some(WaitingRead { requester, message }) = switch.reads.next() {
            if let Requester::Session { session, .. } = requester
                && !self.sessions.contains_key(&session)
            {
                continue;
            }
            let transport = &mut switch.channel.transport;
            let xid = transport.forward(&message, requester, Expects::Reply, now);
            switch.reads.sent(xid, now);
            if requester == Requester::Pipeline {
                match is_of_rules(&message) {
                    true => switch.reconciliation.sent(xid),
                    false => switch.verification.sent(xid),
                }
            }
            let deadline = switch.reads.next_deadline();
            self.arm(deadline);
            return self.mark_dirty(conn);
        }
    }

    /// Gives up the request whose answer is missing, and sends the next one. Instances ask again when they want to; the proxy
    /// does so at once.
    pub(super) fn read_missing(&mut self, conn: u32, now: Instant) {
        let Some(switch) = self.switches.get_mut(&conn) else {
            return;
        };
        let Some(xid) = switch.reads.expire(now) else {
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
        self.read_next(conn, now);
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
