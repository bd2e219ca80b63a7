//! Costs that must not depend on the amount of data, and costs that may.

use std::time::{Duration, Instant};

use morph_api::store::{Transaction, WatchRequest, watch_reply, watch_request};
use morph_store::{Client, op};

use crate::daemon::Daemon;
use crate::etcd::Etcd;
use crate::load::{self, VALUE};
use crate::{CLIENTS, Result, bare, line, median, no_etcd, rate};

/// Rows of one transaction while an app is filled.
const BATCH: u64 = 5_000;
/// Rows of one transaction of a shadow that the SDK fills, which sends one at a time.
const CHUNK: u64 = 500;
const SAMPLES: usize = 31;
/// Number of swaps of all sizes, and of small ones for each large one.
const SWAPS: usize = 5;
const SMALL: usize = 3;

/// App with a number of rows, and shadows with as many.
struct Sized {
    client: Client,
    app: String,
    keys: u64,
    primary: u32,
    epoch: u64,
}

/// Measures fence and swap alternately with none, some and many keys.
pub(crate) async fn flat(binary: &str, keys: u64) -> Result<()> {
    let daemon = Daemon::start(binary).await?;
    let mut apps = Vec::new();
    for keys in [0, keys / 100, keys] {
        apps.push(Sized::new(&daemon.client, keys).await?);
    }
    daemon.settle().await?;
    let mut fences: Vec<Vec<f64>> = vec![Vec::new(); apps.len()];
    for _ in 0..SAMPLES {
        for (app, times) in apps.iter_mut().zip(&mut fences) {
            times.push(app.fence().await?);
        }
    }
    let mut swaps: Vec<Vec<f64>> = vec![Vec::new(); apps.len()];
    let mut during = Vec::new();
    for round in 0..SWAPS * SMALL {
        for (at, times) in swaps.iter_mut().enumerate() {
            let large = at + 1 == apps.len();
            if large && round % SMALL != 0 {
                continue;
            }
            apps[at].shadow(BATCH).await?;
            daemon.settle().await?;
            times.push(apps[at].swap().await?);
            if large {
                // Measures the delay of other transactions meanwhile.
                for _ in 0..SAMPLES {
                    during.push(apps[0].fence().await?);
                }
            }
            daemon.settle().await?;
        }
    }
    let quiet = fences.first().cloned().map_or(0.0, median);
    for (what, times) in [("fence", fences), ("swap", swaps)] {
        let none = times.first().cloned().map_or(0.0, median);
        for (app, times) in apps.iter().zip(times) {
            let name = format!("{what} with {} keys", app.keys);
            times_against(&name, median(times), "none", none);
        }
    }
    let name = format!("fence while {keys} dropped rows are collected");
    times_against(&name, median(during), "quiet", quiet);
    Ok(())
}

fn times_against(name: &str, time: f64, against: &str, other: f64) {
    let against = format!("{against}: {}", milliseconds(other));
    line(name, &milliseconds(time), &against, time / other);
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.2} ms", seconds * 1000.0)
}

impl Sized {
    async fn new(client: &Client, keys: u64) -> Result<Sized> {
        let app = format!("sized-{keys}");
        let first = [
            op::create_primary(&app, 1, 1),
            op::fence(&app, "node1", 0, "1.0.0"),
        ];
        client.commit(op::shared([], first)).await??;
        let mut sized = Sized {
            client: client.clone(),
            app,
            keys,
            primary: 1,
            epoch: 1,
        };
        // Swapping in a shadow is the quickest way to a filled primary.
        sized.shadow(BATCH).await?;
        sized.swap().await?;
        Ok(sized)
    }

    async fn fence(&mut self) -> Result<f64> {
        let fence = op::shared([], [op::fence(&self.app, "node1", self.epoch, "1.0.0")]);
        self.epoch += 1;
        timed(&self.client, fence).await
    }

