//! Deadlines, and what is tried again.

use super::*;

#[test]
fn a_restore_that_fails_is_begun_anew() {
    let mut b = at(Mode::Backfill, MemberState::Back(Back::Restoring));
    let make = MemberOutput::MakeKeyspace(Side::Source, 2);
    for failure in [make_failed("no".into()), made(8), shadow_failed(8)] {
        b.feed(failure);
    }
    b.pass(AGAIN);
    assert_eq!(b.out, [make]);
    assert_eq!(b.state(), MemberState::Back(Back::Restoring));
}

#[test]
fn every_wait_of_the_machine_itself_has_a_deadline() {
    for (mode, state, after, to) in [
        (
            Mode::Backfill,
            MemberState::Backfilling,
            LIMITS.shadow,
            MemberState::Leaving,
        ),
        (
            Mode::Plain,
            MemberState::Starting,
            LIMITS.start,
            MemberState::Leaving,
        ),
        (
            Mode::Plain,
            MemberState::Probing,
            LIMITS.probe,
            MemberState::Leaving,
        ),
        (
            Mode::Plain,
            MemberState::Upgraded,
            Duration::from_secs(30),
            MemberState::Settling,
        ),
        (Mode::Plain, MemberState::Settling, LIMITS.probe, RECORDING),
        (
            Mode::Online,
            MemberState::CatchingUp,
            LIMITS.shadow,
            RECORDING,
        ),
        (
            Mode::Plain,
            MemberState::Back(Back::Settling),
            SETTLE,
            MemberState::Back(Back::Closing),
        ),
    ] {
        let mut b = at(mode, state);
        assert!(b.group.next_deadline().is_some(), "{state:?}");
        b.pass(after - Duration::from_millis(1));
        assert_eq!(b.state(), state);
        b.pass(Duration::from_millis(1));
        assert_eq!(b.state(), to, "{mode:?} {state:?}");
    }
}

#[test]
fn a_commit_needs_an_answered_probe_and_rules_in_step_where_they_can_be() {
    for (mode, next) in [
        (Mode::Plain, MemberState::Committing),
        (Mode::Online, MemberState::CatchingUp),
        (Mode::Backfill, MemberState::Committing),
    ] {
        let start = at(mode, MemberState::Settling);
        assert_eq!(
            start.out,
            [MemberOutput::Instruct(Side::Target, Order::Ping)]
        );
        let mut b = start.clone();
        b.all([MemberInput::Pong, in_step(Side::Target)]);
        assert_eq!(b.state(), next, "{mode:?}");
        let mut b = start.clone();
        b.all([in_step(Side::Target), MemberInput::Pong]);
        assert_eq!(b.state(), next, "{mode:?}");
        let mut b = start.clone();
        b.feed(MemberInput::Pong).pass(LIMITS.probe);
        assert_eq!(b.state(), next, "{mode:?}: a switch is slow");
        let mut b = start.clone();
        b.feed(in_step(Side::Target)).pass(LIMITS.probe);
        assert_eq!(b.state(), RECORDING, "{mode:?}: it hangs");
    }
}

#[test]
fn the_last_record_is_written_again_until_there_is_space() {
    let refused = || MemberInput::EndRefused("DISK_FULL".into());
    for state in [MemberState::Leaving, MemberState::Back(Back::Closing)] {
        let mut b = at(Mode::Plain, state);
        for _ in 0..9 {
            b.feed(refused());
            assert_eq!((b.state(), &b.out[..]), (state, &[][..]));
            b.pass(AGAIN);
            assert_eq!(b.out, [MemberOutput::RecordRolledBack(None)]);
            b.pass(AGAIN);
            assert_eq!(b.out, [], "one at a time");
        }
        b.feed(MemberInput::Ended);
        assert_eq!(b.state(), MemberState::RolledBack);
    }
    let mut b = at(Mode::Plain, MemberState::Committing);
    for _ in 0..9 {
        b.feed(refused());
        assert_eq!(
            (b.state(), &b.joint[..]),
            (MemberState::CatchingUp, &[][..])
        );
        b.pass(AGAIN);
        assert_eq!(b.joint, [commit(None)]);
        b.pass(AGAIN);
        assert_eq!(b.joint, [], "one at a time");
    }
    b.feed(MemberInput::Ended);
    assert_eq!(b.state(), MemberState::Committed);
}

#[test]
fn only_the_present_shadow_can_fail_an_upgrade() {
    let mut b = at(Mode::Online, MemberState::Upgraded);
    // Another morphd's shadow was dropped, and its maker says so before it is told of the next one.
    b.feed(shadow_failed(6));
    assert_eq!(b.state(), MemberState::Upgraded);
    b.feed(shadow_failed(7));
    assert_eq!(b.state(), RECORDING);
}

#[test]
fn a_flush_that_is_not_answered_is_asked_for_again_and_then_given_up() {
    let mut b = at(Mode::Online, MemberState::CatchingUp);
    b.feed(whole(7));
    for _ in 1..FLUSHES {
        b.pass(FLUSH);
        assert_eq!(b.out, [MemberOutput::Instruct(Side::Target, Order::Flush)]);
    }
    b.pass(FLUSH);
    assert_eq!(b.state(), RECORDING);
}

/// The store stopped while the fence was on its way, and answered too late.
#[test]
fn a_fence_that_swapped_without_an_answer_is_swapped_back() {
    for committed in [false, true] {
        let mut b = at(Mode::Backfill, MemberState::Fencing);
        b.feed(MemberInput::FenceRefused("no answer in time".into()));
        b.feed(recorded(Step::RollingBack));
        assert_eq!(b.state(), MemberState::Back(Back::Fencing));
        let plan = *b.member().plan();
        b.feed(MemberInput::PrimarySchema(match committed {
            true => plan.target_schema,
            false => plan.source_schema,
        }));
        b.feed(MemberInput::Fenced);
        b.feed(MemberInput::Resumed(Resumption::default()));
        let makes = MemberOutput::MakeKeyspace(Side::Source, plan.source_schema);
        assert_eq!(b.out.contains(&makes), committed, "{:?}", b.out);
        assert_eq!(
            b.out.contains(&MemberOutput::DropKeyspace(7)),
            !committed,
            "{:?}",
            b.out
        );
    }
}
