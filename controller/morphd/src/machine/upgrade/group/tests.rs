//! Two upgrades as one: what waits for what, and that both end alike whatever happens.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::machine::upgrade::{HoldOutcome, Mode, Order, Resumption, ShadowInput, SourceState};

/// Selects outputs.
type Is = fn(&MemberOutput) -> bool;

const APPS: [&str; 2] = ["router", "topology"];

/// Both members, and a world that does at once what it is asked for.
struct Bench {
    group: Group,
    now: Instant,
    feeds: VecDeque<(String, MemberInput)>,
    /// All that was carried out.
    done: Vec<GroupOutput>,
    /// An app for which the world does not do this: it is left to the test.
    withheld: Option<(&'static str, Is)>,
    /// The fence for the targets is refused.
    refuse_fence: bool,
}

fn plan(mode: Mode) -> Plan {
    Plan {
        mode,
        source_schema: 1,
        target_schema: 1,
        probation: Duration::from_secs(30),
        confirm: false,
        allow_loss: false,
        allow_rule_loss: false,
        min_events: 0,
        deadlines: Default::default(),
    }
}

impl Bench {
    fn new(modes: [Mode; 2]) -> Self {
        let plans = APPS.into_iter().zip(modes);
        let plans = plans.map(|(app, mode)| (app.to_owned(), plan(mode)));
        let mut out = Vec::new();
        let mut bench = Bench {
            group: Group::begin(plans, &mut out),
            now: Instant::now(),
            feeds: VecDeque::new(),
            done: Vec::new(),
            withheld: None,
            refuse_fence: false,
        };
        bench.carry_out(out);
        bench
    }

    fn carry_out(&mut self, out: Vec<GroupOutput>) {
        for output in out {
            self.done.push(output.clone());
            let all = |members: Vec<Swap>, answer: MemberInput| {
                members
                    .into_iter()
                    .map(move |(app, _)| (app, answer.clone()))
            };
            match output {
                GroupOutput::Member(app, output) => {
                    let withheld = self.withheld;
                    let left = withheld.is_some_and(|(of, what)| of == app && what(&output));
                    let answers = if left { Vec::new() } else { answers(&output) };
                    self.feeds
                        .extend(answers.into_iter().map(|input| (app.clone(), input)));
                }
                GroupOutput::Fence(Side::Target, members) if self.refuse_fence => {
                    let refused = MemberInput::FenceRefused("stale".into());
                    self.feeds.extend(all(members, refused));
                }
                GroupOutput::Fence(_, members) => {
                    self.feeds.extend(all(members, MemberInput::Fenced));
                }
                GroupOutput::Commit(members) => {
                    self.feeds.extend(all(members, MemberInput::Ended));
                }
            }
        }
    }

    fn feed(&mut self, app: &str, input: MemberInput) {
        self.feeds.push_back((app.to_owned(), input));
        self.run(usize::MAX);
    }

    /// Feeds what is under way, at most so much of it.
    fn run(&mut self, most: usize) {
        for _ in 0..most {
            let Some((app, input)) = self.feeds.pop_front() else {
                return;
            };
            let mut out = Vec::new();
            self.group.handle(&app, input, self.now, &mut out);
            self.carry_out(out);
        }
    }

    /// Lets time pass until nothing is to come, or so long.
    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        self.run(usize::MAX);
        while let Some(at) = self.group.next_deadline()
            && at <= end
        {
            self.now = self.now.max(at);
            for app in APPS {
                self.feed(app, MemberInput::Time);
            }
        }
        self.now = end;
    }

    fn states(&self) -> [MemberState; 2] {
        APPS.map(|app| self.group.member(app).unwrap().state())
    }

    fn cause(&self, app: &str) -> Cause {
        self.group.member(app).unwrap().cause().unwrap().clone()
    }

    fn count(&self, what: fn(&GroupOutput) -> bool) -> usize {
        self.done.iter().filter(|output| what(output)).count()
    }
}

