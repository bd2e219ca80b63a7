//! Lock files: who is alive, and which process it is.
//!
//! A process of Morpheus holds `flock` on its file for as long as it lives and writes JSON with its pid into it. The
//! kernel lets go of the lock with the process, so a held lock cannot lie about being alive; the start time guards
//! against a pid that was given to another process since.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// What a lock file says of the process that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// Clock ticks from boot to its start (`/proc/PID/stat`), where it was written down.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        alias = "start",
        alias = "started"
    )]
    pub start_time: Option<u64>,
    /// Of morph-stored: where its data is, as it was told.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub store: String,
    /// Of an app's instance: the app.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub app: String,
    /// Of an app's instance: its release.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub release: String,
    /// Of an app's instance: its id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instance: String,
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("held by {}", match .0 { Some(pid) => format!("process {pid}"), None => "another process".into() })]
    Held(Option<u32>),
    /// The file cannot be opened or written.
    #[error(transparent)]
    File(#[from] std::io::Error),
}

/// A lock that this process holds; dropping it lets go.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock and writes this process into the file, or says who has it.
    pub fn take(path: &Path) -> Result<Lock, LockError> {
        let mut file = open(path, true)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(LockError::Held(said_by(&mut file).map(|holder| holder.pid)));
        }
        let pid = std::process::id();
        let holder = Holder {
            pid,
            start_time: crate::process::start_time(pid),
            store: String::new(),
            app: String::new(),
            release: String::new(),
            instance: String::new(),
        };
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(&serde_json::to_vec(&holder).map_err(std::io::Error::other)?)?;
        Ok(Lock { _file: file })
    }
}

/// What a lock file tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No file, or nobody holds it.
    Free,
    /// Held by a living process that has not written itself down (yet).
    Unnamed,
    /// Held by this process.
    Held(Holder),
}

/// Looks who holds a lock, without taking it.
pub fn look(path: &Path) -> std::io::Result<Found> {
    let mut file = match open(path, false) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Free),
        Err(error) => return Err(error),
    };
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return Ok(Found::Free);
    }
    Ok(said_by(&mut file).map_or(Found::Unnamed, Found::Held))
}

fn open(path: &Path, create: bool) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(create)
        .create(create)
        .truncate(false)
        .open(path)
}

fn said_by(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    // Bounded: whoever wrote more than this did not write a holder.
    file.take(64 * 1024).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("morphd.lock");
        assert_eq!(look(&path).unwrap(), Found::Free);
        let lock = Lock::take(&path).unwrap();
        let error = Lock::take(&path).unwrap_err().to_string();
        assert_eq!(error, format!("held by process {}", std::process::id()));
        let Found::Held(holder) = look(&path).unwrap() else {
            panic!("not held");
        };
        assert_eq!(holder.start_time, crate::process::start_time(holder.pid));
        drop(lock);
        assert_eq!(look(&path).unwrap(), Found::Free);
        Lock::take(&path).unwrap();
    }

    #[test]
    fn a_held_file_without_json_is_unnamed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "not json").unwrap();
        let file = open(&path, true).unwrap();
        flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert_eq!(look(&path).unwrap(), Found::Unnamed);
    }
}
