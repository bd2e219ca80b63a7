//! Migration between schema 1, which knew no VLANs, and schema 2.
//!
//! ```text
//! schema 1: hosts/MAC = {"dpid": DPID, "port": PORT, "ips": [IP, ...]}
//!           ips/IP    = MAC
//! ```
//!
//! *Up*: the VLAN of a host of schema 1 is not known, and it counts as none. A host whose frames have a tag is learned anew, on
//! its VLAN, with its first frame; its row without a VLAN is forgotten after five idle minutes, as any host is.
//!
//! *Down*: hosts that differ by their VLAN only are one row, as schema 1 has it: at the place on the lowest VLAN, none first,
//! with the addresses of all. An IP address that several VLANs have belongs to its bearer on the lowest one. What a host of
//! schema 1 became comes back as it was, whatever was learned on VLANs since.

use std::collections::BTreeMap;

use morph_sdk::{MacAddr, Migration, MigrationError, Rows, Table, Vlan};

use crate::host_tables::{HOSTS, HostId, IPS, IpKey};
use crate::tables::HostRow;

/// Hosts of schema 1.
pub const OLD_HOSTS: Table<MacAddr, HostRow> = Table::new("hosts");
/// Bearers of schema 1.
pub const OLD_IPS: Table<String, MacAddr> = Table::new("ips");

/// Migration of release 2.0.0.
#[derive(Debug)]
pub struct V1ToV2;

impl Migration for V1ToV2 {
    const OLD: u32 = 1;
    const NEW: u32 = 2;

    fn group_of_old(table: &str, key: &str) -> String {
        format!("{table}/{key}")
    }

    fn group_of_new(table: &str, key: &str) -> String {
        match key.split_once('/') {
            Some((address, _)) if is_by_vlan(table) => format!("{table}/{address}"),
            _ => format!("{table}/{key}"),
        }
    }

    fn up(old: &Rows) -> Result<Rows, MigrationError> {
        let mut new = passed(old);
        old.map_each(&OLD_HOSTS, &mut new, &HOSTS, |mac, host| {
            Ok(Some(((mac, Vlan::NONE), host)))
        })?;
        old.map_each(&OLD_IPS, &mut new, &IPS, |ip, mac| {
            Ok(Some(((ip, Vlan::NONE), mac)))
        })?;
        Ok(new)
    }

    fn down(new: &Rows) -> Result<Rows, MigrationError> {
        let mut old = passed(new);
        let mac = |id: &HostId, _: &HostRow| id.0;
        new.join_by(&HOSTS, &mut old, &OLD_HOSTS, mac, |_, hosts| {
            let mut hosts = by_vlan(hosts).into_values();
            let first = hosts.next();
            let mut host = first.ok_or_else(|| MigrationError::new("a host without a row"))?;
            for ip in hosts.flat_map(|host| host.ips) {
                if !host.ips.contains(&ip) {
                    host.ips.push(ip);
                }
            }
            Ok(host)
        })?;
        let ip = |key: &IpKey, _: &MacAddr| key.0.clone();
        new.join_by(&IPS, &mut old, &OLD_IPS, ip, |_, bearers| {
            let first = by_vlan(bearers).into_values().next();
            first.ok_or_else(|| MigrationError::new("an address without a row"))
        })?;
        Ok(old)
    }
}

/// Rows of one address by VLAN. The order of the keys as text is another one.
fn by_vlan<K, V>(rows: Vec<((K, Vlan), V)>) -> BTreeMap<Vlan, V> {
    rows.into_iter()
        .map(|((_, vlan), row)| (vlan, row))
        .collect()
}

fn is_by_vlan(table: &str) -> bool {
    table == HOSTS.name() || table == IPS.name()
}

/// Rows that both schema versions have.
fn passed(rows: &Rows) -> Rows {
    let others = rows.0.iter().filter(|((table, _), _)| !is_by_vlan(table));
    Rows(
        others
            .map(|(id, value)| (id.clone(), value.clone()))
            .collect(),
    )
}
