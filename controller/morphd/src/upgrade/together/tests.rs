//! Two upgrades as one: what waits for what, and that both end alike whatever happens.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::upgrade::{HoldOutcome, Mode, OldIs, Order, Plan, Resumption};

/// Selects outputs.
type Is = fn(&Output) -> bool;

const APPS: [&str; 2] = ["router", "topology"];

/// Both machines, what stands above them, and a world that does at once what it is asked for.
struct Bench {
    upgrades: BTreeMap<String, Upgrade>,
    together: Together,
    now: Instant,
    feeds: VecDeque<(String, Input)>,
    /// All that was carried out.
    acts: Vec<Act>,
    /// An app for which the world does not do this: it is left to the test.
    withheld: Option<(&'static str, Is)>,
    /// The joint fence is refused.
    refuse_fence: bool,
}

fn plan(mode: Mode) -> Plan {
    Plan {
        mode,
        old_schema: 1,
        new_schema: 1,
        probation: Duration::from_secs(30),
        confirm: false,
        allow_loss: false,
        deadlines: Default::default(),
    }
}

impl Bench {
    fn new(modes: [Mode; 2]) -> Self {
        let mut bench = Bench {
            upgrades: BTreeMap::new(),
            together: Together::new(APPS.map(str::to_owned)),
            now: Instant::now(),
            feeds: VecDeque::new(),
            acts: Vec::new(),
            withheld: None,
            refuse_fence: false,
        };
        for (app, mode) in APPS.into_iter().zip(modes) {
            let mut out = Vec::new();
            let upgrade = Upgrade::begin(plan(mode), &mut out);
            bench.upgrades.insert(app.to_owned(), upgrade);
            bench.put_out(app, out);
        }
        bench
    }

    fn put_out(&mut self, app: &str, out: Vec<Output>) {
        let mut acts = Vec::new();
        self.together.pass(app, &self.upgrades[app], out, &mut acts);
        for act in acts {
            self.carry_out(act);
        }
    }

    fn carry_out(&mut self, act: Act) {
        self.acts.push(act.clone());
        match act {
            Act::Out(app, output) => {
                let left = self
                    .withheld
                    .is_some_and(|(of, what)| of == app && what(&output));
                let answers = if left { Vec::new() } else { answers(&output) };
                let feeds = answers.into_iter().map(|input| (app.clone(), input));
                self.feeds.extend(feeds);
            }
            Act::Feed(app, input) => self.feeds.push_back((app, input)),
            Act::FenceAll(members) => {
                let answer = match self.refuse_fence {
                    true => Input::FenceRefused("stale".into()),
                    false => Input::Fenced,
                };
                let feeds = members.into_iter().map(|(app, _)| (app, answer.clone()));
                self.feeds.extend(feeds);
            }
            Act::CommitAll(members) => {
                let feeds = members.into_iter().map(|(app, _)| (app, Input::Finished));
                self.feeds.extend(feeds);
            }
        }
    }

    fn feed(&mut self, app: &str, input: Input) {
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
            let upgrade = self.upgrades.get_mut(&app).unwrap();
            upgrade.handle(input, self.now, &mut out);
            self.put_out(&app, out);
        }
    }

    /// Lets time pass until nothing is to come, or so long.
    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        self.run(usize::MAX);
        while let Some(at) = self
            .upgrades
            .values()
            .filter_map(Upgrade::next_deadline)
            .min()
            && at <= end
        {
            self.now = self.now.max(at);
            for app in APPS {
                self.feed(app, Input::Time);
            }
        }
        self.now = end;
    }

    fn states(&self) -> [State; 2] {
        APPS.map(|app| self.upgrades[app].state())
    }

    fn count(&self, what: fn(&Act) -> bool) -> usize {
        self.acts.iter().filter(|act| what(act)).count()
    }
}

/// What a world in which nothing fails answers.
fn answers(output: &Output) -> Vec<Input> {
    match output {
        Output::Record(step) => vec![Input::Recorded(*step)],
        Output::MakeKeyspace(..) => vec![Input::KeyspaceMade(7)],
        Output::Spawn(side, _) => vec![Input::Ready(*side, "ready".into())],
        Output::Tell(_, Order::Ping) => vec![Input::Pong],
        Output::Tell(_, Order::MakeShadow(keyspace, _)) => vec![Input::ShadowGrew {
            keyspace: *keyspace,
            complete: true,
            lossy: 0,
        }],
        Output::Tell(_, Order::Flush) => vec![Input::Flushed],
        Output::Tell(_, Order::Go | Order::StopShadow) => vec![],
        Output::Hold => vec![
            Input::Yielded(OldIs::Ready),
            Input::Held(HoldOutcome::Quiesced),
        ],
        Output::Fence(..) => vec![Input::Fenced],
        Output::Resume(side) => vec![
            Input::Resumed(Resumption::default()),
            Input::Rules {
                side: *side,
                difference: Default::default(),
                last: true,
            },
        ],
        Output::Sample => vec![Input::Unobserved],
        Output::Finish(..) => vec![Input::Finished],
        Output::Publish(..) | Output::DropKeyspace(_) | Output::End(_) => vec![],
    }
}

