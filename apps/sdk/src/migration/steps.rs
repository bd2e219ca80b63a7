//! Steps between neighbouring schema versions, and the paths that lead over several of them.
//!
//! A path is walked in memory, step by step. The groups of one step need not be those of the next one, so a change is
//! followed through each schema version on the path.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use morph_api::is_beside_schema;

use super::mapping::Migration;
use super::rows::Rows;
use crate::error::MigrationError;

type GroupOf = fn(&str, &str) -> String;
type Map = fn(&Rows) -> Result<Rows, MigrationError>;

/// Migrations of a release: one [`Migration`], or a tuple of up to five of neighbouring schema versions, in any order.
pub trait Migrations {
    #[doc(hidden)]
    fn functions() -> Vec<MigrationFunctions>;
}

impl<M: Migration> Migrations for M {
    fn functions() -> Vec<MigrationFunctions> {
        vec![MigrationFunctions {
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
            fn functions() -> Vec<MigrationFunctions> {
                [$(<$part as Migrations>::functions()),+].concat()
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
pub struct MigrationFunctions {
    old: u32,
    new: u32,
    group_of_old: GroupOf,
    group_of_new: GroupOf,
    up: Map,
    down: Map,
}

/// A migration in one direction, from its source to its target.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// Schema version of the target.
    pub(crate) target: u32,
    source_group: GroupOf,
    target_group: GroupOf,
    to_source: Map,
    to_target: Map,
}

impl MigrationFunctions {
    fn leaving(self, version: u32) -> Option<Step> {
        if version == self.new {
            return Some(Step {
                target: self.old,
                source_group: self.group_of_new,
                target_group: self.group_of_old,
                to_source: self.up,
                to_target: self.down,
            });
        }
        (version == self.old).then_some(Step {
            target: self.new,
            source_group: self.group_of_old,
            target_group: self.group_of_new,
            to_source: self.down,
            to_target: self.up,
        })
    }
}

impl Step {
    /// Group of a row in the source.
    pub(crate) fn source_group(self, table: &str, key: &str) -> String {
        group_of(self.source_group, table, key)
    }

    /// Group of a row in the target.
    pub(crate) fn target_group(self, table: &str, key: &str) -> String {
        group_of(self.target_group, table, key)
    }

    /// Maps a group's rows back to the source.
    pub(crate) fn to_source(self, group: &str, target: &Rows) -> Result<Rows, MigrationError> {
        map_group(group, target, self.to_source, self.source_group)
    }

    /// Maps a group's rows to the target.
    pub(crate) fn to_target(self, group: &str, source: &Rows) -> Result<Rows, MigrationError> {
        map_group(group, source, self.to_target, self.target_group)
    }
}

/// Migrations of a release whose own schema version is known.
#[derive(Debug, Clone)]
pub struct Chain {
    own: u32,
    migrations: Vec<MigrationFunctions>,
}

impl Chain {
    /// Migrations of a release with this schema version.
    pub fn of<M: Migrations>(own: u32) -> Chain {
        let migrations = M::functions();
        Chain { own, migrations }
    }

    /// Chain of a release that brings no migration.
    pub fn none(own: u32) -> Chain {
        Chain {
            own,
            migrations: Vec::new(),
        }
    }

    /// Older and newer schema version of each migration.
    pub(crate) fn versions(&self) -> Vec<(u32, u32)> {
        let migrations = self.migrations.iter();
        migrations
            .map(|migration| (migration.old, migration.new))
            .collect()
    }

    /// Path from the own schema version to another one, nearest step first; empty if both are the same.
    pub(crate) fn path_to(&self, other: u32) -> Option<Vec<Step>> {
        let mut path = Vec::new();
        let mut at = self.own;
        while at != other {
            let next = if other > at { at + 1 } else { at - 1 };
            path.push(self.steps_from(at).find(|step| step.target == next)?);
            at = next;
        }
        Some(path)
    }

    /// First step of the most likely path: to older versions, otherwise to newer ones.
    pub(crate) fn nearest(&self) -> Option<Step> {
        self.steps_from(self.own).min_by_key(|step| step.target)
    }

    fn steps_from(&self, version: u32) -> impl Iterator<Item = Step> {
        self.migrations
            .iter()
            .filter_map(move |migration| migration.leaving(version))
    }
}

/// Group of a row. Alarms and timers are no part of a schema, and each is a group of its own.
fn group_of(by: GroupOf, table: &str, key: &str) -> String {
    match is_beside_schema(table) {
        true => format!("{table}/{key}"),
        false => by(table, key),
    }
}

/// Maps a group. Alarms and timers pass unchanged, and the author's code does not see them. A panic of the author's code becomes an error, as it must not end more than its upgrade.
fn map_group(
    group: &str,
    rows: &Rows,
    map: Map,
    group_by: GroupOf,
) -> Result<Rows, MigrationError> {
    if rows.0.keys().all(|(table, _)| is_beside_schema(table)) {
        return Ok(rows.clone());
    }
    let result = catch_unwind(AssertUnwindSafe(|| {
        let out = map(rows)?;
        let stray = out
            .0
            .keys()
            .find(|(t, k)| group_of(group_by, t, k) != group);
        match stray {
            Some((table, key)) => Err(MigrationError::new(format!(
                "row {table}.{key}, which it makes, belongs to another group"
            ))),
            None => Ok(out),
        }
    }));
    let result = result.unwrap_or_else(|_| Err(MigrationError::new("its code panicked")));
    result.map_err(|error| MigrationError::new(format!("migration of group {group:?}: {error}")))
}

/// Maps the rows of a whole keyspace to the newest schema version of the migrations, for tests.
pub fn up<M: Migrations>(old: &Rows) -> Result<Rows, MigrationError> {
    let mut migrations = M::functions();
    migrations.sort_by_key(|migration| migration.old);
    let mut rows = old.clone();
    for migration in migrations {
        let (from, to) = (migration.group_of_old, migration.group_of_new);
        rows = map_all(&rows, from, migration.up, to)?;
    }
    Ok(rows)
}

/// Maps the rows of a whole keyspace to the oldest schema version of the migrations, for tests.
pub fn down<M: Migrations>(new: &Rows) -> Result<Rows, MigrationError> {
    let mut migrations = M::functions();
    migrations.sort_by_key(|migration| std::cmp::Reverse(migration.new));
    let mut rows = new.clone();
    for migration in migrations {
        let (from, to) = (migration.group_of_new, migration.group_of_old);
        rows = map_all(&rows, from, migration.down, to)?;
    }
    Ok(rows)
}

fn map_all(
    rows: &Rows,
    group_from: GroupOf,
    map: Map,
    group_to: GroupOf,
) -> Result<Rows, MigrationError> {
    let mut groups: BTreeMap<String, Rows> = BTreeMap::new();
    for ((table, key), value) in &rows.0 {
        let group = group_of(group_from, table, key);
        let group = groups.entry(group).or_default();
        group.0.insert((table.clone(), key.clone()), value.clone());
    }
    let mut out = Rows::new();
    for (group, rows) in groups {
        out.0.extend(map_group(&group, &rows, map, group_to)?.0);
    }
    Ok(out)
}
