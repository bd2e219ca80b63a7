//! Stand-ins for barriers on a switch that refuses barrier requests.
//!
//! Instances and morphd pace what they send by barriers. Where a switch refuses them, an echo request goes out in the place of each
//! one, and its answer, be it a refusal, counts as the barrier's reply. The switch has read all earlier messages then. It may
//! not have carried them out, so their errors may come later: messages stay known beyond such a reply.

use std::collections::BTreeSet;

use bytes::Bytes;
use morph_openflow::v13::{self, ErrorMsg, Message};
use morph_openflow::{Header, MessageType, v10};

/// Limit of unanswered stand-ins. The oldest are forgotten beyond it: a switch that answers no echo request is disconnected.
const PENDING: usize = 1024;

/// Barriers of one channel.
#[derive(Debug, Clone, Default)]
pub(super) struct Barriers {
    refused: bool,
    /// Xids of the unanswered stand-ins.
    pending: BTreeSet<u32>,
}

impl Barriers {
    /// Returns whether the switch has refused a barrier request.
    pub(super) fn are_refused(&self) -> bool {
        self.refused
    }

    /// Notes a refusal: from now on stand-ins are sent.
    pub(super) fn refuse(&mut self) {
        self.refused = true;
    }

    /// Returns the stand-in for a message of this type, if it needs one.
    pub(super) fn stand_in(&mut self, kind: MessageType, xid: u32) -> Option<Message> {
        if !self.refused || kind != MessageType::BARRIER_REQUEST {
            return None;
        }
        self.pending.insert(xid);
        if self.pending.len() > PENDING {
            self.pending.pop_first();
        }
        Some(Message::EchoRequest(Bytes::new()))
    }

    /// Handles the answer to a request. Returns whether that is a stand-in.
    pub(super) fn answered(&mut self, xid: u32) -> bool {
        self.pending.remove(&xid)
    }
}

/// Returns whether the message that an error quotes is a barrier request.
pub(super) fn quotes_barrier(error: &ErrorMsg) -> bool {
    let [version, kind, ..] = error.data[..] else {
        return false;
    };
    match version {
        v13::VERSION => kind == MessageType::BARRIER_REQUEST.0,
        v10::VERSION => kind == v10::kind::BARRIER_REQUEST.0,
        _ => false,
    }
}

/// Builds the reply to a barrier that the switch refused, or was not asked for.
pub(super) fn reply(xid: u32) -> (Header, Bytes) {
    let frame = Message::BarrierReply.encode(xid);
    let header = Header {
        version: v13::VERSION,
        kind: MessageType::BARRIER_REPLY,
        length: frame.len() as u16,
        xid,
    };
    (header, frame)
}
