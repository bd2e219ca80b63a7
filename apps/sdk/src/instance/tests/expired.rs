//! Rules that a switch removed by itself.

use morph_api::session::{self, event, to_app};
use morph_api::store::Seq;
use morph_openflow::v13::flow_removed::reason::{DELETE, HARD_TIMEOUT, IDLE_TIMEOUT};
use morph_openflow::v13::{self, Message};

use super::app::{Cells, S};
use super::live;
use super::world::{World, packet_in};
use crate::instance::{Input, Output};
use crate::{FlowModCommand, Match};

/// Inputs for an event with this message.
fn event(n: u64, message: bytes::Bytes) -> [Input; 2] {
    let event = session::Event {
        seq: Some(Seq { incarnation: 1, n }),
        what: Some(event::What::Message(true)),
        dpid: S.0,
        ..session::Event::default()
    };
    let channel = 1;
    [
        Input::Control(to_app::Record::Event(event)),
        Input::Message { channel, message },
    ]
}

/// End of the rule of cell 1/2. The app deletes the cell if its idle timeout was the reason.
fn ended(reason: u8) -> bytes::Bytes {
    let removed = v13::FlowRemoved {
        cookie: 0,
        priority: 1,
        reason,
        table_id: 10,
        duration_sec: 60,
        duration_nsec: 0,
        idle_timeout: 60,
        hard_timeout: 0,
        packet_count: 1,
        byte_count: 60,
        match_: Match::new().in_port(1).eth_type(2),
    };
    Message::FlowRemoved(removed).encode(0)
}

/// A live instance whose switch has the rule of cell 1/2.
fn installed() -> World<Cells> {
    let mut world = live(2);
    world.feed_all(event(1, packet_in([1, 2, 3])).into());
    assert_eq!(world.flow_mods.len(), 1);
    world.forget();
    world
}

/// Commands that follow events which come together.
fn commands(world: &mut World<Cells>, messages: &[bytes::Bytes]) -> Vec<FlowModCommand> {
    let events = (2..).zip(messages);
    let inputs = events.flat_map(|(n, message)| event(n, message.clone()));
    world.feed_all(inputs.collect());
    world.flow_mods.iter().map(|rule| rule.command).collect()
}

#[test]
fn a_rule_whose_row_goes_and_comes_in_one_turn_is_added_again() {
    let mut world = installed();
    let messages = [ended(IDLE_TIMEOUT), packet_in([1, 2, 3])];
    assert_eq!(commands(&mut world, &messages), [FlowModCommand::Add]);
}

#[test]
fn a_rule_that_is_no_longer_wanted_is_deleted_in_case_it_was_added_again() {
    let mut world = installed();
    let commands = commands(&mut world, &[ended(IDLE_TIMEOUT)]);
    assert_eq!(commands, [FlowModCommand::DeleteStrict]);
}

#[test]
fn a_rule_that_is_wanted_all_the_same_is_added_again() {
    let mut world = installed();
    let commands = commands(&mut world, &[ended(HARD_TIMEOUT)]);
    assert_eq!(commands, [FlowModCommand::Add]);
}

#[test]
fn a_rule_that_was_deleted_by_a_command_is_not_added_again() {
    let mut world = installed();
    assert!(commands(&mut world, &[ended(DELETE)]).is_empty());
}

/// Checks that a rule is added which ended after the switch had reported it, and before the report has come.
#[test]
fn a_rule_that_ended_while_the_switch_was_read_is_added_again() {
    let mut world = installed();
    world.reads_switch = false;
    world.resume();
    let messages = [ended(IDLE_TIMEOUT), packet_in([1, 2, 3])];
    assert!(commands(&mut world, &messages).is_empty(), "not read yet");
    let requests = world.sent.iter().filter_map(|sent| match sent {
        Output::Message { message, .. } => Some(v13::decode(message).unwrap()),
        _ => None,
    });
    let reading = requests.filter(|(_, what)| matches!(what, Message::MultipartRequest(_)));
    let token = reading.last().unwrap().0.xid;
    world.statistics(token);
    assert_eq!(world.flow_mods.len(), 1);
}
