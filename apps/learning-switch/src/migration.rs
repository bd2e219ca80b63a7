//! Migration from schema version 1, which had no bounds.
//!
//! ```text
//! schema 1: macs/DPID/MAC      = PORT
//!           pairs/DPID/SRC/DST = {"in_port": PORT, "out": PORT}
//! ```
//!
//! Each row is mapped by itself: a host with its place in the order, a pair with its opposite. Counts are left out; they are
//! counted anew where they are not there. The way back loses the order, and what is forgotten with it: hosts of schema 1 come
//! first, by their addresses.

use morph_sdk::{Dpid, MacAddr, Migration, MigrationError, Rows, Table, group_by};

use crate::one_table::opposite;
use crate::tables::{Host, LIMITS, MACS, Number, ORDER, PAIRS, Pair};

/// Hosts of schema version 1, each with its port.
pub(crate) const OLD_MACS: Table<(Dpid, MacAddr), u32> = Table::new("macs");
/// Pairs of schema version 1, in one direction each.
pub(crate) const OLD_PAIRS: Table<(Dpid, MacAddr, MacAddr), Pair> = Table::new("pairs");

/// Migration of release 1.1.0.
#[derive(Debug)]
pub(crate) struct V1ToV2;

/// Group of a row, in both schema versions: a host, a pair in either direction, or the row alone.
fn group(table: &str, key: &str) -> String {
    let row = (table, key);
    let host = |(dpid, mac): (Dpid, MacAddr)| format!("host/{dpid}/{mac}");
    group_by(&MACS, row, host)
        .or_else(|| group_by(&ORDER, row, |(dpid, _, (_, mac))| host((dpid, mac))))
        .or_else(|| {
            group_by(&PAIRS, row, |(dpid, src, dst)| {
                format!("pair/{dpid}/{}/{}", src.min(dst), src.max(dst))
            })
        })
        .unwrap_or_else(|| format!("{table}/{key}"))
}

impl Migration for V1ToV2 {
    const OLD: u32 = 1;
    const NEW: u32 = 2;

    fn group_of_old(table: &str, key: &str) -> String {
        group(table, key)
    }

    fn group_of_new(table: &str, key: &str) -> String {
        group(table, key)
    }

    fn up(old: &Rows) -> Result<Rows, MigrationError> {
        let mut new = Rows::new();
        new.pass(old, LIMITS.name());
        for ((dpid, mac), port) in old.of(&OLD_MACS)? {
            let number = Number::of_old(mac);
            new.put(&MACS, &(dpid, mac), &Host(port, number))?;
            new.put(&ORDER, &(dpid, port, (number, mac)), &true)?;
        }
        for (key, pair) in old.of(&OLD_PAIRS)? {
            new.put(&PAIRS, &key, &Some(pair))?;
            if let Some(opposite) = opposite(key)
                && old.get(&OLD_PAIRS, &opposite)?.is_none()
            {
                new.put(&PAIRS, &opposite, &None)?;
            }
        }
        Ok(new)
    }

    fn down(new: &Rows) -> Result<Rows, MigrationError> {
        let mut old = Rows::new();
        old.pass(new, LIMITS.name());
        new.map_each(&MACS, &mut old, &OLD_MACS, |key, host| {
            Ok(Some((key, host.port())))
        })?;
        new.map_each(&PAIRS, &mut old, &OLD_PAIRS, |key, pair| {
            Ok(pair.map(|pair| (key, pair)))
        })?;
        Ok(old)
    }
}
