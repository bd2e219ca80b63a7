//! Which role Morpheus has at the switch (OpenFlow 1.3.5, sections 6.3.5 and 7.3.9; on 1.0 Nicira's extension).
//!
//! ```text
//!             +--stale--> Generation (what is the newest election?) --+
//!             |                                                       |
//!   ask --> Role <----------------------- ask again ------------------+
//!             |                                  (writes are refused, or Look is due)
//!             +--reply, refusal, silence--> settled <-----reply-----> Look (which role is it now?)
//! ```
//!
//! The channel is not ready before it is settled, so nothing is written in a role that does not last. A switch that knows no
//! roles treats all controllers alike: for the role `equal` its refusal or silence is no failure.

use morph_openflow::v13::error::{code, kind};
use morph_openflow::v13::{ErrorMsg, role};

use morph_api::Role;
use morph_openflow::Dpid;

use super::*;

/// For one answer.
const ANSWER: Duration = Duration::from_secs(3);
/// A slave against its will looks so often whether it still is one: OpenFlow 1.3 does not tell.
const LOOK: Duration = Duration::from_secs(10);
/// Another controller that is elected between our question and our answer, so often, is at war with us.
const ELECTIONS: u32 = 3;

/// What is asked of every switch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Election {
    pub(crate) role: Role,
    /// The `generation_id`: grows with every start of a proxy.
    pub(crate) generation: u64,
}

/// What a question is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Role,
    Generation,
    Look,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    xid: u32,
    question: Question,
    /// None: it has passed. A late answer still counts.
    until: Option<Instant>,
}

/// Where one channel stands.
#[derive(Debug, Clone)]
pub(super) struct Roles {
    election: Election,
    elections: u32,
    asked: Option<Asked>,
    /// What the switch said last, in the numbers of 1.3.
    has: Option<u32>,
    look_at: Option<Instant>,
    /// An unasked reply was told of.
    told: bool,
}

impl Roles {
    pub(super) fn new(election: Election) -> Self {
        Roles {
            election,
            elections: 0,
            asked: None,
            has: None,
            look_at: None,
            told: false,
        }
    }

