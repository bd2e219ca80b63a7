//! Configuration of morphd: flags, over the configuration file, over defaults.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use morph_api::Role;
use morph_api::verification::VerificationPeriods;
use serde::Deserialize;

use crate::children::Children;

/// The supervisor of Morpheus: starts, watches and swaps all other processes.
///
/// Without any flag: the embedded store, OpenFlow on ports 6653 and 6633 of all addresses, and for root the
/// directories /var/lib/morpheus and /run/morpheus, for a plain user $XDG_STATE_HOME/morpheus (or
/// ~/.local/state/morpheus) and $XDG_RUNTIME_DIR/morpheus (or /tmp/morpheus-UID).
///
/// SIGTERM and SIGINT end everything in order; SIGUSR1 ends morphd alone: all else carries on, and the next morphd
/// adopts it.
#[derive(Debug, Default, Parser)]
#[command(name = "morphd", version)]
pub struct Flags {
    /// TOML file with the same keys as these flags (`apps` for --app), and [children] for the users of instances; a
    /// flag wins over the file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of the store, the bundles and the logs
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Directory of the sockets and lock files
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// Keep the store in etcd: etcd://HOST:PORT[,HOST:PORT...][/PREFIX][?OPTION=VALUE&...], for TLS etcds://; options as in
    /// morph-stored --help [default: in the state directory]
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,
    /// Listen for switches here (may be repeated) [default: ports 6653 and 6633 of 0.0.0.0 and [::]]
    #[arg(long, value_name = "ADDR")]
    pub openflow: Vec<String>,
    /// Serve the management API on TCP as well, read-only
    #[arg(long, value_name = "ADDR")]
    pub api: Option<SocketAddr>,
    /// Serve metrics for Prometheus at http://ADDR/metrics [default: not served]
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<SocketAddr>,
    /// Start this app if the store is empty (may be repeated) [default: topology and the newest router]
    #[arg(long = "app", value_name = "NAME[@VERSION]")]
    pub apps: Vec<AppRef>,
    /// Stage the bundles in this folder at start [default: the folder `bundles` beside morphd]
    #[arg(long, value_name = "DIR")]
    pub bundles: Option<PathBuf>,
    /// Name of this node in the store [default: node1]
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Role to ask the switches for: equal; master (an earlier master becomes a slave); or slave: nothing is written,
    /// and apps see no switch [default: equal]
    #[arg(long, value_name = "ROLE")]
    pub role: Option<Role>,
    /// Seconds between two counts of the rules that a switch has, and between two readings of them: rules that others delete
    /// or change are mended; 0 for never. Processes that run already keep theirs [default: 30,300]
    #[arg(long, value_name = "COUNTS,RULES")]
    pub verify: Option<VerificationPeriods>,
}

/// Configuration file; its keys are those of [`Flags`].
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ConfigFile {
    #[serde(alias = "state_dir")]
    state_dir: Option<PathBuf>,
    #[serde(alias = "run_dir")]
    run_dir: Option<PathBuf>,
    store: Option<String>,
    #[serde(default)]
    openflow: Vec<String>,
    api: Option<SocketAddr>,
    metrics: Option<SocketAddr>,
    #[serde(default)]
    apps: Vec<String>,
    bundles: Option<PathBuf>,
    node: Option<String>,
    role: Option<String>,
    verify: Option<String>,
    #[serde(default)]
    children: Children,
}

/// Reference to an app or to one of its releases: `NAME` or `NAME@VERSION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppRef {
    pub name: String,
    /// Version of the release; `None` stands for the newest.
    pub version: Option<semver::Version>,
}

impl FromStr for AppRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, version) = match text.split_once('@') {
            None => (text, None),
            Some((name, version)) => (
                name,
                Some(
                    version
                        .parse()
                        .map_err(|e| format!("{version:?} is not a version: {e}"))?,
                ),
            ),
        };
        if name.is_empty() {
            return Err("the app's name is missing; write NAME or NAME@VERSION".into());
        }
        Ok(AppRef {
            name: name.to_owned(),
            version,
        })
    }
}

impl std::fmt::Display for AppRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.version {
            None => write!(f, "{}", self.name),
            Some(version) => write!(f, "{}@{version}", self.name),
        }
    }
}

