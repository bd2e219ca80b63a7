//! Tables that change while an instance is live.

use morph_api::session::{self, event, from_app, to_app};
use morph_api::store::Seq;
use morph_openflow::v13::flow_removed::reason::IDLE_TIMEOUT;
use morph_openflow::v13::{self, Message};

use super::app::{Cells, S};
use super::live;
use super::world::World;
use crate::instance::{Input, Output};
use crate::{FlowModCommand, Match};

/// First table before the move, and after it.
const OLD: u8 = 10;
const NEW: u8 = 20;

/// Tells the tables: the first of those that packets pass, and the first of the others.
fn tell(world: &mut World<Cells>, first: u8, second: u8, serial: u64) {
    world.forget();
    world.control(to_app::Record::Pipeline(session::Pipeline {
        app_id: 7,
        first_table: first.into(),
        last_table: u32::from(first) + 2,
        second_table: second.into(),
        serial,
    }));
}

/// Numbers with which the instance has reported that the rules are confirmed.
fn confirmed(world: &World<Cells>) -> Vec<u64> {
    let sent = world.sent.iter();
    sent.filter_map(|output| match output {
        Output::Control(from_app::Record::TablesReady(ready)) => Some(ready.serial),
        _ => None,
    })
    .collect()
}

fn changes(world: &World<Cells>) -> Vec<(FlowModCommand, u8)> {
    let changes = world.flow_mods.iter();
    changes.map(|rule| (rule.command, rule.table_id)).collect()
}

/// Delivers the end of the rule of cell 1/2 in this table. The app deletes the cell if it is told.
fn ended(world: &mut World<Cells>, n: u64, table_id: u8) {
    world.forget();
    let removed = v13::FlowRemoved {
        cookie: 0,
        priority: 1,
        reason: IDLE_TIMEOUT,
        table_id,
        duration_sec: 60,
        duration_nsec: 0,
        idle_timeout: 60,
        hard_timeout: 0,
        packet_count: 1,
        byte_count: 60,
        match_: Match::new().in_port(1).eth_type(2),
    };
    let event = session::Event {
        seq: Some(Seq { incarnation: 1, n }),
        what: Some(event::What::Message(true)),
        dpid: S.0,
        ..session::Event::default()
    };
    world.feed_all(vec![
        Input::Control(to_app::Record::Event(event)),
        Input::Message {
            channel: 1,
            message: Message::FlowRemoved(removed).encode(0),
        },
    ]);
}

#[test]
fn rules_are_in_both_ranges_until_the_former_one_is_taken_away() {
    let mut world = live(2);
    world.packet([1, 2, 3]);
    assert_eq!(changes(&world), [(FlowModCommand::Add, OLD)]);
    world.answers_barriers = false;
    tell(&mut world, OLD, NEW, 5);
    assert_eq!(changes(&world), [(FlowModCommand::Add, NEW)]);
    assert!(confirmed(&world).is_empty());
    world.answers_barriers = true;
    world.answer_barriers();
    assert_eq!(confirmed(&world), [5]);

    // Each change is made twice, and the end of a copy is no event.
    ended(&mut world, 2, NEW);
    assert_eq!(changes(&world), [(FlowModCommand::Add, NEW)]);
    world.forget();
    world.event(3, [2, 2, 3]);
    let both = [(FlowModCommand::Add, OLD), (FlowModCommand::Add, NEW)];
    assert_eq!(changes(&world), both);

    tell(&mut world, NEW, OLD, 6);
    assert_eq!((changes(&world), confirmed(&world)), (vec![], vec![6]));
    ended(&mut world, 4, OLD);
    assert_eq!(changes(&world), [(FlowModCommand::Add, OLD)]);

    tell(&mut world, NEW, 0, 7);
    assert_eq!(changes(&world), [(FlowModCommand::DeleteStrict, OLD); 2]);
    assert_eq!(confirmed(&world), [7]);
    ended(&mut world, 5, OLD);
    assert!(changes(&world).is_empty());
    ended(&mut world, 6, NEW);
    assert_eq!(changes(&world), [(FlowModCommand::DeleteStrict, NEW)]);
}

#[test]
fn rules_that_were_left_in_other_tables_are_deleted_when_the_switch_is_read() {
    let mut world = live(2);
    world.packet([1, 2, 3]);
    world.answers_barriers = true;
    tell(&mut world, OLD, NEW, 5);
    // The next instance hears of one range only.
    world.forget();
    world.attach();
    world.resume();
    assert_eq!(changes(&world), [(FlowModCommand::DeleteStrict, NEW)]);
}
