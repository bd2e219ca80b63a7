//! Sessions, events and turns.

use std::time::Duration;

use bytes::Bytes;
use morph_api::cookie::Cookie;
use morph_api::session::{event, from_app, to_app};
use morph_api::store::Seq;
use morph_api::supervisor::{InstructRequest, observation};
use morph_openflow::rule::{RuleBody, RuleKey};
use morph_openflow::v13::{
    self, ErrorMsg, FlowMod, FlowStatsRequest, Match, Message, MultipartBody, MultipartRequest,
};

use crate::fixture::{APP, Fixture};
use crate::instance::{Instance, packet_out};
use crate::switch::Switch;

fn flow(table: u8, app: u8, epoch: u16) -> Message {
    let key = RuleKey {
        table,
        priority: 5,
        match_: Match::new().in_port(1).into(),
    };
    let cookie = Cookie { app, epoch, own: 1 };
    let body = RuleBody {
        instructions: [].into(),
        idle_timeout: 0,
        hard_timeout: 0,
        flags: 0,
        cookie: cookie.to_u64(),
    };
    Message::FlowMod(FlowMod::add(&key, &body))
}

/// Starts a switch and a live instance that has answered its first events.
async fn live() -> (Fixture, Switch, Instance) {
    let mut fixture = Fixture::new().await;
    let switch = Switch::connect(fixture.address, 7).await;
    switch.has_rules(4).await;
    let mut instance = fixture.instance("a").await;
    fixture.resume("a", 1, Seq::ZERO).await;
    instance.resumed().await;
    let (resync, _) = instance.event().await;
    assert!(
        matches!(resync.what, Some(event::What::Resync(_))),
        "{resync:?}"
    );
    assert_eq!(
        resync.seq,
        Some(Seq {
            incarnation: instance.incarnation,
            n: 1
        })
    );
    instance.answer(&resync).await;
    let (up, _) = instance.event().await;
    assert!(
        matches!(&up.what, Some(event::What::SwitchUp(up)) if up.dpid == 7 && up.ports.len() == 2)
    );
    instance.answer(&up).await;
    (fixture, switch, instance)
}

#[tokio::test]
async fn a_packet_in_becomes_an_event_and_its_turn_reaches_the_switch() {
    let (fixture, mut switch, mut instance) = live().await;
    let place = instance.pipeline.unwrap();
    assert_eq!(
        (place.app_id, place.first_table, place.last_table),
        (1, 10, 19)
    );
    assert_eq!(instance.switches[0].dpid, 7);
    let channel = instance.switches[0].channel;
    switch.packet_in(10, u64::MAX, b"first").await;
    let (event, data) = instance.packet_in().await;
    assert_eq!(
        (&data[..], event.replayed, event.dpid),
        (&b"first"[..], false, 7)
    );
    instance
        .turn(
            &[
                (channel, 0, packet_out(b"out")),
                (channel, 9, flow(10, 1, 1)),
            ],
            event.seq,
        )
        .await;
    assert_eq!(instance.accepted().await, 3);
    assert_eq!(switch.packet_out().await, "out");
    switch.has_rules(5).await;
    switch.packet_in(10, u64::MAX, b"second").await;
    let (event, data) = instance.packet_in().await;
    assert_eq!(data, "second");
    instance.answer(&event).await;
    // Packet-ins of another app, and of none.
    switch.packet_in(2, u64::MAX, b"topology's").await;
    switch.packet_in(100, u64::MAX, b"nobody's").await;
    switch
        .packet_in(
            0,
            Cookie {
                app: 1,
                epoch: 1,
                own: 1,
            }
            .to_u64(),
            b"by cookie",
        )
        .await;
    assert_eq!(instance.packet_in().await.1, "by cookie");
    let slot = fixture.slot().await;
    assert_eq!((slot.flow_mods, slot.packet_outs, slot.events), (1, 1, 5));
    assert_eq!(
        (slot.instance.as_str(), slot.epoch, slot.backlog),
        ("a", 1, 1)
    );
}

