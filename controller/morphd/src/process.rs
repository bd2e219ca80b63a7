//! Processes that outlive their parent: started in a session of their own, watched and signalled through a pidfd,
//! adopted by a later morphd.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getrlimit, pidfd_open,
    pidfd_send_signal, setrlimit, setsid, waitid,
};
use rustix::thread::set_no_new_privs;
use tokio::io::unix::AsyncFd;

use crate::children::Ids;
use crate::lock::Holder;
use crate::precedence::Turn;

/// How a process ended, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It ended by itself with this status.
    Exited(i32),
    /// A signal ended it.
    Killed(i32),
    /// It was adopted: its status went to another process.
    Unknown,
}

impl Ending {
    /// A Rust program whose main thread panicked ends so.
    pub fn panicked(self) -> bool {
        self == Ending::Exited(101)
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ending::Exited(status) => write!(f, "ended with exit status {status}"),
            Ending::Killed(signal) => write!(f, "was killed by signal {signal}"),
            Ending::Unknown => write!(f, "ended"),
        }
    }
}

/// What a child is given, and what it may have.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// As whom it runs; none: as we do. As another it cannot gain rights by what it executes.
    pub user: Option<Ids>,
    /// The most of these that it may have; less where we have less ourselves.
    pub limits: Vec<(Resource, u64)>,
    /// Further variables of its environment.
    pub environment: Vec<(&'static str, &'static str)>,
}

/// What a process does, as the kernel sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Toil {
    /// Clock ticks (10 ms) that its threads have run.
    pub cpu: u64,
    /// It could run, or waits for a disk.
    pub waits_its_turn: bool,
}

/// A process, whether started or adopted. Dropping this lets go of it and ends nothing.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    fd: AsyncFd<OwnedFd>,
    /// Whether it is to run before morphd.
    pub(crate) turn: Turn,
}

impl Process {
    /// Starts `exec` in a session of its own, with standard input and output null and standard error appended to `log`.
    pub fn spawn(exec: &Path, args: &[OsString], log: &Path) -> io::Result<Process> {
        Process::spawn_on(&Terms::default(), exec, args, log)
    }

    /// The same, on these terms.
    pub fn spawn_on(
        terms: &Terms,
        exec: &Path,
        args: &[OsString],
        log: &Path,
    ) -> io::Result<Process> {
        let stderr = crate::log::open(log)?;
        let mut command = Command::new(exec);
        command
            .args(args)
            .envs(terms.environment.iter().copied())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr);
        if let Some(Ids { uid, gid }) = terms.user {
            // Root's further groups are let go of with that.
            command.uid(uid).gid(gid);
        }
        confined(&mut command, terms);
        // `Child` is dropped: std neither waits for it nor kills it; `wait` reaps it through the pidfd.
        Process::open(command.spawn()?.id())
    }

    /// Takes hold of a running process by its pid.
    pub fn open(pid: u32) -> io::Result<Process> {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let raw = raw.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let fd = pidfd_open(raw, PidfdFlags::NONBLOCK)?;
        Ok(Process {
            pid,
            fd: watched(fd)?,
            turn: Turn::default(),
        })
    }

    /// Takes hold of the process that holds a lock file, if it is the one that wrote it.
    pub fn adopt(holder: &Holder) -> io::Result<Process> {
        let process = Process::open(holder.pid)?;
        // Only after the pidfd is open: from here on the pid cannot be given to another process unseen.
        match (holder.start_time, start_time(holder.pid)) {
            (Some(said), Some(is)) if said != is => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("process {} is another one by now", holder.pid),
            )),
            _ => Ok(process),
        }
    }

    /// What it has done so far; none: it is gone.
    pub fn toil(&self) -> Option<Toil> {
        toil_in(&std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?)
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal; to a process that has ended it does nothing.
    pub fn signal(&self, signal: Signal) {
        if let Err(error) = pidfd_send_signal(self.fd.get_ref(), signal)
            && error != rustix::io::Errno::SRCH
        {
            tracing::warn!(pid = self.pid, ?signal, %error, "cannot signal");
        }
    }

    /// Returns once the process has ended. Any number may wait.
    pub async fn ended(&self) {
        // An error here means that the runtime ends, and then nothing waits any longer.
        let _ = self.fd.readable().await;
    }

    /// Returns once the process has ended, reaps it if it is ours, and says how it ended. One waiter only.
    pub async fn wait(&self) -> Ending {
        self.ended().await;
        let id = WaitId::PidFd(std::os::fd::AsFd::as_fd(self.fd.get_ref()));
        match waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(status), _) => Ending::Exited(status),
                (None, Some(signal)) => Ending::Killed(signal),
                (None, None) => Ending::Unknown,
            },
            Ok(None) | Err(_) => Ending::Unknown,
        }
    }

    /// Waits for the end, but no longer than this; says whether it came.
    pub async fn ended_within(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.ended()).await.is_ok()
    }
}

/// The machine's memory in bytes (proc(5), /proc/meminfo).
pub fn machine_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[allow(unsafe_code)]
fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: `OwnedFd` owns a valid descriptor, and it is never replaced or closed while the `AsyncFd` owns it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, tokio::io::Interest::READABLE)? })
}

