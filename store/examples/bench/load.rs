//! Clients that work for a time, and their rates.

use std::time::{Duration, Instant};

use morph_api::store::{Seq, Turn};
use morph_store::{Client, op};

use crate::{Failed, Result};

/// Rows of each client.
pub(crate) const ROWS: u64 = 1000;
pub(crate) const VALUE: &str = "{\"dpid\":\"0000000000000001\",\"port\":12}";

/// Client with an app of its own, or with a part of a shared one.
#[derive(Clone)]
struct One {
    client: Client,
    app: String,
    turns: u64,
    changes: u64,
}

pub(crate) struct Apps(Vec<One>);

fn table_key(n: u64) -> String {
    format!("{:012x}", n % ROWS)
}

impl One {
    async fn new(client: Client, n: usize) -> Result<One> {
        let app = format!("bench-{n:04}");
        let first = [
            op::create_primary(&app, 1, 1),
            op::create_shadow(&app, 2, 2, "bench"),
            op::fence(&app, "node1", 0, "1.0.0"),
        ];
        client.commit(op::shared([], first)).await??;
        Ok(One {
            client,
            app,
            turns: 0,
            changes: 0,
        })
    }

    async fn turn(&mut self) -> Result<()> {
        let turn = Turn {
            app: self.app.clone(),
            node: "node1".into(),
            epoch: 1,
            follows: self.turns,
            cursor: Some(Seq {
                incarnation: 1,
                n: self.turns + 1,
            }),
        };
        let row = op::row_in(&self.app, 1, "hosts", table_key(self.turns));
        let put = op::put(row, VALUE);
        self.client.commit(op::turn(turn, [put])).await??;
        self.turns += 1;
        Ok(())
    }

    /// Writes the same without checkpoint and cursor: a row of the shadow, whose keyspace is written with it like a
    /// primary.
    async fn change(&mut self) -> Result<()> {
        let row = op::row_in(&self.app, 2, "hosts", table_key(self.changes));
        let watermark = op::watermark(&self.app, 2, "bench", 1);
        let change = op::shared([], [watermark, op::put(row, VALUE)]);
        self.client.commit(change).await??;
        self.changes += 1;
        Ok(())
    }

    async fn get(&mut self) -> Result<()> {
        self.client.get(&self.app, "hosts", &table_key(0)).await?;
        Ok(())
    }
}

/// Kind of work.
#[derive(Clone, Copy)]
enum Work {
    Turn,
    Change,
    Get,
}

impl Apps {
    pub(crate) async fn new(client: &Client, clients: usize) -> Result<Apps> {
        let mut all = Vec::new();
        for n in 0..clients {
            all.push(One::new(client.clone(), n).await?);
        }
        Ok(Apps(all))
    }

    pub(crate) async fn turns(&mut self, time: Duration) -> Result<f64> {
        Ok(self.work(self.0.len(), time, Work::Turn).await?.0)
    }

    pub(crate) async fn changes(&mut self, time: Duration) -> Result<f64> {
        Ok(self.work(self.0.len(), time, Work::Change).await?.0)
    }

    pub(crate) async fn gets(&mut self, time: Duration) -> Result<f64> {
        Ok(self.work(self.0.len(), time, Work::Get).await?.0)
    }

    /// Runs a single client.
    pub(crate) async fn alone(&mut self, time: Duration) -> Result<f64> {
        Ok(self.work(1, time, Work::Turn).await?.0)
    }

    /// Runs turns; returns how long each waited, in order.
    pub(crate) async fn waits(&mut self, time: Duration) -> Result<(f64, Vec<Duration>)> {
        self.work(self.0.len(), time, Work::Turn).await
    }

    async fn work(
        &mut self,
        clients: usize,
        time: Duration,
        work: Work,
    ) -> Result<(f64, Vec<Duration>)> {
        let start = Instant::now();
        let rest = self.0.split_off(clients);
        let tasks: Vec<_> = self
            .0
            .drain(..)
            .map(|mut one| {
                tokio::spawn(async move {
                    let mut waits = Vec::new();
                    while start.elapsed() < time {
                        let begun = Instant::now();
                        match work {
                            Work::Turn => one.turn().await?,
                            Work::Change => one.change().await?,
                            Work::Get => one.get().await?,
                        }
                        waits.push(begun.elapsed());
                    }
                    Ok::<_, Failed>((one, waits))
                })
            })
            .collect();
        let mut all = Vec::new();
        for task in tasks {
            let (one, waits) = task.await??;
            self.0.push(one);
            all.extend(waits);
        }
        self.0.extend(rest);
        all.sort_unstable();
        Ok((all.len() as f64 / start.elapsed().as_secs_f64(), all))
    }
}
