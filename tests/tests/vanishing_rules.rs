//! Rules that others delete or change behind Morpheus are found and mended.

use anyhow::{Context, Result, ensure};
use morph_tests::{Flow, FlowKey, Lab, Shape, result, wait_until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A count each second, and a reading each third one.
const VERIFY: [&str; 2] = ["--verify", "1,3"];
/// Deadline for what takes one of these periods, on a busy machine.
const MENDED: Duration = Duration::from_secs(15);
/// Deadline for the end of an alarm, ten seconds after the last finding.
const ENDED: Duration = Duration::from_secs(40);
const ROUTER: u8 = 3;

/// Cookie, without the epoch, and actions of each rule.
type Contents = BTreeMap<FlowKey, (u64, String)>;

/// Rules of Morpheus on a bridge with what they do.
fn rules(lab: &Lab, bridge: &str) -> Result<Contents> {
    let flows = lab.ovs().flows(bridge)?.into_iter();
    let ours = flows.filter(|flow| flow.app().is_some());
    // The epoch in a cookie says who added a rule.
    let value = |flow: &Flow| (flow.cookie & !(0xffff << 32), flow.actions.clone());
    Ok(ours.map(|flow| (flow.key.clone(), value(&flow))).collect())
}

/// Two switches with topology and router, which know both hosts and have written their rules.
fn settled() -> Result<(Lab, Contents)> {
    let lab = Lab::with_morpheus(Shape::line(2), &VERIFY)?;
    for app in ["topology", "router"] {
        lab.morpheus()?.wait_running(app, None)?;
    }
    lab.wait_ping(1, 2)?;
    lab.wait_ping(2, 1)?;
    let mut last = (rules(&lab, "s1")?, Instant::now());
    let settled = wait_until("the rules stay as they are", MENDED, || {
        let now = rules(&lab, "s1")?;
        if now != last.0 {
            last = (now, Instant::now());
        }
        let lasts = last.1.elapsed() > Duration::from_secs(1);
        Ok(lasts.then(|| last.0.clone()))
    })?;
    Ok((lab, settled))
}

/// Deletes or changes rules of s1, which are missing or changed then. Returns the time until they are mended.
fn mend(lab: &Lab, wanted: &Contents, verb: &str, arguments: &[&str]) -> Result<Duration> {
    let began = Instant::now();
    lab.ovs().ofctl(verb, "s1", arguments)?;
    ensure!(
        rules(lab, "s1")? != *wanted,
        "{verb} {arguments:?} changed nothing"
    );
    let what = format!("{verb} {arguments:?} is mended");
    wait_until(&what, MENDED, || {
        Ok((rules(lab, "s1")? == *wanted).then_some(()))
    })?;
    Ok(began.elapsed())
}

fn alarms(lab: &Lab) -> Result<Vec<Value>> {
    let list = lab.morpheus()?.morphctl(&["alarms"])?;
    list["alarms"].as_array().cloned().context("alarms")
}

/// Waits until these apps, and no others, have the alarm.
fn wait_alarms(lab: &Lab, apps: &[&str], within: Duration) -> Result<()> {
    wait_until(&format!("alarms of {apps:?}"), within, || {
        let alarms = alarms(lab)?;
        let all_of_it = alarms
            .iter()
            .all(|alarm| alarm["kind"] == "vanishing-rules");
        let of_apps: Vec<&str> = alarms
            .iter()
            .filter_map(|alarm| alarm["app"].as_str())
            .collect();
        Ok((all_of_it && of_apps == apps).then_some(()))
    })
}

#[test]
fn rules_that_others_delete_or_change_are_mended_and_a_fight_is_an_alarm() -> Result<()> {
    let (lab, wanted) = settled()?;
    let id = format!(
        "cookie={:#x}/0xffff000000000000",
        0x4d00_u64 << 48 | u64::from(ROUTER) << 48
    );
    let of_router = id.as_str();
    let exits = wanted
        .iter()
        .filter(|(key, (cookie, _))| key.table > 0 && cookie.to_be_bytes()[1] == 0);
    let exits: Vec<u8> = exits.map(|(key, _)| key.table).collect();
    ensure!(exits.len() == 2, "{exits:?}");
    let exit = format!("table={}", exits[0]);
    let of_app = |cookie: u64| cookie.to_be_bytes()[1];
    let passing = wanted
        .iter()
        .find(|(_, (cookie, actions))| of_app(*cookie) == ROUTER && actions != "drop");
    let (passing, _) = passing.context("no rule of router passes packets")?;
    let drop = format!("table={},{of_router},actions=drop", passing.table);
    let faults: [(&str, &[&str]); 4] = [
        ("del-flows", &[of_router]),
        ("del-flows", &["table=0"]),
        ("del-flows", &[&exit]),
        ("mod-flows", &[&drop]),
    ];
    for (verb, arguments) in faults {
        let took = mend(&lab, &wanted, verb, arguments)?;
        result(
            &format!("vanishing rules/{verb} {}", arguments.join(" ")),
            format!("{took:.1?}"),
            "",
        );
    }
    mend(&lab, &wanted, "mod-flows", &["table=0,actions=drop"])?;
    const LINE: &str = "had vanished or changed without Morpheus";
    for name in ["router", "morph-proxy"] {
        let log = lab.morpheus()?.log(name)?;
        ensure!(
            log.contains(LINE) && log.contains("for example table="),
            "{name}: {log}"
        );
    }
    lab.wait_ping(1, 2)?;
    // Another controller deletes the same rules again and again.
    wait_until("both fights are alarms", ENDED, || {
        lab.ovs().ofctl("del-flows", "s1", &[of_router])?;
        lab.ovs().ofctl("del-flows", "s1", &["table=0"])?;
        wait_until("it is mended", MENDED, || {
            Ok((rules(&lab, "s1")? == wanted).then_some(()))
        })?;
        Ok((alarms(&lab)?.len() == 2).then_some(()))
    })?;
    wait_alarms(&lab, &["morpheus", "router"], MENDED)?;
    for alarm in alarms(&lab)? {
        ensure!(
            alarm["dpid"] == "0000000000000001" && alarm["mend"] != "",
            "{alarm}"
        );
    }
    let lines = lab.morpheus()?.log("router")?.matches(LINE).count();
    mend(&lab, &wanted, "del-flows", &[of_router])?;
    ensure!(
        lab.morpheus()?.log("router")?.matches(LINE).count() == lines,
        "mended again with a line each time"
    );
    wait_alarms(&lab, &[], ENDED)?;
    for name in ["router", "morph-proxy"] {
        let log = lab.morpheus()?.log(name)?;
        for word in [" began:", " ended"] {
            let lines = log
                .lines()
                .filter(|line| line.contains("alarm vanishing-rules"));
            let lines = lines.filter(|line| line.contains(word)).count();
            ensure!(lines == 1, "{lines} lines {word} in {name}: {log}");
        }
    }
    lab.finish()
}

#[test]
fn a_table_that_evicts_rules_is_an_alarm_until_there_is_room() -> Result<()> {
    const APP: &str = "learning-switch";
    /// First table of the app, which is alone.
    const TABLE: u8 = 1;
    let lab = Lab::with_morpheus(Shape::single(4), &[&["--app", APP], &VERIFY[..]].concat())?;
    lab.morpheus()?.wait_running(APP, None)?;
    for (from, to) in [(1, 2), (3, 4)] {
        lab.wait_ping(from, to)?;
    }
    let count = || -> Result<usize> {
        let rules = rules(&lab, "s1")?;
        Ok(rules.keys().filter(|key| key.table == TABLE).count())
    };
    wait_until("all hosts are learned", MENDED, || {
        Ok((count()? == 5).then_some(()))
    })?;
    let limited = format!("flow_tables:{TABLE}=@t");
    lab.ovs().vsctl(&[
        "--",
        "--id=@t",
        "create",
        "flow_table",
        "flow_limit=4",
        "overflow_policy=evict",
        "--",
        "set",
        "bridge",
        "s1",
        &limited,
    ])?;
    wait_until("a rule is evicted", MENDED, || {
        Ok((count()? == 4).then_some(()))
    })?;
    wait_alarms(&lab, &[APP], ENDED)?;
    ensure!(count()? <= 4, "the table has no room");
    lab.ovs().vsctl(&["clear", "bridge", "s1", "flow_tables"])?;
    wait_until("all rules are back", ENDED, || {
        Ok((count()? == 5).then_some(()))
    })?;
    wait_alarms(&lab, &[], ENDED)?;
    lab.finish()
}