    /// Nothing that matters for readiness is waited for.
    pub(super) fn is_settled(&self) -> bool {
        self.asked.is_none_or(|asked| asked.until.is_none())
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let answer = self.asked.and_then(|asked| asked.until);
        answer.or(self.look_at)
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

/// What others may know.
impl Channel {
    /// A slave's writes are refused by the switch; one who asked to be a slave does not try.
    pub(crate) fn may_write(&self) -> bool {
        self.roles.election.role != Role::Slave && self.roles.has != Some(role::SLAVE)
    }

    /// Empty while the switch has not said.
    pub(super) fn role_name(&self) -> String {
        self.roles.has.map(name).unwrap_or_default()
    }
}

/// What happens.
impl Channel {
    pub(super) fn ask_role(&mut self, now: Instant) {
        self.roles.elections += 1;
        let Election { role, generation } = self.roles.election;
        self.ask_about_role(Question::Role, number(role), generation, now);
    }

    fn ask_about_role(&mut self, question: Question, role: u32, generation_id: u64, now: Instant) {
        let request = Message::RoleRequest(v13::Role {
            role,
            generation_id,
        });
        self.roles.look_at = None;
        self.roles.asked = Some(Asked {
            xid: self.say(&request, Asker::Channel, Expects::Reply, now),
            question,
            until: Some(now + ANSWER),
        });
    }

    fn look(&mut self, now: Instant) {
        self.ask_about_role(Question::Look, role::NOCHANGE, 0, now);
    }

    pub(super) fn role_reply(
        &mut self,
        header: Header,
        frame: &Bytes,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let reply = match v13::decode(frame) {
            Ok((_, Message::RoleReply(reply))) => reply,
            Ok(_) => return,
            Err(error) => return self.malformed(header, &error, out),
        };
        let Some(asked) = self.roles.asked.take_if(|asked| asked.xid == header.xid) else {
            if !std::mem::replace(&mut self.roles.told, true) {
                let (dpid, role) = (Dpid(self.dpid()), name(reply.role));
                tracing::warn!(%dpid, %role, "a reply about roles that was not asked for; such are ignored");
            }
            return;
        };
        self.xids.done(header.xid);
        match asked.question {
            Question::Generation => {
                self.roles.election.generation = reply.generation_id.wrapping_add(1);
                self.ask_role(now);
            }
            Question::Role | Question::Look => self.role_is(reply.role, now, out),
        }
    }

    fn role_is(&mut self, has: u32, now: Instant, out: &mut Vec<Output>) {
        let could_write = self.may_write();
        let news = self.roles.has.replace(has) != Some(has);
        let wanted = self.roles.election.role;
        if has == role::SLAVE && wanted != Role::Slave && self.edge.is_none() {
            self.roles.look_at = Some(now + LOOK);
        }
        let (dpid, role) = (Dpid(self.dpid()), name(has));
        if has == number(wanted) {
            tracing::debug!(%dpid, %role, "the switch says our role");
        } else if news && has == role::SLAVE {
            tracing::warn!(
                %dpid, %wanted,
                "the switch says that we are its slave: another controller is master. Nothing is written to it until it says otherwise"
            );
        } else if news {
            tracing::warn!(%dpid, %role, %wanted, "the switch says another role than the one asked for");
        }
        if self.state == State::Ready && could_write != self.may_write() {
            out.push(Output::Role);
        }
    }

    /// Whether this error is about roles, and nobody else's.
    pub(super) fn role_refused(
        &mut self,
        header: Header,
        frame: &Bytes,
        now: Instant,
        out: &mut Vec<Output>,
    ) -> bool {
        let Ok((_, Message::Error(error))) = v13::decode(frame) else {
            return false;
        };
        let ours = |asked: &mut Asked| asked.xid == header.xid;
        let Some(asked) = self.roles.asked.take_if(ours) else {
            self.note_is_slave(&error, now);
            return false;
        };
        self.xids.done(header.xid);
        let stale = (error.kind, error.code)
            == (kind::ROLE_REQUEST_FAILED, code::role_request_failed::STALE);
        if stale && self.roles.elections < ELECTIONS && self.edge.is_none() {
            self.ask_about_role(Question::Generation, role::NOCHANGE, 0, now);
            return true;
        }
        let (dpid, wanted) = (Dpid(self.dpid()), self.roles.election.role);
        match (asked.question, wanted) {
            (Question::Role, Role::Equal) => {
                tracing::info!(%dpid, "the switch knows no roles: {error}");
            }
            (Question::Role | Question::Generation | Question::Look, _) => {
                tracing::warn!(%dpid, %wanted, "the switch refuses what it is asked about roles: {error}");
            }
        }
        self.ready_if_all_is_known(out);
        true
    }

    /// A write was refused because we are a slave: another controller has become master since. The error itself goes to
    /// whoever wrote.
    fn note_is_slave(&mut self, error: &ErrorMsg, now: Instant) {
        let is_slave = (kind::BAD_REQUEST, code::bad_request::IS_SLAVE);
        let idle = self.roles.asked.is_none() && self.edge.is_none();
        if (error.kind, error.code) == is_slave && idle && self.may_write() {
            self.look(now);
        }
    }

    /// A barrier was answered. Messages before it have been, so a question that has no answer will have none.
    pub(super) fn role_passed_by(&mut self, barrier: u32) {
        let before = |asked: &Asked| barrier.wrapping_sub(asked.xid) < u32::MAX / 2;
        if self.roles.asked.as_ref().is_some_and(before) {
            self.role_unanswered();
        }
    }

    fn role_unanswered(&mut self) {
        if let Some(asked) = &mut self.roles.asked {
            asked.until = None;
        }
        let (dpid, wanted) = (Dpid(self.dpid()), self.roles.election.role);
        match wanted {
            Role::Equal => tracing::info!(%dpid, "the switch does not answer about roles"),
            Role::Master | Role::Slave => {
                tracing::warn!(%dpid, %wanted, "the switch does not answer about roles");
            }
        }
    }

    pub(super) fn role_timer(&mut self, now: Instant, out: &mut Vec<Output>) {
        let passed = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if passed(self.roles.asked.and_then(|asked| asked.until)) {
            self.role_unanswered();
            if self
                .roles
                .asked
                .is_some_and(|asked| asked.question == Question::Look)
            {
                self.roles.look_at = Some(now + LOOK);
            }
            self.ready_if_all_is_known(out);
        } else if passed(self.roles.look_at) {
            self.look(now);
        }
    }
}
