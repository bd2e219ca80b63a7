//! Real daemon in a directory of its own. In the tests `on_etcd` its data is in etcd, under a prefix of its own.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends there"
)]

#[path = "../etcd/mod.rs"]
pub mod etcd;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use morph_api::store::{
    Change, Checkpoint, Committed, Reason, RowValue, Seq, Synced, Transaction, Turn, WatchReply,
    WatchRequest, watch_reply, watch_request,
};
use morph_store::{Client, op};
use tempfile::TempDir;
use tonic::Streaming;

pub const SOON: Duration = Duration::from_secs(10);

pub struct Daemon {
    child: Child,
    pub client: Client,
    pub home: TempDir,
    /// URL of its etcd, if it has one.
    url: Option<String>,
}

pub fn command(dir: &Path, run_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_morph-stored"));
    command.arg("--dir").arg(dir).arg("--run-dir").arg(run_dir);
    command.env("MORPH_LOG", "warn").stdin(Stdio::null());
    if module_path!().starts_with("on_etcd") {
        let home = dir.parent().and_then(Path::file_name).unwrap();
        let prefix = home.to_str().unwrap().trim_start_matches('.');
        command.arg("--backend").arg(etcd::shared().url(prefix));
    }
    command
}

impl Daemon {
    pub async fn start() -> Daemon {
        Daemon::start_in(TempDir::new().unwrap()).await
    }

    pub async fn start_in(home: TempDir) -> Daemon {
        Daemon::begin(home, None, &[]).await
    }

    /// Starts a daemon on this etcd and prefix.
    pub async fn start_on(url: &str) -> Daemon {
        Daemon::start_with(url, &[]).await
    }

    /// Starts a daemon on etcd with more variables in its environment.
    pub async fn start_with(url: &str, environment: &[(&str, &str)]) -> Daemon {
        let home = TempDir::new().unwrap();
        Daemon::begin(home, Some(url.to_owned()), environment).await
    }

    async fn begin(home: TempDir, url: Option<String>, environment: &[(&str, &str)]) -> Daemon {
        let (dir, run_dir) = (home.path().join("store"), home.path().join("run"));
        let mut command = command(&dir, &run_dir);
        if let Some(url) = &url {
            command.args(["--backend", url]);
        }
        command.envs(environment.iter().copied());
        let child = command.spawn().unwrap();
        let client = Client::new(run_dir.join("store.sock"));
        client.ready(SOON).await.unwrap();
        Daemon {
            child,
            client,
            home,
            url,
        }
    }

    pub fn dir(&self) -> PathBuf {
        self.home.path().join("store")
    }

    pub fn run_dir(&self) -> PathBuf {
        self.home.path().join("run")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the daemon with SIGKILL and starts it again.
    pub async fn crash(mut self) -> Daemon {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.again().await
    }

    /// Ends the daemon with SIGTERM and starts it again; returns the exit code.
    pub async fn restart(mut self) -> (Option<i32>, Daemon) {
        let code = self.terminate();
        (code, self.again().await)
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn terminate(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }

    async fn again(mut self) -> Daemon {
        let home = std::mem::replace(&mut self.home, TempDir::new().unwrap());
        let url = self.url.take();
        drop(self);
        Daemon::begin(home, url, &[]).await
    }

    pub async fn commit(&self, transaction: Transaction) -> Committed {
        self.client.commit(transaction).await.unwrap().unwrap()
    }

    pub async fn refused(&self, transaction: Transaction) -> Reason {
        let refusal = self.client.commit(transaction).await.unwrap().unwrap_err();
        assert!(!refusal.message.is_empty());
        refusal.reason
    }

    /// Adds an app with an empty primary in keyspace 1 of schema 1, and its checkpoint at epoch 1.
    pub async fn app(&self, app: &str) {
        let ops = [
            op::create_primary(app, 1, 1),
            op::fence(app, "node1", 0, "1.0.0"),
        ];
        self.commit(op::shared([], ops)).await;
    }

    /// Waits until a row is deleted.
    pub async fn gone(&self, app: &str, table: &str, key: &str) {
        let gone = async {
            while self.client.get(app, table, key).await.unwrap().is_some() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(SOON, gone).await.unwrap();
    }

    pub async fn checkpoint(&self, app: &str) -> Checkpoint {
        let checkpoints = self.client.status().await.unwrap().checkpoints;
        checkpoints
            .into_iter()
            .find(|checkpoint| checkpoint.app == app)
            .unwrap()
    }

    pub async fn revision(&self) -> u64 {
        self.client.status().await.unwrap().revision
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn turn(app: &str, epoch: u64, follows: u64) -> Turn {
    Turn {
        app: app.into(),
        node: "node1".into(),
        epoch,
        follows,
        cursor: Some(Seq {
            incarnation: 1,
            n: follows + 1,
        }),
    }
}

pub fn of_schema(app: &str, schema: u32) -> WatchRequest {
    WatchRequest {
        app: app.into(),
        which: Some(watch_request::Which::Schema(schema)),
        ..WatchRequest::default()
    }
}

pub async fn next(watch: &mut Streaming<WatchReply>) -> watch_reply::Reply {
    let message = tokio::time::timeout(SOON, watch.message()).await;
    message.unwrap().unwrap().unwrap().reply.unwrap()
}

pub async fn snapshot(watch: &mut Streaming<WatchReply>) -> (Vec<RowValue>, Synced) {
    let mut rows = Vec::new();
    loop {
        match next(watch).await {
            watch_reply::Reply::Snapshot(more) => rows.extend(more.rows),
            watch_reply::Reply::Synced(synced) => return (rows, synced),
            other => panic!("{other:?}"),
        }
    }
}

/// Collects changes up to a revision.
pub async fn changes_to(watch: &mut Streaming<WatchReply>, revision: u64) -> Vec<Change> {
    let mut changes = Vec::new();
    loop {
        match next(watch).await {
            watch_reply::Reply::Changes(more) => {
                changes.extend(more.changes);
                if more.revision >= revision {
                    return changes;
                }
            }
            other => panic!("{other:?}"),
        }
    }
}
