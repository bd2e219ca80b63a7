//! One instance of an app: the machine between the proxy's session, the store, and the app's code.
//!
//! ```text
//!                 Welcome, view loaded, switches read (unless nobody serves the app): reports Ready
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
//!     changes | rules | tick | timers | events -> accepting -- Accepted --> committing --> durable
//!                                        (one turn)               (some, in order; sent to the store
//!                                                                  until it has answered)
//! ```
//!
//! | file | its part |
//! |---|---|
//! | `session`, `delivery` | records of the proxy |
//! | `instructions` | instructions of morphd, and reports to it |
//! | `watches`, `source_watch` | the view's sources in the store |
//! | `primary`, `path` | the app's own rows, natively or through migrations |
//! | `turns`, `batch` | making turns |
//! | `in_flight`, `commits` | turns that were sent, until they are durable |
//! | `rule_sync` | the rules in each switch |
//! | `shadow`, `losses` | the shadow in another schema version, and what going back from it would lose |

mod batch;
mod commits;
mod delivery;
mod in_flight;
mod instructions;
mod io;
mod losses;
mod path;
mod primary;
mod rows;
mod rule_sync;
mod session;
mod shadow;
mod source_watch;
mod turns;
mod watches;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use morph_api::Repeats;
use morph_api::lock::EventMark;
use morph_api::manifest::Manifest;
use morph_api::session::from_app;
use morph_api::store::{Seq, watch_reply};
use morph_api::supervisor::{Report, report};
use morph_api::verification::VerificationPeriods;
use prost::Message as _;

pub use io::{CommitOutcome, Input, Now, Output, RowSource};

use crate::engine::Engine;
use crate::migration::Chain;
use crate::rank::StaleRules;
use crate::{App, Changes, MigrationError, Pipeline};
use delivery::{Announcement, Delivery};
use in_flight::InFlight;
use primary::Primary;
use rule_sync::RuleSync;
pub use rule_sync::RuleWindow;
use shadow::Shadow;
use source_watch::SourceWatch;

/// Interval between ticks of a live app.
const TICK: Duration = Duration::from_millis(100);
/// Interval between health reports of a live instance.
const HEALTH: Duration = Duration::from_secs(1);
/// Deadline of Go after Flushed.
const GO: Duration = Duration::from_secs(2);

/// Settings that an instance is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Manifest of the release.
    pub manifest: Manifest,
    /// Id of the instance.
    pub instance: String,
    /// Name of the node that it runs on.
    pub node: String,
    /// Process id, shown to people.
    pub pid: u32,
    /// Keyspace to read natively, where it is not the primary yet.
    pub keyspace: Option<u32>,
    /// Migrations that the release brings.
    pub chain: Chain,
    /// Clock that ends a turn which lasts too long; absent where time stands still while the app works, as in tests.
    pub clock: Option<fn() -> Instant>,
    /// Mark of the event that the app is handling, which stays when the process dies.
    pub event_mark: EventMark,
    /// True if no instance serves the app meanwhile. The instance is then ready once its view is loaded, and reads the
    /// switches once it is live.
    pub unserved: bool,
    /// Limits of the changes of rules that a switch has not confirmed.
    pub rule_window: RuleWindow,
    /// Periods of the verification of rules.
    pub verification: VerificationPeriods,
}

/// Reason why an instance cannot go on.
#[derive(Debug, Clone)]
struct FatalError(String);

impl From<MigrationError> for FatalError {
    fn from(error: MigrationError) -> Self {
        FatalError(error.to_string())
    }
}

#[derive(Debug, Clone)]
enum Role {
    /// Has not become live in this session.
    Waiting,
    Live(LiveState),
    /// Was live, and follows the store.
    Paused,
}

#[derive(Debug, Clone)]
struct LiveState {
    epoch: u64,
    /// Last event whose effects are durable.
    cursor: Seq,
    /// Turn number of the checkpoint.
    turn: u64,
    /// Revision that the view must have reached before any input is handled.
    revision: u64,
    /// Whether Quiesce was received: no further turn is made, and Quiesced is the answer.
    quiesce: bool,
    flush: Option<FlushState>,
    tick: Instant,
    timers: TimerState,
    health: Instant,
    /// Last event of those that are each a turn of their own: together they were too large for the store.
    singly_to: Seq,
    /// Whether morphd was told that all switches are in step.
    all_synced: bool,
    /// Part of a group upgrade: the rules have to be known before the first turn, and RulesReady is reported.
    gated: bool,
}