/// What a world in which nothing fails answers.
fn answers(output: &MemberOutput) -> Vec<MemberInput> {
    match output {
        MemberOutput::Record(step) => vec![MemberInput::Recorded(*step)],
        MemberOutput::MakeKeyspace(..) => vec![MemberInput::Shadow(ShadowInput::Made(7))],
        MemberOutput::Spawn(side, _) => vec![MemberInput::Ready(*side, "ready".into())],
        MemberOutput::Instruct(_, Order::Ping) => vec![MemberInput::Pong],
        MemberOutput::Instruct(_, Order::MakeShadow { keyspace, .. }) => {
            vec![MemberInput::Shadow(ShadowInput::Progress {
                keyspace: *keyspace,
                complete: true,
                lossy: 0,
            })]
        }
        MemberOutput::Instruct(_, Order::Flush) => vec![MemberInput::Shadow(ShadowInput::Flushed)],
        MemberOutput::Instruct(_, Order::Go | Order::StopShadow) => vec![],
        MemberOutput::Hold => vec![
            MemberInput::Yielded(SourceState::Ready),
            MemberInput::Held(HoldOutcome::Quiesced),
        ],
        MemberOutput::Resume(side) => vec![
            MemberInput::Resumed(Resumption::default()),
            MemberInput::Rules {
                side: *side,
                counts: Default::default(),
                last: true,
            },
        ],
        MemberOutput::Sample => vec![MemberInput::Load(None)],
        MemberOutput::RecordRolledBack(_) => vec![MemberInput::Ended],
        MemberOutput::FenceForSource
        | MemberOutput::Publish(..)
        | MemberOutput::DropKeyspace(_)
        | MemberOutput::End(_) => vec![],
    }
}

const OLD: [MemberState; 2] = [MemberState::RolledBack; 2];
const NEW: [MemberState; 2] = [MemberState::Committed; 2];

#[test]
fn both_are_ready_before_any_is_held_and_there_is_one_fence_and_one_commit() {
    let modes = [Mode::Plain, Mode::Online, Mode::Backfill];
    for pair in modes.into_iter().flat_map(|a| modes.map(|b| [a, b])) {
        let mut bench = Bench::new(pair);
        bench.withheld = Some(("topology", |output| {
            matches!(output, MemberOutput::Spawn(..))
        }));
        bench.run(usize::MAX);
        let waits = MemberState::AtBarrier(Barrier::Hold);
        assert_eq!(bench.states(), [waits, MemberState::Starting], "{pair:?}");
        assert_eq!(
            bench.count(|out| matches!(out, GroupOutput::Member(_, MemberOutput::Hold))),
            0
        );
        bench.withheld = None;
        bench.feed("topology", MemberInput::Ready(Side::Target, "ready".into()));
        assert_eq!(bench.states(), [MemberState::Upgraded; 2], "{pair:?}");
        bench.wait(Duration::from_secs(31));
        assert_eq!(bench.states(), NEW, "{pair:?}");
        let fences =
            |out: &GroupOutput| matches!(out, GroupOutput::Fence(_, members) if members.len() == 2);
        let commits =
            |out: &GroupOutput| matches!(out, GroupOutput::Commit(members) if members.len() == 2);
        let alone = |out: &GroupOutput| match out {
            GroupOutput::Fence(_, members) | GroupOutput::Commit(members) => members.len() != 2,
            GroupOutput::Member(_, output) => matches!(output, MemberOutput::RecordRolledBack(_)),
        };
        assert_eq!(
            (
                bench.count(fences),
                bench.count(commits),
                bench.count(alone)
            ),
            (1, 1, 0)
        );
    }
}

