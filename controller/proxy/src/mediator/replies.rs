//! Replies and errors of switches, passed on to the sender of the request.

use bytes::Bytes;
use morph_api::cookie::Cookie;
use morph_api::session::{self, to_app};
use morph_openflow::v13::{self, Message, MultipartBody, MultipartReply, multipart_kind, peek};
use morph_openflow::{Dpid, Header, MessageType};

use super::*;
use crate::channel::{Requester, SentMessage};
use crate::pipeline;

/// Flag `OFPMPF_REPLY_MORE` of a multipart reply.
const MORE: u16 = 1;

/// Returns whether a message is the last part of an answer about rules.
fn ends_rules(header: Header, frame: &[u8]) -> bool {
    let kinds = [multipart_kind::FLOW, multipart_kind::AGGREGATE];
    header.kind == MessageType::MULTIPART_REPLY
        && peek::multipart(frame)
            .is_ok_and(|fixed| fixed.flags() & MORE == 0 && kinds.contains(&fixed.kind()))
}

impl Mediator {
    /// Passes a reply or an error on to its requester.
    pub(super) fn reply(
        &mut self,
        conn: u32,
        header: Header,
        frame: Bytes,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        if header.kind == MessageType::ERROR {
            let sent = self.switches.get(&conn);
            let sent = sent.and_then(|switch| switch.channel.transport.sent(header.xid));
            self.log_error(conn, &frame, sent, now);
        }
        self.answer(conn, header, frame, now, out);
    }

    /// Answers messages that 1.0 cannot express, as if the switch had refused them.
    pub(super) fn answer_unsendable(&mut self, now: Instant, out: &mut Vec<Output>) {
        let mut index = 0;
        while let Some(conn) = self.dirty_switches.get(index).copied() {
            index += 1;
            let Some(switch) = self.switches.get_mut(&conn) else {
                continue;
            };
            let dpid = Dpid(switch.channel.dpid());
            for message in switch.channel.transport.take_unsendable() {
                let Ok(header) = Header::read(&message.error) else {
                    continue;
                };
                let sent = self.switches.get(&conn);
                let sent = sent.and_then(|switch| switch.channel.transport.sent(header.xid));
                let requester = self.requester_name(sent);
                let kind = format!("switch {dpid}: message not sent: {}", message.reason);
                if self.repeats.note(&kind, now) {
                    tracing::warn!(%dpid, %requester, "message not sent: {}", message.reason);
                }
                self.answer(conn, header, message.error, now, out);
            }
        }
    }

    fn answer(
        &mut self,
        conn: u32,
        header: Header,
        frame: Bytes,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let Some(switch) = self.switches.get_mut(&conn) else {
            return;
        };
        let sent = switch.channel.transport.sent(header.xid);
        let mut more = false;
        match header.kind {
            MessageType::BARRIER_REPLY => switch.channel.transport.barrier(header.xid),
            MessageType::MULTIPART_REPLY => match peek::multipart(&frame) {
                Ok(fixed) => {
                    more = fixed.flags() & MORE != 0;
                    if !more {
                        switch.channel.transport.answered(header.xid);
                    }
                }
                Err(error) => return self.malformed(conn, header, &error, now, out),
            },
            _ => switch.channel.transport.answered(header.xid),
        }
        let askers = switch.reads.askers(header.xid);
        switch.reads.answered(header.xid, more, now);
        if !askers.is_empty() {
            self.distribute(conn, header, &frame, askers, now, out);
        } else if let Some(sent) = sent {
            self.deliver_reply(conn, header, &frame, sent.requester, now, out);
        }
        self.read_next(conn, now);
    }

    /// Passes a reply or an error on to one requester.
    pub(super) fn deliver_reply(
        &mut self,
        conn: u32,
        header: Header,
        frame: &Bytes,
        requester: Requester,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        match requester {
            Requester::Session { session, token } => {
                if ends_rules(header, frame) {
                    self.tell_removals(session, conn, token);
                }
                self.reply_to_session(session, conn, frame, token);
            }
            Requester::Pipeline if header.kind == MessageType::ERROR => {
                self.pipeline_error(conn, header.xid, frame);
            }
            Requester::Pipeline => self.pipeline_reply(conn, header.xid, frame, now),
            Requester::Morphd(ticket) => self.query_reply(ticket, conn, frame, now, out),
            Requester::Channel => {}
        }
    }