/// Timers of a live app.
#[derive(Debug, Clone, Default)]
struct TimerState {
    /// Time at which one is due.
    due: Option<Instant>,
    /// Whether the last turn was one of timers: an event that waits goes first.
    last: bool,
}

/// A flush that morphd has asked for.
#[derive(Debug, Clone)]
struct FlushState {
    deadline: Instant,
    reported: bool,
    /// Go was received, or its deadline has passed: the store is asked which keyspace is the primary.
    going: bool,
}

#[derive(Debug, Clone, Default)]
struct Counters {
    events: u64,
    errors: u64,
    /// Errors in ticks and in what follows from changed rows.
    failures: u64,
    rule_failures: u64,
}

/// State machine of an instance; the module's head draws it.
#[derive(Debug, Clone)]
pub struct Instance<A: App> {
    config: Config,
    engine: Engine<A>,
    primary: Primary,
    own: SourceWatch,
    others: BTreeMap<String, SourceWatch>,
    /// Whether the proxy's Welcome was received in this session: the connected switches are known.
    welcomed: bool,
    ready_reported: bool,
    announcement: Option<Announcement>,
    role: Role,
    in_flight: InFlight,
    /// Unhandled events, as many as the proxy delivers ahead.
    queue: VecDeque<Delivery>,
    /// Changes by others that the app was not told yet.
    changes: Option<Changes>,
    rule_sync: RuleSync,
    /// Number with which the proxy told the tables, until their rules are confirmed.
    awaited_tables: Option<u64>,
    /// Reply of the own watch about rows that in-flight turns changed, with the watch's number. No turn is made until
    /// it is applied.
    deferred: Option<(u64, watch_reply::Reply)>,
    /// Epochs in which this instance was live: their turns are its own.
    live_epochs: BTreeSet<u64>,
    shadow: Option<Shadow>,
    /// Keyspace and schema version of a shadow that is to be built once the view is loaded.
    shadow_order: Option<(u32, u32)>,
    last_commit: u64,
    counters: Counters,
    /// Log lines that repeat.
    repeats: Repeats,
    ended: bool,
}

impl<A: App> Instance<A> {
    /// Makes an instance that has not started yet.
    pub fn new(app: A, config: Config) -> Self {
        let pipeline = Pipeline {
            app: config.manifest.id,
            // The proxy's Welcome has the real ones.
            first: 1,
            exit: 1 + config.manifest.tables.count(),
        };
        let reads = &config.manifest.reads;
        Instance {
            engine: Engine::new(app, pipeline),
            primary: Primary::new(config.chain.clone()),
            own: SourceWatch::default(),
            others: reads
                .keys()
                .map(|app| (app.clone(), SourceWatch::default()))
                .collect(),
            welcomed: false,
            ready_reported: false,
            announcement: None,
            role: Role::Waiting,
            in_flight: InFlight::default(),
            queue: VecDeque::new(),
            changes: None,
            rule_sync: RuleSync::new(config.manifest.id, config.rule_window, config.verification),
            awaited_tables: None,
            deferred: None,
            live_epochs: BTreeSet::new(),
            shadow: None,
            shadow_order: None,
            last_commit: 0,
            counters: Counters::default(),
            repeats: Repeats::default(),
            ended: false,
            config,
        }
    }

    /// Starts the instance: adds its first outputs to `out`.
    pub fn start(&mut self, now: Now, out: &mut Vec<Output>) {
        self.follow_due(now, out);
    }

    /// Handles one input. Adds what the driver has to do to `out`.
    pub fn handle(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        self.handle_all([input], now, out);
    }

    /// Handles inputs that came together: events among them may be handled in one turn.
    pub fn handle_all(
        &mut self,
        inputs: impl IntoIterator<Item = Input>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let mut inputs = inputs.into_iter();
        let result = inputs.try_for_each(|input| match self.ended {
            true => Ok(()),
            false => self.take(input, now, out),
        });
        let result = result.and_then(|()| self.advance(now, out));
        if let Err(FatalError(message)) = result {
            self.fail(message, out);
        }
    }

