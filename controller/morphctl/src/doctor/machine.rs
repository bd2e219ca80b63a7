//! This machine: directories, disk, file descriptors, clock.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{Access, access, statvfs};
use rustix::process::{Resource, geteuid, getrlimit};

use super::finding::{Finding, Severity};
use super::morphd::Snapshot;
use crate::endpoint;
use crate::print::utc;

/// Descriptors that the proxy needs in addition to those for switches.
const RESERVED_DESCRIPTORS: u64 = 64;
/// Free bytes below which the store soon cannot write.
const FULL_DISK: u64 = 64 << 20;
const LOW_DISK: u64 = 512 << 20;
/// Earliest plausible time, 1 January 2025: Morpheus is younger.
const EARLIEST_MS: u64 = 1_735_689_600_000;

/// Makes the checks; `proxy` is morph-proxy's process, if known.
pub(super) fn check(snapshot: &Snapshot, proxy: Option<u32>, findings: &mut Vec<Finding>) {
    let uid = geteuid().as_raw();
    let [run, state] = snapshot.folders().unwrap_or_else(|| default_folders(uid));
    findings.push(run_folder(&run, uid));
    findings.push(disk(&state));
    findings.push(match proxy.and_then(limit_of) {
        Some(limit) => descriptors("morph-proxy", limit),
        None => {
            let own = getrlimit(Resource::Nofile).current;
            descriptors("a morph-proxy started from here", own.unwrap_or(u64::MAX))
        }
    });
    findings.push(clock(unix_ms()));
}

/// Run directory and state directory of a morphd that this user starts without options.
fn default_folders(uid: u32) -> [PathBuf; 2] {
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
    let problem =
        |severity, text: String, fix: String| Finding::problem(check, severity, text, fix);
    let elsewhere = "start morphd with another --run-dir";
    let Ok(metadata) = path.symlink_metadata() else {
        let parent = nearest_existing(path);
        return match access(&parent, Access::WRITE_OK | Access::EXEC_OK) {
            Ok(()) => Finding::ok(check, format!("{shown} can be created")),
            Err(error) => problem(
                Severity::Trouble,
                format!("{shown} cannot be created in {}: {error}", parent.display()),
                format!("run as root, or {elsewhere}"),
            ),
        };
    };
    if !metadata.is_dir() {
        let fix = format!("remove it, or {elsewhere}");
        return problem(
            Severity::Trouble,
            format!("{shown} is not a directory"),
            fix,
        );
    }
    if metadata.uid() != uid && metadata.uid() != 0 {
        let fix = format!("remove it if nobody uses it, or {elsewhere}");
        return problem(
            Severity::Trouble,
            format!("{shown} belongs to user {}", metadata.uid()),
            fix,
        );
    }
    if access(path, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let fix = format!("run as its owner (user {}), or {elsewhere}", metadata.uid());
        return problem(
            Severity::Trouble,
            format!("this user must not write to {shown}"),
            fix,
        );
    }
    if metadata.mode() & 0o022 != 0 {
        let fix = format!("chmod go-w {shown}");
        return problem(
            Severity::Warning,
            format!("other users may write to {shown}"),
            fix,
        );
    }
    Finding::ok(check, format!("{shown} exists and is writable"))
}

/// Finds the nearest directory above a path that exists.
fn nearest_existing(path: &Path) -> PathBuf {
    let found = path.ancestors().find(|above| above.exists());
    found.unwrap_or(Path::new("/")).to_owned()
}

fn disk(state: &Path) -> Finding {
    let place = nearest_existing(state);
    match statvfs(&place) {
        Ok(disk) => disk_space(state, disk.f_bavail.saturating_mul(disk.f_frsize)),
        Err(error) => Finding::problem(
            "disk",
            Severity::Warning,
            format!("cannot find the free space of {}: {error}", place.display()),
            "see whether the directory can be read",
        ),
    }
}

fn disk_space(state: &Path, free: u64) -> Finding {
    let text = format!("{} MiB are free for {}", free >> 20, state.display());
    let severity = match free {
        0..FULL_DISK => Severity::Trouble,
        FULL_DISK..LOW_DISK => Severity::Warning,
        LOW_DISK.. => return Finding::ok("disk", text),
    };
    Finding::problem(
        "disk",
        severity,
        text,
        "free some space, or start morphd with another --state-dir",
    )
}

/// Soft limit of open files of a process.
fn limit_of(pid: u32) -> Option<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    line.split_ascii_whitespace().nth(3)?.parse().ok()
}

fn descriptors(process: &str, limit: u64) -> Finding {
    let check = "descriptors";
    let switches = limit.saturating_sub(RESERVED_DESCRIPTORS);
    let text = match limit {
        u64::MAX => format!("{process} may open any number of files"),
        limit => format!("{process} may open {limit} files, enough for about {switches} switches"),
    };
    let severity = match switches {
        0 => Severity::Trouble,
        1..=255 => Severity::Warning,
        _ => return Finding::ok(check, text),
    };
    Finding::problem(
        check,
        severity,
        text,
        "raise the limit (`ulimit -n 4096`, or LimitNOFILE of systemd) and restart morphd",
    )
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

fn clock(now_ms: u64) -> Finding {
    let text = format!("the time is {}", utc(now_ms));
    if now_ms >= EARLIEST_MS {
        return Finding::ok("clock", text);
    }
    let text = format!(
        "{text}, which is wrong, and so are the times in logs and records (deadlines are not affected)"
    );
    Finding::problem(
        "clock",
        Severity::Warning,
        text,
        "set the clock with `timedatectl`",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_unusable_run_directory_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let uid = geteuid().as_raw();
        let run = dir.path().join("a/b");
        assert_eq!(
            run_folder(&run, uid).severity,
            Severity::Ok,
            "it can be created"
        );
        std::fs::create_dir_all(&run).unwrap();
        std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(run_folder(&run, uid).severity, Severity::Warning);
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(run_folder(&file, uid).severity, Severity::Trouble);
        if uid == 0 {
            std::os::unix::fs::chown(&run, Some(12345), None).unwrap();
            let foreign = run_folder(&run, uid);
            assert!(
                foreign.text.contains("belongs to user 12345"),
                "{foreign:?}"
            );
        }
    }

    #[test]
    fn limits_have_thresholds() {
        assert_eq!(descriptors("it", 64).severity, Severity::Trouble);
        assert_eq!(descriptors("it", 256).severity, Severity::Warning);
        assert_eq!(descriptors("it", 1024).severity, Severity::Ok);
        assert_eq!(descriptors("it", u64::MAX).severity, Severity::Ok);
        let severities =
            [0, 100 << 20, 1 << 30].map(|free| disk_space(Path::new("/x"), free).severity);
        assert_eq!(
            severities,
            [Severity::Trouble, Severity::Warning, Severity::Ok]
        );
        assert_eq!(clock(0).severity, Severity::Warning);
        assert_eq!(clock(EARLIEST_MS).severity, Severity::Ok);
        assert!(limit_of(std::process::id()).is_some_and(|limit| limit > 0));
    }
}
