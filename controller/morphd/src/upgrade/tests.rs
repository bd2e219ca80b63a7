//! First the whole table of states and inputs, then sequences that matter, then any interleaving.

use std::time::{Duration, Instant};

use morph_api::management::Step;
use proptest::prelude::*;

use super::*;
use morph_api::deadlines::Deadlines;

const LIMITS: Deadlines = Deadlines::DEFAULT;

fn plan(mode: Mode) -> Plan {
    let (old_schema, new_schema) = match mode {
        Mode::Plain => (1, 1),
        Mode::Online => (1, 2),
        Mode::Backfill => (2, 1),
    };
    Plan {
        mode,
        old_schema,
        new_schema,
        probation: Duration::from_secs(30),
        confirm: false,
        allow_loss: false,
        deadlines: Deadlines::default(),
    }
}

/// A machine, its clock and its last outputs.
#[derive(Clone)]
struct Bench {
    upgrade: Upgrade,
    now: Instant,
    out: Vec<Output>,
}

impl Bench {
    fn new(mode: Mode) -> Self {
        let mut out = Vec::new();
        let upgrade = Upgrade::begin(plan(mode), &mut out);
        Bench {
            upgrade,
            now: Instant::now(),
            out,
        }
    }

    fn feed(&mut self, input: Input) -> &mut Self {
        self.out.clear();
        self.upgrade.handle(input, self.now, &mut self.out);
        self
    }

    fn all(&mut self, inputs: impl IntoIterator<Item = Input>) -> &mut Self {
        for input in inputs {
            self.feed(input);
        }
        self
    }

    fn pass(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self.feed(Input::Time)
    }

    fn published(&self) -> Vec<Step> {
        self.out
            .iter()
            .filter_map(|o| {
                if let Output::Publish(step, _) = o {
                    Some(*step)
                } else {
                    None
                }
            })
            .collect()
    }
}

fn recorded(step: Step) -> Input {
    Input::Recorded(step)
}

fn ready(side: Side) -> Input {
    Input::Ready(side, "ready".into())
}

fn gone(side: Side) -> Input {
    Input::Gone(side, "was killed by signal 9".into())
}

fn whole(keyspace: u32) -> Input {
    Input::ShadowGrew {
        keyspace,
        complete: true,
        lossy: 0,
    }
}

fn in_step(side: Side) -> Input {
    let difference = Difference {
        added: 1,
        changed: 2,
        removed: 3,
        unchanged: 4,
    };
    Input::Rules {
        side,
        difference,
        last: true,
    }
}

/// A machine brought to a state by its shortest way.
fn at(mode: Mode, state: State) -> Bench {
    let mut b = Bench::new(mode);
    let start = [recorded(Step::Staged), recorded(Step::Starting)];
    let mut way: Vec<Input> = start.into();
    if mode == Mode::Backfill {
        way.extend([Input::KeyspaceMade(7), whole(7)]);
    }
    way.extend([ready(Side::New), Input::Pong]);
    way.extend([
        recorded(Step::Ready),
        recorded(Step::Quiescing),
        Input::Yielded(OldIs::Ready),
    ]);
    if mode == Mode::Online {
        way.push(Input::KeyspaceMade(7));
    }
    way.extend([
        Input::Held(HoldOutcome::Quiesced),
        Input::Fenced,
        Input::Resumed(Resumption::default()),
    ]);
    way.extend([recorded(Step::Upgraded)]);
    match state {
        State::Settling => way.push(Input::Commit),
        State::Finishing(phase) => {
            way.extend([in_step(Side::New), Input::Commit, Input::Pong]);
            if matches!(phase, Phase::Flushing | Phase::Swapping) && mode == Mode::Online {
                way.extend([whole(7), Input::Flushed]);
            }
        }
        State::Leaving => way.insert(4, Input::Rollback),
        State::Back(_) | State::Restoring(_) | State::RolledBack => {
            way.extend([
                Input::Rollback,
                recorded(Step::RollingBack),
                Input::Held(HoldOutcome::Quiesced),
            ]);
            if state == State::Back(Back::Waiting) {
                way.insert(way.len() - 1, gone(Side::Old));
                way.swap_remove(way.len() - 3);
                way.push(recorded(Step::RollingBack));
            }
            way.extend([Input::Fenced, Input::Resumed(Resumption::default())]);
            way.extend([
                Input::KeyspaceMade(8),
                whole(8),
                Input::Flushed,
                in_step(Side::Old),
                Input::Finished,
            ]);
        }
        State::Committed => way.extend([
            in_step(Side::New),
            Input::Commit,
            Input::Pong,
            whole(7),
            Input::Flushed,
            Input::Finished,
        ]),
        _ => {}
    }
    for input in way {
        if b.upgrade.state() == state {
            break;
        }
        b.feed(input);
    }
    assert_eq!(b.upgrade.state(), state, "{mode:?}");
    b
}

