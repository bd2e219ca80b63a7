//! Apps that write while the daemon dies, and checks of what must be there afterwards.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use morph_api::store::{Keyspace, Op, ReadRequest, Reason, RowValue, StatusReply, Transaction};
use morph_store::client::Refusal;
use morph_store::{Client, op};
use tokio::sync::RwLock;
use tokio::task::JoinHandle;

use super::daemon::turn;

/// Rows of an app: turn n writes row n modulo this.
const SLOTS: u64 = 300;
/// Rows of a keyspace that is swapped.
const COPIED: usize = 150;
const SWAPPED: &str = "swapped";
/// Time that the daemon may be away.
const AWAY: Duration = Duration::from_secs(60);

/// Writers that work until this is dropped.
pub struct Load {
    client: Client,
    /// Held shared by each attempt to write, and exclusively by checks.
    gate: Arc<RwLock<()>>,
    apps: Vec<(String, Arc<AtomicU64>)>,
    swaps: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Load {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Result of an attempt. As the SDK does, the client keeps what it has sent until the outcome is known.
enum Outcome {
    Done,
    Refused(Refusal),
    Unknown,
}

#[derive(Clone)]
struct Writer {
    client: Client,
    gate: Arc<RwLock<()>>,
}

impl Writer {
    async fn attempt(&self, transaction: &Transaction) -> Outcome {
        let outcome = {
            let _gate = self.gate.read().await;
            self.client.commit(transaction.clone()).await
        };
        match outcome {
            Ok(Ok(_)) => Outcome::Done,
            Ok(Err(refusal)) => Outcome::Refused(refusal),
            Err(_) => {
                self.client.ready(AWAY).await.unwrap();
                Outcome::Unknown
            }
        }
    }

    /// Writes turn after turn of one app.
    async fn turns(self, app: String, acknowledged: Arc<AtomicU64>) {
        loop {
            let follows = acknowledged.load(Ordering::SeqCst);
            let row = op::row(&app, "turns", format!("{:04}", follows % SLOTS));
            let put = op::put(row, follows.to_string());
            match self.attempt(&op::turn(turn(&app, 1, follows), [put])).await {
                Outcome::Done => {}
                // Committed by the daemon that died before its answer.
                Outcome::Refused(refusal) if refusal.reason == Reason::Already => {}
                Outcome::Refused(refusal) => panic!("{refusal}"),
                Outcome::Unknown => continue,
            }
            acknowledged.store(follows + 1, Ordering::SeqCst);
        }
    }

    /// Repeatedly fills a shadow, then swaps, fences and writes a record in one transaction.
    async fn swaps(self, swaps: Arc<AtomicU64>) {
        loop {
            let primary = swaps.load(Ordering::SeqCst) as u32;
            // Nobody else changes the primary, so its revision is still valid.
            let Ok(status) = self.client.status().await else {
                self.client.ready(AWAY).await.unwrap();
                continue;
            };
            match self.attempt(&shadow(primary + 1, status.revision)).await {
                Outcome::Done => {}
                Outcome::Refused(refusal) if refusal.reason == Reason::Conflict => {}
                Outcome::Refused(refusal) => panic!("{refusal}"),
                Outcome::Unknown => continue,
            }
            while let Outcome::Unknown = self.swap(primary).await {}
            swaps.store(u64::from(primary) + 1, Ordering::SeqCst);
        }
    }

    async fn swap(&self, primary: u32) -> Outcome {
        let record = op::row(morph_api::RECORDS, "swaps", "a");
        let revision = match self.client.get(morph_api::RECORDS, "swaps", "a").await {
            Ok(found) => found.map_or(0, |(_, revision)| revision),
            Err(_) => {
                self.client.ready(AWAY).await.unwrap();
                return Outcome::Unknown;
            }
        };
        let ops = [
            op::swap(SWAPPED, primary, primary + 1),
            op::fence(SWAPPED, "node1", u64::from(primary), "1.0.0"),
            op::put(record.clone(), (primary + 1).to_string()),
        ];
        let swap = op::shared([op::expect(&record, revision)], ops);
        let outcome = self.attempt(&swap).await;
        if let Outcome::Refused(refusal) = &outcome {
            // Committed by an earlier attempt that was not answered.
            let before = [Reason::Conflict, Reason::StaleEpoch].contains(&refusal.reason);
            assert!(before, "{refusal}");
        }
        outcome
    }
}

fn shadow(id: u32, watermark: u64) -> Transaction {
    let mut ops = vec![op::create_shadow(SWAPPED, id, id, "me")];
    ops.extend((0..COPIED).map(|n| {
        let row = op::row_in(SWAPPED, id, "t", format!("{n:04}"));
        op::put(row, id.to_string())
    }));
    ops.push(op::watermark(SWAPPED, id, "me", watermark));
    op::shared([], ops)
}

impl Load {
    /// Starts some apps that write turns, and one that is swapped.
    pub async fn start(client: &Client, apps: usize) -> Load {
        let gate = Arc::new(RwLock::new(()));
        let writer = Writer {
            client: client.clone(),
            gate: Arc::clone(&gate),
        };
        let mut first: Vec<Op> = vec![
            op::create_primary(SWAPPED, 1, 1),
            op::fence(SWAPPED, "node1", 0, "1.0.0"),
        ];
        let names: Vec<String> = (0..apps).map(|n| format!("app{n}")).collect();
        for app in &names {
            first.push(op::create_primary(app, 1, 1));
            first.push(op::fence(app, "node1", 0, "1.0.0"));
        }
        client.commit(op::shared([], first)).await.unwrap().unwrap();
        let swaps = Arc::new(AtomicU64::new(1));
        let mut tasks = vec![tokio::spawn(writer.clone().swaps(Arc::clone(&swaps)))];
        let mut of_apps = Vec::new();
        for app in names {
            let acknowledged = Arc::new(AtomicU64::new(0));
            let turns = writer.clone().turns(app.clone(), Arc::clone(&acknowledged));
            tasks.push(tokio::spawn(turns));
            of_apps.push((app, acknowledged));
        }
        Load {
            client: client.clone(),
            gate,
            apps: of_apps,
            swaps,
            tasks,
        }
    }

    /// Returns the number of acknowledged turns.
    pub fn turns(&self) -> u64 {
        let turns = self.apps.iter().map(|(_, n)| n.load(Ordering::SeqCst));
        turns.sum()
    }

    pub fn swaps(&self) -> u64 {
        self.swaps.load(Ordering::SeqCst)
    }

    /// Stops all writers and checks that everything acknowledged is there, and nothing twice, in part or from
    /// nowhere.
    pub async fn check(&self, when: &str) {
        let _gate = self.gate.write().await;
        assert!(
            !self.tasks.iter().any(JoinHandle::is_finished),
            "{when}: a writer gave up"
        );
        let status = self.client.status().await.unwrap();
        for (app, acknowledged) in &self.apps {
            let acknowledged = acknowledged.load(Ordering::SeqCst);
            self.app(&status, app, acknowledged, when).await;
        }
        self.swapped(&status, when).await;
    }

    async fn app(&self, status: &StatusReply, app: &str, acknowledged: u64, when: &str) {
        let checkpoint = status
            .checkpoints
            .iter()
            .find(|checkpoint| checkpoint.app == app)
            .unwrap();
        let turns = checkpoint.turn;
        // One turn may have been committed without an answer.
        assert!(
            turns == acknowledged || turns == acknowledged + 1,
            "{when}: {app} has {turns} turns, {acknowledged} were acknowledged"
        );
        assert_eq!(checkpoint.cursor.unwrap().n, turns, "{when}: {app}");
        let rows = self.client.list(app, "turns", "").await.unwrap();
        let found: Vec<(String, String)> = rows.into_iter().map(text).collect();
        let last = |slot| (0..turns).rev().find(|turn| turn % SLOTS == slot).unwrap();
        let right: Vec<(String, String)> = (0..turns.min(SLOTS))
            .map(|slot| (format!("{slot:04}"), last(slot).to_string()))
            .collect();
        assert_eq!(found, right, "{when}: {app} after turn {turns}");
    }

    /// Checks that swap, fence and record are one: there is one complete primary, and checkpoint and record agree.
    async fn swapped(&self, status: &StatusReply, when: &str) {
        let swaps = self.swaps();
        let keyspaces: Vec<&Keyspace> = status
            .keyspaces
            .iter()
            .filter(|s| s.app == SWAPPED)
            .collect();
        let primaries: Vec<&&Keyspace> = keyspaces
            .iter()
            .filter(|keyspace| keyspace.primary)
            .collect();
        let [primary] = primaries[..] else {
            panic!("{when}: {keyspaces:?}");
        };
        let id = u64::from(primary.id);
        assert!(id == swaps || id == swaps + 1, "{when}: {id}, of {swaps}");
        let checkpoint = status
            .checkpoints
            .iter()
            .find(|checkpoint| checkpoint.app == SWAPPED);
        assert_eq!(checkpoint.unwrap().epoch, id, "{when}");
        let record = self
            .client
            .get(morph_api::RECORDS, "swaps", "a")
            .await
            .unwrap();
        let record = record.map_or(1, |(value, _)| value.parse().unwrap());
        assert_eq!(record, id, "{when}");
        for keyspace in &keyspaces {
            let rows = self.rows(keyspace.id).await;
            let whole =
                rows.len() as u64 == keyspace.keys && (keyspace.id == 1 || rows.len() == COPIED);
            assert!(whole, "{when}: {} rows of {keyspace:?}", rows.len());
            let right = keyspace.id.to_string();
            assert!(
                rows.into_iter().all(|row| text(row).1 == right),
                "{when}: {keyspace:?}"
            );
        }
        let before = self.rows(primary.id - 1).await;
        assert!(
            before.is_empty(),
            "{when}: {} rows of a keyspace that is gone",
            before.len()
        );
    }

    async fn rows(&self, keyspace: u32) -> Vec<RowValue> {
        if keyspace == 0 {
            return Vec::new(); // means the primary
        }
        let request = ReadRequest {
            row: Some(op::row_in(SWAPPED, keyspace, "", "")),
            prefix: true,
            limit: 10_000,
            ..ReadRequest::default()
        };
        self.client.read(request).await.unwrap().rows
    }
}

fn text(row: RowValue) -> (String, String) {
    (row.key, row.value.unwrap())
}
