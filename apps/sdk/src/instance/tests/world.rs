//! Surroundings of an instance: the store's own core over a map, a proxy of a few lines, and a switch that is a set of
//! rules.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use morph_api::lock::EventMark;
use morph_api::manifest::Manifest;
use morph_api::session::{self, event, from_app, to_app};
use morph_api::store::ended::Why;
use morph_api::store::watch_request::Which;
use morph_api::store::{
    Change, Changes, Checkpoint, Committed, Durability, Ended, Keyspace, Op, RowValue,
    Rows as RowsReply, Seq, StatusReply, Synced, Transaction, WatchReply, WatchRequest,
    watch_reply,
};
use morph_api::supervisor::{Instruction, Report, instruction, report};
use morph_openflow::rule::{RuleSet, from_stats};
use morph_openflow::v13::{self, FlowMod, FlowModCommand, FlowStats, Message, MultipartBody};
use morph_store::core::{Decision, RowKey, Rows, State, apply};
use morph_store::op;
use prost::Message as _;

use super::app::S;
use crate::instance::{CommitOutcome, Config, Input, Instance, Now, Output, RowSource};
use crate::migration::Chain;
use crate::{App, Migrations};

/// A store whose transactions are decided by the store's own code.
#[derive(Default)]
pub(super) struct Store {
    pub(super) state: State,
    rows: BTreeMap<RowKey, (u64, String)>,
    /// All changes so far; each world knows how many of them it has reported.
    news: Vec<(u32, Change)>,
    /// All changes, for watches that go on.
    past: Vec<(u32, Change)>,
    /// Revision at which the keyspaces of an app were last changed.
    respaced: BTreeMap<String, u64>,
    /// Whether no watch can go on: all have to load again.
    pub(super) compacted: bool,
    /// Whether unsynced transactions wait for the disk until [`sync`](Store::sync); see [`lag`](Store::lag).
    pub(super) lags: bool,
    on_disk: (State, BTreeMap<RowKey, (u64, String)>),
}

struct Revisions<'a>(&'a BTreeMap<RowKey, (u64, String)>);

impl Rows for Revisions<'_> {
    type Error = Infallible;

    fn revision(&self, at: &RowKey) -> Result<Option<u64>, Infallible> {
        Ok(self.0.get(at).map(|(revision, _)| *revision))
    }
}

impl Store {
    pub(super) fn commit(&mut self, transaction: Transaction) -> CommitOutcome {
        let waits = self.lags && transaction.durability() == Durability::Async;
        let outcome = self.apply(transaction);
        if self.lags && !waits {
            self.sync();
        }
        match outcome {
            CommitOutcome::Committed(committed) => CommitOutcome::Committed(Committed {
                durable: self.durable(),
                ..committed
            }),
            other => other,
        }
    }

    /// Makes unsynced transactions wait for the disk from now on.
    pub(super) fn lag(&mut self) {
        self.sync();
        self.lags = true;
    }

    fn durable(&self) -> u64 {
        match self.lags {
            true => self.on_disk.0.revision,
            false => self.state.revision,
        }
    }

    /// Writes everything to disk.
    pub(super) fn sync(&mut self) {
        self.on_disk = (self.state.clone(), self.rows.clone());
    }

    /// Loses everything that is not on disk. The lost revisions are not used again.
    pub(super) fn crash(&mut self) {
        let revision = self.state.revision + 1000;
        (self.state, self.rows) = self.on_disk.clone();
        self.state.revision = revision;
        self.past.clear();
        self.news.clear();
        self.compacted = true;
    }

    fn apply(&mut self, transaction: Transaction) -> CommitOutcome {
        let Ok(decision) = apply(&self.state, transaction, &Revisions(&self.rows));
        let effects = match decision {
            Decision::Accepted(effects) => effects,
            Decision::Refused(refused) => return CommitOutcome::Refused(Box::new(refused.into())),
        };
        for (at, value) in effects.rows.clone() {
            let row = RowValue {
                table: at.table.clone(),
                key: at.key.clone(),
                value: value.clone(),
                revision: effects.revision,
            };
            let change = Change {
                origin: effects.origin.clone(),
                revision: effects.revision,
                rows: vec![row],
            };
            self.news.push((at.keyspace, change.clone()));
            self.past.push((at.keyspace, change));
            match value {
                Some(value) => self.rows.insert(at, (effects.revision, value)),
                None => self.rows.remove(&at),
            };
        }
        let dropped = &effects.dropped;
        self.rows
            .retain(|at, _| !dropped.contains(&(at.app.clone(), at.keyspace)));
        self.state.advance(&effects);
        for (app, _) in effects.used.iter().chain(dropped) {
            self.respaced.insert(app.clone(), effects.revision);
        }
        CommitOutcome::Committed(Committed {
            revision: effects.revision,
            checkpoints: effects.checkpoints,
            durable: effects.revision,
        })
    }

