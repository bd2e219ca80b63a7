//! Morpheus inside a sandbox: morphd as an operator starts it, and morphctl.

use crate::processes::Process;
use crate::sandbox::{CARGOS, Sandbox};
use crate::wait::wait_until;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long a part may take to be there.
const START: Duration = Duration::from_secs(20);

/// The project's root.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// A program of ours: in `$MORPH_BIN_DIR`, else in `target/release`.
///
/// # Errors
/// When it is not built.
pub fn bin(name: &str) -> Result<PathBuf> {
    let path = bin_dir().join(name);
    ensure!(
        path.exists(),
        "{} is not built: run `make` first (or set MORPH_BIN_DIR)",
        path.display()
    );
    Ok(path)
}

/// The bundle of a release of ours.
///
/// # Errors
/// When it is not made.
pub fn bundles(release: &str) -> Result<PathBuf> {
    bin(&format!("bundles/{release}"))
}

fn bin_dir() -> PathBuf {
    match std::env::var_os("MORPH_BIN_DIR") {
        Some(dir) => dir.into(),
        None => repository().join("target/release"),
    }
}

/// One Morpheus: its directories, and the morphd that the test has started last.
pub struct Morpheus {
    run_dir: PathBuf,
    state_dir: PathBuf,
    ctl: PathBuf,
    child: Option<Child>,
    /// For the next morphd.
    env: Vec<(String, String)>,
}

