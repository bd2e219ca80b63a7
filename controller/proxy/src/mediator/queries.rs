//! Requests of morphd that switches have to answer.

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

use super::cleaning::Cleaning;
use super::*;
use crate::channel::{Expects, Requester};
use crate::reads::WaitingRead;

/// Request that waits for switches.
#[derive(Debug, Clone)]
pub(super) struct PendingQuery {
    until: Instant,
    /// Channels whose answer is missing.
    waiting: BTreeSet<u32>,
    reply: PartialReply,
}

#[derive(Debug, Clone)]
enum PartialReply {
    Ports(Vec<PortRow>),
    Flows(Vec<Flow>),
    /// Deletion of what an app has in the switches.
    Clean(Cleaning),
    /// Deletion of Morpheus's rules on one switch; counts them by app.
    CleanSwitch {
        dpid: u64,
        found: BTreeMap<u8, u64>,
    },
}

impl PendingQuery {
    pub(super) fn deadline(&self) -> Instant {
        self.until
    }

    fn into_reply(self) -> ControlReply {
        match self.reply {
            PartialReply::Ports(ports) => ControlReply::Ports(PortsReply { ports }),
            PartialReply::Flows(flows) => ControlReply::Flows(FlowsReply { flows }),
            PartialReply::Clean(Cleaning { switches, .. }) => {
                ControlReply::Clean(CleanReply { switches })
            }
            PartialReply::CleanSwitch { found, .. } => {
                let app = |(id, rules): (u8, u64)| CleanedApp {
                    id: u32::from(id),
                    rules,
                };
                let apps = found.into_iter().map(app).collect();
                ControlReply::CleanSwitch(CleanSwitchReply { apps })
            }
        }
    }
}

type MaybeReply = Option<Result<ControlReply, Refusal>>;

impl Mediator {
    pub(super) fn query_ports(&mut self, ticket: u64, dpid: u64, now: Instant) -> MaybeReply {
        let query = MultipartRequest::PortStats { port_no: port::ANY };
        self.query_switch(ticket, dpid, query, PartialReply::Ports(Vec::new()), now)
    }

    pub(super) fn query_flows(&mut self, ticket: u64, dpid: u64, now: Instant) -> MaybeReply {
        let query = MultipartRequest::Flow(FlowStatsRequest::all());
        self.query_switch(ticket, dpid, query, PartialReply::Flows(Vec::new()), now)
    }

    fn query_switch(
        &mut self,
        ticket: u64,
        dpid: u64,
        query: MultipartRequest,
        reply: PartialReply,
        now: Instant,
    ) -> MaybeReply {
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
        self.await_replies(ticket, BTreeSet::from([conn]), reply, now);
        self.ask(conn, query, ticket, now);
        None
    }

    /// Sends a request, or queues it if it is one for rules.
    fn ask(&mut self, conn: u32, query: MultipartRequest, ticket: u64, now: Instant) {
        let is_of_rules = matches!(query, MultipartRequest::Flow(_));
        let message = Message::MultipartRequest(query);
        if !is_of_rules {
            return self.send_to_switch(conn, &message, ticket, Expects::Reply, now);
        }
        if let Some(switch) = self.switches.get_mut(&conn) {
            let read = WaitingRead::new(Requester::Morphd(ticket), message.encode(0));
            switch.reads.push(read);
            self.read_next(conn, now);
        }
    }

