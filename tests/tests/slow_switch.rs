//! A switch that reads nothing, or confirms nothing, delays its own rules only.

use anyhow::{Context, Result, ensure};
use morph_openflow::rule::RuleSet;
use morph_tests::{LedgerLab, Load, Pace, result, wait_until};
use std::time::{Duration, Instant};

const SWITCHES: u64 = 16;
/// The switch that is slow.
const SLOW: u64 = 1;
/// First table of the ledger, which is alone.
const TABLE: u8 = 1;
/// Rules of the ledger on a switch besides those that a test asks for.
const OWN: usize = 2;
/// Most changes that a switch has not confirmed.
const WINDOW: u64 = 1000;
/// Deadline for what follows by itself, however busy the machine is.
const DEADLINE: Duration = Duration::from_secs(60);

/// Asks for this many rules on switches, all of which send packets to this port.
fn want(
    ledger: &LedgerLab,
    switches: impl Iterator<Item = u64>,
    rules: usize,
    port: u32,
) -> Result<()> {
    let entries = switches.map(|dpid| format!("flows.{dpid:016x}=[{rules},{port}]"));
    let entries: Vec<String> = entries.collect();
    let mut args = vec!["config", "set", "app=ledger"];
    args.extend(entries.iter().map(String::as_str));
    ledger.lab().morpheus()?.morphctl(&args)?;
    Ok(())
}

/// Rules of a switch without the cookies, which name the epoch that added them.
fn rules(ledger: &LedgerLab, dpid: u64) -> RuleSet {
    let mut rules = ledger.switches().rules(dpid, TABLE);
    rules.values_mut().for_each(|body| body.cookie = 0);
    rules
}

/// Waits until these switches have as many rules as were asked for, all alike; returns them.
fn wait_rules(
    ledger: &LedgerLab,
    switches: impl Iterator<Item = u64> + Clone,
    count: usize,
) -> Result<RuleSet> {
    wait_until("all these switches have the wanted rules", DEADLINE, || {
        let mut sets = switches.clone().map(|dpid| rules(ledger, dpid));
        let first = sets.next().context("no switch")?;
        let alike = first.len() == count + OWN && sets.all(|set| set == first);
        Ok(alike.then_some(first))
    })
}

fn others() -> impl Iterator<Item = u64> + Clone {
    SLOW + 1..=SWITCHES
}

#[test]
fn a_switch_that_reads_nothing_delays_no_other_and_has_its_rules_in_the_end() -> Result<()> {
    let ledger = LedgerLab::new(SWITCHES as usize)?;
    let switches = ledger.switches();
    for count in [2500, 400] {
        switches.set_pace(SLOW, Pace::ReadsNothing);
        let before = rules(&ledger, SLOW);
        let began = Instant::now();
        want(&ledger, 1..=SWITCHES, count, 7)?;
        // Packets of all switches are handled meanwhile, and those of the others answered.
        switches.load(LedgerLab::PORT, Load::Window(100, 4));
        let model = wait_rules(&ledger, others(), count)?;
        wait_until("the others are answered", DEADLINE, || {
            let tallies = switches.tallies(LedgerLab::PORT).into_iter();
            let mut others = tallies.filter(|(dpid, _)| *dpid != SLOW);
            Ok(others
                .all(|(_, t)| t.first_answer(began).is_some())
                .then_some(()))
        })?;
        ensure!(rules(&ledger, SLOW) == before, "the slow switch has read");
        switches.set_pace(SLOW, Pace::Prompt);
        wait_until("the slow switch has its rules", DEADLINE, || {
            Ok((rules(&ledger, SLOW) == model).then_some(()))
        })?;
    }
    switches.load(LedgerLab::PORT, Load::Silent);
    result(
        "slow switch/switches with all rules meanwhile",
        others().count(),
        SWITCHES - 1,
    );
    ledger.finish()
}

#[test]
fn packets_to_a_switch_that_reads_nothing_are_dropped_and_its_channel_is_closed() -> Result<()> {
    let ledger = LedgerLab::new(SWITCHES as usize)?;
    let switches = ledger.switches();
    let morpheus = ledger.lab().morpheus()?;
    let copies = format!("copies.{SLOW:016x}=[100,1400]");
    morpheus.morphctl(&["config", "set", "app=ledger", &copies])?;
    switches.set_pace(SLOW, Pace::ReadsNothing);
    switches.load(LedgerLab::PORT, Load::Window(200, 1000));
    let dropped = wait_until("packets are dropped", DEADLINE, || {
        let dropped = morpheus.app("ledger")?["packet_outs_dropped"].as_u64();
        Ok(dropped.filter(|dropped| *dropped > 0))
    })?;
    // The others are answered from then on, too.
    let began = Instant::now();
    wait_until("the others are answered", DEADLINE, || {
        let tallies = switches.tallies(LedgerLab::PORT).into_iter();
        let mut others = tallies.filter(|(dpid, _)| *dpid != SLOW);
        Ok(others
            .all(|(_, tally)| tally.first_answer(began).is_some())
            .then_some(()))
    })?;
    wait_until("the channel of the slow switch is closed", DEADLINE, || {
        Ok((switches.disconnects() > 0).then_some(()))
    })?;
    switches.set_pace(SLOW, Pace::Prompt);
    let copies = format!("copies.{SLOW:016x}=[0,0]");
    morpheus.morphctl(&["config", "set", "app=ledger", &copies])?;
    want(&ledger, 1..=SWITCHES, 10, 7)?;
    let model = wait_rules(&ledger, 1..=SWITCHES, 10)?;
    switches.wait_answers(LedgerLab::PORT, DEADLINE)?;
    let logs = ledger.lab().logs();
    let says = |what: &str| logs.iter().any(|(_, text)| text.contains(what));
    ensure!(says("the switch does not read") && says("packet-outs are dropped"));
    result("slow switch/packets dropped, so far", dropped, "1 or more");
    ensure!(model.len() == 10 + OWN);
    ledger.finish_after_disconnects()
}

