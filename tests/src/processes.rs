//! What runs in a sandbox, as /proc tells it.

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::PathBuf;

/// A process of the sandbox.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its id as the test sees it.
    pub pid: i32,
    /// Its id as the sandbox sees it: the one in pid files and answers.
    pub inner: u32,
    /// Its executable.
    pub exe: PathBuf,
    /// Its command line.
    pub args: Vec<String>,
    /// How many descriptors it has open.
    pub descriptors: usize,
}

impl Process {
    /// The executable's file name.
    pub fn name(&self) -> &str {
        self.exe.file_name().and_then(|n| n.to_str()).unwrap_or("")
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.pid).context("process 0")?;
        kill_process(pid, signal).with_context(|| format!("signal to {}", self.name()))
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it is gone.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)
    }
}

/// Every process whose process namespace is that of `init`. Zombies are left out.
pub(crate) fn in_namespace_of(init: i32) -> Result<Vec<Process>> {
    let namespace = fs::read_link(format!("/proc/{init}/ns/pid"))?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        if fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|ns| ns == namespace)
            && let Some(process) = look(pid)
        {
            found.push(process);
        }
    }
    Ok(found)
}

/// Kills every nsenter by which something was started in the namespace of `init`; those that are to
/// be waited for.
pub(crate) fn kill_entrances(init: i32) -> Vec<Pid> {
    let target = init.to_string();
    let mut killed = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let args: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        if args.starts_with(&[b"nsenter", b"-t", target.as_bytes()])
            && let Some(pid) = Pid::from_raw(pid)
        {
            let _ = kill_process(pid, Signal::KILL);
            killed.push(pid);
        }
    }
    killed
}

/// `None` when it went away meanwhile.
fn look(pid: i32) -> Option<Process> {
    let exe = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let inner = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let args = line.split(|byte| *byte == 0).filter(|arg| !arg.is_empty());
    Some(Process {
        pid,
        inner: inner.split_whitespace().last()?.parse().ok()?,
        exe,
        args: args
            .map(|arg| String::from_utf8_lossy(arg).into_owned())
            .collect(),
        descriptors: fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count(),
    })
}
