//! Router 1.0.0 that panics on its first packet-in: the end-to-end tests upgrade to it to see it rolled back.

use std::process::ExitCode;

use morph_sdk::{App, AppError, Changes, Event, RuleInput, Rules, TableShape, Turn, View};
use router::{Router, V1};

struct Panics(Router<V1>);

impl App for Panics {
    type Group = <Router<V1> as App>::Group;

    fn reads() -> Vec<TableShape> {
        Router::<V1>::reads()
    }

    #[expect(clippy::panic, reason = "it is what it is for")]
    fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
        if matches!(event, Event::PacketIn(_)) {
            panic!("a defect in the packet-in handler");
        }
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
    morph_sdk::run(|| Panics(Router::new()))
}