    pub(super) fn must(&mut self, ops: impl IntoIterator<Item = Op>) -> Committed {
        self.must_commit(op::shared([], ops))
    }

    pub(super) fn must_commit(&mut self, transaction: Transaction) -> Committed {
        match self.commit(transaction) {
            CommitOutcome::Committed(committed) => committed,
            other => panic!("{other:?}"),
        }
    }

    /// Sets a row as people do.
    pub(super) fn set(&mut self, app: &str, table: &str, key: &str, value: &str) -> u64 {
        let row = op::row(app, table, key);
        let primary = self.state.primary(app).unwrap().id;
        let at = RowKey {
            app: app.into(),
            keyspace: primary,
            table: table.into(),
            key: key.into(),
        };
        let revision = self.rows.get(&at).map_or(0, |(revision, _)| *revision);
        let expect = op::expect(&row, revision);
        let transaction = op::shared([expect], [op::put(row, value)]);
        self.must_commit(transaction).revision
    }

    pub(super) fn checkpoint(&self) -> Checkpoint {
        self.state.checkpoints.values().next().cloned().unwrap()
    }

    /// Rows of a keyspace, by `table/key`.
    pub(super) fn keyspace(&self, app: &str, id: u32) -> BTreeMap<String, String> {
        let of = |(at, _): &(&RowKey, &(u64, String))| at.app == app && at.keyspace == id;
        let row = |(at, (_, v)): (&RowKey, &(u64, String))| {
            (format!("{}/{}", at.table, at.key), v.clone())
        };
        self.rows.iter().filter(of).map(row).collect()
    }

    fn snapshot(&self, app: &str, id: u32) -> Vec<RowValue> {
        let of = |(at, _): &(&RowKey, &(u64, String))| at.app == app && at.keyspace == id;
        let rows = self.rows.iter().filter(of);
        rows.map(|(at, (revision, value))| RowValue {
            table: at.table.clone(),
            key: at.key.clone(),
            value: Some(value.clone()),
            revision: *revision,
        })
        .collect()
    }
}

pub(super) fn manifest(schema: u32) -> Manifest {
    let text = format!(
        r#"
        name = "cells"
        version = "{schema}.0.0"
        id = 7
        exec = "cells"
        schema = {schema}
        migrates = [{}]
        tables = [10, 12]
        reads = {{ topo = 1 }}
        config = ["weights"]
        "#,
        3 - schema
    );
    Manifest::parse(Path::new("app.toml"), &text).unwrap()
}

pub(crate) fn config<M: Migrations>(instance: &str) -> Config {
    Config {
        manifest: manifest(2),
        instance: instance.into(),
        node: "node1".into(),
        pid: 1,
        keyspace: None,
        chain: Chain::of::<M>(2),
        clock: None,
        event_mark: EventMark::default(),
        unserved: false,
        rule_window: crate::instance::RuleWindow::default(),
        verification: morph_api::verification::VerificationPeriods::OFF,
    }
}

/// One instance and its surroundings.
pub(super) struct World<A: App> {
    pub(super) instance: Instance<A>,
    pub(super) store: Store,
    pub(super) now: Instant,
    /// Beginning of the wall clock.
    pub(super) began: Instant,
    /// Records that the instance sent, and its end, in order, without its requests to the store.
    pub(super) sent: Vec<Output>,
    /// Unanswered transactions.
    pub(super) commits: VecDeque<(u64, Transaction)>,
    pub(super) accepts: bool,
    pub(super) commits_at_once: bool,
    pub(super) reads_switch: bool,
    /// Whether the tables of other apps come only with `others_come`.
    pub(super) others_late: bool,
    late: Vec<(RowSource, u64, WatchRequest)>,
    pub(super) rules: RuleSet,
    /// Flow-mods that the switch received.
    pub(super) flow_mods: Vec<FlowMod>,
    /// Flow-mods and barriers of the unaccepted turn.
    turn: Vec<(u32, Message)>,
    /// Whether barriers of turns are answered at once.
    pub(super) answers_barriers: bool,
    /// Tokens of the barriers that wait for [`World::answer_barriers`].
    pub(super) barriers: Vec<u32>,
    /// Number of the watch, app, keyspace, and how many of the store's changes were there before.
    watches: BTreeMap<RowSource, (u64, String, u32, usize)>,
    /// Number of the store's changes that were reported.
    heard: usize,
    replies: VecDeque<(RowSource, u64, WatchReply)>,
    next_event: u64,
    /// Number of watches that went on without a snapshot.
    pub(super) resumed: usize,
    /// Time that the instance took.
    pub(super) spent: Duration,
}

