//! Several upgrades that happen as one: the machine that stands above theirs.
//!
//! ```text
//!   each by itself      all of them           in one transaction               each       in one transaction
//!   Staged .. Ready --> Quiescing, Held -->   the fence of all checkpoints  -->  Resuming .. -->   the commit
//!        |                    |                      |                        |                  |
//!        +--------------------+----------------------+------------------------+------------------+
//!                        one goes back, or is refused: so does every other, each by its own way
//! ```
//!
//! The members stay [`super::Upgrade`]s. What they put out passes here: what has to happen to all at once is kept back until
//! the last one has come to it. Nothing here waits for a time of its own: each member that is not there yet has a deadline,
//! and at the end of it goes back.

use std::collections::BTreeMap;

use morph_api::management::Step;

use super::{Cause, Input, Output, Side, State, Upgrade};

/// What the driver must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// This app's upgrade puts this out: carry it out.
    Out(String, Output),
    /// Feed this app's upgrade.
    Feed(String, Input),
    /// Fence all of them for their new releases, with their records, in one transaction: each with the shadow that is to be
    /// the primary, if there is one. Answer each with `Fenced` or `FenceRefused`.
    FenceAll(Vec<(String, Option<u32>)>),
    /// Write the last records of all, in one transaction with the swaps to these shadows. Answer each with `Finished` or
    /// `FinishRefused`.
    CommitAll(Vec<(String, Option<u32>)>),
}

/// What a member has come to, and waits for the others with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Gate {
    /// It is ready, and may be held.
    Hold,
    /// It is held, and may be fenced.
    Fence(Option<u32>),
    /// It has proven itself, and may be committed.
    Commit(Option<u32>),
}

#[derive(Debug, Clone, Default)]
struct Member {
    gate: Option<Gate>,
    goes_back: bool,
}

/// The machine.
#[derive(Debug, Clone)]
pub struct Together {
    members: BTreeMap<String, Member>,
}

impl Together {
    /// Of these apps.
    pub fn new(apps: impl IntoIterator<Item = String>) -> Self {
        let member = |app| (app, Member::default());
        Together {
            members: apps.into_iter().map(member).collect(),
        }
    }

    /// All of them, in order.
    pub fn apps(&self) -> impl Iterator<Item = &String> {
        self.members.keys()
    }

    /// What the upgrade of `app` has put out, after each of its inputs; `upgrade` is as it is now.
    pub fn pass(&mut self, app: &str, upgrade: &Upgrade, out: Vec<Output>, acts: &mut Vec<Act>) {
        for output in out {
            match &output {
                Output::Record(Step::Quiescing) => self.comes_to(app, Gate::Hold),
                Output::Fence(Side::New, swap) => self.comes_to(app, Gate::Fence(*swap)),
                Output::Finish(Step::Committed, swap) => self.comes_to(app, Gate::Commit(*swap)),
                Output::Publish(Step::RollingBack, _) => {
                    acts.push(Act::Out(app.to_owned(), output));
                    self.take_back(app, upgrade.cause(), acts);
                }
                Output::Record(_)
                | Output::Publish(..)
                | Output::MakeKeyspace(..)
                | Output::DropKeyspace(_)
                | Output::Spawn(..)
                | Output::Tell(..)
                | Output::End(_)
                | Output::Hold
                | Output::Fence(Side::Old, _)
                | Output::Resume(_)
                | Output::Sample
                | Output::Finish(..) => acts.push(Act::Out(app.to_owned(), output)),
            }
        }
        self.turn_away(app, upgrade, acts);
        self.open(acts);
    }

    fn comes_to(&mut self, app: &str, gate: Gate) {
        if let Some(member) = self.members.get_mut(app) {
            member.gate = Some(gate);
        }
    }

    /// One goes back: so do the others.
    fn take_back(&mut self, app: &str, cause: Option<&Cause>, acts: &mut Vec<Act>) {
        let by = cause.map_or("failure", |cause| cause.by);
        let why = cause.map_or("", |cause| cause.message.as_str());
        let cause = Cause {
            message: format!("{app}, which was upgraded with it, goes back: {why}"),
            by,
        };
        if let Some(member) = self.members.get_mut(app) {
            member.goes_back = true;
            member.gate = None;
        }
        for (other, member) in &mut self.members {
            if std::mem::replace(&mut member.goes_back, true) {
                continue;
            }
            acts.push(Act::Feed(
                other.clone(),
                Input::OtherGoesBack(cause.clone()),
            ));
            acts.extend(refused(other, member.gate.take(), &cause.message));
        }
    }

    /// One that waits for the others, and has met trouble meanwhile, need not wait: no answer to what it asked for would
    /// change anything.
    fn turn_away(&mut self, app: &str, upgrade: &Upgrade, acts: &mut Vec<Act>) {
        let waits = matches!(upgrade.state(), State::Fencing | State::Finishing(_));
        if waits
            && upgrade.is_in_trouble()
            && let Some(member) = self.members.get_mut(app)
        {
            acts.extend(refused(app, member.gate.take(), "it has met trouble"));
        }
    }

    /// All have come to the same gate: on with them.
    fn open(&mut self, acts: &mut Vec<Act>) {
        let at = |kind: fn(&Gate) -> bool| {
            let is = |member: &Member| !member.goes_back && member.gate.as_ref().is_some_and(kind);
            self.members.values().all(is)
        };
        let hold = at(|gate| matches!(gate, Gate::Hold));
        let fence = at(|gate| matches!(gate, Gate::Fence(_)));
        let commit = at(|gate| matches!(gate, Gate::Commit(_)));
        if !(hold || fence || commit) {
            return;
        }
        let mut swaps = Vec::new();
        for (app, member) in &mut self.members {
            match member.gate.take() {
                Some(Gate::Hold) => {
                    acts.push(Act::Out(app.clone(), Output::Record(Step::Quiescing)));
                }
                Some(Gate::Fence(swap) | Gate::Commit(swap)) => swaps.push((app.clone(), swap)),
                None => {}
            }
        }
        if fence {
            acts.push(Act::FenceAll(swaps));
        } else if commit {
            acts.push(Act::CommitAll(swaps));
        }
    }
}

/// The answer to one that asked for what does not come.
fn refused(app: &str, gate: Option<Gate>, why: &str) -> Option<Act> {
    let input = match gate? {
        Gate::Hold => return None,
        Gate::Fence(_) => Input::FenceRefused(why.to_owned()),
        Gate::Commit(_) => Input::FinishRefused(why.to_owned()),
    };
    Some(Act::Feed(app.to_owned(), input))
}

#[cfg(test)]
mod tests;
