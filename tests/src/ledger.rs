//! The ledger on fake switches: an app that writes down what it applied, and what the books must say.

use crate::bundle::Bundle;
use crate::lab::Lab;
use crate::morpheus::{bin, repository};
use crate::processes::Process;
use crate::shape::Shape;
use crate::switches::{Load, Switches};
use crate::wait::wait_until;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Runs of consecutive numbers, by datapath id, in the order in which they were applied.
pub type Books = BTreeMap<u64, Vec<(u64, u64)>>;

/// How long the last packets may take to be answered.
const AT_REST: Duration = Duration::from_secs(20);

/// What is asked of packet-outs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Each packet is answered once: over hand-overs.
    Once,
    /// None is answered twice; those in hand when an instance died may have gone unanswered.
    AtMostOnce,
}

/// A lab with the ledger (and a second app of its kind) and fake switches.
pub struct LedgerLab {
    // Dropped first: its thread is in the network of the lab.
    switches: Switches,
    lab: Lab,
    /// What the app was told before the test began: a new proxy says that it knows nothing of what was before it.
    told: BTreeMap<String, u64>,
    flags: Vec<String>,
}

impl LedgerLab {
    /// The port whose packets the ledger takes.
    pub const PORT: u32 = 1;
    /// The port of the second app.
    pub const OTHER_PORT: u32 = 2;
    /// Its apps.
    pub const APPS: [&str; 2] = ["ledger", "other"];

    /// Starts Morpheus with ledger 1.0.0 and so many switches, and waits until all of them punt.
    ///
    /// # Errors
    /// When anything does not come.
    pub fn new(switches: usize) -> Result<Self> {
        Self::with(switches, |_| Ok(()), &[])
    }

    /// As [`new`](Self::new), with a ledger whose turns are acknowledged before they are on disk.
    ///
    /// # Errors
    /// When anything does not come.
    pub fn unsynced(switches: usize) -> Result<Self> {
        let unsynced = ("durability", "\"async\"");
        Self::made(switches, |_| Ok(()), &[], Some(unsynced))
    }

    /// As [`new`](Self::new); `prepare` does something to the lab before Morpheus starts, with these further flags.
    ///
    /// # Errors
    /// When anything does not come.
    pub fn with(
        switches: usize,
        prepare: impl FnOnce(&mut Lab) -> Result<()>,
        flags: &[&str],
    ) -> Result<Self> {
        Self::made(switches, prepare, flags, None)
    }

    fn made(
        switches: usize,
        prepare: impl FnOnce(&mut Lab) -> Result<()>,
        flags: &[&str],
        also: Option<(&str, &str)>,
    ) -> Result<Self> {
        let mut lab = Lab::new(Shape::none())?;
        prepare(&mut lab)?;
        let bundles = lab.dir().join("bundles");
        for (of, program) in [
            ("1.0.0", "ledger-1"),
            ("2.0.0", "ledger-2"),
            ("other", "ledger-other"),
        ] {
            let manifest = repository().join(format!("apps/ledger/bundles/{of}/app.toml"));
            let program = bin(&format!("examples/{program}"))?;
            let bundle = Bundle::made(&manifest, &program, &bundles, of)?;
            if let Some((key, value)) = also {
                bundle.set(key, value)?;
            }
        }
        let bundles = bundles.to_str().context("a path that is no text")?;
        let ours = [
            "--bundles",
            bundles,
            "--app",
            "ledger@1.0.0",
            "--app",
            "other",
        ];
        let flags = [&ours, flags].concat();
        lab.start_morpheus(&flags)?;
        let switches = Switches::start(lab.sandbox(), switches)?;
        let mut ledger = Self {
            switches,
            lab,
            told: BTreeMap::new(),
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
        };
        for app in Self::APPS {
            ledger.lab.morpheus()?.wait_running(app, None)?;
        }
        for port in [Self::PORT, Self::OTHER_PORT] {
            ledger.switches.wait_punting(port)?;
        }
        let count = ledger.switches.tallies(Self::PORT).len();
        ledger.told = wait_until("all switches are in the books", AT_REST, || {
            let told = ledger.told()?;
            let up = told.keys().filter(|key| key.ends_with("/up")).count();
            Ok((up == count).then_some(told))
        })?;
        Ok(ledger)
    }

    /// The lab.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// The lab, to start Morpheus again.
    pub fn lab_mut(&mut self) -> &mut Lab {
        &mut self.lab
    }