const OLD: [State; 2] = [State::RolledBack; 2];
const NEW: [State; 2] = [State::Committed; 2];

#[test]
fn both_are_ready_before_any_is_held_and_there_is_one_fence_and_one_commit() {
    let modes = [Mode::Plain, Mode::Online, Mode::Backfill];
    for pair in modes.into_iter().flat_map(|a| modes.map(|b| [a, b])) {
        let mut bench = Bench::new(pair);
        bench.withheld = Some(("topology", |output| matches!(output, Output::Spawn(..))));
        bench.run(usize::MAX);
        assert_eq!(bench.states(), [State::Ready, State::Starting], "{pair:?}");
        assert_eq!(
            bench.count(|act| matches!(act, Act::Out(_, Output::Hold))),
            0
        );
        bench.withheld = None;
        bench.feed("topology", Input::Ready(Side::New, "ready".into()));
        assert_eq!(bench.states(), [State::Upgraded; 2], "{pair:?}");
        bench.wait(Duration::from_secs(31));
        assert_eq!(bench.states(), NEW, "{pair:?}");
        let fences = |act: &Act| matches!(act, Act::FenceAll(members) if members.len() == 2);
        let commits = |act: &Act| matches!(act, Act::CommitAll(members) if members.len() == 2);
        let alone = |act: &Act| matches!(act, Act::Out(_, Output::Fence(..) | Output::Finish(..)));
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
    let failures: [(Is, Input); 5] = [
        (
            |o| matches!(o, Output::Spawn(..)),
            Input::Gone(Side::New, "died".into()),
        ),
        (
            |o| matches!(o, Output::Tell(_, Order::Ping)),
            Input::Rollback,
        ),
        (
            |o| matches!(o, Output::Hold),
            Input::HoldFailed("away".into()),
        ),
        (
            |o| matches!(o, Output::Resume(Side::New)),
            Input::ResumeFailed("late".into()),
        ),
        (|o| matches!(o, Output::Sample), Input::ProxyLost),
    ];
    for (what, failure) in failures {
        let mut bench = Bench::new([Mode::Plain, Mode::Online]);
        bench.withheld = Some(("topology", what));
        bench.wait(Duration::from_millis(600));
        bench.withheld = None;
        let yields = matches!(failure, Input::HoldFailed(_));
        if yields {
            bench.feed("topology", Input::Yielded(OldIs::Ready));
        }
        bench.feed("topology", failure.clone());
        if failure == Input::ProxyLost {
            bench.feed("topology", Input::Ready(Side::Old, String::new()));
        }
        bench.wait(Duration::from_secs(10));
        assert_eq!(bench.states(), OLD, "{failure:?}");
        let cause = bench.upgrades["router"].cause().unwrap();
        assert!(
            cause
                .message
                .starts_with("topology, which was upgraded with it"),
            "{cause:?}"
        );
        let own = bench.upgrades["topology"].cause().unwrap();
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
        matches!(output, Output::Tell(_, Order::Ping))
    }));
    bench.run(usize::MAX);
    bench.feed("topology", Input::Pong);
    bench.feed("topology", Input::Commit);
    bench.feed("router", Input::Commit);
    let [router, topology] = bench.states();
    assert!(matches!(router, State::Finishing(_)) && topology == State::Settling);
    bench.withheld = None;
    bench.feed("router", Input::Gone(Side::New, "died".into()));
    bench.wait(Duration::from_secs(10));
    assert_eq!(bench.states(), OLD);
    assert_eq!(bench.count(|act| matches!(act, Act::CommitAll(_))), 0);
}

fn trouble() -> impl Strategy<Value = Input> {
    prop_oneof![
        Just(Input::Gone(Side::New, "died".into())),
        Just(Input::Gone(Side::Old, "died".into())),
        Just(Input::Failed(Side::New, "cannot".into())),
        Just(Input::Rollback),
        Just(Input::Commit),
        Just(Input::HoldExpired(Some(Side::Old))),
        Just(Input::FenceRefused("late".into())),
        Just(Input::HoldFailed("late".into())),
        Just(Input::ResumeFailed("late".into())),
        Just(Input::Time),
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
            let ends_old = matches!(input, Input::Gone(Side::Old, _));
            bench.feeds.push_back((APPS[app].to_owned(), input));
            if ends_old {
                // Whoever looks after it starts it again.
                bench.feeds.push_back((APPS[app].to_owned(), Input::Ready(Side::Old, String::new())));
            }
        }
        for _ in 0..20 {
            bench.wait(Duration::from_secs(40));
        }
        let [a, b] = bench.states();
        prop_assert!(a == b && [State::Committed, State::RolledBack].contains(&a), "{a:?} {b:?}");
    }
}
