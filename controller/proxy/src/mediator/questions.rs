//! Questions of morphd's that switches have to answer.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use morph_api::cookie::Cookie;
use morph_api::supervisor::{
    CleanReply, CleanRequest, CleanSwitchReply, CleanedApp, Flow, FlowsReply, PortRow, PortsReply,
};
use morph_openflow::v13::{
    self, FlowMod, FlowStats, FlowStatsRequest, Message, MultipartBody, MultipartReply,
    MultipartRequest, PortStats, TABLE_ALL, port,
};
use morph_openflow::{Dpid, rule};

use super::*;
use crate::channel::{Asker, Expects};

/// A question under way.
#[derive(Debug, Clone)]
pub(super) struct Question {
    until: Instant,
    /// Channels that have not answered.
    waiting: BTreeSet<u32>,
    answer: Gathered,
}

#[derive(Debug, Clone)]
enum Gathered {
    Ports(Vec<PortRow>),
    Flows(Vec<Flow>),
    /// The rules of this app are deleted on so many switches.
    Clean {
        app: String,
        switches: u32,
    },
    /// Our rules on one switch, found and deleted, by app.
    CleanSwitch {
        dpid: u64,
        found: BTreeMap<u8, u64>,
    },
}

impl Question {
    pub(super) fn deadline(&self) -> Instant {
        self.until
    }

    fn answer(self) -> Answer {
        match self.answer {
            Gathered::Ports(ports) => Answer::Ports(PortsReply { ports }),
            Gathered::Flows(flows) => Answer::Flows(FlowsReply { flows }),
            Gathered::Clean { switches, .. } => Answer::Clean(CleanReply { switches }),
            Gathered::CleanSwitch { found, .. } => {
                let app = |(id, rules): (u8, u64)| CleanedApp {
                    id: u32::from(id),
                    rules,
                };
                let apps = found.into_iter().map(app).collect();
                Answer::CleanSwitch(CleanSwitchReply { apps })
            }
        }
    }
}

type Pending = Option<Result<Answer, Refusal>>;

impl Mediator {
    pub(super) fn ask_ports(&mut self, ticket: u64, dpid: u64, now: Instant) -> Pending {
        let question = MultipartRequest::PortStats { port_no: port::ANY };
        self.ask_switch(ticket, dpid, question, Gathered::Ports(Vec::new()), now)
    }

    pub(super) fn ask_flows(&mut self, ticket: u64, dpid: u64, now: Instant) -> Pending {
        let question = MultipartRequest::Flow(FlowStatsRequest::all());
        self.ask_switch(ticket, dpid, question, Gathered::Flows(Vec::new()), now)
    }

    fn ask_switch(
        &mut self,
        ticket: u64,
        dpid: u64,
        question: MultipartRequest,
        answer: Gathered,
        now: Instant,
    ) -> Pending {
        let conn = self.by_dpid.get(&dpid).copied();
        let known = conn.filter(|conn| {
            self.switches
                .get(conn)
                .is_some_and(|switch| switch.channel.is_ready())
        });
        let Some(conn) = known else {
            let why = format!("no switch {} is connected", Dpid(dpid));
            return Some(Err(Refusal::NotFound(why)));
        };
        self.say_to(
            conn,
            &Message::MultipartRequest(question),
            ticket,
            Expects::Reply,
            now,
        );
        self.await_answers(ticket, BTreeSet::from([conn]), answer, now);
        None
    }

    fn say_to(
        &mut self,
        conn: u32,
        message: &Message,
        ticket: u64,
        expects: Expects,
        now: Instant,
    ) {
        if let Some(switch) = self.switches.get_mut(&conn) {
            switch
                .channel
                .say(message, Asker::Ticket(ticket), expects, now);
            self.touch(conn);
        }
    }

    fn await_answers(
        &mut self,
        ticket: u64,
        waiting: BTreeSet<u32>,
        answer: Gathered,
        now: Instant,
    ) {
        let until = now + QUESTION;
        let question = Question {
            until,
            waiting,
            answer,
        };
        self.questions.insert(ticket, question);
        self.arm(Some(until));
    }

