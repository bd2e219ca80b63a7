//! One instance of an app: the machine between the proxy's session, the store, and the app's code.
//!
//! ```text
//!                 Welcome, view loaded, switches read (unless nobody serves the app): says Ready
//!   Waiting <-------------------------------------------------------- session lost
//!      |  ^                                                                ^
//!  Resume |                                                                |
//!      v                 Pause, Rejected{stale}, StaleEpoch, Quiesced      |
//!    Live -----------------------------------------------------------> Paused
//!      ^                                                                   |
//!      +------------------------------- Resume ----------------------------+
//!
//!   Live, with its view at the revision of the Resume, makes turns:
//!
//!     changes | rules | tick | event --> accepting -- Accepted --> committing --> durable
//!                                        (one turn)               (some, in order; the store is
//!                                                                  asked until it has answered)
//! ```
//!
//! | file | its part |
//! |---|---|
//! | `session` | what the proxy says |
//! | `orders` | what morphd says, and is told |
//! | `watches` | the view's sources in the store |
//! | `primary`, `layers` | the app's own rows, natively or through migrations |
//! | `turns` | making turns |
//! | `hands`, `commits` | turns that were sent, until they are durable |
//! | `switches` | the rules in each switch |
//! | `shadow`, `losses` | a shadow in another schema version, and what a way back from it would lose |

mod commits;
mod hands;
mod io;
mod layers;
mod losses;
mod orders;
mod primary;
mod session;
mod shadow;
mod switches;
mod turns;
mod watches;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use morph_api::manifest::Manifest;
use morph_api::session::from_app;
use morph_api::store::{Seq, watch_reply};
use morph_api::supervisor::{Report, report};
use prost::Message as _;

pub use io::{Input, Now, Outcome, Output, Source};

use crate::engine::Engine;
use crate::migration::Chain;
use crate::wanted::Stale;
use crate::{App, Changes, MigrationError, Pipeline};
use hands::Hands;
use primary::Primary;
use session::{Announced, Delivered};
use shadow::Shadow;
use switches::Switches;
use watches::Follow;

/// How often a live app ticks.
const TICK: Duration = Duration::from_millis(100);
/// How often a live instance says how it is.
const HEALTH: Duration = Duration::from_secs(1);
/// How long an instance waits for Go after Flushed.
const GO: Duration = Duration::from_secs(2);

/// What an instance is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Of the release.
    pub manifest: Manifest,
    /// The instance's id.
    pub instance: String,
    /// The node that it runs on.
    pub node: String,
    /// Of its process, for people.
    pub pid: u32,
    /// The keyspace to read natively, where it is not the primary yet.
    pub keyspace: Option<u32>,
    /// The migrations that the release brings.
    pub chain: Chain,
    /// For a test of the tests only: on a resume, delete all rules and add them again.
    pub reinstall: bool,
    /// Nobody serves the app meanwhile: it is ready once its view is loaded, and reads the switches when it is live.
    pub alone: bool,
}

/// Why an instance cannot go on.
#[derive(Debug, Clone)]
struct Fatal(String);

impl From<MigrationError> for Fatal {
    fn from(error: MigrationError) -> Self {
        Fatal(error.to_string())
    }
}

#[derive(Debug, Clone)]
enum Role {
    /// Not yet made the live one, in this session.
    Waiting,
    Live(Live),
    /// Was live, and follows.
    Paused,
}

#[derive(Debug, Clone)]
struct Live {
    epoch: u64,
    /// The last event whose effects are durable.
    cursor: Seq,
    /// Committed turns of the checkpoint.
    turn: u64,
    /// The view's least revision before anything is answered.
    revision: u64,
    /// No further turn: to be answered with Quiesced.
    quiesce: bool,
    flush: Option<Flush>,
    tick: Instant,
    health: Instant,
    /// It was said that all switches are in step.
    all_synced: bool,
    /// Resumed as one of a group of apps: its rules have to be known before the first turn, and are said to be.
    group: bool,
}

#[derive(Debug, Clone)]
struct Flush {
    deadline: Instant,
    told: bool,
    /// Go was said, or its time is over: the store is asked which keyspace is the primary.
    going: bool,
}

#[derive(Debug, Clone, Default)]
struct Counters {
    events: u64,
    errors: u64,
    rule_failures: u64,
}

/// The machine: see the module.
#[derive(Debug, Clone)]
pub struct Instance<A: App> {
    config: Config,
    engine: Engine<A>,
    primary: Primary,
    own: Follow,
    others: BTreeMap<String, Follow>,
    /// The proxy has said what is connected, in this session.
    welcomed: bool,
    ready_said: bool,
    announced: Option<Announced>,
    role: Role,
    hands: Hands,
    /// Events not yet handled. The proxy delivers the next one once the former was accepted: two at most.
    queue: VecDeque<Delivered>,
    /// What others changed that the app was not told yet.
    changes: Option<Changes>,
    switches: Switches,
    /// What the own watch said about rows that turns in flight changed, and of which watch it is. No turn is made until it is
    /// taken up.
    deferred: Option<(u64, watch_reply::Reply)>,
    /// The epochs in which this instance was live: turns of these are its own.
    lived: BTreeSet<u64>,
    shadow: Option<Shadow>,
    /// Keyspace and schema version of a shadow that is to be made once the view is loaded.
    shadow_order: Option<(u32, u32)>,
    last_commit: u64,
    counters: Counters,
    ended: bool,
}

