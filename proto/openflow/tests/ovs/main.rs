//! Tests codec and normal form against a real Open vSwitch with database, sockets and namespace of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

mod cases;
mod groups;
mod switch;

use bytes::Bytes;
use morph_openflow::MacAddr;
use morph_openflow::rule::{self, RuleBody, RuleKey, RuleSet};
use morph_openflow::v13::flow_mod::flag;
use morph_openflow::v13::{
    Action, FlowMod, FlowStatsRequest, Instruction, Match, Message, MultipartBody,
    MultipartRequest, NO_BUFFER, PacketOut, Role, SwitchConfig, flow_removed, packet_in, port,
    port_reason, role,
};
use switch::{Connection, Switch};

fn start() -> Switch {
    if let Some(why) = Switch::missing() {
        panic!("these tests need Open vSwitch and root (make test): {why}");
    }
    Switch::start()
}

fn installed(connection: &mut Connection) -> RuleSet {
    let request = FlowStatsRequest::by_cookie(cases::COOKIE, u64::MAX);
    let rules = connection.rules(request);
    rules.iter().map(rule::from_stats).collect()
}

/// Checks that the rule with this key is reported in the same normal form.
fn check(connection: &mut Connection, key: &RuleKey, body: &RuleBody) {
    let request = FlowStatsRequest {
        table_id: key.table,
        match_: key.match_.normal(),
        ..FlowStatsRequest::all()
    };
    let wanted = RuleKey::new(key.table, key.priority, &key.match_);
    let there: Vec<(RuleKey, RuleBody)> = connection
        .rules(request)
        .iter()
        .map(rule::from_stats)
        .filter(|(key, _)| *key == wanted)
        .collect();
    assert_eq!(there, [(wanted, body.normal())], "{key} {body}");
}

#[test]
fn a_rule_is_reported_as_it_was_sent() {
    let switch = start();
    let mut connection = switch.connect();
    let mut wanted = RuleSet::new();
    for (key, body) in cases::wanted() {
        let as_written = FlowMod {
            match_: (*key.match_).clone(),
            instructions: body.instructions.to_vec(),
            ..FlowMod::add(&key, &body)
        };
        for flow_mod in [as_written, FlowMod::add(&key, &body)] {
            if let Err(error) = connection.flow_mod(&flow_mod) {
                panic!("{key} {body}: {error}");
            }
            check(&mut connection, &key, &body);
        }
        wanted.insert(key, body);
    }
    let installed = installed(&mut connection);
    let difference = rule::difference(&installed, &wanted, 0);
    assert!(difference.is_empty(), "{difference:#?}");
    assert_eq!(difference.unchanged, wanted.len());
}

#[test]
fn the_flow_mods_of_a_difference_install_the_wanted_rules() {
    let switch = start();
    let mut connection = switch.connect();
    let all = cases::wanted();
    let first: RuleSet = all
        .iter()
        .filter(|(k, _)| k.priority % 3 != 0)
        .cloned()
        .collect();
    let mut second: RuleSet = all
        .iter()
        .filter(|(k, _)| k.priority % 3 != 1)
        .cloned()
        .collect();
    for (key, body) in &mut second {
        if key.priority % 2 == 0 {
            body.instructions = [Instruction::GotoTable(30)].into();
        }
    }
    for wanted in [&first, &second] {
        let difference = rule::difference(&installed(&mut connection), wanted, 0);
        for flow_mod in difference.flow_mods() {
            connection.flow_mod(&flow_mod).unwrap();
        }
        let after = rule::difference(&installed(&mut connection), wanted, 0);
        assert!(after.is_empty(), "{after:#?}");
    }
}

#[test]
fn each_message_is_understood() {
    let switch = start();
    let mut connection = switch.connect();
    requests_are_answered(&mut connection);
    invalid_requests_are_refused_with_an_error(&mut connection);
    packets_pass_both_ways(&mut connection);
    switch.vsctl(&[
        "add-port",
        "br0",
        "p1",
        "--",
        "set",
        "Interface",
        "p1",
        "type=internal",
    ]);
    let status = connection.expect(|message| match message {
        Message::PortStatus(status) if status.reason == port_reason::ADD => Some(status),
        _ => None,
    });
    assert_eq!(status.port.name, "p1");
}

