//! An instance of the app: the SDK's machine, its watch, and what is between it and the proxy and the store.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use morph_api::lock::EventMark;
use morph_api::session::{self, FromApp, ToApp, from_app, to_app};
use morph_api::store::{Seq, Transaction};
use morph_api::supervisor::{Pong, Report, report};
use morph_api::verification::VerificationPeriods;
use morph_api::{Record, Records, put_control, put_message};
use morph_sdk::machine::{CommitOutcome, Config, Input, Now, Output, RowSource, RuleWindow};
use prost::Message as _;
use semver::Version;

use crate::canon::Canon;
use crate::clock;
use crate::records::NODE;
use crate::releases;
use crate::scribe::{Scribe, has_died};
use crate::setup::{Mutation, Setup};
use crate::store::{Store, Watch};

/// Longer than all that an instance waits for: one step of its clock, and all is due.
const STEP: Duration = Duration::from_secs(2);

/// One thing that an instance sends to the proxy. The order is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Up {
    Open,
    Blob(Bytes),
    End,
}

/// A process of an app. Its session may be there still when it is not.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    /// `None`: it has died.
    machine: Option<morph_sdk::machine::Instance<Scribe>>,
    pub(crate) app: String,
    pub(crate) release: Version,
    now: Instant,
    /// morphd has told it to end.
    pub(crate) ending: bool,
    pub(crate) up: VecDeque<Up>,
    pub(crate) down: VecDeque<Bytes>,
    /// Transactions on their way to the store.
    pub(crate) commits: VecDeque<(u64, Transaction)>,
    /// Answers of the store.
    pub(crate) answers: VecDeque<(u64, CommitOutcome)>,
    watch: Option<Watch>,
    /// The revision that it was last told to have seen before it answers anything.
    needs: u64,
    /// Epoch in which it was made live last.
    pub(crate) epoch: u64,
    /// Only gets ready: nobody has made it live in this session.
    prepares: bool,
    /// The instance has reported that all its rules are in the switch.
    calls_complete: bool,
    /// The turn that the proxy has not accepted: its epoch, its number and its last event.
    asked: Option<(u64, u64, Seq)>,
    /// Last event of the turns that the proxy accepted since it was made live.
    answered: Seq,
    /// Sentence about what it had not stored when it quiesced.
    forgot: Option<String>,
    mutation: Option<Mutation>,
}

impl Canon for Instance {
    const FIGURES: &'static [&'static str] = &["counters", "config", "health", "backoff"];

    fn now(&self) -> Instant {
        self.now
    }
}

/// Arguments of a new instance.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) id: String,
    pub(crate) app: String,
    pub(crate) release: Version,
    /// Keyspace to read, in the place of the primary.
    pub(crate) keyspace: Option<u32>,
    /// Nobody serves the app meanwhile.
    pub(crate) alone: bool,
}

fn machine(start: &Start, setup: &Setup) -> Option<morph_sdk::machine::Instance<Scribe>> {
    let release = &start.release;
    let config = Config {
        manifest: releases::manifest(&start.app, release, setup)?,
        instance: start.id.clone(),
        node: NODE.to_owned(),
        pid: 1,
        keyspace: start.keyspace,
        chain: releases::chain(release, setup),
        clock: None,
        event_mark: EventMark::default(),
        unserved: start.alone,
        rule_window: RuleWindow {
            changes: 1,
            ..RuleWindow::default()
        },
        // Questions of the verification and their times would be states of their own.
        verification: VerificationPeriods::OFF,
    };
    let scribe = Scribe {
        schema: releases::schema(release, setup),
        poison: setup.poison,
        rules: releases::rules(release, setup),
        failing: setup.failing,
        unwritten: setup.unwritten,
    };
    Some(morph_sdk::machine::Instance::new(scribe, config))
}

