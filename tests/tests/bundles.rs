//! The difference that a reading found goes to a switch as bundles, where it has them: all of it takes effect at once. A bundle that is
//! refused is sent rule by rule, and a switch without bundles gets all rules as well.

use anyhow::{Context, Result, ensure};
use morph_fake_switch::{Commits, Datapath, RequestKind};
use morph_openflow::MessageType;
use morph_tests::{FlowKey, Lab, Shape, Switches, wait_until};
use std::collections::BTreeSet;
use std::time::Duration;

const APP: &str = "ledger";
/// First table of the ledger, which is alone.
const TABLE: u8 = 1;
/// Rules of the ledger on a switch besides those that a test asks for.
const OWN: usize = 2;
/// Most changes of a bundle: those that a switch has not confirmed.
const WINDOW: usize = 1000;
const DEADLINE: Duration = Duration::from_secs(60);

/// Network with the ledger, which has no switch yet.
fn lab(shape: Shape, flags: &[&str]) -> Result<Lab> {
    let mut lab = Lab::new(shape)?;
    let bundles = lab.ledger_bundles(None)?;
    let apps = ["--bundles", &bundles, "--app", "ledger@1.0.0"];
    lab.start_morpheus(&[&apps[..], flags].concat())?;
    lab.morpheus()?.wait_running(APP, None)?;
    Ok(lab)
}

/// Asks for this many rules on a switch.
fn want(lab: &Lab, dpid: u64, rules: usize) -> Result<()> {
    let entry = format!("flows.{dpid:016x}=[{rules},1]");
    lab.morpheus()?
        .morphctl(&["config", "set", "app=ledger", &entry])?;
    Ok(())
}

/// Rules of the ledger on s1.
fn rules(lab: &Lab) -> Result<BTreeSet<FlowKey>> {
    let flows = lab.ovs().flows("s1")?.into_iter();
    let of_table = flows.filter(|flow| flow.key.table == TABLE);
    Ok(of_table.map(|flow| flow.key).collect())
}

fn wait_rules(lab: &Lab, count: usize) -> Result<BTreeSet<FlowKey>> {
    wait_until(&format!("s1 has {count} rules"), DEADLINE, || {
        Ok(Some(rules(lab)?).filter(|rules| rules.len() == count))
    })
}

/// Lines of the log of Open vSwitch that hold all of these words.
fn lines(log: &str, words: &[&str]) -> usize {
    let lines = log.lines();
    let found = lines.filter(|line| words.iter().all(|word| line.contains(word)));
    found.count()
}

#[test]
fn a_difference_goes_to_open_vswitch_as_bundles_and_a_rule_without_room_costs_no_other()
-> Result<()> {
    const RULES: usize = 2500;
    let lab = lab(Shape::single(1), &["--verify", "1,3"])?;
    lab.attach()?;
    lab.morpheus()?.wait_switches(1)?;
    want(&lab, 1, RULES)?;
    let wanted = wait_rules(&lab, RULES + OWN)?;
    let table = format!("table={TABLE}");
    lab.ovs().appctl(&["vlog/disable-rate-limit", "vconn"])?;
    lab.ovs().appctl(&["vlog/set", "vconn:file:dbg"])?;
    lab.ovs().ofctl("del-flows", "s1", &[&table])?;
    ensure!(wait_rules(&lab, RULES + OWN)? == wanted, "other rules came");
    lab.ovs().appctl(&["vlog/set", "vconn:file:info"])?;
    let log = lab.ovs().log();
    let adds = lines(&log, &["received:", "BUNDLE_ADD_MESSAGE"]);
    let commits = lines(&log, &["type=COMMIT_REQUEST"]);
    // The rest of a difference is no bundle where it has fewer than eight changes.
    ensure!(
        (RULES + OWN - 7..=RULES + OWN).contains(&adds),
        "{adds} changes in bundles"
    );
    ensure!(
        (RULES.div_ceil(WINDOW)..10).contains(&commits),
        "{commits} commit requests"
    );
    ensure!(lines(&log, &["type=COMMIT_REPLY"]) == commits);
    ensure!(lines(&log, &["sent", "OFPT_ERROR"]) == 0, "errors");
    // The table has no room for two of the rules.
    want(&lab, 1, 60)?;
    let wanted = wait_rules(&lab, 60 + OWN)?;
    let limited = format!("flow_tables:{TABLE}=@t");
    let limit = "--id=@t create flow_table flow_limit=60 overflow_policy=refuse";
    let limit: Vec<&str> = ["--"]
        .into_iter()
        .chain(limit.split(' '))
        .chain(["--", "set", "bridge", "s1", &limited])
        .collect();
    lab.ovs().vsctl(&limit)?;
    lab.ovs().ofctl("del-flows", "s1", &[&table])?;
    let there = wait_rules(&lab, 60)?;
    ensure!(there.is_subset(&wanted), "other rules came");
    let log = lab.morpheus()?.log("morph-proxy")?;
    ensure!(log.contains("refused a bundle of changes"), "{log}");
    let log = lab.morpheus()?.log(APP)?;
    ensure!(log.contains("FLOW_MOD_FAILED/TABLE_FULL"), "{log}");
    lab.ovs().vsctl(&["clear", "bridge", "s1", "flow_tables"])?;
    ensure!(wait_rules(&lab, 60 + OWN)? == wanted, "other rules came");
    lab.finish()
}

#[test]
fn switches_that_refuse_bundles_or_do_not_answer_them_get_their_rules() -> Result<()> {
    const RULES: usize = 1500;
    /// Whether it opens bundles, how it handles commits, whether it is listed as one that refuses them.
    const SWITCHES: [(bool, Commits, bool); 4] = [
        (true, Commits::Answered, false),
        (false, Commits::Answered, true),
        (true, Commits::Refused, false),
        (true, Commits::Unanswered, true),
    ];
    let lab = lab(Shape::none(), &[])?;
    for dpid in 1..=SWITCHES.len() as u64 {
        want(&lab, dpid, RULES)?;
    }
    let change = |dpid: u64, datapath: &mut Datapath| {
        let at = usize::try_from(dpid - 1).ok();
        if let Some((opens, commits, _)) = at.and_then(|at| SWITCHES.get(at)) {
            let bundles = RequestKind::Message(MessageType::EXPERIMENTER);
            datapath.refuse(if *opens {
                &[]
            } else {
                std::slice::from_ref(&bundles)
            });
            datapath.set_commits(*commits);
        }
    };
    let switches = Switches::start_with(lab.sandbox(), SWITCHES.len(), change)?;
    wait_until("all switches have their rules", DEADLINE, || {
        let counts = (1..=SWITCHES.len() as u64).map(|dpid| switches.rules(dpid, TABLE).len());
        let all = counts.into_iter().all(|count| count == RULES + OWN);
        Ok(all.then_some(()))
    })?;
    let bundles: Vec<u64> = (1..=4).map(|dpid| switches.bundles(dpid)).collect();
    ensure!(bundles[0] >= 2 && bundles[1..] == [0; 3], "{bundles:?}");
    let listed = lab.morpheus()?.morphctl(&["switches"])?;
    let listed = listed["switches"].as_array().context("switches")?;
    for (switch, (_, _, refuses)) in listed.iter().zip(SWITCHES) {
        let names = switch["refuses"].as_array().context("refuses")?;
        ensure!(
            names.iter().any(|name| name == "bundle") == refuses,
            "{switch}"
        );
    }
    switches.check_no_disconnects()?;
    switches.stop()?;
    lab.finish()
}