    /// Starts another morphd with the flags of the first one.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn start_again(&mut self) -> Result<()> {
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        self.lab.start_morpheus(&flags)
    }

    /// The process of a release of the ledger.
    ///
    /// # Errors
    /// When there is none, or several.
    pub fn instance(&self, version: &str) -> Result<Process> {
        let major = version.split('.').next().unwrap_or(version);
        self.lab.process(&format!("ledger-{major}"))
    }

    /// Waits until this release has the only instance: what it displaced is gone.
    ///
    /// # Errors
    /// When another one stays.
    pub fn wait_alone(&self, version: &str) -> Result<()> {
        let other = Self::other_release(version);
        let alone = wait_until("one instance is left", AT_REST, || {
            let alone = self.instance(version).is_ok() && self.instance(other).is_err();
            Ok(alone.then_some(()))
        });
        alone.with_context(|| format!("{:?}", self.lab.processes()))
    }

    /// The switches.
    pub fn switches(&self) -> &Switches {
        &self.switches
    }

    /// The release of the ledger that is not this one.
    pub fn other_release(version: &str) -> &'static str {
        if version == "1.0.0" { "2.0.0" } else { "1.0.0" }
    }

    /// The books, whichever release keeps them.
    ///
    /// # Errors
    /// When they cannot be read.
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

    /// What the app was told of: `DPID/what` and how often.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn told(&self) -> Result<BTreeMap<String, u64>> {
        let rows = self.rows("told")?;
        let pair = |row: &Value| Ok((text(row, "key")?.to_owned(), number(&row["value"])?));
        rows.iter().map(pair).collect()
    }

    fn rows(&self, table: &str) -> Result<Vec<Value>> {
        let list = ["store", "list", "app=ledger", table, "--limit", "10000"];
        let answer = self.lab.morpheus()?.do_(&list)?;
        ensure!(answer["more"] != true, "not all rows were given");
        Ok(answer["store"].as_array().context("store")?.clone())
    }

    /// Stops the load, waits until all that was sent is in the books, and looks whether they are exact: each number of each
    /// switch once, in order, nothing told as lost, and every packet answered as it has to be.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn settle(&self, strictness: Strictness) -> Result<u64> {
        self.switches.load(Self::PORT, Load::Silent);
        let (mut last, mut away) = (Books::new(), None);
        let exact = wait_until("the books are exact", AT_REST, || {
            // A store that has just died does not answer yet.
            match self.books() {
                Ok(books) => last = books,
                Err(error) => away = Some(error),
            }
            Ok((last == self.expected()).then_some(()))
        });
        let exact = exact.map_err(|late| away.map_or(late, |error| error.context("the books")));
        exact.with_context(|| wrong(&last, &self.expected()))?;
        let told = self.told()?;
        ensure!(
            told == self.told,
            "told {told:?}, which was {:?}",
            self.told
        );
        let sent = self.switches.sent(Self::PORT);
        wait_until("all packets are answered", Duration::from_secs(5), || {
            let all = self.switches.answered(Self::PORT) == sent;
            Ok((all || strictness == Strictness::AtMostOnce).then_some(()))
        })
        .or_else(|_| self.unanswered())?;
        for (dpid, tally) in self.switches.tallies(Self::PORT) {
            ensure!(
                tally.too_many() == 0,
                "switch {dpid}: {} answers too many",
                tally.too_many()
            );
            ensure!(
                tally.disordered() == 0,
                "switch {dpid}: answers out of order"
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

    fn unanswered(&self) -> Result<()> {
        let tallies = self.switches.tallies(Self::PORT);
        let missing = tallies
            .iter()
            .map(|(dpid, tally)| (dpid, tally.unanswered()));
        let missing: Vec<_> = missing.filter(|(_, numbers)| !numbers.is_empty()).collect();
        bail!("packets that nobody answered: {missing:?}")
    }

    /// Ends the test well: no switch was disconnected, and Morpheus ends.
    ///
    /// # Errors
    /// When one was, or something of Morpheus stays.
    pub fn finish(self) -> Result<()> {
        self.switches.never_disconnected()?;
        self.switches.stop()?;
        self.lab.finish()
    }
}

/// The first few books that are not as expected.
fn wrong(found: &Books, expected: &Books) -> String {
    let differ = expected
        .iter()
        .filter(|(dpid, runs)| found.get(dpid) != Some(runs));
    let shown = differ.take(3).map(|(dpid, runs)| {
        let found = found.get(dpid).map(|runs| &runs[..runs.len().min(20)]);
        format!("switch {dpid}: {found:?}, not {runs:?}")
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