/// Every input, and a name for the table.
fn inputs() -> Vec<(&'static str, Input)> {
    let text = || "why".to_owned();
    vec![
        ("staged", recorded(Step::Staged)),
        ("starting", recorded(Step::Starting)),
        ("ready", recorded(Step::Ready)),
        ("quiescing", recorded(Step::Quiescing)),
        ("upgraded", recorded(Step::Upgraded)),
        ("rolling", recorded(Step::RollingBack)),
        ("finished", Input::Finished),
        ("swap-refused", Input::FinishRefused(text())),
        ("not-recorded", Input::NotRecorded(Step::Staged, text())),
        ("keyspace", Input::KeyspaceMade(7)),
        ("no-keyspace", Input::KeyspaceFailed(text())),
        ("new-ready", ready(Side::New)),
        ("old-ready", ready(Side::Old)),
        (
            "earlier-shadow-failed",
            Input::ShadowFailed {
                keyspace: 6,
                why: text(),
            },
        ),
        ("pong", Input::Pong),
        ("copied", whole(7)),
        ("flushed", Input::Flushed),
        ("new-failed", Input::Failed(Side::New, text())),
        ("old-failed", Input::Failed(Side::Old, text())),
        ("new-rules", in_step(Side::New)),
        ("old-rules", in_step(Side::Old)),
        (
            "healthy",
            Input::Health {
                events: 10,
                errors: 1,
                refused_rules: 2,
                unhealthy: None,
            },
        ),
        (
            "errors",
            Input::Health {
                events: 10,
                errors: 9,
                refused_rules: 0,
                unhealthy: None,
            },
        ),
        (
            "load",
            Input::Load {
                backlog: 1,
                durable: (1, 1),
                answers: Answers::default(),
            },
        ),
        ("unobserved", Input::Unobserved),
        ("new-gone", gone(Side::New)),
        ("old-gone", gone(Side::Old)),
        ("yielded", Input::Yielded(OldIs::Ready)),
        ("held", Input::Held(HoldOutcome::Quiesced)),
        ("hold-failed", Input::HoldFailed(text())),
        ("fenced", Input::Fenced),
        ("fence-refused", Input::FenceRefused(text())),
        ("resumed", Input::Resumed(Resumption::default())),
        ("resume-failed", Input::ResumeFailed(text())),
        ("expired", Input::HoldExpired(Some(Side::New))),
        ("proxy-lost", Input::ProxyLost),
        ("commit", Input::Commit),
        ("rollback", Input::Rollback),
        (
            "other-goes-back",
            Input::OtherGoesBack(Cause::operator("because")),
        ),
        ("time", Input::Time),
    ]
}

/// Feeds every input to a machine in `state`; those in `moves` must lead where it says, all others nowhere.
#[track_caller]
fn row(mode: Mode, state: State, moves: &[(&str, State)]) {
    let start = at(mode, state);
    for (name, input) in inputs() {
        let mut b = start.clone();
        b.feed(input);
        let wanted = moves
            .iter()
            .find(|(n, _)| *n == name)
            .map_or(state, |(_, to)| *to);
        assert_eq!(b.upgrade.state(), wanted, "{mode:?} {state:?} on {name}");
    }
}

const LEAVING: [(&str, State); 6] = [
    ("other-goes-back", State::Leaving),
    ("not-recorded", State::Leaving),
    ("new-failed", State::Leaving),
    ("new-gone", State::Leaving),
    ("proxy-lost", State::Leaving),
    ("rollback", State::Leaving),
];
const RECORDING: State = State::Back(Back::Recording);
const BACK: [(&str, State); 5] = [
    ("other-goes-back", RECORDING),
    ("new-failed", RECORDING),
    ("new-gone", RECORDING),
    ("proxy-lost", RECORDING),
    ("rollback", RECORDING),
];

