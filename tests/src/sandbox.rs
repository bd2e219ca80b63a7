//! Namespaces of one test, which end with the test in whatever way it ends.

use crate::processes::{self, Process};
use anyhow::{Context, Result, bail, ensure};
use rustix::fs::statvfs;
use rustix::process::{WaitOptions, waitpid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use tempfile::TempDir;

/// Prefix of directory names; the test's process id follows.
const PREFIX: &str = "morph-lab-";

/// File system in memory of each Linux system.
const MEMORY: &str = "/dev/shm";

/// Free bytes there with which it is used: a lab keeps some copies of our executables, a store and logs.
const ENOUGH: u64 = 4 << 30;

/// File system for a sandbox's directory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// The directory for temporary files, which is on a disk as a rule.
    Disk,
    /// A file system in memory. A disk that stalls for seconds, as those of shared machines do, stalls everything that has to
    /// be durable, and then a test with a limit on a packet's time would measure the disk.
    Memory,
}

impl Files {
    fn directory(self) -> PathBuf {
        // Containers have little there as a rule.
        let free = statvfs(MEMORY).map_or(0, |found| found.f_bavail * found.f_frsize);
        if self == Self::Memory && free >= ENOUGH {
            PathBuf::from(MEMORY)
        } else {
            std::env::temp_dir()
        }
    }
}

/// Process 1 of the sandbox. It reaps orphans.
const INIT: &str = "mount -t tmpfs tmpfs /run && mkdir /run/netns && ip link set lo up \
                    && sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 \
                    && echo ready && sleep infinity & wait";

/// Variable that `cargo test` sets. With it, each program first searches the compiler's directories for its
/// libraries, in some hundred failing calls.
pub(crate) const LIBRARY_PATH: &str = "LD_LIBRARY_PATH";

/// A process, mount and network namespace with a directory, in which daemons run.
///
/// The test's thread owns it: when the thread ends, or the whole test is killed, the kernel ends every process
/// inside, including those that left their parent and session.
pub struct Sandbox {
    dir: TempDir,
    unshare: Child,
    init: i32,
    environment: Vec<(String, String)>,
}

impl Sandbox {
    /// Creates the namespaces. Needs root.
    pub fn new(files: Files) -> Result<Self> {
        let directory = files.directory();
        remove_stale(&directory);
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let dir = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir_in(directory)?;
        // As /var/lib and /run are: apps run as users of their own.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        // Some versions of unshare also write to standard error when everything is over.
        let complaints = dir.path().join("unshare.log");
        let mut unshare = Command::new("setpriv")
            .args([
                "--pdeathsig",
                "KILL",
                "unshare",
                "--net",
                "--pid",
                "--mount",
                "--fork",
            ])
            .args(["--kill-child=KILL", "--mount-proc", "bash", "-c", INIT])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&complaints)?)
            .spawn()
            .context("cannot run setpriv and unshare (package util-linux)")?;
        let mut line = String::new();
        if let Some(out) = unshare.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        ensure!(
            line == "ready\n",
            "cannot create namespaces; run these tests as root: {}",
            fs::read_to_string(&complaints)?
        );
        let init = child_of(unshare.id())?;
        Ok(Self {
            dir,
            unshare,
            init,
            environment: Vec::new(),
        })
    }

    /// Sets an environment variable for everything that is started inside from now on.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Directory for sockets, state and logs, removed with the sandbox.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Prepares a program to run inside, in all three namespaces.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["-t", &self.init.to_string(), "-n", "-m", "-p", "--"])
            .arg(program)
            .env_remove(LIBRARY_PATH)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null());
        command
    }

    /// Prepares a program to run in the network of a host. Its process is a child of the test, so that it can be
    /// signalled; it dies with the test.
    pub fn host_command(&self, host: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "nsenter"])
            .arg(format!("--net=/proc/{}/root/run/netns/{host}", self.init))
            .arg("--")
            .arg(program)
            .env_remove(LIBRARY_PATH)
            .stdin(Stdio::null());
        command
    }

    /// Runs a shell script inside, which has to succeed; returns its standard output.
    pub fn script(&self, script: &str) -> Result<String> {
        run(self.command("bash").args(["-euc", script]))
    }

    /// Starts a daemon inside, with its output in `NAME.log` in the directory.
    pub fn daemon(&self, name: &str, command: &mut Command) -> Result<Child> {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_path(name))?;
        let child = command
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(child)
    }

    /// Output of a daemon so far.
    pub fn log(&self, name: &str) -> String {
        let bytes = fs::read(self.log_path(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.dir().join(format!("{name}.log"))
    }

    /// Runs `work` on a thread in the sandbox's network namespace and waits for it. Sockets that it opens are in that
    /// network.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let network = fs::File::open(format!("/proc/{}/ns/net", self.init))?;
        let within = move || {
            let kind = LinkNameSpaceType::Network;
            move_into_link_name_space(network.as_fd(), Some(kind))?;
            work()
        };
        let joined = std::thread::scope(|scope| scope.spawn(within).join());
        joined.unwrap_or_else(|_| bail!("the work in the sandbox panicked"))
    }

    /// Starts `work` on a thread in the sandbox's network namespace.
    pub fn thread<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let network = fs::File::open(format!("/proc/{}/ns/net", self.init))?;
        let within = move || {
            let kind = LinkNameSpaceType::Network;
            move_into_link_name_space(network.as_fd(), Some(kind))?;
            work()
        };
        Ok(std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(within)?)
    }

    pub fn processes(&self) -> Result<Vec<Process>> {
        processes::in_pid_namespace(self.init)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // A namespace ends when everything in it is reaped. An nsenter whose process was stopped is stopped too and
        // reaps nothing.
        let nsenters = processes::kill_nsenters(self.init);
        if let Some(init) = rustix::process::Pid::from_raw(self.init) {
            let _ = rustix::process::kill_process(init, rustix::process::Signal::KILL);
        }
        let _ = self.unshare.wait();
        for nsenter in nsenters {
            let _ = waitpid(Some(nsenter), WaitOptions::empty());
        }
        if std::env::var_os("MORPH_KEEP").is_some() {
            self.dir.disable_cleanup(true);
            eprintln!("logs and state are kept in {}", self.dir.path().display());
        }
    }
}

/// Removes the directories of tests that were killed before they could clear up.
fn remove_stale(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let pid = rest.and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Runs a command, which has to succeed; returns its standard output.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}: {}", output.status, error.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn child_of(parent: u32) -> Result<i32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let children = fs::read_to_string(&path).context(path)?;
    let first = children
        .split_whitespace()
        .next()
        .context("unshare has started no process")?;
    Ok(first.parse()?)
}
