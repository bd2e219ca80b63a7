//! Real-time scheduling (sched(7), SCHED_RR at the lowest priority) of processes that a packet waits for: the kernel runs
//! such a process as soon as it has something to do, whatever else the machine does. A process that uses more than half
//! of a processor is scheduled like others until it uses less than a quarter, so none blocks the rest of the machine
//! for longer than one period.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::machine::liveness::CpuTime;
use crate::process::Process;

/// Time between two measurements of a process's CPU time.
const PERIOD: Duration = Duration::from_millis(500);
/// CPU time in a period above which real-time scheduling ends, in clock ticks of 10 ms: half of a processor.
const HIGH: u64 = 25;
/// CPU time in a period below which real-time scheduling begins: a quarter of a processor.
const LOW: u64 = 12;

/// Set where the configuration forbids real-time scheduling.
static DISABLED: AtomicBool = AtomicBool::new(false);

/// Leaves all scheduling to niceness.
pub fn switch_off() {
    DISABLED.store(true, Ordering::Relaxed);
}

/// Switches real-time scheduling of a process on and off by its CPU time, for as long as the process lives and `wanted` is
/// true. Without the right to do so it does nothing.
pub(crate) async fn watch(process: Arc<Process>, wanted: impl Fn() -> bool) {
    if DISABLED.load(Ordering::Relaxed) {
        // An earlier morphd with another configuration may have switched it on.
        let _ = set(process.pid(), false);
        return;
    }
    let (mut last, mut current) = (process.cpu_time(), None);
    // Once the process has ended the kernel may give its pid to another.
    while !process.ended_within(PERIOD).await {
        let (Some(before), Some(now)) = (last, process.cpu_time()) else {
            return;
        };
        // No await between this check and `set`.
        if !wanted() {
            return;
        }
        last = Some(now);
        let next = by_cpu_time(before, now);
        if next.is_none() || next == current {
            continue;
        }
        current = next;
        if let Err(error) = set(process.pid(), next == Some(true)) {
            tracing::debug!(pid = process.pid(), %error, "the process is not scheduled in real time");
            return;
        }
    }
}

/// Decides whether a process is to be scheduled in real time after one period; `None` leaves it as it is.
fn by_cpu_time(before: CpuTime, now: CpuTime) -> Option<bool> {
    match now.ticks.saturating_sub(before.ticks) {
        used if used > HIGH => Some(false),
        used if used < LOW => Some(true),
        _ => None,
    }
}

/// Switches all threads of a process to real-time scheduling, or back to scheduling by niceness.
pub(crate) fn set(pid: u32, real_time: bool) -> io::Result<()> {
    let (policy, priority) = match real_time {
        true => (libc::SCHED_RR, 1),
        false => (libc::SCHED_OTHER, 0),
    };
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A name that is no number is no thread. Threads that start meanwhile inherit the policy.
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
            // The thread ended meanwhile.
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
    async fn a_process_runs_in_real_time_while_it_uses_little_cpu_time() {
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
            eprintln!("skipped: {error}");
            process.signal(rustix::process::Signal::KILL);
            return;
        }
        set(process.pid(), false).unwrap();
        let watcher = tokio::spawn(watch(Arc::clone(&process), || true));
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
        watcher.await.unwrap();
    }

    #[test]
    fn between_a_quarter_and_a_half_of_a_processor_nothing_changes() {
        let cpu_time = |ticks| CpuTime {
            ticks,
            runnable: false,
        };
        for (used, next) in [
            (0, Some(true)),
            (11, Some(true)),
            (12, None),
            (25, None),
            (26, Some(false)),
        ] {
            assert_eq!(by_cpu_time(cpu_time(7), cpu_time(7 + used)), next, "{used}");
        }
    }
}