/// Settings after flags, file and defaults have been merged. Directories are absolute.
#[derive(Debug, Clone)]
pub struct Settings {
    pub state_dir: PathBuf,
    pub run_dir: PathBuf,
    /// URL handed to morph-stored; `None` keeps the store in the state directory.
    pub store: Option<String>,
    /// Addresses handed to morph-proxy; none stand for its defaults.
    pub openflow: Vec<String>,
    pub endpoints: Endpoints,
    /// Apps to start on an empty store; none stand for the default.
    pub apps: Vec<AppRef>,
    /// Folder whose bundles are staged at start.
    pub bundles: PathBuf,
    /// Name under which the store keeps this node's checkpoints.
    pub node: String,
    pub switches: SwitchSettings,
    /// Folder of morph-proxy and morph-stored.
    pub executables: PathBuf,
    /// Users of the app instances.
    pub children: Children,
    /// Duration of a probation unless the upgrade names another.
    pub probation: Duration,
}

/// Settings of what is asked of every switch.
#[derive(Debug, Clone, Copy)]
pub struct SwitchSettings {
    /// Role that the proxy asks for.
    pub role: Role,
    /// Periods of the verification of rules, for the proxy and the instances.
    pub verification: VerificationPeriods,
}

/// TCP addresses of the read-only management API and of the metrics page.
#[derive(Debug, Clone, Copy)]
pub struct Endpoints {
    pub api: Option<SocketAddr>,
    pub metrics: Option<SocketAddr>,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}: {message}", path.display())]
    Parse {
        path: PathBuf,
        /// Text that names the line and what is wrong in it.
        message: String,
    },
    #[error("{key}: {message}")]
    Value {
        /// Key of the file, or the flag of the same name.
        key: &'static str,
        message: String,
    },
    /// No default for the state directory can be derived from the environment.
    #[error("{0}")]
    StateDir(String),
}

/// Environment of the process, as far as defaults depend on it.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// Effective user id.
    pub uid: u32,
    /// Value of `$XDG_STATE_HOME`.
    pub state_home: Option<PathBuf>,
    /// Value of `$XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
    /// Value of `$HOME`.
    pub home: Option<PathBuf>,
    /// Folder of the running morphd.
    pub executables: PathBuf,
}

impl Environment {
    pub fn read() -> std::io::Result<Self> {
        let absolute = |name: &str| {
            let path = PathBuf::from(std::env::var_os(name)?);
            path.is_absolute().then_some(path)
        };
        let exe = std::env::current_exe()?;
        Ok(Environment {
            uid: rustix::process::geteuid().as_raw(),
            state_home: absolute("XDG_STATE_HOME"),
            runtime_dir: absolute("XDG_RUNTIME_DIR"),
            home: absolute("HOME"),
            executables: exe.parent().unwrap_or(Path::new("/")).to_owned(),
        })
    }

    fn state_dir(&self) -> Result<PathBuf, ConfigError> {
        if self.uid == 0 {
            return Ok("/var/lib/morpheus".into());
        }
        let base = self.state_home.clone();
        base.or_else(|| self.home.as_ref().map(|home| home.join(".local/state")))
            .map(|base| base.join("morpheus"))
            .ok_or_else(|| {
                ConfigError::StateDir(
                    "neither $XDG_STATE_HOME nor $HOME is set: set --state-dir".into(),
                )
            })
    }

    fn run_dir(&self) -> PathBuf {
        if self.uid == 0 {
            return "/run/morpheus".into();
        }
        match &self.runtime_dir {
            Some(base) => base.join("morpheus"),
            None => format!("/tmp/morpheus-{}", self.uid).into(),
        }
    }
}