    fn send_to_switch(
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
                .transport
                .send(message, Requester::Morphd(ticket), expects, now);
            self.mark_dirty(conn);
        }
    }

    fn await_replies(
        &mut self,
        ticket: u64,
        waiting: BTreeSet<u32>,
        reply: PartialReply,
        now: Instant,
    ) {
        // A request for rules may wait for others, and has a limit of its own once it is sent.
        let limit = match reply {
            PartialReply::Ports(_) | PartialReply::Clean(_) => QUERY,
            PartialReply::Flows(_) | PartialReply::CleanSwitch { .. } => RULES_QUERY,
        };
        let until = now + limit;
        let query = PendingQuery {
            until,
            waiting,
            reply,
        };
        self.queries.insert(ticket, query);
        self.arm(Some(until));
    }

    pub(super) fn clean(
        &mut self,
        ticket: u64,
        request: &CleanRequest,
        now: Instant,
        out: &mut Vec<Output>,
    ) -> MaybeReply {
        let Ok(id @ 1..=254) = u8::try_from(request.id) else {
            let why = format!("{}: id {} is not from 1 to 254", request.app, request.id);
            return Some(Err(Refusal::Invalid(why)));
        };
        let (cookie, mask) = Cookie::all_of(id);
        let delete = Message::FlowMod(FlowMod::delete(TABLE_ALL, cookie, mask));
        let announced = |(conn, switch): (&u32, &Switch)| switch.announced.then_some(*conn);
        let waiting: BTreeSet<u32> = self.switches.iter().filter_map(announced).collect();
        let find = MultipartRequest::Flow(FlowStatsRequest::by_cookie(cookie, mask));
        let cleaning = Cleaning::new(request.app.clone(), id, waiting.len() as u32);
        let reply = PartialReply::Clean(cleaning);
        self.await_replies(ticket, waiting.clone(), reply, now);
        for conn in &waiting {
            let switch = self.switches.get(conn);
            if switch.is_some_and(|switch| switch.channel.transport.has_one_table()) {
                // The switch deletes by match only: its rules are read first and deleted one by one.
                self.ask(*conn, find.clone(), ticket, now);
                continue;
            }
            self.send_to_switch(*conn, &delete, ticket, Expects::Nothing, now);
            self.send_to_switch(*conn, &Message::BarrierRequest, ticket, Expects::Reply, now);
        }
        self.conclude(ticket, now, out);
        None
    }

    /// Reads Morpheus's rules on a switch and deletes them; their owners add them again.
    pub(super) fn clean_switch(&mut self, ticket: u64, dpid: u64, now: Instant) -> MaybeReply {
        let switch = self.by_dpid.get(&dpid);
        let switch = switch.and_then(|conn| self.switches.get(conn));
        if switch.is_some_and(|switch| !switch.channel.may_write()) {
            let why = format!(
                "another controller is master of switch {}, so Morpheus may not write to it",
                Dpid(dpid)
            );
            return Some(Err(Refusal::Precondition(why)));
        }
        let (cookie, mask) = Cookie::all();
        let query = MultipartRequest::Flow(FlowStatsRequest::by_cookie(cookie, mask));
        let found = BTreeMap::new();
        self.query_switch(
            ticket,
            dpid,
            query,
            PartialReply::CleanSwitch { dpid, found },
            now,
        )
    }

    /// Reconciles a switch after the deletion of all rules.
    fn cleaned(&mut self, dpid: u64, now: Instant, out: &mut Vec<Output>) {
        let Some(conn) = self.by_dpid.get(&dpid).copied() else {
            return;
        };
        tracing::warn!(dpid = %Dpid(dpid), "deleted all rules of Morpheus on the switch; running apps add theirs again");
        if let Some(switch) = self.switches.get_mut(&conn) {
            switch.entries = Entries::of_empty_switch();
        }
        self.enter_unconfirmed(conn, now);
        self.reconcile(conn, now);
        self.switch_event(conn, dpid, EventKind::Resync { list: false }, now, out);
    }

    /// Replies if all channels have answered.
    fn conclude(&mut self, ticket: u64, now: Instant, out: &mut Vec<Output>) {
        let done = |query: &PendingQuery| query.waiting.is_empty();
        if !self.queries.get(&ticket).is_some_and(done) {
            return;
        }
        let Some(query) = self.queries.remove(&ticket) else {
            return;
        };
        if let PartialReply::Clean(Cleaning { app, switches, .. }) = &query.reply {
            tracing::info!(%app, switches, "deleted the app's rules");
            // The rule in table 0 has topology's id: it is added again where it is still wanted.
            for conn in self.switches.keys().copied().collect::<Vec<_>>() {
                self.reconcile(conn, now);
            }
        }
        if let PartialReply::CleanSwitch { dpid, .. } = query.reply {
            self.cleaned(dpid, now, out);
        }
        let reply = Ok(query.into_reply());
        out.push(Output::Reply { ticket, reply });
    }

    pub(super) fn query_reply(
        &mut self,
        ticket: u64,
        conn: u32,
        frame: &Bytes,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let Some(query) = self.queries.get_mut(&ticket) else {
            return;
        };
        // A switch that sends part after part is not late.
        query.until = query.until.max(now + QUERY);
        if let Some(next) = self.clean_next(ticket, conn, frame) {
            return self.send_all(conn, &next, ticket, now);
        }
        let Some(query) = self.queries.get_mut(&ticket) else {
            return;
        };
        let mut found = None;
        let more = match v13::decode_lenient(frame) {
            Ok((_, Message::MultipartReply(MultipartReply { more, body }), skipped)) => {
                let channel = self
                    .switches
                    .get_mut(&conn)
                    .map(|switch| &mut switch.channel);
                let channel = channel.map(|channel| {
                    channel.note_skipped(&skipped);
                    &*channel
                });
                match (&mut query.reply, body) {
                    (PartialReply::Ports(rows), MultipartBody::PortStats(stats)) => {
                        rows.extend(stats.iter().map(|stats| port_row(channel, stats)));
                    }
                    (PartialReply::Flows(flows), MultipartBody::Flow(stats)) => {
                        flows.extend(stats.iter().map(flow_row));
                    }
                    (PartialReply::Clean(_), MultipartBody::Flow(stats)) => found = Some(stats),
                    (
                        PartialReply::CleanSwitch { found: count, .. },
                        MultipartBody::Flow(stats),
                    ) => {
                        for cookie in stats.iter().filter_map(|s| Cookie::from_u64(s.cookie)) {
                            *count.entry(cookie.app).or_default() += 1;
                        }
                        found = Some(stats);
                    }
                    _ => {}
                }
                more
            }
            Ok((_, Message::Error(error), _)) => {
                return self.fail(ticket, &format!("it answered with {error}"), out);
            }
            Ok(_) => false,
            Err(error) => {
                return self.fail(ticket, &format!("its reply is malformed: {error}"), out);
            }
        };
        if let Some(rules) = found {
            return self.delete_found(ticket, conn, &rules, more, now);
        }
        if !more {
            query.waiting.remove(&conn);
            self.conclude(ticket, now, out);
        }
    }

    /// Messages by which the removal of an app goes on at a switch. None once the switch is done, for one that deletes rules by match
    /// only, and for other requests.
    fn clean_next(&mut self, ticket: u64, conn: u32, frame: &Bytes) -> Option<Vec<Message>> {
        let switch = self.switches.get(&conn)?;
        let has_one_table = switch.channel.transport.has_one_table();
        let cleaning = match &mut self.queries.get_mut(&ticket)?.reply {
            PartialReply::Clean(cleaning) if !has_one_table => cleaning,
            _ => return None,
        };
        let message = v13::decode(frame).ok().map(|(_, message)| message);
        match message {
            // An error to the deletion of rules is one of the whole request.
            Some(Message::Error(_)) | None if !cleaning.has_no_rules(conn) => None,
            message => cleaning.next(conn, message.as_ref()),
        }
    }

    /// Sends messages of which the last is answered, if any.
    fn send_all(&mut self, conn: u32, messages: &[Message], ticket: u64, now: Instant) {
        for (at, message) in messages.iter().enumerate() {
            let expects = match at + 1 == messages.len() {
                true => Expects::Reply,
                false => Expects::Nothing,
            };
            self.send_to_switch(conn, message, ticket, expects, now);
        }
    }

    /// Deletes the rules found: by cookie at the end, or one by one on a switch that deletes by match only.
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
        if switch.is_some_and(|switch| switch.channel.transport.has_one_table()) {
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
            self.send_to_switch(
                conn,
                &Message::FlowMod(delete),
                ticket,
                Expects::Nothing,
                now,
            );
        }
        if !more {
            self.send_to_switch(conn, &Message::BarrierRequest, ticket, Expects::Reply, now);
        }
    }

    fn fail(&mut self, ticket: u64, why: &str, out: &mut Vec<Output>) {
        if self.queries.remove(&ticket).is_some() {
            let reply = Err(Refusal::Unavailable(format!(
                "the switch did not serve the request: {why}"
            )));
            out.push(Output::Reply { ticket, reply });
        }
    }

    /// Handles the loss of a switch: requests to it fail, deletions continue without it.
    pub(super) fn fail_queries(&mut self, conn: u32, now: Instant, out: &mut Vec<Output>) {
        let concerned = |(ticket, query): (&u64, &PendingQuery)| {
            query.waiting.contains(&conn).then_some(*ticket)
        };
        for ticket in self
            .queries
            .iter()
            .filter_map(concerned)
            .collect::<Vec<_>>()
        {
            match self.queries.get_mut(&ticket) {
                Some(PendingQuery {
                    waiting,
                    reply: PartialReply::Clean(Cleaning { switches, .. }),
                    ..
                }) => {
                    waiting.remove(&conn);
                    *switches -= 1;
                    self.conclude(ticket, now, out);
                }
                _ => self.fail(ticket, "it disconnected", out),
            }
        }
    }

    /// Handles a switch that did not report its rules in time.
    pub(super) fn query_missed(&mut self, ticket: u64, out: &mut Vec<Output>) {
        if self.queries.remove(&ticket).is_some() {
            let why = "the switch did not report its rules in time".to_owned();
            let reply = Err(Refusal::Deadline(why));
            out.push(Output::Reply { ticket, reply });
        }
    }

    pub(super) fn expire_queries(&mut self, now: Instant, out: &mut Vec<Output>) {
        let late = |(ticket, query): (&u64, &PendingQuery)| (query.until <= now).then_some(*ticket);
        for ticket in self.queries.iter().filter_map(late).collect::<Vec<_>>() {
            let Some(query) = self.queries.remove(&ticket) else {
                continue;
            };
            let has_no_rules = |cleaning: &Cleaning| {
                let mut waiting = query.waiting.iter();
                waiting.all(|conn| cleaning.has_no_rules(*conn))
            };
            let reply = match &query.reply {
                // A switch that says nothing of groups and meters has none.
                PartialReply::Clean(cleaning) if has_no_rules(cleaning) => Ok(query.into_reply()),
                _ => Err(Refusal::Deadline("the switch did not reply in time".into())),
            };
            out.push(Output::Reply { ticket, reply });
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
