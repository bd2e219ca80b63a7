//! Address of morphd, and the connection to it.

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tonic::transport::{Channel, Uri};

use crate::failure::{Failure, with_fix};

/// Environment variable that names the endpoint if `--endpoint` does not.
const VARIABLE: &str = "MORPH_ENDPOINT";
/// Default run directory of a morphd that root started.
const SYSTEM_RUN_DIR: &str = "/run/morpheus";
/// Name of morphd's socket in its run directory.
const SOCKET: &str = "api.sock";
/// Deadline of a TCP connect.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// Address of morphd's management API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Socket, written `unix:PATH`.
    Unix(PathBuf),
    /// TCP address, written `http://HOST:PORT`; morphd allows only reading there.
    Tcp(Uri),
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORMS: &str = "unix:PATH or http://HOST:PORT";
        if let Some(path) = text.strip_prefix("unix:") {
            // gRPC writes an absolute path as unix:///PATH.
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(format!("the path is missing: write {FORMS}"));
            }
            return Ok(Endpoint::Unix(path.into()));
        }
        if text.starts_with("https:") {
            return Err(format!("TLS is not supported: write {FORMS}"));
        }
        let uri: Uri = text.parse().map_err(|_| format!("write {FORMS}"))?;
        let is_complete = uri.scheme_str() == Some("http") && uri.port_u16().is_some();
        if !is_complete || uri.path_and_query().is_some_and(|rest| rest != "/") {
            return Err(format!("write {FORMS}"));
        }
        Ok(Endpoint::Tcp(uri))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
            Endpoint::Tcp(uri) => write!(f, "{}", uri.to_string().trim_end_matches('/')),
        }
    }
}

/// Connects to the named endpoint (by option or variable), else to the first default socket that exists.
pub(crate) async fn connect(named: Option<Endpoint>) -> Result<Channel, Failure> {
    let named = match named {
        Some(endpoint) => Some(endpoint),
        None => from_variable(std::env::var_os(VARIABLE))?,
    };
    match named {
        Some(endpoint) => connect_to(&endpoint)
            .await
            .map_err(|error| Failure::Unreachable(describe(&endpoint, &*error))),
        None => search(std::env::var_os("XDG_RUNTIME_DIR")).await,
    }
}

/// Parses the value of `$MORPH_ENDPOINT`; an empty value counts as absent.
fn from_variable(value: Option<OsString>) -> Result<Option<Endpoint>, Failure> {
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let text = value.to_string_lossy();
    let usage = |reason| Failure::Usage(format!("${VARIABLE} is {text:?}: {reason}"));
    text.parse().map(Some).map_err(usage)
}

/// Tries the user's socket, then the system's. A socket that exists but does not answer ends the search: a command for the
/// user's morphd must not reach another one.
async fn search(xdg_runtime_dir: Option<OsString>) -> Result<Channel, Failure> {
    let mut tried = Vec::new();
    for run_dir in run_dirs(xdg_runtime_dir) {
        let endpoint = Endpoint::Unix(run_dir.join(SOCKET));
        if let Some(uid) = foreign_owner(&run_dir) {
            tried.push(format!(
                "{endpoint} is not used, because its directory belongs to user {uid}"
            ));
            continue;
        }
        match connect_to(&endpoint).await {
            Ok(channel) => return Ok(channel),
            Err(error) if is_absent(&*error) => {
                tried.push(format!("{endpoint} does not exist"));
            }
            Err(error) => return Err(Failure::Unreachable(describe(&endpoint, &*error))),
        }
    }
    Err(Failure::Unreachable(with_fix(
        &format!("cannot reach morphd: {}", tried.join("; ")),
        &format!("start morphd, or name its endpoint with --endpoint or ${VARIABLE}"),
    )))
}

/// Run directory of a morphd that this user starts without --run-dir.
pub(crate) fn default_run_dir() -> PathBuf {
    let [users, system] = run_dirs(std::env::var_os("XDG_RUNTIME_DIR"));
    if rustix::process::geteuid().is_root() {
        return system;
    }
    users
}

fn run_dirs(xdg_runtime_dir: Option<OsString>) -> [PathBuf; 2] {
    let users = match xdg_runtime_dir.filter(|dir| !dir.is_empty()) {
        Some(dir) => Path::new(&dir).join("morpheus"),
        None => format!("/tmp/morpheus-{}", rustix::process::getuid().as_raw()).into(),
    };
    [users, SYSTEM_RUN_DIR.into()]
}

