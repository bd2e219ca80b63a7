//! `morph-stored` serves the versioned store on `RUN_DIR/store.sock`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use morph_api::store::Finding;
use morph_store::EtcdUrl;
use morph_store::server::{Location, RestoreSummary, ServeError, Store, check, restore};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

/// Threads that reads and snapshots may block.
const READERS: usize = 4;

/// The versioned store of Morpheus.
///
/// Keeps the state of all applications in one file, or in etcd, and serves it to morphd, the proxy and the
/// applications on RUN_DIR/store.sock. Started by morphd.
#[derive(Debug, Parser)]
#[command(name = "morph-stored", version)]
struct Arguments {
    /// Directory of the store; created if it does not exist
    #[arg(long, value_name = "DIR", required_unless_present = "backend")]
    dir: Option<PathBuf>,
    /// Keep the store in etcd instead: etcd://HOST:PORT[,HOST:PORT...][/PREFIX][?OPTION=VALUE&...], for TLS etcds://
    ///
    /// PREFIX is what keys start with, /morpheus/ if none is given. Options: user=NAME, with the password in the first
    /// line of password-file=FILE or in $MORPH_ETCD_PASSWORD; ca=FILE, the certificate to trust (for etcds, PEM);
    /// cert=FILE and key=FILE, our own; compact=SECONDS, how much of etcd's history is kept (300), or off.
    #[arg(long, value_name = "URL")]
    backend: Option<EtcdUrl>,
    /// Directory of the socket and the lock; created if it does not exist
    #[arg(long, value_name = "DIR", required_unless_present_any = ["check", "restore"])]
    run_dir: Option<PathBuf>,
    /// Check everything in DIR, a store that is stopped, print what is wrong, and end; exit code 1 if anything is
    #[arg(long, requires = "dir", conflicts_with_all = ["backend", "restore"])]
    check: bool,
    /// Create the store from this backup, in DIR or in etcd, where there is none yet, and end
    #[arg(long, value_name = "FILE")]
    restore: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    morph_api::log::to_stderr();
    // Files that the store creates are for its owner only.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    raise_file_limit();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            // A message that cannot be written is not worth a failure.
            let _ = writeln!(std::io::stderr(), "morph-stored: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Raises the limit of open files to the allowed maximum. Each watch is a connection, and one too many is to be
/// refused, not left waiting.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let directory = &arguments.dir.clone().unwrap_or_default();
    if let Some(backup) = &arguments.restore {
        let restored = restore(location(arguments), backup).map_err(|error| error.to_string())?;
        let RestoreSummary { revision, rows } = restored;
        print_line(&format!("restored {rows} rows, at revision {revision}"));
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.check {
        let report =
            |finding: &Finding| print_line(&format!("{}: {}", finding.r#where, finding.message));
        let (rows, wrong) = check(directory, report).map_err(|error| error.to_string())?;
        print_line(&format!("checked {rows} rows, found {wrong} problems"));
        return Ok(match wrong {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        });
    }
    serve(arguments).map_err(|error| error.to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn location(arguments: &Arguments) -> Location {
    match (&arguments.backend, &arguments.dir) {
        (Some(url), _) => Location::Etcd(url.clone()),
        (None, directory) => Location::Directory(directory.clone().unwrap_or_default()),
    }
}

fn print_line(line: &str) {
    // A line that cannot be written is not worth a failure.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn serve(arguments: &Arguments) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(READERS)
        .build()
        .map_err(ServeError::Runtime)?;
    let run_dir = arguments.run_dir.clone().unwrap_or_default();
    let store = Store::open_from(location(arguments), &run_dir)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Runtime)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Runtime)?;
        let listener = store.listen()?;
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("asked to end");
        };
        store.run(listener, shutdown).await
    })
}
