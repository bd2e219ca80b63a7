//! Turns and gets a second, compared with the layer below the store and with the same writes without a checkpoint.

use std::time::Duration;

use crate::daemon::Daemon;
use crate::etcd::{Etcd, GROUP};
use crate::load::Apps;
use crate::{CLIENTS, Result, Turns, bare, line, no_etcd};

/// Time that one side runs before the other, and number of repetitions.
const SLICE: Duration = Duration::from_millis(700);
const SLICES: usize = 9;
/// Shorter slices for what is compared to a hundredth.
const SHORT: Duration = Duration::from_millis(250);
const SHORTS: usize = 40;

pub(crate) async fn against_the_engine(binary: &str) -> Result<()> {
    let daemon = Daemon::start(binary).await?;
    let mut apps = Apps::new(&daemon.client, CLIENTS).await?;
    let bare = bare::Bare::open()?;
    let (mut puts, mut gets, mut lone) = (Turns::new(), Turns::new(), Turns::new());
    for _ in 0..SLICES {
        puts.take(apps.turns(SLICE).await?, bare.puts(CLIENTS, SLICE)?);
        gets.take(apps.gets(SLICE).await?, bare.gets(SLICE)?);
        lone.take(apps.alone(SLICE).await?, bare.puts(1, SLICE)?);
    }
    let name = format!("turns of one row, {CLIENTS} clients");
    puts.rates(&name, &format!("redb, groups of {CLIENTS}"));
    lone.rates("turns of one row, one client", "redb, one by one");
    let name = format!("gets, {CLIENTS} clients, over the socket");
    gets.rates(&name, "redb, in the process");
    checkpoints(&daemon, &mut apps).await
}

/// Compares a turn with the same write without checkpoint and cursor: rates, and the daemon's CPU time.
async fn checkpoints(daemon: &Daemon, apps: &mut Apps) -> Result<()> {
    let (mut rates, mut costs) = (Turns::new(), Turns::new());
    for n in 0..SHORTS {
        let mut sides = [(0.0, 0.0); 2];
        // The side that goes first changes too.
        for side in [n % 2, (n + 1) % 2] {
            let before = daemon.cpu()?;
            let rate = match side {
                0 => apps.turns(SHORT).await?,
                _ => apps.changes(SHORT).await?,
            };
            let cpu = daemon.cpu()? - before;
            sides[side] = (rate, cpu / (rate * SHORT.as_secs_f64()));
        }
        let [(turns, turn), (changes, change)] = sides;
        rates.take(turns, changes);
        costs.take(turn, change);
    }
    rates.rates(
        "turns, with checkpoint and cursor",
        "the same writes without",
    );
    // Single values are in hundredths of a second, so only the sums are meaningful.
    let mean = |all: &[f64]| all.iter().sum::<f64>() / all.len() as f64 * 1e6;
    let (turn, change) = (mean(&costs.one), mean(&costs.other));
    line(
        "CPU of the daemon for each",
        &format!("{turn:.1} µs"),
        &format!("{change:.1} µs"),
        turn / change,
    );
    Ok(())
}

pub(crate) async fn against_etcd(binary: &str) -> Result<()> {
    let Some(etcd) = Etcd::start().await? else {
        no_etcd();
        return Ok(());
    };
    let daemon = Daemon::start_on(binary, Some(etcd.url("bench"))).await?;
    let mut apps = Apps::new(&daemon.client, CLIENTS).await?;
    let (mut puts, mut groups) = (Turns::new(), Turns::new());
    let (mut lone, mut gets) = (Turns::new(), Turns::new());
    for _ in 0..SLICES {
        let turns = apps.turns(SLICE).await?;
        puts.take(turns, etcd.puts(CLIENTS, SLICE).await?);
        groups.take(turns, etcd.groups(SLICE).await?);
        lone.take(apps.alone(SLICE).await?, etcd.puts(1, SLICE).await?);
        gets.take(apps.gets(SLICE).await?, etcd.gets(CLIENTS, SLICE).await?);
    }
    let name = format!("on etcd: turns of one row, {CLIENTS} clients");
    puts.rates(&name, &format!("etcd, one by one, {CLIENTS} clients"));
    groups.rates("the same", &format!("etcd, transactions of {GROUP} puts"));
    lone.rates("on etcd: turns, one client", "etcd, one by one, one client");
    let name = format!("on etcd: gets, {CLIENTS} clients");
    gets.rates(&name, &format!("etcd, {CLIENTS} clients"));
    Ok(())
}
