//! The order of the apps is changed, and room is made for another one, on running switches: nothing is lost.

use anyhow::{Context, Result, ensure};
use morph_tests::{Bundle, LOST_AFTER, Lab, Shape, Switches, bundle_dir, touched, wait_until};
use serde_json::Value;
use std::time::Duration;

/// Moves back and forth under traffic.
const ROUNDS: usize = 4;
const DEADLINE: Duration = Duration::from_secs(30);
/// App ids in the cookies of their rules.
const LEARNING_SWITCH: u8 = 1;
const TOPOLOGY: u8 = 2;
const LEDGER: u8 = 9;

/// Apps in the order of the pipeline, each with its first table.
fn order(lab: &Lab) -> Result<Vec<(String, u64)>> {
    let listed = lab.morpheus()?.morphctl(&["pipeline"])?;
    let apps = listed["pipeline"].as_array().context("pipeline")?;
    let app = |app: &Value| {
        let name = app["app"].as_str()?;
        Some((name.to_owned(), app["first_table"].as_u64()?))
    };
    apps.iter().map(|a| app(a).context("a row")).collect()
}

fn names(lab: &Lab) -> Result<Vec<String>> {
    Ok(order(lab)?.into_iter().map(|(name, _)| name).collect())
}

/// Tables in which an app has rules.
fn tables(lab: &Lab, app: u8) -> Result<Vec<u8>> {
    let mut tables: Vec<u8> = lab.rules(app)?.keys().map(|(_, key)| key.table).collect();
    tables.sort_unstable();
    tables.dedup();
    // topology's rule for LLDP is in table 0.
    tables.retain(|table| *table != 0);
    Ok(tables)
}

/// Number of hosts that learning-switch knows.
fn hosts(lab: &Lab) -> Result<usize> {
    let list = ["store", "list", "app=learning-switch", "macs"];
    let rows = lab.morpheus()?.morphctl(&list)?;
    Ok(rows["store"].as_array().context("store")?.len())
}

fn start_ledger(lab: &Lab) -> Result<()> {
    let manifest = morph_tests::repository().join("apps/ledger/bundles/1.0.0/app.toml");
    let program = morph_tests::bin("examples/ledger-1")?;
    let bundle = Bundle::assemble(&manifest, &program, lab.dir(), "ledger")?;
    let morpheus = lab.morpheus()?;
    morpheus.morphctl(&["app", "install", bundle.path()?])?;
    morpheus.morphctl(&["app", "start", "ledger"])?;
    morpheus.wait_running("ledger", None)?;
    Ok(())
}

#[test]
fn the_order_changes_under_traffic_and_nothing_is_lost_or_forgotten() -> Result<()> {
    let apps = ["--app", "topology", "--app", "learning-switch"];
    let lab = Lab::with_morpheus(Shape::single(3), &apps)?;
    let morpheus = lab.morpheus()?;
    for app in ["topology", "learning-switch"] {
        morpheus.wait_running(app, None)?;
    }
    // Rules of hosts that are silent end soon, also those in tables that packets do not pass.
    morpheus.morphctl(&[
        "config",
        "set",
        "app=learning-switch",
        "limits.idle-seconds=3",
    ])?;
    start_ledger(&lab)?;
    // The ledger keeps what comes by port 1.
    lab.wait_ping(2, 3)?;
    let before = ["topology", "learning-switch", "ledger"];
    ensure!(names(&lab)? == before, "{:?}", order(&lab)?);
    let topology = lab.rules(TOPOLOGY)?;
    let connects = lab.ovs().connects();
    let _echo = lab.echo(3)?;
    let ping = lab.ping_continuously(2, 3, 1)?;
    let flows = lab.new_flows(2, 3, 2.0, 0, LOST_AFTER)?;
    for place in ["before=learning-switch", "after=learning-switch"].repeat(ROUNDS) {
        let known = hosts(&lab)?;
        morpheus.morphctl(&["pipeline", "move", "app=ledger", place])?;
        let is_first = place.starts_with("before");
        let order = order(&lab)?;
        ensure!((order[1].0 == "ledger") == is_first, "{order:?}");
        let listed = morpheus.morphctl(&["pipeline"])?;
        let moving = |app: &Value| app["second_table"] != 0;
        let apps = listed["pipeline"].as_array().context("pipeline")?;
        ensure!(!apps.iter().any(moving), "{listed}");
        let first = |name: &str| {
            order
                .iter()
                .find(|(app, _)| app == name)
                .map(|(_, first)| *first as u8)
        };
        let own = first("learning-switch").context("learning-switch")?;
        ensure!(
            tables(&lab, LEARNING_SWITCH)? == [own, own + 1],
            "{order:?}"
        );
        ensure!(
            tables(&lab, LEDGER)? == [first("ledger").context("ledger")?],
            "{order:?}"
        );
        // Hosts of finished flows are silent, and forgotten in their time; those of the pings are not.
        ensure!(
            hosts(&lab)? >= known.min(2),
            "{known} hosts were known, and now {}",
            hosts(&lab)?
        );
    }
    let summary = ping.stop()?;
    ensure!(
        summary.lost.is_empty() && summary.duplicates == 0,
        "{summary:?}"
    );
    let summary = flows.stop()?;
    ensure!(summary.lost == 0 && summary.ok > 100, "{summary:?}");
    let (touched, in_both) = touched(&topology, &lab.rules(TOPOLOGY)?);
    ensure!(
        touched.is_empty() && in_both == topology.len(),
        "{touched:?}"
    );
    ensure!(
        lab.ovs().connects() == connects,
        "the switch was disconnected"
    );
    lab.finish()
}

