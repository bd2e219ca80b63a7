//! Channels that apps do not see, and connections before their hello.

use super::*;

#[test]
fn ports_of_a_switch_that_apps_do_not_see_are_told_by_its_next_switch_up() {
    let mut bench = Bench::live(1 << 20);
    bench.attach(2, "b");
    let role = |role| {
        Message::RoleReply(v13::Role {
            role,
            generation_id: 0,
        })
    };
    let port = |port_no| v13::PortStatus {
        reason: v13::port_reason::ADD,
        port: morph_fake_switch::port(port_no),
    };
    bench.frame(1, Message::PortStatus(port(5)));
    bench.answer(3);
    bench.received.clear();
    // Another controller is master for a while. The role request of the handshake has xid 3.
    let slave = role(v13::role::SLAVE).encode(3);
    bench.put(Input::Frames {
        conn: 1,
        frames: vec![slave],
    });
    bench.answer(4);
    assert!(bench.received().contains(&"2: down 7".to_owned()));
    bench.frame(1, Message::PortStatus(port(6)));
    assert!(bench.received.is_empty(), "{:?}", bench.received);
    bench.later(10 * SECOND);
    let equal = role(v13::role::EQUAL);
    for xid in 0..20 {
        bench.put(Input::Frames {
            conn: 1,
            frames: vec![equal.encode(xid)],
        });
    }
    let received = bench.received();
    assert!(received.contains(&"2: up 7".to_owned()), "{received:?}");
    let ports = bench.mediator.switches[&1].channel.switch_up(1).ports;
    assert_eq!(
        ports.iter().map(|port| port.number).collect::<Vec<_>>(),
        [5, 6]
    );
}

#[test]
fn connections_without_a_hello_are_bounded_for_each_peer_but_this_machine() {
    let mut bench = Bench::new(1 << 20);
    let mut conn = 0;
    let mut connect = |bench: &mut Bench, remote: &str, count: u32| {
        let before = bench.others.len();
        for port in 0..count {
            conn += 1;
            let remote = format!("{remote}:{}", 1000 + port);
            bench.put(Input::Connected { conn, remote });
        }
        bench.others.len() - before
    };
    assert_eq!(connect(&mut bench, "10.0.0.9", 256), 0);
    assert_eq!(connect(&mut bench, "10.0.0.9", 100), 100);
    assert_eq!(connect(&mut bench, "10.0.0.8", 1), 0, "another peer");
    assert_eq!(connect(&mut bench, "127.0.0.1", 400), 0);
    assert_eq!(connect(&mut bench, "[::1]", 400), 0);
    // A hello makes room for another connection.
    bench.frame(1, Message::Hello(Hello::V13));
    assert_eq!(connect(&mut bench, "10.0.0.9", 2), 1);
    // The others are closed after 10 s.
    bench.later(10 * SECOND);
    assert_eq!(connect(&mut bench, "10.0.0.9", 200), 0);
}
