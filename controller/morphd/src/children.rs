//! As whom the instances of apps run, and what they may reach.
//!
//! Where morphd is root each app has a user of its own: `first-id` and the app's id, which no account needs to have. Their group, `first-id`
//! itself, owns the run directory, which hands it on (set-group-ID): so `store.sock` and `sessions.sock` let exactly root and the instances
//! in. Everything else of Morpheus stays root's alone: the store's files, the logs (an instance has only its open
//! standard error), `proxy.sock` and `api.sock`.

use std::fs::{Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;

/// Where the range begins unless the configuration says otherwise: systemd leaves 60578 to 61183 to others.
const FIRST: u32 = 60_700;
/// What root has to be able to do: to give files and processes away, and to end them (capabilities(7): CHOWN, KILL, SETGID, SETUID).
const CAPABILITIES: [u32; 4] = [0, 5, 6, 7];
/// Sockets that instances connect to.
const SOCKETS: [&str; 2] = ["store.sock", "sessions.sock"];

/// `[children]` of morphd's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Children {
    /// Unsaid: `own` where that can be.
    users: Option<Users>,
    /// The group of all; app 3 is user `first-id` + 3.
    #[serde(default = "first")]
    first_id: u32,
    /// What a packet waits for may be run in real time.
    #[serde(default = "yes")]
    real_time: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Users {
    /// Each app has its own.
    Own,
    /// All run as morphd does.
    Morphd,
}

fn first() -> u32 {
    FIRST
}

fn yes() -> bool {
    true
}

impl Default for Children {
    fn default() -> Self {
        Children {
            users: None,
            first_id: FIRST,
            real_time: true,
        }
    }
}

/// A user and a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// The users of all apps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owners {
    first: u32,
}

impl Owners {
    /// As whom an app runs.
    pub fn of(self, app: u8) -> Ids {
        Ids {
            uid: self.first + u32::from(app),
            gid: self.first,
        }
    }
}

impl Children {
    /// The range is of users that are none of the system's.
    pub fn check(&self) -> Result<(), String> {
        match self.first_id {
            1000..=0x7fff_0000 => Ok(()),
            id => Err(format!(
                "first-id = {id} is not from 1000 to 2147418112: below are the system's users"
            )),
        }
    }

    /// Whether what a packet waits for may be run in real time.
    pub fn real_time(&self) -> bool {
        self.real_time
    }

    /// As whom the instances are to run; none: as morphd does. The folders are there; what instances need of them is opened to them.
    pub fn settle(&self, state_dir: &Path, run_dir: &Path) -> anyhow::Result<Option<Owners>> {
        let root = rustix::process::geteuid().is_root();
        let obstacle = match self.users {
            Some(Users::Morphd) => return Ok(None),
            Some(Users::Own) | None if root => self.obstacle(state_dir, run_dir),
            Some(Users::Own) => Some("morphd is not root".to_owned()),
            None => return Ok(None),
        };
        if let Some(why) = obstacle {
            if self.users.is_some() {
                bail!("[children] users = \"own\": {why}");
            }
            tracing::warn!("apps run as root, not as users of their own: {why}");
            return Ok(None);
        }
        let owners = Owners {
            first: self.first_id,
        };
        owners.open(state_dir, run_dir)?;
        Ok(Some(owners))
    }

    /// Why they cannot be users of their own.
    fn obstacle(&self, state_dir: &Path, run_dir: &Path) -> Option<String> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        if !is_capable(&read("/proc/self/status")) {
            return Some("root may not become others here (capabilities)".into());
        }
        let last = self.first_id.saturating_add(u32::from(u8::MAX));
        if !are_mapped(&read("/proc/self/uid_map"), self.first_id, last)
            || !are_mapped(&read("/proc/self/gid_map"), self.first_id, last)
        {
            let first = self.first_id;
            return Some(format!(
                "this user namespace has no ids {first} to {last}; choose others: [children] first-id"
            ));
        }
        let run = std::fs::metadata(run_dir).ok()?;
        let whose = |what: &str| Some(format!("{} {what}", run_dir.display()));
        if run.mode() & 0o002 != 0 {
            return whose("can be written by everybody");
        }
        if run.mode() & 0o2000 != 0 && ![0, self.first_id].contains(&run.gid()) {
            return whose("hands on another group than theirs (chmod g-s)");
        }
        [state_dir, run_dir].into_iter().find_map(unreachable)
    }
}

impl Owners {
    /// Opens what instances need, and no more: the way to their executables, and to the sockets.
    fn open(self, state_dir: &Path, run_dir: &Path) -> anyhow::Result<()> {
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
        crate::bundle::open_installed(&bundles)?;
        give(run_dir)?;
        add(run_dir, 0o2011)?;
        add(&run_dir.join("instances"), 0o011)?;
        // Those of parts that run already.
        for socket in SOCKETS.map(|name| run_dir.join(name)) {
            if socket.exists() {
                give(&socket)?;
                add(&socket, 0o060)?;
            }
        }
        Ok(())
    }
}

impl Ids {
    /// Makes an empty file that is its own.
    pub fn make_file(self, path: &Path) -> io::Result<()> {
        let file = std::fs::File::create(path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        chown(path, Some(self.uid), Some(self.gid))
    }
}

/// A folder above this one that only its owner may pass.
fn unreachable(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let closed = |found: Metadata| found.mode() & 0o001 == 0;
    let mut above = path.ancestors().skip(1);
    let folder = above.find(|folder| std::fs::metadata(folder).is_ok_and(closed))?;
    Some(format!(
        "others may not pass {} (chmod o+x), and so not reach {}",
        folder.display(),
        path.display()
    ))
}

/// `/proc/self/status` says so (proc(5)).
fn is_capable(status: &str) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    set.is_some_and(|set| CAPABILITIES.iter().all(|bit| set >> bit & 1 == 1))
}

/// Whether these ids are all in one line of a map: inside, outside, count (user_namespaces(7)).
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
    fn the_configuration_is_read_and_what_is_wrong_is_named() {
        assert_eq!(children("").unwrap(), Children::default());
        let own = children("users = 'own'\nfirst-id = 70000").unwrap();
        assert_eq!((own.users, own.first_id), (Some(Users::Own), 70_000));
        assert!(children("users = 'root'").unwrap_err().contains("root"));
        assert!(children("first-id = 0").unwrap_err().contains("system"));
        assert!(children("colour = 1").unwrap_err().contains("colour"));
    }

    #[test]
    fn ids_that_are_not_mapped_are_seen() {
        let all = "         0          0 4294967295\n";
        let some = "         0     100000      65536\n";
        assert!(are_mapped(all, 60_700, 60_955));
        assert!(are_mapped(some, 60_700, 60_955));
        assert!(!are_mapped(some, 65_400, 65_655));
        assert!(!are_mapped("", 1, 2));
    }

    #[test]
    fn a_root_that_may_not_become_others_is_seen() {
        assert!(is_capable("Name:\tx\nCapEff:\t000001ffffffffff\n"));
        assert!(is_capable("CapEff:\t00000000000000e1\n"));
        assert!(!is_capable("CapEff:\t0000000000000061\n"));
        assert!(!is_capable(""));
    }

    #[test]
    fn a_folder_that_others_may_not_pass_is_named() {
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
    fn nobody_is_asked_where_it_is_switched_off() {
        let off = children("users = 'morphd'").unwrap();
        let nowhere = Path::new("/nowhere");
        assert_eq!(off.settle(nowhere, nowhere).unwrap(), None);
    }
}
