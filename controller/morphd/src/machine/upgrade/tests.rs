//! First the whole table of states and inputs, then sequences that matter, then any interleaving.

use std::time::{Duration, Instant};

use morph_api::management::Step;
use proptest::prelude::*;

use super::member::{AGAIN, SETTLE};
use super::shadow::{FLUSH, FLUSHES};
use super::*;
use morph_api::deadlines::Deadlines;

const LIMITS: Deadlines = Deadlines::DEFAULT;

fn plan(mode: Mode) -> Plan {
    let (source_schema, target_schema) = match mode {
        Mode::Plain => (1, 1),
        Mode::Online => (1, 2),
        Mode::Backfill => (2, 1),
    };
    Plan {
        mode,
        source_schema,
        target_schema,
        probation: Duration::from_secs(30),
        confirm: false,
        allow_loss: false,
        deadlines: Deadlines::default(),
    }
}

/// A machine, its clock and its last outputs.
#[derive(Clone)]
struct Bench {
    group: Group,
    now: Instant,
    out: Vec<MemberOutput>,
    /// Fences for the target and commits.
    joint: Vec<GroupOutput>,
}

const APP: &str = "router";

/// A group of one, and what it put out at its beginning.
fn group_of_one(plan: Plan, out: &mut Vec<GroupOutput>) -> Group {
    Group::begin([(APP.to_owned(), plan)], out)
}

/// Outputs for the member, and the others.
fn parted(all: Vec<GroupOutput>) -> (Vec<MemberOutput>, Vec<GroupOutput>) {
    let (mut out, mut joint) = (Vec::new(), Vec::new());
    for output in all {
        match output {
            GroupOutput::Member(_, output) => out.push(output),
            GroupOutput::Fence(Side::Source, _) => out.push(MemberOutput::FenceForSource),
            GroupOutput::Fence(Side::Target, _) | GroupOutput::Commit(_) => joint.push(output),
        }
    }
    (out, joint)
}

fn fence(swap: Option<u32>) -> GroupOutput {
    GroupOutput::Fence(Side::Target, vec![(APP.to_owned(), swap)])
}

fn commit(swap: Option<u32>) -> GroupOutput {
    GroupOutput::Commit(vec![(APP.to_owned(), swap)])
}

impl Bench {
    fn new(mode: Mode) -> Self {
        let mut all = Vec::new();
        let group = group_of_one(plan(mode), &mut all);
        let (out, joint) = parted(all);
        Bench {
            group,
            now: Instant::now(),
            out,
            joint,
        }
    }

    fn feed(&mut self, input: MemberInput) -> &mut Self {
        let mut all = Vec::new();
        self.group.handle(APP, input, self.now, &mut all);
        (self.out, self.joint) = parted(all);
        self
    }

    fn member(&self) -> &Member {
        self.group.member(APP).unwrap()
    }

    fn state(&self) -> MemberState {
        self.member().state()
    }

    fn cause(&self) -> Option<&Cause> {
        self.member().cause()
    }

    fn change_plan(&mut self, change: impl FnOnce(&mut Plan)) {
        self.group.change_plan(APP, change);
    }

    fn all(&mut self, inputs: impl IntoIterator<Item = MemberInput>) -> &mut Self {
        for input in inputs {
            self.feed(input);
        }
        self
    }

    fn pass(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self.feed(MemberInput::Time)
    }

    fn published(&self) -> Vec<Step> {
        self.out
            .iter()
            .filter_map(|o| {
                if let MemberOutput::Publish(step, _) = o {
                    Some(*step)
                } else {
                    None
                }
            })
            .collect()
    }
}

fn recorded(step: Step) -> MemberInput {
    MemberInput::Recorded(step)
}

fn ready(side: Side) -> MemberInput {
    MemberInput::Ready(side, "ready".into())
}

fn gone(side: Side) -> MemberInput {
    MemberInput::Gone(side, "was killed by signal 9".into())
}

fn made(keyspace: u32) -> MemberInput {
    MemberInput::Shadow(ShadowInput::Made(keyspace))
}

fn make_failed(why: String) -> MemberInput {
    MemberInput::Shadow(ShadowInput::MakeFailed(why))
}

fn flushed() -> MemberInput {
    MemberInput::Shadow(ShadowInput::Flushed)
}