impl Instance {
    pub(crate) fn new(start: Start, setup: &Setup, store: &Store) -> Self {
        let mut instance = Instance {
            machine: machine(&start, setup),
            app: start.app,
            release: start.release,
            now: clock::base(),
            ending: false,
            up: VecDeque::from([Up::Open]),
            down: VecDeque::new(),
            commits: VecDeque::new(),
            answers: VecDeque::new(),
            watch: None,
            needs: 0,
            epoch: 0,
            prepares: true,
            calls_complete: false,
            asked: None,
            answered: Seq::ZERO,
            forgot: None,
            mutation: setup.mutation,
        };
        let mut out = Vec::new();
        let now = instance.at();
        if let Some(machine) = &mut instance.machine {
            machine.start(now, &mut out);
        }
        instance.carry_out(out, store);
        instance.feed(Input::SessionUp, store);
        instance
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.machine.is_some()
    }

    /// Whether it only gets ready.
    pub(crate) fn prepares(&self) -> bool {
        self.prepares && self.is_alive() && !self.ending
    }

    /// Whether it has just told that all its rules are in the switch.
    pub(crate) fn calls_complete(&self) -> bool {
        self.calls_complete
    }

    pub(crate) fn forget_complete(&mut self) {
        self.calls_complete = false;
    }

    /// The proxy sends it something.
    pub(crate) fn down(&mut self, blob: Bytes) {
        let is_resume = |record| match record {
            Record::Control(bytes) => ToApp::decode(bytes).ok().and_then(|told| told.record),
            Record::Message { .. } => None,
        };
        let mut records = Records::new(blob.clone()).flatten().filter_map(is_resume);
        self.prepares &= !records.any(|record| matches!(record, to_app::Record::Resume(_)));
        self.down.push_back(blob);
    }

    /// Neither it nor its session is there any longer.
    pub(crate) fn is_gone(&self) -> bool {
        self.machine.is_none() && self.up.is_empty() && self.commits.is_empty()
    }

    fn at(&self) -> Now {
        Now {
            instant: self.now,
            wall: SystemTime::UNIX_EPOCH,
        }
    }

    /// Feeds one input.
    pub(crate) fn feed(&mut self, input: Input, store: &Store) {
        self.feed_all(vec![input], store);
    }

    /// Feeds inputs that come together.
    fn feed_all(&mut self, inputs: Vec<Input>, store: &Store) {
        let quiesces = inputs
            .iter()
            .any(|input| matches!(input, Input::Control(to_app::Record::Quiesce(_))));
        let mut out = Vec::new();
        let now = self.at();
        if let Some(machine) = &mut self.machine {
            machine.handle_all(inputs, now, &mut out);
        }
        if quiesces && self.mutation == Some(Mutation::CursorNotFlushed) {
            self.leave_cursor(&mut out, store);
        }
        match has_died() {
            // As after a panic, nothing of what it was at goes out.
            true => self.dies(true),
            false => self.carry_out(out, store),
        }
    }

    /// The mutation: the cursor of turns that changed no row is not stored, and Quiesced is reported at once.
    fn leave_cursor(&self, out: &mut [Output], store: &Store) {
        let is_cursor_only = |output: &&mut Output| matches!(output, Output::Commit { transaction, .. } if transaction.ops.is_empty());
        let commit = out.iter_mut().find(is_cursor_only);
        let checkpoint = store.checkpoint(&self.app);
        if let (Some(commit), Some(checkpoint), true) =
            (commit, checkpoint, self.commits.is_empty())
        {
            *commit = Output::Control(from_app::Record::Quiesced(session::Quiesced {
                epoch: self.epoch,
                cursor: checkpoint.cursor,
                turn: checkpoint.turn,
            }));
        }
    }

    /// The next blob from the proxy.
    pub(crate) fn receive(&mut self, store: &Store) {
        let Some(blob) = self.down.pop_front() else {
            return;
        };
        let mut inputs = Vec::new();
        for record in Records::new(blob).flatten() {
            match record {
                Record::Message { channel, message } => {
                    inputs.push(Input::Message { channel, message });
                }
                Record::Control(bytes) => {
                    if let Some(record) = ToApp::decode(bytes).ok().and_then(|told| told.record) {
                        self.note(&record);
                        inputs.push(Input::Control(record));
                    }
                }
            }
        }
        self.feed_all(inputs, store);
    }

