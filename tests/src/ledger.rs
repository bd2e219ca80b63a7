//! The ledger on fake switches: an app that records every packet that it applied, and the checks of its records.

use crate::bundle::Bundle;
use crate::lab::Lab;
use crate::metrics::{METRICS, Metrics, TurnSizes};
use crate::morpheus::{bin, repository};
use crate::processes::Process;
use crate::shape::Shape;
use crate::switches::{Load, Switches};
use crate::wait::wait_until;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Runs of consecutive packet numbers by datapath id, in the order in which the app applied them.
pub type Books = BTreeMap<u64, Vec<(u64, u64)>>;

/// Numbers of lost packets by datapath id and place in the book.
type Losses = BTreeMap<u64, BTreeMap<u64, u64>>;

/// Time that the last packets may take until they are recorded.
const SETTLE: Duration = Duration::from_secs(20);

/// Guarantee that a test demands for packet-outs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Each packet is answered exactly once. Holds across hand-overs.
    ExactlyOnce,
    /// No packet is answered twice. Those in flight when an instance died may stay unanswered.
    AtMostOnce,
}

/// Place, from 1, of the event of which an instance died, among those that it was to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeathPlace {
    pub place: u64,
    pub count: u64,
}

impl From<(u64, u64)> for DeathPlace {
    fn from((place, count): (u64, u64)) -> Self {
        Self { place, count }
    }
}

/// Lab with the ledger, a second app of the same kind, and fake switches.
pub struct LedgerLab {
    // Dropped first: its thread runs in the lab's network namespace.
    switches: Switches,
    lab: Lab,
    /// Notices that the app had before the test began. A new proxy reports once that it knows nothing of earlier
    /// events.
    notices: BTreeMap<String, u64>,
    flags: Vec<String>,
}

impl Lab {
    /// Makes a folder of the ledger's bundles, with a changed key in their manifests, for `morphd --bundles`.
    pub fn ledger_bundles(&self, manifest_key: Option<(&str, &str)>) -> Result<String> {
        let bundles = self.dir().join("bundles");
        for (of, program) in [
            ("1.0.0", "ledger-1"),
            ("2.0.0", "ledger-2"),
            ("other", "ledger-other"),
        ] {
            let manifest = repository().join(format!("apps/ledger/bundles/{of}/app.toml"));
            let program = bin(&format!("examples/{program}"))?;
            let bundle = Bundle::assemble(&manifest, &program, &bundles, of)?;
            if let Some((key, value)) = manifest_key {
                bundle.set(key, value)?;
            }
        }
        let bundles = bundles.to_str().context("a path that is not UTF-8")?;
        Ok(bundles.to_owned())
    }
}

impl LedgerLab {
    /// Switch port whose packets the ledger handles.
    pub const PORT: u32 = 1;
    /// Switch port whose packets the second app handles.
    pub const OTHER_PORT: u32 = 2;
    pub const APPS: [&str; 2] = ["ledger", "other"];

    /// Starts Morpheus with ledger 1.0.0 and `switches` fake switches, and waits until each has the app's rules.
    pub fn new(switches: usize) -> Result<Self> {
        Self::with(switches, |_| Ok(()), &[])
    }

    /// As [`new`](Self::new), with a ledger whose turns are acknowledged before they are on disk.
    pub fn unsynced(switches: usize) -> Result<Self> {
        let unsynced = ("durability", "\"async\"");
        Self::build(switches, |_| Ok(()), &[], Some(unsynced))
    }

    /// As [`new`](Self::new), with further flags for morphd. `prepare` changes the lab before Morpheus starts.
    pub fn with(
        switches: usize,
        prepare: impl FnOnce(&mut Lab) -> Result<()>,
        flags: &[&str],
    ) -> Result<Self> {
        Self::build(switches, prepare, flags, None)
    }

    /// As [`new`](Self::new), with metrics, so that [`turn_sizes`](Self::turn_sizes) can be read.
    pub fn measured(switches: usize) -> Result<Self> {
        Self::with(switches, |_| Ok(()), &["--metrics", METRICS])
    }

