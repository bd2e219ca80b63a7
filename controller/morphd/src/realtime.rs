//! Real-time scheduling (sched(7), SCHED_RR at the lowest priority) of what a packet waits for: such a process is run as soon as
//! it has something to do, whatever else the machine does. It is for those who do little at a time: one that uses more than
//! half of a processor is run like others until it uses less than a quarter, so that none keeps the rest of the machine
//! waiting for longer than between two looks.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::process::{Process, Toil};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// In clock ticks (10 ms) between two looks: half of a processor.
const MUCH: u64 = 25;
/// The same, a quarter.
const LITTLE: u64 = 12;

/// Whether it was switched off.
static OFF: AtomicBool = AtomicBool::new(false);

/// Has all run by niceness alone.
pub fn switch_off() {
    OFF.store(true, Ordering::Relaxed);
}

/// Looks after a process for as long as it lives and `wanted` says so. Where this is not allowed it does nothing.
pub(crate) async fn keep(process: Arc<Process>, wanted: impl Fn() -> bool) {
    if OFF.load(Ordering::Relaxed) {
        // Another morphd may have had it so.
        let _ = set(process.pid(), false);
        return;
    }
    let (mut last, mut is) = (process.toil(), None);
    // Its number is another's once it has ended.
    while !process.ended_within(LOOK).await {
        let (Some(before), Some(now)) = (last, process.toil()) else {
            return;
        };
        // Nothing is awaited from here to the next look.
        if !wanted() {
            return;
        }
        last = Some(now);
        let then = by_use(before, now);
        if then.is_none() || then == is {
            continue;
        }
        is = then;
        if let Err(error) = set(process.pid(), then == Some(true)) {
            tracing::debug!(pid = process.pid(), %error, "is not run in real time");
            return;
        }
    }
}

/// How a process is to be run after a look; none: as before.
fn by_use(before: Toil, now: Toil) -> Option<bool> {
    match now.cpu.saturating_sub(before.cpu) {
        used if used > MUCH => Some(false),
        used if used < LITTLE => Some(true),
        _ => None,
    }
}

/// Runs all threads of a process so, or like others with their niceness.
pub(crate) fn set(pid: u32, real_time: bool) -> io::Result<()> {
    let (policy, priority) = match real_time {
        true => (libc::SCHED_RR, 1),
        false => (libc::SCHED_OTHER, 0),
    };
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // What is no number is no thread; threads that begin meanwhile are like the one that began them.
        let Ok(thread) = thread?.file_name().to_string_lossy().parse() else {
            continue;
        };
        set_thread(thread, policy, priority)?;
    }
    Ok(())
}

#[allow(unsafe_code)]
fn set_thread(thread: i32, policy: i32, priority: i32) -> io::Result<()> {
    let param = libc::sched_param {
        sched_priority: priority,
    };
    // SAFETY: the kernel reads `param` during the call only, and it is alive.
    match unsafe { libc::sched_setscheduler(thread, policy, &raw const param) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            // It ended meanwhile.
            error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            error => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn real_time(process: &Process) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid())).unwrap();
        let (_, after_name) = stat.rsplit_once(')').unwrap();
        // Field 41; after the name they begin with 3.
        after_name.split_ascii_whitespace().nth(38) == Some("2")
    }

    #[tokio::test]
    async fn who_uses_little_is_run_in_real_time_and_not_who_takes_a_processor() {
        let dir = tempfile::tempdir().unwrap();
        let now = dir.path().join("now");
        let script = format!(
            "while [ ! -e {0} ]; do sleep 0.05; done; while [ -e {0} ]; do :; done; exec sleep 60",
            now.display()
        );
        let args = ["-c".into(), script.into()];
        let log = dir.path().join("log");
        let process = Arc::new(Process::spawn(Path::new("/bin/sh"), &args, &log).unwrap());
        if let Err(error) = set(process.pid(), true) {
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
            eprintln!("not shown here: {error}");
            process.signal(rustix::process::Signal::KILL);
            return;
        }
        set(process.pid(), false).unwrap();
        let kept = tokio::spawn(keep(Arc::clone(&process), || true));
        let becomes = async |wanted: bool| {
            let until = std::time::Instant::now() + Duration::from_secs(20);
            while real_time(&process) != wanted {
                assert!(std::time::Instant::now() < until, "never: {wanted}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        becomes(true).await;
        std::fs::write(&now, "").unwrap();
        becomes(false).await;
        std::fs::remove_file(&now).unwrap();
        becomes(true).await;
        process.signal(rustix::process::Signal::KILL);
        process.wait().await;
        kept.await.unwrap();
    }

    #[test]
    fn between_a_quarter_and_a_half_of_a_processor_all_stays_as_it_is() {
        let toil = |cpu| Toil {
            cpu,
            waits_its_turn: false,
        };
        for (used, then) in [
            (0, Some(true)),
            (11, Some(true)),
            (12, None),
            (25, None),
            (26, Some(false)),
        ] {
            assert_eq!(by_use(toil(7), toil(7 + used)), then, "{used}");
        }
    }
}