    /// Notes what the proxy says.
    fn note(&mut self, record: &to_app::Record) {
        match record {
            to_app::Record::Resume(resume) => {
                self.needs = resume.revision;
                self.epoch = resume.epoch;
                (self.asked, self.answered) = (None, Seq::ZERO);
            }
            to_app::Record::Accepted(turn) => {
                let is_it =
                    |asked: &mut (u64, u64, Seq)| (asked.0, asked.1) == (turn.epoch, turn.turn);
                if let Some((_, _, event)) = self.asked.take_if(is_it) {
                    self.answered = event;
                }
            }
            _ => {}
        }
    }

    /// Notes what the instance says.
    fn note_sent(&mut self, record: &from_app::Record) {
        match record {
            from_app::Record::TurnEnd(end) => {
                let event = end.event.map(|event| (end.epoch, end.turn, event));
                self.asked = event.or(self.asked);
            }
            from_app::Record::Quiesced(quiesced) => {
                let cursor = quiesced.cursor.unwrap_or(Seq::ZERO);
                if cursor < self.answered {
                    let (app, answered) = (&self.app, self.answered);
                    self.forgot = Some(format!(
                        "{app}: quiesced at event {cursor}, and {answered} was answered"
                    ));
                }
            }
            _ => {}
        }
    }

    /// Sentence about what it had not stored when it quiesced.
    pub(crate) fn forgot(&self) -> Option<String> {
        self.forgot.clone()
    }

    fn carry_out(&mut self, out: Vec<Output>, store: &Store) {
        let mut blob = BytesMut::new();
        let mut inputs = Vec::new();
        for output in out {
            match output {
                Output::Control(record) => {
                    self.note_sent(&record);
                    let accepts_itself = self.mutation == Some(Mutation::CommitBeforeAccept);
                    if let (from_app::Record::TurnEnd(end), true) = (&record, accepts_itself) {
                        let (turn, epoch) = (end.turn, end.epoch);
                        let accepted = session::Accepted { turn, epoch };
                        inputs.push(Input::Control(to_app::Record::Accepted(accepted)));
                    }
                    self.calls_complete |= is_complete(&record);
                    if let Some(record) = shown(record) {
                        let record = Some(record);
                        put_control(&mut blob, &FromApp { record });
                    }
                }
                Output::Message { channel, message } => put_message(&mut blob, channel, &message),
                Output::Status => inputs.push(Input::Status(Ok(store.status()))),
                Output::Watch {
                    source,
                    generation,
                    request,
                } => {
                    let (replies, watch) = store.watch(generation, &request);
                    self.watch = watch;
                    inputs.extend(replies.into_iter().map(|reply| Input::Watch {
                        source: source.clone(),
                        generation,
                        reply: Ok(reply),
                    }));
                }
                Output::Commit { id, transaction } => self.commits.push_back((id, transaction)),
                Output::Exit(_) => self.machine = None,
            }
        }
        if !blob.is_empty() {
            self.up.push_back(Up::Blob(blob.freeze()));
        }
        if self.machine.is_none() {
            self.dies(true);
        }
        for input in inputs {
            self.feed(input, store);
        }
    }

    /// The oldest of the store's answers.
    pub(crate) fn is_answered(&mut self, store: &Store) {
        if let Some((id, outcome)) = self.answers.pop_front() {
            if let Some(watch) = &mut self.watch {
                watch.answered(&outcome);
            }
            self.feed(Input::Committed { id, outcome }, store);
        }
    }

    /// The store says what is new.
    pub(crate) fn is_told(&mut self, store: &Store) {
        let Some(watch) = &mut self.watch else { return };
        let (generation, reply) = (watch.generation, Ok(store.tell(watch)));
        if !store.has_keyspace(&self.app, watch.keyspace) {
            self.watch = None;
        }
        self.feed(
            Input::Watch {
                source: RowSource::Own,
                generation,
                reply,
            },
            store,
        );
    }

