//! Which processes the kernel runs first: those that a packet waits for. The store, the proxy and the instances that are
//! ready go before morphd and before an instance that still starts, so that any other program of the machine slows the
//! answers less. An app that is being upgraded does not go first until that has ended: it is the one that pays for it.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, getpriority_process, setpriority_pgrp};

use crate::process::Process;

/// Niceness (sched(7)) against that of morphd: about three times the share of a processor that two want.
const STEP: i32 = -5;
/// The least niceness there is.
const LEAST: i32 = -20;
/// The kernel lets those without `CAP_SYS_ADMIN` weigh one session in 100 ms.
const AGAIN: Duration = Duration::from_millis(150);
/// So often.
const TRIES: u32 = 20;

/// Whether somebody was told that it cannot be done here.
static TOLD: AtomicBool = AtomicBool::new(false);

/// Puts all threads of a process of ours before ours, or beside them again, soon. It needs root or `CAP_SYS_NICE`: without,
/// it is said once, and all are run alike.
pub fn set(process: &Arc<Process>, first: bool) {
    process.first.store(first, Ordering::Relaxed);
    let process = Arc::clone(process);
    tokio::spawn(async move {
        let pid = process.pid();
        match try_to_set(&process).await {
            Ok(()) => tracing::debug!(pid, first, "is given its turn"),
            // It ended meanwhile, or was started by somebody else and leads no group.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {}
            Err(error) if TOLD.swap(true, Ordering::Relaxed) => {
                tracing::debug!(pid, %error, "is run like any other process");
            }
            Err(error) => tracing::info!(
                pid,
                %error,
                "store, proxy and apps are run like any other process: to run them first takes root or CAP_SYS_NICE"
            ),
        }
    });
}

async fn try_to_set(process: &Process) -> io::Result<()> {
    let pid = process.pid();
    let group = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let group = group.ok_or(io::ErrorKind::InvalidInput)?;
    for _ in 0..TRIES {
        // What is wanted by now: somebody else may have asked for something else since.
        let first = process.first.load(Ordering::Relaxed);
        let ours = getpriority_process(None)?;
        let niceness = (if first { ours + STEP } else { ours }).max(LEAST);
        // What a morphd starts leads a group and a session of its own, so this is all of its threads and nobody else's.
        setpriority_pgrp(Some(group), niceness)?;
        match weigh_session(pid, niceness) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(AGAIN).await;
            }
            done => return done,
        }
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// Where the kernel shares the processors among sessions first (sched(7), "The autogroup feature"), niceness says nothing
/// across them: the session itself is given it.
fn weigh_session(pid: u32, niceness: i32) -> io::Result<()> {
    let path = format!("/proc/{pid}/autogroup");
    let file = std::fs::OpenOptions::new().write(true).open(path);
    match file.and_then(|mut file| file.write_all(niceness.to_string().as_bytes())) {
        // The kernel does not share them so, or the process ended meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Its niceness, and that of its session where the kernel has one.
    fn nicenesses(process: &Process) -> (i32, Option<i32>) {
        let pid = Pid::from_raw(process.pid().try_into().unwrap());
        let session = std::fs::read_to_string(format!("/proc/{}/autogroup", process.pid())).ok();
        let session = session.map(|text| text.trim_end().rsplit(' ').next().unwrap().parse());
        (
            getpriority_process(pid).unwrap(),
            session.map(Result::unwrap),
        )
    }

    #[tokio::test]
    async fn a_child_goes_first_where_that_is_allowed_and_not_any_longer_when_it_need_not() {
        let dir = tempfile::tempdir().unwrap();
        let args = ["-c".into(), "exec sleep 60".into()];
        let log = dir.path().join("log");
        let process = Process::spawn(Path::new("/bin/sh"), &args, &log).unwrap();
        let ours = getpriority_process(None).unwrap();
        let before = nicenesses(&process);
        for (first, niceness) in [(true, (ours + STEP).max(LEAST)), (false, ours)] {
            process.first.store(first, Ordering::Relaxed);
            match try_to_set(&process).await {
                Ok(()) => {
                    let (its, session) = nicenesses(&process);
                    assert_eq!((its, session.unwrap_or(its)), (niceness, niceness));
                }
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
                    assert_eq!(nicenesses(&process), before);
                }
            }
        }
        process.signal(rustix::process::Signal::KILL);
        process.wait().await;
        // One that is gone is no other's.
        assert!(try_to_set(&process).await.is_err());
        assert_eq!(getpriority_process(None).unwrap(), ours);
    }
}
