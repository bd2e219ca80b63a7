//! Child processes that outlive morphd: each is started in a session of its own, watched and signalled through a pidfd, and
//! adopted by the next morphd.

mod image;

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, AtomicU32};
use std::time::Duration;

use morph_api::lock::{Holder, start_time};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getrlimit, pidfd_open,
    pidfd_send_signal, setrlimit, setsid, waitid,
};
use rustix::thread::set_no_new_privs;
use tokio::io::unix::AsyncFd;

use self::image::Image;
use crate::children::Credentials;
use crate::machine::liveness::CpuTime;

/// End of a process, as far as its parent learns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The process exited with this status.
    Exited(i32),
    /// Number of the signal that ended the process.
    Killed(i32),
    /// The process was adopted, so its status went to another parent.
    Unknown,
}

impl Ending {
    /// Tells whether a Rust program's main thread panicked (exit status 101).
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

/// Conditions under which a child process runs.
#[derive(Debug, Clone, Default)]
pub struct SpawnOptions {
    /// User and group of the child; `None` keeps morphd's. A child with another user cannot gain rights by what it executes.
    pub credentials: Option<Credentials>,
    /// Resource limits; morphd's own limits apply where they are lower.
    pub limits: Vec<(Resource, u64)>,
    /// Variables added to the child's environment.
    pub environment: Vec<(&'static str, String)>,
}

/// Scheduling priority that was asked for; `Priority` names the levels.
#[derive(Debug, Default)]
pub(crate) struct WantedPriority {
    /// Level last asked for; 0 before the first request.
    pub(crate) level: AtomicU8,
    /// Number of changes of `level`, so that a task can tell whether its request is still the last.
    pub(crate) changes: AtomicU32,
}

/// A started or adopted process. Dropping the value ends nothing.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    fd: AsyncFd<OwnedFd>,
    pub(crate) priority: WantedPriority,
}

impl Process {
    /// Starts `exec` in a session of its own, with standard input and output null and standard error appended to `log`.
    pub fn spawn(exec: &Path, args: &[OsString], log: &Path) -> io::Result<Process> {
        Process::spawn_with(&SpawnOptions::default(), exec, args, log)
    }

    /// Variant of [`Process::spawn`] with options.
    pub fn spawn_with(
        options: &SpawnOptions,
        exec: &Path,
        args: &[OsString],
        log: &Path,
    ) -> io::Result<Process> {
        let stderr = crate::log::open(log)?;
        let mut command = Command::new(exec);
        command
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr);
        let image = Image::new(exec, args, &options.environment)?;
        confine(&mut command, options, Some(image));
        // Dropping the `Child` neither waits for the process nor kills it; `wait` reaps it through the pidfd.
        Process::open(command.spawn()?.id())
    }

    /// Attaches to a running process by its pid.
    pub fn open(pid: u32) -> io::Result<Process> {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let raw = raw.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let fd = pidfd_open(raw, PidfdFlags::NONBLOCK)?;
        Ok(Process {
            pid,
            fd: register(fd)?,
            priority: WantedPriority::default(),
        })
    }

    /// Attaches to the process that holds a lock file, if it is still the one that wrote the file.
    pub fn adopt(holder: &Holder) -> io::Result<Process> {
        let process = Process::open(holder.pid)?;
        // Compared after the pidfd is open: from then on the kernel cannot give the pid to another process unnoticed.
        match (holder.start_time, start_time(holder.pid)) {
            (Some(written), Some(found)) if written != found => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("pid {} belongs to another process by now", holder.pid),
            )),
            _ => Ok(process),
        }
    }

    /// Reads the CPU time that the process has used; `None` once it is gone.
    pub fn cpu_time(&self) -> Option<CpuTime> {
        cpu_time_in(&std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?)
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal; does nothing once the process has ended.
    pub fn signal(&self, signal: Signal) {
        if let Err(error) = pidfd_send_signal(self.fd.get_ref(), signal)
            && error != rustix::io::Errno::SRCH
        {
            tracing::warn!(pid = self.pid, ?signal, %error, "cannot send a signal to the process");
        }
    }

    /// Returns once the process has ended. Any number of tasks may wait.
    pub async fn ended(&self) {
        // An error means that the runtime is shutting down, and then nothing waits any longer.
        let _ = self.fd.readable().await;
    }

    /// Returns how the process ended, once it has, and reaps it if it is a child. One task only may wait.
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

    /// Waits for the end for `limit` at most and tells whether it came.
    pub async fn ended_within(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.ended()).await.is_ok()
    }
}

/// Total memory of the machine in bytes (`MemTotal` of `/proc/meminfo`, proc(5)).
pub fn machine_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[allow(unsafe_code)]
fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: `OwnedFd` owns a valid descriptor, and it is never replaced or closed while the `AsyncFd` owns it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, tokio::io::Interest::READABLE)? })
}

