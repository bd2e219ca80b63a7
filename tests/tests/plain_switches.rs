//! Plain switches in the network, which Morpheus does not see: no loop, one copy of a broadcast at each host, and a spare cable.

use anyhow::{Context, Result, ensure};
use morph_tests::{Lab, Links, Shape, wait_until};
use std::time::Duration;

/// Number of the host behind the plain switch.
const BEHIND: usize = 9;
/// Number of broadcasts that are counted.
const BROADCASTS: u32 = 20;

/// Number of alarms of a kind.
fn alarms(lab: &Lab, kind: &str) -> Result<usize> {
    let alarms = lab.morpheus()?.morphctl(&["alarms", "--kind", kind])?;
    Ok(alarms["alarms"].as_array().map_or(0, Vec::len))
}

fn wait_alarms(lab: &Lab, kind: &str, count: usize) -> Result<()> {
    let what = format!("{count} alarms {kind}");
    wait_until(&what, Duration::from_secs(20), || {
        Ok((alarms(lab, kind)? == count).then_some(()))
    })
}

/// The host behind the plain switch reaches the others, and each host gets one copy of each broadcast.
fn check_traffic(lab: &Lab) -> Result<()> {
    lab.wait_ping(1, BEHIND)?;
    lab.wait_ping(BEHIND, 2)?;
    lab.check_one_copy_each(&[1, 2, BEHIND], BROADCASTS)
}

/// Cuts or mends all cables of the plain switch.
fn all_cables(lab: &Lab, up: bool) -> Result<()> {
    (1..=3).try_for_each(|cable| lab.plain_cable(cable, up))
}

/// Two linked switches with a host each, and a plain switch with two cables to one and one to the other. At first it passes LLDP on.
#[test]
fn a_plain_switch_makes_no_loop_and_no_link_and_its_spare_cables_take_over() -> Result<()> {
    let lab = Lab::with_router(Shape::line(2).with(Links::Veth), "2.0.0")?;
    lab.wait_ping(1, 2)?;
    lab.add_plain_switch(BEHIND, &[1, 1, 2])?;
    wait_alarms(&lab, "blocked-port", 2)?;
    let ping = lab.ping_continuously(1, 2, 10)?;
    check_traffic(&lab)?;
    let summary = ping.stop()?;
    ensure!(
        summary.lost.is_empty() && summary.duplicates == 0,
        "{summary:?}"
    );
    // The bridge keeps LLDP to itself now, and its ports are found anew.
    all_cables(&lab, false)?;
    wait_alarms(&lab, "blocked-port", 0)?;
    lab.plain_keeps_lldp()?;
    all_cables(&lab, true)?;
    wait_alarms(&lab, "blocked-port", 2)?;
    check_traffic(&lab)?;
    // Two cables of one switch.
    lab.plain_cable(3, false)?;
    wait_alarms(&lab, "blocked-port", 1)?;
    check_traffic(&lab)?;
    for cable in [1, 2] {
        lab.plain_cable(cable, false)?;
        wait_alarms(&lab, "blocked-port", 0)?;
        lab.wait_ping(BEHIND, 1)?;
        lab.plain_cable(cable, true)?;
        wait_alarms(&lab, "blocked-port", 1)?;
    }
    check_traffic(&lab)?;
    lab.finish()
}

/// Two ports of one switch are joined by something that passes no probe, so only the frames themselves show the loop.
#[test]
fn a_loop_that_passes_no_probe_ends_after_a_few_frames() -> Result<()> {
    let lab = Lab::with_router(Shape::single(2).with(Links::Veth), "2.0.0")?;
    lab.wait_ping(1, 2)?;
    let mut relay = lab.relay(1)?;
    wait_until(
        "the relay is between host ports",
        Duration::from_secs(20),
        || {
            let list = ["store", "list", "app=topology", "ports"];
            let ports = lab.morpheus()?.morphctl(&list)?;
            let ports = ports["store"].as_array().context("store")?;
            let of_hosts = ports.iter().map(|row| &row["value"]);
            let of_hosts = of_hosts.filter(|port| port["kind"] == "host");
            let of_relay = of_hosts.filter(|port| port.to_string().contains("relay"));
            Ok((of_relay.count() == 2).then_some(()))
        },
    )?;
    let before = relay.passed()?;
    let unknown = lab.sandbox().host_command("h1", "ping");
    let unknown = { unknown }
        .args(["-c", "1", "-W", "2", "10.0.0.99"])
        .output()?;
    ensure!(!unknown.status.success(), "10.0.0.99 answers");
    let passed = relay.passed()? - before;
    ensure!(
        (1..10).contains(&passed),
        "{passed} frames were passed on, and not a few"
    );
    lab.wait_ping(1, 2)?;
    lab.finish()
}
