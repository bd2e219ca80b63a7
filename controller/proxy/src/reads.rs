//! Requests for the rules of one switch, which apps, the proxy and morphd make: one at a time goes out.
//!
//! A switch may take seconds to list its rules, and a simple one does nothing else meanwhile. The next request goes out when
//! the last part of the answer, or an error, has come. A switch that is silent for too long gets the next request all the same,
//! and has twice the time from then on.
//!
//! Where several askers wait for rules, one request for the rules of all of them goes out, and each is given those that it has
//! asked for. An asker that comes later waits for the next one: the answer may be older than its question.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use morph_api::cookie::Cookie;
use morph_openflow::v13::{
    self, FlowStatsRequest, Message, MultipartRequest, TABLE_ALL, multipart_kind, peek,
};
use morph_openflow::{DecodeError, frame};

use crate::channel::Requester;

/// First time limit of an answer, and of each further part of it. Doubled with each answer that is missing.
const ANSWER: Duration = Duration::from_secs(10);
/// Longest such limit.
const LONGEST: Duration = Duration::from_secs(60);
/// Number of missing answers after which the limit is the longest.
const MISSING: u32 = 3;

/// Rules that an asker wants, among all rules of a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Selection {
    table: u8,
    cookie: u64,
    mask: u64,
}

impl Selection {
    /// Reads a request for rules. `None`: it asks for something else, or chooses by more than table and cookie.
    fn of(message: &Bytes) -> Option<Self> {
        let fixed = peek::multipart(message).ok()?;
        if fixed.kind() != multipart_kind::FLOW {
            return None;
        }
        let Ok((_, Message::MultipartRequest(MultipartRequest::Flow(asked)))) =
            v13::decode(message)
        else {
            return None;
        };
        let whole = FlowStatsRequest {
            table_id: asked.table_id,
            ..FlowStatsRequest::by_cookie(asked.cookie, asked.cookie_mask)
        };
        (asked == whole).then_some(Selection {
            table: asked.table_id,
            cookie: asked.cookie,
            mask: asked.cookie_mask,
        })
    }

    /// Returns whether all rules that it chooses are Morpheus's.
    fn is_of_morpheus(&self) -> bool {
        let (cookie, mask) = Cookie::all();
        self.mask & mask == mask && self.cookie & mask == cookie
    }

    fn takes(&self, table: u8, cookie: u64) -> bool {
        let is_in_table = self.table == TABLE_ALL || self.table == table;
        is_in_table && cookie & self.mask == self.cookie & self.mask
    }

    /// Copies a part of an answer with the rules that it chooses.
    pub(crate) fn part(&self, part: &Bytes) -> Result<Bytes, DecodeError> {
        let mut chosen = BytesMut::with_capacity(part.len());
        chosen.extend_from_slice(part.get(..peek::MULTIPART_BODY).unwrap_or(part));
        for rule in peek::flow_stats(part) {
            let rule = rule?;
            if self.takes(rule.table_id, rule.cookie) {
                chosen.extend_from_slice(rule.bytes);
            }
        }
        frame::set_length(&mut chosen);
        Ok(chosen.freeze())
    }
}

/// Request that waits to be sent.
#[derive(Debug, Clone)]
pub(crate) struct WaitingRead {
    requester: Requester,
    message: Bytes,
    selection: Option<Selection>,
}

impl WaitingRead {
    pub(crate) fn new(requester: Requester, message: Bytes) -> Self {
        WaitingRead {
            requester,
            selection: Selection::of(&message),
            message,
        }
    }
}

/// Receiver of an answer. Without a selection the answer is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) requester: Requester,
    pub(crate) selection: Option<Selection>,
}

/// Request to be sent, and those whose questions it answers.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    pub(crate) message: Bytes,
    pub(crate) askers: Vec<Asker>,
}

/// Request that was sent.
#[derive(Debug, Clone)]
struct ActiveRead {
    xid: u32,
    until: Instant,
    askers: Vec<Asker>,
}

