//! What children write on standard error: append-only files of bounded size.
//!
//! A file, because a pipe would kill the child with EPIPE when morphd dies. Opened with O_APPEND, because then a file
//! that was truncated is written on from its new end.

mod follow;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

pub use follow::Follower;
use rustix::fs::{FlockOperation, flock};

/// A log is copied to `NAME.log.1` and truncated beyond this. What is written between the copy and the truncation
/// is lost; that is the price of a file that its writers hold open.
const BOUND: u64 = 8 * 1024 * 1024;

/// How much of a log's end is looked at for its last lines.
const TAIL: u64 = 1024 * 1024;

/// Opens a log for appending, creating it and its folder.
pub fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().append(true).create(true).open(path)
}

/// The log of an app or of a part of Morpheus.
pub fn path(state_dir: &Path, name: &str) -> PathBuf {
    state_dir.join("log").join(format!("{name}.log"))
}

/// Bounds every log in a folder.
pub fn bound_all(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|e| e == "log")
            && let Err(error) = bound(&path, BOUND)
        {
            tracing::warn!(log = %path.display(), %error, "cannot bound the log");
        }
    }
}

fn bound(path: &Path, bound: u64) -> io::Result<()> {
    if std::fs::metadata(path)?.len() <= bound {
        return Ok(());
    }
    let log = OpenOptions::new().write(true).open(path)?;
    // Who follows it looks before or after this.
    flock(&log, FlockOperation::LockExclusive)?;
    std::fs::copy(path, follow::copy_of(path))?;
    log.set_len(0)
}

/// The last lines of a log, oldest first; none where there is no log.
pub fn tail(path: &Path, lines: usize) -> io::Result<Vec<String>> {
    tail_within(path, 0, None, lines)
}

/// The same of what stands before `until`.
pub fn tail_until(path: &Path, until: Option<u64>, lines: usize) -> io::Result<Vec<String>> {
    tail_within(path, 0, until, lines)
}

fn tail_within(
    path: &Path,
    since: u64,
    until: Option<u64>,
    lines: usize,
) -> io::Result<Vec<String>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let length = until.map_or(length, |until| until.min(length));
    // Shorter than that: it was copied and truncated meanwhile.
    let since = if since <= length { since } else { 0 };
    let start = length.saturating_sub(TAIL).max(since);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(length - start).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // The first line is cut where the reading began in its middle.
    let all: Vec<&str> = text.lines().skip(usize::from(start > since)).collect();
    let first = all.len().saturating_sub(lines);
    Ok(all[first..].iter().map(|line| (*line).to_owned()).collect())
}

/// How long a log is: where a process that is started now begins to write.
pub fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

/// What a process that has ended said last, if it said anything after the log was `since` long: what stands before is of
/// others. Of one that panicked that is not the last line: a backtrace may follow.
pub fn last_words(path: &Path, since: u64, panicked: bool) -> Option<String> {
    let lines = tail_within(path, since, None, 200).ok()?;
    if panicked && let Some(at) = lines.iter().rposition(|line| line.contains("panicked at")) {
        // The message stands in the next line, before what may be a long backtrace.
        let said = lines.get(at + 1).map_or("", String::as_str);
        return Some(format!("{} {said}", lines[at].trim_end()));
    }
    let last = lines.iter().rev().find(|line| !line.trim().is_empty())?;
    Some(without_stamp(last).to_owned())
}

/// A line of ours begins with its time and its level; in another line they would only be in the way.
fn without_stamp(line: &str) -> &str {
    let after_time = line
        .split_once('Z')
        .map_or(line, |(_, rest)| rest.trim_start());
    let message = ["ERROR ", "WARN ", "INFO "]
        .iter()
        .find_map(|level| after_time.strip_prefix(level));
    message.unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_full_log_is_copied_and_written_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path(), "router");
        let mut log = open(&path).unwrap();
        writeln!(log, "first").unwrap();
        bound(&path, 100).unwrap();
        assert_eq!(tail(&path, 9).unwrap(), ["first"]);
        bound(&path, 5).unwrap();
        assert_eq!(tail(&path, 9).unwrap(), Vec::<String>::new());
        writeln!(log, "second\nthird\n").unwrap();
        assert_eq!(tail(&path, 2).unwrap(), ["third", ""]);
        assert_eq!(last_words(&path, 0, false).as_deref(), Some("third"));
        // Of a process that was started after all this, and of one that was started before the truncation.
        assert_eq!(last_words(&path, length(&path), false), None);
        assert_eq!(last_words(&path, 999, false).as_deref(), Some("third"));
        assert_eq!(last_words(&path, 7, false).as_deref(), Some("third"));
        let old = std::fs::read_to_string(path.with_extension("log.1")).unwrap();
        assert_eq!(old, "first\n");
    }

    #[test]
    fn a_panic_is_found_before_its_backtrace() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path(), "router");
        let log = "started\n\nthread 'main' (7) panicked at src/x.rs:1:2:\nno such port\nstack backtrace:\n   0: x\n";
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, log).unwrap();
        let words = last_words(&path, 0, true).unwrap();
        assert_eq!(
            words,
            "thread 'main' (7) panicked at src/x.rs:1:2: no such port"
        );
        // Another instance's panic before it is not this one's.
        assert_eq!(last_words(&path, 0, false).unwrap(), "   0: x");
    }

    #[test]
    fn time_and_level_are_left_out() {
        assert_eq!(
            without_stamp("2026-11-21T10:14:48.152610Z ERROR cannot listen"),
            "cannot listen"
        );
        assert_eq!(without_stamp("Zebra: no port"), "Zebra: no port");
    }

    #[test]
    fn no_log_has_no_lines() {
        let dir = tempfile::tempdir().unwrap();
        assert!(tail(&path(dir.path(), "none"), 5).unwrap().is_empty());
    }
}