    fn build(
        switches: usize,
        prepare: impl FnOnce(&mut Lab) -> Result<()>,
        flags: &[&str],
        manifest_key: Option<(&str, &str)>,
    ) -> Result<Self> {
        let mut lab = Lab::new(Shape::none())?;
        prepare(&mut lab)?;
        let bundles = lab.ledger_bundles(manifest_key)?;
        let own_flags = [
            "--bundles",
            &bundles,
            "--app",
            "ledger@1.0.0",
            "--app",
            "other",
        ];
        let flags = [&own_flags, flags].concat();
        lab.start_morpheus(&flags)?;
        let switches = Switches::start(lab.sandbox(), switches)?;
        let mut ledger = Self {
            switches,
            lab,
            notices: BTreeMap::new(),
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
        };
        for app in Self::APPS {
            ledger.lab.morpheus()?.wait_running(app, None)?;
        }
        for port in [Self::PORT, Self::OTHER_PORT] {
            ledger.switches.wait_punting(port)?;
        }
        let count = ledger.switches.tallies(Self::PORT).len();
        ledger.notices = wait_until("the ledger knows all switches", SETTLE, || {
            let notices = ledger.notices()?;
            let up = notices.keys().filter(|key| key.ends_with("/up")).count();
            Ok((up == count).then_some(notices))
        })?;
        Ok(ledger)
    }

    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    pub fn lab_mut(&mut self) -> &mut Lab {
        &mut self.lab
    }

    /// Starts another morphd with the flags of the first one.
    pub fn start_morphd(&mut self) -> Result<()> {
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        self.lab.start_morpheus(&flags)
    }

    /// Process of a release of the ledger; an error when there are none or several.
    pub fn instance(&self, version: &str) -> Result<Process> {
        let major = version.split('.').next().unwrap_or(version);
        self.lab.process(&format!("ledger-{major}"))
    }

    /// Waits until this release has the only instance: the one that it replaced has ended.
    pub fn wait_single_instance(&self, version: &str) -> Result<()> {
        let other = Self::other_release(version);
        let alone = wait_until("one instance is left", SETTLE, || {
            let alone = self.instance(version).is_ok() && self.instance(other).is_err();
            Ok(alone.then_some(()))
        });
        alone.with_context(|| format!("processes: {:?}", self.lab.processes()))
    }

    pub fn switches(&self) -> &Switches {
        &self.switches
    }

