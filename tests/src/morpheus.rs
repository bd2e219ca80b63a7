//! Morpheus inside a sandbox: morphd as an operator starts it, and morphctl.

use crate::earlier;
use crate::processes::Process;
use crate::sandbox::{LIBRARY_PATH, Sandbox};
use crate::wait::wait_until;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Time that a process of Morpheus may take to become ready.
const START: Duration = Duration::from_secs(20);

/// Root directory of the repository.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Path of a built program: in `$MORPH_BIN_DIR`, else in `target/release`.
pub fn bin(name: &str) -> Result<PathBuf> {
    program(&bin_dir(), name)
}

fn program(build: &Path, name: &str) -> Result<PathBuf> {
    let path = build.join(name);
    ensure!(
        path.exists(),
        "{} is not built: run `make` first (or set MORPH_BIN_DIR)",
        path.display()
    );
    Ok(path)
}

/// Path of a built bundle.
pub fn bundle_dir(release: &str) -> Result<PathBuf> {
    bin(&format!("bundles/{release}"))
}

fn bin_dir() -> PathBuf {
    match std::env::var_os("MORPH_BIN_DIR") {
        Some(dir) => dir.into(),
        None => repository().join("target/release"),
    }
}

/// One Morpheus: its directories, and the morphd that the test started last.
pub struct Morpheus {
    run_dir: PathBuf,
    state_dir: PathBuf,
    /// Folder of the build that was started last.
    build: PathBuf,
    child: Option<Child>,
    /// Environment of the next morphd.
    env: Vec<(String, String)>,
}

/// Exit code and output of a morphctl that has ended.
#[derive(Clone, Debug)]
pub struct CtlOutput {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Morpheus {
    /// Starts morphd with private directories and these flags, and waits until it answers.
    pub fn start(sandbox: &Sandbox, flags: &[&str]) -> Result<Self> {
        Self::start_of(sandbox, &bin_dir(), flags)
    }

    /// Starts morphd of this build with private directories.
    pub(crate) fn start_of(sandbox: &Sandbox, build: &Path, flags: &[&str]) -> Result<Self> {
        let mut morpheus = Self {
            run_dir: sandbox.dir().join("run"),
            state_dir: sandbox.dir().join("state"),
            build: build.to_owned(),
            child: None,
            env: Vec::new(),
        };
        morpheus.start_morphd_of(sandbox, build, flags)?;
        Ok(morpheus)
    }

    /// Starts another morphd on the same directories, and waits until it answers.
    pub fn start_morphd(&mut self, sandbox: &Sandbox, flags: &[&str]) -> Result<()> {
        self.start_morphd_of(sandbox, &bin_dir(), flags)
    }

    fn start_morphd_of(&mut self, sandbox: &Sandbox, build: &Path, flags: &[&str]) -> Result<()> {
        self.build = build.to_owned();
        let mut command = self.command(sandbox, flags)?;
        self.child = Some(sandbox.daemon("morphd", &mut command)?);
        let answered = wait_until("morphd answers", START, || {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                bail!("morphd has exited: {status}");
            }
            let answer = self.try_morphctl(&["apps"])?;
            Ok((answer.code == 0).then_some(()))
        });
        answered.with_context(|| sandbox.log("morphd"))
    }

    /// Command that starts morphd, for tests in which it has to fail.
    pub fn command(&self, sandbox: &Sandbox, flags: &[&str]) -> Result<Command> {
        let mut command = sandbox.command(program(&self.build, "morphd")?);
        command.arg("--state-dir").arg(&self.state_dir);
        command.arg("--run-dir").arg(&self.run_dir).args(flags);
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        Ok(command)
    }