/// A session of its own, and limits.
#[allow(unsafe_code)]
fn confined(command: &mut Command, terms: &Terms) {
    let as_other = terms.user.is_some();
    let limits: Vec<(Resource, Rlimit)> = terms
        .limits
        .iter()
        .map(|(resource, most)| (*resource, at_most(*resource, *most)))
        .collect();
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; these are the system calls setsid(2),
    // setrlimit(2) and prctl(2), which allocate nothing and take no lock, over a list that was made before.
    unsafe {
        command.pre_exec(move || {
            setsid()?;
            for (resource, limit) in &limits {
                setrlimit(*resource, *limit)?;
            }
            if as_other {
                set_no_new_privs(true)?;
            }
            Ok(())
        });
    }
}

/// Nobody but root may have more than it has.
fn at_most(resource: Resource, most: u64) -> Rlimit {
    let ours = getrlimit(resource).maximum;
    let most = ours.map_or(most, |ours| ours.min(most));
    Rlimit {
        current: Some(most),
        maximum: Some(most),
    }
}

/// When a process started, in clock ticks since boot: field 22 of `/proc/PID/stat` (proc(5)).
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    start_time_in(&stat)
}

fn start_time_in(stat: &str) -> Option<u64> {
    after_name(stat)?.nth(19)?.parse().ok()
}

/// Fields 3, 14 and 15: its state, and the time in user and kernel mode.
fn toil_in(stat: &str) -> Option<Toil> {
    let mut fields = after_name(stat)?;
    let state = fields.next()?;
    let mut times = fields.skip(10);
    let user: u64 = times.next()?.parse().ok()?;
    let kernel: u64 = times.next()?.parse().ok()?;
    Some(Toil {
        cpu: user.saturating_add(kernel),
        waits_its_turn: matches!(state, "R" | "D"),
    })
}

/// Field 3 and those after it. Field 2, the name, may itself contain blanks and brackets; the last bracket ends it.
fn after_name(stat: &str) -> Option<std::str::SplitAsciiWhitespace<'_>> {
    let (_, after_name) = stat.rsplit_once(')')?;
    Some(after_name.split_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, dir: &Path) -> Process {
        let args = ["-c".into(), script.into()];
        Process::spawn(Path::new("/bin/sh"), &args, &dir.join("log")).unwrap()
    }

    #[tokio::test]
    async fn a_child_has_its_own_session_and_its_stderr_in_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let process = sh("echo hello >&2; exec cat /proc/self/stat >&2", dir.path());
        assert_eq!(process.wait().await, Ending::Exited(0));
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
        let (hello, stat) = log.split_once('\n').unwrap();
        assert_eq!(hello, "hello");
        let fields: Vec<_> = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .collect();
        assert_eq!(fields[3], process.pid().to_string(), "session: {stat}");
    }

    #[tokio::test]
    async fn a_child_has_the_limits_and_the_environment_that_it_was_given() {
        let dir = tempfile::tempdir().unwrap();
        let terms = Terms {
            user: None,
            limits: vec![(Resource::Nofile, 77), (Resource::Core, 0)],
            environment: vec![("MORPH_ALONE", "1")],
        };
        let script = "ulimit -n >&2; ulimit -Hn >&2; ulimit -c >&2; echo $MORPH_ALONE >&2";
        let (sh, args) = (Path::new("/bin/sh"), ["-c".into(), script.into()]);
        let log = dir.path().join("log");
        let process = Process::spawn_on(&terms, sh, &args, &log).unwrap();
        assert_eq!(process.wait().await, Ending::Exited(0));
        assert_eq!(std::fs::read_to_string(log).unwrap(), "77\n77\n0\n1\n");
    }

    #[tokio::test]
    async fn a_kill_is_seen_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let process = sh("exec cat /dev/zero", dir.path());
        process.signal(Signal::KILL);
        assert_eq!(process.wait().await, Ending::Killed(9));
        process.signal(Signal::TERM);
    }

    #[tokio::test]
    async fn a_process_that_is_another_by_now_is_not_adopted() {
        let dir = tempfile::tempdir().unwrap();
        let process = sh("exec cat /dev/zero", dir.path());
        let mut holder = Holder {
            pid: process.pid(),
            start_time: start_time(process.pid()),
            store: String::new(),
            app: String::new(),
            release: String::new(),
            instance: String::new(),
        };
        assert!(Process::adopt(&holder).is_ok());
        holder.start_time = holder.start_time.map(|t| t + 1);
        let error = Process::adopt(&holder).unwrap_err().to_string();
        assert!(error.contains("another one"), "{error}");
        process.signal(Signal::KILL);
        process.wait().await;
        assert!(Process::adopt(&holder).is_err());
    }

    #[tokio::test]
    async fn a_missing_executable_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let missing = Process::spawn(&dir.path().join("none"), &[], &dir.path().join("log"));
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_stands_behind_the_name_is_found_behind_any() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(start_time_in(stat), Some(4711));
        assert_eq!(start_time_in("7 (x) S"), None);
        assert!(start_time(std::process::id()).is_some());
        let toil = |cpu, waits_its_turn| {
            Some(Toil {
                cpu,
                waits_its_turn,
            })
        };
        let stat = "7 (a) b (c)) R 1 7 7 0 -1 4194560 1 0 0 0 30 12 5 6 20 0 1 0 4711 0 0";
        assert_eq!(toil_in(stat), toil(42, true));
        assert_eq!(toil_in(&stat.replace("R", "S")), toil(42, false));
        assert_eq!(toil_in("7 (x) S 1"), None);
    }
}
