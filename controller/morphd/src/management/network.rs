//! Links and hosts of the network, read from the tables of the topology app as its documentation describes them.

use std::collections::BTreeMap;

use morph_api::management::{Host, Link};
use morph_api::store::RowValue;
use morph_openflow::Vlan;
use serde::Deserialize;

#[derive(Deserialize)]
struct LinkRow {
    dpid: String,
    port: u32,
}

#[derive(Deserialize)]
struct HostRow {
    dpid: String,
    port: u32,
    #[serde(default)]
    ips: Vec<String>,
}

/// Reads the rows `links/DPID/PORT = {"dpid", "port"}`, one for each direction, and skips malformed ones.
pub(super) fn links(rows: &[RowValue]) -> Vec<Link> {
    let links = rows.iter().filter_map(|row| {
        let (dpid, port) = row.key.split_once('/')?;
        let to: LinkRow = serde_json::from_str(row.value.as_deref()?).ok()?;
        Some(Link {
            from_dpid: dpid.to_owned(),
            from_port: port.parse().ok()?,
            to_dpid: to.dpid,
            to_port: to.port,
        })
    });
    // Sorted by port number; the store sorts keys as texts.
    let ordered: BTreeMap<_, _> = links
        .map(|link| ((link.from_dpid.clone(), link.from_port), link))
        .collect();
    ordered.into_values().collect()
}

/// Reads the rows `hosts/MAC/VLAN = {"dpid", "port", "ips"}` and skips malformed ones. Releases of topology before 2.0.0 have
/// `hosts/MAC`.
pub(super) fn hosts(rows: &[RowValue]) -> Vec<Host> {
    let hosts = rows.iter().filter_map(|row| {
        let at: HostRow = serde_json::from_str(row.value.as_deref()?).ok()?;
        let (mac, vlan) = match row.key.split_once('/') {
            Some((mac, vlan)) => (mac, vlan.parse().ok()?),
            None => (row.key.as_str(), Vlan::NONE),
        };
        Some(Host {
            mac: mac.to_owned(),
            vlan: vlan.vid().into(),
            dpid: at.dpid,
            port: at.port,
            ips: at.ips,
        })
    });
    hosts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, value: &str) -> RowValue {
        RowValue {
            key: key.into(),
            value: Some(value.into()),
            ..RowValue::default()
        }
    }

    #[test]
    fn malformed_rows_are_skipped() {
        let links = links(&[
            row(
                "0000000000000001/10",
                r#"{"dpid": "0000000000000003", "port": 1}"#,
            ),
            row(
                "0000000000000001/2",
                r#"{"dpid": "0000000000000002", "port": 1}"#,
            ),
            row("0000000000000001/x", "{}"),
        ]);
        let ports: Vec<u32> = links.iter().map(|link| link.from_port).collect();
        assert_eq!(ports, [2, 10]);
        let at = r#"{"dpid": "01", "port": 3, "ips": ["10.0.0.1"]}"#;
        let keys = ["a", "b/none", "b/10", "b/0", "b/x"];
        let hosts = hosts(&keys.map(|key| row(key, at)));
        assert_eq!(hosts[0].ips, ["10.0.0.1"]);
        let found = hosts.iter().map(|host| (host.mac.as_str(), host.vlan));
        assert_eq!(found.collect::<Vec<_>>(), [("a", 0), ("b", 0), ("b", 10)]);
    }
}