    /// Takes in one input, after which [`Instance::advance`] does what can be done.
    fn take(&mut self, input: Input, now: Now, out: &mut Vec<Output>) -> Result<(), FatalError> {
        match input {
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
        }
    }

    /// Reports why the instance cannot go on, and ends it.
    pub(crate) fn fail(&mut self, message: String, out: &mut Vec<Output>) {
        self.fail_with(1, message, out);
    }

    fn fail_with(&mut self, status: u8, message: String, out: &mut Vec<Output>) {
        tracing::error!("{message}");
        let failed = morph_api::supervisor::Failed { message };
        self.report(report::Report::Failed(failed), out);
        self.exit(status, out);
    }

    /// Whether the driver may feed replies of watches. A reply that concerns in-flight turns waits for these, and
    /// others wait for it.
    pub fn takes_watches(&self) -> bool {
        self.deferred.is_none()
    }

    /// Time at which [`Input::Time`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let live = match &self.role {
            Role::Live(live) => {
                let (tick, timer, barrier) = match self.may_turn() {
                    true => (
                        Some(live.tick),
                        live.timers.due,
                        self.rule_sync.ask_again_at(),
                    ),
                    false => (None, None, None),
                };
                let flush = live.flush.as_ref().filter(|flush| !flush.going);
                let flush = flush.map(|flush| flush.deadline);
                [Some(live.health), tick, timer, barrier, flush]
            }
            Role::Waiting | Role::Paused => [None; 5],
        };
        let watches = self.others.values().chain([&self.own]);
        let reading = self
            .reads_switches()
            .then(|| self.rule_sync.next_deadline(self.verifies()));
        watches
            .filter_map(SourceWatch::next_deadline)
            .chain(live.into_iter().flatten())
            .chain(reading.flatten())
            .chain(self.in_flight.next_deadline())
            .chain(self.shadow_deadline())
            .min()
    }

    /// Does all that can be done now.
    fn advance(&mut self, now: Now, out: &mut Vec<Output>) -> Result<(), FatalError> {
        if self.ended {
            return Ok(());
        }
        for line in self.repeats.due(now.instant) {
            tracing::error!("{line}");
        }
        self.continue_commits(now, out);
        self.apply_deferred()?;
        self.settle();
        self.check_reads()?;
        self.follow_due(now, out);
        self.read_switches(now, out);
        self.end_flush(now, out);
        loop {
            self.build_shadow(now, out)?;
            if !self.make_turn(now, out)? {
                break;
            }
        }
        self.wait_for_timers(now);
        self.report_synced(out);
        self.report_tables(out);
        self.answer_quiesce(out);
        self.answer_flush(out);
        self.report_ready(out);
        self.report_health(now, out);
        Ok(())
    }

    /// Brings the wanted rules in line with the view.
    fn settle(&mut self) {
        self.settle_as(false);
    }

    /// As `settle`. Changes that are `urgent` do not wait until the switches are read.
    fn settle_as(&mut self, urgent: bool) {
        let mut stale = StaleRules::new();
        self.engine.settle(&mut stale);
        let entries = std::mem::take(&mut stale.entries);
        let wanted = self.engine.wanted_entries();
        self.rule_sync.note_entries(entries, wanted);
        self.rule_sync.note(stale, self.engine.wanted(), urgent);
    }

    /// Ends the instance where the app has read a table of another app that it does not declare.
    fn check_reads(&self) -> Result<(), FatalError> {
        match self.engine.tables.undeclared_read() {
            Some(read) => Err(FatalError(read)),
            None => Ok(()),
        }
    }

    fn reads_switches(&self) -> bool {
        let early = !self.ready_reported && !self.config.unserved;
        self.welcomed && (matches!(self.role, Role::Live(_)) || early)
    }

    /// Whether the rules of compared switches are verified: not while an upgrade needs the switches.
    fn verifies(&self) -> bool {
        matches!(&self.role, Role::Live(live) if !live.quiesce && live.flush.is_none() && !live.gated)
    }

    fn read_switches(&mut self, now: Now, out: &mut Vec<Output>) {
        if !self.reads_switches() {
            return;
        }
        let verifies = self.verifies();
        let entries = self.engine.wanted_entries();
        let requests = self.rule_sync.read(entries, verifies, now.instant);
        for (channel, messages) in requests {
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

    fn report(&self, what: report::Report, out: &mut Vec<Output>) {
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