    /// Fills the shadow, which is current afterwards.
    async fn shadow(&self, batch: u64) -> Result<Duration> {
        let start = Instant::now();
        let (app, id) = (&self.app, self.primary + 1);
        let create = op::create_shadow(app, id, id, "bench");
        self.client.commit(op::shared([], [create])).await??;
        let watermark = self.client.status().await?.revision;
        let mut n = 0;
        loop {
            let to = (n + batch).min(self.keys);
            let mut ops = vec![op::watermark(app, id, "bench", watermark)];
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
        let swap = op::swap(&self.app, self.primary, self.primary + 1);
        self.primary += 1;
        timed(&self.client, op::shared([], [swap])).await
    }
}

async fn timed(client: &Client, transaction: Transaction) -> Result<f64> {
    let start = Instant::now();
    client.commit(transaction).await??;
    Ok(start.elapsed().as_secs_f64())
}

/// Measures scan, memory, file, start, and a shadow beside live writes.
pub(crate) async fn on_disk(binary: &str, keys: u64) -> Result<()> {
    let mut daemon = Daemon::start(binary).await?;
    let empty = daemon.restart(true).await?.as_secs_f64();
    let before = (daemon.memory()?, daemon.file()?);
    let sized = Sized::new(&daemon.client, keys).await?;
    let bare = bare::Bare::open()?;
    let (all, raw) = (range(&daemon.client, &sized).await?, bare.range(keys)?);
    let name = format!("range of {keys} keys, over the socket");
    let against = format!("redb, in the process: {}", rate(raw));
    line(&name, &rate(all), &against, all / raw);
    bytes("memory", keys, before.0, daemon.memory()?);
    bytes("file", keys, before.1, daemon.file()?);
    for (how, in_order) in [("in order", true), ("after kill -9", false)] {
        let start = daemon.restart(in_order).await?.as_secs_f64();
        let name = format!("start with {keys} keys, {how}");
        times_against(&name, start, "none", empty);
    }
    beside(&daemon.client, sized).await
}

fn bytes(what: &str, keys: u64, before: u64, after: u64) {
    println!(
        "RESULT bench/{what} with {keys} keys | {} MiB | with none: {} MiB | {:.0} bytes a key",
        after >> 20,
        before >> 20,
        after.saturating_sub(before) as f64 / keys as f64
    );
}

/// Measures the same on etcd, and etcd's own memory.
pub(crate) async fn on_etcd(binary: &str, keys: u64) -> Result<()> {
    let Some(etcd) = Etcd::start().await? else {
        no_etcd();
        return Ok(());
    };
    let mut daemon = Daemon::start_on(binary, Some(etcd.url("bench"))).await?;
    let empty = daemon.restart(true).await?.as_secs_f64();
    let before = (daemon.memory()?, etcd.memory()?);
    let start = Instant::now();
    Sized::new(&daemon.client, keys).await?;
    let filled = keys as f64 / start.elapsed().as_secs_f64();
    println!(
        "RESULT bench/on etcd: a shadow of {keys} keys | {}",
        rate(filled)
    );
    bytes("on etcd: memory", keys, before.0, daemon.memory()?);
    bytes("etcd's own memory", keys, before.1, etcd.memory()?);
    let start = daemon.restart(true).await?.as_secs_f64();
    let name = format!("on etcd: start with {keys} keys");
    times_against(&name, start, "none", empty);
    Ok(())
}

/// Returns rows a second of a whole snapshot.
async fn range(client: &Client, sized: &Sized) -> Result<f64> {
    let start = Instant::now();
    let request = WatchRequest {
        app: sized.app.clone(),
        which: Some(watch_request::Which::Keyspace(0)),
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

/// Fills a shadow as the SDK does, while clients commit their turns.
async fn beside(client: &Client, sized: Sized) -> Result<()> {
    let mut apps = load::Apps::new(client, CLIENTS).await?;
    let slice = Duration::from_secs(1);
    let (mut quiet, mut busy) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        quiet.push(apps.waits(slice).await?);
    }
    let keys = sized.keys;
    let filling = tokio::spawn(async move { sized.shadow(CHUNK).await });
    loop {
        let slice = apps.waits(slice).await?;
        // The last measurement is partly without a shadow.
        if filling.is_finished() && !busy.is_empty() {
            break;
        }
        busy.push(slice);
    }
    let took = filling.await??.as_secs_f64();
    for _ in 0..3 {
        quiet.push(apps.waits(slice).await?);
    }
    println!(
        "RESULT bench/shadow of {keys} keys, {CHUNK} at a time, beside {CLIENTS} clients | {}",
        rate(keys as f64 / took)
    );
    let rates = |slices: &[(f64, Vec<Duration>)]| median(slices.iter().map(|s| s.0).collect());
    let (during, before) = (rates(&busy), rates(&quiet));
    let against = format!("quiet: {}", rate(before));
    line(
        "turns beside a shadow",
        &rate(during),
        &against,
        during / before,
    );
    let p50 = |slices: Vec<(f64, Vec<Duration>)>| {
        let all = slices.into_iter().flat_map(|slice| slice.1);
        median(all.map(|wait| wait.as_secs_f64()).collect())
    };
    times_against("their p50", p50(busy), "quiet", p50(quiet));
    Ok(())
}