#[test]
fn a_rule_that_changes_a_hundred_times_while_its_switch_is_blocked_is_sent_twice_at_most()
-> Result<()> {
    const RULES: usize = 2500;
    const CHANGES: u32 = 100;
    let ledger = LedgerLab::new(2)?;
    let switches = ledger.switches();
    want(&ledger, 1..=2, RULES, 7)?;
    let model = wait_rules(&ledger, 1..=2, RULES)?;
    let before = switches.flow_mods(SLOW);
    switches.set_pace(SLOW, Pace::HoldsBarriers);
    for change in 1..=CHANGES {
        want(&ledger, 1..=2, RULES, 7 + change)?;
    }
    // The other switch has the last form, and so the app has handled all changes.
    wait_until("the other switch has the last rules", DEADLINE, || {
        let now = rules(&ledger, 2);
        Ok((now.len() == RULES + OWN && now != model && last(&now, 7 + CHANGES)).then_some(()))
    })?;
    let blocked = switches.flow_mods(SLOW) - before;
    ensure!(
        blocked <= WINDOW,
        "{blocked} changes were sent without a confirmation"
    );
    switches.set_pace(SLOW, Pace::Prompt);
    let wanted = rules(&ledger, 2);
    wait_until("the blocked switch has the last rules", DEADLINE, || {
        Ok((rules(&ledger, SLOW) == wanted).then_some(()))
    })?;
    let sent = switches.flow_mods(SLOW) - before;
    let bound = WINDOW + RULES as u64;
    result(
        "slow switch/flow-mods for 250000 changes of rules",
        sent,
        bound,
    );
    ensure!(
        sent <= bound,
        "{sent} flow-mods for {RULES} rules, which changed {CHANGES} times"
    );
    ledger.finish()
}

/// Whether the rules that were asked for all send to this port.
fn last(rules: &RuleSet, port: u32) -> bool {
    let text = format!("{:?}", morph_openflow::v13::Action::output(port));
    let to_port = rules
        .values()
        .filter(|body| format!("{body:?}").contains(&text));
    to_port.count() == rules.len() - OWN
}

#[test]
fn an_upgrade_neither_waits_for_a_switch_that_confirms_nothing_nor_calls_its_rules_complete()
-> Result<()> {
    const RULES: usize = 1500;
    let count = 4;
    let ledger = LedgerLab::new(count)?;
    let switches = ledger.switches();
    want(&ledger, 1..=count as u64, RULES, 7)?;
    let model = wait_rules(&ledger, 1..=count as u64, RULES)?;
    switches.set_pace(SLOW, Pace::HoldsBarriers);
    want(&ledger, 1..=1, RULES, 8)?;
    wait_until("a window of changes is sent", DEADLINE, || {
        let changed = rules(&ledger, SLOW);
        let changed = changed
            .iter()
            .filter(|(key, body)| model.get(key) != Some(body));
        Ok((changed.count() as u64 == WINDOW).then_some(()))
    })?;
    switches.load(LedgerLab::PORT, Load::Window(100, 4));
    ledger.lab().upgrade("ledger", "2.0.0")?;
    switches.wait_answers(LedgerLab::PORT, DEADLINE)?;
    let morpheus = ledger.lab().morpheus()?;
    let answer = morpheus.morphctl(&["commit", "app=ledger"])?;
    let status = &answer["upgrades"][0];
    ensure!(status["step"] == "COMMITTED", "{answer}");
    let in_step = (count - 1) * (RULES + OWN);
    ensure!(
        status["rules_unchanged"] == in_step && status["rules_changed"] == 0,
        "rules of the switch that confirms nothing are counted: {status}"
    );
    ensure!(rules(&ledger, SLOW) != model);
    switches.set_pace(SLOW, Pace::Prompt);
    wait_until("the switch has the wanted rules", DEADLINE, || {
        Ok(last(&rules(&ledger, SLOW), 8).then_some(()))
    })?;
    switches.load(LedgerLab::PORT, Load::Silent);
    ledger.finish()
}
