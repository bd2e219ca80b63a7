//! Role of Morpheus at a switch (OpenFlow 1.3.5, sections 6.3.5 and 7.3.9; on 1.0 Nicira's extension).
//!
//! ```text
//!               +--stale--> Generation (read the newest generation) --+
//!               |                                                     |
//!   request --> Wanted <------------- request again ------------------+
//!               |                                 (a write is refused, or a check is due)
//!               +--reply, refusal, silence--> settled <----reply----> Current (read the role)
//! ```
//!
//! A channel is not ready before its role is settled, so nothing is written in a role that does not last. A switch without
//! roles treats all controllers alike: for the role `equal` its refusal or silence is no failure.

use std::time::{Duration, Instant};

use morph_api::Role;
use morph_openflow::Dpid;
use morph_openflow::v13::error::{code, kind};
use morph_openflow::v13::{self, ErrorMsg, Message, role};

use super::transport::Transport;
use super::xids::{Expects, Requester};

/// Time limit of one reply.
const ANSWER: Duration = Duration::from_secs(3);
/// Interval in which an involuntary slave checks its role: OpenFlow 1.3 does not announce a change.
const CHECK: Duration = Duration::from_secs(10);
/// Limit of attempts. Another controller that is elected during each of them competes with Morpheus.
const ATTEMPTS: u32 = 3;

/// Role requested from every switch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Election {
    pub(crate) role: Role,
    /// OpenFlow's `generation_id`; grows with every start of a proxy.
    pub(crate) generation: u64,
}

/// Purpose of a role request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Wanted,
    Generation,
    Current,
}

#[derive(Debug, Clone, Copy)]
struct PendingRequest {
    xid: u32,
    purpose: Purpose,
    /// `None` once the time is over. A late reply still counts.
    until: Option<Instant>,
}

/// Role machine of one channel.
#[derive(Debug, Clone)]
pub(super) struct Roles {
    election: Election,
    attempts: u32,
    pending: Option<PendingRequest>,
    /// Last role that the switch reported, as numbered by OpenFlow 1.3.
    reported: Option<u32>,
    check_at: Option<Instant>,
    /// An unrequested reply was logged.
    unrequested_logged: bool,
}

impl Roles {
    pub(super) fn new(election: Election) -> Self {
        Roles {
            election,
            attempts: 0,
            pending: None,
            reported: None,
            check_at: None,
            unrequested_logged: false,
        }
    }

    /// Returns whether no pending reply delays the readiness of the channel.
    pub(super) fn is_settled(&self) -> bool {
        self.pending.is_none_or(|pending| pending.until.is_none())
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let answer = self.pending.and_then(|pending| pending.until);
        answer.or(self.check_at)
    }

    /// Returns whether writes are allowed: a switch refuses those of a slave, and a voluntary slave does not try.
    pub(super) fn may_write(&self) -> bool {
        self.election.role != Role::Slave && self.reported != Some(role::SLAVE)
    }

    /// Names the reported role; empty if the switch has not reported any.
    pub(super) fn name(&self) -> String {
        self.reported.map(name).unwrap_or_default()
    }

    /// Requests the wanted role.
    pub(super) fn request(&mut self, transport: &mut Transport, now: Instant) {
        self.attempts += 1;
        let Election { role, generation } = self.election;
        self.send(Purpose::Wanted, number(role), generation, transport, now);
    }

    fn send(
        &mut self,
        purpose: Purpose,
        role: u32,
        generation_id: u64,
        transport: &mut Transport,
        now: Instant,
    ) {
        let request = Message::RoleRequest(v13::Role {
            role,
            generation_id,
        });
        self.check_at = None;
        self.pending = Some(PendingRequest {
            xid: transport.send(&request, Requester::Channel, Expects::Reply, now),
            purpose,
            until: Some(now + ANSWER),
        });
    }

    fn check(&mut self, transport: &mut Transport, now: Instant) {
        self.send(Purpose::Current, role::NOCHANGE, 0, transport, now);
    }

    /// Handles a role reply.
    pub(super) fn reply(
        &mut self,
        xid: u32,
        reply: v13::Role,
        dpid: Dpid,
        transport: &mut Transport,
        now: Instant,
    ) {
        let Some(pending) = self.pending.take_if(|pending| pending.xid == xid) else {
            if !std::mem::replace(&mut self.unrequested_logged, true) {
                let role = name(reply.role);
                tracing::warn!(%dpid, %role, "ignoring an unrequested role reply of the switch, and further ones");
            }
            return;
        };
        transport.answered(xid);
        match pending.purpose {
            Purpose::Generation => {
                self.election.generation = reply.generation_id.wrapping_add(1);
                self.request(transport, now);
            }
            Purpose::Wanted | Purpose::Current => {
                if reply.role == role::SLAVE
                    && self.election.role != Role::Slave
                    && !transport.has_one_table()
                {
                    self.check_at = Some(now + CHECK);
                }
                self.report(reply.role, dpid);
            }
        }
    }