impl<A: App> Instance<A> {
    /// Not started yet.
    pub fn new(app: A, config: Config) -> Self {
        let pipeline = Pipeline {
            app: config.manifest.id,
            first: config.manifest.tables[0],
            exit: config.manifest.tables[1],
        };
        let reads = &config.manifest.reads;
        Instance {
            engine: Engine::new(app, pipeline),
            primary: Primary::new(config.chain.clone()),
            own: Follow::default(),
            others: reads
                .keys()
                .map(|app| (app.clone(), Follow::default()))
                .collect(),
            welcomed: false,
            ready_said: false,
            announced: None,
            role: Role::Waiting,
            hands: Hands::default(),
            queue: VecDeque::new(),
            changes: None,
            switches: Switches::new(config.manifest.id),
            deferred: None,
            lived: BTreeSet::new(),
            shadow: None,
            shadow_order: None,
            last_commit: 0,
            counters: Counters::default(),
            ended: false,
            config,
        }
    }

    /// The first outputs.
    pub fn start(&mut self, now: Now, out: &mut Vec<Output>) {
        self.follow_due(now, out);
    }

    /// Takes one input; what is to be done is added to `out`.
    pub fn handle(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        if self.ended {
            return;
        }
        let result = match input {
            Input::SessionUp => {
                self.session_up(out);
                Ok(())
            }
            Input::SessionDown => {
                self.session_down();
                Ok(())
            }
            Input::Control(record) => self.control(record, now, out),
            Input::Message { channel, message } => {
                self.message(channel, message, now);
                Ok(())
            }
            Input::Status(status) => self.status(status, now, out),
            Input::Watch {
                source,
                generation,
                reply,
            } => self.watch(source, generation, reply, now),
            Input::Committed { id, outcome } => self.committed(id, outcome, now, out),
            Input::Time => Ok(()),
            Input::Terminate => {
                self.exit(0, out);
                Ok(())
            }
        };
        let result = result.and_then(|()| self.advance(now, out));
        if let Err(Fatal(message)) = result {
            self.fail(message, out);
        }
    }

    /// It cannot go on: says why, and ends.
    pub(crate) fn fail(&mut self, message: String, out: &mut Vec<Output>) {
        self.fail_with(1, message, out);
    }

    fn fail_with(&mut self, status: u8, message: String, out: &mut Vec<Output>) {
        tracing::error!("{message}");
        let failed = morph_api::supervisor::Failed { message };
        self.say(report::Report::Failed(failed), out);
        self.exit(status, out);
    }

    /// Whether words of watches may come now: one that concerns turns in flight waits for these, and others for it.
    pub fn takes_watches(&self) -> bool {
        self.deferred.is_none()
    }

    /// When `Input::Time` is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let live = match &self.role {
            Role::Live(live) => {
                let tick = self.may_turn().then_some(live.tick);
                let flush = live.flush.as_ref().filter(|flush| !flush.going);
                let flush = flush.map(|flush| flush.deadline);
                [Some(live.health), tick, flush]
            }
            Role::Waiting | Role::Paused => [None; 3],
        };
        let follows = self.others.values().chain([&self.own]);
        let reading = self.reads_switches().then(|| self.switches.next_deadline());
        follows
            .filter_map(Follow::next_deadline)
            .chain(live.into_iter().flatten())
            .chain(reading.flatten())
            .chain(self.hands.next_deadline())
            .chain(self.shadow_deadline())
            .min()
    }

    /// Does all that can be done now.
    fn advance(&mut self, now: Now, out: &mut Vec<Output>) -> Result<(), Fatal> {
        if self.ended {
            return Ok(());
        }
        self.go_on_committing(now, out);
        self.undefer()?;
        self.settle();
        self.follow_due(now, out);
        self.read_switches(now, out);
        self.go_on(now, out);
        loop {
            self.make_shadow(now, out)?;
            if !self.step(now, out)? {
                break;
            }
        }
        self.answer_quiesce(out);
        self.answer_flush(out);
        self.say_ready(out);
        self.say_health(now, out);
        Ok(())
    }

    /// Brings the wanted rules in line with the view.
    fn settle(&mut self) {
        let mut stale = Stale::new();
        self.engine.settle(&mut stale);
        self.switches.note(stale);
    }

    fn reads_switches(&self) -> bool {
        let early = !self.ready_said && !self.config.alone;
        self.welcomed && (matches!(self.role, Role::Live(_)) || early)
    }

    fn read_switches(&mut self, now: Now, out: &mut Vec<Output>) {
        if !self.reads_switches() {
            return;
        }
        for (channel, messages) in self.switches.read(now.instant) {
            let begin = morph_api::session::ReadBegin {};
            out.push(Output::Control(from_app::Record::ReadBegin(begin)));
            out.extend(
                messages
                    .into_iter()
                    .map(|message| Output::Message { channel, message }),
            );
            let end = morph_api::session::ReadEnd {};
            out.push(Output::Control(from_app::Record::ReadEnd(end)));
        }
    }

    fn say(&self, what: report::Report, out: &mut Vec<Output>) {
        if self.welcomed {
            let report = Report { report: Some(what) };
            let bytes = report.encode_to_vec().into();
            out.push(Output::Control(from_app::Record::Report(bytes)));
        }
    }

    fn exit(&mut self, status: u8, out: &mut Vec<Output>) {
        self.ended = true;
        out.push(Output::Exit(status));
    }
}
