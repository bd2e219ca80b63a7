//! The fault matrix: each step of an upgrade x who fails there x how. The upgrade ends with its source or its target
//! release, no switch is disconnected, the books are exact, and the next upgrade works.
//!
//! At a step its record is on disk and nothing after it is done. A fail point stops morphd there, the fault is made,
//! and morphd continues. `MORPH_CELL` selects cells by a part of their printed form, as in
//! `MORPH_CELL='Ready, victim: Source'`.

mod cell;
mod table;

use anyhow::{Context, Result, ensure};
use cell::{Cell, FailPoints, Fault, Outcome, Step, Victim, applies};
use morph_tests::{Delivery, LedgerLab, Load, long, result};
use std::time::Duration;
use table::Table;

/// Load of each switch.
const LOAD: Load = Load::Window(100, 8);
/// Most time from the end of a fault's pause to the end of the upgrade. A hanging instance has no pause: its
/// detection counts.
const LIMIT: Duration = Duration::from_secs(5);
/// Release before the upgrade: 1.0.0 goes to the newer schema, 2.0.0 to the older one.
const FROM: [&str; 2] = ["1.0.0", "2.0.0"];

#[test]
fn every_fault_at_every_step_ends_in_the_source_or_the_target() -> Result<()> {
    let points = FailPoints::new()?;
    let lab = || LedgerLab::with(2, |lab| points.arm(lab), &[]);
    let mut ledger = lab()?;
    let mut table = Table::new();
    let faults = if long() {
        &Fault::ALL[..]
    } else {
        &[Fault::Kill]
    };
    let mut release = FROM[0];
    let (mut failures, mut longest) = (Vec::new(), Duration::ZERO);
    let cells = cells(faults);
    let count = cells.len();
    for cell in cells {
        let from = if long() { cell.from } else { release };
        let cell = Cell { from, ..cell };
        let outcome = run_cell(cell, release, &mut ledger, &points);
        println!("{cell:?}: {outcome:?}");
        table.add(cell, outcome.as_ref().ok());
        match outcome {
            Ok(outcome) => {
                release = outcome.release;
                longest = longest.max(outcome.took);
                if outcome.took > LIMIT {
                    failures.push(format!("{cell:?}: took {:?}", outcome.took));
                }
            }
            // Remains of a failed cell would disturb the others.
            Err(error) => {
                failures.push(format!("{cell:?}: {error:#}"));
                release = FROM[0];
                ledger = lab()?;
            }
        }
    }
    // Each cell's upgrade shows that the previous cell left a working system. This upgrade does so for the last cell.
    let next = LedgerLab::other_release(release);
    ledger.lab().upgrade_and_commit("ledger", next)?;
    ledger.check_books(Delivery::AtMostOnce)?;
    table.print();
    result("fault_matrix/cells", count, "");
    result("fault_matrix/cells that failed", failures.len(), 0);
    let longest = format!("{:.1} s", longest.as_secs_f64());
    result(
        "fault_matrix/longest recovery",
        longest,
        format!("{} s", LIMIT.as_secs()),
    );
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    ledger.finish()
}

/// Runs one cell, from its first release to exact books.
fn run_cell(
    cell: Cell,
    release: &str,
    ledger: &mut LedgerLab,
    points: &FailPoints,
) -> Result<Outcome> {
    ledger.switches().load(LedgerLab::PORT, LOAD);
    if release != cell.from {
        ledger.lab().upgrade_and_commit("ledger", cell.from)?;
    }
    ledger.wait_single_instance(cell.from)?;
    let outcome = cell.run(ledger, points)?;
    ledger
        .check_books(Delivery::AtMostOnce)
        .with_context(|| format!("{outcome:?}"))?;
    Ok(outcome)
}

fn cells(faults: &[Fault]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for from in &FROM[..if long() { 2 } else { 1 }] {
        for &fault in faults {
            for step in Step::ALL {
                let victims = Victim::ALL.into_iter();
                let possible = victims.filter(|&victim| applies(step, victim, fault));
                cells.extend(possible.map(|victim| Cell {
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
