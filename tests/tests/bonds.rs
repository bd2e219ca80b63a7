//! A bond without LACP: each host has one copy of each broadcast, also the bond, whichever member it sends by, and no rule changes
//! again and again.

use anyhow::{Context, Result, ensure};
use morph_tests::{Bond, Lab, Links, Ping, Shape, result, wait_until};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);
const BROADCASTS: u32 = 20;
/// Bound of the rules that change once the bonds are found.
const CHANGES: u64 = 20;

/// Bonds that topology has found.
fn found(lab: &Lab) -> Result<usize> {
    let list = ["store", "list", "app=topology", "bonds"];
    let rows = lab.morpheus()?.morphctl(&list)?;
    Ok(rows["store"].as_array().context("store")?.len())
}

fn alarms(lab: &Lab) -> Result<Vec<String>> {
    let alarms = lab.morpheus()?.morphctl(&["alarms"])?;
    let alarms = alarms["alarms"].as_array().context("alarms")?;
    let kinds = alarms.iter().filter_map(|alarm| alarm["kind"].as_str());
    Ok(kinds.map(str::to_owned).collect())
}

/// Number of rules that both apps have changed.
fn changes(lab: &Lab) -> Result<u64> {
    let count = |app: &str| {
        lab.morpheus()?.app(app)?["flow_mods"]
            .as_u64()
            .context("flow_mods")
    };
    Ok(count("topology")? + count("router")?)
}

#[test]
fn bonds_without_lacp_have_one_copy_of_each_broadcast() -> Result<()> {
    let lab = Lab::with_router(Shape::line(2).with(Links::Veth), "3.0.0")?;
    // Both members at one switch, and at two.
    let bonds = [(8, [1, 1]), (9, [1, 2])].map(|(host, to)| Ok((host, lab.add_bond(host, to)?)));
    let bonds: Vec<(usize, Bond)> = bonds.into_iter().collect::<Result<_>>()?;
    bonds
        .iter()
        .try_for_each(|(host, _)| lab.wait_ping(*host, 1))?;
    let pings = bonds
        .iter()
        .map(|(host, _)| lab.ping_continuously(*host, 2, 10));
    let pings: Vec<Ping> = pings.collect::<Result<_>>()?;
    wait_until("topology finds the bonds", DEADLINE, || {
        Ok((found(&lab)? == 2).then_some(()))
    })?;
    let before = changes(&lab)?;
    lab.check_one_copy_each(&[1, 2, 8, 9], BROADCASTS)?;
    let changed = changes(&lab)? - before;
    ensure!(changed < CHANGES, "{changed} rules changed");
    result(
        "bonds/rules changed once two bonds are found",
        changed,
        format!("under {CHANGES}"),
    );
    ensure!(alarms(&lab)? == ["flapping-host"; 2], "{:?}", alarms(&lab)?);
    for ping in pings {
        let ping = ping.stop()?;
        ensure!(ping.received > 100 && ping.duplicates == 0, "{ping:?}");
    }
    wait_until("bonds that are silent are none", DEADLINE, || {
        Ok((found(&lab)? == 0 && alarms(&lab)?.is_empty()).then_some(()))
    })?;
    lab.finish()
}
