//! Each step of an upgrade x who fails there x how: it ends with the old release or the new one, no switch notices, the books
//! are exact, and the next upgrade works.
//!
//! The steps are those that the upgrade publishes: at each, what it says is on disk and nothing of what follows is done. morphd
//! is stopped there (a fail point), the fault is made, and morphd goes on. `MORPH_CELL` names some of the cells by what is printed of
//! them, as in `MORPH_CELL='Ready, victim: Old'`.

mod cell;
mod table;

use anyhow::{Context, Result, ensure};
use cell::{Cell, Fault, Outcome, Place, Step, Victim, applies};
use morph_tests::{LedgerLab, Load, Strictness};
use std::time::Duration;
use table::Table;

/// Of each switch.
const LOAD: Load = Load::Window(100, 8);
/// How long an upgrade may take to its end after a fault, beside the pause that the fault itself is. An instance that never
/// answers has none: to find it out is part of it.
const LIMIT: Duration = Duration::from_secs(5);
/// The release from which an upgrade begins: to the newer schema, and to the older one.
const FROM: [&str; 2] = ["1.0.0", "2.0.0"];

fn long() -> bool {
    std::env::var_os("MORPH_LONG").is_some()
}

#[test]
fn every_fault_at_every_step_ends_in_the_old_release_or_the_new_one() -> Result<()> {
    let place = Place::new()?;
    let lab = || LedgerLab::with(2, |lab| place.arm(lab), &[]);
    let mut ledger = lab()?;
    let mut table = Table::new();
    let faults = if long() {
        &Fault::ALL[..]
    } else {
        &[Fault::Kill]
    };
    let mut release = FROM[0];
    let mut failures = Vec::new();
    for cell in cells(faults) {
        let wanted = if long() { cell.from } else { release };
        let cell = Cell {
            from: wanted,
            ..cell
        };
        let outcome = in_order(cell, release, &mut ledger, &place);
        println!("{cell:?}: {outcome:?}");
        table.enter(cell, outcome.as_ref().ok());
        match outcome {
            Ok(outcome) => {
                release = outcome.release;
                if outcome.took > LIMIT {
                    failures.push(format!("{cell:?}: {:?}", outcome.took));
                }
            }
            // What it has left may be in the way of all others.
            Err(error) => {
                failures.push(format!("{cell:?}: {error:#}"));
                release = FROM[0];
                ledger = lab()?;
            }
        }
    }
    // The next upgrade was the next cell's. This is the last one's.
    let next = LedgerLab::other_release(release);
    ledger.lab().upgrade_for_good("ledger", next)?;
    ledger.settle(Strictness::AtMostOnce)?;
    table.write()?;
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    ledger.finish()
}

/// One cell, from the release that it begins with to exact books.
fn in_order(cell: Cell, release: &str, ledger: &mut LedgerLab, place: &Place) -> Result<Outcome> {
    ledger.switches().load(LedgerLab::PORT, LOAD);
    if release != cell.from {
        ledger.lab().upgrade_for_good("ledger", cell.from)?;
    }
    ledger.wait_alone(cell.from)?;
    let outcome = cell.run(ledger, place)?;
    ledger
        .settle(Strictness::AtMostOnce)
        .with_context(|| format!("{outcome:?}"))?;
    Ok(outcome)
}

fn cells(faults: &[Fault]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for from in &FROM[..if long() { 2 } else { 1 }] {
        for &fault in faults {
            for step in Step::ALL {
                let victims = Victim::ALL.into_iter();
                let there = victims.filter(|&victim| applies(step, victim, fault));
                cells.extend(there.map(|victim| Cell {
                    from,
                    step,
                    victim,
                    fault,
                }));
            }
        }
    }
    let wanted = std::env::var("MORPH_CELL").unwrap_or_default();
    cells.retain(|cell| format!("{cell:?}").contains(&wanted));
    cells
}
