//! Migrations from schema version 1, which had no bounds, and from schema version 2, which knew no VLANs.
//!
//! ```text
//! schema 1: macs/DPID/MAC              = PORT
//!           pairs/DPID/SRC/DST         = {"in_port": PORT, "out": PORT}
//! schema 2: macs/DPID/MAC              = [PORT, NUMBER]
//!           order/DPID/PORT/NUMBER/MAC = true
//!           pairs/DPID/SRC/DST         = {"in_port": PORT, "out": PORT}, or null
//!           counts and settings as in schema 3
//! ```
//!
//! *From 1 to 2* each row is mapped by itself: a host with its place in the order, a pair with its opposite. Counts are left out;
//! they are counted anew where they are not there. The way back loses the order, and what is forgotten with it: hosts of schema 1
//! come first, by their addresses.
//!
//! *From 2 to 3* hosts and pairs have no VLAN: those whose frames have a tag are learned anew with their first frame. On the way
//! back a host of several VLANs is the one of the lowest, none first, and so is a pair. Counts stay, and are too high where rows
//! became fewer: the app counts anew when it looks for a host that is not there.

use std::collections::BTreeMap;

use morph_sdk::{Dpid, MacAddr, Migration, MigrationError, Rows, Table, Vlan, group_by};

use crate::one_table::opposite;
use crate::tables::{Host, LIMITS, MACS, Number, ONE_TABLE, ORDER, PAIRS, PORTS, Pair, SWITCHES};

/// Hosts of schema version 1, each with its port.
pub(crate) const OLD_MACS: Table<(Dpid, MacAddr), u32> = Table::new("macs");
/// Pairs of schema version 1, in one direction each.
pub(crate) const OLD_PAIRS: Table<(Dpid, MacAddr, MacAddr), Pair> = Table::new("pairs");
/// Hosts of schema version 2.
pub(crate) const MACS_2: Table<(Dpid, MacAddr), Host> = Table::new("macs");
/// Order of schema version 2.
pub(crate) const ORDER_2: Table<(Dpid, u32, (Number, MacAddr)), bool> = Table::new("order");
/// Pairs of schema version 2.
pub(crate) const PAIRS_2: Table<(Dpid, MacAddr, MacAddr), Option<Pair>> = Table::new("pairs");

/// Migration between schema versions 1 and 2.
#[derive(Debug)]
pub(crate) struct V1ToV2;

/// Group of a row of schema version 1 or 2: a host, a pair in either direction, or the row alone.
fn group(table: &str, key: &str) -> String {
    let row = (table, key);
    group_by(&MACS_2, row, host_group)
        .or_else(|| group_by(&ORDER_2, row, |(dpid, _, (_, mac))| host_group((dpid, mac))))
        .or_else(|| group_by(&PAIRS_2, row, |(dpid, src, dst)| pair_group(dpid, src, dst)))
        .unwrap_or_else(|| format!("{table}/{key}"))
}

/// Group of a row of schema version 3: as before, with all VLANs.
fn group_of_vlans(table: &str, key: &str) -> String {
    let row = (table, key);
    group_by(&MACS, row, |(dpid, mac, _)| host_group((dpid, mac)))
        .or_else(|| {
            group_by(&ORDER, row, |(dpid, _, (_, (mac, _)))| {
                host_group((dpid, mac))
            })
        })
        .or_else(|| {
            group_by(&PAIRS, row, |(dpid, src, (dst, _))| {
                pair_group(dpid, src, dst)
            })
        })
        .unwrap_or_else(|| format!("{table}/{key}"))
}

fn host_group((dpid, mac): (Dpid, MacAddr)) -> String {
    format!("host/{dpid}/{mac}")
}

