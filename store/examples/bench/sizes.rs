//! What must not depend on how much there is, and what may.

use std::time::{Duration, Instant};

use morph_api::store::{Transaction, WatchRequest, watch_reply, watch_request};
use morph_store::{Client, op};

use crate::daemon::Daemon;
use crate::load::{self, VALUE};
use crate::{CLIENTS, Result, bare, line, median, rate};

/// Rows of one transaction while an app is filled, or copied.
const BATCH: u64 = 5_000;
const SAMPLES: usize = 31;
const SWAPS: usize = 3;

/// An app with so many rows, and copies of as many.
struct Sized {
    client: Client,
    app: String,
    keys: u64,
    truth: u32,
    epoch: u64,
}

pub(crate) async fn run(binary: &str, keys: u64) -> Result<()> {
    flat(binary, keys).await?;
    one_by_one(binary, keys).await
}

/// Fence and swap, with none, some and many keys, in turns.
async fn flat(binary: &str, keys: u64) -> Result<()> {
    let daemon = Daemon::start(binary).await?;
    let mut apps = Vec::new();
    for keys in [0, keys / 100, keys] {
        apps.push(Sized::new(&daemon.client, keys).await?);
    }
    let mut fences: Vec<Vec<f64>> = vec![Vec::new(); apps.len()];
    for _ in 0..SAMPLES {
        for (app, times) in apps.iter_mut().zip(&mut fences) {
            times.push(app.fence().await?);
        }
    }
    let mut swaps: Vec<Vec<f64>> = vec![Vec::new(); apps.len()];
    for _ in 0..SWAPS {
        // All copies first: then the swaps meet the same disk.
        for app in &apps {
            app.copy().await?;
        }
        for (app, times) in apps.iter_mut().zip(&mut swaps) {
            times.push(app.swap().await?);
        }
    }
    for (what, times) in [("fence", fences), ("swap", swaps)] {
        let none = times.first().cloned().map_or(0.0, median);
        for (app, times) in apps.iter().zip(times) {
            let time = median(times);
            let name = format!("{what} with {} keys", app.keys);
            line(
                &name,
                &milliseconds(time),
                &format!("none: {}", milliseconds(none)),
                time / none,
            );
        }
    }
    Ok(())
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.2} ms", seconds * 1000.0)
}

impl Sized {
    async fn new(client: &Client, keys: u64) -> Result<Sized> {
        let app = format!("sized-{keys}");
        let first = [
            op::create_truth(&app, 1, 1),
            op::fence(&app, "node1", 0, "1.0.0"),
        ];
        client.commit(op::shared([], first)).await??;
        let mut sized = Sized {
            client: client.clone(),
            app,
            keys,
            truth: 1,
            epoch: 1,
        };
        // The quickest way to a filled truth is a copy that is swapped.
        sized.copy().await?;
        sized.swap().await?;
        Ok(sized)
    }

    async fn fence(&mut self) -> Result<f64> {
        let fence = op::shared([], [op::fence(&self.app, "node1", self.epoch, "1.0.0")]);
        self.epoch += 1;
        timed(&self.client, fence).await
    }

    /// Writes the copy; then it is current.
    async fn copy(&self) -> Result<Duration> {
        let start = Instant::now();
        let (app, id) = (&self.app, self.truth + 1);
        let create = op::create_copy(app, id, id, "bench");
        self.client.commit(op::shared([], [create])).await??;
        let mark = self.client.status().await?.revision;
        let mut n = 0;
        loop {
            let to = (n + BATCH).min(self.keys);
            let mut ops = vec![op::mark(app, id, "bench", mark)];
            ops.extend((n..to).map(|n| {
                let row = op::row_in(app, id, "hosts", format!("{n:012x}"));
                op::put(row, VALUE)
            }));
            self.client.commit(op::shared([], ops)).await??;
            n = to;
            if n == self.keys {
                return Ok(start.elapsed());
            }
        }
    }

