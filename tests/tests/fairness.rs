//! A switch that floods delays nobody but itself.

use anyhow::{Context, Result, ensure};
use morph_tests::{Delivery, LedgerLab, Load, pause, result, wait_until};
use rustix::process::Signal;
use std::time::{Duration, Instant};

const SWITCHES: usize = 16;
/// Switch that floods, and the packets of it that wait when the others send their first.
const FLOODS: u64 = 1;
const FLOOD: u64 = 3000;
/// Most packets of the flooding switch that may be answered before the first one of any other switch. In turn it is one
/// or two; further ones are answers that the switches read in another order than they were sent.
const BEFORE: u64 = 100;

#[test]
fn a_packet_of_a_quiet_switch_is_answered_before_the_flood_that_came_first() -> Result<()> {
    let ledger = LedgerLab::new(SWITCHES)?;
    let (lab, switches) = (ledger.lab(), ledger.switches());
    // The app stands still, so that the flood waits in the proxy whatever the machine's speed.
    let instance = ledger.instance("1.0.0")?;
    let began = Instant::now();
    instance.signal(Signal::STOP)?;
    switches.load_of(FLOODS, LedgerLab::PORT, Load::Window(1_000_000, FLOOD));
    let wait_for = |count: u64| {
        wait_until("the packets wait", Duration::from_secs(10), || {
            let backlog = lab.morpheus()?.app("ledger")?["backlog"].as_u64();
            Ok((backlog >= Some(count)).then_some(()))
        })
    };
    wait_for(FLOOD)?;
    for dpid in (1..=SWITCHES as u64).filter(|dpid| *dpid != FLOODS) {
        switches.load_of(dpid, LedgerLab::PORT, Load::Window(1000, 1));
    }
    wait_for(FLOOD + SWITCHES as u64 - 1)?;
    // An app that answers again after it stood still for longer than a packet may wait loses none of those that waited.
    pause(Duration::from_millis(300));
    // An instance that stood still for too long was replaced, which changes nothing here.
    let _ = instance.signal(Signal::CONT);
    wait_until("each switch has an answer", Duration::from_secs(20), || {
        let tallies = switches.tallies(LedgerLab::PORT);
        Ok(tallies
            .values()
            .all(|t| t.first_answer(began).is_some())
            .then_some(()))
    })?;
    let tallies = switches.tallies(LedgerLab::PORT);
    let flood = tallies.get(&FLOODS).context("no tally")?;
    let mut most = 0;
    for (dpid, tally) in tallies.iter().filter(|(dpid, _)| **dpid != FLOODS) {
        let first = tally.first_answer(began).context("no answer")?;
        let before = flood.answered_by(first);
        ensure!(
            before <= BEFORE,
            "{before} packets of the flood were answered before the first one of switch {dpid}"
        );
        most = most.max(before);
    }
    result("fairness/packets of the flood that waited", FLOOD, "");
    result(
        "fairness/of these answered before a quiet switch's first",
        most,
        BEFORE,
    );
    ledger.check_books(Delivery::AtMostOnce)?;
    ledger.finish()
}