/// Queue of one switch. It is bounded: each session has one request in it, and so has each table read by the proxy.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReadQueue {
    active: Option<ActiveRead>,
    /// The last request that was given up: its answer still counts.
    late: Option<ActiveRead>,
    waiting: VecDeque<WaitingRead>,
    /// Answers that were missing, counted up to [`MISSING`].
    missing: u32,
}

impl ReadQueue {
    /// Queues a request. One of the same session that waits is replaced: only the newest answer counts.
    pub(crate) fn push(&mut self, read: WaitingRead) {
        let session = session_of(&read.requester);
        let same = |waiting: &&mut WaitingRead| {
            session.is_some() && session_of(&waiting.requester) == session
        };
        match self.waiting.iter_mut().find(same) {
            Some(waiting) => *waiting = read,
            None => self.waiting.push_back(read),
        }
    }

    /// Keeps the waiting requests of these requesters only.
    pub(crate) fn retain(&mut self, keeps: impl Fn(&Requester) -> bool) {
        self.waiting.retain(|read| keeps(&read.requester));
    }

    /// Drops waiting requests of the proxy itself, which begins anew.
    pub(crate) fn drop_own(&mut self) {
        self.retain(|requester| *requester != Requester::Pipeline);
    }

    /// Takes the request to be sent now.
    pub(crate) fn next(&mut self) -> Option<Read> {
        if self.active.is_some() {
            return None;
        }
        let first = self.waiting.pop_front()?;
        let others = self.waiting.iter();
        let mut others = others.filter(|read| read.selection.is_some());
        // The proxy alone does not ask for all rules: its own are few.
        if first.selection.is_none() || others.all(|read| read.requester == first.requester) {
            let own = Asker {
                requester: first.requester,
                selection: None,
            };
            return Some(Read {
                message: first.message,
                askers: vec![own],
            });
        }
        let (shared, rest): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|read| read.selection.is_some());
        self.waiting = rest;
        let askers = std::iter::once(first).chain(shared).map(|read| Asker {
            requester: read.requester,
            selection: read.selection,
        });
        let askers: Vec<Asker> = askers.collect();
        let selections = askers.iter().filter_map(|asker| asker.selection);
        let all_of_morpheus = selections
            .clone()
            .all(|selection| selection.is_of_morpheus());
        let (cookie, mask) = Cookie::all();
        let request = match all_of_morpheus {
            true => FlowStatsRequest::by_cookie(cookie, mask),
            false => FlowStatsRequest::all(),
        };
        let message = Message::MultipartRequest(MultipartRequest::Flow(request)).encode(0);
        Some(Read { message, askers })
    }

    /// Notes that a request was sent under this xid.
    pub(crate) fn sent(&mut self, xid: u32, askers: Vec<Asker>, now: Instant) {
        let until = now + self.limit();
        self.active = Some(ActiveRead { xid, until, askers });
    }

    /// Returns those whose questions the request with this xid answers. None: it is no request for rules, or too old.
    pub(crate) fn askers(&self, xid: u32) -> Vec<Asker> {
        let mut reads = self.active.iter().chain(&self.late);
        let read = reads.find(|read| read.xid == xid);
        read.map(|read| read.askers.clone()).unwrap_or_default()
    }

    fn limit(&self) -> Duration {
        ANSWER.saturating_mul(1 << self.missing).min(LONGEST)
    }

    /// Notes a part of an answer, after which `more` follow.
    pub(crate) fn answered(&mut self, xid: u32, more: bool, now: Instant) {
        let limit = self.limit();
        if !more {
            self.late.take_if(|late| late.xid == xid);
        }
        let Some(active) = self.active.as_mut().filter(|active| active.xid == xid) else {
            return;
        };
        active.until = now + limit;
        if !more {
            self.active = None;
        }
    }

    /// Gives up the request that was sent, if its answer is missing. Returns its xid and its askers.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<(u32, Vec<Asker>)> {
        let active = self.active.take_if(|active| active.until <= now)?;
        self.missing = (self.missing + 1).min(MISSING);
        let given_up = (active.xid, active.askers.clone());
        self.late = Some(active);
        Some(given_up)
    }

    /// Returns the time at which the answer to the request that was sent is missing.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.active.as_ref().map(|active| active.until)
    }
}

