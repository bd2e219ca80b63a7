//! Commits a second of a running daemon: `commits SOCKET [clients] [seconds]`.
//!
//! Each client is an app of its own and commits turns of one small row, one after the other.
#![allow(clippy::print_stdout, reason = "it is what it is for")]

use std::error::Error;
use std::time::{Duration, Instant};

use morph_api::store::{Seq, Turn};
use morph_store::{Client, op};

type Failed = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    let socket = arguments
        .next()
        .ok_or("usage: commits SOCKET [clients] [seconds]")?;
    let clients = arguments.next().map_or(Ok(1), |n| n.parse())?;
    let seconds = arguments.next().map_or(Ok(5), |n| n.parse())?;
    let run = std::process::id();
    let client = Client::new(socket);
    let end = Instant::now() + Duration::from_secs(seconds);
    let tasks: Vec<_> = (0..clients)
        .map(|n| tokio::spawn(turns(client.clone(), format!("bench-{run}-{n}"), end)))
        .collect();
    let mut waits = Vec::new();
    for task in tasks {
        waits.extend(task.await??);
    }
    waits.sort_unstable();
    let at = |share: usize| {
        waits
            .get(waits.len() * share / 100)
            .copied()
            .unwrap_or_default()
    };
    let rate = waits.len() as u64 / seconds;
    println!(
        "{clients} clients: {rate} commits a second; p50 {:?}, p99 {:?}, max {:?}",
        at(50),
        at(99),
        waits.last().copied().unwrap_or_default()
    );
    Ok(())
}

async fn turns(client: Client, app: String, end: Instant) -> Result<Vec<Duration>, Failed> {
    let first = [
        op::create_primary(&app, 1, 1),
        op::fence(&app, "node1", 0, "1.0.0"),
    ];
    client.commit(op::shared([], first)).await??;
    let mut waits = Vec::new();
    while Instant::now() < end {
        let follows = waits.len() as u64;
        let turn = Turn {
            app: app.clone(),
            node: "node1".into(),
            epoch: 1,
            follows,
            cursor: Some(Seq {
                incarnation: 1,
                n: follows + 1,
            }),
        };
        let row = op::row(&app, "hosts", format!("{:012x}", follows % 1000));
        let put = op::put(
            row,
            format!("{{\"dpid\":\"0000000000000001\",\"port\":{follows}}}"),
        );
        let start = Instant::now();
        client.commit(op::turn(turn, [put])).await??;
        waits.push(start.elapsed());
    }
    Ok(waits)
}
