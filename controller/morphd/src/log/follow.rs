//! Reader of a log as it grows, through its rotations.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};

use super::rotate::{LIMIT, length, rotated};

/// Number of bytes read in one poll at most: more than a log and its rotated copy hold.
const MAX_READ: u64 = 4 * LIMIT;
/// Number of bytes after which a line without end is cut.
const MAX_LINE: usize = 64 * 1024;

/// Reads the lines that are appended to one log.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    /// Offset in the log up to which it was read.
    position: u64,
    /// Length and time of the rotated copy at the last poll; a change tells that the log was rotated since.
    rotation: Option<(u64, SystemTime)>,
    /// Beginning of a line whose end is not written yet.
    partial: Vec<u8>,
}

impl Follower {
    /// Begins at the end of the last complete line.
    pub fn begin(path: &Path) -> io::Result<Self> {
        let _no_rotation = prevent_rotation(path)?;
        let length = length(path);
        let from = length.saturating_sub(MAX_LINE as u64);
        let mut end = Vec::new();
        read(path, from, &mut end)?;
        let partial = end.iter().rev().take_while(|byte| **byte != b'\n').count() as u64;
        Ok(Follower {
            path: path.to_owned(),
            position: length - partial.min(length),
            rotation: last_rotation(path),
            partial: Vec::new(),
        })
    }

    /// Offset in the log at which the reading continues.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns the complete lines that were appended since the last poll.
    pub fn poll(&mut self) -> io::Result<Vec<String>> {
        let _no_rotation = prevent_rotation(&self.path)?;
        let rotation = last_rotation(&self.path);
        if rotation != self.rotation {
            self.rotation = rotation;
            read(&rotated(&self.path), self.position, &mut self.partial)?;
            self.position = 0;
        }
        self.position += read(&self.path, self.position, &mut self.partial)?;
        Ok(self.take_lines())
    }

    fn take_lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let rest = self.partial.split_off(end + 1);
            let line = std::mem::replace(&mut self.partial, rest);
            lines.push(String::from_utf8_lossy(&line[..end]).into_owned());
        }
        if self.partial.len() > MAX_LINE {
            let line = std::mem::take(&mut self.partial);
            lines.push(String::from_utf8_lossy(&line).into_owned());
        }
        lines
    }
}

fn last_rotation(path: &Path) -> Option<(u64, SystemTime)> {
    let copy = std::fs::metadata(rotated(path)).ok()?;
    Some((copy.len(), copy.modified().ok()?))
}

/// Takes the shared lock that a rotation waits for; `None` where there is no log.
fn prevent_rotation(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => {
            flock(&file, FlockOperation::LockShared)?;
            Ok(Some(file))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Appends what a file holds after `from` and returns the number of bytes.
fn read(path: &Path, from: u64, into: &mut Vec<u8>) -> io::Result<u64> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    file.seek(SeekFrom::Start(from))?;
    Ok(file.take(MAX_READ).read_to_end(into)? as u64)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::rotate::{open, path, rotate};
    use super::*;

    #[test]
    fn no_line_is_lost_or_repeated_when_the_log_is_rotated() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path(), "router");
        let mut before_the_log = Follower::begin(&path).unwrap();
        assert!(before_the_log.poll().unwrap().is_empty());
        let mut log = open(&path).unwrap();
        write!(log, "old\nbeg").unwrap();
        let mut follower = Follower::begin(&path).unwrap();
        assert_eq!(follower.position(), 4);
        write!(log, "un\ntwo\nthr").unwrap();
        assert_eq!(follower.poll().unwrap(), ["begun", "two"]);
        write!(log, "ee\nfour\n").unwrap();
        // More than stood there before, so that the length alone tells nothing.
        rotate(&path, 5).unwrap();
        write!(log, "{}\nsix", "five".repeat(10)).unwrap();
        let five = "five".repeat(10);
        assert_eq!(follower.poll().unwrap(), ["three", "four", five.as_str()]);
        writeln!(log, "th").unwrap();
        assert_eq!(follower.poll().unwrap(), ["sixth"]);
        assert_eq!(before_the_log.poll().unwrap().last().unwrap(), "sixth");
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path(), "router");
        let mut log = open(&path).unwrap();
        let mut follower = Follower::begin(&path).unwrap();
        log.write_all(&vec![b'x'; MAX_LINE + 1]).unwrap();
        assert_eq!(follower.poll().unwrap()[0].len(), MAX_LINE + 1);
        log.write_all(&[0xff, b'\n']).unwrap();
        assert_eq!(follower.poll().unwrap(), ["\u{fffd}"]);
    }
}
