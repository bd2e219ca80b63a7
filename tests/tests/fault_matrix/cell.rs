//! One cell: an upgrade, a fault at one of its steps, and the outcome.

use anyhow::{Context, Result, bail, ensure};
use morph_tests::{Lab, LedgerLab, Process, pause, wait_until};
use rustix::net::{SendFlags, Shutdown, send, shutdown};
use rustix::process::Signal;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Deadline for a step to be reached and for an upgrade to end. Longer than allowed, so that the report has the real
/// time.
const DEADLINE: Duration = Duration::from_secs(30);
/// Duration of a SIGSTOP, and of a hang before its operator kills the process.
const PAUSE: Duration = Duration::from_secs(2);
/// Time for an instance under load to reach a fail point.
const REACHED: Duration = Duration::from_millis(500);

/// Steps that an upgrade publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Staged,
    Starting,
    Ready,
    Quiescing,
    Resuming,
    Upgraded,
    Committed,
}

/// Process or connection that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Victim {
    Source,
    Target,
    SourceSession,
    TargetSession,
    Morphd,
    Store,
}

/// Kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// SIGKILL, or for a session: the connection is closed.
    Kill,
    /// SIGSTOP, and SIGCONT later.
    Stop,
    Panic,
    /// An operation fails: the store refuses a record or a group of transactions, an instance reports that it cannot
    /// continue, or a session carries garbage.
    Error,
    /// No answer any more. morphd detects an instance that hangs; for morphd and the store an operator kills the
    /// process.
    Hang,
}

impl Step {
    pub(crate) const ALL: [Step; 7] = [
        Step::Staged,
        Step::Starting,
        Step::Ready,
        Step::Quiescing,
        Step::Resuming,
        Step::Upgraded,
        Step::Committed,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Step::Staged => "staged",
            Step::Starting => "starting",
            Step::Ready => "ready",
            Step::Quiescing => "quiescing",
            Step::Resuming => "resuming",
            Step::Upgraded => "upgraded",
            Step::Committed => "committed",
        }
    }
}

impl Victim {
    pub(crate) const ALL: [Victim; 6] = [
        Victim::Source,
        Victim::Target,
        Victim::SourceSession,
        Victim::TargetSession,
        Victim::Morphd,
        Victim::Store,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Victim::Source => "source",
            Victim::Target => "target",
            Victim::SourceSession => "session of the source",
            Victim::TargetSession => "session of the target",
            Victim::Morphd => "morphd",
            Victim::Store => "store",
        }
    }
}

impl Fault {
    pub(crate) const ALL: [Fault; 5] = [
        Fault::Kill,
        Fault::Stop,
        Fault::Panic,
        Fault::Error,
        Fault::Hang,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Fault::Kill => "kill -9",
            Fault::Stop => "SIGSTOP",
            Fault::Panic => "panic",
            Fault::Error => "error",
            Fault::Hang => "never answers",
        }
    }
}

/// Whether the matrix has such a cell.
pub(crate) fn applies(step: Step, victim: Victim, fault: Fault) -> bool {
    match victim {
        // The target is started after `Staged` was published.
        Victim::Target => step > Step::Staged,
        Victim::TargetSession => {
            step > Step::Starting && matches!(fault, Fault::Kill | Fault::Error)
        }
        Victim::SourceSession => matches!(fault, Fault::Kill | Fault::Error),
        Victim::Source | Victim::Morphd | Victim::Store => true,
    }
}

/// Directory of the files that arm the fail points.
pub(crate) struct FailPoints(TempDir);

impl FailPoints {
    pub(crate) fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        // The process that fails removes its file, and an instance has a user of its own.
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o777))?;
        Ok(Self(dir))
    }

    /// Gives every process of the lab its fail points. Each fails once its file exists.
    pub(crate) fn arm(&self, lab: &mut Lab) -> Result<()> {
        let mut plan = Vec::new();
        let mut add = |point: String, action: &str| {
            let file = self.file(&point, action);
            plan.push(format!("{point}@{}={action}", file.display()));
        };
        for step in Step::ALL {
            for action in ["stop", "panic", "hang"] {
                add(format!("morphd.upgrade.{}", step.name()), action);
            }
            add(format!("morphd.record.{}", step.name()), "error");
        }
        for action in ["panic", "error", "hang"] {
            for version in ["1.0.0", "2.0.0"] {
                add(format!("ledger.{version}.input"), action);
            }
            add("store.group.judged".to_owned(), action);
        }
        lab.sandbox_mut().set_env("MORPH_FAIL", &plan.join(","));
        Ok(())
    }

    fn file(&self, point: &str, action: &str) -> PathBuf {
        self.0.path().join(format!("{point}-{action}"))
    }

    /// Arms a fail point; returns its file, which is removed when the point is reached.
    fn set(&self, point: &str, action: &str) -> Result<PathBuf> {
        let file = self.file(point, action);
        std::fs::write(&file, "")?;
        Ok(file)
    }
}

