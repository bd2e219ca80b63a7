//! Alarms of apps, as operators see them: they last over upgrades, changes of the schema and crashes, and end with their reason.

use anyhow::{Context, Result, ensure};
use morph_tests::{Bundle, Lab, LedgerLab, METRICS, Metrics, Shape, wait_until};
use serde_json::Value;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);
/// Source addresses, more than topology's limit of hosts.
const ADDRESSES: u32 = 11_000;

/// Alarms of an app, as `morphctl alarms` lists them.
fn alarms(lab: &Lab, app: &str) -> Result<Vec<Value>> {
    let list = lab
        .morpheus()?
        .morphctl(&["alarms", &format!("app={app}")])?;
    list["alarms"].as_array().cloned().context("alarms")
}

/// Waits until the app has one alarm, of this kind.
fn wait_alarm(lab: &Lab, app: &str, kind: &str) -> Result<Value> {
    wait_until(&format!("{app} has an alarm {kind}"), DEADLINE, || {
        let alarms = alarms(lab, app)?;
        let one = alarms.len() == 1 && alarms[0]["kind"] == kind;
        Ok(one.then(|| alarms[0].clone()))
    })
}

fn wait_none(lab: &Lab, app: &str) -> Result<()> {
    wait_until(&format!("{app} has no alarm"), DEADLINE, || {
        Ok(alarms(lab, app)?.is_empty().then_some(()))
    })
}

/// Checks that the doctor and the metrics name the alarm, or do not.
fn check_elsewhere(lab: &Lab, app: &str, kind: &str, is_raised: bool) -> Result<()> {
    let doctor = lab.morpheus()?.try_morphctl(&["doctor"])?.json()?;
    let checks = doctor["checks"].as_array().context("checks")?;
    let named = format!("{app} {kind}");
    let is_it = |check: &&Value| {
        check["found"]
            .as_str()
            .is_some_and(|found| found.starts_with(&named))
    };
    let found = checks.iter().find(is_it);
    let is_warning = |check: &Value| check["state"] == "warning" && check["mend"] != "";
    ensure!(found.is_some_and(is_warning) == is_raised, "{doctor}");
    let page = Metrics::read(lab)?;
    let sample = format!("morpheus_alarms{{app=\"{app}\",kind=\"{kind}\"}}");
    let wanted = is_raised.then_some(1.0);
    ensure!(page.value(&sample) == wanted, "{sample}: {}", page.text());
    Ok(())
}

/// Checks that the app's instances have logged one beginning and one end.
fn check_log(lab: &Lab, app: &str, kind: &str) -> Result<()> {
    let log = lab
        .morpheus()?
        .morphctl(&["logs", &format!("app={app}"), "--tail", "10000"])?;
    let log = log.to_string();
    for word in ["began", "ended"] {
        let lines = log.matches(&format!("alarm {kind}")).count();
        ensure!(lines == 2, "{lines} lines about {kind}: {log}");
        ensure!(log.contains(word), "{word}: {log}");
    }
    Ok(())
}

fn upgrade(lab: &Lab, release: &str) -> Result<()> {
    let release = format!("app={release}");
    // A target without events would have an alarm of its own.
    let probation = ["--probation", "500ms", "--min-events", "0"];
    lab.morpheus()?
        .morphctl(&[&["upgrade", &release], &probation[..]].concat())?;
    Ok(())
}

#[test]
fn an_alarm_outlives_changes_of_the_schema_and_a_crash_and_ends_with_its_reason() -> Result<()> {
    const KIND: &str = "too-many-flows";
    let ledger = LedgerLab::measured(1)?;
    let lab = ledger.lab();
    let morpheus = lab.morpheus()?;
    ensure!(alarms(lab, "ledger")?.is_empty());
    let set = |value: &str| {
        let entry = format!("flows.0000000000000007={value}");
        morpheus.morphctl(&["config", "set", "app=ledger", &entry])
    };
    set("[200000,1]")?;
    let raised = wait_alarm(lab, "ledger", KIND)?;
    ensure!(raised["dpid"] == "0000000000000007", "{raised}");
    ensure!(raised["since_unix_ms"].as_u64() > Some(0), "{raised}");
    check_elsewhere(lab, "ledger", KIND, true)?;
    for (filter, count) in [
        (["--kind", KIND], 1),
        (["--kind", "x"], 0),
        (["--switch", "8"], 0),
    ] {
        let list = morpheus.morphctl(&[&["alarms"], &filter[..]].concat())?;
        ensure!(
            list["alarms"].as_array().map(Vec::len) == Some(count),
            "{filter:?}: {list}"
        );
    }
    let unchanged = |what: &str| -> Result<()> {
        let now = alarms(lab, "ledger")?;
        ensure!(now == [raised.clone()], "after {what}: {now:?}");
        Ok(())
    };
    // The older schema is made as a backfill: an alarm that it could not keep would be a loss, and refuse the upgrade.
    for version in ["2.0.0", "1.0.0"] {
        upgrade(lab, &format!("ledger@{version}"))?;
        unchanged(version)?;
    }
    let pid = morpheus.app("ledger")?["pid"].as_u64().context("pid")?;
    ledger.instance("1.0.0")?.kill()?;
    morpheus.wait_running("ledger", Some(u32::try_from(pid)?))?;
    unchanged("a crash")?;
    set("")?;
    wait_none(lab, "ledger")?;
    check_elsewhere(lab, "ledger", KIND, false)?;
    check_log(lab, "ledger", KIND)?;
    ledger.finish()
}

#[test]
fn topology_names_its_limit_of_hosts_while_it_refuses_some() -> Result<()> {
    const KIND: &str = "host-limit";
    let lab = Lab::with_morpheus(
        Shape::single(2),
        &["--app", "topology", "--metrics", METRICS],
    )?;
    let morpheus = lab.morpheus()?;
    morpheus.wait_running("topology", None)?;
    // All hosts may be at one port of one switch: the network's bound is the first that is reached.
    let limits = [
        "limits.hosts-per-port=20000",
        "limits.hosts-per-switch=20000",
    ];
    morpheus.morphctl(&[&["config", "set", "app=topology"], &limits[..]].concat())?;
    wait_until("topology refuses hosts", DEADLINE, || {
        lab.send_from_addresses(1, 2, ADDRESSES)?;
        Ok((!alarms(&lab, "topology")?.is_empty()).then_some(()))
    })?;
    let raised = wait_alarm(&lab, "topology", KIND)?;
    ensure!(raised["port"] == 0, "{raised}");
    check_elsewhere(&lab, "topology", KIND, true)?;
    let bundle = Bundle::copy("topology-2.0.0", lab.dir(), "newer")?.set("version", "\"2.0.1\"")?;
    morpheus.morphctl(&["app", "install", bundle.path()?])?;
    upgrade(&lab, "topology@2.0.1")?;
    ensure!(alarms(&lab, "topology")? == [raised]);
    // The mend: the port with too many hosts is taken out of service, and they are forgotten.
    lab.ovs().ofctl("mod-port", "s1", &["1", "down"])?;
    wait_none(&lab, "topology")?;
    check_elsewhere(&lab, "topology", KIND, false)?;
    check_log(&lab, "topology", KIND)?;
    lab.finish()
}
