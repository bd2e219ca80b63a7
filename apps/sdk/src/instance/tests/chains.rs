//! Upgrades and downgrades over chains of migrations, with any grouping, any crash and any rollback. At every instant
//! the primary is what the acknowledged turns make of it, and a current shadow has the same content in its own schema
//! version.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use morph_api::manifest::Manifest;
use morph_api::session::{self, to_app};
use morph_api::store::Keyspace;
use morph_api::supervisor::{Flush, Go, MakeShadow, instruction, report};
use morph_store::op;
use proptest::prelude::*;
use serde_json::json;

use super::app::{CELLS, LINES};
use super::world::{Store, World, config};
use crate::bench::{down, up};
use crate::instance::{CommitOutcome, Config};
use crate::*;

const COLUMNS: Table<u32, BTreeMap<u32, u32>> = Table::new("columns");

thread_local! {
    /// Number of groups of each step; 0 makes each line, and each column, a group of its own.
    static GROUPS: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

fn group(what: &str, number: u32, of: u32) -> String {
    match number.checked_rem(of) {
        Some(rest) => format!("{what}s {rest} of {of}"),
        None => format!("{what} {number}"),
    }
}

fn line(number: u32) -> String {
    group("line", number, GROUPS.get().0)
}

fn column(number: u32) -> String {
    group("column", number, GROUPS.get().1)
}

fn or_own(group: Option<String>, table: &str, key: &str) -> String {
    group.unwrap_or_else(|| format!("{table}/{key}"))
}

struct LinesToCells;

impl Migration for LinesToCells {
    const OLD: u32 = 1;
    const NEW: u32 = 2;

    fn group_of_old(table: &str, key: &str) -> String {
        or_own(group_by(&LINES, (table, key), line), table, key)
    }

    fn group_of_new(table: &str, key: &str) -> String {
        let group = group_by(&CELLS, (table, key), |(number, _)| line(number));
        or_own(group, table, key)
    }

    fn up(old: &Rows) -> Result<Rows, MigrationError> {
        let mut new = Rows::new();
        new.pass(old, "weights");
        old.split_each(&LINES, &mut new, &CELLS, |line, cells| {
            Ok(cells
                .into_iter()
                .map(move |(column, v)| ((line, column), v)))
        })?;
        Ok(new)
    }

    fn down(new: &Rows) -> Result<Rows, MigrationError> {
        let mut old = Rows::new();
        old.pass(new, "weights");
        new.join_by(
            &CELLS,
            &mut old,
            &LINES,
            |key, _| key.0,
            |_, cells| {
                Ok(cells
                    .into_iter()
                    .map(|((_, column), v)| (column, v))
                    .collect())
            },
        )?;
        Ok(old)
    }
}

struct CellsToColumns;

impl Migration for CellsToColumns {
    const OLD: u32 = 2;
    const NEW: u32 = 3;

    fn group_of_old(table: &str, key: &str) -> String {
        let group = group_by(&CELLS, (table, key), |(_, number)| column(number));
        or_own(group, table, key)
    }

    fn group_of_new(table: &str, key: &str) -> String {
        or_own(group_by(&COLUMNS, (table, key), column), table, key)
    }

    fn up(old: &Rows) -> Result<Rows, MigrationError> {
        let mut new = Rows::new();
        new.pass(old, "weights");
        old.join_by(
            &CELLS,
            &mut new,
            &COLUMNS,
            |key, _| key.1,
            |_, cells| Ok(cells.into_iter().map(|((line, _), v)| (line, v)).collect()),
        )?;
        Ok(new)
    }

    fn down(new: &Rows) -> Result<Rows, MigrationError> {
        let mut old = Rows::new();
        old.pass(new, "weights");
        new.split_each(&COLUMNS, &mut old, &CELLS, |column, cells| {
            Ok(cells.into_iter().map(move |(line, v)| ((line, column), v)))
        })?;
        Ok(old)
    }
}

type Both = (CellsToColumns, LinesToCells);
type Sheet = BTreeMap<(u32, u32), u32>;

/// A sheet of cells, in any of the three schema versions.
struct Cells(u32);

impl App for Cells {
    type Group = u32;

    /// Handles a packet of three bytes: line, column, value. It sets a cell, or deletes it with 0.
    fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
        let Event::PacketIn(packet) = event else {
            return Ok(());
        };
        let [line, column, value] = packet.data[..] else {
            return Err(AppError::new("not three bytes"));
        };
        let (line, column) = (line.into(), column.into());
        let (table, outer, inner) = match self.0 {
            1 => (LINES, line, column),
            3 => (COLUMNS, column, line),
            _ => {
                match value {
                    0 => turn.delete(&CELLS, &(line, column)),
                    _ => turn.put(&CELLS, &(line, column), &value.into()),
                }
                return Ok(());
            }
        };
        let mut row = turn.get(&table, &outer).unwrap_or_default();
        match value {
            0 => row.remove(&inner),
            _ => row.insert(inner, value.into()),
        };
        match row.is_empty() {
            true => turn.delete(&table, &outer),
            false => turn.put(&table, &outer, &row),
        }
        Ok(())
    }

    fn groups(&self, _: &RuleInput<'_>, _: &View<'_>) -> Vec<u32> {
        Vec::new()
    }

    fn rules(&self, _: &u32, _: &View<'_>, _: &mut Rules) {}
}

/// Rows of a sheet in a schema version.
fn written(sheet: &Sheet, weights: &BTreeMap<u32, u32>, schema: u32) -> Rows {
    let mut rows = Rows::new();
    for (key, value) in weights {
        let id = ("weights".to_owned(), key.to_string());
        rows.0.insert(id, json!(value));
    }
    let mut lines: BTreeMap<u32, BTreeMap<u32, u32>> = BTreeMap::new();
    for (&(line, column), &value) in sheet {
        match schema {
            1 => lines.entry(line).or_default().insert(column, value),
            3 => lines.entry(column).or_default().insert(line, value),
            _ => {
                rows.put(&CELLS, &(line, column), &value).unwrap();
                None
            }
        };
    }
    let table = if schema == 1 { LINES } else { COLUMNS };
    for (key, row) in lines {
        rows.put(&table, &key, &row).unwrap();
    }
    rows
}

fn of_schema(schema: u32, instance: &str) -> Config {
    let others: Vec<u32> = (1..=3).filter(|other| *other != schema).collect();
    let text = format!(
        "name = 'cells'\nversion = '{schema}.0.0'\nid = 7\nexec = 'x'\nschema = {schema}\nmigrates = {others:?}\n\
         tables = [10, 12]\nconfig = ['weights']"
    );
    Config {
        manifest: Manifest::parse(Path::new("app.toml"), &text).unwrap(),
        chain: migration::Chain::of::<Both>(schema),
        ..config::<Both>(instance)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Target,
}

use Side::{Source, Target};

#[derive(Debug, Clone)]
enum Incident {
    Packet([u8; 3]),
    Weight(u32, u32),
    /// The target starts beside the source.
    Start,
    /// The release that has the migrations builds the shadow.
    Shadow,
    /// The target takes over; the source quiesces first, or is cut off.
    HandOver(bool),
    /// The live instance dies; its unanswered transactions are committed, or are not.
    KillLive(bool),
    KillOther,
    /// The live instance is fenced off and resumed: what is not committed by then is refused.
    ResumeLive,
    Rollback,
    /// Primary and shadow are swapped, if the shadow is current.
    Commit,
    /// The store no longer answers the live instance at once.
    Hold,
    Answer,
}

fn incidents() -> impl Strategy<Value = Vec<Incident>> {
    let packet = (0..3u8, 0..3u8, 0..5u8).prop_map(|(l, c, v)| Incident::Packet([l, c, v]));
    let incident = prop_oneof![
        12 => packet,
        2 => (0..3u32, 0..3u32).prop_map(|(key, value)| Incident::Weight(key, value)),
        2 => Just(Incident::Start),
        2 => Just(Incident::Shadow),
        2 => any::<bool>().prop_map(Incident::HandOver),
        1 => any::<bool>().prop_map(Incident::KillLive),
        1 => Just(Incident::KillOther),
        2 => Just(Incident::ResumeLive),
        1 => Just(Incident::Rollback),
        2 => Just(Incident::Commit),
        3 => Just(Incident::Hold),
        3 => Just(Incident::Answer),
    ];
    proptest::collection::vec(incident, 0..60)
}

/// One upgrade: two releases, a store, and what should come of all.
struct Run {
    store: Store,
    source: Option<World<Cells>>,
    target: Option<World<Cells>>,
    schemas: (u32, u32),
    live: Side,
    committed: bool,
    /// The target's keyspace was swapped in with the fence.
    swapped: bool,
    /// An app reads the former schema version: the former primary is kept up after the commit.
    read: bool,
    packets: Vec<[u8; 3]>,
    weights: BTreeMap<u32, u32>,
    instances: u32,
    keyspaces: u32,
}

impl Run {
    fn new(from: u32, to: u32, read: bool) -> Self {
        let mut run = Run {
            store: Store::default(),
            source: None,
            target: None,
            schemas: (from, to),
            live: Source,
            committed: false,
            swapped: false,
            read,
            packets: Vec::new(),
            weights: BTreeMap::new(),
            instances: 0,
            keyspaces: 1,
        };
        run.store.must([op::create_primary("cells", 1, from)]);
        run.spawn(Source, None);
        run.resume(Source);
        run
    }

    /// Whether it is a downgrade, for which the source builds the shadow.
    fn backfills(&self) -> bool {
        self.schemas.0 > self.schemas.1
    }

    fn world(&mut self, side: Side) -> &mut Option<World<Cells>> {
        match side {
            Source => &mut self.source,
            Target => &mut self.target,
        }
    }

    /// Does something with one instance, and reports to both what changes in the store.
    fn with<R>(&mut self, side: Side, what: impl FnOnce(&mut World<Cells>) -> R) -> Option<R> {
        let done = self.lend(side, what)?;
        loop {
            let before = self.store.state.revision;
            for side in [Source, Target] {
                self.lend(side, World::news);
            }
            if self.store.state.revision == before {
                return Some(done);
            }
        }
    }

    fn lend<R>(&mut self, side: Side, what: impl FnOnce(&mut World<Cells>) -> R) -> Option<R> {
        let mut world = self.world(side).take()?;
        std::mem::swap(&mut self.store, &mut world.store);
        let done = what(&mut world);
        std::mem::swap(&mut self.store, &mut world.store);
        *self.world(side) = Some(world);
        Some(done)
    }

    fn spawn(&mut self, side: Side, keyspace: Option<u32>) {
        let schema = match side {
            Source => self.schemas.0,
            Target => self.schemas.1,
        };
        self.instances += 1;
        let mut settings = of_schema(schema, &format!("i{}", self.instances));
        settings.keyspace = keyspace;
        let store = std::mem::take(&mut self.store);
        let mut world = World::new(Cells(schema), settings, store);
        world.attach();
        std::mem::swap(&mut self.store, &mut world.store);
        *self.world(side) = Some(world);
        self.with(side, |_| ());
    }

    fn resume(&mut self, side: Side) {
        self.live = side;
        self.with(side, World::resume);
        self.replay(side);
    }

    /// Delivers the events after the durable cursor again.
    fn replay(&mut self, side: Side) {
        let cursor = self.cursor();
        for (at, data) in self.packets.clone().into_iter().enumerate().skip(cursor) {
            self.with(side, |world| world.event(at as u64 + 1, data));
        }
    }

    fn cursor(&self) -> usize {
        self.store.checkpoint().cursor.map_or(0, |cursor| cursor.n) as usize
    }

    fn keyspace(&self, primary: bool) -> Option<&Keyspace> {
        self.store
            .state
            .keyspaces
            .values()
            .find(|keyspace| keyspace.primary == primary)
    }

    fn drop_shadow(&mut self) {
        if let Some(id) = self.keyspace(false).map(|shadow| shadow.id) {
            self.store.must([op::drop_keyspace("cells", id)]);
            self.with(self.live, |_| ());
        }
    }

    fn order_shadow(&mut self, maker: Side, schema: u32) {
        let Some(owner) = self.lend(maker, |world| world.instance.config.instance.clone()) else {
            return;
        };
        self.drop_shadow();
        self.keyspaces += 1;
        let keyspace = self.keyspaces;
        self.store
            .must([op::create_shadow("cells", keyspace, schema, owner)]);
        let order = MakeShadow { keyspace, schema };
        self.with(maker, |world| {
            world.instruct(instruction::Instruction::MakeShadow(order))
        });
    }

    fn answer(&mut self) {
        for side in [Source, Target] {
            self.with(side, |world| {
                while !world.commits.is_empty() {
                    world.commit();
                }
                world.commits_at_once = true;
                world.pass(Duration::from_millis(600));
            });
        }
    }

    fn is_current(&self) -> bool {
        let (Some(primary), Some(shadow)) = (self.keyspace(true), self.keyspace(false)) else {
            return false;
        };
        shadow.watermark >= primary.modified
    }

    fn hand_over(&mut self, gently: bool) {
        if self.target.is_none() || self.live == Target || self.committed {
            return;
        }
        let epoch = self.store.checkpoint().epoch;
        let mut quiesced = false;
        if gently || self.backfills() {
            let quiesce = to_app::Record::Quiesce(session::Quiesce { epoch });
            self.with(Source, |world| world.control(quiesce));
            self.answer();
            let has_quiesced =
                |world: &mut World<Cells>| world.words().iter().any(|w| w.starts_with("Quiesced"));
            quiesced = self.with(Source, has_quiesced) == Some(true);
        }
        if !self.backfills() {
            return self.resume(Target);
        }
        if !quiesced || !self.is_current() {
            return self.resume(Source);
        }
        let (Some(primary), Some(shadow)) = (self.keyspace(true), self.keyspace(false)) else {
            return;
        };
        self.store.must([op::swap("cells", primary.id, shadow.id)]);
        self.swapped = true;
        self.resume(Target);
    }

    /// Rolls back as after a crash of the target.
    fn go_back(&mut self) {
        if self.live == Source || self.committed {
            return;
        }
        self.target = None;
        if self.source.is_none() {
            self.spawn(Source, None);
        }
        self.resume(Source);
        if !self.swapped {
            self.drop_shadow();
        }
    }

    /// Swaps primary and shadow, if the shadow is current. True if it was.
    fn swap(&mut self) -> bool {
        let live = self.live;
        self.with(live, |world| {
            world.forget();
            world.instruct(instruction::Instruction::Flush(Flush {}));
        });
        self.answer();
        let flushed = self.with(live, |world| {
            let flushed = |report: &report::Report| matches!(report, report::Report::Flushed(_));
            world.reports().iter().any(flushed)
        });
        let keep = match self.read && !self.backfills() {
            true => self.lend(live, |world| world.instance.config.instance.clone()),
            false => None,
        };
        let swap = match (self.keyspace(true), self.keyspace(false)) {
            (Some(primary), Some(shadow)) => {
                op::swap_keeping("cells", primary.id, shadow.id, keep.unwrap_or_default())
            }
            _ => return false,
        };
        let done = flushed == Some(true)
            && matches!(
                self.store.commit(op::shared([], [swap])),
                CommitOutcome::Committed(_)
            );
        self.with(live, |world| {
            world.instruct(instruction::Instruction::Go(Go {}))
        });
        done
    }

    fn commit(&mut self) {
        match (self.live, self.backfills()) {
            (Target, false) if !self.committed && self.keyspace(false).is_some() && self.swap() => {
                self.committed = true;
                self.source = None;
            }
            // The shadow was swapped in with the fence.
            (Target, true) => {
                self.committed = true;
                self.source = None;
            }
            // Rolled back after the fence: the source gets its own schema version back.
            (Source, true) if self.swapped => {
                self.order_shadow(Source, self.schemas.0);
                self.answer();
                self.swapped = !self.swap();
            }
            _ => {}
        }
    }

    fn kill_live(&mut self, applied: bool) {
        let live = self.live;
        if let Some(world) = self.world(live).take() {
            for (_, transaction) in world.commits {
                if applied {
                    self.store.commit(transaction);
                }
            }
        }
        if live == Target && !self.committed {
            return self.go_back();
        }
        let made_by_live = live == Source && self.backfills() && !self.swapped;
        if made_by_live || self.committed || self.swapped {
            self.drop_shadow();
        }
        if made_by_live {
            self.target = None;
        }
        self.spawn(live, None);
        self.resume(live);
        if self.committed && self.read {
            // The builder of the shadow is gone: the shadow is built anew.
            self.order_shadow(live, self.schemas.0);
        }
    }

    fn kill_other(&mut self) {
        if self.live == Target {
            if !self.committed {
                self.source = None;
                self.spawn(Source, None);
            }
        } else if self.target.take().is_some() && !self.backfills() {
            self.drop_shadow();
        }
    }

    fn apply(&mut self, incident: &Incident) {
        match incident {
            Incident::Packet(data) => {
                self.packets.push(*data);
                let n = self.packets.len() as u64;
                self.with(self.live, |world| world.event(n, *data));
            }
            Incident::Weight(key, value) => {
                self.weights.insert(*key, *value);
                let key = key.to_string();
                self.store.set("cells", "weights", &key, &value.to_string());
                self.with(self.live, |_| ());
            }
            Incident::Start => {
                let copied = self.backfills().then(|| self.is_current());
                if self.target.is_none() && !self.swapped && copied != Some(false) {
                    let keyspace = copied.and(self.keyspace(false)).map(|copy| copy.id);
                    self.spawn(Target, keyspace);
                }
            }
            Incident::Shadow if self.committed || self.swapped => {}
            Incident::Shadow if self.backfills() => {
                if self.target.is_none() {
                    self.order_shadow(Source, self.schemas.1);
                }
            }
            Incident::Shadow => self.order_shadow(Target, self.schemas.1),
            Incident::HandOver(gently) => self.hand_over(*gently),
            Incident::KillLive(applied) => self.kill_live(*applied),
            Incident::KillOther => self.kill_other(),
            Incident::ResumeLive => self.resume(self.live),
            Incident::Rollback => self.go_back(),
            Incident::Commit => self.commit(),
            Incident::Hold => {
                self.with(self.live, |world| world.commits_at_once = false);
            }
            Incident::Answer => self.answer(),
        }
    }

    /// Compares the rows of the store with the expected ones.
    fn check(&self) -> Result<(), TestCaseError> {
        let mut sheet = Sheet::new();
        for [line, column, value] in self.packets.iter().take(self.cursor()) {
            let key = ((*line).into(), (*column).into());
            match value {
                0 => sheet.remove(&key),
                _ => sheet.insert(key, (*value).into()),
            };
        }
        let found =
            |keyspace: &Keyspace| super::shadows::rows(self.store.keyspace("cells", keyspace.id));
        let primary = self.keyspace(true).unwrap();
        let expected = written(&sheet, &self.weights, primary.schema);
        prop_assert_eq!(
            found(primary),
            expected,
            "the primary, after {}",
            self.cursor()
        );
        if self.is_current()
            && let Some(shadow) = self.keyspace(false)
        {
            let expected = written(&sheet, &self.weights, shadow.schema);
            prop_assert_eq!(found(shadow), expected, "a shadow that is current");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(super::cases(100)))]

    #[test]
    fn at_every_instant_the_primary_is_what_acknowledged_turns_make_of_it(
        (from, to) in (1..=3u32, 1..=3u32).prop_filter("a change", |(from, to)| from != to),
        groups in (0..3u32, 0..3u32),
        read: bool,
        incidents in incidents(),
    ) {
        GROUPS.set(groups);
        let mut run = Run::new(from, to, read);
        for incident in &incidents {
            run.apply(incident);
            run.check()?;
        }
        // Any state can be brought to its end, with nothing left out.
        run.answer();
        run.check()?;
        if !run.swapped || run.live == Target {
            for incident in [Incident::Shadow, Incident::Answer, Incident::Start, Incident::HandOver(true), Incident::Shadow, Incident::Answer] {
                run.apply(&incident);
                run.check()?;
            }
        }
        run.commit();
        run.answer();
        run.check()?;
        prop_assert_eq!(run.cursor(), run.packets.len(), "all is durable");
        prop_assert!(run.committed || !run.swapped, "it has come to an end");
        if run.committed && read && from < to {
            prop_assert!(run.is_current() && run.keyspace(false).is_some(), "and is read in the former schema");
        }
    }

    #[test]
    fn a_chain_leads_there_and_back(
        sheet in proptest::collection::btree_map((0..4u32, 0..4u32), 1..9u32, 0..12),
        groups in (0..3u32, 0..3u32),
    ) {
        GROUPS.set(groups);
        let old = written(&sheet, &BTreeMap::new(), 1);
        let new = written(&sheet, &BTreeMap::new(), 3);
        prop_assert_eq!(&up::<Both>(&old).unwrap(), &new);
        prop_assert_eq!(down::<Both>(&new).unwrap(), old);
    }
}
