//! Upgrades and downgrades over chains of migrations, with any grouping, any crash and any way back: at every instant the primary
//! is what the acknowledged turns make of it, and a shadow that says that it is current is just the same in its own schema.

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
use crate::instance::{Config, Outcome};
use crate::*;

const COLUMNS: Table<u32, BTreeMap<u32, u32>> = Table::new("columns");

thread_local! {
    /// By how many the groups of each step are: 0 is each line, and each column, for itself.
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

    /// A packet of three bytes sets a cell: line, column, value; 0 deletes it.
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

    fn groups(&self, _: &Touched<'_>, _: &View<'_>) -> Vec<u32> {
        Vec::new()
    }

    fn rules(&self, _: &u32, _: &View<'_>, _: &mut Rules) {}
}

/// How a sheet stands in a schema version.
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
    Old,
    New,
}

use Side::{New, Old};

#[derive(Debug, Clone)]
enum Step {
    Packet([u8; 3]),
    Weight(u32, u32),
    /// The newcomer starts beside the old instance.
    Start,
    /// Whoever can makes the shadow.
    Shadow,
    /// The newcomer takes over; the old one quiesces first, or is cut off.
    HandOver(bool),
    /// The live one dies; what it has asked of the store lands, or does not.
    KillLive(bool),
    KillOther,
    /// The live one is fenced off and let in again: what has not landed by then is refused.
    LetInAgain,
    Rollback,
    /// The primary and the shadow are swapped, if the shadow is current.
    Commit,
    /// The store takes its time with whoever is live.
    Hold,
    Answer,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let packet = (0..3u8, 0..3u8, 0..5u8).prop_map(|(l, c, v)| Step::Packet([l, c, v]));
    let step = prop_oneof![
        12 => packet,
        2 => (0..3u32, 0..3u32).prop_map(|(key, value)| Step::Weight(key, value)),
        2 => Just(Step::Start),
        2 => Just(Step::Shadow),
        2 => any::<bool>().prop_map(Step::HandOver),
        1 => any::<bool>().prop_map(Step::KillLive),
        1 => Just(Step::KillOther),
        2 => Just(Step::LetInAgain),
        1 => Just(Step::Rollback),
        2 => Just(Step::Commit),
        3 => Just(Step::Hold),
        3 => Just(Step::Answer),
    ];
    proptest::collection::vec(step, 0..60)
}

