//! Daemon in a directory of its own.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use morph_store::Client;
use tempfile::TempDir;

use crate::Result;

pub(crate) struct Daemon {
    child: Child,
    pub(crate) client: Client,
    home: TempDir,
    binary: String,
    /// URL of its data, if that is not in its directory.
    backend: Option<String>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Time without a write after which the daemon is idle.
const QUIET: Duration = Duration::from_millis(100);

/// Reads a number of bytes from a line of a process's status.
pub(crate) fn resident(pid: u32, what: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with(what));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib.ok_or("not in its status")?.parse::<u64>()? * 1024)
}

fn spawn(binary: &str, home: &Path, backend: Option<&str>) -> Result<Child> {
    let mut command = Command::new(binary);
    match backend {
        Some(url) => command.args(["--backend", url]),
        None => command.arg("--dir").arg(home.join("store")),
    };
    command.arg("--run-dir").arg(home.join("run"));
    Ok(command.env("MORPH_LOG", "warn").spawn()?)
}

impl Daemon {
    pub(crate) async fn start(binary: &str) -> Result<Daemon> {
        Daemon::start_on(binary, None).await
    }

    pub(crate) async fn start_on(binary: &str, backend: Option<String>) -> Result<Daemon> {
        let home = TempDir::new()?;
        let child = spawn(binary, home.path(), backend.as_deref())?;
        let client = Client::new(home.path().join("run/store.sock"));
        let client = client.with_deadline(Duration::from_secs(60));
        client.ready(Duration::from_secs(60)).await?;
        Ok(Daemon {
            child,
            client,
            home,
            binary: binary.to_owned(),
            backend,
        })
    }

    /// Returns the process's own resident memory in bytes, without pages of files.
    pub(crate) fn memory(&self) -> Result<u64> {
        resident(self.child.id(), "RssAnon")
    }

    /// Returns its CPU time in seconds, to a hundredth.
    pub(crate) fn cpu(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let fields: Vec<u64> = fields.split_whitespace().flat_map(str::parse).collect();
        // Skips name and state, which are no numbers.
        let ticks = fields.get(10).zip(fields.get(11)).map(|(u, s)| u + s);
        Ok(ticks.ok_or("no times in stat")? as f64 / 100.0)
    }

    /// Waits until the garbage is collected and nothing is written any more.
    pub(crate) async fn settle(&self) -> Result<()> {
        let mut looks = tokio::time::interval(QUIET);
        let mut before = None;
        for _ in 0..1200 {
            looks.tick().await;
            let io = std::fs::read_to_string(format!("/proc/{}/io", self.child.id()))?;
            let writes = io.lines().find(|line| line.starts_with("syscw"));
            let writes = writes.ok_or("no syscw in io")?.to_owned();
            if before.replace(writes.clone()) == Some(writes) {
                return Ok(());
            }
        }
        Err("the daemon goes on writing".into())
    }

    /// Returns the size of its file.
    pub(crate) fn file(&self) -> Result<u64> {
        Ok(std::fs::metadata(self.home.path().join("store/store.redb"))?.len())
    }

    /// Ends the daemon, orderly or not, and starts it again; returns the time until it answers.
    pub(crate) async fn restart(&mut self, in_order: bool) -> Result<Duration> {
        if in_order {
            let pid = rustix::process::Pid::from_child(&self.child);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        } else {
            self.child.kill()?;
        }
        self.child.wait()?;
        let start = Instant::now();
        self.child = spawn(&self.binary, self.home.path(), self.backend.as_deref())?;
        self.client.ready(Duration::from_secs(60)).await?;
        Ok(start.elapsed())
    }
}