/// What morphctl said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Morpheus {
    /// Starts morphd with private directories and these further flags, and waits until it answers.
    ///
    /// # Errors
    /// When it is not built, or does not answer.
    pub fn start(sandbox: &Sandbox, flags: &[&str]) -> Result<Self> {
        let mut morpheus = Self {
            run_dir: sandbox.dir().join("run"),
            state_dir: sandbox.dir().join("state"),
            ctl: bin("morphctl")?,
            child: None,
            env: Vec::new(),
        };
        morpheus.start_again(sandbox, flags)?;
        Ok(morpheus)
    }

    /// Starts another morphd on the same directories, and waits until it answers.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn start_again(&mut self, sandbox: &Sandbox, flags: &[&str]) -> Result<()> {
        let mut command = self.command(sandbox, flags)?;
        self.child = Some(sandbox.daemon("morphd", &mut command)?);
        let answered = wait_until("morphd answers", START, || {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                bail!("morphd has ended: {status}");
            }
            let answer = self.ask(&["apps"])?;
            Ok((answer.code == 0).then_some(()))
        });
        answered.with_context(|| sandbox.log("morphd"))
    }

    /// The command that starts morphd, for tests that want it to fail.
    ///
    /// # Errors
    /// When it is not built.
    pub fn command(&self, sandbox: &Sandbox, flags: &[&str]) -> Result<Command> {
        let mut command = sandbox.command(bin("morphd")?);
        command.arg("--state-dir").arg(&self.state_dir);
        command.arg("--run-dir").arg(&self.run_dir).args(flags);
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        Ok(command)
    }

    /// A variable of the environment of every morphd that is started from now on.
    pub fn set_env(&mut self, key: &str, value: &str) {
        self.env.retain(|(known, _)| known != key);
        self.env.push((key.to_owned(), value.to_owned()));
    }

    /// Where it keeps its state.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Where its sockets and locks are.
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// Runs morphctl to its end, whatever that is.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn ask(&self, args: &[&str]) -> Result<Answer> {
        let output = self.ctl(args).output().context("morphctl")?;
        Ok(Answer {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Starts morphctl and leaves it running.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn ask_beside(&self, args: &[&str]) -> Result<Child> {
        let mut command = self.ctl(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().context("morphctl")
    }

    fn ctl(&self, args: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(&self.ctl);
        let endpoint = format!("unix:{}", self.run_dir.join("api.sock").display());
        command.args(["--endpoint", &endpoint, "--output", "json"]);
        command.args(args).stdin(Stdio::null()).env_remove(CARGOS);
        command
    }

    /// Runs morphctl, which has to succeed; gives what it printed.
    ///
    /// # Errors
    /// With its code and what it said.
    pub fn do_(&self, args: &[&str]) -> Result<Value> {
        let answer = self.ask(args)?;
        ensure!(answer.code == 0, "morphctl {args:?}: {answer:?}");
        answer
            .json()
            .with_context(|| format!("morphctl {args:?}: {answer:?}"))
    }

    /// The row of an app.
    ///
    /// # Errors
    /// When there is none.
    pub fn app(&self, name: &str) -> Result<Value> {
        let apps = self.do_(&["apps"])?;
        let list = apps["apps"].as_array().context("apps")?;
        let found = list.iter().find(|app| app["name"] == name).cloned();
        found.with_context(|| format!("no {name} in {apps}"))
    }

    /// Waits until the app runs, in an instance other than the one with `not_pid`.
    ///
    /// # Errors
    /// When it does not.
    pub fn wait_running(&self, name: &str, not_pid: Option<u32>) -> Result<Value> {
        let mut last = Value::Null;
        let found = wait_until(&format!("{name} runs"), START, || {
            last = self.app(name).unwrap_or(Value::Null);
            let other = not_pid.is_none_or(|pid| last["pid"] != pid);
            Ok((last["status"] == "running" && other).then(|| last.clone()))
        });
        found.with_context(|| format!("the last that was seen: {last}"))
    }

    /// Waits until this many switches are connected.
    ///
    /// # Errors
    /// When they are not.
    pub fn wait_switches(&self, count: usize) -> Result<Value> {
        wait_until(&format!("{count} switches"), START, || {
            let switches = self.do_(&["switches"])?;
            let there = switches["switches"]
                .as_array()
                .is_some_and(|list| list.len() == count);
            Ok(there.then_some(switches))
        })
    }

    /// Ends morphd by SIGTERM, and with it all that it has started.
    ///
    /// # Errors
    /// When something of it stays, or morphd does not end well.
    pub fn stop(&mut self, sandbox: &Sandbox) -> Result<()> {
        let daemons = named(sandbox, "morphd")?;
        for daemon in &daemons {
            daemon.signal(Signal::TERM)?;
        }
        wait_until("Morpheus ends", START, || {
            Ok(ours(sandbox)?.is_empty().then_some(()))
        })
        .with_context(|| format!("{:?}", ours(sandbox)))?;
        if let Some(mut child) = self.child.take() {
            let status = child.wait()?;
            ensure!(status.success(), "morphd ended with {status}");
        }
        Ok(())
    }

    /// The morphd that the test has started last runs.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn runs(&mut self) -> Result<bool> {
        match &mut self.child {
            Some(child) => Ok(child.try_wait()?.is_none()),
            None => Ok(false),
        }
    }

    /// Lets a morphd that was stopped go on, and what it was started through, which stops with it.
    pub fn go_on(&self, morphd: &Process) {
        let _ = morphd.signal(Signal::CONT);
        if let Some(child) = &self.child
            && let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process(pid, Signal::CONT);
        }
    }

    /// The morphd that the test has started last is gone, whatever its end.
    ///
    /// # Errors
    /// When it does not end.
    pub fn wait_gone(&mut self) -> Result<std::process::ExitStatus> {
        let Some(mut child) = self.child.take() else {
            bail!("no morphd")
        };
        let entrance = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        wait_until("morphd ends", START, || {
            // What it was started through may have been stopped with it.
            if let Some(pid) = entrance {
                let _ = kill_process(pid, Signal::CONT);
            }
            Ok(child.try_wait()?)
        })
    }
}

impl Answer {
    /// Its output as JSON; where it prints one document a line, a list of them.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<Value> {
        if let Ok(value) = serde_json::from_str(&self.out) {
            return Ok(value);
        }
        let lines = self.out.lines().filter(|line| !line.trim().is_empty());
        Ok(Value::Array(
            lines.map(serde_json::from_str).collect::<Result<_, _>>()?,
        ))
    }
}

/// All processes of Morpheus in the sandbox: those that run something of the build's or of a bundle.
pub(crate) fn ours(sandbox: &Sandbox) -> Result<Vec<Process>> {
    let bins = bin_dir().canonicalize().unwrap_or_else(|_| bin_dir());
    let dir = sandbox.dir().canonicalize()?;
    let mut processes = sandbox.processes()?;
    processes.retain(|p| p.exe.starts_with(&bins) || p.exe.starts_with(&dir));
    Ok(processes)
}

/// Those of them whose executable has this name.
pub(crate) fn named(sandbox: &Sandbox, name: &str) -> Result<Vec<Process>> {
    let mut processes = ours(sandbox)?;
    processes.retain(|p| p.name() == name);
    Ok(processes)
}
