//! Router 1.0.0 that deletes all its rules when it becomes live, and adds them again: the end-to-end tests upgrade to it to
//! see that they would notice a release that touches rules.

use std::process::ExitCode;

use morph_sdk::{App, AppError, Changes, Event, RuleInput, Rules, Table, TableShape, Turn, View};
use router::hosts::{self, Hosts, WithoutVlans};
use router::release::TREES;
use router::rules::Group;
use router::tables::{PORTS, SWITCHES};
use router::{Router, V1};

/// Whether the rules are withheld. A row, as rules are a function of the view.
const WITHHELD: Table<u32, bool> = Table::new("withheld");
const KEY: u32 = 0;

/// Ticks until the rules are wanted again: one second, by which the switches have been read and the rules deleted.
const TICKS: u32 = 10;

struct Reinstalls {
    router: Router<V1>,
    ticks_left: u32,
}

impl App for Reinstalls {
    type Group = Group;

    fn reads() -> Vec<TableShape> {
        Router::<V1>::reads()
    }

    fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
        self.router.event(event, turn)
    }

    fn changed(&mut self, changes: &Changes, turn: &mut Turn<'_>) -> Result<(), AppError> {
        if changes.all {
            self.ticks_left = TICKS;
            turn.put(&WITHHELD, &KEY, &true);
        }
        self.router.changed(changes, turn)
    }

    fn tick(&mut self, turn: &mut Turn<'_>) -> Result<(), AppError> {
        self.ticks_left = self.ticks_left.saturating_sub(1);
        if self.ticks_left == 0 {
            turn.delete(&WITHHELD, &KEY);
        }
        self.router.tick(turn)
    }

    fn groups(&self, input: &RuleInput<'_>, view: &View<'_>) -> Vec<Group> {
        if input.key(&WITHHELD).is_none() {
            return self.router.groups(input, view);
        }
        let switches = view.iter(&SWITCHES).map(|(dpid, _)| Group::Switch(dpid));
        let ports = view.iter(&PORTS).map(|(port, _)| Group::Port(port));
        let trees = view
            .iter(&TREES)
            .map(|(mac, _)| Group::Destination(WithoutVlans::destination(mac)));
        let sources = view
            .iter(&hosts::hosts::<WithoutVlans>())
            .map(|(mac, _)| Group::Source(WithoutVlans::destination(mac)));
        let of_hosts = trees.chain(sources).chain([Group::Tree]);
        switches.chain(ports).chain(of_hosts).collect()
    }

    fn rules(&self, group: &Group, view: &View<'_>, rules: &mut Rules) {
        if view.get(&WITHHELD, &KEY) != Some(true) {
            self.router.rules(group, view, rules);
        }
    }
}

fn main() -> ExitCode {
    morph_sdk::run(|| Reinstalls {
        router: Router::new(),
        ticks_left: 0,
    })
}
