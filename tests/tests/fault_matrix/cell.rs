//! One cell: an upgrade, a fault at one of its steps, and what came of it.

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

/// For a step to be reached, and for an end to come: far more than is allowed, so that the report says how long it took.
const PATIENCE: Duration = Duration::from_secs(30);
/// For how long SIGSTOP stops, and what never answers is left alone before its operator kills it.
const PAUSE: Duration = Duration::from_secs(2);
/// So long a place in an instance under load may take to be reached.
const SOON: Duration = Duration::from_millis(500);

/// What an upgrade publishes.
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

/// Who fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Victim {
    Old,
    New,
    OldSession,
    NewSession,
    Morphd,
    Store,
}

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// SIGKILL; a session is cut.
    Kill,
    /// SIGSTOP, and SIGCONT after a while.
    Stop,
    /// A panic.
    Panic,
    /// What it does fails: a record or a group of transactions is refused, an instance says that it cannot go on, a session
    /// carries what nobody understands.
    Error,
    /// It never answers again: an instance is found out, morphd and the store are killed by their operator.
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
        Victim::Old,
        Victim::New,
        Victim::OldSession,
        Victim::NewSession,
        Victim::Morphd,
        Victim::Store,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Victim::Old => "old instance",
            Victim::New => "new instance",
            Victim::OldSession => "the old one's session",
            Victim::NewSession => "the new one's session",
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

/// Whether there can be such a cell.
pub(crate) fn applies(step: Step, victim: Victim, fault: Fault) -> bool {
    match victim {
        // It is started after that step was published.
        Victim::New => step > Step::Staged,
        Victim::NewSession => step > Step::Starting && matches!(fault, Fault::Kill | Fault::Error),
        Victim::OldSession => matches!(fault, Fault::Kill | Fault::Error),
        Victim::Old | Victim::Morphd | Victim::Store => true,
    }
}

/// The files that arm the fail points.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        // Whoever finds its file there takes it away, also an instance, which has a user of its own.
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o777))?;
        Ok(Self(dir))
    }

    /// Makes every process of the lab able to fail, once its file is there.
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
        lab.sandbox_mut()
            .set_variable("MORPH_FAIL", &plan.join(","));
        Ok(())
    }

    fn file(&self, point: &str, action: &str) -> PathBuf {
        self.0.path().join(format!("{point}-{action}"))
    }

    /// The next time that the point is reached, it fails.
    fn set(&self, point: &str, action: &str) -> Result<PathBuf> {
        let file = self.file(point, action);
        std::fs::write(&file, "")?;
        Ok(file)
    }
}

/// An upgrade from a release to the other one, and what fails at which of its steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) from: &'static str,
    pub(crate) step: Step,
    pub(crate) victim: Victim,
    pub(crate) fault: Fault,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Which release there is.
    pub(crate) release: &'static str,
    /// From the end of the fault's pause until it was so, and new packets were answered.
    pub(crate) took: Duration,
}

