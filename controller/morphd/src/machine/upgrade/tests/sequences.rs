//! Sequences of inputs that matter.

use super::*;

#[test]
fn statuses_come_in_order_and_only_once_true() {
    let mut b = Bench::new(Mode::Plain);
    let mut seen = Vec::new();
    for input in [
        recorded(Step::Staged),
        recorded(Step::Starting),
        ready(Side::Target),
        MemberInput::Pong,
        recorded(Step::Ready),
        recorded(Step::Quiescing),
        MemberInput::Yielded(SourceState::Ready),
        MemberInput::Held(HoldOutcome::Quiesced),
        MemberInput::Fenced,
        MemberInput::Resumed(Resumption {
            queued: 3,
            replayed: 1,
            held_us: 900,
        }),
        recorded(Step::Upgraded),
        in_step(Side::Target),
        MemberInput::Commit,
        MemberInput::Pong,
        MemberInput::Ended,
    ] {
        seen.extend(b.feed(input).published());
    }
    let wanted = [
        Step::Staged,
        Step::Starting,
        Step::Ready,
        Step::Quiescing,
        Step::Resuming,
        Step::Upgraded,
        Step::Committed,
    ];
    assert_eq!(seen, wanted);
    assert!(b.out.contains(&MemberOutput::End(Side::Source)));
    assert_eq!(b.member().numbers().forward_rules.unchanged, 4);
    assert_eq!(b.cause().unwrap().by, EndedBy::Operator);
}

#[test]
fn a_target_that_dies_in_probation_gives_way_without_a_hold() {
    let mut b = at(Mode::Plain, MemberState::Upgraded);
    b.feed(gone(Side::Target));
    assert_eq!(b.published(), [Step::RollingBack]);
    b.feed(recorded(Step::RollingBack));
    assert_eq!(b.out, [MemberOutput::FenceForSource]);
    b.feed(MemberInput::Fenced);
    assert_eq!(b.out, [MemberOutput::Resume(Side::Source)]);
    b.all([
        MemberInput::Resumed(Resumption::default()),
        in_step(Side::Source),
        MemberInput::Ended,
    ]);
    assert_eq!(b.published(), [Step::RolledBack]);
}

#[test]
fn a_dead_standby_is_started_again_and_ends_nothing() {
    let mut b = at(Mode::Plain, MemberState::Upgraded);
    b.feed(gone(Side::Source));
    b.feed(MemberInput::Time);
    assert_eq!(b.out, [MemberOutput::Spawn(Side::Source, None)]);
    assert_eq!(b.state(), MemberState::Upgraded);
    b.feed(MemberInput::Rollback)
        .feed(recorded(Step::RollingBack));
    assert_eq!(b.state(), MemberState::Back(Back::Waiting));
    b.feed(ready(Side::Source));
    assert_eq!(
        b.out,
        [MemberOutput::Hold],
        "the target serves until the source is ready"
    );
}

#[test]
fn a_delivered_event_that_stays_unanswered_is_a_stall() {
    let mut b = at(Mode::Plain, MemberState::Upgraded);
    b.feed(load(1500, 7, 0)).feed(load(1999, 7, 0));
    assert_eq!(b.state(), MemberState::Upgraded);
    let (mut away, mut answers) = (b.clone(), b.clone());
    b.feed(load(2500, 7, 0));
    assert_eq!(b.state(), RECORDING);
    assert!(b.cause().unwrap().message.contains("for 2.5 s"));
    away.feed(MemberInput::Load(None)).feed(load(2500, 7, 0));
    assert_eq!(
        away.state(),
        MemberState::Upgraded,
        "not while nothing can be said"
    );
    away.feed(load(0, 7, 0)).feed(load(0, 7, 0));
    assert_eq!(away.state(), MemberState::Upgraded, "nothing to answer");
    answers.feed(load(2500, 8, 0));
    assert_eq!(answers.state(), MemberState::Upgraded, "it has answered");
}

