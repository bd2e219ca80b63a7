//! Floods of source addresses through Open vSwitch: no link is lost, no other host is disturbed, and topology keeps its bounds.

use anyhow::{Context, Result, ensure};
use morph_tests::{Lab, Shape, result, wait_until};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Time for which addresses are sent: a link whose probes were lost would be gone after some four seconds.
const FLOOD: Duration = Duration::from_secs(12);
/// Addresses sent at a time.
const ADDRESSES: u32 = 20_000;
const DEADLINE: Duration = Duration::from_secs(60);
/// Product's default of the hosts that a port may have.
const HOSTS_PER_PORT: usize = 1000;

fn rows(lab: &Lab, table: &str) -> Result<Vec<Value>> {
    let list = ["store", "list", "app=topology", table, "--limit", "100000"];
    let list = lab.morpheus()?.morphctl(&list)?;
    list["store"].as_array().cloned().context("store")
}

/// Number of hosts at port 1 of switch 1, where the flood comes in.
fn hosts_at_flood(lab: &Lab) -> Result<usize> {
    let hosts = rows(lab, "hosts")?.into_iter();
    let there = hosts.filter(|row| {
        let host = &row["value"];
        host["dpid"] == "0000000000000001" && host["port"] == 1
    });
    Ok(there.count())
}

#[test]
fn a_flood_of_addresses_at_one_port_drops_no_link_and_disturbs_no_other_host() -> Result<()> {
    let hosts = vec![1, 1, 2];
    let shape = Shape {
        hosts,
        ..Shape::line(2)
    };
    let lab = Lab::with_router(shape, "2.0.0")?;
    // A row that is deleted and put again has another revision.
    let links = rows(&lab, "links")?;
    ensure!(links.len() == 2, "{links:?}");
    let ping = lab.ping_continuously(2, 3, 20)?;
    let begin = Instant::now();
    let mut sent = 0;
    while begin.elapsed() < FLOOD {
        lab.flood_from_addresses(1, 3, ADDRESSES)?;
        sent += ADDRESSES;
    }
    let rate = f64::from(sent) / begin.elapsed().as_secs_f64();
    result("floods/addresses a second", format!("{rate:.0}"), "");
    let app = lab.morpheus()?.app("topology")?;
    result("floods/events answered by topology", &app["answered"], "");
    result("floods/events dropped", &app["lost"], "");
    let alarms = ["alarms", "--kind", "host-limit"];
    let raised = wait_until("topology refuses hosts", DEADLINE, || {
        let list = lab.morpheus()?.morphctl(&alarms)?;
        let list = list["alarms"].as_array().context("alarms")?;
        Ok((list.len() == 1).then(|| list[0].clone()))
    })?;
    ensure!(raised["port"] == 1, "{raised}");
    ensure!(hosts_at_flood(&lab)? <= HOSTS_PER_PORT, "too many hosts");
    let now = rows(&lab, "links")?;
    ensure!(now == links, "links before: {links:?}, now: {now:?}");
    let ping = ping.stop()?;
    result("floods/pings lost", ping.lost.len(), "");
    ensure!(ping.lost.is_empty(), "{ping:?}");
    ensure!(lab.ping_all()?.is_empty(), "hosts do not reach each other");
    lab.finish()
}
