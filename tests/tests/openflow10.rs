//! A switch that speaks only OpenFlow 1.0, with one table, under learning-switch.

use anyhow::{Context, Result, ensure};
use morph_tests::{Lab, Rules, Shape, wait_until};
use std::time::Duration;

const APP: &str = "learning-switch";
/// App id in the cookies of its rules.
const ID: u8 = 1;

fn shape(protocols: Option<&'static str>) -> Shape {
    Shape {
        protocols,
        ..Shape::single(3)
    }
}

fn lab(protocols: Option<&'static str>) -> Result<Lab> {
    let lab = Lab::with_morpheus(shape(protocols), &["--app", APP])?;
    lab.morpheus()?.wait_running(APP, None)?;
    Ok(lab)
}

fn logs(lab: &Lab) -> String {
    lab.logs().into_iter().map(|(_, text)| text).collect()
}

fn version(lab: &Lab) -> Result<String> {
    let switches = lab.morpheus()?.wait_switches(1)?;
    let version = switches["switches"][0]["openflow"].as_str();
    Ok(version.with_context(|| switches.to_string())?.to_owned())
}

#[test]
fn hosts_reach_each_other_in_every_version() -> Result<()> {
    for (protocols, spoken) in [
        (Some("OpenFlow10"), "1.0"),
        (Some("OpenFlow10,OpenFlow12"), "1.0"),
        (None, "1.3"),
    ] {
        let lab = lab(protocols)?;
        lab.wait_ping(1, 2)?;
        let failed = lab.ping_all()?;
        ensure!(failed.is_empty(), "{protocols:?}: {failed:?}");
        let summary = lab.ping(1, 2, 10, 100)?.finish()?;
        ensure!(
            summary.lost.is_empty() && summary.duplicates == 0,
            "{protocols:?}: {summary:?}"
        );
        ensure!(
            version(&lab)? == spoken,
            "{protocols:?}: {}",
            version(&lab)?
        );
        let refused = logs(&lab).lines().any(|line| line.contains("not sent:"));
        ensure!(
            !refused,
            "a message could not be translated to OpenFlow 1.0"
        );
        lab.finish()?;
    }
    Ok(())
}

/// Numbers of rules that send to the controller, and of those for pairs of hosts. All others flood.
fn counts(rules: &Rules) -> (usize, usize) {
    let count = |part: fn(&str) -> bool| {
        let actions = rules.values().map(|(flow, _)| flow.actions.as_str());
        actions.filter(|actions| part(actions)).count()
    };
    let to_controller = count(|actions| actions.to_uppercase().contains("CONTROLLER"));
    let flood = count(|actions| actions.to_uppercase().contains("FLOOD"));
    (to_controller, rules.len() - to_controller - flood)
}

#[test]
fn a_killed_app_keeps_its_rules() -> Result<()> {
    let lab = lab(Some("OpenFlow10"))?;
    lab.wait_ping(1, 2)?;
    let failed = lab.ping_all()?;
    ensure!(failed.is_empty(), "{failed:?}");
    // One rule that sends to the controller, six for pairs of hosts, and others that flood packets to group addresses,
    // all in one table.
    let before = wait_until("all rules are installed", Duration::from_secs(5), || {
        let rules = lab.rules(ID)?;
        Ok((counts(&rules) == (1, 6)).then_some(rules))
    })?;
    ensure!(before.keys().all(|(_, key)| key.table == 0), "{before:?}");
    let ping = lab.ping_continuously(1, 2, 1)?;
    for _ in 0..3 {
        let pid = lab.morpheus()?.app(APP)?["pid"].as_u64().context("pid")? as u32;
        lab.process(APP)?.kill()?;
        lab.morpheus()?.wait_running(APP, Some(pid))?;
    }
    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    let after = lab.rules(ID)?;
    ensure!(counts(&after) == (1, 6), "{after:?}");
    for (key, (_, added)) in &before {
        let (_, again) = after
            .get(key)
            .with_context(|| format!("{key:?} is missing"))?;
        let moved = again.saturating_duration_since(*added);
        ensure!(
            moved < Duration::from_millis(300),
            "{key:?} was added again, {moved:?} later"
        );
    }
    lab.finish()
}

#[test]
fn a_flood_of_addresses_is_bounded_with_its_rules() -> Result<()> {
    const BOUND: usize = 50;
    let lab = lab(Some("OpenFlow10"))?;
    let bound = format!("limits.hosts-per-port={BOUND}");
    let morpheus = lab.morpheus()?;
    morpheus.morphctl(&["config", "set", "app=learning-switch", &bound])?;
    lab.set_static_arp()?;
    lab.wait_ping(1, 2)?;
    let ping = lab.ping_continuously(1, 2, 5)?;
    lab.send_from_addresses(3, 1, 500)?;
    // The last one has a rule: all are handled.
    let rules = wait_until("the flood is handled", Duration::from_secs(20), || {
        let rules = lab.rules(ID)?;
        let last = |key: &str| key.contains("02:99:00:00:01:f3");
        let found = rules.keys().any(|(_, key)| last(&format!("{key:?}")));
        Ok(found.then_some(rules))
    })?;
    // One rule that sends to the controller, two of the hosts that ping, and one of each address that is known.
    ensure!(rules.len() == 1 + 2 + BOUND, "{}: {rules:?}", rules.len());
    let hosts = morpheus.morphctl(&["store", "list", "app=learning-switch", "macs"])?;
    let hosts = hosts["store"].as_array().context("store")?;
    ensure!(hosts.len() == BOUND + 2, "{hosts:?}");
    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    let failed = lab.ping_all()?;
    ensure!(failed.is_empty(), "{failed:?}");
    lab.finish()
}

#[test]
fn a_second_app_on_one_table_is_refused_with_a_reason() -> Result<()> {
    let mut lab = Lab::new(shape(Some("OpenFlow10")))?;
    lab.start_morpheus(&["--app", APP, "--app", "topology"])?;
    lab.attach()?;
    let words =
        "whose only table has room for one app, but these are present: topology, learning-switch";
    wait_until("the refusal is logged", Duration::from_secs(15), || {
        Ok(logs(&lab).contains(words).then_some(()))
    })?;
    let switches = lab.morpheus()?.morphctl(&["switches"])?;
    ensure!(
        switches["switches"].as_array().is_none_or(Vec::is_empty),
        "{switches}"
    );
    lab.finish()
}