impl Settings {
    /// Merges flags over the file over defaults, and refuses values that are not allowed.
    pub fn from(flags: Flags, environment: &Environment) -> Result<Self, ConfigError> {
        let file = match &flags.config {
            None => ConfigFile::default(),
            Some(path) => read(path)?,
        };
        let mut apps = flags.apps;
        if apps.is_empty() {
            let parsed: Result<Vec<AppRef>, String> = file.apps.iter().map(|a| a.parse()).collect();
            apps = parsed.map_err(|message| ConfigError::Value {
                key: "apps",
                message,
            })?;
        }
        let openflow = or_else(flags.openflow, file.openflow);
        for address in &openflow {
            check_address(address)?;
        }
        let node = flags.node.or(file.node).unwrap_or_else(|| "node1".into());
        if node.is_empty() {
            let message = "the name of a node cannot be empty".into();
            return Err(ConfigError::Value {
                key: "node",
                message,
            });
        }
        let in_file = file.role.map(|role| role.parse::<Role>()).transpose();
        let role = in_file.map_err(|message| ConfigError::Value {
            key: "role",
            message,
        })?;
        let in_file = file.verify.map(|periods| periods.parse()).transpose();
        let verification = in_file.map_err(|message| ConfigError::Value {
            key: "verify",
            message,
        })?;
        let key = "children";
        let invalid = |message| ConfigError::Value { key, message };
        file.children.check().map_err(invalid)?;
        let store = flags.store.or(file.store);
        if let Some(store) = &store {
            check_store(store)?;
        }
        let state_dir = match flags.state_dir.or(file.state_dir) {
            Some(dir) => dir,
            None => environment.state_dir()?,
        };
        let run_dir = flags
            .run_dir
            .or(file.run_dir)
            .unwrap_or_else(|| environment.run_dir());
        let bundles = flags.bundles.or(file.bundles);
        Ok(Settings {
            state_dir: absolute("state-dir", state_dir)?,
            run_dir: absolute("run-dir", run_dir)?,
            store,
            openflow,
            endpoints: Endpoints {
                api: flags.api.or(file.api),
                metrics: flags.metrics.or(file.metrics),
            },
            apps,
            bundles: absolute(
                "bundles",
                bundles.unwrap_or_else(|| environment.executables.join("bundles")),
            )?,
            node,
            switches: SwitchSettings {
                role: flags.role.or(role).unwrap_or_default(),
                verification: flags.verify.or(verification).unwrap_or_default(),
            },
            children: file.children,
            executables: environment.executables.clone(),
            probation: Duration::from_secs(30),
        })
    }

    /// Path of a socket or lock file in the run directory.
    pub fn run(&self, name: &str) -> PathBuf {
        self.run_dir.join(name)
    }
}

fn or_else<T>(first: Vec<T>, second: Vec<T>) -> Vec<T> {
    if first.is_empty() { second } else { first }
}

/// Makes a path absolute, because child processes run in `/`.
fn absolute(key: &'static str, path: PathBuf) -> Result<PathBuf, ConfigError> {
    std::path::absolute(&path).map_err(|error| ConfigError::Value {
        key,
        message: format!("{}: {error}", path.display()),
    })
}

/// Checks the scheme of the store's URL; morph-stored checks the rest.
fn check_store(store: &str) -> Result<(), ConfigError> {
    let known = ["etcd://", "etcds://"];
    if known.iter().any(|scheme| store.starts_with(scheme)) {
        return Ok(());
    }
    Err(ConfigError::Value {
        key: "store",
        message: format!("{store:?} is neither etcd://HOST:PORT nor etcds://HOST:PORT"),
    })
}

fn check_address(address: &str) -> Result<(), ConfigError> {
    if address.parse::<SocketAddr>().is_ok() {
        return Ok(());
    }
    Err(ConfigError::Value {
        key: "openflow",
        message: format!("{address:?} is not ADDRESS:PORT, for example 0.0.0.0:6653 or [::]:6653"),
    })
}

