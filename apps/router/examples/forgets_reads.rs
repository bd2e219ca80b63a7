//! Router 1.0.0 that does not declare the links that it reads: the end-to-end tests upgrade to it to see that it ends with a
//! reason, and no rule is touched.

use std::process::ExitCode;

use morph_sdk::{App, AppError, Changes, Event, RuleInput, Rules, TableShape, Turn, View};
use router::tables::LINKS;
use router::{Router, V1};

struct Forgets(Router<V1>);

impl App for Forgets {
    type Group = <Router<V1> as App>::Group;

    fn tables() -> Vec<TableShape> {
        Router::<V1>::tables()
    }

    fn reads() -> Vec<TableShape> {
        let mut reads = Router::<V1>::reads();
        reads.retain(|table| table.name != LINKS.name());
        reads
    }

    fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
        self.0.event(event, turn)
    }

    fn changed(&mut self, changes: &Changes, turn: &mut Turn<'_>) -> Result<(), AppError> {
        self.0.changed(changes, turn)
    }

    fn groups(&self, input: &RuleInput<'_>, view: &View<'_>) -> Vec<Self::Group> {
        self.0.groups(input, view)
    }

    fn rules(&self, group: &Self::Group, view: &View<'_>, rules: &mut Rules) {
        self.0.rules(group, view, rules);
    }
}

fn main() -> ExitCode {
    morph_sdk::run(|| Forgets(Router::new()))
}
