//! Where morphd is, and the way there.

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tonic::transport::{Channel, Uri};

use crate::failure::Failure;

/// Names an endpoint where `--endpoint` does not.
const VARIABLE: &str = "MORPH_ENDPOINT";
/// The run directory of a morphd that root started.
const SYSTEM: &str = "/run/morpheus";
/// morphd's socket within its run directory.
const SOCKET: &str = "api.sock";
/// How long a TCP connect may take.
const CONNECT: Duration = Duration::from_secs(5);

/// An address of morphd's management API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `unix:PATH`
    Unix(PathBuf),
    /// `http://HOST:PORT`, read-only on morphd's side
    Tcp(Uri),
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORMS: &str = "unix:PATH or http://HOST:PORT";
        if let Some(path) = text.strip_prefix("unix:") {
            // unix:///PATH is how gRPC writes an absolute one.
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(format!("the path is missing: {FORMS}"));
            }
            return Ok(Endpoint::Unix(path.into()));
        }
        if text.starts_with("https:") {
            return Err(format!("TLS is not there yet: {FORMS}"));
        }
        let uri: Uri = text.parse().map_err(|_| format!("the form is {FORMS}"))?;
        let whole = uri.scheme_str() == Some("http") && uri.port_u16().is_some();
        if !whole || uri.path_and_query().is_some_and(|rest| rest != "/") {
            return Err(format!("the form is {FORMS}"));
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

/// Connects to the endpoint that was named, by option or variable, else to the first that is there.
pub(crate) async fn reach(named: Option<Endpoint>) -> Result<Channel, Failure> {
    let named = match named {
        Some(endpoint) => Some(endpoint),
        None => from_variable(std::env::var_os(VARIABLE))?,
    };
    match named {
        Some(endpoint) => connect(&endpoint)
            .await
            .map_err(|error| Failure::Unreachable(unreachable(&endpoint, &*error))),
        None => search(std::env::var_os("XDG_RUNTIME_DIR")).await,
    }
}

/// `$MORPH_ENDPOINT`; empty is as good as absent.
fn from_variable(value: Option<OsString>) -> Result<Option<Endpoint>, Failure> {
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let text = value.to_string_lossy();
    let wrong = |why| Failure::Usage(format!("${VARIABLE} is {text:?}: {why}"));
    text.parse().map(Some).map_err(wrong)
}

/// The user's socket, then the system's. One that is there but does not answer ends the search: what was meant for the
/// user's morphd must not go to another.
async fn search(xdg_runtime_dir: Option<OsString>) -> Result<Channel, Failure> {
    let mut tried = String::new();
    for run_dir in run_dirs(xdg_runtime_dir) {
        let endpoint = Endpoint::Unix(run_dir.join(SOCKET));
        if let Some(uid) = stranger(&run_dir) {
            tried += &format!("\n  {endpoint}: left out, its folder is of user {uid}");
            continue;
        }
        match connect(&endpoint).await {
            Ok(channel) => return Ok(channel),
            Err(error) if is_absent(&*error) => {
                tried += &format!("\n  {endpoint}: no such socket");
            }
            Err(error) => return Err(Failure::Unreachable(unreachable(&endpoint, &*error))),
        }
    }
    Err(Failure::Unreachable(format!(
        "found no morphd:{tried}\nStart morphd, or name its endpoint with --endpoint or ${VARIABLE}."
    )))
}

/// Where morphd keeps its sockets if nothing else is said to it.
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
    [users, SYSTEM.into()]
}

/// The owner of a folder that is neither ours nor root's: anybody can make one in /tmp.
fn stranger(folder: &Path) -> Option<u32> {
    let owner = folder.symlink_metadata().ok()?.uid();
    let ours = rustix::process::getuid().as_raw();
    (owner != ours && owner != 0).then_some(owner)
}

async fn connect(endpoint: &Endpoint) -> Result<Channel, Box<dyn Error>> {
    match endpoint {
        Endpoint::Unix(path) => Ok(morph_api::unix::connect(path).await?),
        Endpoint::Tcp(uri) => Ok(tonic::transport::Endpoint::from(uri.clone())
            .connect_timeout(CONNECT)
            .connect()
            .await?),
    }
}

/// What the operating system said, wherever in the chain of causes.
fn system<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
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
    system(error).is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// For people: where, why, and what mends it.
fn unreachable(endpoint: &Endpoint, error: &(dyn Error + 'static)) -> String {
    let system = system(error);
    let why = match system.map(io::Error::kind) {
        Some(io::ErrorKind::NotFound) => "no such socket (mend: start morphd)".to_owned(),
        Some(io::ErrorKind::ConnectionRefused) => {
            "nothing listens there (mend: start morphd)".to_owned()
        }
        Some(io::ErrorKind::PermissionDenied) => {
            "permission denied (mend: run as root, or join the socket's group)".to_owned()
        }
        Some(io::ErrorKind::TimedOut) => "no answer".to_owned(),
        Some(_) | None => system.map_or_else(|| error.to_string(), ToString::to_string),
    };
    format!("cannot reach morphd at {endpoint}: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_are_told_apart() {
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
    fn what_the_system_said_is_found_and_mended() {
        let endpoint = Endpoint::Unix("/x".into());
        for (kind, said) in [
            (io::ErrorKind::NotFound, "start morphd"),
            (io::ErrorKind::ConnectionRefused, "start morphd"),
            (
                io::ErrorKind::PermissionDenied,
                "run as root, or join the socket's group",
            ),
            (io::ErrorKind::TimedOut, "no answer"),
        ] {
            // Deep in a chain, as the transport hands it up.
            let error = io::Error::from(kind);
            let error: Box<dyn Error> = Box::new(tonic::Status::from_error(Box::new(error)));
            let text = unreachable(&endpoint, &*error);
            assert!(text.contains(said) && text.contains("unix:/x"), "{text}");
        }
    }

    #[test]
    fn a_folder_of_another_user_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(stranger(folder.path()), None);
        assert_eq!(stranger(&folder.path().join("absent")), None);
        if rustix::process::getuid().is_root() {
            std::os::unix::fs::chown(folder.path(), Some(12345), None).unwrap();
            assert_eq!(stranger(folder.path()), Some(12345));
        }
    }
}