    pub(super) fn clean(
        &mut self,
        ticket: u64,
        request: &CleanRequest,
        now: Instant,
        out: &mut Vec<Output>,
    ) -> Pending {
        let Ok(id @ 1..=254) = u8::try_from(request.id) else {
            let why = format!("{}: id {} is not from 1 to 254", request.app, request.id);
            return Some(Err(Refusal::Invalid(why)));
        };
        let (cookie, mask) = Cookie::all_of(id);
        let delete = Message::FlowMod(FlowMod::delete(TABLE_ALL, cookie, mask));
        let announced = |(conn, switch): (&u32, &Switch)| switch.announced.then_some(*conn);
        let waiting: BTreeSet<u32> = self.switches.iter().filter_map(announced).collect();
        let find = FlowStatsRequest::by_cookie(cookie, mask);
        let find = Message::MultipartRequest(MultipartRequest::Flow(find));
        for conn in &waiting {
            let switch = self.switches.get(conn);
            if switch.is_some_and(|switch| switch.channel.has_one_table()) {
                // It deletes by match only: its rules are asked for, and deleted one by one.
                self.say_to(*conn, &find, ticket, Expects::Reply, now);
                continue;
            }
            self.say_to(*conn, &delete, ticket, Expects::Nothing, now);
            self.say_to(*conn, &Message::BarrierRequest, ticket, Expects::Reply, now);
        }
        let answer = Gathered::Clean {
            app: request.app.clone(),
            switches: waiting.len() as u32,
        };
        self.await_answers(ticket, waiting, answer, now);
        self.conclude(ticket, now, out);
        None
    }

    /// Asks which rules of ours there are, deletes them, and has them put back by who wants them.
    pub(super) fn clean_switch(&mut self, ticket: u64, dpid: u64, now: Instant) -> Pending {
        let switch = self.by_dpid.get(&dpid);
        let switch = switch.and_then(|conn| self.switches.get(conn));
        if switch.is_some_and(|switch| !switch.channel.may_write()) {
            let why = format!("Morpheus is the slave of {}, and may not write", Dpid(dpid));
            return Some(Err(Refusal::Precondition(why)));
        }
        let (cookie, mask) = Cookie::all();
        let question = MultipartRequest::Flow(FlowStatsRequest::by_cookie(cookie, mask));
        let found = BTreeMap::new();
        self.ask_switch(
            ticket,
            dpid,
            question,
            Gathered::CleanSwitch { dpid, found },
            now,
        )
    }

    /// All is deleted: what is wanted there is compared anew.
    fn cleaned(&mut self, dpid: u64, now: Instant, out: &mut Vec<Output>) {
        let Some(conn) = self.by_dpid.get(&dpid).copied() else {
            return;
        };
        tracing::warn!(dpid = %Dpid(dpid), "all rules of ours are deleted; apps that run put theirs back");
        self.reconcile(conn, now);
        self.switch_event(conn, dpid, slot::What::Resync { list: false }, now, out);
    }

    /// Answers, if all have.
    fn conclude(&mut self, ticket: u64, now: Instant, out: &mut Vec<Output>) {
        let done = |question: &Question| question.waiting.is_empty();
        if !self.questions.get(&ticket).is_some_and(done) {
            return;
        }
        let Some(question) = self.questions.remove(&ticket) else {
            return;
        };
        if let Gathered::Clean { app, switches } = &question.answer {
            tracing::info!(%app, switches, "its rules are deleted");
            // One in table 0 bears topology's id: where it is still wanted, it comes back.
            for conn in self.switches.keys().copied().collect::<Vec<_>>() {
                self.reconcile(conn, now);
            }
        }
        if let Gathered::CleanSwitch { dpid, .. } = question.answer {
            self.cleaned(dpid, now, out);
        }
        let answer = Ok(question.answer());
        out.push(Output::Answer { ticket, answer });
    }

    pub(super) fn question_reply(
        &mut self,
        ticket: u64,
        conn: u32,
        frame: &Bytes,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let Some(question) = self.questions.get_mut(&ticket) else {
            return;
        };
        let mut found = None;
        let more = match v13::decode(frame) {
            Ok((_, Message::MultipartReply(MultipartReply { more, body }))) => {
                let channel = self.switches.get(&conn).map(|switch| &switch.channel);
                match (&mut question.answer, body) {
                    (Gathered::Ports(rows), MultipartBody::PortStats(stats)) => {
                        rows.extend(stats.iter().map(|stats| port_row(channel, stats)));
                    }
                    (Gathered::Flows(flows), MultipartBody::Flow(stats)) => {
                        flows.extend(stats.iter().map(flow_row));
                    }
                    (Gathered::Clean { .. }, MultipartBody::Flow(stats)) => found = Some(stats),
                    (Gathered::CleanSwitch { found: count, .. }, MultipartBody::Flow(stats)) => {
                        for cookie in stats.iter().filter_map(|s| Cookie::from_u64(s.cookie)) {
                            *count.entry(cookie.app).or_default() += 1;
                        }
                        found = Some(stats);
                    }
                    _ => {}
                }
                more
            }
            Ok((_, Message::Error(error))) => {
                return self.fail(ticket, &format!("it answered: {error}"), out);
            }
            Ok(_) => false,
            Err(error) => {
                return self.fail(ticket, &format!("its answer is malformed: {error}"), out);
            }
        };
        if let Some(rules) = found {
            return self.delete_found(ticket, conn, &rules, more, now);
        }
        if !more {
            question.waiting.remove(&conn);
            self.conclude(ticket, now, out);
        }
    }