/// Owner of a directory if it is neither this user nor root: anybody can create a directory in /tmp.
fn foreign_owner(folder: &Path) -> Option<u32> {
    let owner = folder.symlink_metadata().ok()?.uid();
    let ours = rustix::process::getuid().as_raw();
    (owner != ours && owner != 0).then_some(owner)
}

async fn connect_to(endpoint: &Endpoint) -> Result<Channel, Box<dyn Error>> {
    match endpoint {
        Endpoint::Unix(path) => Ok(morph_api::unix::connect(path).await?),
        Endpoint::Tcp(uri) => Ok(tonic::transport::Endpoint::from(uri.clone())
            .connect_timeout(CONNECT_DEADLINE)
            .connect()
            .await?),
    }
}

/// Finds the operating system's error in the chain of causes.
fn io_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error);
        }
        next = error.source();
    }
    None
}

fn is_absent(error: &(dyn Error + 'static)) -> bool {
    io_error(error).is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Describes a failed connection: the endpoint, the reason, and how to fix it.
fn describe(endpoint: &Endpoint, error: &(dyn Error + 'static)) -> String {
    let io_error = io_error(error);
    let reason = match io_error.map(io::Error::kind) {
        Some(io::ErrorKind::NotFound) => with_fix("no such socket", "start morphd"),
        Some(io::ErrorKind::ConnectionRefused) => with_fix("nothing listens there", "start morphd"),
        Some(io::ErrorKind::PermissionDenied) => with_fix(
            "permission denied",
            "run as root, or join the socket's group",
        ),
        Some(io::ErrorKind::TimedOut) => "no answer".to_owned(),
        Some(_) | None => io_error.map_or_else(|| error.to_string(), ToString::to_string),
    };
    format!("cannot reach morphd at {endpoint}: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_and_tcp_endpoints_are_parsed() {
        for (text, shown) in [
            ("unix:/run/x/api.sock", "unix:/run/x/api.sock"),
            ("unix:///run/x/api.sock", "unix:/run/x/api.sock"),
            ("unix:x.sock", "unix:x.sock"),
            ("http://localhost:6650", "http://localhost:6650"),
            ("http://[::1]:6650/", "http://[::1]:6650"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), shown);
        }
        for wrong in [
            "",
            "unix:",
            "/run/x/api.sock",
            "http://localhost",
            "http://localhost:1/x",
            "https://localhost:1",
            "localhost:1",
            "ftp://localhost:1",
        ] {
            let error = wrong.parse::<Endpoint>().unwrap_err();
            assert!(error.contains("unix:PATH"), "{wrong}: {error}");
        }
    }

    #[test]
    fn the_variable_may_be_empty_but_not_wrong() {
        assert_eq!(from_variable(None), Ok(None));
        assert_eq!(from_variable(Some("".into())), Ok(None));
        let unix = Endpoint::Unix("/x".into());
        assert_eq!(from_variable(Some("unix:/x".into())), Ok(Some(unix)));
        let failure = from_variable(Some("x".into())).unwrap_err();
        assert_eq!(failure.code(), 2);
        assert!(failure.to_string().contains("$MORPH_ENDPOINT"), "{failure}");
    }

    #[test]
    fn the_users_run_directory_comes_first() {
        let [users, system] = run_dirs(Some("/run/user/7".into()));
        assert_eq!(users, Path::new("/run/user/7/morpheus"));
        assert_eq!(system, Path::new("/run/morpheus"));
        let [users, _] = run_dirs(None);
        assert!(users.to_string_lossy().starts_with("/tmp/morpheus-"));
    }

    #[test]
    fn the_systems_error_is_found_and_gets_a_fix() {
        let endpoint = Endpoint::Unix("/x".into());
        for (kind, fix) in [
            (io::ErrorKind::NotFound, "start morphd"),
            (io::ErrorKind::ConnectionRefused, "start morphd"),
            (
                io::ErrorKind::PermissionDenied,
                "run as root, or join the socket's group",
            ),
            (io::ErrorKind::TimedOut, "no answer"),
        ] {
            // The transport passes on the error inside of others.
            let error = io::Error::from(kind);
            let error: Box<dyn Error> = Box::new(tonic::Status::from_error(Box::new(error)));
            let text = describe(&endpoint, &*error);
            assert!(text.contains(fix) && text.contains("unix:/x"), "{text}");
        }
    }

    #[test]
    fn a_directory_of_another_user_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(foreign_owner(folder.path()), None);
        assert_eq!(foreign_owner(&folder.path().join("absent")), None);
        if rustix::process::getuid().is_root() {
            std::os::unix::fs::chown(folder.path(), Some(12345), None).unwrap();
            assert_eq!(foreign_owner(folder.path()), Some(12345));
        }
    }
}
