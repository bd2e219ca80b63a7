//! Verification of table 0 and the exit tables of the switches.

use bytes::Bytes;
use morph_openflow::Dpid;
use morph_openflow::v13::{self, Message};

use super::*;
use crate::channel::Requester;
use crate::reads::WaitingRead;
use crate::verification::Question;

impl Switch {
    /// Time of the next question. A switch that speaks OpenFlow 1.0 has neither table 0 nor exits.
    pub(super) fn verification_deadline(&self) -> Option<Instant> {
        let is_verified = self.announced
            && self.reconciliation.is_in_step()
            && !self.channel.transport.has_one_table();
        is_verified
            .then(|| self.verification.next_deadline())
            .flatten()
    }
}

impl Mediator {
    /// Asks the question that is due.
    pub(super) fn verify(&mut self, conn: u32, now: Instant) {
        let Some(switch) = self.switches.get_mut(&conn) else {
            return;
        };
        switch.verification.expire(Dpid(switch.channel.dpid()), now);
        match switch.verification.begin(now) {
            Some(Question::Rules) => self.read_pipeline(conn, now),
            Some(Question::Count) => {
                for request in Verification::count_requests() {
                    let read = WaitingRead::new(Requester::Pipeline, request.encode(0));
                    switch.reads.push(read);
                }
                self.read_next(conn, now);
            }
            None => {}
        }
    }

    pub(super) fn arm_verification(&mut self, conn: u32) {
        let switch = self.switches.get(&conn);
        self.arm(switch.and_then(Switch::verification_deadline));
    }

    /// Handles an error that answers a request of the proxy for rules.
    pub(super) fn pipeline_error(&mut self, conn: u32, xid: u32, frame: &Bytes) {
        let Some(switch) = self.switches.get_mut(&conn) else {
            return;
        };
        if !switch.verification.awaits(xid) {
            return;
        }
        switch.verification.counts_refused();
        switch.reads.drop_own();
        if let Ok((_, Message::Error(error))) = v13::decode(frame) {
            switch.channel.counts_refused(&error);
        }
        self.arm_verification(conn);
    }
}