    async fn swap(&mut self) -> Result<f64> {
        let swap = op::swap(&self.app, self.truth, self.truth + 1);
        self.truth += 1;
        timed(&self.client, op::shared([], [swap])).await
    }
}

async fn timed(client: &Client, transaction: Transaction) -> Result<f64> {
    let start = Instant::now();
    client.commit(transaction).await??;
    Ok(start.elapsed().as_secs_f64())
}

/// Range, memory, file, start, and a copy beside live writes.
async fn one_by_one(binary: &str, keys: u64) -> Result<()> {
    let mut daemon = Daemon::start(binary).await?;
    let empty = daemon.restart(true).await?.as_secs_f64();
    let before = (daemon.memory()?, daemon.file()?);
    let sized = Sized::new(&daemon.client, keys).await?;
    let bare = bare::Bare::open()?;
    let (all, raw) = (range(&daemon.client, &sized).await?, bare.range(keys)?);
    let name = format!("range of {keys} keys, over the socket");
    line(
        &name,
        &rate(all),
        &format!("redb, in the process: {}", rate(raw)),
        all / raw,
    );
    let after = (daemon.memory()?, daemon.file()?);
    let a_key = |after: u64, before: u64| after.saturating_sub(before) as f64 / keys as f64;
    println!(
        "| memory with {keys} keys | {} MiB | with none: {} MiB | {:.0} bytes a key |",
        after.0 >> 20,
        before.0 >> 20,
        a_key(after.0, before.0)
    );
    println!(
        "| file with {keys} keys | {} MiB | | {:.0} bytes a key |",
        after.1 >> 20,
        a_key(after.1, before.1)
    );
    for (how, in_order) in [("in order", true), ("after kill -9", false)] {
        let start = daemon.restart(in_order).await?.as_secs_f64();
        let name = format!("start with {keys} keys, {how}");
        line(
            &name,
            &milliseconds(start),
            &format!("none: {}", milliseconds(empty)),
            start / empty,
        );
    }
    beside(&daemon.client, sized).await
}

/// Rows a second of a whole snapshot.
async fn range(client: &Client, sized: &Sized) -> Result<f64> {
    let start = Instant::now();
    let request = WatchRequest {
        app: sized.app.clone(),
        which: Some(watch_request::Which::Space(0)),
        ..WatchRequest::default()
    };
    let mut watch = client.watch(request).await?;
    let mut rows = 0;
    while let Some(reply) = watch.message().await? {
        match reply.reply {
            Some(watch_reply::Reply::Snapshot(more)) => rows += more.rows.len() as u64,
            Some(watch_reply::Reply::Synced(_)) => break,
            other => return Err(format!("{other:?}").into()),
        }
    }
    match rows == sized.keys {
        true => Ok(rows as f64 / start.elapsed().as_secs_f64()),
        false => Err(format!("{rows} of {} rows", sized.keys).into()),
    }
}

/// A copy is written while clients commit their turns.
async fn beside(client: &Client, sized: Sized) -> Result<()> {
    let mut apps = load::Apps::new(client, CLIENTS).await?;
    let slice = Duration::from_secs(3);
    let (before, quiet) = apps.waits(slice).await?;
    let keys = sized.keys;
    let copying = tokio::spawn(async move { sized.copy().await });
    let (during, busy) = apps.waits(slice).await?;
    let took = copying.await??.as_secs_f64();
    let p50 = |waits: &[Duration]| {
        waits
            .get(waits.len() / 2)
            .map_or(0.0, Duration::as_secs_f64)
    };
    println!(
        "| copy of {keys} keys beside {CLIENTS} clients | {} | | |",
        rate(keys as f64 / took)
    );
    line(
        "turns beside a copy",
        &rate(during),
        &format!("quiet: {}", rate(before)),
        during / before,
    );
    let (busy, quiet) = (p50(&busy), p50(&quiet));
    line(
        "their p50",
        &milliseconds(busy),
        &format!("quiet: {}", milliseconds(quiet)),
        busy / quiet,
    );
    Ok(())
}
