//! etcd of the benchmark's own, and etcd alone: the same rows, one by one and in the largest transactions that it
//! takes.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use etcd_client::{Client, Txn, TxnOp};
use tempfile::TempDir;

use crate::load::{ROWS, VALUE};
use crate::{Failed, Result, daemon};

/// Maximum of operations in one transaction of etcd.
pub(crate) const GROUP: usize = 128;
const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Etcd {
    child: Child,
    port: u16,
    client: Client,
    _home: TempDir,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn key(client: usize, n: u64) -> String {
    format!("/bare/rows/bench-{client:04}/1/hosts/{:012x}", n % ROWS)
}

impl Etcd {
    /// Starts etcd, or returns `None` if there is none on the PATH.
    pub(crate) async fn start() -> Result<Option<Etcd>> {
        let home = TempDir::new()?;
        // All listeners are held until all ports are known, so that they differ.
        let free = [
            TcpListener::bind("127.0.0.1:0")?,
            TcpListener::bind("127.0.0.1:0")?,
        ];
        let [port, peer] = [free[0].local_addr()?.port(), free[1].local_addr()?.port()];
        drop(free);
        let (client, peer) = (
            format!("http://127.0.0.1:{port}"),
            format!("http://127.0.0.1:{peer}"),
        );
        let mut command = Command::new("etcd");
        command.args(["--name", "one", "--log-level", "error", "--logger", "zap"]);
        command.args(["--quota-backend-bytes", "8589934592"]);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls"]);
        command.args([&client, "--listen-peer-urls", &peer]);
        command.args(["--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("one={peer}"), "--data-dir"]);
        command.arg(home.path().join("data"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = match command.stderr(Stdio::null()).spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            child => child?,
        };
        let client = Client::connect([client], None).await?;
        let mut etcd = Etcd {
            child,
            port,
            client,
            _home: home,
        };
        etcd.ready().await?;
        Ok(Some(etcd))
    }

    async fn ready(&mut self) -> Result<()> {
        let (until, mut knocks) = (
            Instant::now() + SOON,
            tokio::time::interval(Duration::from_millis(50)),
        );
        loop {
            knocks.tick().await;
            match self.client.put("/bare/ready", "", None).await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > until => return Err(error.into()),
                Err(_) => {}
            }
        }
    }

    pub(crate) fn url(&self, prefix: &str) -> String {
        format!("etcd://127.0.0.1:{}/{prefix}", self.port)
    }

    /// Returns its resident memory in bytes, with pages of its file.
    pub(crate) fn memory(&self) -> Result<u64> {
        daemon::resident(self.child.id(), "VmRSS")
    }

    /// Returns rows a second in transactions of [`GROUP`], one after the other.
    pub(crate) async fn groups(&self, time: Duration) -> Result<f64> {
        let (start, mut n, mut client) = (Instant::now(), 0, self.client.clone());
        while start.elapsed() < time {
            let puts = (0..GROUP).map(|one| TxnOp::put(key(one, n), VALUE, None));
            let txn = Txn::new().and_then(puts.collect::<Vec<_>>());
            client.txn(txn).await?;
            n += 1;
        }
        Ok((n * GROUP as u64) as f64 / start.elapsed().as_secs_f64())
    }

    /// Returns rows a second, each put by itself, by several clients at once.
    pub(crate) async fn puts(&self, clients: usize, time: Duration) -> Result<f64> {
        self.all(clients, time, true).await
    }

    /// Returns reads of one row a second, by several clients at once.
    pub(crate) async fn gets(&self, clients: usize, time: Duration) -> Result<f64> {
        self.all(clients, time, false).await
    }

    async fn all(&self, clients: usize, time: Duration, put: bool) -> Result<f64> {
        let start = Instant::now();
        let tasks: Vec<_> = (0..clients)
            .map(|one| {
                let mut client = self.client.clone();
                tokio::spawn(async move {
                    let mut n = 0;
                    while start.elapsed() < time {
                        match put {
                            true => drop(client.put(key(one, n), VALUE, None).await?),
                            false => drop(client.get(key(one, n), None).await?),
                        }
                        n += 1;
                    }
                    Ok::<_, Failed>(n)
                })
            })
            .collect();
        let mut all = 0;
        for task in tasks {
            all += task.await??;
        }
        Ok(all as f64 / start.elapsed().as_secs_f64())
    }
}