fn pair_group(dpid: Dpid, src: MacAddr, dst: MacAddr) -> String {
    format!("pair/{dpid}/{}/{}", src.min(dst), src.max(dst))
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
            new.put(&MACS_2, &(dpid, mac), &Host(port, number))?;
            new.put(&ORDER_2, &(dpid, port, (number, mac)), &true)?;
        }
        for (key, pair) in old.of(&OLD_PAIRS)? {
            new.put(&PAIRS_2, &key, &Some(pair))?;
            let (dpid, src, dst) = key;
            let opposite = opposite((dpid, src, (dst, Vlan::NONE)));
            if let Some((dpid, src, (dst, _))) = opposite
                && old.get(&OLD_PAIRS, &(dpid, src, dst))?.is_none()
            {
                new.put(&PAIRS_2, &(dpid, src, dst), &None)?;
            }
        }
        Ok(new)
    }

    fn down(new: &Rows) -> Result<Rows, MigrationError> {
        let mut old = Rows::new();
        old.pass(new, LIMITS.name());
        new.map_each(&MACS_2, &mut old, &OLD_MACS, |key, host| {
            Ok(Some((key, host.port())))
        })?;
        new.map_each(&PAIRS_2, &mut old, &OLD_PAIRS, |key, pair| {
            Ok(pair.map(|pair| (key, pair)))
        })?;
        Ok(old)
    }
}

/// Migration between schema versions 2 and 3.
#[derive(Debug)]
pub(crate) struct V2ToV3;

impl Migration for V2ToV3 {
    const OLD: u32 = 2;
    const NEW: u32 = 3;

    fn group_of_old(table: &str, key: &str) -> String {
        group(table, key)
    }

    fn group_of_new(table: &str, key: &str) -> String {
        group_of_vlans(table, key)
    }

    fn up(old: &Rows) -> Result<Rows, MigrationError> {
        let mut new = passed(old);
        old.map_each(&MACS_2, &mut new, &MACS, |(dpid, mac), host| {
            Ok(Some(((dpid, mac, Vlan::NONE), host)))
        })?;
        old.map_each(
            &ORDER_2,
            &mut new,
            &ORDER,
            |(dpid, port, (number, mac)), _| {
                Ok(Some(((dpid, port, (number, (mac, Vlan::NONE))), true)))
            },
        )?;
        old.map_each(&PAIRS_2, &mut new, &PAIRS, |(dpid, src, dst), pair| {
            Ok(Some(((dpid, src, (dst, Vlan::NONE)), pair)))
        })?;
        Ok(new)
    }

    fn down(new: &Rows) -> Result<Rows, MigrationError> {
        let mut old = passed(new);
        let mut lowest = BTreeMap::new();
        for ((dpid, mac, vlan), host) in new.of(&MACS)? {
            let lowest = lowest.entry((dpid, mac)).or_insert((vlan, host));
            if vlan < lowest.0 {
                *lowest = (vlan, host);
            }
        }
        for ((dpid, mac), (_, host)) in lowest {
            old.put(&MACS_2, &(dpid, mac), &host)?;
            let place = (dpid, host.port(), (host.number(), mac));
            old.put(&ORDER_2, &place, &true)?;
        }
        let mut lowest = BTreeMap::new();
        for ((dpid, src, (dst, vlan)), _) in new.of(&PAIRS)? {
            let lowest = lowest
                .entry((dpid, src.min(dst), src.max(dst)))
                .or_insert(vlan);
            *lowest = vlan.min(*lowest);
        }
        new.map_each(
            &PAIRS,
            &mut old,
            &PAIRS_2,
            |(dpid, src, (dst, vlan)), pair| {
                let is_lowest = lowest.get(&(dpid, src.min(dst), src.max(dst))) == Some(&vlan);
                Ok(is_lowest.then_some(((dpid, src, dst), pair)))
            },
        )?;
        Ok(old)
    }
}

/// Rows that schema versions 2 and 3 have both.
fn passed(rows: &Rows) -> Rows {
    let mut out = Rows::new();
    for table in [
        LIMITS.name(),
        ONE_TABLE.name(),
        PORTS.name(),
        SWITCHES.name(),
    ] {
        out.pass(rows, table);
    }
    out
}