fn read(path: &Path) -> Result<ConfigFile, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    toml::from_str(&text).map_err(|error| ConfigError::Parse {
        path: path.to_owned(),
        message: error.to_string().trim_end().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> Environment {
        Environment {
            uid: 1000,
            home: Some("/home/ada".into()),
            executables: "/opt/morpheus".into(),
            ..Environment::default()
        }
    }

    fn settings(args: &[&str], environment: &Environment) -> Result<Settings, String> {
        let flags =
            Flags::try_parse_from(["morphd"].iter().chain(args)).map_err(|e| e.to_string())?;
        Settings::from(flags, environment).map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_depend_on_the_user() {
        let root = settings(&[], &Environment::default()).unwrap();
        assert_eq!(root.state_dir, Path::new("/var/lib/morpheus"));
        assert_eq!(root.run_dir, Path::new("/run/morpheus"));
        let plain = settings(&[], &user()).unwrap();
        assert_eq!(
            plain.state_dir,
            Path::new("/home/ada/.local/state/morpheus")
        );
        assert_eq!(plain.run_dir, Path::new("/tmp/morpheus-1000"));
        assert_eq!(plain.bundles, Path::new("/opt/morpheus/bundles"));
        assert_eq!(plain.node, "node1");
        let mut xdg = user();
        xdg.state_home = Some("/s".into());
        xdg.runtime_dir = Some("/r".into());
        let xdg = settings(&[], &xdg).unwrap();
        assert_eq!(xdg.state_dir, Path::new("/s/morpheus"));
        assert_eq!(xdg.run_dir, Path::new("/r/morpheus"));
    }

    #[test]
    fn periods_of_the_verification_come_from_flag_file_or_default() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("morphd.toml");
        std::fs::write(&path, "verify = '5,0'").unwrap();
        let file = ["--config", path.to_str().unwrap()];
        let periods = |args: &[&str]| {
            let settings = settings(args, &user()).unwrap();
            settings.switches.verification.to_string()
        };
        assert_eq!(periods(&[]), "30,300");
        assert_eq!(periods(&file), "5,0");
        assert_eq!(periods(&[&file[..], &["--verify", "1,3"]].concat()), "1,3");
        std::fs::write(&path, "verify = '5'").unwrap();
        let error = settings(&file, &user()).unwrap_err();
        assert!(
            error.contains("verify") && error.contains("30,300"),
            "{error}"
        );
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("morphd.toml");
        let text = "state-dir = '/a'\nrun-dir = '/b'\nstore = 'etcd://h'\napps = ['router@1.0.0']\nopenflow = ['127.0.0.1:1']\n";
        std::fs::write(&path, text).unwrap();
        let file = ["--config", path.to_str().unwrap()];
        let from_file = settings(&file, &user()).unwrap();
        assert_eq!(from_file.state_dir, Path::new("/a"));
        assert_eq!(from_file.store.as_deref(), Some("etcd://h"));
        assert_eq!(from_file.apps[0].to_string(), "router@1.0.0");
        let flags = [
            "--state-dir",
            "/c",
            "--app",
            "topology",
            "--openflow",
            "[::]:2",
        ];
        let both = settings(&[&file[..], &flags[..]].concat(), &user()).unwrap();
        assert_eq!(both.state_dir, Path::new("/c"));
        assert_eq!(both.run_dir, Path::new("/b"));
        assert_eq!((both.apps.len(), both.apps[0].version.is_none()), (1, true));
        assert_eq!(both.openflow, ["[::]:2"]);
    }

    #[test]
    fn mistakes_in_the_configuration_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("morphd.toml");
        std::fs::write(&path, "node = 'n'\ncolour = 1\n").unwrap();
        let error = settings(&["--config", path.to_str().unwrap()], &user()).unwrap_err();
        assert!(
            error.contains("line 2") && error.contains("colour"),
            "{error}"
        );
        std::fs::write(&path, "role = 'primary'").unwrap();
        let error = settings(&["--config", path.to_str().unwrap()], &user()).unwrap_err();
        assert!(error.contains("role: \"primary\" is no role"), "{error}");
        for (args, message) in [
            (["--app", "@1.0.0"], "name is missing"),
            (["--app", "router@new"], "\"new\" is not a version"),
            (
                ["--openflow", "here"],
                "openflow: \"here\" is not ADDRESS:PORT",
            ),
            (["--config", "/none"], "cannot read /none"),
            (["--node", ""], "node: "),
            (["--store", "redis://h"], "neither etcd://HOST:PORT"),
            (["--role", "primary"], "equal, master or slave"),
        ] {
            let error = settings(&args, &user()).unwrap_err();
            assert!(error.contains(message), "{args:?}: {error}");
        }
        let mut homeless = user();
        homeless.home = None;
        assert!(
            settings(&[], &homeless)
                .unwrap_err()
                .contains("--state-dir")
        );
    }
}
