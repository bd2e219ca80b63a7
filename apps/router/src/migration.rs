//! Migration between schema 1, a tree in one row, and schema 2, a row for each switch of a tree. Weights stay as they
//! are.

use morph_sdk::{Migration, MigrationError, Rows};

use crate::release::{HOPS, Hop, TREES};
use crate::tables::{APPLIED, WEIGHTS};

/// Migration of release 2.0.0.
#[derive(Debug)]
pub struct V1ToV2;

/// Group of a destination's rows, in both schema versions.
fn path_to(destination: &str) -> String {
    format!("path/{destination}")
}

impl Migration for V1ToV2 {
    const OLD: u32 = 1;
    const NEW: u32 = 2;

    fn group_of_old(table: &str, key: &str) -> String {
        if table == TREES.name() {
            path_to(key)
        } else {
            format!("{table}/{key}")
        }
    }

    fn group_of_new(table: &str, key: &str) -> String {
        match key.split_once('/') {
            Some((destination, _)) if table == HOPS.name() => path_to(destination),
            _ => format!("{table}/{key}"),
        }
    }

    fn up(old: &Rows) -> Result<Rows, MigrationError> {
        let mut new = passed(old);
        old.split_each(&TREES, &mut new, &HOPS, |destination, tree| {
            if tree.is_empty() {
                return Err(MigrationError::new(format!(
                    "the tree of {destination} is empty"
                )));
            }
            let hop = move |(dpid, port)| ((destination, dpid), Hop { port });
            Ok(tree.into_iter().map(hop))
        })?;
        Ok(new)
    }

    fn down(new: &Rows) -> Result<Rows, MigrationError> {
        let mut old = passed(new);
        let destination = |key: &(_, _), _: &Hop| key.0;
        new.join_by(&HOPS, &mut old, &TREES, destination, |_, hops| {
            let ports = hops.into_iter().map(|((_, dpid), hop)| (dpid, hop.port));
            Ok(ports.collect())
        })?;
        Ok(old)
    }
}

/// Rows that both schema versions have.
fn passed(rows: &Rows) -> Rows {
    let mut out = Rows::new();
    out.pass(rows, WEIGHTS.name());
    out.pass(rows, APPLIED.name());
    out
}
