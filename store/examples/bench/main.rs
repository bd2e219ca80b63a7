//! Costs of the store, as ratios within one run: `bench MORPH-STORED [KEYS [PART...]]`, or `make bench-store`.
//!
//! Absolute figures differ from disk to disk, and from minute to minute on one disk. So the two sides of a comparison
//! run alternately.
#![allow(clippy::print_stdout, reason = "it is what it is for")]

mod bare;
mod daemon;
mod etcd;
mod load;
mod rates;
mod sizes;

use std::error::Error;

type Failed = Box<dyn Error + Send + Sync>;
type Result<T> = std::result::Result<T, Failed>;

/// Clients that write or read at the same time.
const CLIENTS: usize = 64;
const PARTS: [&str; 5] = ["engine", "etcd", "flat", "sizes", "etcd-sizes"];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let usage = format!(
        "usage: bench MORPH-STORED [KEYS [PART...]], of {}",
        PARTS.join(", ")
    );
    let mut arguments = std::env::args().skip(1);
    let binary = arguments.next().ok_or(usage.clone())?;
    let keys = arguments.next().map_or(Ok(1_000_000), |n| n.parse())?;
    let mut parts: Vec<String> = arguments.collect();
    if parts.is_empty() {
        parts = PARTS.map(str::to_owned).into();
    }
    println!("RESULT bench/ | what | figure | against | ratio");
    for part in &parts {
        match part.as_str() {
            "engine" => rates::against_the_engine(&binary).await?,
            "etcd" => rates::against_etcd(&binary).await?,
            "flat" => sizes::flat(&binary, keys).await?,
            "sizes" => sizes::on_disk(&binary, keys).await?,
            "etcd-sizes" => sizes::on_etcd(&binary, keys).await?,
            _ => return Err(usage.into()),
        }
    }
    Ok(())
}

fn line(what: &str, figure: &str, against: &str, ratio: f64) {
    println!("RESULT bench/{what} | {figure} | {against} | {ratio:.2}");
}

fn no_etcd() {
    println!("RESULT bench/No etcd was on the PATH.");
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_unstable_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

/// Two alternating measurements: the medians of both, and of the ratios of neighbours.
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

    /// Prints a line of the table with rates.
    fn rates(&self, what: &str, against: &str) {
        let (one, other, ratio) = self.medians();
        let against = format!("{against}: {}", rate(other));
        line(what, &rate(one), &against, ratio);
    }
}

fn rate(per_second: f64) -> String {
    format!("{:.1} k/s", per_second / 1000.0)
}
