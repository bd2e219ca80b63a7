//! Replies and errors of switches, for whoever asked; and what a channel had no words for.

use bytes::Bytes;
use morph_api::cookie::Cookie;
use morph_api::session::{self, to_app};
use morph_openflow::v13::{self, Message, MultipartBody, MultipartReply, peek};
use morph_openflow::{Dpid, Header, MessageType};

use super::*;
use crate::channel::{Asked, Asker, Expects};

/// Bit 0 of a multipart reply's flags: `OFPMPF_REPLY_MORE`.
const MORE: u16 = 1;

impl Mediator {
    /// A reply or an error: for whoever asked.
    pub(super) fn reply(
        &mut self,
        conn: u32,
        header: Header,
        frame: Bytes,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        if header.kind == MessageType::ERROR {
            let asked = self.switches.get(&conn);
            let asked = asked.and_then(|switch| switch.channel.asked(header.xid));
            self.log_error(conn, &frame, asked);
        }
        self.answer(conn, header, frame, now, out);
    }

    /// What a channel had no words for is answered as if the switch had refused it.
    pub(super) fn refusals(&mut self, now: Instant, out: &mut Vec<Output>) {
        let mut index = 0;
        while let Some(conn) = self.dirty_switches.get(index).copied() {
            index += 1;
            let Some(switch) = self.switches.get_mut(&conn) else {
                continue;
            };
            let dpid = Dpid(switch.channel.dpid());
            for refused in switch.channel.take_refused() {
                let Ok(header) = Header::read(&refused.error) else {
                    continue;
                };
                let asked = self.switches.get(&conn);
                let asked = asked.and_then(|switch| switch.channel.asked(header.xid));
                let whose = self.whose(asked);
                tracing::warn!(%dpid, %whose, "not sent: {}", refused.why);
                self.answer(conn, header, refused.error, now, out);
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
        let is_error = header.kind == MessageType::ERROR;
        let asked = switch.channel.asked(header.xid);
        match header.kind {
            MessageType::BARRIER_REPLY => switch.channel.barrier(header.xid),
            MessageType::MULTIPART_REPLY => match peek::multipart(&frame) {
                Ok(fixed) if fixed.flags() & MORE != 0 => {}
                Ok(_) => switch.channel.answered(header.xid),
                Err(error) => return self.malformed(conn, header, &error, now, out),
            },
            _ => switch.channel.answered(header.xid),
        }
        match asked.map(|asked| asked.asker) {
            Some(Asker::Session { session, token }) => {
                self.reply_to_session(session, conn, &frame, token)
            }
            Some(Asker::Pipeline) if !is_error => {
                self.pipeline_reply(conn, header.xid, &frame, now)
            }
            Some(Asker::Ticket(ticket)) => self.question_reply(ticket, conn, &frame, now, out),
            Some(Asker::Pipeline | Asker::Channel) | None => {}
        }
    }

    fn log_error(&self, conn: u32, frame: &Bytes, asked: Option<Asked>) {
        let Some(switch) = self.switches.get(&conn) else {
            return;
        };
        let error = match v13::decode(frame) {
            Ok((_, Message::Error(error))) => error.to_string(),
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        let whose = self.whose(asked);
        tracing::warn!(dpid = %Dpid(switch.channel.dpid()), %whose, "error from the switch: {error}");
    }

    fn whose(&self, asked: Option<Asked>) -> String {
        match asked.map(|asked| asked.asker) {
            Some(Asker::Session { session, .. }) => self
                .sessions
                .get(&session)
                .map_or("an instance that is gone".to_owned(), Session::name),
            Some(Asker::Pipeline) => "table 0 and the exits".to_owned(),
            Some(Asker::Channel) => "the channel".to_owned(),
            Some(Asker::Ticket(_)) => "morphd".to_owned(),
            None => "a message that is no longer known".to_owned(),
        }
    }

    fn reply_to_session(&mut self, id: u64, channel: u32, frame: &[u8], token: u32) {
        // Token 0 wants no reply; the instance that asked may be gone, and its replies with it.
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
        let Some(switch) = self.switches.get_mut(&conn) else {
            return;
        };
        let Ok((_, Message::MultipartReply(MultipartReply { more, body }))) = v13::decode(frame)
        else {
            return;
        };
        let MultipartBody::Flow(mut stats) = body else {
            return;
        };
        let nothing = RuleSet::new();
        let mut wanted = &self.wanted;
        if switch.channel.has_one_table() {
            let only = self.apps.as_ref().and_then(Apps::only);
            let of_only = |cookie| Cookie::from_u64(cookie).map(|c| c.app) == only.map(|a| a.id);
            stats.retain(|rule| !of_only(rule.cookie));
            wanted = &nothing;
        }
        let Some((mods, sent)) = switch.reconcile.reply(xid, more, &stats, wanted) else {
            return;
        };
        for flow in mods {
            let message = Message::FlowMod(flow);
            switch
                .channel
                .say(&message, Asker::Pipeline, Expects::Nothing, now);
        }
        tracing::info!(
            dpid = %Dpid(switch.channel.dpid()),
            added = sent.added, changed = sent.changed, removed = sent.removed, unchanged = sent.unchanged,
            "table 0 and the exits are in step"
        );
        self.touch(conn);
    }
}
