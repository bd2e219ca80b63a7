//! Processes of a sandbox, read from /proc.

use anyhow::{Context, Result};
use rustix::net::{SocketAddrUnix, getpeername};
use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Signal, kill_process, pidfd_getfd, pidfd_open,
};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

#[derive(Clone, Debug)]
pub struct Process {
    /// Process id outside the sandbox.
    pub pid: i32,
    /// Process id inside the sandbox, as in pid files and in answers of Morpheus.
    pub inner: u32,
    pub exe: PathBuf,
    pub args: Vec<String>,
    /// Number of open file descriptors.
    pub descriptors: usize,
}

impl Process {
    /// File name of the executable.
    pub fn name(&self) -> &str {
        self.exe.file_name().and_then(|n| n.to_str()).unwrap_or("")
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.pid).context("pid 0")?;
        kill_process(pid, signal).with_context(|| {
            format!(
                "cannot send {signal:?} to {} (pid {})",
                self.name(),
                self.pid
            )
        })
    }

    /// Whether a signal has stopped the process.
    pub fn is_stopped(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // The name may contain brackets. The state follows the last one.
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
        state.is_some_and(|rest| rest.starts_with('T'))
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib
            .with_context(|| format!("no VmRSS of pid {}", self.pid))?
            .parse::<u64>()?
            * 1024)
    }

    /// Duplicates of the sockets that are connected to the Unix socket of this name. They share the state of the
    /// originals.
    pub fn connections(&self, name: &str) -> Result<Vec<OwnedFd>> {
        let pid = Pid::from_raw(self.pid).context("pid 0")?;
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        let mut found = Vec::new();
        for entry in fs::read_dir(format!("/proc/{}/fd", self.pid))? {
            let entry = entry?;
            let is_socket = fs::read_link(entry.path())
                .is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
            let number = entry.file_name().to_str().and_then(|n| n.parse().ok());
            if let Some(number) = number.filter(|_| is_socket)
                && let Ok(copy) = pidfd_getfd(&process, number, PidfdGetfdFlags::empty())
                && is_connected_to(&copy, name)
            {
                found.push(copy);
            }
        }
        Ok(found)
    }

    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)
    }
}

fn is_connected_to(socket: &OwnedFd, name: &str) -> bool {
    let Ok(Some(peer)) = getpeername(socket) else {
        return false;
    };
    let Ok(peer) = SocketAddrUnix::try_from(peer) else {
        return false;
    };
    let path = peer.path_bytes().unwrap_or_default();
    path.ends_with(format!("/{name}").as_bytes())
}

/// Lists the processes in the PID namespace of `init`, without zombies.
pub(crate) fn in_pid_namespace(init: i32) -> Result<Vec<Process>> {
    let namespace = fs::read_link(format!("/proc/{init}/ns/pid"))?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        if fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|ns| ns == namespace)
            && let Some(process) = read_process(pid)
        {
            found.push(process);
        }
    }
    Ok(found)
}

/// Kills every nsenter that has started something in the namespace of `init`; returns their pids to wait for.
pub(crate) fn kill_nsenters(init: i32) -> Vec<Pid> {
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

/// Reads one process; `None` when it has ended meanwhile.
fn read_process(pid: i32) -> Option<Process> {
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
