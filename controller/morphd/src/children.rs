//! Users of the app instances, and what they may reach.
//!
//! Where morphd is root each app has a user of its own, `first-id` plus the app's id; no account with that id is needed. The
//! group of all apps, `first-id` itself, owns the run directory, and files made there inherit it (set-group-ID): so
//! `store.sock` and `sessions.sock` admit exactly root and the instances. Everything else stays root's alone: the store's
//! files, the logs (an instance has only its open standard error), `proxy.sock` and `api.sock`.

use std::fs::{Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;

/// Default of `first-id`: systemd leaves 60578 to 61183 to others.
const DEFAULT_FIRST_ID: u32 = 60_700;
/// Capabilities that root needs for giving files and processes to other users and ending them (capabilities(7)): CHOWN,
/// KILL, SETGID, SETUID.
const CAPABILITIES: [u32; 4] = [0, 5, 6, 7];
/// Sockets in the run directory that instances connect to.
const SOCKETS: [&str; 2] = ["store.sock", "sessions.sock"];

/// Section `[children]` of morphd's configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Children {
    /// `None` where the file does not say: `own` if possible.
    users: Option<Users>,
    /// Id of the group of all apps; app 3 is user `first-id` + 3.
    #[serde(default = "default_first_id")]
    first_id: u32,
    /// Permits real-time scheduling of processes that a packet waits for.
    #[serde(default = "default_real_time")]
    real_time: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Users {
    /// Each app has a user of its own.
    Own,
    /// All apps run as morphd's user.
    Morphd,
}

fn default_first_id() -> u32 {
    DEFAULT_FIRST_ID
}

fn default_real_time() -> bool {
    true
}

impl Default for Children {
    fn default() -> Self {
        Children {
            users: None,
            first_id: DEFAULT_FIRST_ID,
            real_time: true,
        }
    }
}

/// User and group of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    pub uid: u32,
    pub gid: u32,
}

/// Range of users of all apps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppUsers {
    first: u32,
}

impl AppUsers {
    /// User and group of the app with this id.
    pub fn of(self, app: u8) -> Credentials {
        Credentials {
            uid: self.first + u32::from(app),
            gid: self.first,
        }
    }
}

impl Children {
    /// Refuses a range that reaches into the system's users.
    pub fn check(&self) -> Result<(), String> {
        match self.first_id {
            1000..=0x7fff_0000 => Ok(()),
            id => Err(format!(
                "first-id = {id} is not between 1000 and 2147418112: ids below 1000 belong to the system's users"
            )),
        }
    }

    pub fn real_time(&self) -> bool {
        self.real_time
    }

    /// Chooses the users of the instances and opens to them what they need of the two directories, which must exist. `None`
    /// means that instances run as morphd's user.
    pub fn prepare(&self, state_dir: &Path, run_dir: &Path) -> anyhow::Result<Option<AppUsers>> {
        let root = rustix::process::geteuid().is_root();
        let obstacle = match self.users {
            Some(Users::Morphd) => return Ok(None),
            Some(Users::Own) | None if root => self.obstacle(state_dir, run_dir),
            Some(Users::Own) => Some("morphd does not run as root".to_owned()),
            None => return Ok(None),
        };
        if let Some(why) = obstacle {
            if self.users.is_some() {
                bail!(
                    "apps cannot have users of their own, as [children] users = \"own\" demands: {why}"
                );
            }
            tracing::warn!("apps run as root, without users of their own: {why}");
            return Ok(None);
        }
        let users = AppUsers {
            first: self.first_id,
        };
        users.grant_access(state_dir, run_dir)?;
        Ok(Some(users))
    }

    /// Reason why apps cannot have users of their own here, if there is one.
    fn obstacle(&self, state_dir: &Path, run_dir: &Path) -> Option<String> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        if !has_capabilities(&read("/proc/self/status")) {
            return Some("root may not change users here: it lacks one of the capabilities CHOWN, KILL, SETGID and SETUID".into());
        }
        let last = self.first_id.saturating_add(u32::from(u8::MAX));
        if !are_mapped(&read("/proc/self/uid_map"), self.first_id, last)
            || !are_mapped(&read("/proc/self/gid_map"), self.first_id, last)
        {
            let first = self.first_id;
            return Some(format!(
                "this user namespace does not map the ids {first} to {last}; set first-id in [children] to a range that it maps"
            ));
        }
        let run = std::fs::metadata(run_dir).ok()?;
        let in_run_dir = |problem: &str| Some(format!("{} {problem}", run_dir.display()));
        if run.mode() & 0o002 != 0 {
            return in_run_dir("can be written by everybody (chmod o-w)");
        }
        if run.mode() & 0o2000 != 0 && ![0, self.first_id].contains(&run.gid()) {
            return in_run_dir("passes on a group that is not that of the apps (chmod g-s)");
        }
        [state_dir, run_dir].into_iter().find_map(unreachable)
    }
}

