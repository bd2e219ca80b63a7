//! The results as lines for `scripts/results`.

use crate::cell::{Cell, Fault, Outcome, Step, Victim};
use morph_tests::result_row;
use std::collections::BTreeMap;

pub(crate) struct Table(BTreeMap<(Step, Victim), BTreeMap<Fault, Vec<String>>>);

impl Table {
    pub(crate) fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub(crate) fn add(&mut self, cell: Cell, outcome: Option<&Outcome>) {
        let cell_text = match outcome {
            None => "FAILED".to_owned(),
            Some(Outcome { release, took }) => {
                let which = if *release == cell.from {
                    "source"
                } else {
                    "target"
                };
                format!("{which} {:.1} s", took.as_secs_f64())
            }
        };
        let row = self.0.entry((cell.step, cell.victim)).or_default();
        row.entry(cell.fault).or_default().push(cell_text);
    }

    pub(crate) fn print(&self) {
        let name = "fault_matrix cells";
        let faults = Fault::ALL.map(|fault| fault.name().to_owned());
        let headings = ["at".to_owned(), "who".to_owned()]
            .into_iter()
            .chain(faults);
        result_row(&format!("{name}/"), &headings.collect::<Vec<_>>());
        for ((step, victim), row) in &self.0 {
            let outcomes =
                Fault::ALL.map(|fault| row.get(&fault).map_or_else(String::new, |o| o.join(", ")));
            let cells = [victim.name().to_owned()].into_iter().chain(outcomes);
            result_row(
                &format!("{name}/{}", step.name()),
                &cells.collect::<Vec<_>>(),
            );
        }
    }
}
