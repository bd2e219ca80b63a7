//! Router 1.0.0 that states a rule which cannot be, for each switch: the end-to-end tests upgrade to it to see it rolled back.

use std::process::ExitCode;

use morph_sdk::{App, AppError, Changes, Event, RuleInput, Rules, TableShape, Turn, View};
use router::rules::Group;
use router::{Router, V1};

/// No app of the tests has so many tables.
const NO_TABLE: u8 = 100;

struct LeavesOut(Router<V1>);

impl App for LeavesOut {
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
        self.0.rules(group, view, rules);
        if let Group::Switch(dpid) = group {
            rules.on(*dpid).table(NO_TABLE).drop_();
        }
    }
}

fn main() -> ExitCode {
    morph_sdk::run(|| LeavesOut(Router::new()))
}