    /// Logs the first error of a kind in full.
    fn log_error(&mut self, conn: u32, frame: &Bytes, sent: Option<SentMessage>, now: Instant) {
        let Some(switch) = self.switches.get(&conn) else {
            return;
        };
        let dpid = Dpid(switch.channel.dpid());
        let (error, refused, message) = match v13::decode(frame) {
            Ok((_, Message::Error(error))) => (
                error.to_string(),
                error.refused_type(),
                error.refused_message(),
            ),
            Ok(_) => return,
            Err(error) => (error.to_string(), String::new(), String::new()),
        };
        let requester = self.requester_name(sent);
        let kind = format!("switch {dpid}: error {error} for {refused} of {requester}");
        if self.repeats.note(&kind, now) {
            tracing::warn!(%dpid, %requester, refused = %message, "the switch reported an error: {error}");
        }
    }

    fn requester_name(&self, sent: Option<SentMessage>) -> String {
        match sent.map(|message| message.requester) {
            Some(Requester::Session { session, .. }) => self
                .sessions
                .get(&session)
                .map_or("an instance that is gone".to_owned(), Session::name),
            Some(Requester::Pipeline) => "table 0 and the exit tables".to_owned(),
            Some(Requester::Channel) => "the proxy itself".to_owned(),
            Some(Requester::Morphd(_)) => "morphd".to_owned(),
            None => "unknown, because the message is too old".to_owned(),
        }
    }

    pub(super) fn reply_to_session(&mut self, id: u64, channel: u32, frame: &[u8], token: u32) {
        // Token 0 wants no reply. The instance may also be gone.
        let Some(session) = self.sessions.get_mut(&id).filter(|_| token != 0) else {
            return;
        };
        if session.is_full() {
            return;
        }
        session.put(to_app::Record::Reply(session::Reply { channel }));
        session.put_message(channel, frame, Some(token));
        self.dirty_sessions.push(id);
    }

    fn pipeline_reply(&mut self, conn: u32, xid: u32, frame: &Bytes, now: Instant) {
        let (Some(switch), Some(apps)) = (self.switches.get_mut(&conn), &self.apps) else {
            return;
        };
        let (reply, skipped) = match v13::decode_lenient(frame) {
            Ok((_, Message::MultipartReply(reply), skipped)) => (reply, skipped),
            Ok(_) | Err(_) => return,
        };
        switch.channel.note_skipped(&skipped);
        let MultipartReply { more, body } = reply;
        let mut stats = match body {
            MultipartBody::Flow(stats) => stats,
            MultipartBody::Aggregate(sum) => {
                let (wanted, rules) = (switch.wanted(apps), sum.flow_count);
                switch.verification.counted(xid, rules, &wanted, now);
                return self.arm_verification(conn);
            }
            _ => return,
        };
        if switch.channel.transport.has_one_table() {
            let only = apps.only();
            let of_only = |cookie| Cookie::from_u64(cookie).map(|c| c.app) == only.map(|a| a.id);
            stats.retain(|rule| !of_only(rule.cookie));
        }
        let Some(installed) = switch.reconciliation.reply(xid, more, &stats) else {
            return;
        };
        switch.entries.read(apps, &installed);
        let (mods, counts) = pipeline::difference(&installed, &switch.wanted(apps));
        let dpid = Dpid(switch.channel.dpid());
        let is_verification = switch.verification.judge(dpid, &mods, &counts, now);
        switch.verification.start(dpid, now);
        switch.send_pipeline(mods, now);
        self.mark_dirty(conn);
        self.arm_verification(conn);
        if is_verification {
            return;
        }
        let kind = format!("switch {dpid}: table 0 and the exit tables are up to date");
        if self.repeats.note(&kind, now) || counts.added + counts.changed + counts.removed > 0 {
            tracing::info!(
                %dpid,
                added = counts.added, changed = counts.changed, removed = counts.removed, unchanged = counts.unchanged,
                "table 0 and the exit tables are up to date"
            );
        }
    }
}
