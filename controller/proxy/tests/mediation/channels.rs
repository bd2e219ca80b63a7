//! The OpenFlow port: switches, and peers that are none.

use std::time::Duration;

use morph_api::Role;
use morph_api::cookie::Cookie;
use morph_api::session::event;
use morph_api::store::Seq;
use morph_api::supervisor::{
    CleanRequest, CleanSwitchRequest, FlowsRequest, ForgetSwitchRequest, PortsRequest, observation,
};
use morph_fake_switch::RequestKind;
use morph_openflow::MessageType;
use morph_openflow::rule::{RuleBody, RuleKey};
use morph_openflow::v13::{Match, multipart_kind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::deadline::{eventually, within_deadline};
use crate::fixture::Fixture;
use crate::switch::Switch;

async fn connected(fixture: &Fixture, count: usize) {
    let what = format!("{count} switches");
    eventually(&what, async || {
        (fixture.switches().await.len() == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_switch_is_described_and_gets_table_0_and_the_exit_tables_once() {
    let fixture = Fixture::new().await;
    let mut observer = fixture.observe().await;
    let switch = Switch::connect(fixture.address, 0x2a).await;
    let up = observer
        .find(|what| match what {
            observation::What::Switch(change) => Some((change.dpid, change.up)),
            _ => None,
        })
        .await;
    assert_eq!(up, (0x2a, true));
    // LLDP, table 0 to the first app, its exit table to the second, the last exit table.
    switch.has_rules(4).await;
    let switches = fixture.switches().await;
    let found = &switches[0];
    assert_eq!(
        (
            found.dpid,
            found.manufacturer.as_str(),
            found.ports,
            found.tables,
            found.version
        ),
        (0x2a, "Fake", 2, 254, 4)
    );
    let rules = switch.rules();
    drop(switch);
    observer
        .find(|what| match what {
            observation::What::Switch(change) => (!change.up).then_some(()),
            _ => None,
        })
        .await;
    let again = Switch::with_rules(fixture.address, 0x2a, rules.clone()).await;
    connected(&fixture, 1).await;
    assert_eq!(fixture.switches().await[0].disconnects, 1);
    // A change for this switch shows that it was read again.
    fixture.configure(&[("learning-switch", 1, 10, 19)]).await;
    again.has_rules(2).await;
    assert_eq!(
        again.flow_mods(),
        3,
        "one changed, two removed, and none before that"
    );
}

#[tokio::test]
async fn garbage_is_closed_and_nobody_else_notices() {
    let fixture = Fixture::new().await;
    let switch = Switch::connect(fixture.address, 1).await;
    connected(&fixture, 1).await;
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"A\n",
        b"\x16\x03\x01\x00\x05hello",
        &[0xff; 4096],
        // Hello with a wrong length, and a second message that is none.
        &[4, 0, 0, 3, 0, 0, 0, 0],
        &[4, 0, 0, 8, 0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9],
        // Features reply that is too short.
        &[4, 0, 0, 8, 0, 0, 0, 0, 4, 6, 0, 12, 0, 0, 0, 0, 1, 2, 3, 4],
    ] {
        let mut stream = TcpStream::connect(fixture.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // Closed, or reset if not everything was read.
        let _ = within_deadline("the end of garbage", stream.read_to_end(&mut answer)).await;
    }
    // Peer that goes in the middle of a message.
    let mut stream = TcpStream::connect(fixture.address).await.unwrap();
    stream.write_all(&[4, 0, 0, 16, 0]).await.unwrap();
    drop(stream);
    assert!(!switch.is_closed());
    connected(&fixture, 1).await;
}

#[tokio::test]
async fn a_switch_of_another_version_is_told_why_it_is_refused() {
    let fixture = Fixture::new().await;
    let mut stream = eventually("the port", async || {
        TcpStream::connect(fixture.address).await.ok()
    })
    .await;
    stream.write_all(&[2, 0, 0, 8, 0, 0, 0, 5]).await.unwrap();
    let mut answer = Vec::new();
    within_deadline("a refusal", stream.read_to_end(&mut answer))
        .await
        .unwrap();
    // Hello of the proxy, then an error of the peer's version: HELLO_FAILED, INCOMPATIBLE, and a text.
    let error = &answer[16..];
    assert_eq!((error[0], error[1], &error[8..12]), (2, 1, &[0u8; 4][..]));
    let text = String::from_utf8_lossy(&error[12..]);
    assert!(
        text.contains("speaks OpenFlow 1.1 only") && text.contains("OpenFlow13"),
        "{text}"
    );
}

#[tokio::test]
async fn a_second_switch_with_a_known_datapath_id_is_refused_while_the_first_lives() {
    let fixture = Fixture::new().await;
    let first = Switch::connect(fixture.address, 7).await;
    connected(&fixture, 1).await;
    let mut second = Switch::connect(fixture.address, 7).await;
    second.closed().await;
    assert!(!first.is_closed());
    // A silent switch is replaced after two seconds.
    let mut first = first;
    first.be_mute();
    let third = Switch::connect(fixture.address, 7).await;
    first.closed().await;
    third.has_rules(4).await;
    connected(&fixture, 1).await;
}

#[tokio::test]
async fn morphd_asks_switches() {
    let fixture = Fixture::new().await;
    let switch = Switch::connect(fixture.address, 7).await;
    switch.has_rules(4).await;
    let mut control = fixture.control.clone();
    let flows = control
        .flows(FlowsRequest { dpid: 7 })
        .await
        .unwrap()
        .into_inner()
        .flows;
    assert_eq!(flows.len(), 4);
    let goto = flows
        .iter()
        .find(|flow| flow.table == 0 && flow.priority == 0)
        .unwrap();
    assert_eq!(Cookie::from_u64(goto.cookie).unwrap().app, 0);
    assert!(goto.instructions.contains('2'), "{}", goto.instructions);
    assert!(
        control
            .ports(PortsRequest { dpid: 7 })
            .await
            .unwrap()
            .into_inner()
            .ports
            .is_empty()
    );
    let missing = control.flows(FlowsRequest { dpid: 8 }).await.unwrap_err();
    assert_eq!(missing.code(), tonic::Code::NotFound);
    assert!(missing.message().contains("0000000000000008"), "{missing}");
    switch.be_mute();
    let silent = control.flows(FlowsRequest { dpid: 7 }).await.unwrap_err();
    assert_eq!(silent.code(), tonic::Code::DeadlineExceeded);
}

#[tokio::test]
async fn an_app_is_cleaned_off_all_switches() {
    let fixture = Fixture::new().await;
    let cookie = |app| Cookie {
        app,
        epoch: 3,
        own: 0,
    };
    let rule = |app: u8| {
        let key = RuleKey {
            table: 11,
            priority: u16::from(app),
            match_: Match::new().into(),
        };
        let body = RuleBody {
            instructions: [].into(),
            idle_timeout: 0,
            hard_timeout: 0,
            flags: 0,
            cookie: cookie(app).to_u64(),
        };
        (key, body)
    };
    let rules = [rule(1), rule(2)].into_iter().collect();
    let switch = Switch::with_rules(fixture.address, 7, rules).await;
    switch.has_rules(6).await;
    let request = CleanRequest {
        app: "topology".into(),
        id: 2,
    };
    let reply = fixture
        .control
        .clone()
        .clean(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(reply.switches, 1);
    // The LLDP rule belongs to topology, too, but is still wanted.
    switch.has_rules(5).await;
    let tables: Vec<_> = switch
        .rules()
        .into_keys()
        .map(|key| (key.table, key.priority))
        .collect();
    assert_eq!(tables, [(0, 0), (0, 0xffff), (9, 0), (11, 1), (19, 0)]);
}

#[tokio::test]
async fn a_cleaned_switch_keeps_foreign_rules_and_gets_back_what_is_wanted() {
    let mut fixture = Fixture::new().await;
    let ours = |app| Cookie {
        app,
        epoch: 3,
        own: 0,
    };
    let rule = |priority, cookie| {
        let key = RuleKey {
            table: 11,
            priority,
            match_: Match::new().into(),
        };
        let body = RuleBody {
            instructions: [].into(),
            idle_timeout: 0,
            hard_timeout: 0,
            flags: 0,
            cookie,
        };
        (key, body)
    };
    // Rules of a present app, of an absent one, and two foreign ones.
    let there = [
        rule(1, ours(1).to_u64()),
        rule(9, ours(9).to_u64()),
        rule(98, 5),
        rule(99, u64::MAX),
    ];
    let switch = Switch::with_rules(fixture.address, 7, there.into_iter().collect()).await;
    switch.has_rules(8).await;
    let mut instance = fixture.instance("a").await;
    fixture.resume("a", 1, Seq::ZERO).await;
    instance.resumed().await;
    for _ in 0..2 {
        let (event, _) = instance.event().await;
        instance.answer(&event).await;
    }
    let request = CleanSwitchRequest { dpid: 7 };
    let reply = within_deadline("clean", fixture.control.clone().clean_switch(request)).await;
    let cleaned = reply.unwrap().into_inner().apps;
    let counts: Vec<_> = cleaned.iter().map(|app| (app.id, app.rules)).collect();
    assert_eq!(counts, [(0, 3), (1, 1), (2, 1), (9, 1)]);
    // Table 0 and the exit tables belong to Morpheus; the app is told to compare.
    switch.has_rules(6).await;
    let foreign = switch.rules().into_values();
    let foreign = foreign.filter(|rule| Cookie::from_u64(rule.cookie).is_none());
    assert_eq!(foreign.count(), 2);
    let (event, _) = instance.event().await;
    assert!(matches!(event.what, Some(event::What::Resync(resync)) if resync.dpid == 7));
    let missing = CleanSwitchRequest { dpid: 8 };
    let missing = fixture.control.clone().clean_switch(missing).await;
    assert_eq!(missing.unwrap_err().code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn a_switch_is_forgotten_once_it_is_gone() {
    let mut fixture = Fixture::new().await;
    let switch = Switch::connect(fixture.address, 7).await;
    connected(&fixture, 1).await;
    let mut instance = fixture.instance("a").await;
    fixture.resume("a", 1, Seq::ZERO).await;
    instance.resumed().await;
    for _ in 0..2 {
        let (event, _) = instance.event().await;
        instance.answer(&event).await;
    }
    let mut control = fixture.control.clone();
    let request = ForgetSwitchRequest { dpid: 7 };
    let refused = within_deadline("forget", control.forget_switch(request)).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
    assert!(refused.message().contains("is connected"), "{refused}");
    drop(switch);
    connected(&fixture, 0).await;
    let (down, _) = instance.event().await;
    instance.answer(&down).await;
    let told = within_deadline("forget", control.forget_switch(request)).await;
    let told = told.unwrap().into_inner().apps;
    assert_eq!(told, ["topology", "learning-switch"]);
    let (event, _) = instance.event().await;
    let Some(event::What::Resync(resync)) = event.what else {
        panic!("{event:?}");
    };
    assert_eq!((resync.dpid, resync.forget), (7, true));
}

#[tokio::test]
async fn a_proxy_that_ends_closes_its_channels_and_removes_its_sockets() {
    let mut fixture = Fixture::new().await;
    let mut switch = Switch::connect(fixture.address, 7).await;
    connected(&fixture, 1).await;
    let second = morph_proxy::Proxy::bind(morph_proxy::Options {
        run_dir: fixture.dir.path().to_owned(),
        node: "node1".into(),
        openflow: vec!["127.0.0.1:0".parse().unwrap()],
        quota: None,
        target_delay: None,
        role: Role::Equal,
    });
    let error = second.unwrap_err().to_string();
    assert!(error.contains("another morph-proxy runs in"), "{error}");
    assert!(error.contains(&std::process::id().to_string()), "{error}");
    fixture.stop_proxy().await;
    switch.closed().await;
    assert!(!fixture.dir.path().join("proxy.sock").exists());
    assert!(!fixture.dir.path().join("sessions.sock").exists());
    fixture.start_proxy().await;
    tokio::time::timeout(Duration::from_secs(5), fixture.configure(&[]))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_switch_that_refuses_requests_is_used_without_what_they_ask_for() {
    let fixture = Fixture::new().await;
    let message = RequestKind::Message;
    for (dpid, (refused, name)) in (1..).zip([
        (message(MessageType::BARRIER_REQUEST), "barrier"),
        (message(MessageType::SET_CONFIG), "set-config"),
        (message(MessageType::ROLE_REQUEST), "role"),
        (
            RequestKind::Multipart(multipart_kind::PORT_DESC),
            "port-desc",
        ),
        (RequestKind::Multipart(multipart_kind::DESC), "desc"),
    ]) {
        let switch = Switch::refusing(fixture.address, dpid, &[refused]).await;
        switch.has_rules(4).await;
        let request = CleanRequest {
            app: "learning-switch".into(),
            id: 1,
        };
        let mut control = fixture.control.clone();
        let cleaned = within_deadline("clean", control.clean(request)).await;
        assert_eq!(cleaned.unwrap().into_inner().switches, 1, "{name}");
        let switches = fixture.switches().await;
        assert_eq!(switches[0].refuses, [name]);
        // The removal of an app is confirmed where barriers are refused, too.
        assert_eq!(
            (switches[0].dpid, switches[0].errors > 0),
            (dpid, name != "role")
        );
        drop(switch);
        connected(&fixture, 0).await;
    }
}

#[tokio::test]
async fn a_rule_that_cannot_be_decoded_does_not_keep_table_0_from_its_rules() {
    let fixture = Fixture::new().await;
    let first = Switch::connect(fixture.address, 7).await;
    first.has_rules(4).await;
    let mut rules = first.rules();
    drop(first);
    connected(&fixture, 0).await;
    // A wanted rule is missing, and another one garbled.
    rules.pop_last();
    let switch = Switch::garbling(fixture.address, 7, rules).await;
    switch.has_rules(4).await;
    let mut control = fixture.control.clone();
    let flows = within_deadline("flows", control.flows(FlowsRequest { dpid: 7 })).await;
    assert_eq!(flows.unwrap().into_inner().flows.len(), 3);
}