/// Upgrade to the other release, with one fault at one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) from: &'static str,
    pub(crate) step: Step,
    pub(crate) victim: Victim,
    pub(crate) fault: Fault,
}

#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Release that runs at the end.
    pub(crate) release: &'static str,
    /// Time from the end of the fault's pause until the upgrade had ended and new packets were answered.
    pub(crate) took: Duration,
}

impl Cell {
    fn to(self) -> &'static str {
        LedgerLab::other_release(self.from)
    }

    /// Runs the cell, and fails when its fault was not reached.
    pub(crate) fn run(self, ledger: &mut LedgerLab, points: &FailPoints) -> Result<Outcome> {
        let mut commands = Vec::new();
        let result = self.upgrade(ledger, points, &mut commands);
        for child in &mut commands {
            let _ = child.kill();
            let _ = child.wait();
        }
        // A fault that was not reached must not strike in a later cell, and this cell has shown nothing.
        let mut missed = Vec::new();
        for entry in std::fs::read_dir(points.0.path())? {
            let file = entry?.path();
            std::fs::remove_file(&file)?;
            missed.push(file);
        }
        ensure!(
            result.is_err() || missed.is_empty(),
            "fail points that were never reached: {missed:?}"
        );
        result
    }

    fn upgrade(
        self,
        ledger: &mut LedgerLab,
        points: &FailPoints,
        commands: &mut Vec<Child>,
    ) -> Result<Outcome> {
        let at = format!("morphd.upgrade.{}", self.step.name());
        match (self.victim, self.fault) {
            (Victim::Morphd, Fault::Panic) => points.set(&at, "panic")?,
            (Victim::Morphd, Fault::Hang) => points.set(&at, "hang")?,
            (Victim::Morphd, Fault::Error) => {
                points.set(&format!("morphd.record.{}", self.step.name()), "error")?
            }
            _ => points.set(&at, "stop")?,
        };
        let release = format!("app=ledger@{}", self.to());
        let upgrade = ["upgrade", &release, "--probation", "60s", "--no-wait"];
        commands.push(ledger.lab().morpheus()?.spawn_morphctl(&upgrade)?);
        if self.step == Step::Committed {
            wait_until("the probation begins", DEADLINE, || {
                // The first upgrade of all may not have started yet.
                let status = ledger.lab().status("ledger").ok();
                let begun = status.is_some_and(|status| status["step"] == "UPGRADED");
                Ok(begun.then_some(()))
            })?;
            let commit = ["commit", "app=ledger"];
            commands.push(ledger.lab().morpheus()?.spawn_morphctl(&commit)?);
        }
        let since = self.cause(ledger, points)?;
        self.wait_end(ledger, since)
    }

    /// Makes the fault; returns the time at which its pause was over.
    fn cause(self, ledger: &mut LedgerLab, points: &FailPoints) -> Result<Instant> {
        if self.victim == Victim::Morphd {
            return self.fail_morphd(ledger, points);
        }
        let morphd = ledger.lab().process("morphd")?;
        wait_until("morphd is stopped at the step", DEADLINE, || {
            Ok(morphd.is_stopped().then_some(()))
        })?;
        let continue_first = self.victim == Victim::Target && self.step == Step::Starting;
        if continue_first {
            // morphd starts the target next.
            ledger.lab().morpheus()?.continue_stopped(&morphd);
        }
        let paused = self.fail(ledger, points)?;
        if !continue_first {
            ledger.lab().morpheus()?.continue_stopped(&morphd);
        }
        if let Some(process) = paused {
            pause(self.pause());
            match (self.victim, self.fault) {
                (Victim::Store, Fault::Hang) => process.kill()?,
                // morphd may have killed the process meanwhile.
                _ => drop(process.signal(Signal::CONT)),
            }
        }
        Ok(Instant::now())
    }

    /// Pause of a stopped process. To the older schema, where the fence swaps the keyspaces, the store must come back
    /// after the fence's deadline.
    fn pause(self) -> Duration {
        match (self.victim, self.fault, self.from) {
            (Victim::Store, Fault::Stop, "2.0.0") => PAUSE + Duration::from_millis(500),
            _ => PAUSE,
        }
    }

    fn fail_morphd(self, ledger: &mut LedgerLab, points: &FailPoints) -> Result<Instant> {
        let morphd = ledger.lab().process("morphd")?;
        let at = format!("morphd.upgrade.{}", self.step.name());
        match self.fault {
            Fault::Kill | Fault::Stop => {
                wait_until("morphd is stopped at the step", DEADLINE, || {
                    Ok(morphd.is_stopped().then_some(()))
                })?;
                if self.fault == Fault::Stop {
                    pause(PAUSE);
                    ledger.lab().morpheus()?.continue_stopped(&morphd);
                    return Ok(Instant::now());
                }
                morphd.kill()?;
            }
            Fault::Error => {
                // The record fails once, which morphd logs.
                let file = format!("morphd.record.{}", self.step.name());
                wait_reached(&points.file(&file, "error"))?;
                return Ok(Instant::now());
            }
            Fault::Panic => wait_reached(&points.file(&at, "panic"))?,
            Fault::Hang => {
                wait_reached(&points.file(&at, "hang"))?;
                pause(PAUSE);
                morphd.kill()?;
            }
        }
        ledger.lab_mut().morpheus_mut()?.wait_exited()?;
        let since = Instant::now();
        ledger.start_morphd()?;
        Ok(since)
    }

    /// Makes a fault of another process than morphd; returns a process that is to be continued or killed after the
    /// pause.
    fn fail(self, ledger: &LedgerLab, points: &FailPoints) -> Result<Option<Process>> {
        let instance = |version: &'static str| {
            wait_until("the instance runs", DEADLINE, || {
                Ok(ledger.instance(version).ok())
            })
        };
        match self.victim {
            Victim::Source => self.fail_instance(&instance(self.from)?, self.from, points),
            Victim::Target if matches!(self.fault, Fault::Panic | Fault::Error | Fault::Hang) => {
                fail_soon(&format!("ledger.{}.input", self.to()), self.fault, points)?;
                Ok(None)
            }
            Victim::Target => self.fail_instance(&instance(self.to())?, self.to(), points),
            Victim::SourceSession => self.cut(&instance(self.from)?).map(|()| None),
            Victim::TargetSession => self.cut(&instance(self.to())?).map(|()| None),
            Victim::Store => self.fail_store(&ledger.lab().process("morph-stored")?, points),
            Victim::Morphd => bail!("faults of morphd are made elsewhere"),
        }
    }

    fn fail_instance(
        self,
        process: &Process,
        version: &str,
        points: &FailPoints,
    ) -> Result<Option<Process>> {
        match self.fault {
            Fault::Kill => process.kill().map(|()| None),
            Fault::Stop => {
                process.signal(Signal::STOP)?;
                Ok(Some(process.clone()))
            }
            Fault::Panic | Fault::Error | Fault::Hang => {
                fail_soon(&format!("ledger.{version}.input"), self.fault, points)?;
                Ok(None)
            }
        }
    }

    fn fail_store(self, process: &Process, points: &FailPoints) -> Result<Option<Process>> {
        match self.fault {
            Fault::Kill => process.kill().map(|()| None),
            Fault::Stop | Fault::Hang => {
                process.signal(Signal::STOP)?;
                Ok(Some(process.clone()))
            }
            Fault::Panic | Fault::Error => {
                fail_soon("store.group.judged", self.fault, points)?;
                Ok(None)
            }
        }
    }

    /// Closes the session between an instance and the proxy, or writes garbage to it.
    fn cut(self, process: &Process) -> Result<()> {
        let sessions = process.connections("sessions.sock")?;
        ensure!(!sessions.is_empty(), "{} has no session", process.name());
        for session in sessions {
            if self.fault == Fault::Error {
                let _ = send(&session, &[0xff; 64], SendFlags::NOSIGNAL);
            } else {
                shutdown(&session, Shutdown::Both)?;
            }
        }
        Ok(())
    }

    /// Waits until the upgrade has ended and the app answers. Commits when the probation begins.
    fn wait_end(self, ledger: &LedgerLab, since: Instant) -> Result<Outcome> {
        let morpheus = ledger.lab().morpheus()?;
        let mut last = String::new();
        let ended = wait_until("the upgrade ends", DEADLINE, || {
            let Ok(status) = ledger.lab().status("ledger") else {
                return Ok(None);
            };
            last = status.to_string();
            Ok(match status["step"].as_str() {
                Some("UPGRADED") => {
                    morpheus.try_morphctl(&["commit", "app=ledger"])?;
                    None
                }
                // Any other status is that of the previous cell; this upgrade was refused.
                Some("COMMITTED") if status["to"] == self.to() => Some(self.to()),
                Some("ROLLED_BACK") if status["to"] == self.to() => Some(self.from),
                _ => None,
            })
        });
        let release = ended.with_context(|| format!("last status: {last}"))?;
        let answered = ledger.switches().wait_answers(LedgerLab::PORT, DEADLINE);
        answered.with_context(|| format!("last status: {last}"))?;
        let took = since.elapsed();
        ledger.wait_single_instance(release)?;
        ledger.switches().check_no_disconnects()?;
        Ok(Outcome { release, took })
    }
}

fn wait_reached(file: &Path) -> Result<()> {
    let what = format!("fail point {} is reached", file.display());
    wait_until(&what, DEADLINE, || Ok((!file.exists()).then_some(())))
}

/// Arms a fail point that is reached often, and waits briefly for it. Without traffic it strikes at the next input.
fn fail_soon(point: &str, fault: Fault, points: &FailPoints) -> Result<()> {
    let action = match fault {
        Fault::Panic => "panic",
        Fault::Error => "error",
        Fault::Hang => "hang",
        Fault::Kill | Fault::Stop => bail!("{fault:?} has no fail point"),
    };
    let file = points.set(point, action)?;
    let _ = wait_until(point, REACHED, || Ok((!file.exists()).then_some(())));
    Ok(())
}
