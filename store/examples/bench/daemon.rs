//! A daemon of its own, in a directory of its own.

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
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(binary: &str, home: &Path) -> Result<Child> {
    let mut command = Command::new(binary);
    command.arg("--dir").arg(home.join("store"));
    command.arg("--run-dir").arg(home.join("run"));
    Ok(command.env("MORPH_LOG", "warn").spawn()?)
}

impl Daemon {
    pub(crate) async fn start(binary: &str) -> Result<Daemon> {
        let home = TempDir::new()?;
        let child = spawn(binary, home.path())?;
        let client = Client::new(home.path().join("run/store.sock"));
        let client = client.with_deadline(Duration::from_secs(60));
        client.ready(Duration::from_secs(60)).await?;
        Ok(Daemon {
            child,
            client,
            home,
            binary: binary.to_owned(),
        })
    }

    /// Bytes that are resident now, of the process's own: pages of files are the system's.
    pub(crate) fn memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("RssAnon"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(kib.ok_or("no RssAnon")?.parse::<u64>()? * 1024)
    }

    /// Bytes of its file.
    pub(crate) fn file(&self) -> Result<u64> {
        Ok(std::fs::metadata(self.home.path().join("store/store.redb"))?.len())
    }

    /// Ends it, in order or not, and starts it again: until it answers.
    pub(crate) async fn restart(&mut self, in_order: bool) -> Result<Duration> {
        if in_order {
            let pid = rustix::process::Pid::from_child(&self.child);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        } else {
            self.child.kill()?;
        }
        self.child.wait()?;
        let start = Instant::now();
        self.child = spawn(&self.binary, self.home.path())?;
        self.client.ready(Duration::from_secs(60)).await?;
        Ok(start.elapsed())
    }
}