/// One upgrade: two releases, a store, and what should come of all.
struct Run {
    store: Store,
    old: Option<World<Cells>>,
    new: Option<World<Cells>>,
    schemas: (u32, u32),
    live: Side,
    committed: bool,
    /// The newcomer's primary was swapped in with the fence.
    swapped: bool,
    /// Somebody reads the former schema version: the former primary is kept up after the commit.
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
            old: None,
            new: None,
            schemas: (from, to),
            live: Old,
            committed: false,
            swapped: false,
            read,
            packets: Vec::new(),
            weights: BTreeMap::new(),
            instances: 0,
            keyspaces: 1,
        };
        run.store.must([op::create_primary("cells", 1, from)]);
        run.spawn(Old, None);
        run.resume(Old);
        run
    }

    /// A downgrade: the old release has the migrations.
    fn backfills(&self) -> bool {
        self.schemas.0 > self.schemas.1
    }

    fn world(&mut self, side: Side) -> &mut Option<World<Cells>> {
        match side {
            Old => &mut self.old,
            New => &mut self.new,
        }
    }

    /// Does something with one of them, and tells both what changes in the store.
    fn with<R>(&mut self, side: Side, what: impl FnOnce(&mut World<Cells>) -> R) -> Option<R> {
        let done = self.lend(side, what)?;
        loop {
            let before = self.store.state.revision;
            for side in [Old, New] {
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
            Old => self.schemas.0,
            New => self.schemas.1,
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

    /// The events after the durable cursor are delivered again.
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
            world.tell(instruction::Instruction::MakeShadow(order))
        });
    }

    fn answer(&mut self) {
        for side in [Old, New] {
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
        if self.new.is_none() || self.live == New || self.committed {
            return;
        }
        let epoch = self.store.checkpoint().epoch;
        let mut quiesced = false;
        if gently || self.backfills() {
            let quiesce = to_app::Record::Quiesce(session::Quiesce { epoch });
            self.with(Old, |world| world.control(quiesce));
            self.answer();
            let said =
                |world: &mut World<Cells>| world.words().iter().any(|w| w.starts_with("Quiesced"));
            quiesced = self.with(Old, said) == Some(true);
        }
        if !self.backfills() {
            return self.resume(New);
        }
        if !quiesced || !self.is_current() {
            return self.resume(Old);
        }
        let (Some(primary), Some(shadow)) = (self.keyspace(true), self.keyspace(false)) else {
            return;
        };
        self.store.must([op::swap("cells", primary.id, shadow.id)]);
        self.swapped = true;
        self.resume(New);
    }

    /// By the path of a crash.
    fn go_back(&mut self) {
        if self.live == Old || self.committed {
            return;
        }
        self.new = None;
        if self.old.is_none() {
            self.spawn(Old, None);
        }
        self.resume(Old);
        if !self.swapped {
            self.drop_shadow();
        }
    }

    /// Swaps, if the shadow is current; whether it was.
    fn swap(&mut self) -> bool {
        let live = self.live;
        self.with(live, |world| {
            world.forget();
            world.tell(instruction::Instruction::Flush(Flush {}));
        });
        self.answer();
        let flushed = self.with(live, |world| {
            let flushed = |said: &report::Report| matches!(said, report::Report::Flushed(_));
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
                Outcome::Committed(_)
            );
        self.with(live, |world| {
            world.tell(instruction::Instruction::Go(Go {}))
        });
        done
    }

    fn commit(&mut self) {
        match (self.live, self.backfills()) {
            (New, false) if !self.committed && self.keyspace(false).is_some() && self.swap() => {
                self.committed = true;
                self.old = None;
            }
            // Its shadow was swapped in with the fence.
            (New, true) => {
                self.committed = true;
                self.old = None;
            }
            // Rolled back after the fence: the old release gets its own schema back.
            (Old, true) if self.swapped => {
                self.order_shadow(Old, self.schemas.0);
                self.answer();
                self.swapped = !self.swap();
            }
            _ => {}
        }
    }

    fn kill_live(&mut self, lands: bool) {
        let live = self.live;
        if let Some(world) = self.world(live).take() {
            for (_, transaction) in world.commits {
                if lands {
                    self.store.commit(transaction);
                }
            }
        }
        if live == New && !self.committed {
            return self.go_back();
        }
        let made_by_live = live == Old && self.backfills() && !self.swapped;
        if made_by_live || self.committed || self.swapped {
            self.drop_shadow();
        }
        if made_by_live {
            self.new = None;
        }
        self.spawn(live, None);
        self.resume(live);
        if self.committed && self.read {
            // Its maker is gone: it is made anew.
            self.order_shadow(live, self.schemas.0);
        }
    }

    fn kill_other(&mut self) {
        if self.live == New {
            if !self.committed {
                self.old = None;
                self.spawn(Old, None);
            }
        } else if self.new.take().is_some() && !self.backfills() {
            self.drop_shadow();
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Packet(data) => {
                self.packets.push(*data);
                let n = self.packets.len() as u64;
                self.with(self.live, |world| world.event(n, *data));
            }
            Step::Weight(key, value) => {
                self.weights.insert(*key, *value);
                let key = key.to_string();
                self.store.set("cells", "weights", &key, &value.to_string());
                self.with(self.live, |_| ());
            }
            Step::Start => {
                let copied = self.backfills().then(|| self.is_current());
                if self.new.is_none() && !self.swapped && copied != Some(false) {
                    let keyspace = copied.and(self.keyspace(false)).map(|copy| copy.id);
                    self.spawn(New, keyspace);
                }
            }
            Step::Shadow if self.committed || self.swapped => {}
            Step::Shadow if self.backfills() => {
                if self.new.is_none() {
                    self.order_shadow(Old, self.schemas.1);
                }
            }
            Step::Shadow => self.order_shadow(New, self.schemas.1),
            Step::HandOver(gently) => self.hand_over(*gently),
            Step::KillLive(lands) => self.kill_live(*lands),
            Step::KillOther => self.kill_other(),
            Step::LetInAgain => self.resume(self.live),
            Step::Rollback => self.go_back(),
            Step::Commit => self.commit(),
            Step::Hold => {
                self.with(self.live, |world| world.commits_at_once = false);
            }
            Step::Answer => self.answer(),
        }
    }

    /// What the store has, against what it should have.
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
        steps in steps(),
    ) {
        GROUPS.set(groups);
        let mut run = Run::new(from, to, read);
        for step in &steps {
            run.step(step);
            run.check()?;
        }
        // However it stood, it can be brought to its end, with nothing left out.
        run.answer();
        run.check()?;
        if !run.swapped || run.live == New {
            for step in [Step::Shadow, Step::Answer, Step::Start, Step::HandOver(true), Step::Shadow, Step::Answer] {
                run.step(&step);
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
