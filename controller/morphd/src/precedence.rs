//! Which processes the kernel runs first: those that a packet waits for. The store, the proxy and the instances that are
//! ready go before morphd and before other programs of the machine, so that those slow the answers less. An app that is
//! being upgraded goes beside morphd until the hand-over, and its newcomer behind until it is ready: it is the one that
//! pays for it.

use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI8, Ordering};
use std::time::Duration;

use rustix::process::{Pid, getpriority_process, setpriority_pgrp};

use crate::process::Process;

/// When a process is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// After morphd: nobody waits for it yet.
    Behind,
    /// As morphd.
    Beside,
    /// Before morphd.
    First,
}

impl Turn {
    /// Niceness (sched(7)) against that of morphd: five are about three times the share of a processor that two want.
    fn step(self) -> i8 {
        match self {
            Turn::Behind => 5,
            Turn::Beside => 0,
            Turn::First => -5,
        }
    }
}

/// What is wanted of a process, as a step of niceness.
#[derive(Debug)]
pub(crate) struct Wanted(AtomicI8);

impl Default for Wanted {
    fn default() -> Self {
        Wanted(AtomicI8::new(i8::MIN))
    }
}

/// The least and the greatest niceness there are.
const NICENESS: RangeInclusive<i32> = -20..=19;
/// The kernel lets those without `CAP_SYS_ADMIN` weigh one session of the machine in 100 ms.
const AGAIN: Duration = Duration::from_millis(150);
/// So often: one of many apps that start at once waits for its turn.
const TRIES: u32 = 400;

/// Whether somebody was told that it cannot be done here.
static TOLD: AtomicBool = AtomicBool::new(false);
/// Whether it can be: the store has come first, before there is any instance.
static MAY: AtomicBool = AtomicBool::new(false);

/// Gives all threads of a process of ours their turn. To run them first needs root or `CAP_SYS_NICE`: without, it is said
/// once.
pub fn set(process: &Arc<Process>, turn: Turn) {
    let step = turn.step();
    if process.wanted.0.swap(step, Ordering::Relaxed) == step {
        return;
    }
    let done = take_turn(process);
    if !would_block(&done) {
        return tell(process.pid(), done);
    }
    let process = Arc::clone(process);
    tokio::spawn(async move {
        let mut done = Ok(());
        for _ in 0..TRIES {
            tokio::time::sleep(AGAIN).await;
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
    let step = i32::from(process.wanted.0.load(Ordering::Relaxed));
    // Anybody may put a process behind, and then not have it back.
    if step > 0 && !MAY.load(Ordering::Relaxed) {
        return Ok(());
    }
    let niceness = getpriority_process(None)?.saturating_add(step);
    let niceness = niceness.clamp(*NICENESS.start(), *NICENESS.end());
    // What a morphd starts leads a group and a session of its own, so this is all of its threads and nobody else's.
    setpriority_pgrp(Some(group), niceness)?;
    MAY.fetch_or(step < 0, Ordering::Relaxed);
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
        let turns = [
            (Turn::First, (ours - 5).max(-20)),
            (Turn::Behind, (ours + 5).min(19)),
            (Turn::Beside, ours),
        ];
        for (turn, niceness) in turns {
            set(&process, turn);
            if turn == Turn::First {
                assert_eq!(take_turn(&process).is_ok(), MAY.load(Ordering::Relaxed));
            }
            match MAY.load(Ordering::Relaxed) {
                true => {
                    let (its, session) = nicenesses(&process);
                    assert_eq!((its, session.unwrap_or(its)), (niceness, niceness));
                }
                false => assert_eq!(nicenesses(&process), before, "{turn:?}"),
            }
        }
        process.signal(rustix::process::Signal::KILL);
        process.wait().await;
        // One that is gone is no other's.
        assert!(take_turn(&process).is_err());
        assert_eq!(getpriority_process(None).unwrap(), ours);
    }
}