impl<A: App> World<A> {
    pub(super) fn new(app: A, config: Config, store: Store) -> Self {
        World {
            heard: store.news.len(),
            instance: Instance::new(app, config),
            store,
            now: Instant::now(),
            began: Instant::now(),
            sent: Vec::new(),
            commits: VecDeque::new(),
            accepts: true,
            commits_at_once: true,
            reads_switch: true,
            others_late: false,
            late: Vec::new(),
            rules: RuleSet::new(),
            flow_mods: Vec::new(),
            turn: Vec::new(),
            answers_barriers: true,
            barriers: Vec::new(),
            watches: BTreeMap::new(),
            replies: VecDeque::new(),
            next_event: 1,
            resumed: 0,
            spent: Duration::ZERO,
        }
    }

    /// Starts the instance and attaches it, with one switch.
    pub(super) fn attach(&mut self) {
        let mut out = Vec::new();
        self.instance.start(self.at(), &mut out);
        self.carry_out(out);
        self.feed(Input::SessionUp);
        let up = session::SwitchUp {
            channel: 1,
            dpid: S.0,
            version: 4,
            tables: 254,
            ..session::SwitchUp::default()
        };
        let pipeline = session::Pipeline {
            app_id: 7,
            first_table: 10,
            last_table: 12,
            ..session::Pipeline::default()
        };
        let welcome = session::Welcome {
            incarnation: 1,
            switches: vec![up],
            pipeline: Some(pipeline),
        };
        self.control(to_app::Record::Welcome(welcome));
    }

    /// Fences and resumes the instance.
    pub(super) fn resume(&mut self) {
        let epoch = self.store.state.checkpoints.values().next();
        let epoch = epoch.map_or(0, |checkpoint| checkpoint.epoch);
        let fence = op::fence("cells", "node1", epoch, "2.0.0");
        let committed = self.store.must([fence]);
        self.resume_at(committed.revision);
    }

    pub(super) fn resume_at(&mut self, revision: u64) {
        let checkpoint = self.store.checkpoint();
        self.control(to_app::Record::Resume(session::Resume {
            group: false,
            epoch: checkpoint.epoch,
            cursor: checkpoint.cursor,
            turn: checkpoint.turn,
            revision,
        }));
    }

    pub(super) fn packet(&mut self, data: [u8; 3]) {
        let n = self.next_event;
        self.next_event += 1;
        self.event(n, data);
    }

    pub(super) fn event(&mut self, n: u64, data: [u8; 3]) {
        self.message(n, packet_in(data));
    }

    /// Delivers the event of a message.
    pub(super) fn message(&mut self, n: u64, message: Bytes) {
        self.control(to_app::Record::Event(session::Event {
            seq: Some(Seq { incarnation: 1, n }),
            what: Some(event::What::Message(true)),
            dpid: S.0,
            ..session::Event::default()
        }));
        self.feed(Input::Message {
            channel: 1,
            message,
        });
    }

    pub(super) fn instruct(&mut self, what: instruction::Instruction) {
        let instruction = Instruction {
            instruction: Some(what),
        };
        self.control(to_app::Record::Instruction(
            instruction.encode_to_vec().into(),
        ));
    }