    /// The release of the ledger that is not `version`.
    pub fn other_release(version: &str) -> &'static str {
        if version == "1.0.0" { "2.0.0" } else { "1.0.0" }
    }

    /// Turns of the ledger since the start of the proxy, by how many events they answered. Needs
    /// [`measured`](Self::measured).
    pub fn turn_sizes(&self) -> Result<TurnSizes> {
        wait_until("the metrics have the turns of the ledger", SETTLE, || {
            let sizes = Metrics::read(&self.lab)?.turn_sizes("ledger")?;
            Ok((sizes.turns() > 0).then_some(sizes))
        })
    }

    /// Places of the events that instances were handling when they died while no upgrade was under way, as the proxy
    /// logs them.
    pub fn deaths(&self) -> Result<Vec<DeathPlace>> {
        let logs = self.lab.logs();
        let lines = logs.iter().flat_map(|(_, text)| text.lines());
        let places = lines.filter_map(|line| line.split_once(" died of event "));
        let place = |(_, text): (&str, &str)| {
            let mut words = text.split(' ');
            let mut number = |at| words.nth(at).and_then(|word| word.parse().ok());
            let place = number(0).zip(number(1));
            place.with_context(|| format!("no place of an event: {text}"))
        };
        places
            .map(|found| place(found).map(DeathPlace::from))
            .collect()
    }

    /// Books of the ledger in one form, whichever schema they are stored in.
    pub fn books(&self) -> Result<Books> {
        let mut books: BTreeMap<u64, BTreeMap<u64, (u64, u64)>> = BTreeMap::new();
        for row in self.rows("books")? {
            let dpid = dpid(text(&row, "key")?)?;
            let runs: Vec<(u64, u64)> = serde_json::from_value(row["value"].clone())?;
            books.entry(dpid).or_default().extend((0..).zip(runs));
        }
        for row in self.rows("runs")? {
            let (switch, index) = text(&row, "key")?.split_once('/').context("key")?;
            let run = (
                number(&row["value"]["first"])?,
                number(&row["value"]["last"])?,
            );
            books
                .entry(dpid(switch)?)
                .or_default()
                .insert(index.parse()?, run);
        }
        let in_order = |(dpid, runs): (u64, BTreeMap<u64, _>)| (dpid, runs.into_values().collect());
        Ok(books.into_iter().map(in_order).collect())
    }

    /// Events other than packets that the app was given: `DPID/kind` and how often.
    pub fn notices(&self) -> Result<BTreeMap<String, u64>> {
        let rows = self.rows("told")?;
        let pair = |row: &Value| Ok((text(row, "key")?.to_owned(), number(&row["value"])?));
        rows.iter().map(pair).collect()
    }

    fn rows(&self, table: &str) -> Result<Vec<Value>> {
        let list = ["store", "list", "app=ledger", table, "--limit", "10000"];
        let answer = self.lab.morpheus()?.morphctl(&list)?;
        ensure!(
            answer["more"] != true,
            "more than 10000 rows in table {table}"
        );
        Ok(answer["store"].as_array().context("store")?.clone())
    }

    /// Installs a release with schema 1 whose program is this example.
    pub fn install(&self, version: &str, program: &str) -> Result<()> {
        let manifest = repository().join("apps/ledger/bundles/1.0.0/app.toml");
        let program = bin(&format!("examples/{program}"))?;
        let bundle = Bundle::assemble(&manifest, &program, self.lab.dir(), version)?
            .set("version", &format!("\"{version}\""))?
            .program(&program)?;
        let install = ["app", "install", bundle.path()?];
        self.lab.morpheus()?.morphctl(&install)?;
        Ok(())
    }

    /// Installs a release with schema 1 whose program is this example, and makes it permanent.
    pub fn upgrade_to(&self, version: &str, program: &str) -> Result<()> {
        self.install(version, program)?;
        self.lab.upgrade("ledger", version)?;
        self.lab.morpheus()?.morphctl(&["commit", "app=ledger"])?;
        Ok(())
    }

    /// Stops the load, waits until everything sent is in the books or was reported as lost, and checks that each gap in a
    /// book is as large as the losses that were reported just there. Every packet in a book has to be answered once.
    /// Returns the number of lost packets of each switch that lost any.
    pub fn check_gaps(&self) -> Result<BTreeMap<u64, u64>> {
        self.switches.load(Self::PORT, Load::Silent);
        let mut wrong = String::new();
        let exact = wait_until("the gaps in the books are the losses", SETTLE, || {
            let (books, losses) = (self.books()?, self.losses()?);
            wrong = self.wrong_gap(&books, &losses).unwrap_or_default();
            Ok(wrong.is_empty().then_some(losses))
        });
        let losses = exact.with_context(|| wrong)?;
        let of = |(dpid, places): (u64, BTreeMap<u64, u64>)| (dpid, places.into_values().sum());
        Ok(losses.into_iter().map(of).collect())
    }

    /// Describes a gap that is not as large as what was reported as lost there, or a packet without its answer.
    fn wrong_gap(&self, books: &Books, losses: &Losses) -> Option<String> {
        let tallies = self.switches.tallies(Self::PORT);
        tallies.iter().find_map(|(dpid, tally)| {
            let of_it = losses.get(dpid).cloned().unwrap_or_default();
            let mut gaps = BTreeMap::new();
            let (mut last, mut applied) = (0, 0);
            let end = (tally.sent() + 1, tally.sent());
            let runs = books.get(dpid).into_iter().flatten();
            for (from, to) in runs.chain([&end]) {
                match from.checked_sub(last + 1) {
                    None => return Some(format!("switch {dpid}: {from} was applied after {last}")),
                    Some(0) => {}
                    Some(gap) => drop(gaps.insert(last, gap)),
                }
                applied += to + 1 - from;
                last = *to;
            }
            let answers = (tally.answered(), tally.extra_answers());
            let right = gaps == of_it && answers == (applied, 0);
            (!right).then(|| {
                format!("switch {dpid}: gaps {gaps:?}, losses {of_it:?}, {applied} applied, answers {answers:?}")
            })
        })
    }

    /// Numbers of packets that were reported as lost, by switch and by the last number in the book at that time.
    fn losses(&self) -> Result<Losses> {
        let mut losses = Losses::new();
        for row in self.rows("losses")? {
            let (switch, last) = text(&row, "key")?.split_once('/').context("key")?;
            let places = losses.entry(dpid(switch)?).or_default();
            places.insert(last.parse()?, number(&row["value"])?);
        }
        Ok(losses)
    }

    /// Stops the load, waits until everything sent is in the books, and checks that they are exact: each number of
    /// each switch once, in order, none reported as lost, and every packet answered as `delivery` demands. Returns
    /// the number of packets sent.
    pub fn check_books(&self, delivery: Delivery) -> Result<u64> {
        self.switches.load(Self::PORT, Load::Silent);
        let (mut last, mut unreadable) = (Books::new(), None);
        let exact = wait_until("the books are exact", SETTLE, || {
            // A store that has just been killed does not answer yet.
            match self.books() {
                Ok(books) => last = books,
                Err(error) => unreadable = Some(error),
            }
            Ok((last == self.expected()).then_some(()))
        });
        let exact = exact.map_err(|late| {
            unreadable.map_or(late, |error| error.context("cannot read the books"))
        });
        exact.with_context(|| difference(&last, &self.expected()))?;
        let notices = self.notices()?;
        ensure!(
            notices == self.notices,
            "the ledger has notices {notices:?}, and had {:?} before the load",
            self.notices
        );
        let sent = self.switches.sent(Self::PORT);
        wait_until("all packets are answered", Duration::from_secs(5), || {
            let all = self.switches.answered(Self::PORT) == sent;
            Ok((all || delivery == Delivery::AtMostOnce).then_some(()))
        })
        .or_else(|_| self.report_unanswered())?;
        for (dpid, tally) in self.switches.tallies(Self::PORT) {
            ensure!(
                tally.extra_answers() == 0,
                "switch {dpid} got {} answers too many",
                tally.extra_answers()
            );
            ensure!(
                tally.out_of_order() == 0,
                "switch {dpid} got answers out of order"
            );
        }
        Ok(sent)
    }

    fn expected(&self) -> Books {
        let tallies = self.switches.tallies(Self::PORT).into_iter();
        let sent = tallies
            .map(|(dpid, tally)| (dpid, tally.sent()))
            .filter(|(_, sent)| *sent > 0);
        sent.map(|(dpid, sent)| (dpid, vec![(1, sent)])).collect()
    }

    fn report_unanswered(&self) -> Result<()> {
        let tallies = self.switches.tallies(Self::PORT);
        let missing = tallies
            .iter()
            .map(|(dpid, tally)| (dpid, tally.unanswered()));
        let missing: Vec<_> = missing.filter(|(_, numbers)| !numbers.is_empty()).collect();
        bail!("packets without an answer, by switch: {missing:?}")
    }

    /// Ends a passed test: no switch may have been disconnected, and Morpheus must stop.
    pub fn finish(self) -> Result<()> {
        self.switches.check_no_disconnects()?;
        self.finish_after_disconnects()
    }

    /// Ends a passed test that cut switches off.
    pub fn finish_after_disconnects(self) -> Result<()> {
        self.switches.stop()?;
        self.lab.finish()
    }
}

/// Describes the first few books that differ from what is expected.
fn difference(found: &Books, expected: &Books) -> String {
    let differ = expected
        .iter()
        .filter(|(dpid, runs)| found.get(dpid) != Some(runs));
    let shown = differ.take(3).map(|(dpid, runs)| {
        let found = found.get(dpid).map(|runs| &runs[..runs.len().min(20)]);
        format!("switch {dpid} has {found:?}, not {runs:?}")
    });
    shown.collect::<Vec<_>>().join("; ")
}

fn text<'a>(row: &'a Value, key: &str) -> Result<&'a str> {
    row[key].as_str().with_context(|| row.to_string())
}

fn number(value: &Value) -> Result<u64> {
    value.as_u64().with_context(|| value.to_string())
}

fn dpid(hex: &str) -> Result<u64> {
    u64::from_str_radix(hex, 16).with_context(|| hex.to_owned())
}
