//! Which processes the kernel runs first: those that a packet waits for. The store, the proxy and the instances that are
//! ready go before morphd and before an instance that still starts, so that any other program of the machine slows the
//! answers less. The instances of an app that is being upgraded go beside morphd meanwhile: it is the one that pays for it.
//! By niceness, and in real time where they use little ([`crate::realtime`]).

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, getpriority_process, setpriority_pgrp};

use crate::process::Process;
use crate::realtime;

/// What is wanted of a process.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// Nothing yet, [`BESIDE`] or [`FIRST`].
    wanted: AtomicU8,
    /// How often that has changed.
    change: AtomicU32,
}

/// As morphd.
const BESIDE: u8 = 1;
/// Before morphd.
const FIRST: u8 = 2;

/// Niceness (sched(7)) against that of morphd: about three times the share of a processor that two want.
const STEP: i32 = -5;
/// The least niceness there is.
const LEAST: i32 = -20;
/// The kernel lets those without `CAP_SYS_ADMIN` weigh one session of the machine in 100 ms.
const AGAIN: Duration = Duration::from_millis(150);
/// So often: one of many apps that start at once waits for its turn.
const TRIES: u32 = 400;

/// Whether somebody was told that it cannot be done here.
static TOLD: AtomicBool = AtomicBool::new(false);

/// Puts all threads of a process of ours before ours, or beside them. It needs root or `CAP_SYS_NICE`: without, it is said
/// once, and all are run alike.
pub fn set(process: &Arc<Process>, first: bool) {
    let turn = if first { FIRST } else { BESIDE };
    if process.turn.wanted.swap(turn, Ordering::Relaxed) == turn {
        return;
    }
    let change = process.turn.change.fetch_add(1, Ordering::Relaxed) + 1;
    if first {
        let looked_after = Arc::clone(process);
        let wanted = move || looked_after.turn.change.load(Ordering::Relaxed) == change;
        tokio::spawn(realtime::keep(Arc::clone(process), wanted));
    }
    let done = take_turn(process);
    if !would_block(&done) {
        return tell(process.pid(), done);
    }
    let process = Arc::clone(process);
    tokio::spawn(async move {
        let mut done = Ok(());
        for _ in 0..TRIES {
            // Its number is another's once it has ended.
            if process.ended_within(AGAIN).await {
                return;
            }
            done = take_turn(&process);
            if !would_block(&done) {
                break;
            }
        }
        tell(process.pid(), done);
    });
}

fn would_block(done: &io::Result<()>) -> bool {
    let error = done.as_ref().err();
    error.is_some_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

fn tell(pid: u32, done: io::Result<()>) {
    let Err(error) = done else {
        return;
    };
    match error.kind() {
        io::ErrorKind::PermissionDenied if !TOLD.swap(true, Ordering::Relaxed) => tracing::info!(
            pid,
            %error,
            "store, proxy and apps are run like any other process: to run them first takes root or CAP_SYS_NICE"
        ),
        // It ended meanwhile, or was started by somebody else and leads no group.
        _ => tracing::debug!(pid, %error, "is run like any other process"),
    }
}

/// Does what is wanted by now. Nothing is awaited between the look and the deed, so the last one that is wanted stays.
fn take_turn(process: &Process) -> io::Result<()> {
    let pid = process.pid();
    let group = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let group = group.ok_or(io::ErrorKind::InvalidInput)?;
    let step = match process.turn.wanted.load(Ordering::Relaxed) {
        FIRST => STEP,
        _ => {
            realtime::set(pid, false)?;
            0
        }
    };
    let niceness = (getpriority_process(None)? + step).max(LEAST);
    // What a morphd starts leads a group and a session of its own, so this is all of its threads and nobody else's.
    setpriority_pgrp(Some(group), niceness)?;
    weigh_session(pid, niceness)
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
        let process = Arc::new(Process::spawn(Path::new("/bin/sh"), &args, &log).unwrap());
        let ours = getpriority_process(None).unwrap();
        let before = nicenesses(&process);
        for (first, niceness) in [(true, (ours + STEP).max(LEAST)), (false, ours)] {
            set(&process, first);
            let mut done = take_turn(&process);
            while would_block(&done) {
                tokio::time::sleep(AGAIN).await;
                done = take_turn(&process);
            }
            match done {
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
        assert!(take_turn(&process).is_err());
        assert_eq!(getpriority_process(None).unwrap(), ours);
    }
}