fn shadow_failed(keyspace: u32) -> MemberInput {
    MemberInput::Shadow(ShadowInput::Failed {
        keyspace,
        why: "no such keyspace".into(),
    })
}

fn grew(lossy: u64) -> MemberInput {
    MemberInput::Shadow(ShadowInput::Progress {
        keyspace: 7,
        complete: true,
        lossy,
    })
}

fn whole(keyspace: u32) -> MemberInput {
    MemberInput::Shadow(ShadowInput::Progress {
        keyspace,
        complete: true,
        lossy: 0,
    })
}

fn in_step(side: Side) -> MemberInput {
    let counts = RuleCounts {
        added: 1,
        changed: 2,
        removed: 3,
        unchanged: 4,
    };
    MemberInput::Rules {
        side,
        counts,
        last: true,
    }
}

fn health(events: u64, errors: u64, refused_rules: u64, unhealthy: Option<&str>) -> MemberInput {
    MemberInput::Health(HealthReport {
        events,
        errors,
        refused_rules,
        unhealthy: unhealthy.map(str::to_owned),
    })
}

fn load(backlog: u64, count: u64, us: u64) -> MemberInput {
    MemberInput::Load(Some(Load {
        backlog,
        cursor: (1, 5),
        answers: AnswerTimes { count, us },
    }))
}

/// A machine brought to a state by its shortest way.
fn at(mode: Mode, state: MemberState) -> Bench {
    let mut b = Bench::new(mode);
    let start = [recorded(Step::Staged), recorded(Step::Starting)];
    let mut way: Vec<MemberInput> = start.into();
    if mode == Mode::Backfill {
        way.extend([made(7), whole(7)]);
    }
    way.extend([ready(Side::Target), MemberInput::Pong]);
    way.extend([
        recorded(Step::Ready),
        recorded(Step::Quiescing),
        MemberInput::Yielded(SourceState::Ready),
    ]);
    if mode == Mode::Online {
        way.push(made(7));
    }
    way.extend([
        MemberInput::Held(HoldOutcome::Quiesced),
        MemberInput::Fenced,
        MemberInput::Resumed(Resumption::default()),
    ]);
    way.extend([recorded(Step::Upgraded)]);
    match state {
        MemberState::Settling => way.push(MemberInput::Commit),
        MemberState::CatchingUp => {
            way.extend([
                in_step(Side::Target),
                MemberInput::Commit,
                MemberInput::Pong,
            ]);
        }
        MemberState::Committing => {
            way.extend([
                in_step(Side::Target),
                MemberInput::Commit,
                MemberInput::Pong,
            ]);
            if mode == Mode::Online {
                way.extend([whole(7), flushed()]);
            }
        }
        MemberState::Leaving => way.insert(4, MemberInput::Rollback),
        MemberState::Back(_) | MemberState::RolledBack => {
            way.extend([
                MemberInput::Rollback,
                recorded(Step::RollingBack),
                MemberInput::Held(HoldOutcome::Quiesced),
            ]);
            if state == MemberState::Back(Back::Waiting) {
                way.insert(way.len() - 1, gone(Side::Source));
                way.swap_remove(way.len() - 3);
                way.push(recorded(Step::RollingBack));
            }
            way.extend([
                MemberInput::Fenced,
                MemberInput::Resumed(Resumption::default()),
            ]);
            way.extend([
                made(8),
                whole(8),
                flushed(),
                in_step(Side::Source),
                MemberInput::Ended,
            ]);
        }
        MemberState::Committed => way.extend([
            in_step(Side::Target),
            MemberInput::Commit,
            MemberInput::Pong,
            whole(7),
            flushed(),
            MemberInput::Ended,
        ]),
        _ => {}
    }
    for input in way {
        if b.state() == state {
            break;
        }
        b.feed(input);
    }
    assert_eq!(b.state(), state, "{mode:?}");
    b
}

