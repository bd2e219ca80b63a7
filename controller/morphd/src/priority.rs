//! Scheduling priority of the child processes. A packet waits for the store, the proxy and the instances that are ready:
//! the kernel runs them before morphd and before an instance that is still starting, so any other program of the machine
//! slows the answers less. While an app is upgraded its instances run at morphd's priority: the app itself pays for
//! its upgrade, not the others.
//!
//! The means are niceness, and real-time scheduling for processes that use little CPU time ([`crate::realtime`]).

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, getpriority_process, setpriority_pgrp};

use crate::process::Process;
use crate::realtime;

/// Scheduling priority of a process relative to morphd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Same niceness as morphd, never in real time.
    Normal = 1,
    /// Lower niceness than morphd, never in real time: for the proxy. What floods it would have it hold a processor for
    /// whole slices of real time, while the instances wait that are to answer.
    Raised = 2,
    /// Lower niceness than morphd, in real time while the process uses little CPU time.
    RealTime = 3,
}

/// Difference in niceness (sched(7)) to morphd: about three times the share of a contended processor.
const STEP: i32 = -5;
/// Lowest niceness that the kernel knows.
const LOWEST: i32 = -20;
/// Without `CAP_SYS_ADMIN` the kernel accepts one change of an autogroup on the whole machine in 100 ms.
const RETRY_AFTER: Duration = Duration::from_millis(150);
/// Number of retries, large enough for many apps that start at once.
const RETRIES: u32 = 400;

/// Set once the operator has been told that the priority cannot be changed here.
static REPORTED: AtomicBool = AtomicBool::new(false);

/// Sets the priority of all threads of a child process. A raised priority needs root or `CAP_SYS_NICE`; without it this is
/// reported once, and all processes run alike.
pub fn set(process: &Arc<Process>, priority: Priority) {
    let wanted = &process.priority;
    let level = priority as u8;
    if wanted.level.swap(level, Ordering::Relaxed) == level {
        return;
    }
    let change = wanted.changes.fetch_add(1, Ordering::Relaxed) + 1;
    if priority == Priority::RealTime {
        let watched = Arc::clone(process);
        let still_wanted = move || watched.priority.changes.load(Ordering::Relaxed) == change;
        tokio::spawn(realtime::watch(Arc::clone(process), still_wanted));
    }
    let result = apply(process);
    if !would_block(&result) {
        return report(process.pid(), result);
    }
    let process = Arc::clone(process);
    tokio::spawn(async move {
        let mut result = Ok(());
        for _ in 0..RETRIES {
            // Once the process has ended the kernel may give its pid to another.
            if process.ended_within(RETRY_AFTER).await {
                return;
            }
            result = apply(&process);
            if !would_block(&result) {
                break;
            }
        }
        report(process.pid(), result);
    });
}

fn would_block(result: &io::Result<()>) -> bool {
    let error = result.as_ref().err();
    error.is_some_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

fn report(pid: u32, result: io::Result<()>) {
    let Err(error) = result else {
        return;
    };
    match error.kind() {
        io::ErrorKind::PermissionDenied if !REPORTED.swap(true, Ordering::Relaxed) => {
            tracing::info!(
                pid,
                %error,
                "store, proxy and apps run at the same priority as any other process; to raise it start morphd as root or \
                 with CAP_SYS_NICE"
            )
        }
        // The process ended meanwhile, or was started by someone else and leads no process group.
        _ => tracing::debug!(pid, %error, "the priority of the process is unchanged"),
    }
}

/// Applies the level that is wanted by now. No await between reading the level and setpriority: the last request wins.
fn apply(process: &Process) -> io::Result<()> {
    let pid = process.pid();
    let group = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let group = group.ok_or(io::ErrorKind::InvalidInput)?;
    let level = process.priority.level.load(Ordering::Relaxed);
    if level != Priority::RealTime as u8 {
        realtime::set(pid, false)?;
    }
    let step = match level == Priority::Normal as u8 {
        true => 0,
        false => STEP,
    };
    let niceness = (getpriority_process(None)? + step).max(LOWEST);
    // A child of morphd leads a process group and a session of its own, so this covers all of its threads and no others.
    setpriority_pgrp(Some(group), niceness)?;
    set_autogroup(pid, niceness)
}

/// Sets the niceness of the process's session. Where the kernel shares the processors among sessions first (sched(7),
/// "The autogroup feature"), the niceness of a process counts only within its session.
fn set_autogroup(pid: u32, niceness: i32) -> io::Result<()> {
    let path = format!("/proc/{pid}/autogroup");
    let file = std::fs::OpenOptions::new().write(true).open(path);
    match file.and_then(|mut file| file.write_all(niceness.to_string().as_bytes())) {
        // The kernel has no autogroups, or the process ended meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Niceness of a process, and of its session where the kernel has autogroups.
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
    async fn the_priority_is_raised_where_that_is_allowed_and_lowered_again() {
        let dir = tempfile::tempdir().unwrap();
        let args = ["-c".into(), "exec sleep 60".into()];
        let log = dir.path().join("log");
        let process = Arc::new(Process::spawn(Path::new("/bin/sh"), &args, &log).unwrap());
        let ours = getpriority_process(None).unwrap();
        let before = nicenesses(&process);
        for (priority, niceness) in [
            (Priority::RealTime, (ours + STEP).max(LOWEST)),
            (Priority::Normal, ours),
            (Priority::Raised, (ours + STEP).max(LOWEST)),
        ] {
            set(&process, priority);
            let mut result = apply(&process);
            while would_block(&result) {
                tokio::time::sleep(RETRY_AFTER).await;
                result = apply(&process);
            }
            match result {
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
        assert!(apply(&process).is_err(), "no other process is affected");
        assert_eq!(getpriority_process(None).unwrap(), ours);
    }
}
