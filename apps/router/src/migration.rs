//! Between schema 1, a tree in one row, and schema 2, a row for each switch of it. Weights stay as they are.

use std::collections::BTreeMap;

use morph_sdk::{MacAddr, Migration, MigrationError, Rows};

use crate::release::{HOPS, Hop, TREES};
use crate::tables::{APPLIED, WEIGHTS};
use crate::tree::Tree;

/// The migration that router 2.0.0 brings.
#[derive(Debug)]
pub struct V1ToV2;

/// The group of a destination's rows, in both schemas.
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
        for (destination, tree) in old.of(&TREES)? {
            if tree.is_empty() {
                return Err(MigrationError::new(format!(
                    "the tree of {destination} is empty"
                )));
            }
            for (dpid, port) in tree {
                new.put(&HOPS, &(destination, dpid), &Hop { port })?;
            }
        }
        Ok(new)
    }

    fn down(new: &Rows) -> Result<Rows, MigrationError> {
        let mut trees: BTreeMap<MacAddr, Tree> = BTreeMap::new();
        for ((destination, dpid), hop) in new.of(&HOPS)? {
            trees.entry(destination).or_default().insert(dpid, hop.port);
        }
        let mut old = passed(new);
        for (destination, tree) in trees {
            old.put(&TREES, &destination, &tree)?;
        }
        Ok(old)
    }
}

/// What both schemas have.
fn passed(rows: &Rows) -> Rows {
    let mut out = Rows::new();
    out.pass(rows, WEIGHTS.name());
    out.pass(rows, APPLIED.name());
    out
}
