//! Lock files: whether a process of Morpheus lives, and which process it is.
//!
//! Each process holds an exclusive `flock` on its file for as long as it lives and writes a [`Holder`] as JSON into it.
//! The kernel releases the lock with the process, so a held lock proves that its holder is alive. The start time guards
//! against a process id that the kernel has given to another process since.
//!
//! | file | held by |
//! |---|---|
//! | `RUN_DIR/morphd.lock` | morphd |
//! | `RUN_DIR/proxy.lock` | morph-proxy |
//! | `RUN_DIR/stored.lock`, and `lock` in the store's directory | morph-stored |
//! | `RUN_DIR/instances/APP-ID` | an app instance |
//!
//! Behind the JSON, from byte 65536 on, the file of an app instance names the event that the instance is handling: two
//! numbers of eight bytes, the incarnation and the number of its [`Seq`](crate::store::Seq); both are 0 while it handles none. So
//! it is known of which event an instance died, also where it was killed.

mod mark;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use mark::{EventMark, marked_event};

/// Longest content that is read; no holder is as long. The mark of the event follows.
const LONGEST: u64 = 64 * 1024;

/// Content of a lock file: the process that holds it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Process id of the holder.
    pub pid: u32,
    /// Start of the process in clock ticks since boot (`/proc/PID/stat`). Files of older versions call it `start` or
    /// `started`, or leave it out.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        alias = "start",
        alias = "started"
    )]
    pub start_time: Option<u64>,
    /// Location of the data as morph-stored was told it; empty for all others.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub store: String,
    /// Name of the app, for an app instance.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub app: String,
    /// Version of the app's release, for an app instance.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub release: String,
    /// Id of the instance, for an app instance.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instance: String,
}

impl Holder {
    /// Describes the calling process; the caller adds what else is to be known of it.
    pub fn current() -> Self {
        let pid = std::process::id();
        Holder {
            pid,
            start_time: start_time(pid),
            ..Holder::default()
        }
    }
}

/// Failure to take a lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it: its process id, where the file says so.
    #[error("held by {}", match .0 { Some(pid) => format!("process {pid}"), None => "another process".into() })]
    Held(Option<u32>),
    /// The file cannot be opened or written.
    #[error(transparent)]
    File(#[from] io::Error),
}

/// A lock that the calling process holds. Dropping it and all its [`EventMark`]s releases the lock and leaves the file: only
/// the lock counts.
#[derive(Debug)]
pub struct Lock {
    file: Arc<File>,
}

impl Lock {
    /// Takes the lock without waiting and writes `holder` into the file.
    pub fn take(path: &Path, holder: &Holder) -> Result<Lock, LockError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held(read(&mut file).map(|holder| holder.pid)));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let mut text = serde_json::to_vec(holder).map_err(io::Error::other)?;
        text.push(b'\n');
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(&text)?;
        Ok(Lock {
            file: Arc::new(file),
        })
    }

    /// Marker for the events that the holder handles; an error where the file takes none.
    pub fn event_mark(&self) -> io::Result<EventMark> {
        EventMark::map(&self.file)
    }
}

/// State of a lock file, as another process sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockState {
    /// The file does not exist, or nobody holds its lock.
    Free,
    /// A living process holds it and has not written a [`Holder`] (yet).
    Unnamed,
    /// A living process holds it: this one.
    Held(Holder),
}

/// Tells the state of a lock file without taking the lock.
pub fn inspect(path: &Path) -> io::Result<LockState> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(LockState::Free),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(LockState::Free),
        Err(TryLockError::WouldBlock) => {
            Ok(read(&mut file).map_or(LockState::Unnamed, LockState::Held))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn read(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).ok()?;
    serde_json::from_str(text.trim_end_matches('\0')).ok()
}

/// Reads when a process started, in clock ticks since boot: field 22 of `/proc/PID/stat` (proc(5)).
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    start_time_in(&stat)
}

/// Field 2, the name, may itself contain blanks and brackets; the last bracket ends it.
fn start_time_in(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::store::Seq;

    /// A path of its own for one test, removed at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let file = format!("morph-lock-{}-{name}", std::process::id());
            Scratch(std::env::temp_dir().join(file))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_second_taker_is_told_who_has_it() {
        let path = &Scratch::new("second").0;
        assert_eq!(inspect(path).unwrap(), LockState::Free);
        let holder = Holder {
            app: "router".into(),
            ..Holder::current()
        };
        let lock = Lock::take(path, &holder).unwrap();
        let error = Lock::take(path, &Holder::default())
            .unwrap_err()
            .to_string();
        assert_eq!(error, format!("held by process {}", std::process::id()));
        assert_eq!(inspect(path).unwrap(), LockState::Held(holder));
        drop(lock);
        assert_eq!(inspect(path).unwrap(), LockState::Free);
        Lock::take(path, &Holder::current()).unwrap();
    }

    #[test]
    fn the_event_that_an_instance_handles_is_marked_behind_its_name() {
        let path = &Scratch::new("mark").0;
        let holder = Holder {
            instance: "i1".into(),
            ..Holder::current()
        };
        let lock = Lock::take(path, &holder).unwrap();
        assert_eq!(marked_event(path), None);
        let event = Seq {
            incarnation: 3,
            n: 1 << 40,
        };
        lock.event_mark().unwrap().set(event);
        assert_eq!(inspect(path).unwrap(), LockState::Held(holder.clone()));
        assert_eq!(marked_event(path), Some(("i1".to_owned(), event)));
        lock.event_mark().unwrap().set(Seq::ZERO);
        assert_eq!(marked_event(path), Some(("i1".to_owned(), Seq::ZERO)));
        EventMark::default().set(event);
        lock.event_mark().unwrap().set(event);
        drop(lock);
        let found = marked_event(path);
        assert_eq!(found, Some(("i1".to_owned(), event)), "when it is dead");
        let _lock = Lock::take(path, &holder).unwrap();
        assert_eq!(marked_event(path), None, "of the one before");
    }

    #[test]
    fn a_held_file_without_json_is_unnamed() {
        let path = &Scratch::new("unnamed").0;
        std::fs::write(path, "not json").unwrap();
        let file = File::open(path).unwrap();
        file.lock().unwrap();
        assert_eq!(inspect(path).unwrap(), LockState::Unnamed);
    }

    #[test]
    fn files_of_older_versions_are_read() {
        for (text, start_time) in [
            (r#"{"pid":7,"start":9}"#, Some(9)),
            (r#"{"pid":7,"started":9}"#, Some(9)),
            (
                r#"{"pid":7,"program":"morph-proxy","version":"0.1.0"}"#,
                None,
            ),
        ] {
            let holder: Holder = serde_json::from_str(text).unwrap();
            assert_eq!((holder.pid, holder.start_time), (7, start_time), "{text}");
        }
    }

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(start_time_in(stat), Some(4711));
        assert_eq!(start_time_in("7 (x) S"), None);
        assert!(start_time(std::process::id()).is_some());
    }
}