impl AppUsers {
    /// Grants the instances access to their executables and the sockets, and to nothing else.
    fn grant_access(self, state_dir: &Path, run_dir: &Path) -> anyhow::Result<()> {
        let group = Some(self.first);
        let add = |path: &Path, bits: u32| -> anyhow::Result<()> {
            let change = || {
                let mode = std::fs::metadata(path)?.mode();
                std::fs::set_permissions(path, Permissions::from_mode(mode & 0o7777 | bits))
            };
            change().with_context(|| format!("cannot set the mode of {}", path.display()))
        };
        let give = |path: &Path| {
            chown(path, None, group)
                .with_context(|| format!("cannot give {} to group {}", path.display(), self.first))
        };
        add(state_dir, 0o011)?;
        let bundles = state_dir.join("bundles");
        add(&bundles, 0o055)?;
        crate::bundle::make_all_readable(&bundles)?;
        give(run_dir)?;
        add(run_dir, 0o2011)?;
        add(&run_dir.join("instances"), 0o011)?;
        // Sockets of daemons that run already.
        for socket in SOCKETS.map(|name| run_dir.join(name)) {
            if socket.exists() {
                give(&socket)?;
                add(&socket, 0o060)?;
            }
        }
        Ok(())
    }
}

impl Credentials {
    /// Creates an empty file that this user owns.
    pub fn make_file(self, path: &Path) -> io::Result<()> {
        let file = std::fs::File::create(path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        chown(path, Some(self.uid), Some(self.gid))
    }
}

/// Names a parent folder that other users may not traverse.
fn unreachable(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let closed = |found: Metadata| found.mode() & 0o001 == 0;
    let mut above = path.ancestors().skip(1);
    let folder = above.find(|folder| std::fs::metadata(folder).is_ok_and(closed))?;
    Some(format!(
        "other users may not enter {} (chmod o+x) and so cannot reach {}",
        folder.display(),
        path.display()
    ))
}

/// Tells whether `/proc/self/status` (proc(5)) shows the capabilities that root needs.
fn has_capabilities(status: &str) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    set.is_some_and(|set| CAPABILITIES.iter().all(|bit| set >> bit & 1 == 1))
}

/// Tells whether one line of an id map covers all these ids. A line has three fields: first id inside, first id outside,
/// count (user_namespaces(7)).
fn are_mapped(map: &str, first: u32, last: u32) -> bool {
    map.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace().map(str::parse::<u64>);
        let (Some(Ok(inside)), Some(Ok(_)), Some(Ok(count))) =
            (fields.next(), fields.next(), fields.next())
        else {
            return false;
        };
        inside <= u64::from(first) && u64::from(last) < inside.saturating_add(count)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn children(text: &str) -> Result<Children, String> {
        let children: Children = toml::from_str(text).map_err(|error| error.to_string())?;
        children.check().map(|()| children)
    }

    #[test]
    fn mistakes_in_the_configuration_are_named() {
        assert_eq!(children("").unwrap(), Children::default());
        let own = children("users = 'own'\nfirst-id = 70000").unwrap();
        assert_eq!((own.users, own.first_id), (Some(Users::Own), 70_000));
        assert!(children("users = 'root'").unwrap_err().contains("root"));
        assert!(children("first-id = 0").unwrap_err().contains("system"));
        assert!(children("colour = 1").unwrap_err().contains("colour"));
    }

    #[test]
    fn unmapped_ids_are_detected() {
        let all = "         0          0 4294967295\n";
        let some = "         0     100000      65536\n";
        assert!(are_mapped(all, 60_700, 60_955));
        assert!(are_mapped(some, 60_700, 60_955));
        assert!(!are_mapped(some, 65_400, 65_655));
        assert!(!are_mapped("", 1, 2));
    }

    #[test]
    fn missing_capabilities_are_detected() {
        assert!(has_capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n"));
        assert!(has_capabilities("CapEff:\t00000000000000e1\n"));
        assert!(!has_capabilities("CapEff:\t0000000000000061\n"));
        assert!(!has_capabilities(""));
    }

    #[test]
    fn a_folder_that_others_may_not_enter_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("state");
        std::fs::create_dir(&inner).unwrap();
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
        let why = unreachable(&inner).unwrap();
        assert!(why.contains("chmod o+x"), "{why}");
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o711)).unwrap();
        assert_eq!(unreachable(&inner), None);
    }

    #[test]
    fn nothing_is_examined_where_it_is_switched_off() {
        let off = children("users = 'morphd'").unwrap();
        let nowhere = Path::new("/nowhere");
        assert_eq!(off.prepare(nowhere, nowhere).unwrap(), None);
    }
}
