//! Processor time and memory of other processes, from /proc.

use std::fs::read_to_string;

/// One process over the measurement. A reading of a process that is gone is `None`.
pub(crate) struct Watched {
    pub(crate) pid: u32,
    pub(crate) begin: Option<Reading>,
    pub(crate) end: Option<Reading>,
    /// After --linger.
    pub(crate) after: Option<Reading>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reading {
    /// Clock ticks of processor time of all threads, also in the kernel.
    pub(crate) ticks: u64,
    pub(crate) rss_kib: u64,
    /// Largest resident memory so far.
    pub(crate) peak_kib: u64,
}

impl Watched {
    pub(crate) fn new(pid: u32) -> Watched {
        Watched {
            pid,
            begin: None,
            end: None,
            after: None,
        }
    }
}

/// Reads a process; `None` if there is none with this number.
pub(crate) fn read(pid: u32) -> Option<Reading> {
    let stat = read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = read_to_string(format!("/proc/{pid}/status")).ok()?;
    parse(&stat, &status)
}

/// Clock ticks in a second.
pub(crate) fn ticks_a_second() -> u64 {
    // SAFETY: a plain question to the C library.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).unwrap_or(100).max(1)
}

fn parse(stat: &str, status: &str) -> Option<Reading> {
    // The name stands in parentheses and may hold any character.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |n: usize| fields.get(n)?.parse::<u64>().ok();
    let memory = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some(Reading {
        ticks: number(11)? + number(12)?,
        rss_kib: memory("VmRSS:")?,
        peak_kib: memory("VmHWM:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 12 30 0 0 20 0 3 0 5 100 9";
        let status = "Name:\ta\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        let want = Reading {
            ticks: 42,
            rss_kib: 1024,
            peak_kib: 2048,
        };
        assert_eq!(parse(stat, status), Some(want));
        assert_eq!(parse("7 (a", status), None);
        assert_eq!(parse(stat, ""), None);
        assert!(read(std::process::id()).is_some());
    }
}
