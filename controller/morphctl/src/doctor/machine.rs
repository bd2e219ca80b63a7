//! This machine: folders, disk, descriptors, clock.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{Access, access, statvfs};
use rustix::process::{Resource, geteuid, getrlimit};

use super::morphd::Seen;
use super::{Finding, State};
use crate::endpoint;
use crate::print::utc;

/// Descriptors that the proxy needs beside those of switches.
const OWN: u64 = 64;
/// Below so many bytes the store soon has no room.
const FULL: u64 = 64 << 20;
const TIGHT: u64 = 512 << 20;
/// Nothing of Morpheus is older: 1 January 2025.
const BEGINNING_MS: u64 = 1_735_689_600_000;

/// `proxy`: its process, where it is known.
pub(super) fn look(seen: &Seen, proxy: Option<u32>, found: &mut Vec<Finding>) {
    let uid = geteuid().as_raw();
    let [run, state] = seen.folders().unwrap_or_else(|| folders_without(uid));
    found.push(run_folder(&run, uid));
    found.push(disk(&state));
    found.push(match proxy.and_then(limit_of) {
        Some(limit) => descriptors("morph-proxy", limit),
        None => {
            let own = getrlimit(Resource::Nofile).current;
            descriptors("a proxy started from here", own.unwrap_or(u64::MAX))
        }
    });
    found.push(clock(unix_ms()));
}

/// morphd's defaults for this user.
fn folders_without(uid: u32) -> [PathBuf; 2] {
    let run = endpoint::default_run_dir();
    if uid == 0 {
        return [run, "/var/lib/morpheus".into()];
    }
    let base = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state"));
    let state = base.or_else(home).unwrap_or_else(|| "/".into());
    [run, state.join("morpheus")]
}

fn run_folder(path: &Path, uid: u32) -> Finding {
    let check = "run directory";
    let shown = path.display();
    let bad = |state, why: String, mend: String| Finding::bad(check, state, why, mend);
    let elsewhere = "start morphd with another --run-dir";
    let Ok(there) = path.symlink_metadata() else {
        let parent = existing(path);
        return match access(&parent, Access::WRITE_OK | Access::EXEC_OK) {
            Ok(()) => Finding::ok(check, format!("{shown} can be made")),
            Err(error) => bad(
                State::Trouble,
                format!("{shown} cannot be made: {}: {error}", parent.display()),
                format!("run as root, or {elsewhere}"),
            ),
        };
    };
    if !there.is_dir() {
        let mend = format!("remove it, or {elsewhere}");
        return bad(State::Trouble, format!("{shown} is no folder"), mend);
    }
    if there.uid() != uid && there.uid() != 0 {
        let mend = format!("remove it if it is nobody's, or {elsewhere}");
        return bad(
            State::Trouble,
            format!("{shown} belongs to user {}", there.uid()),
            mend,
        );
    }
    if access(path, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let mend = format!("run as its owner (user {}), or {elsewhere}", there.uid());
        return bad(
            State::Trouble,
            format!("{shown} may not be written by this user"),
            mend,
        );
    }
    if there.mode() & 0o022 != 0 {
        let mend = format!("chmod go-w {shown}");
        return bad(
            State::Warning,
            format!("{shown} may be written by others"),
            mend,
        );
    }
    Finding::ok(check, format!("{shown} is there, and may be written"))
}

/// The nearest folder above that is there.
fn existing(path: &Path) -> PathBuf {
    let found = path.ancestors().find(|above| above.exists());
    found.unwrap_or(Path::new("/")).to_owned()
}

fn disk(state: &Path) -> Finding {
    let place = existing(state);
    match statvfs(&place) {
        Ok(disk) => room(state, disk.f_bavail.saturating_mul(disk.f_frsize)),
        Err(error) => Finding::bad(
            "disk",
            State::Warning,
            format!("{}: {error}", place.display()),
            "see whether it can be read",
        ),
    }
}

fn room(state: &Path, free: u64) -> Finding {
    let found = format!("{} MiB are free for {}", free >> 20, state.display());
    let level = match free {
        0..FULL => State::Trouble,
        FULL..TIGHT => State::Warning,
        TIGHT.. => return Finding::ok("disk", found),
    };
    Finding::bad(
        "disk",
        level,
        found,
        "make room, or start morphd with another --state-dir",
    )
}

/// The soft limit of open files of a process.
fn limit_of(pid: u32) -> Option<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    line.split_ascii_whitespace().nth(3)?.parse().ok()
}

fn descriptors(whose: &str, limit: u64) -> Finding {
    let check = "descriptors";
    let switches = limit.saturating_sub(OWN);
    let found = match limit {
        u64::MAX => format!("{whose} may open any number of files"),
        limit => format!("{whose} may open {limit} files, so some {switches} switches find room"),
    };
    let level = match switches {
        0 => State::Trouble,
        1..=255 => State::Warning,
        _ => return Finding::ok(check, found),
    };
    Finding::bad(
        check,
        level,
        found,
        "raise it (`ulimit -n 4096`, systemd's LimitNOFILE) and start morphd again",
    )
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

fn clock(now_ms: u64) -> Finding {
    let found = format!("it is {}", utc(now_ms));
    if now_ms >= BEGINNING_MS {
        return Finding::ok("clock", found);
    }
    let found = format!(
        "{found}, which cannot be: the times in logs and records are wrong (no wait depends on them)"
    );
    Finding::bad(
        "clock",
        State::Warning,
        found,
        "set the clock, `timedatectl`",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_run_directory_that_cannot_be_used_is_told_with_its_mend() {
        let dir = tempfile::tempdir().unwrap();
        let uid = geteuid().as_raw();
        let run = dir.path().join("a/b");
        assert_eq!(run_folder(&run, uid).state, State::Ok, "it can be made");
        std::fs::create_dir_all(&run).unwrap();
        std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(run_folder(&run, uid).state, State::Warning);
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(run_folder(&file, uid).state, State::Trouble);
        if uid == 0 {
            std::os::unix::fs::chown(&run, Some(12345), None).unwrap();
            let stranger = run_folder(&run, uid);
            assert!(
                stranger.found.contains("belongs to user 12345"),
                "{stranger:?}"
            );
        }
    }

    #[test]
    fn limits_are_judged_by_what_they_leave() {
        assert_eq!(descriptors("it", 64).state, State::Trouble);
        assert_eq!(descriptors("it", 256).state, State::Warning);
        assert_eq!(descriptors("it", 1024).state, State::Ok);
        assert_eq!(descriptors("it", u64::MAX).state, State::Ok);
        let states = [0, 100 << 20, 1 << 30].map(|free| room(Path::new("/x"), free).state);
        assert_eq!(states, [State::Trouble, State::Warning, State::Ok]);
        assert_eq!(clock(0).state, State::Warning);
        assert_eq!(clock(BEGINNING_MS).state, State::Ok);
        assert!(limit_of(std::process::id()).is_some_and(|limit| limit > 0));
    }
}
