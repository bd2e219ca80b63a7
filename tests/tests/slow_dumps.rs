//! Switches that take long to report their rules, and make one report at a time.

use anyhow::{Context, Result, ensure};
use morph_api::cookie::Cookie;
use morph_openflow::v13::Match;
use morph_tests::{Lab, Shape, SlowDump, Switches, result, wait_until};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const APP: &str = "learning-switch";
/// App id in the cookies of its rules.
const ID: u8 = 1;
/// Tables of learning-switch where it is alone: by source, and by destination.
const TABLES: [u8; 2] = [1, 2];
/// Deadline for what follows by itself, however busy the machine is.
const DEADLINE: Duration = Duration::from_secs(120);
/// Longer than the first deadline of an answer.
const SLOW: SlowDump = SlowDump {
    first: Duration::from_secs(6),
    part: Duration::ZERO,
};
/// Reports whose parts take longer together than the first deadline of an answer.
const IN_PARTS: SlowDump = SlowDump {
    first: Duration::from_secs(3),
    part: Duration::from_secs(3),
};

/// Morpheus with these apps, which ask for rules beside the proxy.
fn lab(apps: &[&str]) -> Result<Lab> {
    lab_with(apps, &[])
}

fn lab_with(apps: &[&str], more: &[&str]) -> Result<Lab> {
    let mut lab = Lab::new(Shape::none())?;
    let flags = apps.iter().flat_map(|app| ["--app", *app]);
    let flags: Vec<&str> = flags.chain(more.iter().copied()).collect();
    lab.start_morpheus(&flags)?;
    for app in apps {
        lab.morpheus()?.wait_running(app, None)?;
    }
    Ok(lab)
}

/// Numbers of rules in the tables of learning-switch.
fn counts(switches: &Switches, dpid: u64) -> [usize; 2] {
    TABLES.map(|table| switches.rules(dpid, table).len())
}

/// Numbers of learning-switch's rules in each table that has any, wherever its tables are.
fn counts_anywhere(switches: &Switches, dpid: u64) -> Vec<usize> {
    let (cookie, mask) = Cookie::all_of(ID);
    let in_table = |table| {
        let rules = switches.rules(dpid, table).into_values();
        rules.filter(|rule| rule.cookie & mask == cookie).count()
    };
    let counts = (1..=20).map(in_table);
    counts.filter(|count| *count > 0).collect()
}

/// Whether a host is known behind this port.
fn is_learned(switches: &Switches, dpid: u64, port: u32) -> bool {
    let in_port = Match::new().in_port(port).fields;
    let rules = switches.rules(dpid, TABLES[0]);
    rules
        .keys()
        .any(|key| key.match_.fields.starts_with(&in_port))
}

#[test]
fn new_flows_during_a_slow_report_lose_nothing() -> Result<()> {
    let lab = lab(&[APP])?;
    let switches = Switches::start(lab.sandbox(), 1)?;
    switches.wait_punting(1)?;
    switches.burst(1, 1, 1, None);
    wait_until("the host is learned", DEADLINE, || {
        Ok((counts(&switches, 1) == [2, 2]).then_some(()))
    })?;
    switches.slow_dumps(1, SLOW);
    // Another instance has to read the switch.
    let pid = lab.morpheus()?.app(APP)?["pid"].as_u64().context("pid")? as u32;
    lab.process(APP)?.kill()?;
    wait_until("the switch is asked", DEADLINE, || {
        Ok((switches.dumps(1).1 > 0).then_some(()))
    })?;
    let began = Instant::now();
    switches.burst(1, 2, 1, None);
    wait_until("the host has rules at its new port", DEADLINE, || {
        Ok(is_learned(&switches, 1, 2).then_some(()))
    })?;
    let took = began.elapsed();
    ensure!(switches.dumps(1).1 > 0, "after the report: {took:?}");
    result(
        "slow dumps/time to a new flow's rules",
        format!("{took:.1?}"),
        "6 s",
    );
    lab.morpheus()?.wait_running(APP, Some(pid))?;
    wait_until("the rules of the old port are gone", DEADLINE, || {
        Ok((counts(&switches, 1) == [2, 2] && !is_learned(&switches, 1, 1)).then_some(()))
    })?;
    for (port, tally) in [1, 2].map(|port| (port, switches.tallies(port)[&1].clone())) {
        ensure!(
            (tally.sent(), tally.answered()) == (1, 1),
            "packets of port {port}: {} sent, {} answered",
            tally.sent(),
            tally.answered()
        );
    }
    switches.check_no_disconnects()?;
    switches.stop()?;
    lab.finish()
}