#[test]
fn table_before_the_hold() {
    let with = |more: &[(&'static str, State)]| [&LEAVING[..], more].concat();
    for mode in [Mode::Plain, Mode::Online] {
        row(mode, State::Staged, &with(&[("starting", State::Starting)]));
        row(
            mode,
            State::Starting,
            &with(&[("new-ready", State::Probing)]),
        );
        row(mode, State::Probing, &with(&[("pong", State::Ready)]));
        row(
            mode,
            State::Ready,
            &with(&[("quiescing", State::Quiescing)]),
        );
    }
    let mode = Mode::Backfill;
    let maker = [("old-gone", State::Leaving), ("old-failed", State::Leaving)];
    let with = |more: &[(&'static str, State)]| [&LEAVING[..], more].concat();
    row(mode, State::Staged, &with(&[("starting", State::Filling)]));
    row(
        mode,
        State::Filling,
        &with(&[maker[0], maker[1], ("no-keyspace", State::Leaving)]),
    );
    row(
        mode,
        State::Starting,
        &with(&[maker[0], maker[1], ("new-ready", State::Probing)]),
    );
    row(
        mode,
        State::Probing,
        &with(&[maker[0], maker[1], ("pong", State::Ready)]),
    );
    row(
        mode,
        State::Ready,
        &with(&[maker[0], maker[1], ("quiescing", State::Quiescing)]),
    );
    row(mode, State::Leaving, &[("finished", State::RolledBack)]);
}

#[test]
fn table_of_the_hand_over() {
    for mode in [Mode::Plain, Mode::Online, Mode::Backfill] {
        row(
            mode,
            State::Quiescing,
            &[("held", State::Fencing), ("hold-failed", RECORDING)],
        );
        row(
            mode,
            State::Fencing,
            &[("fenced", State::Resuming), ("fence-refused", RECORDING)],
        );
        row(
            mode,
            State::Resuming,
            &[("resumed", State::Upgraded), ("resume-failed", RECORDING)],
        );
    }
}

#[test]
fn table_of_probation_and_commit() {
    let with = |more: &[(&'static str, State)]| [&BACK[..], more].concat();
    let swapping = State::Finishing(Phase::Swapping);
    for mode in [Mode::Plain, Mode::Backfill] {
        row(
            mode,
            State::Upgraded,
            &with(&[
                ("commit", State::Settling),
                ("errors", RECORDING),
                ("no-keyspace", RECORDING),
            ]),
        );
        row(mode, State::Settling, &BACK);
        row(mode, swapping, &[("finished", State::Committed)]);
    }
    let mode = Mode::Online;
    let (filling, flushing) = (
        State::Finishing(Phase::Filling),
        State::Finishing(Phase::Flushing),
    );
    row(mode, State::Settling, &BACK);
    row(
        mode,
        filling,
        &with(&[("copied", flushing), ("no-keyspace", RECORDING)]),
    );
    row(mode, flushing, &with(&[("flushed", swapping)]));
    row(
        mode,
        swapping,
        &[("finished", State::Committed), ("swap-refused", flushing)],
    );
    row(mode, State::Committed, &[]);
}

#[test]
fn table_of_the_way_back() {
    let back = State::Back;
    for mode in [Mode::Plain, Mode::Online, Mode::Backfill] {
        row(mode, RECORDING, &[("rolling", back(Back::Holding))]);
        row(
            mode,
            back(Back::Waiting),
            &[("old-ready", back(Back::Holding))],
        );
        row(
            mode,
            back(Back::Holding),
            &[
                ("held", back(Back::Fencing)),
                ("hold-failed", back(Back::Fencing)),
            ],
        );
        row(
            mode,
            back(Back::Fencing),
            &[
                ("fenced", back(Back::Resuming)),
                ("fence-refused", back(Back::Waiting)),
            ],
        );
        let live = match mode {
            Mode::Backfill => State::Restoring(Phase::Making),
            Mode::Plain | Mode::Online => back(Back::Settling),
        };
        row(
            mode,
            back(Back::Resuming),
            &[("resumed", live), ("resume-failed", back(Back::Waiting))],
        );
    }
    for mode in [Mode::Plain, Mode::Online] {
        row(
            mode,
            back(Back::Settling),
            &[
                ("old-gone", back(Back::Waiting)),
                ("proxy-lost", back(Back::Waiting)),
                ("old-rules", back(Back::Closing)),
                ("new-rules", back(Back::Closing)),
            ],
        );
        row(
            mode,
            back(Back::Closing),
            &[("finished", State::RolledBack)],
        );
        row(mode, State::RolledBack, &[]);
    }
}

#[test]
fn table_of_restoring_the_older_schema() {
    let lost = [
        ("old-gone", State::Back(Back::Waiting)),
        ("proxy-lost", State::Back(Back::Waiting)),
    ];
    let phase = State::Restoring;
    let mode = Mode::Backfill;
    row(
        mode,
        phase(Phase::Making),
        &[lost[0], lost[1], ("keyspace", phase(Phase::Filling))],
    );
    row(mode, phase(Phase::Filling), &lost);
    row(
        mode,
        phase(Phase::Flushing),
        &[lost[0], lost[1], ("flushed", phase(Phase::Swapping))],
    );
    row(
        mode,
        phase(Phase::Swapping),
        &[
            ("finished", State::RolledBack),
            ("swap-refused", phase(Phase::Flushing)),
        ],
    );
}

#[test]
fn every_wait_of_the_machine_itself_has_a_deadline() {
    for (mode, state, after, to) in [
        (
            Mode::Backfill,
            State::Filling,
            LIMITS.shadow,
            State::Leaving,
        ),
        (Mode::Plain, State::Starting, LIMITS.start, State::Leaving),
        (Mode::Plain, State::Probing, LIMITS.probe, State::Leaving),
        (
            Mode::Plain,
            State::Upgraded,
            Duration::from_secs(30),
            State::Settling,
        ),
        (Mode::Plain, State::Settling, LIMITS.probe, RECORDING),
        (
            Mode::Online,
            State::Finishing(Phase::Filling),
            LIMITS.shadow,
            RECORDING,
        ),
        (
            Mode::Plain,
            State::Back(Back::Settling),
            SETTLE_BACK,
            State::Back(Back::Closing),
        ),
    ] {
        let mut b = at(mode, state);
        assert!(b.upgrade.next_deadline().is_some(), "{state:?}");
        b.pass(after - Duration::from_millis(1));
        assert_eq!(b.upgrade.state(), state);
        b.pass(Duration::from_millis(1));
        assert_eq!(b.upgrade.state(), to, "{mode:?} {state:?}");
    }
}

#[test]
fn a_commit_needs_an_answered_probe_and_rules_in_step_where_they_can_be() {
    for (mode, next) in [
        (Mode::Plain, Phase::Swapping),
        (Mode::Online, Phase::Filling),
        (Mode::Backfill, Phase::Swapping),
    ] {
        let start = at(mode, State::Settling);
        assert_eq!(start.out, [Output::Tell(Side::New, Order::Ping)]);
        let next = State::Finishing(next);
        let mut b = start.clone();
        b.all([Input::Pong, in_step(Side::New)]);
        assert_eq!(b.upgrade.state(), next, "{mode:?}");
        let mut b = start.clone();
        b.all([in_step(Side::New), Input::Pong]);
        assert_eq!(b.upgrade.state(), next, "{mode:?}");
        let mut b = start.clone();
        b.feed(Input::Pong).pass(LIMITS.probe);
        assert_eq!(b.upgrade.state(), next, "{mode:?}: a switch is slow");
        let mut b = start.clone();
        b.feed(in_step(Side::New)).pass(LIMITS.probe);
        assert_eq!(b.upgrade.state(), RECORDING, "{mode:?}: it hangs");
    }
}

#[test]
fn the_last_record_is_written_again_until_there_is_space() {
    for (mode, state, step, end) in [
        (
            Mode::Plain,
            State::Finishing(Phase::Swapping),
            Step::Committed,
            State::Committed,
        ),
        (
            Mode::Plain,
            State::Leaving,
            Step::RolledBack,
            State::RolledBack,
        ),
        (
            Mode::Plain,
            State::Back(Back::Closing),
            Step::RolledBack,
            State::RolledBack,
        ),
    ] {
        let mut b = at(mode, state);
        for _ in 0..9 {
            b.feed(Input::FinishRefused("DISK_FULL".into()));
            assert_eq!((b.upgrade.state(), &b.out[..]), (state, &[][..]));
            b.pass(AGAIN);
            assert_eq!(b.out, [Output::Finish(step, None)]);
            b.pass(AGAIN);
            assert_eq!(b.out, [], "one at a time");
        }
        b.feed(Input::Finished);
        assert_eq!(b.upgrade.state(), end);
    }
}

#[test]
fn only_the_present_shadow_can_fail_an_upgrade() {
    let mut b = at(Mode::Online, State::Upgraded);
    let failed = |keyspace| Input::ShadowFailed {
        keyspace,
        why: "no such keyspace".into(),
    };
    // Another morphd's shadow was dropped, and its maker says so before it is told of the next one.
    b.feed(failed(6));
    assert_eq!(b.upgrade.state(), State::Upgraded);
    b.feed(failed(7));
    assert_eq!(b.upgrade.state(), RECORDING);
}

#[test]
fn a_flush_that_is_not_answered_is_asked_for_again_and_then_given_up() {
    let mut b = at(Mode::Online, State::Finishing(Phase::Flushing));
    for _ in 1..TRIES {
        b.pass(FLUSH);
        assert_eq!(b.out, [Output::Tell(Side::New, Order::Flush)]);
    }
    b.pass(FLUSH);
    assert_eq!(b.upgrade.state(), RECORDING);
}

/// The store stopped while the fence was on its way, and answered too late.
#[test]
fn a_fence_that_swapped_without_an_answer_is_swapped_back() {
    for landed in [false, true] {
        let mut b = at(Mode::Backfill, State::Fencing);
        b.feed(Input::FenceRefused("no answer in time".into()));
        b.feed(recorded(Step::RollingBack));
        assert_eq!(b.upgrade.state(), State::Back(Back::Fencing));
        let plan = *b.upgrade.plan();
        b.feed(Input::Primary(match landed {
            true => plan.new_schema,
            false => plan.old_schema,
        }));
        b.feed(Input::Fenced);
        b.feed(Input::Resumed(Resumption::default()));
        let makes = Output::MakeKeyspace(Side::Old, plan.old_schema);
        assert_eq!(b.out.contains(&makes), landed, "{:?}", b.out);
        assert_eq!(
            b.out.contains(&Output::DropKeyspace(7)),
            !landed,
            "{:?}",
            b.out
        );
    }
}

#[test]
fn statuses_come_in_order_and_only_once_true() {
    let mut b = Bench::new(Mode::Plain);
    let mut seen = Vec::new();
    for input in [
        recorded(Step::Staged),
        recorded(Step::Starting),
        ready(Side::New),
        Input::Pong,
        recorded(Step::Ready),
        recorded(Step::Quiescing),
        Input::Yielded(OldIs::Ready),
        Input::Held(HoldOutcome::Quiesced),
        Input::Fenced,
        Input::Resumed(Resumption {
            queued: 3,
            replayed: 1,
            held_us: 900,
        }),
        recorded(Step::Upgraded),
        in_step(Side::New),
        Input::Commit,
        Input::Pong,
        Input::Finished,
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
    assert!(b.out.contains(&Output::End(Side::Old)));
    assert_eq!(b.upgrade.numbers().forward_rules.unchanged, 4);
    assert_eq!(b.upgrade.cause().unwrap().by, "operator");
}

#[test]
fn a_newcomer_that_dies_in_probation_gives_way_without_a_hold() {
    let mut b = at(Mode::Plain, State::Upgraded);
    b.feed(gone(Side::New));
    assert_eq!(b.published(), [Step::RollingBack]);
    b.feed(recorded(Step::RollingBack));
    assert_eq!(b.out, [Output::Fence(Side::Old, None)]);
    b.feed(Input::Fenced);
    assert_eq!(b.out, [Output::Resume(Side::Old)]);
    b.all([
        Input::Resumed(Resumption::default()),
        in_step(Side::Old),
        Input::Finished,
    ]);
    assert_eq!(b.published(), [Step::RolledBack]);
}

#[test]
fn a_dead_standby_is_started_again_and_ends_nothing() {
    let mut b = at(Mode::Plain, State::Upgraded);
    b.feed(gone(Side::Old));
    b.feed(Input::Time);
    assert_eq!(b.out, [Output::Spawn(Side::Old, None)]);
    assert_eq!(b.upgrade.state(), State::Upgraded);
    b.feed(Input::Rollback).feed(recorded(Step::RollingBack));
    assert_eq!(b.upgrade.state(), State::Back(Back::Waiting));
    b.feed(ready(Side::Old));
    assert_eq!(
        b.out,
        [Output::Hold],
        "the newcomer serves until the old one is ready"
    );
}

#[test]
fn a_growing_backlog_behind_a_cursor_that_stands_still_is_a_stall() {
    let mut b = at(Mode::Plain, State::Upgraded);
    let load = |backlog| Input::Load {
        backlog,
        durable: (1, 5),
        answers: Answers::default(),
    };
    b.feed(load(0));
    b.now += Duration::from_millis(1900);
    b.feed(load(9));
    assert_eq!(b.upgrade.state(), State::Upgraded);
    b.now += Duration::from_millis(100);
    let mut away = b.clone();
    b.feed(load(9));
    assert_eq!(b.upgrade.state(), RECORDING);
    assert!(b.upgrade.cause().unwrap().message.contains("9 events wait"));
    away.feed(Input::Unobserved).feed(load(9));
    assert_eq!(
        away.upgrade.state(),
        State::Upgraded,
        "not while nothing can be said"
    );
}

#[test]
fn the_fence_of_a_downgrade_swaps_and_its_way_back_swaps_again() {
    let mut b = at(Mode::Backfill, State::Quiescing);
    b.feed(Input::Held(HoldOutcome::Quiesced));
    assert_eq!(b.out, [Output::Fence(Side::New, Some(7))]);
    let mut b = at(Mode::Backfill, State::Restoring(Phase::Flushing));
    b.feed(Input::Flushed);
    assert_eq!(b.out, [Output::Finish(Step::RolledBack, Some(8))]);
    b.feed(Input::Finished);
    assert_eq!(b.out[0], Output::Tell(Side::Old, Order::Go));
    let mut b = at(Mode::Backfill, State::Quiescing);
    b.feed(Input::Held(HoldOutcome::Expired));
    assert_eq!(
        b.upgrade.state(),
        RECORDING,
        "its shadow may not be current"
    );
}

#[test]
fn the_proxy_may_come_first() {
    let mut b = at(Mode::Plain, State::Fencing);
    b.feed(Input::HoldExpired(Some(Side::Old)))
        .feed(Input::FenceRefused("stale".into()));
    b.feed(recorded(Step::RollingBack));
    assert_eq!(
        b.upgrade.state(),
        State::Back(Back::Settling),
        "the old one is live already"
    );
    let mut b = at(Mode::Plain, State::Resuming);
    b.feed(Input::HoldExpired(Some(Side::New)))
        .feed(Input::ResumeFailed("stale".into()));
    assert_eq!(b.upgrade.state(), State::Upgraded);
}

#[test]
fn what_another_morphd_left_is_finished() {
    let now = Instant::now();
    let found = Found {
        old: OldIs::Ready,
        swapped: false,
    };
    let mut out = Vec::new();
    let mut adopted = Upgrade::adopted(plan(Mode::Plain), found, now, &mut out);
    assert_eq!((adopted.state(), out.len()), (State::Upgraded, 0));
    let through = Upgrade::adopted(plan(Mode::Online), found, now, &mut out);
    assert_eq!(out, [Output::MakeKeyspace(Side::New, 2)], "{through:?}");
    out.clear();
    adopted.handle(Input::Commit, now, &mut out);
    assert_eq!(out, [Output::Tell(Side::New, Order::Ping)]);
    out.clear();
    adopted.handle(Input::Pong, now, &mut out);
    assert_eq!(out, [Output::Finish(Step::Committed, None)]);
    let mut out = Vec::new();
    let why = Cause::failure("the new instance is gone".into());
    let found = Found {
        old: OldIs::Absent,
        ..found
    };
    let mut left = Upgrade::abandoned(plan(Mode::Plain), found, why, now, &mut out);
    assert_eq!(left.state(), RECORDING);
    out.clear();
    left.handle(recorded(Step::RollingBack), now, &mut out);
    left.handle(Input::Time, now, &mut out);
    assert_eq!(out, [Output::Spawn(Side::Old, None)]);
}

// ---- any interleaving ----

/// A world that carries out what the machine asks for, well or badly, early or late.
struct World {
    upgrade: Upgrade,
    now: Instant,
    /// Answers under way.
    pending: Vec<Input>,
    old_alive: bool,
    new_alive: bool,
    yielded: bool,
    /// Whom the last fence let in, and who was resumed under it.
    checkpoint: Side,
    live: Option<Side>,
    ended: Vec<Step>,
    keyspaces: u32,
}

impl World {
    fn new(mode: Mode) -> Self {
        let mut out = Vec::new();
        let upgrade = Upgrade::begin(plan(mode), &mut out);
        let mut world = World {
            upgrade,
            now: Instant::now(),
            pending: Vec::new(),
            old_alive: true,
            new_alive: false,
            yielded: false,
            checkpoint: Side::Old,
            live: Some(Side::Old),
            ended: Vec::new(),
            keyspaces: 1,
        };
        world.carry_out(out, true);
        world
    }

    fn feed(&mut self, input: Input, well: bool) {
        let mut out = Vec::new();
        self.upgrade.handle(input, self.now, &mut out);
        self.carry_out(out, well);
    }

    fn kill(&mut self, side: Side, well: bool) {
        let alive = match side {
            Side::Old => &mut self.old_alive,
            Side::New => &mut self.new_alive,
        };
        if std::mem::take(alive) {
            if self.live == Some(side) {
                self.live = None;
            }
            self.feed(gone(side), well);
        }
    }

    fn carry_out(&mut self, out: Vec<Output>, well: bool) {
        for output in out {
            let answer = match output {
                Output::Record(step) => Some(Input::Recorded(step)),
                Output::Publish(step, _) => {
                    if matches!(step, Step::Committed | Step::RolledBack) {
                        self.ended.push(step);
                    }
                    None
                }
                Output::MakeKeyspace(..) if !well => Some(Input::KeyspaceFailed("no".into())),
                Output::MakeKeyspace(..) => {
                    self.keyspaces += 1;
                    Some(Input::KeyspaceMade(self.keyspaces))
                }
                Output::DropKeyspace(_) => None,
                Output::Spawn(side, _) => self.spawn(side, well),
                Output::Tell(_, _) if !well => None,
                Output::Tell(_, Order::Ping) => Some(Input::Pong),
                Output::Tell(_, Order::MakeShadow(keyspace, _)) => Some(whole(keyspace)),
                Output::Tell(_, Order::Flush) => Some(Input::Flushed),
                Output::Tell(_, Order::StopShadow | Order::Go) => None,
                Output::End(side) => {
                    self.pending.push(gone(side));
                    None
                }
                Output::Hold => {
                    if !std::mem::replace(&mut self.yielded, true) {
                        let old = if self.old_alive {
                            OldIs::Ready
                        } else {
                            OldIs::Absent
                        };
                        self.feed(Input::Yielded(old), well);
                    }
                    let outcome = if self.live.is_some() {
                        HoldOutcome::Quiesced
                    } else {
                        HoldOutcome::Gone
                    };
                    Some(if well {
                        Input::Held(outcome)
                    } else {
                        Input::HoldFailed("away".into())
                    })
                }
                Output::Fence(side, _) if well => {
                    self.checkpoint = side;
                    self.live = None;
                    Some(Input::Fenced)
                }
                Output::Fence(..) => Some(Input::FenceRefused("stale".into())),
                Output::Resume(side) => {
                    let alive = if side == Side::Old {
                        self.old_alive
                    } else {
                        self.new_alive
                    };
                    if well && alive {
                        assert_eq!(self.checkpoint, side, "resumed without a fence");
                        self.live = Some(side);
                        Some(Input::Resumed(Resumption::default()))
                    } else {
                        Some(Input::ResumeFailed("gone".into()))
                    }
                }
                Output::Sample => Some(Input::Unobserved),
                Output::Finish(_, Some(_)) if !well => {
                    Some(Input::FinishRefused("not current".into()))
                }
                Output::Finish(..) => Some(Input::Finished),
            };
            self.pending.extend(answer);
        }
    }

    fn spawn(&mut self, side: Side, well: bool) -> Option<Input> {
        let alive = match side {
            Side::Old => &mut self.old_alive,
            Side::New => &mut self.new_alive,
        };
        assert!(
            !*alive || side == Side::New,
            "two instances of the old release"
        );
        // One that exits at once was alive as well.
        *alive = true;
        Some(if well { ready(side) } else { gone(side) })
    }

    /// One step, as a byte says.
    fn step(&mut self, byte: u8) {
        let well = byte & 0x80 == 0;
        match byte & 0x0f {
            0 => self.kill(Side::New, well),
            1 if self.yielded => self.kill(Side::Old, well),
            2 => self.feed(Input::Rollback, well),
            3 => self.feed(Input::Commit, well),
            4 => self.feed(Input::Failed(Side::New, "failed".into()), well),
            5 => self.feed(Input::ProxyLost, well),
            6 | 7 => self.pass(well),
            _ => self.answer(usize::from(byte >> 4 & 7), well),
        }
    }

    fn pass(&mut self, well: bool) {
        if let Some(deadline) = self.upgrade.next_deadline() {
            self.now = self.now.max(deadline);
            self.feed(Input::Time, well);
        }
    }

    fn answer(&mut self, which: usize, well: bool) {
        if self.pending.is_empty() {
            return self.pass(well);
        }
        // Answers of one operation keep their order; others may overtake each other.
        let input = self.pending.remove(which % self.pending.len().min(2));
        match input {
            Input::Gone(side, _) => self.kill(side, well),
            Input::Ready(Side::Old, _) if !self.old_alive => {}
            Input::Ready(Side::New, _) if !self.new_alive => {}
            other => self.feed(other, well),
        }
    }
}

fn modes() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Plain), Just(Mode::Online), Just(Mode::Backfill)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn it_always_ends_with_one_release(mode in modes(), bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut world = World::new(mode);
        for byte in bytes {
            world.step(byte);
        }
        // From here on nothing goes wrong: it has to end.
        for _ in 0..500 {
            if world.upgrade.ended() {
                break;
            }
            if world.pending.is_empty() && world.upgrade.state() == State::Back(Back::Settling) {
                world.feed(in_step(Side::Old), true);
            }
            if world.yielded && !world.old_alive && world.upgrade.next_deadline().is_none() && world.pending.is_empty() {
                panic!("nobody starts the old release: {:?}", world.upgrade);
            }
            // An instance that the proxy lost attaches again.
            if world.pending.is_empty() && world.old_alive && world.yielded {
                world.feed(ready(Side::Old), true);
            }
            world.answer(0, true);
        }
        prop_assert!(world.upgrade.ended(), "{:?}", world.upgrade);
        prop_assert_eq!(world.ended.len(), 1);
        match world.upgrade.state() {
            State::Committed => {
                prop_assert_eq!(world.checkpoint, Side::New);
                prop_assert_ne!(world.live, Some(Side::Old));
            }
            _ => {
                prop_assert_eq!(world.checkpoint, Side::Old);
                prop_assert_ne!(world.live, Some(Side::New));
            }
        }
    }
}

#[test]
fn what_is_not_confirmed_goes_back_at_the_end_of_its_time() {
    let mut b = at(Mode::Plain, State::Upgraded);
    b.upgrade.plan.confirm = true;
    let mut confirmed = b.clone();
    b.pass(Duration::from_secs(30));
    assert_eq!(b.published(), [Step::RollingBack]);
    assert_eq!(b.upgrade.cause().unwrap().by, "confirmation");
    confirmed.feed(Input::Commit);
    assert_eq!(confirmed.upgrade.state(), State::Settling);
}

#[test]
fn an_older_release_takes_over_only_what_loses_nothing_or_may() {
    let grew = |lossy| Input::ShadowGrew {
        keyspace: 7,
        complete: true,
        lossy,
    };
    for (lossy, allowed, state) in [
        (0, false, State::Starting),
        (1, false, State::Leaving),
        (1, true, State::Starting),
    ] {
        let mut b = at(Mode::Backfill, State::Filling);
        b.upgrade.plan.allow_loss = allowed;
        b.feed(Input::KeyspaceMade(7)).feed(grew(lossy));
        assert_eq!(b.upgrade.state(), state, "{lossy} {allowed}");
    }
    // A row that was written since the shadow was whole.
    let mut b = at(Mode::Backfill, State::Ready);
    b.feed(grew(1)).feed(recorded(Step::Ready));
    assert_eq!(b.upgrade.state(), State::Leaving);
    assert!(b.upgrade.cause().unwrap().message.contains("--allow-loss"));
}

#[test]
fn one_that_is_slow_unhealthy_or_whose_rules_are_refused_goes_back() {
    let load = |count, us| Input::Load {
        backlog: 0,
        durable: (1, 1),
        answers: Answers { count, us },
    };
    let health = |refused_rules, unhealthy: Option<&str>| Input::Health {
        events: 100,
        errors: 0,
        refused_rules,
        unhealthy: unhealthy.map(str::to_owned),
    };
    let mut probing = at(Mode::Plain, State::Probing);
    probing.feed(load(100, 100_000));
    let way = [
        Input::Pong,
        recorded(Step::Ready),
        recorded(Step::Quiescing),
        Input::Yielded(OldIs::Ready),
        Input::Held(HoldOutcome::Quiesced),
        Input::Fenced,
        Input::Resumed(Resumption::default()),
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
    ] {
        let mut b = live.clone();
        b.feed(input.clone());
        let cause = b.upgrade.cause().map(|cause| cause.message.clone());
        match word {
            "" => assert_eq!(
                (b.upgrade.state(), cause),
                (State::Upgraded, None),
                "{input:?}"
            ),
            word => assert!(
                cause.as_ref().is_some_and(|c| c.contains(word)),
                "{cause:?}"
            ),
        }
    }
}