/// Every input, and a name for the table.
fn inputs() -> Vec<(&'static str, MemberInput)> {
    let text = || "why".to_owned();
    vec![
        ("staged", recorded(Step::Staged)),
        ("starting", recorded(Step::Starting)),
        ("ready", recorded(Step::Ready)),
        ("quiescing", recorded(Step::Quiescing)),
        ("upgraded", recorded(Step::Upgraded)),
        ("rolling", recorded(Step::RollingBack)),
        ("ended", MemberInput::Ended),
        ("end-refused", MemberInput::EndRefused(text())),
        (
            "not-recorded",
            MemberInput::NotRecorded(Step::Staged, text()),
        ),
        ("made", made(7)),
        ("not-made", make_failed(text())),
        ("target-ready", ready(Side::Target)),
        ("source-ready", ready(Side::Source)),
        ("earlier-shadow-failed", shadow_failed(6)),
        ("shadow-failed", shadow_failed(7)),
        ("open", MemberInput::Open),
        ("pong", MemberInput::Pong),
        ("copied", whole(7)),
        ("flushed", flushed()),
        ("target-failed", MemberInput::Failed(Side::Target, text())),
        ("source-failed", MemberInput::Failed(Side::Source, text())),
        ("target-rules", in_step(Side::Target)),
        ("source-rules", in_step(Side::Source)),
        ("healthy", health(10, 1, 2, None)),
        ("errors", health(10, 9, 0, None)),
        ("load", load(1, 0, 0)),
        ("unobserved", MemberInput::Load(None)),
        ("target-gone", gone(Side::Target)),
        ("source-gone", gone(Side::Source)),
        ("yielded", MemberInput::Yielded(SourceState::Ready)),
        ("held", MemberInput::Held(HoldOutcome::Quiesced)),
        ("hold-failed", MemberInput::HoldFailed(text())),
        ("fenced", MemberInput::Fenced),
        ("fence-refused", MemberInput::FenceRefused(text())),
        ("resumed", MemberInput::Resumed(Resumption::default())),
        ("resume-failed", MemberInput::ResumeFailed(text())),
        ("expired", MemberInput::HoldExpired(Some(Side::Target))),
        ("proxy-lost", MemberInput::ProxyLost),
        ("commit", MemberInput::Commit),
        ("rollback", MemberInput::Rollback),
        (
            "other-goes-back",
            MemberInput::OtherGoesBack(Cause::operator("because")),
        ),
        ("time", MemberInput::Time),
    ]
}

/// Feeds every input to a machine in `state`; those in `moves` must lead where it says, all others nowhere.
#[track_caller]
fn row(mode: Mode, state: MemberState, moves: &[(&str, MemberState)]) {
    let start = at(mode, state);
    for (name, input) in inputs() {
        let mut b = start.clone();
        b.feed(input);
        let wanted = moves
            .iter()
            .find(|(n, _)| *n == name)
            .map_or(state, |(_, to)| *to);
        assert_eq!(b.state(), wanted, "{mode:?} {state:?} on {name}");
    }
}

const LEAVING: [(&str, MemberState); 6] = [
    ("other-goes-back", MemberState::Leaving),
    ("not-recorded", MemberState::Leaving),
    ("target-failed", MemberState::Leaving),
    ("target-gone", MemberState::Leaving),
    ("proxy-lost", MemberState::Leaving),
    ("rollback", MemberState::Leaving),
];
const RECORDING: MemberState = MemberState::Back(Back::Recording);
const BACK: [(&str, MemberState); 5] = [
    ("other-goes-back", RECORDING),
    ("target-failed", RECORDING),
    ("target-gone", RECORDING),
    ("proxy-lost", RECORDING),
    ("rollback", RECORDING),
];