#[test]
fn new_flows_while_a_slow_switch_is_verified_are_sent_at_once_and_not_undone() -> Result<()> {
    // The app and the proxy ask at about the same time, and then not for longer than their reports take.
    let lab = lab_with(&[APP], &["--verify", "0,20"])?;
    let switches = Switches::start(lab.sandbox(), 1)?;
    switches.wait_punting(1)?;
    switches.slow_dumps(1, SLOW);
    let mut bursts = BTreeMap::new();
    let mut reports = 0;
    loop {
        let (asked, pending) =
            wait_until("a report begins, or the last one is made", DEADLINE, || {
                let (asked, pending) = switches.dumps(1);
                Ok((asked > reports || (asked > 1 && pending == 0)).then_some((asked, pending)))
            })?;
        if pending == 0 {
            break;
        }
        reports = asked;
        // The host is at one port and the other in turn.
        let port = 1 + (asked % 2) as u32;
        switches.burst(1, port, 1, None);
        *bursts.entry(port).or_insert(0) += 1;
        wait_until("the host has rules", DEADLINE, || {
            Ok(is_learned(&switches, 1, port).then_some(()))
        })?;
        let (asked, pending) = switches.dumps(1);
        ensure!(asked == reports && pending > 0, "after report {reports}");
    }
    ensure!(
        reports > 1 && counts(&switches, 1) == [2, 2],
        "{reports} reports"
    );
    ensure!(
        is_learned(&switches, 1, 1 + (reports % 2) as u32),
        "the rules were undone"
    );
    for (port, sent) in bursts {
        let tally = switches.tallies(port)[&1].clone();
        ensure!(
            (tally.sent(), tally.answered()) == (sent, sent),
            "packets of port {port}: {} sent, {} answered",
            tally.sent(),
            tally.answered()
        );
    }
    switches.check_no_disconnects()?;
    switches.stop()?;
    lab.finish()
}

#[test]
fn switches_that_are_slow_from_the_beginning_get_all_rules_and_are_asked_once_for_all() -> Result<()>
{
    let lab = lab(&[APP, "topology"])?;
    let switches = Switches::start_slow(lab.sandbox(), &[SLOW, IN_PARTS])?;
    let mut most = 0;
    wait_until("both switches have all rules", DEADLINE, || {
        most = most.max(switches.dumps(1).1).max(switches.dumps(2).1);
        let has_all = |dpid| counts_anywhere(&switches, dpid) == [1, 1];
        Ok((has_all(1) && has_all(2)).then_some(()))
    })?;
    ensure!(most <= 1, "{most} requests at once");
    switches.wait_punting(1)?;
    // The last questions are answered; then nobody asks any more.
    wait_until("all is answered", DEADLINE, || {
        Ok((switches.dumps(1).1 + switches.dumps(2).1 == 0).then_some(()))
    })?;
    for dpid in [1, 2] {
        result(
            "slow dumps/requests to a slow switch",
            switches.dumps(dpid).0,
            4,
        );
        ensure!(switches.dumps(dpid).0 <= 4, "{:?}", switches.dumps(dpid));
    }
    switches.check_no_disconnects()?;
    switches.stop()?;
    lab.finish()
}
