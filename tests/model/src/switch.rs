//! The switch behind the proxy, as far as the apps' rules go: those it has, and the changes that it has not carried out.

use std::collections::VecDeque;

use bytes::Bytes;
use morph_api::cookie::Cookie;
use morph_openflow::rule::{RuleBody, RuleKey, RuleSet};
use morph_openflow::v13::{
    FlowMod, FlowModCommand, FlowStats, FlowStatsRequest, Message, MultipartBody, MultipartReply,
    MultipartRequest,
};

use crate::setup::{Mutation, Setup};

/// A switch that carries out changes of rules later, in order with all that waits for them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Switch {
    rules: RuleSet,
    waiting: VecDeque<(u32, Message)>,
    /// The mutation: a barrier is answered before the changes before it are carried out.
    answers_early: bool,
}

impl Switch {
    pub(crate) fn new(setup: &Setup) -> Self {
        Switch {
            answers_early: setup.is_broken(Mutation::BarrierAnsweredEarly),
            ..Switch::default()
        }
    }

    /// The same switch on its next connection.
    pub(crate) fn reconnected(&self) -> Self {
        Switch {
            waiting: VecDeque::new(),
            ..self.clone()
        }
    }

    /// Takes in a message. Returns its answer, if it has one and is handled at once.
    pub(crate) fn take(&mut self, xid: u32, message: Message) -> Option<Bytes> {
        let changes = matches!(&message, Message::FlowMod(flow) if app(flow.cookie).is_some());
        let is_early = self.answers_early && message == Message::BarrierRequest;
        if changes || (!self.waiting.is_empty() && !is_early) {
            self.waiting.push_back((xid, message));
            return None;
        }
        self.handle(xid, message)
    }

    pub(crate) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Carries out all that waits. Returns the answers.
    pub(crate) fn catch_up(&mut self) -> Vec<Bytes> {
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        let answers = waiting.filter_map(|(xid, message)| self.handle(xid, message));
        answers.collect()
    }

    /// Number of rules of an app that it has.
    pub(crate) fn count(&self, of: u8) -> usize {
        let rules = self.rules.values();
        rules.filter(|body| app(body.cookie) == Some(of)).count()
    }

    fn handle(&mut self, xid: u32, message: Message) -> Option<Bytes> {
        let reply = match message {
            Message::FlowMod(flow) => {
                self.change(flow);
                return None;
            }
            Message::BarrierRequest => Message::BarrierReply,
            Message::EchoRequest(data) => Message::EchoReply(data),
            Message::MultipartRequest(MultipartRequest::Desc) => {
                multipart(MultipartBody::Desc(Default::default()))
            }
            Message::MultipartRequest(MultipartRequest::PortDesc) => {
                multipart(MultipartBody::PortDesc(Vec::new()))
            }
            Message::MultipartRequest(MultipartRequest::Flow(request)) => self.statistics(&request),
            _ => return None,
        };
        Some(reply.encode(xid))
    }

    fn change(&mut self, flow: FlowMod) {
        let key = RuleKey::new(flow.table_id, flow.priority, &flow.match_);
        if flow.command != FlowModCommand::Add {
            self.rules.remove(&key);
        } else if app(flow.cookie).is_some() {
            let body = RuleBody {
                instructions: flow.instructions.into(),
                cookie: flow.cookie,
                ..RuleBody::default()
            };
            self.rules.insert(key, body);
        }
    }

    fn statistics(&self, request: &FlowStatsRequest) -> Message {
        let (cookie, mask) = (request.cookie, request.cookie_mask);
        let asked = self.rules.iter();
        let asked = asked.filter(|(_, body)| body.cookie & mask == cookie & mask);
        let stats = asked.map(|(key, body)| FlowStats {
            table_id: key.table,
            duration_sec: 0,
            duration_nsec: 0,
            priority: key.priority,
            idle_timeout: 0,
            hard_timeout: 0,
            flags: 0,
            cookie: body.cookie,
            packet_count: 0,
            byte_count: 0,
            match_: (*key.match_).clone(),
            instructions: body.instructions.to_vec(),
        });
        multipart(MultipartBody::Flow(stats.collect()))
    }
}

fn multipart(body: MultipartBody) -> Message {
    Message::MultipartReply(MultipartReply { more: false, body })
}

/// App of a cookie; `None` for Morpheus's own and foreign ones.
fn app(cookie: u64) -> Option<u8> {
    let app = Cookie::from_u64(cookie)?.app;
    (app != 0).then_some(app)
}
