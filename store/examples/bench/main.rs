//! What the store costs, as ratios within one run: `bench MORPH-STORED [KEYS]`, or `make bench-store`.
//!
//! Absolute figures differ from disk to disk, and from minute to minute on one; what is compared runs in turns.
#![allow(clippy::print_stdout, reason = "it is what it is for")]

mod bare;
mod daemon;
mod load;
mod sizes;

use std::error::Error;
use std::time::Duration;

use daemon::Daemon;

type Failed = Box<dyn Error + Send + Sync>;
type Result<T> = std::result::Result<T, Failed>;

/// Clients that write or read at the same time.
const CLIENTS: usize = 64;
/// How long one side runs before the other has its turn, and how often.
const SLICE: Duration = Duration::from_millis(700);
const SLICES: usize = 9;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let binary = arguments.next().ok_or("usage: bench MORPH-STORED [KEYS]")?;
    let keys = arguments.next().map_or(Ok(1_000_000), |n| n.parse())?;
    println!("| what | figure | against | ratio |\n|---|---|---|---|");
    against_the_engine(&binary).await?;
    sizes::run(&binary, keys).await
}

fn line(what: &str, figure: &str, against: &str, ratio: f64) {
    println!("| {what} | {figure} | {against} | {ratio:.2} |");
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_unstable_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

/// Two things in turns: the medians of both, and of the ratios of neighbours.
struct Turns {
    one: Vec<f64>,
    other: Vec<f64>,
}

impl Turns {
    fn new() -> Turns {
        Turns {
            one: Vec::new(),
            other: Vec::new(),
        }
    }

    fn take(&mut self, one: f64, other: f64) {
        self.one.push(one);
        self.other.push(other);
    }

    fn medians(&self) -> (f64, f64, f64) {
        let ratios = self.one.iter().zip(&self.other).map(|(a, b)| a / b);
        let ratio = median(ratios.collect());
        (median(self.one.clone()), median(self.other.clone()), ratio)
    }
}

fn rate(per_second: f64) -> String {
    format!("{:.1} k/s", per_second / 1000.0)
}

async fn against_the_engine(binary: &str) -> Result<()> {
    let daemon = Daemon::start(binary).await?;
    let mut apps = load::Apps::new(&daemon.client, CLIENTS).await?;
    let bare = bare::Bare::open()?;
    let (mut puts, mut lanes) = (Turns::new(), Turns::new());
    let (mut gets, mut lone) = (Turns::new(), Turns::new());
    for _ in 0..SLICES {
        let turns = apps.turns(SLICE).await?;
        puts.take(turns, bare.puts(CLIENTS, SLICE)?);
        lanes.take(turns, apps.changes(SLICE).await?);
        gets.take(apps.gets(SLICE).await?, bare.gets(SLICE)?);
        lone.take(apps.alone(SLICE).await?, bare.puts(1, SLICE)?);
    }
    let (one, other, ratio) = puts.medians();
    let name = format!("turns of one row, {CLIENTS} clients");
    line(
        &name,
        &rate(one),
        &format!("redb, groups of {CLIENTS}: {}", rate(other)),
        ratio,
    );
    let (one, other, ratio) = lone.medians();
    line(
        "turns of one row, one client",
        &rate(one),
        &format!("redb, one by one: {}", rate(other)),
        ratio,
    );
    let (one, other, ratio) = lanes.medians();
    line(
        "the same with lane and cursor",
        &rate(one),
        &format!("without: {}", rate(other)),
        ratio,
    );
    let (one, other, ratio) = gets.medians();
    let name = format!("gets, {CLIENTS} clients, over the socket");
    line(
        &name,
        &rate(one),
        &format!("redb, in the process: {}", rate(other)),
        ratio,
    );
    Ok(())
}