    pub(super) fn control(&mut self, record: to_app::Record) {
        self.feed(Input::Control(record));
    }

    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(deadline) = self.instance.next_deadline().filter(|at| *at <= until)
            && !matches!(self.sent.last(), Some(Output::Exit(_)))
        {
            self.now = self.now.max(deadline);
            self.feed(Input::Time);
        }
        self.now = until;
    }

    /// Feeds one input, and then whatever comes of it.
    pub(super) fn feed(&mut self, input: Input) {
        self.feed_one(input);
        self.news();
    }

    /// Feeds inputs that come together.
    pub(super) fn feed_all(&mut self, inputs: Vec<Input>) {
        self.feed_together(inputs);
        self.news();
    }

    fn feed_one(&mut self, input: Input) {
        self.feed_together(vec![input]);
    }

    fn feed_together(&mut self, inputs: Vec<Input>) {
        let mut out = Vec::new();
        let (now, began) = (self.at(), Instant::now());
        self.instance.handle_all(inputs, now, &mut out);
        self.spent += began.elapsed();
        self.carry_out(out);
    }

    /// Reports the store's changes to the watches.
    pub(super) fn news(&mut self) {
        let heard = std::mem::replace(&mut self.heard, self.store.news.len());
        let news = self.store.news.iter().enumerate().skip(heard);
        let revision = self.store.state.revision;
        for (source, (generation, _, id, from)) in &self.watches {
            let news = news.clone().filter(|(at, _)| at >= from);
            let changes = news.map(|(_, news)| news);
            let changes = changes.filter(|(keyspace, _)| keyspace == id);
            let changes = Changes {
                revision,
                changes: changes.map(|(_, change)| change.clone()).collect(),
                durable: self.store.durable(),
            };
            let reply = watch_reply::Reply::Changes(changes);
            self.replies
                .push_back((source.clone(), *generation, wrap(reply)));
        }
        self.gone();
        while self.instance.takes_watches() {
            let Some((source, generation, reply)) = self.replies.pop_front() else {
                return;
            };
            self.feed_one(Input::Watch {
                source,
                generation,
                reply: Ok(reply),
            });
        }
    }

    /// Breaks the watch of the own rows.
    pub(super) fn break_watch(&mut self) {
        let (generation, ..) = self.watches[&RowSource::Own];
        self.feed(Input::Watch {
            source: RowSource::Own,
            generation,
            reply: Err("for the test".into()),
        });
    }

    /// Ends the watches of keyspaces that were dropped.
    fn gone(&mut self) {
        let keyspaces = &self.store.state.keyspaces;
        let replies = &mut self.replies;
        self.watches.retain(|source, (generation, app, id, _)| {
            let there = keyspaces.contains_key(&(app.clone(), *id));
            if !there {
                replies.push_back((source.clone(), *generation, keyspace_gone()));
            }
            there
        });
    }

    fn at(&self) -> Now {
        Now {
            instant: self.now,
            wall: SystemTime::UNIX_EPOCH + self.now.saturating_duration_since(self.began),
        }
    }

    fn carry_out(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Status => {
                    let status = StatusReply {
                        keyspaces: self.store.state.keyspaces.values().cloned().collect(),
                        ..StatusReply::default()
                    };
                    self.feed(Input::Status(Ok(status)));
                }
                Output::Watch {
                    source,
                    generation,
                    request,
                } => self.watch(source, generation, request),
                Output::Commit { id, transaction } => {
                    self.commits.push_back((id, transaction));
                    if self.commits_at_once {
                        self.commit();
                    }
                }
                other => {
                    self.sent.push(other);
                    self.answer();
                }
            }
        }
    }

    pub(super) fn others_come(&mut self) {
        self.others_late = false;
        for (source, generation, request) in std::mem::take(&mut self.late) {
            self.watch(source, generation, request);
        }
        self.news();
    }

    fn watch(&mut self, source: RowSource, generation: u64, request: WatchRequest) {
        if self.others_late && matches!(source, RowSource::Other(_)) {
            self.late.push((source, generation, request));
            return;
        }
        let app = request.app;
        let id = match request.which {
            Some(Which::Keyspace(id)) => Some(id),
            Some(Which::Schema(schema)) => {
                let primary = self.store.state.primary(&app);
                let shadow = self.store.state.keyspaces_of(&app);
                let mut shadow =
                    shadow.filter(|s| s.schema == schema && !s.primary && s.watermark > 0);
                let primary = primary.filter(|s| s.schema == schema);
                primary.or_else(|| shadow.next()).map(|s| s.id)
            }
            None => None,
        };
        let keyspace = id.and_then(|id| self.store.state.keyspaces.get(&(app.clone(), id)));
        let Some(keyspace) = keyspace.cloned() else {
            let keyspaces = self.store.state.keyspaces_of(&app).collect::<Vec<_>>();
            let asked =
                |keyspace: &&&Keyspace| request.which == Some(Which::Schema(keyspace.schema));
            let why = match (keyspaces.iter().find(asked), request.which) {
                (Some(_), _) => Why::NotWhole,
                (None, Some(Which::Schema(_))) if !keyspaces.is_empty() => Why::OtherSchema,
                (None, _) => Why::KeyspaceGone,
            };
            self.replies.push_back((source, generation, ended(why)));
            return;
        };
        if request.from_revision != 0 {
            return self.go_on(source, generation, request.from_revision, keyspace);
        }
        let rows = RowsReply {
            rows: self.store.snapshot(&app, keyspace.id),
        };
        let snapshot = watch_reply::Reply::Snapshot(rows);
        let id = keyspace.id;
        let synced = watch_reply::Reply::Synced(Synced {
            revision: self.store.state.revision,
            incarnation: 1,
            keyspace: Some(keyspace),
            resumed: false,
        });
        for reply in [snapshot, synced] {
            self.replies
                .push_back((source.clone(), generation, wrap(reply)));
        }
        let from = self.store.news.len();
        self.watches.insert(source, (generation, app, id, from));
    }

    /// Continues a watch after a revision.
    fn go_on(&mut self, source: RowSource, generation: u64, from: u64, keyspace: Keyspace) {
        let respaced = self.store.respaced.get(&keyspace.app).copied();
        if self.store.compacted || respaced.is_some_and(|at| at > from) {
            let ended = watch_reply::Reply::Ended(Ended {
                why: Why::Compacted.into(),
                message: "for the test".into(),
            });
            self.replies.push_back((source, generation, wrap(ended)));
            return;
        }
        self.resumed += 1;
        let (app, id) = (keyspace.app.clone(), keyspace.id);
        let synced = watch_reply::Reply::Synced(Synced {
            revision: from,
            incarnation: 1,
            keyspace: Some(keyspace),
            resumed: true,
        });
        let since = self.store.past.iter();
        let since = since.filter(|(keyspace, change)| *keyspace == id && change.revision > from);
        let revision = self.store.state.revision;
        let changes = watch_reply::Reply::Changes(Changes {
            revision,
            changes: since.map(|(_, change)| change.clone()).collect(),
            durable: revision,
        });
        for reply in [synced, changes] {
            self.replies
                .push_back((source.clone(), generation, wrap(reply)));
        }
        let from = self.store.news.len();
        self.watches.insert(source, (generation, app, id, from));
    }

    /// Commits the oldest transaction that waits.
    pub(super) fn commit(&mut self) {
        let (id, transaction) = self.commits.pop_front().unwrap();
        let outcome = self.store.commit(transaction);
        self.feed(Input::Committed { id, outcome });
    }

    /// Answers the last record as the proxy does.
    fn answer(&mut self) {
        match self.sent.last() {
            Some(Output::Message { message, .. }) => {
                let (header, message) = v13::decode(message).unwrap();
                match message {
                    Message::MultipartRequest(_) => {
                        // The barrier before it was no part of a turn.
                        self.turn.retain(|(xid, _)| *xid != header.xid);
                        if self.reads_switch {
                            self.statistics(header.xid)
                        }
                    }
                    Message::FlowMod(_) | Message::BarrierRequest => {
                        self.turn.push((header.xid, message));
                    }
                    _ => {}
                }
            }
            Some(Output::Control(from_app::Record::TurnEnd(end))) if self.accepts => {
                let turn = end.turn;
                self.accept(turn);
            }
            _ => {}
        }
    }

    pub(super) fn accept(&mut self, turn: u64) {
        for (token, message) in std::mem::take(&mut self.turn) {
            match message {
                Message::FlowMod(flow_mod) => {
                    self.apply(&flow_mod);
                    self.flow_mods.push(flow_mod);
                }
                _ => self.barriers.push(token),
            }
        }
        let epoch = self.store.checkpoint().epoch;
        self.control(to_app::Record::Accepted(session::Accepted { turn, epoch }));
        if self.answers_barriers {
            self.answer_barriers();
        }
    }

    /// Answers the barriers of accepted turns, in order.
    pub(super) fn answer_barriers(&mut self) {
        for token in std::mem::take(&mut self.barriers) {
            self.control(to_app::Record::Reply(session::Reply { channel: 1 }));
            let message = Message::BarrierReply.encode(token);
            let channel = 1;
            self.feed(Input::Message { channel, message });
        }
    }

    fn apply(&mut self, flow_mod: &FlowMod) {
        let (key, body) = from_stats(&FlowStats {
            table_id: flow_mod.table_id,
            priority: flow_mod.priority,
            cookie: flow_mod.cookie,
            match_: flow_mod.match_.clone(),
            instructions: flow_mod.instructions.clone(),
            ..no_stats()
        });
        match flow_mod.command {
            FlowModCommand::Add => {
                self.rules.insert(key, body);
            }
            FlowModCommand::DeleteStrict => {
                let there = self.rules.remove(&key).unwrap();
                assert_eq!(there.cookie, flow_mod.cookie, "deleted by another cookie");
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn statistics(&mut self, xid: u32) {
        let rules = self.rules.iter().map(|(key, body)| FlowStats {
            table_id: key.table,
            priority: key.priority,
            cookie: body.cookie,
            match_: (*key.match_).clone(),
            instructions: body.instructions.to_vec(),
            ..no_stats()
        });
        let reply = Message::MultipartReply(v13::MultipartReply {
            more: false,
            body: MultipartBody::Flow(rules.collect()),
        });
        let message = reply.encode(xid);
        self.control(to_app::Record::Reply(session::Reply { channel: 1 }));
        self.feed(Input::Message {
            channel: 1,
            message,
        });
    }

    /// Reports so far.
    pub(super) fn reports(&self) -> Vec<report::Report> {
        let said = self.sent.iter().filter_map(|output| match output {
            Output::Control(from_app::Record::Report(bytes)) => Some(bytes.clone()),
            _ => None,
        });
        said.filter_map(|bytes| Report::decode(bytes).unwrap().report)
            .collect()
    }

    /// Short texts of the records sent so far, without messages of readings.
    pub(super) fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        for output in &self.sent {
            words.push(match output {
                Output::Message { message, .. } => match v13::decode(message).unwrap().1 {
                    Message::FlowMod(flow_mod) => format!("{:?}", flow_mod.command),
                    Message::PacketOut(packet) if packet.buffer_id != v13::NO_BUFFER => {
                        assert_eq!(packet.data, "");
                        format!("PacketOut of buffer {}", packet.buffer_id)
                    }
                    Message::PacketOut(_) => "PacketOut".into(),
                    _ => continue,
                },
                Output::Control(from_app::Record::TurnEnd(end)) => match end.event {
                    Some(seq) => format!("Turn {} of {seq}", end.turn),
                    None => format!("Turn {}", end.turn),
                },
                Output::Control(from_app::Record::Durable(durable)) => {
                    format!("Durable {}", durable.cursor.unwrap())
                }
                Output::Control(from_app::Record::Quiesced(quiesced)) => {
                    format!(
                        "Quiesced {} after {}",
                        quiesced.cursor.unwrap(),
                        quiesced.turn
                    )
                }
                Output::Exit(status) => format!("Exit {status}"),
                _ => continue,
            });
        }
        words
    }

    /// Forgets the records and flow-mods so far.
    pub(super) fn forget(&mut self) {
        self.sent.clear();
        self.flow_mods.clear();
    }
}

pub(crate) fn packet_in(data: [u8; 3]) -> Bytes {
    cut_packet_in(data, 3, v13::NO_BUFFER)
}

/// Packet-in of a frame of `length` bytes, of which `data` is the beginning.
pub(crate) fn cut_packet_in(data: [u8; 3], length: u16, buffer_id: u32) -> Bytes {
    let packet = Message::PacketIn(v13::PacketIn {
        buffer_id,
        total_len: length,
        reason: 0,
        table_id: 10,
        cookie: 0,
        match_: v13::Match::new().in_port(9),
        data: Bytes::copy_from_slice(&data),
    });
    packet.encode(0)
}

fn wrap(reply: watch_reply::Reply) -> WatchReply {
    WatchReply { reply: Some(reply) }
}

fn keyspace_gone() -> WatchReply {
    ended(Why::KeyspaceGone)
}

fn ended(why: Why) -> WatchReply {
    let mut ended = Ended::default();
    ended.set_why(why);
    wrap(watch_reply::Reply::Ended(ended))
}

fn no_stats() -> FlowStats {
    FlowStats {
        table_id: 0,
        duration_sec: 0,
        duration_nsec: 0,
        priority: 0,
        idle_timeout: 0,
        hard_timeout: 0,
        flags: 0,
        cookie: 0,
        packet_count: 0,
        byte_count: 0,
        match_: v13::Match::new(),
        instructions: Vec::new(),
    }
}