#[test]
fn table_before_the_hold() {
    let with = |more: &[(&'static str, MemberState)]| [&LEAVING[..], more].concat();
    let leaving = MemberState::Leaving;
    for mode in [Mode::Plain, Mode::Online, Mode::Backfill] {
        // What the maker of a shadow cannot do ends the upgrade, and so does its end where it is the source.
        let maker = match mode {
            Mode::Plain | Mode::Online => Vec::new(),
            Mode::Backfill => vec![
                ("source-gone", leaving),
                ("source-failed", leaving),
                ("shadow-failed", leaving),
            ],
        };
        let with = |more: &[(&'static str, MemberState)]| with(&[&maker[..], more].concat());
        let making = [("not-made", leaving)];
        let making = if mode == Mode::Online {
            &making[..]
        } else {
            &[]
        };
        row(
            mode,
            MemberState::Starting,
            &with(&[("target-ready", MemberState::Probing)]),
        );
        let probing = [making, &[("pong", MemberState::Ready)]].concat();
        row(mode, MemberState::Probing, &with(&probing));
        let ready = [making, &[("ready", MemberState::Announcing)]].concat();
        row(mode, MemberState::Ready, &with(&ready));
        let announcing = [making, &[("quiescing", MemberState::Quiescing)]].concat();
        row(mode, MemberState::Announcing, &with(&announcing));
    }
    let starting = [("starting", MemberState::Starting)];
    row(Mode::Plain, MemberState::Staged, &with(&starting));
    row(Mode::Online, MemberState::Staged, &with(&starting));
    let backfilling = [("starting", MemberState::Backfilling)];
    row(Mode::Backfill, MemberState::Staged, &with(&backfilling));
    row(
        Mode::Backfill,
        MemberState::Backfilling,
        &with(&[
            ("source-gone", leaving),
            ("source-failed", leaving),
            ("not-made", leaving),
        ]),
    );
    row(
        Mode::Backfill,
        MemberState::Leaving,
        &[("ended", MemberState::RolledBack)],
    );
}

#[test]
fn table_of_the_hand_over() {
    for mode in [Mode::Plain, Mode::Online, Mode::Backfill] {
        row(
            mode,
            MemberState::Quiescing,
            &[("held", MemberState::Fencing), ("hold-failed", RECORDING)],
        );
        row(
            mode,
            MemberState::Fencing,
            &[
                ("fenced", MemberState::Resuming),
                ("fence-refused", RECORDING),
            ],
        );
        row(
            mode,
            MemberState::Resuming,
            &[
                ("resumed", MemberState::Upgraded),
                ("resume-failed", RECORDING),
            ],
        );
    }
}

#[test]
fn table_of_probation_and_commit() {
    let with = |more: &[(&'static str, MemberState)]| [&BACK[..], more].concat();
    let (settling, committing) = (MemberState::Settling, MemberState::Committing);
    for mode in [Mode::Plain, Mode::Online, Mode::Backfill] {
        let maker = [("shadow-failed", RECORDING)];
        let maker = if mode == Mode::Plain { &[] } else { &maker[..] };
        let probation = [("commit", settling), ("errors", RECORDING)];
        row(
            mode,
            MemberState::Upgraded,
            &with(&[maker, &probation].concat()),
        );
        row(mode, settling, &with(maker));
    }
    let again = MemberState::CatchingUp;
    for mode in [Mode::Plain, Mode::Online, Mode::Backfill] {
        row(
            mode,
            committing,
            &[("ended", MemberState::Committed), ("end-refused", again)],
        );
        row(mode, MemberState::Committed, &[]);
    }
    let mode = Mode::Online;
    row(mode, again, &with(&[("shadow-failed", RECORDING)]));
    let mut b = at(mode, again);
    b.feed(whole(7));
    let flush = MemberOutput::Instruct(Side::Target, Order::Flush);
    assert_eq!((b.state(), &b.out[..]), (again, &[flush][..]));
    b.feed(flushed());
    assert_eq!(
        (b.state(), &b.joint[..]),
        (committing, &[commit(Some(7))][..])
    );
}

#[test]
fn table_of_the_way_back() {
    let back = MemberState::Back;
    for mode in [Mode::Plain, Mode::Online, Mode::Backfill] {
        row(mode, RECORDING, &[("rolling", back(Back::Holding))]);
        row(
            mode,
            back(Back::Waiting),
            &[("source-ready", back(Back::Holding))],
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
            Mode::Backfill => back(Back::Restoring),
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
                ("source-gone", back(Back::Closing)),
                ("proxy-lost", back(Back::Closing)),
                ("source-rules", back(Back::Closing)),
                ("target-rules", back(Back::Closing)),
            ],
        );
        row(
            mode,
            back(Back::Closing),
            &[("ended", MemberState::RolledBack)],
        );
        row(mode, MemberState::RolledBack, &[]);
    }
}

#[test]
fn table_of_restoring_the_older_schema() {
    let back = MemberState::Back;
    let mode = Mode::Backfill;
    row(
        mode,
        back(Back::Restoring),
        &[
            ("source-gone", back(Back::Waiting)),
            ("proxy-lost", back(Back::Waiting)),
        ],
    );
    row(
        mode,
        back(Back::Swapping),
        &[
            ("ended", MemberState::RolledBack),
            ("end-refused", back(Back::Restoring)),
        ],
    );
    let mut b = at(mode, back(Back::Restoring));
    b.feed(made(8)).feed(whole(8));
    let flush = MemberOutput::Instruct(Side::Source, Order::Flush);
    assert_eq!(b.out, [flush]);
    b.feed(flushed());
    assert_eq!(b.out, [MemberOutput::RecordRolledBack(Some(8))]);
    assert_eq!(b.state(), back(Back::Swapping));
    b.feed(MemberInput::Ended);
    assert_eq!(b.out[0], MemberOutput::Instruct(Side::Source, Order::Go));
}

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
fn a_growing_backlog_behind_a_cursor_that_stands_still_is_a_stall() {
    let mut b = at(Mode::Plain, MemberState::Upgraded);
    let load = |backlog| load(backlog, 0, 0);
    b.feed(load(0));
    b.now += Duration::from_millis(1900);
    b.feed(load(9));
    assert_eq!(b.state(), MemberState::Upgraded);
    b.now += Duration::from_millis(100);
    let mut away = b.clone();
    b.feed(load(9));
    assert_eq!(b.state(), RECORDING);
    assert!(b.cause().unwrap().message.contains("9 events wait"));
    away.feed(MemberInput::Load(None)).feed(load(9));
    assert_eq!(
        away.state(),
        MemberState::Upgraded,
        "not while nothing can be said"
    );
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

// ---- any interleaving ----

/// A world that carries out what the machine asks for, well or badly, early or late.
struct World {
    group: Group,
    now: Instant,
    /// AnswerTimes under way.
    pending: Vec<MemberInput>,
    source_alive: bool,
    target_alive: bool,
    yielded: bool,
    /// The side that the last fence let in, and the one that was resumed under it.
    let_in: Side,
    live: Option<Side>,
    ended: Vec<Step>,
    keyspaces: u32,
}

impl World {
    fn new(mode: Mode) -> Self {
        let mut out = Vec::new();
        let group = group_of_one(plan(mode), &mut out);
        let mut world = World {
            group,
            now: Instant::now(),
            pending: Vec::new(),
            source_alive: true,
            target_alive: false,
            yielded: false,
            let_in: Side::Source,
            live: Some(Side::Source),
            ended: Vec::new(),
            keyspaces: 1,
        };
        world.carry_out(out, true);
        world
    }

    fn feed(&mut self, input: MemberInput, well: bool) {
        let mut out = Vec::new();
        self.group.handle(APP, input, self.now, &mut out);
        self.carry_out(out, well);
    }

    fn kill(&mut self, side: Side, well: bool) {
        let alive = match side {
            Side::Source => &mut self.source_alive,
            Side::Target => &mut self.target_alive,
        };
        if std::mem::take(alive) {
            if self.live == Some(side) {
                self.live = None;
            }
            self.feed(gone(side), well);
        }
    }

    fn state(&self) -> MemberState {
        self.group.member(APP).unwrap().state()
    }

    fn carry_out(&mut self, out: Vec<GroupOutput>, well: bool) {
        for output in out {
            let answer = match output {
                GroupOutput::Member(_, output) => self.carry_out_member(output, well),
                GroupOutput::Fence(side, _) if well => {
                    self.let_in = side;
                    self.live = None;
                    Some(MemberInput::Fenced)
                }
                GroupOutput::Fence(..) => Some(MemberInput::FenceRefused("stale".into())),
                GroupOutput::Commit(swaps) if !well && swaps[0].1.is_some() => {
                    Some(MemberInput::EndRefused("not current".into()))
                }
                GroupOutput::Commit(_) => Some(MemberInput::Ended),
            };
            self.pending.extend(answer);
        }
    }

    fn carry_out_member(&mut self, output: MemberOutput, well: bool) -> Option<MemberInput> {
        match output {
            MemberOutput::Record(step) => Some(MemberInput::Recorded(step)),
            MemberOutput::Publish(step, _) => {
                if matches!(step, Step::Committed | Step::RolledBack) {
                    self.ended.push(step);
                }
                None
            }
            MemberOutput::MakeKeyspace(..) if !well => Some(make_failed("no".into())),
            MemberOutput::MakeKeyspace(..) => {
                self.keyspaces += 1;
                Some(made(self.keyspaces))
            }
            MemberOutput::DropKeyspace(_) => None,
            MemberOutput::Spawn(side, _) => self.spawn(side, well),
            MemberOutput::Instruct(_, _) if !well => None,
            MemberOutput::Instruct(_, Order::Ping) => Some(MemberInput::Pong),
            MemberOutput::Instruct(_, Order::MakeShadow { keyspace, .. }) => Some(whole(keyspace)),
            MemberOutput::Instruct(_, Order::Flush) => Some(flushed()),
            MemberOutput::Instruct(_, Order::StopShadow | Order::Go) => None,
            MemberOutput::End(side) => Some(gone(side)),
            MemberOutput::Hold => Some(self.hold(well)),
            MemberOutput::FenceForSource => panic!("it comes as a fence of the group"),
            MemberOutput::Resume(side) => {
                let alive = match side {
                    Side::Source => self.source_alive,
                    Side::Target => self.target_alive,
                };
                if !(well && alive) {
                    return Some(MemberInput::ResumeFailed("gone".into()));
                }
                assert_eq!(self.let_in, side, "resumed without a fence");
                self.live = Some(side);
                Some(MemberInput::Resumed(Resumption::default()))
            }
            MemberOutput::Sample => Some(MemberInput::Load(None)),
            MemberOutput::RecordRolledBack(Some(_)) if !well => {
                Some(MemberInput::EndRefused("not current".into()))
            }
            MemberOutput::RecordRolledBack(_) => Some(MemberInput::Ended),
        }
    }

    fn hold(&mut self, well: bool) -> MemberInput {
        if !std::mem::replace(&mut self.yielded, true) {
            let source = match self.source_alive {
                true => SourceState::Ready,
                false => SourceState::Absent,
            };
            self.feed(MemberInput::Yielded(source), well);
        }
        let outcome = match self.live {
            Some(_) => HoldOutcome::Quiesced,
            None => HoldOutcome::Gone,
        };
        match well {
            true => MemberInput::Held(outcome),
            false => MemberInput::HoldFailed("away".into()),
        }
    }

    fn spawn(&mut self, side: Side, well: bool) -> Option<MemberInput> {
        let alive = match side {
            Side::Source => &mut self.source_alive,
            Side::Target => &mut self.target_alive,
        };
        assert!(
            !*alive || side == Side::Target,
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
            0 => self.kill(Side::Target, well),
            1 if self.yielded => self.kill(Side::Source, well),
            2 => self.feed(MemberInput::Rollback, well),
            3 => self.feed(MemberInput::Commit, well),
            4 => self.feed(MemberInput::Failed(Side::Target, "failed".into()), well),
            5 => self.feed(MemberInput::ProxyLost, well),
            6 | 7 => self.pass(well),
            _ => self.answer(usize::from(byte >> 4 & 7), well),
        }
    }

    fn pass(&mut self, well: bool) {
        if let Some(deadline) = self.group.next_deadline() {
            self.now = self.now.max(deadline);
            self.feed(MemberInput::Time, well);
        }
    }

    fn answer(&mut self, which: usize, well: bool) {
        if self.pending.is_empty() {
            return self.pass(well);
        }
        // AnswerTimes of one operation keep their order; others may overtake each other.
        let input = self.pending.remove(which % self.pending.len().min(2));
        match input {
            MemberInput::Gone(side, _) => self.kill(side, well),
            MemberInput::Ready(Side::Source, _) if !self.source_alive => {}
            MemberInput::Ready(Side::Target, _) if !self.target_alive => {}
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
            if world.group.ended() {
                break;
            }
            if world.pending.is_empty() && world.state() == MemberState::Back(Back::Settling) {
                world.feed(in_step(Side::Source), true);
            }
            if world.yielded && !world.source_alive && world.group.next_deadline().is_none() && world.pending.is_empty() {
                panic!("nobody starts the old release: {:?}", world.group);
            }
            // An instance that the proxy lost attaches again.
            if world.pending.is_empty() && world.source_alive && world.yielded {
                world.feed(ready(Side::Source), true);
            }
            world.answer(0, true);
        }
        prop_assert!(world.group.ended(), "{:?}", world.group);
        prop_assert_eq!(world.ended.len(), 1);
        match world.state() {
            MemberState::Committed => {
                prop_assert_eq!(world.let_in, Side::Target);
                prop_assert_ne!(world.live, Some(Side::Source));
            }
            _ => {
                prop_assert_eq!(world.let_in, Side::Source);
                prop_assert_ne!(world.live, Some(Side::Target));
            }
        }
    }
}

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
