//! Holds, resumes, replays, and the effects of a proxy's death.

use morph_api::session::{event, to_app};
use morph_api::store::Seq;
use morph_api::supervisor::hold_reply::Outcome;
use morph_api::supervisor::{ResumeRequest, observation};

use crate::deadline::eventually;
use crate::fixture::{APP, Fixture};
use crate::instance::{Instance, packet_out};
use crate::switch::Switch;

/// Starts a live instance "a" in epoch 1 that has answered all events, and a ready one, "b".
async fn pair() -> (Fixture, Switch, Instance, Instance) {
    let mut fixture = Fixture::new().await;
    let switch = Switch::connect(fixture.address, 7).await;
    switch.has_rules(4).await;
    let mut a = fixture.instance("a").await;
    let b = fixture.instance("b").await;
    fixture.resume("a", 1, Seq::ZERO).await;
    a.resumed().await;
    for _ in 0..2 {
        let (event, _) = a.event().await;
        a.answer(&event).await;
    }
    (fixture, switch, a, b)
}

fn seq(instance: &Instance, n: u64) -> Seq {
    Seq {
        incarnation: instance.incarnation,
        n,
    }
}

#[tokio::test]
async fn a_handover_loses_nothing_and_sends_nothing_twice() {
    let (mut fixture, mut switch, mut a, mut b) = pair().await;
    let channel = a.switches[0].channel;
    switch.packet_in(10, u64::MAX, b"one").await;
    let (one, _) = a.packet_in().await;
    let (held, ()) = tokio::join!(fixture.hold(2000, 8000), async {
        // The turn for the unanswered event passes while the slot drains.
        match a.control().await {
            to_app::Record::Quiesce(_) => {}
            other => panic!("{other:?}"),
        }
        switch.packet_in(10, u64::MAX, b"two").await;
        a.turn(&[(channel, 0, packet_out(b"for one"))], one.seq)
            .await;
        a.accepted().await;
        a.durable(one.seq.unwrap()).await;
        let quiesced = morph_api::session::Quiesced {
            epoch: 1,
            cursor: one.seq,
            turn: 3,
        };
        a.say(morph_api::session::from_app::Record::Quiesced(quiesced))
            .await;
    });
    assert_eq!(
        (held.outcome(), held.cursor, held.turn),
        (Outcome::Quiesced, one.seq, 3)
    );
    a.turn(&[(channel, 0, packet_out(b"late"))], None).await;
    assert!(a.rejected().await.stale);
    eventually("the event in the backlog", async || {
        (fixture.slot().await.backlog == 1).then_some(())
    })
    .await;
    let checkpoint = fixture.fence(1, "2.0.0").await;
    let reply = fixture
        .resume("b", checkpoint.epoch, one.seq.unwrap())
        .await;
    assert_eq!((reply.queued, reply.replayed), (1, 0));
    assert!(reply.held_us > 0);
    assert!(matches!(a.control().await, to_app::Record::Pause(_)));
    assert_eq!(b.resumed().await.epoch, 2);
    let (two, data) = b.packet_in().await;
    assert_eq!((&data[..], two.replayed), (&b"two"[..], false));
    b.turn(&[(channel, 0, packet_out(b"for two"))], two.seq)
        .await;
    b.accepted().await;
    assert_eq!(switch.packet_out().await, "for one");
    assert_eq!(switch.packet_out().await, "for two");
    assert!(switch.no_packet_out());
}

#[tokio::test]
async fn a_crash_replays_from_the_cursor_and_drops_packet_outs_that_are_out() {
    let (mut fixture, mut switch, mut a, mut b) = pair().await;
    let mut observer = fixture.observe().await;
    let channel = a.switches[0].channel;
    switch.packet_in(10, u64::MAX, b"one").await;
    let (one, _) = a.packet_in().await;
    a.turn(&[(channel, 0, packet_out(b"for one"))], one.seq)
        .await;
    a.accepted().await;
    switch.packet_in(10, u64::MAX, b"two").await;
    let (two, _) = a.packet_in().await;
    let cursor = seq(&a, 2);
    drop(a);
    let in_flight = observer
        .find(|what| match what {
            observation::What::Detached(detached) => Some((detached.live, detached.in_flight)),
            _ => None,
        })
        .await;
    assert_eq!(in_flight, (true, two.seq));
    assert_eq!(fixture.hold(1000, 5000).await.outcome(), Outcome::Gone);
    let checkpoint = fixture.fence(1, "1.0.0").await;
    let reply = fixture.resume("b", checkpoint.epoch, cursor).await;
    assert_eq!((reply.queued, reply.replayed), (2, 2));
    b.resumed().await;
    for (event, out) in [(&one, &b"for one"[..]), (&two, b"for two")] {
        let (again, _) = b.packet_in().await;
        assert_eq!((again.seq, again.replayed), (event.seq, true));
        let out: &'static [u8] = out;
        b.turn(&[(channel, 0, packet_out(out))], again.seq).await;
        b.accepted().await;
        // After a death the last in-flight event is delivered alone, once all before it are durable.
        assert_eq!(again.alone, again.seq == two.seq);
        b.durable(again.seq.unwrap()).await;
    }
    assert_eq!(switch.packet_out().await, "for one");
    assert_eq!(
        switch.packet_out().await,
        "for two",
        "and not for one again"
    );
    assert!(switch.no_packet_out());
    assert_eq!(fixture.slot().await.replayed, 2);
}

