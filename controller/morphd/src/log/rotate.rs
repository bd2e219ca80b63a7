//! Log files and their rotation: a full file is copied to `NAME.log.1` and truncated.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Size in bytes beyond which a log is rotated. Lines written between the copy and the truncation are lost; that is the
/// price of a file that its writers keep open.
pub(super) const LIMIT: u64 = 8 * 1024 * 1024;

/// Opens a log for appending, creating it and its folder.
pub fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().append(true).create(true).open(path)
}

/// Writes a line of morphd's own into the log of a child.
pub fn append(path: &Path, line: &str) -> io::Result<()> {
    // In one write, so that no line of a child comes between.
    open(path)?.write_all(format!("{line}\n").as_bytes())
}

/// Path of the log of an app or a daemon.
pub fn path(state_dir: &Path, name: &str) -> PathBuf {
    state_dir.join("log").join(format!("{name}.log"))
}

/// Current length of a log, which is where a process that is started now begins to write.
pub fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

/// Rotates every log in a folder that is too long.
pub fn rotate_all(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|e| e == "log")
            && let Err(error) = rotate(&path, LIMIT)
        {
            tracing::warn!(log = %path.display(), %error, "cannot rotate the log; it keeps growing");
        }
    }
}

pub(super) fn rotate(path: &Path, limit: u64) -> io::Result<()> {
    if std::fs::metadata(path)?.len() <= limit {
        return Ok(());
    }
    let log = OpenOptions::new().write(true).open(path)?;
    // Followers hold the shared lock while they read, so they see the log before or after the rotation.
    flock(&log, FlockOperation::LockExclusive)?;
    std::fs::copy(path, rotated(path))?;
    log.set_len(0)
}

/// Path of the copy that a rotation leaves.
pub(super) fn rotated(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}
