//! Switches that do not take what they are sent.

use super::*;

#[test]
fn a_turn_is_accepted_at_once_although_its_switch_is_slow() {
    let mut bench = Bench::live(1 << 20);
    bench.packet_in(1);
    bench.writes = false;
    bench.flow_mods(3, 1, 3 << 20);
    bench.packet_in(1);
    let answers = ["1: event 3 message", "1: accepted 3", "1: event 4 message"];
    assert_eq!(bench.received(), answers);
    bench.flow_mods(0, 1, 1 << 10);
    assert_eq!(bench.received(), ["1: accepted 4"]);
}

/// The proxy's memory stays bounded whatever an app does.
#[test]
fn an_app_that_fills_a_channel_waits_before_it_sends_more() {
    let mut bench = Bench::live(1 << 20);
    bench.writes = false;
    bench.flow_mods(0, 1, 5 << 20);
    assert_eq!(bench.received(), ["1: accepted 3"]);
    bench.flow_mods(0, 1, 2 << 20);
    bench.turn(0, 0);
    assert!(bench.received().is_empty());
    let queued = bench.mediator.switches[&1].channel.report(0, bench.now);
    bench.put(Input::Written {
        conn: 1,
        bytes: 2 << 20,
    });
    assert_eq!(bench.received(), ["1: accepted 4"], "4 MiB are there again");
    let sent = bench.mediator.switches[&1].channel.report(0, bench.now);
    assert!(sent.messages_out > queued.messages_out);
    // The channel goes, and the rest is discarded.
    bench.put(Input::Ended {
        conn: 1,
        end: ConnectionEnd::Peer { unfinished: 0 },
    });
    let received = bench.received();
    assert!(
        received.contains(&"1: accepted 5".to_owned()),
        "{received:?}"
    );
}

#[test]
fn packet_outs_to_a_switch_that_is_far_behind_are_dropped_and_counted() {
    let mut bench = Bench::live(1 << 20);
    bench.switch(2, 8, 254);
    bench.answer(3);
    bench.received();
    bench.wire.clear();
    bench.writes = false;
    let packets = |bench: &mut Bench, conn| {
        let is_packet = |(to, message): &&(u32, Message)| {
            *to == conn && matches!(message, Message::PacketOut(_))
        };
        bench.wire.iter().filter(is_packet).count() as u64
    };
    let dropped = |bench: &mut Bench| {
        let slots = bench.mediator.slots.values_mut();
        let reports = slots.map(|slot| slot.report(bench.now));
        let counts = reports.map(|slot| (slot.packet_outs, slot.packet_outs_dropped));
        counts.last().unwrap()
    };
    // 60 000 bytes each: with the eighteenth the queue is longer than 1 MiB.
    bench.turn(0, 30 * 60_000);
    assert_eq!(packets(&mut bench, 1), 18);
    assert_eq!(dropped(&mut bench), (18, 12));
    // Rules go there all the same, and packets to other switches.
    bench.flow_mods(0, 1, 1 << 10);
    bench.turn_on(2, 0, 60_000);
    let flow_mods = bench.wire.iter();
    let flow_mods = flow_mods.filter(|(to, m)| *to == 1 && matches!(m, Message::FlowMod(_)));
    assert!(flow_mods.count() > 0);
    assert_eq!(packets(&mut bench, 2), 1);
    let accepted = ["1: accepted 4", "1: accepted 5", "1: accepted 6"];
    assert_eq!(bench.received(), accepted);
    // Once the switch has read some of it, packets go again.
    bench.put(Input::Written {
        conn: 1,
        bytes: 1 << 19,
    });
    bench.turn(0, 60_000);
    assert_eq!(packets(&mut bench, 1), 19);
    assert_eq!(dropped(&mut bench), (20, 12));
}

/// Barriers that pace an app's rules are part of its turns.
#[test]
fn the_reply_to_a_barrier_of_a_turn_comes_to_its_session_with_its_token() {
    let mut bench = Bench::live(1 << 20);
    bench.turn += 1;
    let end = from_app::Record::TurnEnd(TurnEnd {
        epoch: 1,
        turn: bench.turn,
        event: None,
        ..TurnEnd::default()
    });
    bench.records(1, |records| {
        put_message(records, 1, &Message::BarrierRequest.encode(4711));
        control(records, end);
    });
    assert_eq!(bench.received()[0], "1: accepted 3");
    assert_eq!(bench.replies, [(1, 4711)]);
}

#[test]
fn a_switch_that_does_not_read_is_lost_and_holds_up_nobody_for_longer() {
    let mut bench = Bench::live(1 << 20);
    bench.switch(2, 8, 254);
    bench.answer(3);
    bench.packet_in(1);
    bench.received();
    bench.writes = false;
    bench.turn(4, 5 << 20);
    for _ in 0..5 {
        bench.later(SECOND);
        bench.packet_in(1);
        bench.packet_in(2);
    }
    assert!(
        bench
            .others
            .iter()
            .any(|other| other.starts_with("Disconnect")),
        "{:?}",
        bench.others
    );
    assert!(bench.received().contains(&"1: accepted 4".to_owned()));
    let slots = bench.slot();
    // Nine packet-ins, without the last one of the lost channel, and its SwitchDown.
    assert_eq!((slots.events, slots.lost), (4 + 9 + 1, 0));
}
