//! A bench that feeds the machine, and tests by theme.

use std::time::{Duration, Instant};

use morph_api::management::Step;

use super::member::{AGAIN, SETTLE};
use super::shadow::{FLUSH, FLUSHES};
use super::*;
use morph_api::deadlines::Deadlines;

mod probation;
mod random;
mod sequences;
mod tables;
mod waits;

const LIMITS: Deadlines = Deadlines::DEFAULT;
const RECORDING: MemberState = MemberState::Back(Back::Recording);

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
        allow_rule_loss: false,
        min_events: 0,
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
        ..HealthReport::default()
    })
}

/// A report of a target with these faults, where the source had one rule left out.
fn faulty(failures: u64, refused_rules: u64, faults: (u64, u64, bool)) -> MemberInput {
    let (rules_left_out, rules_disputed, alarms_left_out) = faults;
    MemberInput::Health(HealthReport {
        events: 100,
        failures,
        refused_rules,
        faults: StandingFaults {
            rules_left_out,
            rules_disputed,
            alarms_left_out,
        },
        faults_before: Some(StandingFaults {
            rules_left_out: 1,
            ..StandingFaults::default()
        }),
        ..HealthReport::default()
    })
}

fn load(silent_ms: u64, count: u64, us: u64) -> MemberInput {
    MemberInput::Load(Some(Load {
        silent: Duration::from_millis(silent_ms),
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