    /// Whether its watch was not told all that matters here.
    pub(crate) fn may_be_told(&self, store: &Store, late: bool) -> bool {
        let takes = self
            .machine
            .as_ref()
            .is_some_and(|machine| machine.takes_watches());
        let behind = |watch: &Watch| watch.told < self.needs || store.has_news(watch, late);
        takes && self.watch.as_ref().is_some_and(behind)
    }

    /// Revision up to which its watch was told.
    pub(crate) fn told(&self) -> Option<u64> {
        self.machine
            .as_ref()
            .and(self.watch.as_ref())
            .map(|watch| watch.told)
    }

    /// The store daemon died: watches break, and what was asked has no answer.
    pub(crate) fn store_died(&mut self, store: &Store) {
        let asked = std::mem::take(&mut self.commits);
        let answered = std::mem::take(&mut self.answers);
        if let Some(watch) = self.watch.take() {
            let (generation, reply) = (watch.generation, Err("the store is away".to_owned()));
            self.feed(
                Input::Watch {
                    source: RowSource::Own,
                    generation,
                    reply,
                },
                store,
            );
        }
        let ids = answered
            .into_iter()
            .map(|(id, _)| id)
            .chain(asked.into_iter().map(|(id, _)| id));
        for id in ids.collect::<Vec<_>>() {
            // Before the first commit no packet comes.
            let is_broken = self.mutation == Some(Mutation::UnknownTakenAsDurable)
                && store.cursor(&self.app) > Seq::ZERO;
            let outcome = match is_broken {
                true => CommitOutcome::Committed(store.nothing_new()),
                false => CommitOutcome::Unknown("the store is away".into()),
            };
            self.feed(Input::Committed { id, outcome }, store);
        }
    }

    /// The keyspace that it reads.
    pub(crate) fn reads(&self) -> Option<u32> {
        self.watch.as_ref().map(|watch| watch.keyspace)
    }

    /// The proxy died, and the session with it. Another session begins.
    pub(crate) fn proxy_died(&mut self, store: &Store) {
        self.up.clear();
        self.down.clear();
        self.prepares = true;
        if self.is_alive() {
            self.feed(Input::SessionDown, store);
            self.up.push_back(Up::Open);
            self.feed(Input::SessionUp, store);
        }
    }

    /// Whether it has a deadline.
    pub(crate) fn waits(&self) -> bool {
        self.machine
            .as_ref()
            .is_some_and(|machine| machine.next_deadline().is_some())
    }

    /// Moves its clock on.
    pub(crate) fn time(&mut self, store: &Store) {
        self.now += STEP;
        self.feed(Input::Time, store);
    }

    /// Ends it. Blobs and transactions that are on their way arrive, or do not.
    pub(crate) fn dies(&mut self, delivers: bool) {
        self.machine = None;
        self.watch = None;
        self.down.clear();
        self.answers.clear();
        if !delivers {
            self.up.retain(|up| *up == Up::Open);
            self.commits.clear();
        }
        if self.up.back() != Some(&Up::End) {
            self.up.push_back(Up::End);
        }
    }
}

/// Whether a record reports that every switch has its rules.
fn is_complete(record: &from_app::Record) -> bool {
    let from_app::Record::Report(bytes) = record else {
        return false;
    };
    let report = Report::decode(bytes.clone()).ok();
    let report = report.and_then(|report| report.report);
    matches!(report, Some(report::Report::Rules(rules)) if rules.last)
}

/// A record as it is sent here: without the revision of a pong, which decides nothing. None: the report on its health, which
/// decides nothing either.
fn shown(record: from_app::Record) -> Option<from_app::Record> {
    let from_app::Record::Report(bytes) = &record else {
        return Some(record);
    };
    let report = Report::decode(bytes.clone()).ok()?.report;
    match report {
        Some(report::Report::Health(_)) => None,
        Some(report::Report::Pong(pong)) => {
            let pong = Pong {
                revision: 0,
                ..pong
            };
            let report = Some(report::Report::Pong(pong));
            let bytes = Report { report }.encode_to_vec();
            Some(from_app::Record::Report(bytes.into()))
        }
        _ => Some(record),
    }
}