#[tokio::test]
async fn a_turn_with_one_wrong_command_is_not_sent_at_all() {
    let (fixture, mut switch, mut instance) = live().await;
    let channel = instance.switches[0].channel;
    switch.packet_in(10, u64::MAX, b"x").await;
    let (event, _) = instance.packet_in().await;
    for (wrong, expected) in [
        ((channel, 0, flow(19, 1, 1)), "command 2 of 2, for channel"),
        ((channel, 0, flow(10, 2, 1)), "is not learning-switch's"),
        ((channel, 0, flow(10, 1, 2)), "does not bear epoch 1"),
        (
            (channel + 99, 0, flow(10, 1, 1)),
            "no switch ever had this channel",
        ),
        (
            (channel, 0, Message::FeaturesRequest),
            "apps may not send it",
        ),
    ] {
        instance
            .turn(&[(channel, 0, packet_out(b"no")), wrong], event.seq)
            .await;
        let rejected = instance.rejected().await;
        assert!(
            !rejected.stale && rejected.message.contains(expected),
            "{rejected:?}"
        );
    }
    // Commands for a channel that is gone are discarded.
    instance
        .turn(&[(channel, 0, packet_out(b"yes"))], event.seq)
        .await;
    instance.accepted().await;
    assert_eq!(switch.packet_out().await, "yes");
    assert_eq!(
        (fixture.slot().await.rejected, switch.rules().len()),
        (5, 4)
    );
    instance.epoch = 0;
    instance.turn(&[], None).await;
    assert!(instance.rejected().await.stale);
}

