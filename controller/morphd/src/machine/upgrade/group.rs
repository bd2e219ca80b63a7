//! An upgrade: one app, or several that change as one.
//!
//! ```text
//!   each by itself        all of them              in one transaction             each      in one transaction
//!   Staged .. Ready --> |Hold| Quiescing --> |Fence| the fence of all --> Resuming .. --> |Commit| the commit
//!        |                  |                    |                            |               |
//!        +------------------+--------------------+----------------------------+---------------+
//!                        one goes back: so does every other, each by its own way
//! ```
//!
//! `|Barrier|` opens when every member has come to it. One app is a group of one, whose barriers open at once.

use std::collections::BTreeMap;
use std::time::Instant;

use super::member::{Barrier, Context, Member, MemberState};
use super::messages::{Cause, EndedBy, Leftover, MemberInput, MemberOutput, Plan, Side};
use super::step;

/// A member's app, and the shadow with which its part of a transaction swaps.
pub type Swap = (String, Option<u32>);

/// Action for an upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupOutput {
    /// Something for one member.
    Member(String, MemberOutput),
    /// Raise the epochs of these members for the releases of this side, with their records, in one transaction: answer
    /// each with `Fenced` or `FenceRefused`.
    Fence(Side, Vec<Swap>),
    /// Write the last records of all members in one transaction, with the swaps: answer each with `Ended` or
    /// `EndRefused`.
    Commit(Vec<Swap>),
}

#[derive(Debug, Clone, Default)]
pub struct Group {
    members: BTreeMap<String, Member>,
}

impl Group {
    pub fn begin(
        plans: impl IntoIterator<Item = (String, Plan)>,
        out: &mut Vec<GroupOutput>,
    ) -> Self {
        let mut group = Group::default();
        for (app, plan) in plans {
            group.join(app, out, |puts| Member::begin(plan, puts));
        }
        group
    }

    /// Adds a member that another morphd left in probation.
    pub fn adopt(
        &mut self,
        app: String,
        plan: Plan,
        left: Leftover,
        now: Instant,
        out: &mut Vec<GroupOutput>,
    ) {
        self.join(app, out, |puts| Member::adopted(plan, left, now, puts));
    }

    /// Adds a member that another morphd left after the fence, with its target not live.
    pub fn abandon(
        &mut self,
        app: String,
        (plan, left): (Plan, Leftover),
        why: Cause,
        now: Instant,
        out: &mut Vec<GroupOutput>,
    ) {
        self.join(app, out, |puts| {
            Member::abandoned(plan, left, why, now, puts)
        });
    }

    fn join(
        &mut self,
        app: String,
        out: &mut Vec<GroupOutput>,
        member: impl FnOnce(&mut Vec<MemberOutput>) -> Member,
    ) {
        let mut puts = Vec::new();
        let member = member(&mut puts);
        pass(&app, puts, out);
        self.members.insert(app, member);
    }

    pub fn apps(&self) -> impl Iterator<Item = &String> {
        self.members.keys()
    }

    pub fn member(&self, app: &str) -> Option<&Member> {
        self.members.get(app)
    }

    #[cfg(test)]
    pub(super) fn change_plan(&mut self, app: &str, change: impl FnOnce(&mut Plan)) {
        change(&mut self.members.get_mut(app).unwrap().plan);
    }

    pub fn members(&self) -> impl Iterator<Item = (&String, &Member)> {
        self.members.iter()
    }

    pub fn ended(&self) -> bool {
        self.members.values().all(Member::ended)
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        let deadlines = self.members.values().filter_map(Member::next_deadline);
        deadlines.min()
    }

    /// One input of one member, and all that follows for the others.
    pub fn handle(
        &mut self,
        app: &str,
        input: MemberInput,
        now: Instant,
        out: &mut Vec<GroupOutput>,
    ) {
        self.feed(app, input, now, out);
        self.take_others_back(now, out);
        self.open(now, out);
    }

    fn feed(&mut self, app: &str, input: MemberInput, now: Instant, out: &mut Vec<GroupOutput>) {
        let Some(member) = self.members.get_mut(app) else {
            return;
        };
        let mut puts = Vec::new();
        step::handle(
            member,
            input,
            &mut Context {
                now,
                out: &mut puts,
            },
        );
        pass(app, puts, out);
    }

    /// Takes the other members back where one goes back.
    fn take_others_back(&mut self, now: Instant, out: &mut Vec<GroupOutput>) {
        let first = self.members.iter().find(|(_, member)| member.goes_back());
        let Some((app, member)) = first else {
            return;
        };
        let own = member.cause();
        let cause = Cause {
            message: format!(
                "{app}, which was upgraded with it, goes back: {}",
                own.map_or("", |cause| cause.message.as_str())
            ),
            by: own.map_or(EndedBy::Failure, |cause| cause.by),
        };
        let others = self.members.iter().filter(|(_, member)| {
            !member.goes_back() && !member.ended() && member.trouble.is_none()
        });
        let others: Vec<String> = others.map(|(app, _)| app.clone()).collect();
        for other in others {
            self.feed(&other, MemberInput::OtherGoesBack(cause.clone()), now, out);
        }
    }

    /// Opens the barrier to which all have come.
    fn open(&mut self, now: Instant, out: &mut Vec<GroupOutput>) {
        let mut barriers = self.members.values().map(|member| match member.state() {
            MemberState::AtBarrier(barrier) => Some(barrier),
            _ => None,
        });
        let Some(barrier) = barriers.next().flatten() else {
            return;
        };
        if !barriers.all(|other| other == Some(barrier)) {
            return;
        }
        let swaps = self.members.iter();
        let swaps: Vec<Swap> = swaps
            .map(|(app, member)| (app.clone(), member.swap()))
            .collect();
        let apps: Vec<String> = self.members.keys().cloned().collect();
        match barrier {
            Barrier::Hold => {}
            Barrier::Fence => out.push(GroupOutput::Fence(Side::Target, swaps)),
            Barrier::Commit => out.push(GroupOutput::Commit(swaps)),
        }
        for app in apps {
            self.feed(&app, MemberInput::Open, now, out);
        }
    }
}

fn pass(app: &str, puts: Vec<MemberOutput>, out: &mut Vec<GroupOutput>) {
    out.extend(puts.into_iter().map(|output| match output {
        MemberOutput::FenceForSource => {
            GroupOutput::Fence(Side::Source, vec![(app.to_owned(), None)])
        }
        output => GroupOutput::Member(app.to_owned(), output),
    }));
}

#[cfg(test)]
mod tests;
