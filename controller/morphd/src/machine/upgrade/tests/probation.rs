//! Reasons to go back before and after the hand-over.

use super::*;

#[test]
fn what_is_not_confirmed_goes_back_at_the_end_of_its_time() {
    let mut b = at(Mode::Plain, MemberState::Upgraded);
    b.change_plan(|plan| plan.confirm = true);
    let mut confirmed = b.clone();
    b.pass(Duration::from_secs(30));
    assert_eq!(b.published(), [Step::RollingBack]);
    assert_eq!(b.cause().unwrap().by, EndedBy::Confirmation);
    confirmed.feed(MemberInput::Commit);
    assert_eq!(confirmed.state(), MemberState::Settling);
}

#[test]
fn an_older_release_takes_over_only_what_loses_nothing_or_may() {
    for (lossy, allowed, state) in [
        (0, false, MemberState::Starting),
        (1, false, MemberState::Leaving),
        (1, true, MemberState::Starting),
    ] {
        let mut b = at(Mode::Backfill, MemberState::Backfilling);
        b.change_plan(|plan| plan.allow_loss = allowed);
        b.feed(made(7)).feed(grew(lossy));
        assert_eq!(b.state(), state, "{lossy} {allowed}");
    }
    // A row that was written since the copy was whole.
    let mut b = at(Mode::Backfill, MemberState::Ready);
    b.feed(grew(1)).feed(recorded(Step::Ready));
    assert_eq!(b.state(), MemberState::Leaving);
    assert!(b.cause().unwrap().message.contains("--allow-loss"));
}

#[test]
fn one_that_is_slow_unhealthy_or_whose_rules_are_refused_goes_back() {
    let load = |count, us| load(0, count, us);
    let health = |refused_rules, unhealthy| health(100, 0, refused_rules, unhealthy);
    let mut probing = at(Mode::Plain, MemberState::Probing);
    probing.feed(load(100, 100_000));
    let way = [
        MemberInput::Pong,
        recorded(Step::Ready),
        recorded(Step::Quiescing),
        MemberInput::Yielded(SourceState::Ready),
        MemberInput::Held(HoldOutcome::Quiesced),
        MemberInput::Fenced,
        MemberInput::Resumed(Resumption::default()),
        recorded(Step::Upgraded),
    ];
    let live = probing.all(way).clone();
    for (input, word) in [
        (load(19, 19 * 90_000), ""),
        (load(20, 20 * 40_000), ""),
        (load(20, 20 * 90_000), "answers an event in 90000 us"),
        (health(2, None), ""),
        (health(3, None), "refused 3 of its rules"),
        (health(0, Some("no uplink")), "no uplink"),
        (faulty(1, 1, (1, 0, false)), ""),
        (faulty(1, 2, (0, 0, false)), "1 of its ticks and changes"),
        (faulty(3, 0, (0, 0, false)), "3 of its ticks and changes"),
        (
            faulty(0, 0, (2, 0, false)),
            "2 of its rules are left out, as they cannot be (1 were before)",
        ),
        (faulty(0, 0, (0, 1, false)), "states 1 rules twice"),
        (faulty(0, 0, (0, 0, true)), "more alarms than are kept"),
    ] {
        let mut b = live.clone();
        b.feed(input.clone());
        let cause = b.cause().map(|cause| cause.message.clone());
        match word {
            "" => assert_eq!(
                (b.state(), cause),
                (MemberState::Upgraded, None),
                "{input:?}"
            ),
            word => assert!(
                cause.as_ref().is_some_and(|c| c.contains(word)),
                "{cause:?}"
            ),
        }
    }
}

/// A target in a probation of 30 s that asks for two events.
fn asks_for_two() -> Bench {
    let mut b = at(Mode::Plain, MemberState::Upgraded);
    b.change_plan(|plan| plan.min_events = 2);
    b
}

#[test]
fn a_probation_with_too_few_events_lasts_up_to_three_times_as_long_and_ends_untested() {
    let mut b = asks_for_two();
    b.feed(health(1, 0, 0, None)).pass(Duration::from_secs(30));
    assert_eq!((b.state(), b.cause()), (MemberState::Upgraded, None));
    b.pass(Duration::from_secs(59));
    assert_eq!(b.state(), MemberState::Upgraded);
    b.pass(Duration::from_secs(1));
    assert_eq!(b.state(), MemberState::Settling);
    assert_eq!(
        b.cause().unwrap().message,
        "untested: it has handled 1 of 2 events in its probation"
    );
    assert!(b.member().numbers().untested);
}

#[test]
fn an_extended_probation_ends_with_the_events_that_were_missing() {
    let mut b = asks_for_two();
    b.pass(Duration::from_secs(30)).feed(load(0, 1, 1));
    assert_eq!(b.state(), MemberState::Upgraded);
    b.feed(load(0, 2, 2));
    assert_eq!(b.state(), MemberState::Settling);
    assert_eq!(
        b.cause().unwrap().message,
        "the probation ended without trouble"
    );
    assert_eq!(
        (b.member().numbers().events, b.member().numbers().untested),
        (2, false)
    );
}

#[test]
fn a_probation_without_an_event_does_not_say_that_all_went_well() {
    let mut b = at(Mode::Plain, MemberState::Upgraded);
    b.pass(Duration::from_secs(30));
    assert_eq!(b.state(), MemberState::Settling);
    assert_eq!(
        b.cause().unwrap().message,
        "untested: it has handled no event in its probation"
    );
}

#[test]
fn a_target_that_would_remove_most_rules_is_ended_before_anything_is_held() {
    let loss = || MemberInput::RuleLoss("it would remove 90 rules".into());
    let ready = || MemberInput::Ready(Side::Target, String::new());
    let mut b = at(Mode::Plain, MemberState::Starting);
    b.feed(loss()).feed(ready());
    assert_eq!(b.state(), MemberState::Leaving);
    assert_eq!(b.cause().unwrap().message, "it would remove 90 rules");
    let mut b = at(Mode::Plain, MemberState::Starting);
    b.change_plan(|plan| plan.allow_rule_loss = true);
    b.feed(loss()).feed(ready());
    assert_eq!(b.state(), MemberState::Probing);
    // Once the target is live, an instance of it that starts again is not judged: it goes back anyway.
    let mut b = at(Mode::Plain, MemberState::Upgraded);
    b.feed(loss());
    assert_eq!(b.state(), MemberState::Upgraded);
}
