//! Reads of other apps' tables that the app does not declare.

use morph_api::session::from_app;

use super::*;
use crate::bench::Bench;
use crate::*;

const LINKS: Table<u32, u32> = Table::of("topo", "links");

/// Counts the ports, which it declares. A packet has it read the links, which it does not.
struct Forgetful;

impl App for Forgetful {
    type Group = ();

    fn reads() -> Vec<TableShape> {
        vec![PORTS.shape()]
    }

    fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
        let view = turn.view();
        let ports = view.count(&PORTS);
        if let Event::PacketIn(_) = event {
            let links = view.count(&LINKS);
            turn.put(&COUNT, &0, &(ports + links));
        }
        Ok(())
    }

    fn groups(&self, _: &RuleInput<'_>, _: &View<'_>) -> Vec<()> {
        Vec::new()
    }

    fn rules(&self, (): &(), _: &View<'_>, _: &mut Rules) {}
}

#[test]
fn an_undeclared_read_ends_the_instance_before_its_turn_is_sent() {
    let mut world = World::new(Forgetful, config::<V1ToV2>("i1"), store(2));
    world.attach();
    world.resume();
    world.forget();
    world.packet([1, 2, 3]);
    let why = world.reports().into_iter().find_map(|report| match report {
        report::Report::Failed(failed) => Some(failed.message),
        _ => None,
    });
    let why = why.unwrap();
    for part in [
        "table links of topo",
        "`vec![LINKS.shape()]`",
        "`reads = { topo = SCHEMA }`",
    ] {
        assert!(why.contains(part), "{part:?} is missing: {why}");
    }
    assert!(matches!(world.sent.last(), Some(Output::Exit(1))));
    let is_turn = |output: &Output| matches!(output, Output::Control(from_app::Record::TurnEnd(_)));
    assert!(!world.sent.iter().any(is_turn), "{:?}", world.sent);
}

#[test]
#[should_panic(expected = "the app reads table links of topo, which it does not declare")]
fn an_undeclared_read_fails_the_test_on_the_bench() {
    let pipeline = Pipeline {
        app: 7,
        first: 1,
        exit: 2,
    };
    let mut bench = Bench::new(Forgetful, pipeline);
    assert!(bench.switch(S, [1]).is_empty());
    bench.packet_in(S, 1, vec![1, 2, 3]);
}