#[test]
fn the_fence_of_a_downgrade_swaps() {
    let mut b = at(Mode::Backfill, MemberState::Quiescing);
    b.feed(MemberInput::Held(HoldOutcome::Quiesced));
    assert_eq!(b.joint, [fence(Some(7))]);
    let mut b = at(Mode::Backfill, MemberState::Quiescing);
    b.feed(MemberInput::Held(HoldOutcome::Expired));
    assert_eq!(b.state(), RECORDING, "its shadow may not be current");
}

#[test]
fn a_source_that_dies_again_is_left_to_the_supervision_of_its_app() {
    for mode in [Mode::Plain, Mode::Online] {
        let mut b = at(mode, MemberState::Back(Back::Resuming));
        b.feed(gone(Side::Source));
        assert_eq!(b.state(), MemberState::Back(Back::Resuming));
        b.feed(MemberInput::Resumed(Resumption::default()));
        assert_eq!(b.state(), MemberState::Back(Back::Closing), "{mode:?}");
        assert!(b.out.contains(&MemberOutput::RecordRolledBack(None)));
    }
    let mut b = at(Mode::Backfill, MemberState::Back(Back::Resuming));
    b.feed(gone(Side::Source));
    b.feed(MemberInput::Resumed(Resumption::default()));
    let waiting = MemberState::Back(Back::Waiting);
    assert_eq!(b.state(), waiting, "its state is to be restored first");
}

#[test]
fn the_proxy_may_come_first() {
    let mut b = at(Mode::Plain, MemberState::Fencing);
    b.feed(MemberInput::HoldExpired(Some(Side::Source)))
        .feed(MemberInput::FenceRefused("stale".into()));
    b.feed(recorded(Step::RollingBack));
    assert_eq!(
        b.state(),
        MemberState::Back(Back::Settling),
        "the source is live already"
    );
    let mut b = at(Mode::Plain, MemberState::Resuming);
    b.feed(MemberInput::HoldExpired(Some(Side::Target)))
        .feed(MemberInput::ResumeFailed("stale".into()));
    assert_eq!(b.state(), MemberState::Upgraded);
}

#[test]
fn what_another_morphd_left_is_finished() {
    let now = Instant::now();
    let left = Leftover {
        source: SourceState::Ready,
        swapped: false,
    };
    let app = || APP.to_owned();
    let mut out = Vec::new();
    let mut adopted = Group::default();
    adopted.adopt(app(), plan(Mode::Plain), left, now, &mut out);
    assert_eq!(adopted.member(APP).unwrap().state(), MemberState::Upgraded);
    assert_eq!(out, []);
    let mut online = Group::default();
    online.adopt(app(), plan(Mode::Online), left, now, &mut out);
    let make = MemberOutput::MakeKeyspace(Side::Target, 2);
    assert_eq!(out, [GroupOutput::Member(app(), make)], "{online:?}");
    out.clear();
    adopted.handle(APP, MemberInput::Commit, now, &mut out);
    let ping = MemberOutput::Instruct(Side::Target, Order::Ping);
    assert_eq!(out, [GroupOutput::Member(app(), ping)]);
    out.clear();
    adopted.handle(APP, MemberInput::Pong, now, &mut out);
    assert_eq!(out, [commit(None)]);
    let mut out = Vec::new();
    let why = Cause::failure("the new instance is gone");
    let left = Leftover {
        source: SourceState::Absent,
        ..left
    };
    let mut abandoned = Group::default();
    abandoned.abandon(app(), (plan(Mode::Plain), left), why, now, &mut out);
    assert_eq!(abandoned.member(APP).unwrap().state(), RECORDING);
    out.clear();
    abandoned.handle(APP, recorded(Step::RollingBack), now, &mut out);
    abandoned.handle(APP, MemberInput::Time, now, &mut out);
    let spawn = MemberOutput::Spawn(Side::Source, None);
    assert_eq!(out, [GroupOutput::Member(app(), spawn)]);
}
