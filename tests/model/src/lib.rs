//! The hand-over as a model: morphd's `Upgrade` and `App`, the proxy's mediator with its slots, the store's core and the
//! SDK's instance, all as they are shipped, with everything between them that may be late, lost or die.
//!
//! | module | what stands there |
//! |---|---|
//! | `world` | the state, and its transitions |
//! | `proxy`, `instance`, `store`, `morphd` | a shipped machine each, and what its driver does |
//! | `records` | morphd's records in the store, with the fence |
//! | `scribe` | the app |
//! | `canon` | when two states are the same |
//!
//! Each process has a clock of its own, which goes on only when one of its deadlines passes: whatever is late is late there.

mod canon;
mod clock;
mod explore;
mod instance;
mod morphd;
mod proxy;
mod records;
mod scribe;
mod store;
mod walk;
mod world;

use std::fmt;

pub use explore::{Explored, Handover, explore};
pub use walk::{Walked, walk};
pub use world::{Action, Breach, Fate, Seen, Who, World};

/// What is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// A turn goes to the store before the proxy has accepted it.
    CommitBeforeAccept,
    /// The new instance is resumed before the fence stands.
    ResumeBeforeFence,
    /// The fence is acknowledged before what came before it is on disk.
    UnflushedFence,
}

/// What may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kinds {
    /// Instances are killed.
    pub instances: bool,
    /// morphd is killed.
    pub morphd: bool,
    /// The store daemon is killed.
    pub store: bool,
    /// Calls of morphd and its fence are given up; what becomes of them is unknown.
    pub calls: bool,
    /// Deadlines pass while what they wait for is on its way.
    pub deadlines: bool,
    /// The operator takes the upgrade back.
    pub operator: bool,
}

impl Kinds {
    /// All of them.
    pub const ALL: Kinds = Kinds {
        instances: true,
        morphd: true,
        store: true,
        calls: true,
        deadlines: true,
        operator: true,
    };
    /// None of them.
    pub const NONE: Kinds = Kinds {
        instances: false,
        morphd: false,
        store: false,
        calls: false,
        deadlines: false,
        operator: false,
    };
}

/// What is explored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// One app, or two that are upgraded as one.
    pub two_apps: bool,
    /// Packets for each app.
    pub packets: u8,
    /// Upgrades, one after the other.
    pub upgrades: u8,
    /// Faults in one run.
    pub faults: u8,
    /// Which.
    pub kinds: Kinds,
    /// The store's answers, and its news of what others wrote, come at any time; else at once, and when they are waited for.
    pub late: bool,
    /// The app's turns are stored before they are on disk.
    pub lazy: bool,
    /// What is broken.
    pub mutation: Option<Mutation>,
}

impl Setup {
    /// One app, one upgrade, two packets, and nothing goes wrong.
    pub const SMALL: Setup = Setup {
        two_apps: false,
        packets: 2,
        upgrades: 1,
        faults: 0,
        kinds: Kinds::NONE,
        late: false,
        lazy: false,
        mutation: None,
    };

    pub(crate) fn apps(&self) -> Vec<String> {
        let apps = ["a", "b"].into_iter().map(str::to_owned);
        apps.take(if self.two_apps { 2 } else { 1 }).collect()
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setup {
            packets,
            upgrades,
            faults,
            ..
        } = self;
        let apps = if self.two_apps {
            "two apps as one"
        } else {
            "one app"
        };
        write!(
            f,
            "{apps}, {upgrades} upgrades, {packets} packets, {faults} faults"
        )?;
        let Kinds {
            instances,
            morphd,
            store,
            calls,
            deadlines,
            operator,
        } = self.kinds;
        let kinds = [
            (instances, "instances"),
            (morphd, "morphd"),
            (store, "store"),
            (calls, "calls"),
            (deadlines, "deadlines"),
            (operator, "operator"),
        ];
        let kinds: Vec<&str> = kinds
            .iter()
            .filter(|(is, _)| *is)
            .map(|(_, name)| *name)
            .collect();
        if !kinds.is_empty() {
            write!(f, " ({})", kinds.join(", "))?;
        }
        for (is, what) in [(self.late, "late answers"), (self.lazy, "a lazy disk")] {
            write!(
                f,
                "{}",
                if is {
                    format!(", {what}")
                } else {
                    String::new()
                }
            )?;
        }
        self.mutation
            .map_or(Ok(()), |mutation| write!(f, ", broken: {mutation:?}"))
    }
}
