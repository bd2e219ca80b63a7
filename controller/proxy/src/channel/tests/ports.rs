//! Tests of ports that change during the handshake.

use super::*;

/// Port state bits `OFPPS_LIVE` and `OFPPS_LINK_DOWN`.
const UP: u32 = 4;
const DOWN: u32 = 1;

/// Message of the switch about its ports: number and state.
#[derive(Debug, Clone, Copy)]
enum Says {
    Added(u32),
    Deleted(u32),
    Changed(u32, u32),
    /// Part of the description, with all ports up; the last one has a 0 at its end.
    Part(&'static [u32]),
}
use Says::{Added, Changed, Deleted, Part};

/// Messages before the features reply, before the admission, and then; and the ports that apps learn.
type Case = (
    &'static [Says],
    &'static [Says],
    &'static [Says],
    &'static [(u32, u32)],
);

fn in_state(number: u32, state: u32) -> Port {
    Port {
        state,
        ..port(number)
    }
}

/// Sends messages in the order given: before the features reply, before the datapath id is admitted, and then. Returns what
/// apps learn: ports of `SwitchUp` with their states, and the kinds of the messages that follow it.
fn learned(
    before_features: &[Says],
    before_admission: &[Says],
    then: &[Says],
) -> (Vec<(u32, u32)>, Vec<String>) {
    let mut bench = Bench::new();
    bench.sent();
    bench.message(Message::Hello(Hello::V13), 1);
    let xid = bench.sent()[0].0.xid;
    for says in before_features {
        assert!(bench.port_says(*says, 0).is_empty());
    }
    assert_eq!(bench.message(features(0), xid), ["identified 2a"]);
    for says in before_admission {
        assert!(bench.port_says(*says, 0).is_empty());
    }
    bench.put(ChannelInput::Admit);
    let requests = bench.sent();
    let xid = |index: usize| requests[index].0.xid;
    for says in then {
        assert!(bench.port_says(*says, xid(2)).is_empty());
    }
    assert!(bench.message(error(1, 2), xid(3)).is_empty());
    let mut events = bench.message(Message::BarrierReply, xid(4));
    assert_eq!(events.remove(0), "ready");
    let ports = bench.channel.switch_up(1).ports;
    let ports = ports.iter().map(|port| (port.number, port.state)).collect();
    (ports, events)
}

impl Bench {
    fn port_says(&mut self, says: Says, xid: u32) -> Vec<String> {
        let status = |reason, port| Message::PortStatus(PortStatus { reason, port });
        match says {
            Added(number) => self.message(status(port_reason::ADD, port(number)), 0),
            Deleted(number) => self.message(status(port_reason::DELETE, port(number)), 0),
            Changed(number, state) => {
                self.message(status(port_reason::MODIFY, in_state(number, state)), 0)
            }
            Part(numbers) => {
                let more = numbers.last() != Some(&0);
                let ports = numbers.iter().filter(|number| **number != 0);
                let body = MultipartBody::PortDesc(ports.map(|n| in_state(*n, UP)).collect());
                self.message(Message::MultipartReply(MultipartReply { more, body }), xid)
            }
        }
    }
}

#[test]
fn the_newest_word_about_a_port_counts_whenever_it_came() {
    const WHOLE: &[Says] = &[Part(&[1, 2, 0])];
    const BOTH_UP: &[(u32, u32)] = &[(1, UP), (2, UP)];
    const TESTS: &[Case] = &[
        // Changes before the description are older than it.
        (&[Changed(1, DOWN)], &[], WHOLE, BOTH_UP),
        (&[], &[Changed(1, DOWN)], WHOLE, BOTH_UP),
        (&[], &[], &[Changed(1, DOWN), Part(&[1, 2, 0])], BOTH_UP),
        (&[Added(1), Deleted(2)], &[], WHOLE, BOTH_UP),
        (&[], &[Added(1), Deleted(2)], WHOLE, BOTH_UP),
        (&[Deleted(3)], &[Deleted(4)], WHOLE, BOTH_UP),
        // The switch had added a port, and says nothing else of it.
        (&[Added(9)], &[], WHOLE, &[(1, UP), (2, UP), (9, 4)]),
        (&[Added(9)], &[Deleted(9)], WHOLE, BOTH_UP),
        // Changes after a part are newer than this part, and older than the next ones.
        (
            &[],
            &[],
            &[Part(&[1]), Changed(1, DOWN), Part(&[2, 0])],
            &[(1, DOWN), (2, UP)],
        ),
        (
            &[],
            &[],
            &[Part(&[1]), Changed(2, DOWN), Part(&[2, 0])],
            BOTH_UP,
        ),
        (
            &[],
            &[],
            &[Part(&[1]), Deleted(1), Added(7), Part(&[2, 0])],
            &[(2, UP), (7, 4)],
        ),
        (
            &[Changed(1, DOWN)],
            &[],
            &[Part(&[1, 2, 0]), Changed(2, DOWN)],
            &[(1, UP), (2, DOWN)],
        ),
    ];
    for (before_features, before_admission, then, ports) in TESTS {
        let (found, events) = learned(before_features, before_admission, then);
        let case = format!("{before_features:?} {before_admission:?} {then:?}");
        assert_eq!(found, *ports, "{case}");
        // `SwitchUp` says it all: an event after it would take back what is newer.
        assert!(events.is_empty(), "{case}: {events:?}");
    }
}

#[test]
fn a_port_status_that_cannot_be_read_ends_the_channel_before_the_features_too() {
    let mut bench = Bench::new();
    bench.message(Message::Hello(Hello::V13), 1);
    let cut = Bytes::from_static(&[4, 12, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0]);
    let closed = bench.put(ChannelInput::Frame(cut)).join("");
    assert!(closed.contains("malformed PORT_STATUS"), "{closed}");
}
