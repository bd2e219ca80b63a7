//! What the run writes: a table for `tests/README.md`.

use crate::cell::{Cell, Fault, Outcome, Step, Victim};
use anyhow::Result;
use morph_tests::repository;
use std::collections::BTreeMap;
use std::fmt::Write as _;

pub(crate) struct Table(BTreeMap<(Step, Victim), BTreeMap<Fault, Vec<String>>>);

impl Table {
    pub(crate) fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// What came of a cell; nothing good where there is no outcome.
    pub(crate) fn enter(&mut self, cell: Cell, outcome: Option<&Outcome>) {
        let said = match outcome {
            None => "FAILED".to_owned(),
            Some(Outcome { release, took }) => {
                let which = if *release == cell.from { "old" } else { "new" };
                format!("{which} {:.1} s", took.as_secs_f64())
            }
        };
        let row = self.0.entry((cell.step, cell.victim)).or_default();
        row.entry(cell.fault).or_default().push(said);
    }

    /// To `target/fault-matrix.md`.
    pub(crate) fn write(&self) -> Result<()> {
        let mut text = String::from("| at | who |");
        for fault in Fault::ALL {
            let _ = write!(text, " {} |", fault.name());
        }
        text.push_str("\n|---|---|");
        text.push_str(&"---|".repeat(Fault::ALL.len()));
        text.push('\n');
        for ((step, victim), row) in &self.0 {
            let _ = write!(text, "| {} | {} |", step.name(), victim.name());
            for fault in Fault::ALL {
                let outcomes = row.get(&fault).map(|outcomes| outcomes.join(", "));
                let _ = write!(text, " {} |", outcomes.unwrap_or_default());
            }
            text.push('\n');
        }
        std::fs::write(repository().join("target/fault-matrix.md"), text)?;
        Ok(())
    }
}