#[test]
fn one_that_waits_is_taken_back_when_the_other_fails() {
    let failures: [(Is, MemberInput); 5] = [
        (
            |o| matches!(o, MemberOutput::Spawn(..)),
            MemberInput::Gone(Side::Target, "died".into()),
        ),
        (
            |o| matches!(o, MemberOutput::Instruct(_, Order::Ping)),
            MemberInput::Rollback,
        ),
        (
            |o| matches!(o, MemberOutput::Hold),
            MemberInput::HoldFailed("away".into()),
        ),
        (
            |o| matches!(o, MemberOutput::Resume(Side::Target)),
            MemberInput::ResumeFailed("late".into()),
        ),
        (
            |o| matches!(o, MemberOutput::Sample),
            MemberInput::ProxyLost,
        ),
    ];
    for (what, failure) in failures {
        let mut bench = Bench::new([Mode::Plain, Mode::Online]);
        bench.withheld = Some(("topology", what));
        bench.wait(Duration::from_millis(600));
        bench.withheld = None;
        let yields = matches!(failure, MemberInput::HoldFailed(_));
        if yields {
            bench.feed("topology", MemberInput::Yielded(SourceState::Ready));
        }
        bench.feed("topology", failure.clone());
        if failure == MemberInput::ProxyLost {
            bench.feed("topology", MemberInput::Ready(Side::Source, String::new()));
        }
        bench.wait(Duration::from_secs(10));
        assert_eq!(bench.states(), OLD, "{failure:?}");
        let cause = bench.cause("router");
        assert!(
            cause
                .message
                .starts_with("topology, which was upgraded with it"),
            "{cause:?}"
        );
        let own = bench.cause("topology");
        assert_eq!(cause.by, own.by);
    }
}

#[test]
fn a_refused_fence_takes_both_back() {
    let mut bench = Bench::new([Mode::Plain; 2]);
    bench.refuse_fence = true;
    bench.wait(Duration::from_secs(10));
    assert_eq!(bench.states(), OLD);
}

#[test]
fn one_that_dies_while_it_waits_for_the_commit_takes_both_back() {
    let mut bench = Bench::new([Mode::Plain, Mode::Plain]);
    bench.withheld = Some(("topology", |output| {
        matches!(output, MemberOutput::Instruct(_, Order::Ping))
    }));
    bench.run(usize::MAX);
    bench.feed("topology", MemberInput::Pong);
    bench.feed("topology", MemberInput::Commit);
    bench.feed("router", MemberInput::Commit);
    let [router, topology] = bench.states();
    let waits = MemberState::AtBarrier(Barrier::Commit);
    assert_eq!([router, topology], [waits, MemberState::Settling]);
    bench.withheld = None;
    bench.feed("router", MemberInput::Gone(Side::Target, "died".into()));
    bench.wait(Duration::from_secs(10));
    assert_eq!(bench.states(), OLD);
    assert_eq!(bench.count(|out| matches!(out, GroupOutput::Commit(_))), 0);
}

fn trouble() -> impl Strategy<Value = MemberInput> {
    prop_oneof![
        Just(MemberInput::Gone(Side::Target, "died".into())),
        Just(MemberInput::Gone(Side::Source, "died".into())),
        Just(MemberInput::Failed(Side::Target, "cannot".into())),
        Just(MemberInput::Rollback),
        Just(MemberInput::Commit),
        Just(MemberInput::HoldExpired(Some(Side::Source))),
        Just(MemberInput::FenceRefused("late".into())),
        Just(MemberInput::HoldFailed("late".into())),
        Just(MemberInput::ResumeFailed("late".into())),
        Just(MemberInput::Time),
    ]
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Plain), Just(Mode::Online), Just(Mode::Backfill)]
}

proptest! {
    /// Whatever is fed, wherever: both end, and alike.
    #[test]
    fn both_end_alike(
        modes in [mode(), mode()],
        steps in proptest::collection::vec((0..20usize, 0..2usize, trouble()), 0..4),
    ) {
        let mut bench = Bench::new(modes);
        for (most, app, input) in steps {
            bench.run(most);
            let ends_old = matches!(input, MemberInput::Gone(Side::Source, _));
            bench.feeds.push_back((APPS[app].to_owned(), input));
            if ends_old {
                // morphd starts the source again.
                bench.feeds.push_back((APPS[app].to_owned(), MemberInput::Ready(Side::Source, String::new())));
            }
        }
        for _ in 0..20 {
            bench.wait(Duration::from_secs(40));
        }
        let [a, b] = bench.states();
        prop_assert!(a == b && [MemberState::Committed, MemberState::RolledBack].contains(&a), "{a:?} {b:?}");
    }
}