    /// Deletes what was found: by cookie at the end, or, where a switch deletes by match only, each.
    fn delete_found(
        &mut self,
        ticket: u64,
        conn: u32,
        rules: &[FlowStats],
        more: bool,
        now: Instant,
    ) {
        let switch = self.switches.get(&conn);
        let mut deletes = Vec::new();
        if switch.is_some_and(|switch| switch.channel.has_one_table()) {
            let ours = |stats: &&FlowStats| Cookie::from_u64(stats.cookie).is_some();
            deletes.extend(rules.iter().filter(ours).map(|stats| {
                let (key, body) = rule::from_stats(stats);
                FlowMod::delete_strict(&key, body.cookie)
            }));
        } else if !more {
            let (cookie, mask) = Cookie::all();
            deletes.push(FlowMod::delete(TABLE_ALL, cookie, mask));
        }
        for delete in deletes {
            self.say_to(
                conn,
                &Message::FlowMod(delete),
                ticket,
                Expects::Nothing,
                now,
            );
        }
        if !more {
            self.say_to(conn, &Message::BarrierRequest, ticket, Expects::Reply, now);
        }
    }

    fn fail(&mut self, ticket: u64, why: &str, out: &mut Vec<Output>) {
        if self.questions.remove(&ticket).is_some() {
            let answer = Err(Refusal::Unavailable(format!(
                "the switch cannot be asked: {why}"
            )));
            out.push(Output::Answer { ticket, answer });
        }
    }

    /// A switch went: what is asked of it fails; deletions go on without it.
    pub(super) fn fail_questions(&mut self, conn: u32, now: Instant, out: &mut Vec<Output>) {
        let asks = |(ticket, question): (&u64, &Question)| {
            question.waiting.contains(&conn).then_some(*ticket)
        };
        for ticket in self.questions.iter().filter_map(asks).collect::<Vec<_>>() {
            match self.questions.get_mut(&ticket) {
                Some(Question {
                    waiting,
                    answer: Gathered::Clean { switches, .. },
                    ..
                }) => {
                    waiting.remove(&conn);
                    *switches -= 1;
                    self.conclude(ticket, now, out);
                }
                _ => self.fail(ticket, "it went away", out),
            }
        }
    }

    pub(super) fn expire_questions(&mut self, now: Instant, out: &mut Vec<Output>) {
        let late =
            |(ticket, question): (&u64, &Question)| (question.until <= now).then_some(*ticket);
        for ticket in self.questions.iter().filter_map(late).collect::<Vec<_>>() {
            self.questions.remove(&ticket);
            let answer = Err(Refusal::Deadline(
                "the switch did not answer within 5 s".into(),
            ));
            out.push(Output::Answer { ticket, answer });
        }
    }
}

fn port_row(channel: Option<&Channel>, stats: &PortStats) -> PortRow {
    let unknown = || morph_api::session::Port {
        number: stats.port_no,
        ..Default::default()
    };
    let port = channel.and_then(|channel| channel.port(stats.port_no));
    PortRow {
        port: Some(port.unwrap_or_else(unknown)),
        rx_packets: stats.rx_packets,
        tx_packets: stats.tx_packets,
        rx_bytes: stats.rx_bytes,
        tx_bytes: stats.tx_bytes,
        rx_dropped: stats.rx_dropped,
        tx_dropped: stats.tx_dropped,
        rx_errors: stats.rx_errors,
        tx_errors: stats.tx_errors,
        duration_sec: stats.duration_sec,
    }
}

fn flow_row(stats: &FlowStats) -> Flow {
    let instructions: Vec<String> = stats.instructions.iter().map(ToString::to_string).collect();
    Flow {
        table: u32::from(stats.table_id),
        priority: u32::from(stats.priority),
        cookie: stats.cookie,
        r#match: stats.match_.to_string(),
        instructions: instructions.join(", "),
        idle_timeout: u32::from(stats.idle_timeout),
        hard_timeout: u32::from(stats.hard_timeout),
        packets: stats.packet_count,
        bytes: stats.byte_count,
        duration_sec: stats.duration_sec,
        duration_nsec: stats.duration_nsec,
    }
}
