//! Last lines of a log.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Number of bytes at a log's end that are searched for its last lines.
const SEARCHED: u64 = 1024 * 1024;

/// Last lines of a log before the position `until` (`None`: its end), oldest first; none where there is no log.
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
    // A log that is shorter than `since` was rotated meanwhile.
    let since = if since <= length { since } else { 0 };
    let start = length.saturating_sub(SEARCHED).max(since);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(length - start).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // The first line is incomplete if the reading began in its middle.
    let all: Vec<&str> = text.lines().skip(usize::from(start > since)).collect();
    let first = all.len().saturating_sub(lines);
    Ok(all[first..].iter().map(|line| (*line).to_owned()).collect())
}

/// Lines at the end of a log among which an error is taken for the cause of the end.
const CAUSE_WITHIN: usize = 3;

/// Last message of a process that has ended, if it wrote any. `since` is the log's length at its start: lines before it
/// belong to other processes. After a panic the message is searched before the backtrace that may follow it.
pub fn last_message(path: &Path, since: u64, panicked: bool) -> Option<String> {
    let lines = tail_within(path, since, None, 200).ok()?;
    if panicked && let Some(at) = lines.iter().rposition(|line| line.contains("panicked at")) {
        let message = lines.get(at + 1).map_or("", String::as_str);
        return Some(format!("{} {message}", lines[at].trim_end()));
    }
    let written = || lines.iter().rev().filter(|line| !line.trim().is_empty());
    // What follows an error at the very end, as a session that closes, is not the cause.
    let error = written()
        .take(CAUSE_WITHIN)
        .find(|line| line.contains("Z ERROR "));
    let message = error.or_else(|| written().next())?;
    Some(without_time_and_level(message).to_owned())
}

/// Strips what our own log lines begin with, for quoting one line within another.
fn without_time_and_level(line: &str) -> &str {
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
    use super::super::rotate::{length, open, path, rotate};
    use super::*;
    use std::io::Write;

    #[test]
    fn a_full_log_is_copied_and_written_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path(), "router");
        let tail = |lines| tail_until(&path, None, lines).unwrap();
        let mut log = open(&path).unwrap();
        writeln!(log, "first").unwrap();
        rotate(&path, 100).unwrap();
        assert_eq!(tail(9), ["first"]);
        rotate(&path, 5).unwrap();
        assert_eq!(tail(9), Vec::<String>::new());
        writeln!(log, "second\nthird\n").unwrap();
        assert_eq!(tail(2), ["third", ""]);
        assert_eq!(last_message(&path, 0, false).as_deref(), Some("third"));
        // A process that was started after all this, and two that were started before the truncation.
        assert_eq!(last_message(&path, length(&path), false), None);
        assert_eq!(last_message(&path, 999, false).as_deref(), Some("third"));
        assert_eq!(last_message(&path, 7, false).as_deref(), Some("third"));
        let lines =
            "2026-01-01T00:00:00.0Z ERROR no space\n2026-01-01T00:00:00.1Z  WARN session closed\n";
        log.write_all(lines.as_bytes()).unwrap();
        assert_eq!(last_message(&path, 0, false).as_deref(), Some("no space"));
        writeln!(log, "a\nb\nc").unwrap();
        assert_eq!(last_message(&path, 0, false).as_deref(), Some("c"));
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
        let message = last_message(&path, 0, true).unwrap();
        assert_eq!(
            message,
            "thread 'main' (7) panicked at src/x.rs:1:2: no such port"
        );
        // The panic of an earlier instance is not this one's.
        assert_eq!(last_message(&path, 0, false).unwrap(), "   0: x");
    }

    #[test]
    fn time_and_level_are_left_out() {
        assert_eq!(
            without_time_and_level("2026-11-21T10:14:48.152610Z ERROR cannot listen"),
            "cannot listen"
        );
        assert_eq!(without_time_and_level("Zebra: no port"), "Zebra: no port");
    }

    #[test]
    fn no_log_has_no_lines() {
        let dir = tempfile::tempdir().unwrap();
        let lines = tail_until(&path(dir.path(), "none"), None, 5).unwrap();
        assert!(lines.is_empty());
    }
}