#[tokio::test]
async fn a_hold_that_nobody_ends_is_ended_by_a_fence() {
    let (mut fixture, switch, mut a, _b) = pair().await;
    let mut observer = fixture.observe().await;
    fixture.stop_store().await;
    let (held, ()) = tokio::join!(fixture.hold(100, 200), async {
        assert!(matches!(a.control().await, to_app::Record::Quiesce(_)));
        switch.packet_in(10, u64::MAX, b"held").await;
    });
    assert_eq!(held.outcome(), Outcome::Expired);
    // The store is unavailable, so the hold continues.
    let waited = tokio::time::timeout(std::time::Duration::from_millis(1500), a.control()).await;
    assert!(waited.is_err(), "{waited:?}");
    fixture.start_store().await;
    // The instance that was live before has the checkpoint's release and is resumed.
    assert_eq!(a.resumed().await.epoch, 2);
    let expired = observer
        .find(|what| match what {
            observation::What::HoldExpired(expired) => {
                Some((expired.epoch, expired.instance.clone()))
            }
            _ => None,
        })
        .await;
    assert_eq!(expired, (2, "a".to_owned()));
    assert_eq!(a.packet_in().await.1, "held");
    let late = ResumeRequest {
        app: APP.into(),
        instance: "b".into(),
        epoch: 1,
        ..ResumeRequest::default()
    };
    let refused = fixture.control.resume(late).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
}

#[tokio::test]
async fn a_target_misses_no_switch() {
    let (mut fixture, switch, mut a, mut b) = pair().await;
    let (held, ()) = tokio::join!(fixture.hold(2000, 8000), a.quiesce(seq(&a, 2)));
    assert_eq!(held.outcome(), Outcome::Quiesced);
    drop(switch);
    let _second = Switch::connect(fixture.address, 8).await;
    eventually("the switch", async || {
        (fixture.slot().await.backlog == 2).then_some(())
    })
    .await;
    // Both are informed while no instance receives events.
    for instance in [&mut a, &mut b] {
        assert!(
            matches!(instance.control().await, to_app::Record::SwitchDown(down) if down.dpid == 7)
        );
        assert!(matches!(instance.control().await, to_app::Record::SwitchUp(up) if up.dpid == 8));
    }
    fixture.resume("b", 2, seq(&a, 2)).await;
    b.resumed().await;
    let (down, _) = b.event().await;
    assert!(matches!(down.what, Some(event::What::SwitchDown(down)) if down.dpid == 7));
    b.answer(&down).await;
    let (up, _) = b.event().await;
    assert!(matches!(up.what, Some(event::What::SwitchUp(up)) if up.dpid == 8));
}

#[tokio::test]
async fn a_new_proxy_is_a_new_incarnation_and_the_same_instance_attaches_again() {
    let (mut fixture, switch, mut a, _b) = pair().await;
    let (incarnation, rules) = (a.incarnation, switch.rules());
    fixture.stop_proxy().await;
    assert!(a.ended().await, "and nothing is said of its switches");
    fixture.start_proxy().await;
    let again = Switch::with_rules(fixture.address, 7, rules).await;
    let mut a = Instance::open(fixture.dir.path(), APP, "a", "1.0.0").await;
    fixture.configure(&crate::fixture::APPS).await;
    a.welcome().await;
    assert_eq!(a.incarnation, incarnation + 1);
    fixture.resume("a", 2, Seq { incarnation, n: 2 }).await;
    a.resumed().await;
    let (resync, _) = a.event().await;
    assert!(matches!(resync.what, Some(event::What::Resync(all)) if all.dpid == 0));
    assert_eq!(resync.seq, Some(seq(&a, 1)));
    a.answer(&resync).await;
    let (up, _) = a.event().await;
    assert!(matches!(up.what, Some(event::What::SwitchUp(up)) if up.dpid == 7));
    assert_eq!(again.flow_mods(), 0, "its rules are what they have to be");
}