    fn report(&mut self, reported: u32, dpid: Dpid) {
        let changed = self.reported.replace(reported) != Some(reported);
        let wanted = self.election.role;
        let role = name(reported);
        if reported == number(wanted) {
            tracing::debug!(%dpid, %role, "the switch confirms the role");
        } else if changed && reported == role::SLAVE {
            tracing::warn!(
                %dpid, %wanted,
                "another controller is master of the switch and Morpheus its slave: nothing is written to it until that changes"
            );
        } else if changed {
            tracing::warn!(%dpid, %role, %wanted, "the switch reports another role than the one requested");
        }
    }

    /// Handles an error; returns whether it answers a role request.
    pub(super) fn error(
        &mut self,
        xid: u32,
        error: &ErrorMsg,
        dpid: Dpid,
        transport: &mut Transport,
        now: Instant,
    ) -> bool {
        let Some(pending) = self.pending.take_if(|pending| pending.xid == xid) else {
            self.check_if_slave(error, transport, now);
            return false;
        };
        transport.answered(xid);
        let stale = (error.kind, error.code)
            == (kind::ROLE_REQUEST_FAILED, code::role_request_failed::STALE);
        if stale && self.attempts < ATTEMPTS && !transport.has_one_table() {
            self.send(Purpose::Generation, role::NOCHANGE, 0, transport, now);
            return true;
        }
        let wanted = self.election.role;
        match (pending.purpose, wanted) {
            (Purpose::Wanted, Role::Equal) => {
                tracing::info!(%dpid, "the switch does not support roles: {error}");
            }
            (Purpose::Wanted | Purpose::Generation | Purpose::Current, _) => {
                tracing::warn!(%dpid, %wanted, "the switch refused a role request: {error}");
            }
        }
        true
    }

    /// Checks the role after a write was refused because Morpheus is a slave: another controller became master. The error
    /// itself is passed on to the writer.
    fn check_if_slave(&mut self, error: &ErrorMsg, transport: &mut Transport, now: Instant) {
        let is_slave = (kind::BAD_REQUEST, code::bad_request::IS_SLAVE);
        let idle = self.pending.is_none() && !transport.has_one_table();
        if (error.kind, error.code) == is_slave && idle && self.may_write() {
            self.check(transport, now);
        }
    }

    /// Handles the reply to a barrier: a request before it that has no reply by now will have none.
    pub(super) fn barrier(&mut self, barrier: u32, dpid: Dpid) {
        let before = |pending: &PendingRequest| barrier.wrapping_sub(pending.xid) < u32::MAX / 2;
        if self.pending.as_ref().is_some_and(before) {
            self.unanswered(dpid);
        }
    }

    fn unanswered(&mut self, dpid: Dpid) {
        if let Some(pending) = &mut self.pending {
            pending.until = None;
        }
        let wanted = self.election.role;
        match wanted {
            Role::Equal => tracing::info!(%dpid, "the switch does not answer role requests"),
            Role::Master | Role::Slave => {
                tracing::warn!(%dpid, %wanted, "the switch does not answer role requests");
            }
        }
    }

    pub(super) fn timer(&mut self, dpid: Dpid, transport: &mut Transport, now: Instant) {
        let passed = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if passed(self.pending.and_then(|pending| pending.until)) {
            self.unanswered(dpid);
            if self
                .pending
                .is_some_and(|pending| pending.purpose == Purpose::Current)
            {
                self.check_at = Some(now + CHECK);
            }
        } else if passed(self.check_at) {
            self.check(transport, now);
        }
    }
}

fn number(role: Role) -> u32 {
    match role {
        Role::Equal => role::EQUAL,
        Role::Master => role::MASTER,
        Role::Slave => role::SLAVE,
    }
}

fn name(number: u32) -> String {
    match number {
        role::EQUAL => Role::Equal.to_string(),
        role::MASTER => Role::Master.to_string(),
        role::SLAVE => Role::Slave.to_string(),
        other => format!("unknown ({other})"),
    }
}