fn requests_are_answered(connection: &mut Connection) {
    connection.send(&Message::FeaturesRequest);
    let Message::FeaturesReply(features) = connection.receive().1 else {
        panic!("no features");
    };
    assert_eq!(features.n_tables, 254);
    connection.send(&Message::SetConfig(SwitchConfig {
        flags: 0,
        miss_send_len: 0xffff,
    }));
    connection.send(&Message::GetConfigRequest);
    let Message::GetConfigReply(config) = connection.receive().1 else {
        panic!("no configuration");
    };
    assert_eq!(config.miss_send_len, 0xffff);
    connection.send(&Message::RoleRequest(Role {
        role: role::NOCHANGE,
        generation_id: 0,
    }));
    let Message::RoleReply(role) = connection.receive().1 else {
        panic!("no role");
    };
    assert_eq!(role.role, role::EQUAL);
    connection.send(&Message::EchoRequest(Bytes::from_static(b"echo")));
    assert_eq!(
        connection.receive().1,
        Message::EchoReply(Bytes::from_static(b"echo"))
    );

    let desc = connection.multipart(MultipartRequest::Desc);
    assert!(matches!(&desc[..], [MultipartBody::Desc(desc)] if desc.hw_desc == "Open vSwitch"));
    let ports = connection.multipart(MultipartRequest::PortDesc);
    assert!(matches!(&ports[..], [MultipartBody::PortDesc(ports)] if ports[0].name == "br0"));
    let request = MultipartRequest::PortStats { port_no: port::ANY };
    let stats = connection.multipart(request);
    assert!(matches!(&stats[..], [MultipartBody::PortStats(s)] if s[0].port_no == port::LOCAL));
    let sum = connection.multipart(MultipartRequest::Aggregate(FlowStatsRequest::all()));
    assert!(matches!(&sum[..], [MultipartBody::Aggregate(sum)] if sum.flow_count == 0));
}

fn invalid_requests_are_refused_with_an_error(connection: &mut Connection) {
    let without_ethertype = FlowMod {
        match_: Match::new().ipv4_dst([10, 0, 0, 1].into()),
        ..FlowMod::default()
    };
    let error = connection.flow_mod(&without_ethertype).unwrap_err();
    assert_eq!(error.to_string(), "BAD_MATCH/BAD_PREREQ");
}

/// Sends a packet-out through the tables; it must come back as a packet-in, and the expiry of its rule must be
/// reported.
fn packets_pass_both_ways(connection: &mut Connection) {
    let key = RuleKey::new(0, 7, &Match::new().eth_type(0x88cc));
    let body = RuleBody {
        instructions: [Instruction::ApplyActions(vec![Action::to_controller()])].into(),
        flags: flag::SEND_FLOW_REM,
        cookie: cases::COOKIE,
        ..RuleBody::default()
    };
    connection.flow_mod(&FlowMod::add(&key, &body)).unwrap();
    let mut packet = [MacAddr::BROADCAST.0, [2, 0, 0, 0, 0, 1]].concat();
    packet.extend_from_slice(&[0x88, 0xcc]);
    packet.resize(60, 0x5a);
    connection.send(&Message::PacketOut(PacketOut {
        buffer_id: NO_BUFFER,
        in_port: port::LOCAL,
        actions: vec![Action::output(port::TABLE)],
        data: packet.clone().into(),
    }));
    let back = connection.expect(|message| match message {
        Message::PacketIn(packet_in) => Some(packet_in),
        _ => None,
    });
    assert_eq!(
        (back.in_port(), back.cookie),
        (Some(port::LOCAL), cases::COOKIE)
    );
    assert_eq!(
        (back.reason, &back.data[..]),
        (packet_in::reason::ACTION, &packet[..])
    );
    connection.send(&Message::FlowMod(FlowMod::delete_strict(
        &key,
        cases::COOKIE,
    )));
    let removed = connection.expect(|message| match message {
        Message::FlowRemoved(removed) => Some(removed),
        _ => None,
    });
    assert_eq!(
        (removed.match_, removed.reason),
        ((*key.match_).clone(), flow_removed::reason::DELETE)
    );
    assert_eq!((removed.priority, removed.packet_count), (7, 1));
}
