//! Router 1.0.0 that states the rules of the tree only: the end-to-end tests upgrade to it to see it stopped before the hand-over.

use std::process::ExitCode;

use morph_sdk::{App, AppError, Changes, Event, RuleInput, Rules, TableShape, Turn, View};
use router::rules::Group;
use router::{Router, V1};

struct Drops(Router<V1>);

impl App for Drops {
    type Group = Group;

    fn tables() -> Vec<TableShape> {
        Router::<V1>::tables()
    }

    fn reads() -> Vec<TableShape> {
        Router::<V1>::reads()
    }

    fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
        self.0.event(event, turn)
    }

    fn changed(&mut self, changes: &Changes, turn: &mut Turn<'_>) -> Result<(), AppError> {
        self.0.changed(changes, turn)
    }

    fn groups(&self, input: &RuleInput<'_>, view: &View<'_>) -> Vec<Group> {
        self.0.groups(input, view)
    }

    fn rules(&self, group: &Group, view: &View<'_>, rules: &mut Rules) {
        if *group == Group::Tree {
            self.0.rules(group, view, rules);
        }
    }
}

fn main() -> ExitCode {
    morph_sdk::run(|| Drops(Router::new()))
}