impl Cell {
    fn to(self) -> &'static str {
        LedgerLab::other_release(self.from)
    }

    /// Runs it.
    pub(crate) fn run(self, ledger: &mut LedgerLab, place: &Place) -> Result<Outcome> {
        let mut beside = Vec::new();
        let result = self.upgrade(ledger, place, &mut beside);
        for child in &mut beside {
            let _ = child.kill();
            let _ = child.wait();
        }
        // One that was never reached must not fail in a later cell, and this one has shown nothing.
        let mut missed = Vec::new();
        for entry in std::fs::read_dir(place.0.path())? {
            let file = entry?.path();
            std::fs::remove_file(&file)?;
            missed.push(file);
        }
        ensure!(
            result.is_err() || missed.is_empty(),
            "what was to fail was never reached: {missed:?}"
        );
        result
    }

    fn upgrade(
        self,
        ledger: &mut LedgerLab,
        place: &Place,
        beside: &mut Vec<Child>,
    ) -> Result<Outcome> {
        let at = format!("morphd.upgrade.{}", self.step.name());
        match (self.victim, self.fault) {
            (Victim::Morphd, Fault::Panic) => place.set(&at, "panic")?,
            (Victim::Morphd, Fault::Hang) => place.set(&at, "hang")?,
            (Victim::Morphd, Fault::Error) => {
                place.set(&format!("morphd.record.{}", self.step.name()), "error")?
            }
            _ => place.set(&at, "stop")?,
        };
        let release = format!("app=ledger@{}", self.to());
        let upgrade = ["upgrade", &release, "--probation", "60s", "--no-wait"];
        beside.push(ledger.lab().morpheus()?.ask_beside(&upgrade)?);
        if self.step == Step::Committed {
            wait_until("the probation", PATIENCE, || {
                // The first one of all may not have begun.
                let status = ledger.lab().status("ledger").ok();
                let there = status.is_some_and(|status| status["step"] == "UPGRADED");
                Ok(there.then_some(()))
            })?;
            let commit = ["commit", "app=ledger"];
            beside.push(ledger.lab().morpheus()?.ask_beside(&commit)?);
        }
        let since = self.make(ledger, place)?;
        self.end(ledger, since)
    }

    /// Makes the fault; when its pause was over.
    fn make(self, ledger: &mut LedgerLab, place: &Place) -> Result<Instant> {
        if self.victim == Victim::Morphd {
            return self.fail_morphd(ledger, place);
        }
        let morphd = ledger.lab().process("morphd")?;
        wait_until("morphd is stopped at the step", PATIENCE, || {
            Ok(morphd.is_stopped().then_some(()))
        })?;
        let early = self.victim == Victim::New && self.step == Step::Starting;
        if early {
            // It is started next.
            ledger.lab().morpheus()?.go_on(&morphd);
        }
        let paused = self.fail(ledger, place)?;
        if !early {
            ledger.lab().morpheus()?.go_on(&morphd);
        }
        if let Some(process) = paused {
            pause(self.pause());
            match (self.victim, self.fault) {
                (Victim::Store, Fault::Hang) => process.kill()?,
                // Whoever found out first has killed it.
                _ => drop(process.signal(Signal::CONT)),
            }
        }
        Ok(Instant::now())
    }

    /// On the way to the older schema, where the fence swaps, the store comes back after the fence's deadline for certain.
    fn pause(self) -> Duration {
        match (self.victim, self.fault, self.from) {
            (Victim::Store, Fault::Stop, "2.0.0") => PAUSE + Duration::from_millis(500),
            _ => PAUSE,
        }
    }

    fn fail_morphd(self, ledger: &mut LedgerLab, place: &Place) -> Result<Instant> {
        let morphd = ledger.lab().process("morphd")?;
        let at = format!("morphd.upgrade.{}", self.step.name());
        match self.fault {
            Fault::Kill | Fault::Stop => {
                wait_until("morphd is stopped at the step", PATIENCE, || {
                    Ok(morphd.is_stopped().then_some(()))
                })?;
                if self.fault == Fault::Stop {
                    pause(PAUSE);
                    ledger.lab().morpheus()?.go_on(&morphd);
                    return Ok(Instant::now());
                }
                morphd.kill()?;
            }
            Fault::Error => {
                // It is told to fail once, and has a word about it.
                let file = format!("morphd.record.{}", self.step.name());
                wait_gone(&place.file(&file, "error"))?;
                return Ok(Instant::now());
            }
            Fault::Panic => wait_gone(&place.file(&at, "panic"))?,
            Fault::Hang => {
                wait_gone(&place.file(&at, "hang"))?;
                pause(PAUSE);
                morphd.kill()?;
            }
        }
        ledger.lab_mut().morpheus_mut()?.wait_gone()?;
        let since = Instant::now();
        ledger.start_again()?;
        Ok(since)
    }

    /// Makes the fault of another one than morphd; gives a process that is to go on, or to be killed, after a while.
    fn fail(self, ledger: &LedgerLab, place: &Place) -> Result<Option<Process>> {
        let instance = |version: &'static str| {
            wait_until("the instance runs", PATIENCE, || {
                Ok(ledger.instance(version).ok())
            })
        };
        match self.victim {
            Victim::Old => self.fail_instance(&instance(self.from)?, self.from, place),
            Victim::New if matches!(self.fault, Fault::Panic | Fault::Error | Fault::Hang) => {
                fail_soon(&format!("ledger.{}.input", self.to()), self.fault, place)?;
                Ok(None)
            }
            Victim::New => self.fail_instance(&instance(self.to())?, self.to(), place),
            Victim::OldSession => self.cut(&instance(self.from)?).map(|()| None),
            Victim::NewSession => self.cut(&instance(self.to())?).map(|()| None),
            Victim::Store => self.fail_store(&ledger.lab().process("morph-stored")?, place),
            Victim::Morphd => bail!("morphd fails by itself"),
        }
    }

    fn fail_instance(
        self,
        process: &Process,
        version: &str,
        place: &Place,
    ) -> Result<Option<Process>> {
        match self.fault {
            Fault::Kill => process.kill().map(|()| None),
            Fault::Stop => {
                process.signal(Signal::STOP)?;
                Ok(Some(process.clone()))
            }
            Fault::Panic | Fault::Error | Fault::Hang => {
                fail_soon(&format!("ledger.{version}.input"), self.fault, place)?;
                Ok(None)
            }
        }
    }

    fn fail_store(self, process: &Process, place: &Place) -> Result<Option<Process>> {
        match self.fault {
            Fault::Kill => process.kill().map(|()| None),
            Fault::Stop | Fault::Hang => {
                process.signal(Signal::STOP)?;
                Ok(Some(process.clone()))
            }
            Fault::Panic | Fault::Error => {
                fail_soon("store.group.judged", self.fault, place)?;
                Ok(None)
            }
        }
    }

    /// Cuts the session between an instance and the proxy, or says something on it that nobody understands.
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

    /// Waits until the upgrade has ended, with a commit where it is in its probation, and until the app works.
    fn end(self, ledger: &LedgerLab, since: Instant) -> Result<Outcome> {
        let morpheus = ledger.lab().morpheus()?;
        let mut last = String::new();
        let ended = wait_until("the upgrade ends", PATIENCE, || {
            let Ok(status) = ledger.lab().status("ledger") else {
                return Ok(None);
            };
            last = status.to_string();
            Ok(match status["step"].as_str() {
                Some("UPGRADED") => {
                    morpheus.ask(&["commit", "app=ledger"])?;
                    None
                }
                // Else it is that of the cell before, and this one was refused.
                Some("COMMITTED") if status["to"] == self.to() => Some(self.to()),
                Some("ROLLED_BACK") if status["to"] == self.to() => Some(self.from),
                _ => None,
            })
        });
        let release = ended.with_context(|| last.clone())?;
        let answered = ledger.switches().wait_answers(LedgerLab::PORT, PATIENCE);
        answered.with_context(|| last)?;
        let took = since.elapsed();
        ledger.wait_alone(release)?;
        ledger.switches().never_disconnected()?;
        Ok(Outcome { release, took })
    }
}

fn wait_gone(file: &Path) -> Result<()> {
    let what = format!("{} is reached", file.display());
    wait_until(&what, PATIENCE, || Ok((!file.exists()).then_some(())))
}

/// Arms a place that is reached often, and waits for it; where nothing happens now, it fails at the next thing that does.
fn fail_soon(point: &str, fault: Fault, place: &Place) -> Result<()> {
    let action = match fault {
        Fault::Panic => "panic",
        Fault::Error => "error",
        Fault::Hang => "hang",
        Fault::Kill | Fault::Stop => bail!("{fault:?} needs no place"),
    };
    let file = place.set(point, action)?;
    let _ = wait_until(point, SOON, || Ok((!file.exists()).then_some(())));
    Ok(())
}