/// Command with a user and limits, to be run and waited for.
pub(crate) fn confined(options: &SpawnOptions, exec: &Path) -> Command {
    let mut command = Command::new(exec);
    command.current_dir("/");
    confine(&mut command, options, None);
    command
}

/// Has the child change its user, lower its limits and give up gaining rights before it executes its program. With an image it
/// calls setsid(2) before, and executes that.
#[allow(unsafe_code)]
fn confine(command: &mut Command, options: &SpawnOptions, image: Option<Image>) {
    if let Some(Credentials { uid, gid }) = options.credentials {
        // std drops root's supplementary groups along with the user.
        command.uid(uid).gid(gid);
    }
    let other_user = options.credentials.is_some();
    let limits: Vec<(Resource, Rlimit)> = options
        .limits
        .iter()
        .map(|(resource, limit)| (*resource, lowered(*resource, *limit)))
        .collect();
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; these are the system calls setsid(2),
    // setrlimit(2), prctl(2) and execve(2), which allocate nothing and take no lock, over lists that were made before.
    unsafe {
        command.pre_exec(move || {
            if image.is_some() {
                setsid()?;
            }
            for (resource, limit) in &limits {
                setrlimit(*resource, *limit)?;
            }
            if other_user {
                set_no_new_privs(true)?;
            }
            match &image {
                Some(image) => Err(image.execute()),
                None => Ok(()),
            }
        });
    }
}

/// Limit of at most morphd's own: only root may raise a limit.
fn lowered(resource: Resource, limit: u64) -> Rlimit {
    let own = getrlimit(resource).maximum;
    let limit = own.map_or(limit, |own| own.min(limit));
    Rlimit {
        current: Some(limit),
        maximum: Some(limit),
    }
}

/// Reads fields 3, 14 and 15 of `/proc/PID/stat` (proc(5)): state, and ticks in user and kernel mode.
fn cpu_time_in(stat: &str) -> Option<CpuTime> {
    // Field 2, the name, may itself contain blanks and brackets; the last bracket ends it.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace();
    let state = fields.next()?;
    let mut times = fields.skip(10);
    let user: u64 = times.next()?.parse().ok()?;
    let kernel: u64 = times.next()?.parse().ok()?;
    Some(CpuTime {
        ticks: user.saturating_add(kernel),
        runnable: matches!(state, "R" | "D"),
    })
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
        let options = SpawnOptions {
            credentials: None,
            limits: vec![(Resource::Nofile, 77), (Resource::Core, 0)],
            environment: vec![("MORPH_ALONE", "1".into())],
        };
        let script = "ulimit -n >&2; ulimit -Hn >&2; ulimit -c >&2; echo $MORPH_ALONE >&2";
        let (sh, args) = (Path::new("/bin/sh"), ["-c".into(), script.into()]);
        let log = dir.path().join("log");
        let process = Process::spawn_with(&options, sh, &args, &log).unwrap();
        assert_eq!(process.wait().await, Ending::Exited(0));
        assert_eq!(std::fs::read_to_string(log).unwrap(), "77\n77\n0\n1\n");
    }

    #[tokio::test]
    async fn a_kill_is_reported_with_its_signal() {
        let dir = tempfile::tempdir().unwrap();
        let process = sh("exec cat /dev/zero", dir.path());
        process.signal(Signal::KILL);
        assert_eq!(process.wait().await, Ending::Killed(9));
        process.signal(Signal::TERM);
    }

    #[tokio::test]
    async fn a_reused_pid_is_not_adopted() {
        let dir = tempfile::tempdir().unwrap();
        let process = sh("exec cat /dev/zero", dir.path());
        let mut holder = Holder {
            pid: process.pid(),
            start_time: start_time(process.pid()),
            ..Holder::default()
        };
        assert!(Process::adopt(&holder).is_ok());
        holder.start_time = holder.start_time.map(|t| t + 1);
        let error = Process::adopt(&holder).unwrap_err().to_string();
        assert!(error.contains("another process"), "{error}");
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

    #[tokio::test]
    async fn a_file_that_is_no_program_is_an_error_and_no_script() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (file, log) = (dir.path().join("file"), dir.path().join("log"));
        std::fs::write(&file, "exit 0\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let error = Process::spawn(&file, &[], &log).unwrap_err().to_string();
        assert!(error.contains("Exec format error"), "{error}");
    }

    #[test]
    fn the_cpu_time_is_found_behind_any_name() {
        let cpu_time = |ticks, runnable| Some(CpuTime { ticks, runnable });
        let stat = "7 (a) b (c)) R 1 7 7 0 -1 4194560 1 0 0 0 30 12 5 6 20 0 1 0 4711 0 0";
        assert_eq!(cpu_time_in(stat), cpu_time(42, true));
        assert_eq!(cpu_time_in(&stat.replace("R", "S")), cpu_time(42, false));
        assert_eq!(cpu_time_in("7 (x) S 1"), None);
    }
}
