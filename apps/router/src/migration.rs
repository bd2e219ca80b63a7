//! Migrations between schema 1, a tree in one row, schema 2, a row for each switch of a tree, and schema 3, which has the trees
//! of each VLAN. Weights stay as they are.

use std::collections::BTreeMap;

use morph_sdk::{Migration, MigrationError, Rows, Vlan};

use crate::release::{HOPS, Hop, TREES, VLAN_HOPS};
use crate::tables::{APPLIED, WEIGHTS};

/// Migration between schema 1 and 2.
#[derive(Debug)]
pub struct V1ToV2;

/// Group of a destination's rows, in all schema versions. All VLANs of an address are one group.
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
        group_of_hops(table, key)
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

/// Migration between schema 2 and 3.
///
/// *Up*: paths lead to hosts without a VLAN, as topology's do. *Down*: of an address on several VLANs those of the lowest stay,
/// which is where topology's schema 1 has the host.
#[derive(Debug)]
pub struct V2ToV3;

impl Migration for V2ToV3 {
    const OLD: u32 = 2;
    const NEW: u32 = 3;

    fn group_of_old(table: &str, key: &str) -> String {
        group_of_hops(table, key)
    }

    fn group_of_new(table: &str, key: &str) -> String {
        group_of_hops(table, key)
    }

    fn up(old: &Rows) -> Result<Rows, MigrationError> {
        let mut new = passed(old);
        old.map_each(&HOPS, &mut new, &VLAN_HOPS, |(mac, dpid), hop| {
            Ok(Some(((mac, Vlan::NONE, dpid), hop)))
        })?;
        Ok(new)
    }

    fn down(new: &Rows) -> Result<Rows, MigrationError> {
        let mut old = passed(new);
        let mut lowest = BTreeMap::new();
        for ((mac, vlan, _), _) in new.of(&VLAN_HOPS)? {
            let lowest = lowest.entry(mac).or_insert(vlan);
            *lowest = vlan.min(*lowest);
        }
        new.map_each(&VLAN_HOPS, &mut old, &HOPS, |(mac, vlan, dpid), hop| {
            Ok((lowest.get(&mac) == Some(&vlan)).then_some(((mac, dpid), hop)))
        })?;
        Ok(old)
    }
}

fn group_of_hops(table: &str, key: &str) -> String {
    match key.split_once('/') {
        Some((destination, _)) if table == HOPS.name() => path_to(destination),
        _ => format!("{table}/{key}"),
    }
}

/// Rows that all schema versions have.
fn passed(rows: &Rows) -> Rows {
    let mut out = Rows::new();
    out.pass(rows, WEIGHTS.name());
    out.pass(rows, APPLIED.name());
    out
}