#[test]
fn an_app_that_comes_before_another_one_gets_room() -> Result<()> {
    let mut lab = Lab::new(Shape::none())?;
    lab.start_morpheus(&["--app", "router"])?;
    let morpheus = lab.morpheus()?;
    morpheus.wait_running("router", None)?;
    let switches = Switches::start_with(lab.sandbox(), 1, |_, datapath| datapath.set_tables(8))?;
    morpheus.wait_switches(1)?;
    let topology = bundle_dir("topology-2.0.0")?;
    morpheus.morphctl(&["app", "install", topology.to_str().context("UTF-8")?])?;
    // router has to leave table 1, and its exit is in use as well.
    morpheus.morphctl(&["app", "start", "topology"])?;
    morpheus.wait_running("topology", None)?;
    let order = order(&lab)?;
    ensure!(
        order[0].0 == "topology" && order[1].0 == "router",
        "{order:?}"
    );
    wait_until(
        "each app has its rules in its tables only",
        DEADLINE,
        || {
            let first = |at: usize| order[at].1 as u8;
            let used: Vec<u8> = (1..8)
                .filter(|table| !switches.rules(1, *table).is_empty())
                .collect();
            let wanted = [first(0), first(0) + 1, first(1), first(1) + 1];
            Ok(wanted
                .iter()
                .all(|table| used.contains(table))
                .then_some(()))
        },
    )?;
    let listed = morpheus.morphctl(&["switches"])?;
    ensure!(listed["switches"][0]["errors"] == 0, "{listed}");
    switches.check_no_disconnects()?;
    // topology asks for nothing, and router for topology before it.
    let refused = morpheus.try_morphctl(&["pipeline", "move", "app=topology", "after=router"])?;
    ensure!(
        refused.code == 1 && refused.stderr.contains("asks to come after topology"),
        "{refused:?}"
    );
    switches.stop()?;
    lab.finish()
}

#[test]
fn a_move_is_refused_where_a_switch_has_no_room_or_an_upgrade_is_under_way() -> Result<()> {
    let mut lab = Lab::new(Shape::none())?;
    lab.start_morpheus(&["--app", "learning-switch"])?;
    start_ledger(&lab)?;
    let morpheus = lab.morpheus()?;
    let small = Switches::start_with(lab.sandbox(), 1, |_, datapath| datapath.set_tables(9))?;
    morpheus.wait_switches(1)?;
    let to_front = ["pipeline", "move", "app=ledger", "before=learning-switch"];
    let refused = morpheus.try_morphctl(&to_front)?;
    let why = "a switch needs 10 tables, and switch 0000000000000001 has 9";
    ensure!(
        refused.code == 1 && refused.stderr.contains(why),
        "{refused:?}"
    );
    ensure!(
        names(&lab)? == ["learning-switch", "ledger"],
        "{:?}",
        order(&lab)?
    );
    small.stop()?;
    wait_until("the switch is gone", DEADLINE, || {
        let listed = morpheus.morphctl(&["switches"])?;
        Ok((listed["switches"] == serde_json::json!([])).then_some(()))
    })?;
    let newer =
        Bundle::copy("learning-switch-1.2.0", lab.dir(), "newer")?.set("version", "\"1.2.1\"")?;
    morpheus.morphctl(&["app", "install", newer.path()?])?;
    morpheus.morphctl(&[
        "upgrade",
        "app=learning-switch",
        "--probation",
        "60s",
        "--no-wait",
    ])?;
    let refused = morpheus.try_morphctl(&to_front)?;
    ensure!(
        refused.code == 1 && refused.stderr.contains("learning-switch is being upgraded"),
        "{refused:?}"
    );
    morpheus.morphctl(&["rollback", "app=learning-switch"])?;
    let behind = Bundle::copy("learning-switch-1.2.0", lab.dir(), "behind")?
        .set("version", "\"1.2.2\"")?
        .set("after", "[\"ledger\"]")?;
    morpheus.morphctl(&["app", "install", behind.path()?])?;
    let refused = morpheus.try_morphctl(&["upgrade", "app=learning-switch@1.2.2"])?;
    let mend = "pipeline move app=learning-switch after=ledger";
    ensure!(
        refused.code == 1 && refused.stderr.contains(mend),
        "{refused:?}"
    );
    morpheus.morphctl(&to_front)?;
    ensure!(
        names(&lab)? == ["ledger", "learning-switch"],
        "{:?}",
        order(&lab)?
    );
    lab.finish()
}