#[tokio::test]
async fn replies_and_errors_come_back_with_the_tokens_of_those_who_asked() {
    let (fixture, switch, mut instance) = live().await;
    let channel = instance.switches[0].channel;
    // An instance that is not live may read, too.
    let mut other = fixture.instance("b").await;
    let (cookie, mask) = Cookie::all_of(0);
    let question = MultipartRequest::Flow(FlowStatsRequest::by_cookie(cookie, mask));
    other
        .read(channel, 77, Message::MultipartRequest(question))
        .await;
    let mut rules = 0;
    for more in [true, false] {
        assert!(
            matches!(other.control().await, to_app::Record::Reply(reply) if reply.channel == channel)
        );
        let (header, reply) = v13::decode(&other.message().await.1).unwrap();
        assert_eq!(header.xid, 77);
        match reply {
            Message::MultipartReply(reply) => {
                assert_eq!(reply.more, more);
                if let MultipartBody::Flow(stats) = reply.body {
                    rules += stats.len();
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(rules, 3, "all of app 0");
    // Barrier within a turn.
    instance
        .turn(&[(channel, 5, Message::BarrierRequest)], None)
        .await;
    instance.accepted().await;
    assert!(matches!(instance.control().await, to_app::Record::Reply(_)));
    assert_eq!(v13::decode(&instance.message().await.1).unwrap().0.xid, 5);
    // The proxy numbers messages on a channel one by one, so the next flow-mod has the following xid.
    let last = switch_xid(&switch, &mut instance, channel).await;
    instance.turn(&[(channel, 6, flow(10, 1, 1))], None).await;
    instance.accepted().await;
    switch.has_rules(5).await;
    let error = Message::Error(ErrorMsg {
        kind: 5,
        code: 1,
        data: Bytes::new(),
    });
    switch.say(last + 1, error).await;
    assert!(matches!(instance.control().await, to_app::Record::Reply(_)));
    let (header, error) = v13::decode(&instance.message().await.1).unwrap();
    assert!(
        header.xid == 6 && matches!(error, Message::Error(_)),
        "{error:?}"
    );
    assert_eq!(fixture.switches().await[0].errors, 100);
}

/// Returns the xid on the wire of a message that the instance sends now.
async fn switch_xid(switch: &Switch, instance: &mut Instance, channel: u32) -> u32 {
    // Errors for unknown xids are dropped: the first one passed on tells the xid.
    instance
        .turn(&[(channel, 4, packet_out(b"probe"))], None)
        .await;
    instance.accepted().await;
    for xid in 1..100 {
        let error = Message::Error(ErrorMsg {
            kind: 1,
            code: 0,
            data: Bytes::copy_from_slice(&u32::to_be_bytes(xid)),
        });
        switch.say(xid, error).await;
    }
    assert!(matches!(instance.control().await, to_app::Record::Reply(_)));
    match v13::decode(&instance.message().await.1).unwrap() {
        (header, Message::Error(error)) => {
            assert_eq!(header.xid, 4);
            u32::from_be_bytes(error.data[..].try_into().unwrap())
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn switches_and_ports_are_reported_to_all_as_events_or_as_information() {
    let (fixture, switch, mut instance) = live().await;
    let mut ready = fixture.instance("b").await;
    switch.port_status(2).await;
    let (event, message) = instance.event().await;
    assert!(matches!(message, Some(Message::PortStatus(_))), "{event:?}");
    instance.answer(&event).await;
    assert!(matches!(ready.control().await, to_app::Record::SwitchUp(up) if up.dpid == 7));
    drop(switch);
    let (event, _) = instance.event().await;
    assert!(matches!(event.what, Some(event::What::SwitchDown(down)) if down.dpid == 7));
    // Commands for a lost channel are discarded.
    let channel = instance.switches[0].channel;
    instance
        .turn(&[(channel, 0, packet_out(b"gone"))], event.seq)
        .await;
    instance.accepted().await;
    assert!(matches!(ready.control().await, to_app::Record::SwitchDown(down) if down.dpid == 7));
    let _second = Switch::connect(fixture.address, 8).await;
    let (event, _) = instance.event().await;
    assert!(
        matches!(event.what, Some(event::What::SwitchUp(up)) if up.dpid == 8 && up.channel > channel)
    );
    assert!(matches!(ready.control().await, to_app::Record::SwitchUp(up) if up.dpid == 8));
}

#[tokio::test]
async fn a_refused_session_is_told_the_reason() {
    let fixture = Fixture::new().await;
    let first = fixture.instance("a").await;
    for (app, name, expected) in [
        (
            APP,
            "a",
            "instance a of learning-switch is attached already",
        ),
        ("firewall", "f", "firewall is not among the present apps"),
    ] {
        let mut wrong = Instance::open(fixture.dir.path(), app, name, "1.0.0").await;
        match wrong.control().await {
            to_app::Record::Refused(refused) => {
                assert!(refused.message.contains(expected), "{refused:?}")
            }
            other => panic!("{other:?}"),
        }
        assert!(wrong.ended().await);
    }
    let mut garbled = fixture.instance("g").await;
    garbled.raw(&[0, 0, 0, 0, 0xff]).await;
    assert!(matches!(
        garbled.control().await,
        to_app::Record::Refused(_)
    ));
    assert!(garbled.ended().await);
    drop(first);
}

#[tokio::test]
async fn before_the_first_configuration_instances_wait() {
    let fixture = Fixture::unconfigured().await;
    let mut early = Instance::open(fixture.dir.path(), APP, "a", "1.0.0").await;
    let switch = Switch::connect(fixture.address, 7).await;
    let waited = tokio::time::timeout(Duration::from_millis(300), early.control()).await;
    assert!(waited.is_err(), "{waited:?}");
    assert!(switch.rules().is_empty(), "and no rule is touched");
    fixture.configure(&crate::fixture::APPS).await;
    early.welcome().await;
    assert_eq!(early.switches.len(), 1);
    switch.has_rules(4).await;
    // A session whose app is removed is refused.
    fixture.configure(&[]).await;
    assert!(matches!(early.control().await, to_app::Record::Refused(_)));
    switch.has_rules(0).await;
}

#[tokio::test]
async fn instances_and_morphd_speak_through_the_proxy() {
    let (fixture, _switch, mut instance) = live().await;
    let mut observer = fixture.observe().await;
    let mut kinds = Vec::new();
    loop {
        match observer.next().await {
            observation::What::Attached(attached) => {
                kinds.push(format!("{} attached", attached.instance))
            }
            observation::What::Switch(change) => {
                kinds.push(format!("{} {}", change.dpid, change.up))
            }
            observation::What::Resumed(resumed) => kinds.push(format!("{} live", resumed.instance)),
            observation::What::Synced(synced) => {
                assert_eq!(
                    (synced.incarnation, synced.pid),
                    (instance.incarnation, std::process::id())
                );
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(kinds, ["a attached", "7 true", "a live"]);
    instance
        .say(from_app::Record::Report(Bytes::from_static(b"report")))
        .await;
    let expected = observer
        .find(|what| match what {
            observation::What::InstanceReport(expected) => {
                Some((expected.instance.clone(), expected.report.clone()))
            }
            _ => None,
        })
        .await;
    assert_eq!(expected, ("a".to_owned(), Bytes::from_static(b"report")));
    let instruct = |name: &str| InstructRequest {
        app: APP.into(),
        instance: name.into(),
        instruction: Bytes::from_static(b"instruction"),
    };
    fixture
        .control
        .clone()
        .instruct(instruct("a"))
        .await
        .unwrap();
    assert!(
        matches!(instance.control().await, to_app::Record::Instruction(bytes) if bytes == "instruction")
    );
    let missing = fixture
        .control
        .clone()
        .instruct(instruct("z"))
        .await
        .unwrap_err();
    assert_eq!(missing.code(), tonic::Code::NotFound);
    let mut newer = fixture.observe().await;
    assert!(observer.ended().await, "one observer at a time");
    newer.next().await;
    drop(instance);
    newer
        .find(|what| match what {
            observation::What::Detached(detached) => detached.live.then_some(()),
            _ => None,
        })
        .await;
}