    /// Sets an environment variable for every morphd that is started from now on.
    pub fn set_env(&mut self, key: &str, value: &str) {
        self.env.retain(|(known, _)| known != key);
        self.env.push((key.to_owned(), value.to_owned()));
    }

    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Log of the process or app with this name.
    pub fn log(&self, name: &str) -> Result<String> {
        let path = self.state_dir.join(format!("log/{name}.log"));
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// Runs morphctl until it ends, with whatever exit code.
    pub fn try_morphctl(&self, args: &[&str]) -> Result<CtlOutput> {
        let output = self
            .ctl_command(args)
            .output()
            .context("cannot run morphctl")?;
        Ok(CtlOutput {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Starts morphctl and leaves it running.
    pub fn spawn_morphctl(&self, args: &[&str]) -> Result<Child> {
        let mut command = self.ctl_command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().context("cannot run morphctl")
    }

    fn ctl_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .arg(self.build.join("morphctl"));
        let endpoint = format!("unix:{}", self.run_dir.join("api.sock").display());
        command.args(["--endpoint", &endpoint, "--output", "json"]);
        command
            .args(args)
            .stdin(Stdio::null())
            .env_remove(LIBRARY_PATH);
        command
    }

    /// Runs morphctl, which has to succeed; returns what it printed.
    pub fn morphctl(&self, args: &[&str]) -> Result<Value> {
        let answer = self.try_morphctl(args)?;
        ensure!(answer.code == 0, "morphctl {args:?}: {answer:?}");
        answer
            .json()
            .with_context(|| format!("morphctl {args:?}: {answer:?}"))
    }

    /// Row of one app in `morphctl apps`.
    pub fn app(&self, name: &str) -> Result<Value> {
        let apps = self.morphctl(&["apps"])?;
        let list = apps["apps"].as_array().context("apps")?;
        let found = list.iter().find(|app| app["name"] == name).cloned();
        found.with_context(|| format!("no app {name} in {apps}"))
    }

    /// Waits until the app runs, in an instance whose pid is not `not_pid`.
    pub fn wait_running(&self, name: &str, not_pid: Option<u32>) -> Result<Value> {
        let mut last = Value::Null;
        let found = wait_until(&format!("{name} runs"), START, || {
            last = self.app(name).unwrap_or(Value::Null);
            let other = not_pid.is_none_or(|pid| last["pid"] != pid);
            Ok((last["status"] == "running" && other).then(|| last.clone()))
        });
        found.with_context(|| format!("last row of {name}: {last}"))
    }

    pub fn wait_switches(&self, count: usize) -> Result<Value> {
        wait_until(&format!("{count} switches are connected"), START, || {
            let switches = self.morphctl(&["switches"])?;
            let there = switches["switches"]
                .as_array()
                .is_some_and(|list| list.len() == count);
            Ok(there.then_some(switches))
        })
    }

    /// Ends morphd by SIGTERM, and with it everything that it has started. Fails if a process stays.
    pub fn stop(&mut self, sandbox: &Sandbox) -> Result<()> {
        let found = processes_named(sandbox, "morphd")?;
        for morphd in &found {
            morphd.signal(Signal::TERM)?;
        }
        wait_until("all processes of Morpheus end", START, || {
            Ok(processes(sandbox)?.is_empty().then_some(()))
        })
        .with_context(|| format!("{:?}", processes(sandbox)))?;
        if let Some(mut child) = self.child.take() {
            let status = child.wait()?;
            ensure!(status.success(), "morphd exited with {status}");
        }
        Ok(())
    }

    /// Continues a morphd that was stopped, and the nsenter that started it, which stops with it.
    pub fn continue_stopped(&self, morphd: &Process) {
        let _ = morphd.signal(Signal::CONT);
        if let Some(child) = &self.child
            && let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process(pid, Signal::CONT);
        }
    }

    /// Waits until the morphd that the test started last has ended, with whatever status.
    pub fn wait_exited(&mut self) -> Result<std::process::ExitStatus> {
        let Some(mut child) = self.child.take() else {
            bail!("the test has started no morphd")
        };
        let nsenter = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        wait_until("morphd exits", START, || {
            // The nsenter that started morphd may have been stopped with it.
            if let Some(pid) = nsenter {
                let _ = kill_process(pid, Signal::CONT);
            }
            Ok(child.try_wait()?)
        })
    }
}

impl CtlOutput {
    /// Standard output as JSON. Several documents, one a line, become a list.
    pub fn json(&self) -> Result<Value> {
        if let Ok(value) = serde_json::from_str(&self.stdout) {
            return Ok(value);
        }
        let lines = self.stdout.lines().filter(|line| !line.trim().is_empty());
        Ok(Value::Array(
            lines.map(serde_json::from_str).collect::<Result<_, _>>()?,
        ))
    }
}

/// Processes of Morpheus in the sandbox: those that run a program of the build or of a bundle.
pub(crate) fn processes(sandbox: &Sandbox) -> Result<Vec<Process>> {
    let bins = bin_dir().canonicalize().unwrap_or_else(|_| bin_dir());
    let dir = sandbox.dir().canonicalize()?;
    let mut processes = sandbox.processes()?;
    let earlier = earlier::in_use();
    let is_ours = |exe: &Path| {
        exe.starts_with(&bins)
            || exe.starts_with(&dir)
            || earlier.is_some_and(|earlier| exe.starts_with(earlier))
    };
    processes.retain(|p| is_ours(&p.exe));
    Ok(processes)
}

pub(crate) fn processes_named(sandbox: &Sandbox, name: &str) -> Result<Vec<Process>> {
    let mut processes = processes(sandbox)?;
    processes.retain(|p| p.name() == name);
    Ok(processes)
}