fn session_of(requester: &Requester) -> Option<u64> {
    match requester {
        Requester::Session { session, .. } => Some(*session),
        Requester::Channel | Requester::Pipeline | Requester::Morphd(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn read(session: u64, token: u32) -> WaitingRead {
        WaitingRead::new(Requester::Session { session, token }, Bytes::new())
    }

    fn own() -> WaitingRead {
        WaitingRead::new(Requester::Pipeline, Bytes::new())
    }

    /// Sends the next request under this xid.
    fn send(queue: &mut ReadQueue, xid: u32, now: Instant) -> Option<Requester> {
        let read = queue.next()?;
        let requester = read.askers[0].requester;
        queue.sent(xid, read.askers, now);
        Some(requester)
    }

    #[test]
    fn the_next_request_goes_out_after_the_last_part_of_the_answer() {
        let now = Instant::now();
        let mut queue = ReadQueue::default();
        for waiting in [own(), own(), read(1, 5), read(2, 6), read(1, 7)] {
            queue.push(waiting);
        }
        assert_eq!(send(&mut queue, 1, now), Some(Requester::Pipeline));
        assert_eq!(send(&mut queue, 2, now), None);
        queue.answered(1, true, now);
        queue.answered(9, false, now);
        assert_eq!(send(&mut queue, 2, now), None);
        queue.answered(1, false, now);
        queue.drop_own();
        // The newer request of session 1 has the place of the older one.
        assert_eq!(send(&mut queue, 2, now), Some(read(1, 7).requester));
        queue.answered(2, false, now);
        assert_eq!(send(&mut queue, 3, now), Some(read(2, 6).requester));
        queue.answered(3, false, now);
        assert!(queue.next().is_none() && queue.next_deadline().is_none());
    }

    #[test]
    fn parts_extend_the_time_and_missing_answers_double_it() {
        let mut now = Instant::now();
        let mut queue = ReadQueue::default();
        queue.push(read(1, 1));
        queue.push(read(2, 2));
        send(&mut queue, 1, now);
        for _ in 0..4 {
            now += 9 * SECOND;
            assert_eq!(queue.expire(now), None);
            queue.answered(1, true, now);
        }
        now += 10 * SECOND;
        assert_eq!(queue.expire(now).map(|(xid, _)| xid), Some(1));
        assert_eq!(queue.askers(1).len(), 1, "its answer still counts");
        assert_eq!(send(&mut queue, 2, now), Some(read(2, 2).requester));
        assert_eq!(queue.next_deadline(), Some(now + 20 * SECOND));
        // The answer that was given up changes nothing.
        queue.answered(1, false, now);
        assert_eq!(queue.next_deadline(), Some(now + 20 * SECOND));
        for _ in 0..9 {
            queue.expire(queue.next_deadline().unwrap());
            queue.sent(3, Vec::new(), now);
        }
        assert_eq!(queue.next_deadline(), Some(now + LONGEST));
    }

    fn rules_of(requester: Requester, app: u8) -> WaitingRead {
        let (cookie, mask) = Cookie::all_of(app);
        rules(requester, FlowStatsRequest::by_cookie(cookie, mask))
    }

    fn rules(requester: Requester, request: FlowStatsRequest) -> WaitingRead {
        let request = Message::MultipartRequest(MultipartRequest::Flow(request));
        WaitingRead::new(requester, request.encode(9))
    }

    fn session(session: u64) -> Requester {
        let token = 5;
        Requester::Session { session, token }
    }

    fn asked(read: &Read) -> FlowStatsRequest {
        match v13::decode(&read.message).unwrap().1 {
            Message::MultipartRequest(MultipartRequest::Flow(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_request_serves_all_whose_questions_wait() {
        let now = Instant::now();
        let mut queue = ReadQueue::default();
        let (cookie, mask) = Cookie::all();
        queue.push(rules_of(session(1), 1));
        let alone = queue.next().unwrap();
        assert_eq!(asked(&alone).cookie_mask, Cookie::all_of(1).1);
        queue.sent(1, alone.askers, now);
        queue.push(rules_of(session(2), 2));
        queue.push(read(4, 7));
        queue.push(rules_of(session(3), 3));
        queue.push(rules_of(Requester::Pipeline, 0));
        queue.answered(1, false, now);
        let shared = queue.next().unwrap();
        assert_eq!(asked(&shared), FlowStatsRequest::by_cookie(cookie, mask));
        let requesters: Vec<_> = shared.askers.iter().map(|asker| asker.requester).collect();
        assert_eq!(requesters, [session(2), session(3), Requester::Pipeline]);
        queue.sent(2, shared.askers, now);
        // An asker that comes later may want what has changed since.
        queue.push(rules_of(session(1), 1));
        queue.answered(2, false, now);
        assert_eq!(
            send(&mut queue, 3, now),
            Some(read(4, 7).requester),
            "not of rules"
        );
        queue.answered(3, false, now);
        assert_eq!(queue.next().unwrap().askers.len(), 1);
    }

    #[test]
    fn a_question_for_all_rules_makes_the_request_one_for_all_rules() {
        let mut queue = ReadQueue::default();
        queue.push(rules_of(session(1), 1));
        queue.push(rules(Requester::Morphd(7), FlowStatsRequest::all()));
        assert_eq!(asked(&queue.next().unwrap()), FlowStatsRequest::all());
    }

    #[test]
    fn the_proxy_alone_does_not_ask_for_the_rules_of_apps() {
        let mut queue = ReadQueue::default();
        queue.push(rules_of(Requester::Pipeline, 0));
        queue.push(rules_of(Requester::Pipeline, 0));
        assert_eq!(
            asked(&queue.next().unwrap()).cookie_mask,
            Cookie::all_of(0).1
        );
    }

    #[test]
    fn each_asker_is_given_the_rules_that_it_asked_for() {
        let rule = |table_id, app| {
            let own = u32::from(table_id);
            let cookie = Cookie { app, epoch: 3, own };
            v13::FlowStats {
                table_id,
                duration_sec: 1,
                duration_nsec: 0,
                priority: 1,
                idle_timeout: 0,
                hard_timeout: 0,
                flags: 0,
                cookie: cookie.to_u64(),
                packet_count: 7,
                byte_count: 8,
                match_: v13::Match::new().in_port(own),
                instructions: Vec::new(),
            }
        };
        let part = |rules: &[v13::FlowStats]| {
            let body = v13::MultipartBody::Flow(rules.to_vec());
            let reply = v13::MultipartReply { more: true, body };
            Message::MultipartReply(reply).encode(77)
        };
        let all = [rule(0, 0), rule(0, 2), rule(5, 2), rule(5, 3), rule(9, 0)];
        let whole = part(&all);
        let of = |request: FlowStatsRequest| rules(session(1), request).selection.unwrap();
        let by_app = |app| {
            let (cookie, mask) = Cookie::all_of(app);
            FlowStatsRequest::by_cookie(cookie, mask)
        };
        let mut in_table_0 = FlowStatsRequest::all();
        in_table_0.table_id = 0;
        for (request, chosen) in [
            (by_app(2), &all[1..3]),
            (by_app(3), &all[3..4]),
            (by_app(9), &[]),
            (in_table_0, &all[..2]),
            (FlowStatsRequest::all(), &all[..]),
        ] {
            assert_eq!(of(request).part(&whole).unwrap(), part(chosen));
        }
        // A rule that says it is longer than the message.
        let mut broken = whole.to_vec();
        broken[16] = 0xff;
        assert!(of(by_app(2)).part(&broken.into()).is_err());
        let mut chosen_by_port = FlowStatsRequest::all();
        chosen_by_port.out_port = 1;
        assert_eq!(rules(session(1), chosen_by_port).selection, None);
    }
}
