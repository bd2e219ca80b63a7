//! Steps between neighbouring schema versions, and the ways that lead over some of them.
//!
//! A chain is walked in memory, step by step: the groups of one step need not be those of the next one, so what a change of
//! some rows comes to is followed through each schema version on the way (see [`crate::instance`]'s `layers`).

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Migration, MigrationError, Rows};

type GroupOf = fn(&str, &str) -> String;
type Map = fn(&Rows) -> Result<Rows, MigrationError>;

/// What a release brings: one [`Migration`], or a tuple of up to five of neighbouring schema versions, in any order.
pub trait Migrations {
    /// Its steps.
    #[doc(hidden)]
    fn steps() -> Vec<Step>;
}

impl<M: Migration> Migrations for M {
    fn steps() -> Vec<Step> {
        vec![Step {
            old: M::OLD,
            new: M::NEW,
            group_of_old: M::group_of_old,
            group_of_new: M::group_of_new,
            up: M::up,
            down: M::down,
        }]
    }
}

macro_rules! migrations {
    ($($part:ident)+) => {
        impl<$($part: Migration),+> Migrations for ($($part,)+) {
            fn steps() -> Vec<Step> {
                [$(<$part as Migrations>::steps()),+].concat()
            }
        }
    };
}

migrations!(A B);
migrations!(A B C);
migrations!(A B C D);
migrations!(A B C D E);

/// A migration as a value.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Step {
    old: u32,
    new: u32,
    group_of_old: GroupOf,
    group_of_new: GroupOf,
    up: Map,
    down: Map,
}

/// A step in a direction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hop {
    pub(crate) far: u32,
    near_group: GroupOf,
    far_group: GroupOf,
    to_near: Map,
    to_far: Map,
}

impl Step {
    fn leaving(self, version: u32) -> Option<Hop> {
        if version == self.new {
            return Some(Hop {
                far: self.old,
                near_group: self.group_of_new,
                far_group: self.group_of_old,
                to_near: self.up,
                to_far: self.down,
            });
        }
        (version == self.old).then_some(Hop {
            far: self.new,
            near_group: self.group_of_old,
            far_group: self.group_of_new,
            to_near: self.down,
            to_far: self.up,
        })
    }
}

impl Hop {
    /// The group of a row on the near side.
    pub(crate) fn near_group(self, table: &str, key: &str) -> String {
        (self.near_group)(table, key)
    }

    /// The group of a row on the far side.
    pub(crate) fn far_group(self, table: &str, key: &str) -> String {
        (self.far_group)(table, key)
    }

    /// A group's rows on the near side.
    pub(crate) fn to_near(self, group: &str, far: &Rows) -> Result<Rows, MigrationError> {
        mapped(group, far, self.to_near, self.near_group)
    }

    /// A group's rows on the far side.
    pub(crate) fn to_far(self, group: &str, near: &Rows) -> Result<Rows, MigrationError> {
        mapped(group, near, self.to_far, self.far_group)
    }
}

/// The steps of a release whose own schema version is known.
#[derive(Debug, Clone)]
pub struct Chain {
    own: u32,
    steps: Vec<Step>,
}

impl Chain {
    /// Of a release of this schema version.
    pub fn of<M: Migrations>(own: u32) -> Chain {
        let steps = M::steps();
        Chain { own, steps }
    }

    /// Of a release that brings no migration.
    pub fn none(own: u32) -> Chain {
        Chain {
            own,
            steps: Vec::new(),
        }
    }

    /// The way from the own schema version to another one, nearest step first; empty where it is the same.
    pub(crate) fn to(&self, other: u32) -> Option<Vec<Hop>> {
        let mut way = Vec::new();
        let mut at = self.own;
        while at != other {
            let next = if other > at { at + 1 } else { at - 1 };
            let mut hops = self.steps.iter().filter_map(|step| step.leaving(at));
            way.push(hops.find(|hop| hop.far == next)?);
            at = next;
        }
        Some(way)
    }

    /// The first step of the ways that are most likely taken: to older versions, else to newer ones.
    pub(crate) fn nearest(&self) -> Option<Hop> {
        let hops = self.steps.iter().filter_map(|step| step.leaving(self.own));
        hops.min_by_key(|hop| hop.far)
    }
}

/// Maps a group. A panic of the author's code is an error here, as it must not end more than its upgrade.
fn mapped(group: &str, rows: &Rows, map: Map, group_of: GroupOf) -> Result<Rows, MigrationError> {
    if rows.0.is_empty() {
        return Ok(Rows::new());
    }
    let result = catch_unwind(AssertUnwindSafe(|| {
        let out = map(rows)?;
        let stray = out.0.keys().find(|(t, k)| group_of(t, k) != group);
        match stray {
            Some((table, key)) => Err(MigrationError(format!("{table}.{key} is outside of it"))),
            None => Ok(out),
        }
    }));
    let result = result.unwrap_or_else(|_| Err(MigrationError("it panicked".to_owned())));
    result.map_err(|error| MigrationError(format!("migration of group {group:?}: {error}")))
}

/// The rows of a whole keyspace in the newest schema version that the migrations lead to: for tests.
pub fn up<M: Migrations>(old: &Rows) -> Result<Rows, MigrationError> {
    let mut steps = M::steps();
    steps.sort_by_key(|step| step.old);
    let mut rows = old.clone();
    for step in steps {
        rows = whole(&rows, step.group_of_old, step.up, step.group_of_new)?;
    }
    Ok(rows)
}

/// The rows of a whole keyspace in the oldest schema version that the migrations lead to: for tests.
pub fn down<M: Migrations>(new: &Rows) -> Result<Rows, MigrationError> {
    let mut steps = M::steps();
    steps.sort_by_key(|step| std::cmp::Reverse(step.new));
    let mut rows = new.clone();
    for step in steps {
        rows = whole(&rows, step.group_of_new, step.down, step.group_of_old)?;
    }
    Ok(rows)
}

fn whole(from: &Rows, group_from: GroupOf, map: Map, to: GroupOf) -> Result<Rows, MigrationError> {
    let mut groups: BTreeMap<String, Rows> = BTreeMap::new();
    for ((table, key), value) in &from.0 {
        let group = groups.entry(group_from(table, key)).or_default();
        group.0.insert((table.clone(), key.clone()), value.clone());
    }
    let mut out = Rows::new();
    for (group, rows) in groups {
        out.0.extend(mapped(&group, &rows, map, to)?.0);
    }
    Ok(out)
}
