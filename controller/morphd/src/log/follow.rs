//! A log as it grows, through its truncations.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};

/// Read in one look at most: more than a log and its copy hold.
const MOST: u64 = 4 * super::BOUND;
/// A line that is longer is cut.
const LINE: usize = 64 * 1024;

/// One reader of one log.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    /// It was read up to here.
    position: u64,
    /// The copy as it was then: another one says that the log was truncated since.
    copy: Option<(u64, SystemTime)>,
    /// A line that is not ended.
    begun: Vec<u8>,
}

impl Follower {
    /// From the end of the last whole line on.
    pub fn begin(path: &Path) -> io::Result<Self> {
        let _still = still(path)?;
        let length = super::length(path);
        let from = length.saturating_sub(LINE as u64);
        let mut end = Vec::new();
        read(path, from, &mut end)?;
        let unended = end.iter().rev().take_while(|byte| **byte != b'\n').count() as u64;
        Ok(Follower {
            path: path.to_owned(),
            position: length - unended.min(length),
            copy: stamp(path),
            begun: Vec::new(),
        })
    }

    /// Where the reading goes on.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The lines that have come since the last look.
    pub fn look(&mut self) -> io::Result<Vec<String>> {
        let _still = still(&self.path)?;
        let copy = stamp(&self.path);
        if copy != self.copy {
            self.copy = copy;
            read(&copy_of(&self.path), self.position, &mut self.begun)?;
            self.position = 0;
        }
        self.position += read(&self.path, self.position, &mut self.begun)?;
        Ok(self.take_lines())
    }

    fn take_lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(end) = self.begun.iter().position(|byte| *byte == b'\n') {
            let rest = self.begun.split_off(end + 1);
            let line = std::mem::replace(&mut self.begun, rest);
            lines.push(String::from_utf8_lossy(&line[..end]).into_owned());
        }
        if self.begun.len() > LINE {
            let line = std::mem::take(&mut self.begun);
            lines.push(String::from_utf8_lossy(&line).into_owned());
        }
        lines
    }
}

/// Where a log goes when it is truncated.
pub(super) fn copy_of(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

fn stamp(path: &Path) -> Option<(u64, SystemTime)> {
    let copy = std::fs::metadata(copy_of(path)).ok()?;
    Some((copy.len(), copy.modified().ok()?))
}

/// While this is held nobody truncates the log; none where there is no log.
fn still(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => {
            flock(&file, FlockOperation::LockShared)?;
            Ok(Some(file))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Appends what a file has from here on; says how much.
fn read(path: &Path, from: u64, into: &mut Vec<u8>) -> io::Result<u64> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    file.seek(SeekFrom::Start(from))?;
    Ok(file.take(MOST).read_to_end(into)? as u64)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn no_line_is_lost_or_said_twice_when_the_log_is_truncated() {
        let dir = tempfile::tempdir().unwrap();
        let path = super::super::path(dir.path(), "router");
        let mut nothing_yet = Follower::begin(&path).unwrap();
        assert!(nothing_yet.look().unwrap().is_empty());
        let mut log = super::super::open(&path).unwrap();
        write!(log, "old\nbeg").unwrap();
        let mut follower = Follower::begin(&path).unwrap();
        assert_eq!(follower.position(), 4);
        write!(log, "un\ntwo\nthr").unwrap();
        assert_eq!(follower.look().unwrap(), ["begun", "two"]);
        write!(log, "ee\nfour\n").unwrap();
        // More than stood there before, so that its length tells nothing.
        super::super::bound(&path, 5).unwrap();
        write!(log, "{}\nsix", "five".repeat(10)).unwrap();
        let five = "five".repeat(10);
        assert_eq!(follower.look().unwrap(), ["three", "four", five.as_str()]);
        writeln!(log, "th").unwrap();
        assert_eq!(follower.look().unwrap(), ["sixth"]);
        assert_eq!(nothing_yet.look().unwrap().last().unwrap(), "sixth");
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = super::super::path(dir.path(), "router");
        let mut log = super::super::open(&path).unwrap();
        let mut follower = Follower::begin(&path).unwrap();
        log.write_all(&vec![b'x'; LINE + 1]).unwrap();
        assert_eq!(follower.look().unwrap()[0].len(), LINE + 1);
        log.write_all(&[0xff, b'\n']).unwrap();
        assert_eq!(follower.look().unwrap(), ["\u{fffd}"]);
    }
}
