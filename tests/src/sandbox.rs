//! Namespaces of a test's own, gone with the test however it ends.

use crate::processes::{self, Process};
use anyhow::{Context, Result, bail, ensure};
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

/// What the directories are called, before the test's process id.
const PREFIX: &str = "morph-lab-";

/// What runs as process 1 of the sandbox: it reaps what loses its parent.
const INIT: &str = "mount -t tmpfs tmpfs /run && mkdir /run/netns && ip link set lo up \
                    && sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 \
                    && echo ready && sleep infinity & wait";

/// What `cargo test` sets for the test itself: with it each program that starts looks for its libraries in the compiler's
/// directories first, some hundred failing calls long.
pub(crate) const CARGOS: &str = "LD_LIBRARY_PATH";

/// A process, mount and network namespace with a directory, in which daemons run.
///
/// The test's thread owns it: when the thread ends, or the whole test is killed, the kernel ends
/// every process inside, also those that left their parent and session.
pub struct Sandbox {
    dir: TempDir,
    keeper: Child,
    init: i32,
    environment: Vec<(String, String)>,
}

impl Sandbox {
    /// Makes the namespaces.
    ///
    /// # Errors
    /// When the kernel refuses (not root), or a tool is missing.
    pub fn new() -> Result<Self> {
        remove_stale();
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir()?;
        // As /var/lib and /run are: apps run as users of their own.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        // It also complains, in some versions, when all is over.
        let said = dir.path().join("keeper.out");
        let mut keeper = Command::new("setpriv")
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
            .stderr(fs::File::create(&said)?)
            .spawn()
            .context("setpriv and unshare (util-linux) make the namespaces")?;
        let mut line = String::new();
        if let Some(out) = keeper.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        ensure!(
            line == "ready\n",
            "no namespaces (these tests need root): {}",
            fs::read_to_string(&said)?
        );
        let init = child_of(keeper.id())?;
        Ok(Self {
            dir,
            keeper,
            init,
            environment: Vec::new(),
        })
    }

    /// What is started inside from here on has this variable in its environment.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// A directory for sockets, state and logs, gone with the sandbox.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A program to be started inside: in all three namespaces.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["-t", &self.init.to_string(), "-n", "-m", "-p", "--"])
            .arg(program)
            .env_remove(CARGOS)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null());
        command
    }

    /// A program to be started in the network of a host. Its process is the test's own child, so
    /// that it can be signalled; it dies with the test.
    pub fn host_command(&self, host: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "nsenter"])
            .arg(format!("--net=/proc/{}/root/run/netns/{host}", self.init))
            .arg("--")
            .arg(program)
            .env_remove(CARGOS)
            .stdin(Stdio::null());
        command
    }

    /// Runs a shell script inside, which has to succeed; gives its standard output.
    ///
    /// # Errors
    /// With what it wrote on standard error.
    pub fn script(&self, script: &str) -> Result<String> {
        run(self.command("bash").args(["-euc", script]))
    }

    /// Starts a daemon inside; what it writes goes to `NAME.log` in the directory.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn daemon(&self, name: &str, command: &mut Command) -> Result<Child> {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_path(name))?;
        let child = command
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{name} does not start"))?;
        Ok(child)
    }

    /// What a daemon has written so far.
    pub fn log(&self, name: &str) -> String {
        let bytes = fs::read(self.log_path(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.dir().join(format!("{name}.log"))
    }

    /// Runs `work` on a thread in the sandbox's network, so that its sockets are there.
    ///
    /// # Errors
    /// Those of `work`, or when the kernel refuses.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let network = fs::File::open(format!("/proc/{}/ns/net", self.init))?;
        let within = move || {
            let kind = LinkNameSpaceType::Network;
            move_into_link_name_space(network.as_fd(), Some(kind))?;
            work()
        };
        let joined = std::thread::scope(|scope| scope.spawn(within).join());
        joined.unwrap_or_else(|_| bail!("panicked in the sandbox"))
    }

    /// Runs `work` on a thread of its own in the sandbox's network, to be joined when it ends.
    ///
    /// # Errors
    /// When the thread cannot be started.
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

    /// Every process inside.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn processes(&self) -> Result<Vec<Process>> {
        processes::in_namespace_of(self.init)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // A namespace ends when all in it are reaped. Where a process was stopped, its nsenter is
        // stopped too, and reaps nothing.
        let entrances = processes::kill_entrances(self.init);
        if let Some(init) = rustix::process::Pid::from_raw(self.init) {
            let _ = rustix::process::kill_process(init, rustix::process::Signal::KILL);
        }
        let _ = self.keeper.wait();
        for entrance in entrances {
            let _ = waitpid(Some(entrance), WaitOptions::empty());
        }
        if std::env::var_os("MORPH_KEEP").is_some() {
            self.dir.disable_cleanup(true);
            eprintln!("kept: {}", self.dir.path().display());
        }
    }
}

/// Removes the directories of tests that were killed so hard that they could not.
fn remove_stale() {
    for entry in fs::read_dir(std::env::temp_dir())
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name();
        let of = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let pid = of.and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Runs a command to its end, which has to be a good one; gives its standard output.
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
        .context("unshare has no child")?;
    Ok(first.parse()?)
}
