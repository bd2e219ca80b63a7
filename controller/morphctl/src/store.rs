//! The store as a whole: what comes in streams, and a backup's way to and from a file.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use morph_api::management::{
    StoreBackupRequest, StoreChange, StoreCheckRequest, StoreWatchRequest, VersionRequest,
};

use crate::argument::App;
use crate::call::{Client, Gone, incomplete, waited};
use crate::failure::{Effect, Failure};
use crate::follow::next;
use crate::print::rows::Kept;
use crate::print::{Output, plain};

/// How long morphd may take to say on what it runs.
const ASKING: Duration = Duration::from_secs(2);

/// `store watch`: each changed row as it comes, until Ctrl-C or nobody reads it any more.
pub(crate) async fn watch(
    client: &mut Client,
    out: &mut Output,
    App(app): App,
    table: Option<String>,
) -> Result<(), Failure> {
    let lives = client.clone();
    let table = table.unwrap_or_default();
    let mut stream =
        match waited(&lives, client.store_watch(StoreWatchRequest { app, table })).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return Err(Failure::of_status(&status, Effect::Reads)),
            Err(gone) => return Err(Failure::Unreachable(gone.why().into())),
        };
    loop {
        let change = match waited(client, stream.message()).await {
            Ok(Ok(Some(change))) => change,
            Ok(Ok(None)) => return Err(Failure::Unreachable("morphd ended the stream".into())),
            Ok(Err(status)) => return Err(Failure::of_status(&status, Effect::Reads)),
            Err(Gone::Interrupted) => return Ok(()),
            Err(gone) => return Err(Failure::Unreachable(gone.why().into())),
        };
        out.item("changes", &change, &line(&change))?;
        if out.nobody_reads() {
            return Ok(());
        }
    }
}

fn line(change: &StoreChange) -> String {
    let (table, key) = (plain(&change.table), plain(&change.key));
    let value = match change.deleted {
        true => "deleted".into(),
        false => plain(&change.value),
    };
    format!("{} {table} {key} {value}", change.revision)
}

/// `store check`: all that is wrong. Anything is a failure.
pub(crate) async fn check(client: &mut Client, out: &mut Output) -> Result<(), Failure> {
    let lives = client.clone();
    let mut stream = match waited(&lives, client.store_check(StoreCheckRequest {})).await {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => return Err(Failure::of_status(&status, Effect::Reads)),
        Err(gone) => return Err(Failure::Unreachable(gone.why().into())),
    };
    let mut findings = Vec::new();
    let rows = loop {
        let Some(progress) = next(client, &mut stream).await? else {
            return Err(incomplete("the end of the check"));
        };
        findings.extend(progress.findings);
        if progress.done {
            break progress.rows;
        }
    };
    out.list("findings", &findings)?;
    match findings.len() {
        0 => out.text(&format!("{rows} rows were looked at; nothing is wrong.\n")),
        wrong => Err(Failure::Refused(format!(
            "the store is not sound: {wrong} of what is in it is wrong, {rows} rows were looked at"
        ))),
    }
}

/// `store backup`: into a file that is not there yet, and only there once it is whole.
pub(crate) async fn backup(
    client: &mut Client,
    out: &mut Output,
    path: PathBuf,
) -> Result<(), Failure> {
    if path.exists() {
        let said = format!(
            "{} is there already, and is not written over",
            path.display()
        );
        return Err(Failure::Refused(said));
    }
    let mut part = path.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let kept = stream(client, &path, &part).await;
    match kept {
        Ok(kept) => out.list("backups", &[kept]),
        Err(failure) => {
            let _ = fs::remove_file(&part); // it may never have been made
            Err(failure)
        }
    }
}

async fn stream(client: &mut Client, path: &Path, part: &Path) -> Result<Kept, Failure> {
    let lives = client.clone();
    let mut stream = match waited(&lives, client.store_backup(StoreBackupRequest {})).await {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => return Err(Failure::of_status(&status, Effect::Reads)),
        Err(gone) => return Err(Failure::Unreachable(gone.why().into())),
    };
    let wrong = |error: std::io::Error| {
        Failure::Refused(format!("{}: cannot write it: {error}", part.display()))
    };
    let mut file = private(part).map_err(wrong)?;
    let mut bytes = 0;
    loop {
        let Some(told) = next(client, &mut stream).await? else {
            return Err(incomplete("the end of the backup"));
        };
        file.write_all(&told.data).map_err(wrong)?;
        bytes += told.data.len() as u64;
        if told.done {
            file.sync_all().map_err(wrong)?;
            fs::rename(part, path).map_err(wrong)?;
            return Ok(Kept {
                file: path.display().to_string(),
                revision: told.revision,
                rows: told.rows,
                bytes,
            });
        }
    }
}

/// For its owner only: it holds all that the store holds.
fn private(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)
}

/// `store restore`: done by morph-stored, and not through morphd, which needs the store to live.
pub(crate) async fn restore(
    client: Option<Client>,
    out: &mut Output,
    backup: &Path,
    state_dir: &Path,
) -> Result<(), Failure> {
    let directory = state_dir.join("store");
    if let Some(pid) = runs_on(client, state_dir).await {
        return Err(Failure::Refused(format!(
            "morphd (pid {pid}) runs on {}. A store is restored while nothing runs on it: stop morphd, move {} away, \
             restore, and start morphd again",
            state_dir.display(),
            directory.display()
        )));
    }
    restored(out, backup, |command| command.arg("--dir").arg(&directory))
}

/// The same into etcd, where nothing may be under the prefix: so nobody runs on it.
pub(crate) fn restore_on(out: &mut Output, backup: &Path, url: &str) -> Result<(), Failure> {
    restored(out, backup, |command| command.args(["--backend", url]))
}

fn restored(
    out: &mut Output,
    backup: &Path,
    place: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<(), Failure> {
    let stored = stored();
    let mut command = Command::new(&stored);
    let output = place(&mut command).arg("--restore").arg(backup).output();
    let output = output
        .map_err(|error| Failure::Refused(format!("cannot start {}: {error}", stored.display())))?;
    match output.status.success() {
        true => out.text(&String::from_utf8_lossy(&output.stdout)),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(Failure::Refused(said.trim_end().to_owned()))
        }
    }
}

/// The morphd that runs on a state directory, if it is the one that is asked.
async fn runs_on(client: Option<Client>, state_dir: &Path) -> Option<u32> {
    let mut client = client?;
    let asked = client.version(VersionRequest {});
    let answer = tokio::time::timeout(ASKING, asked).await.ok()?.ok()?;
    let version = answer.into_inner();
    (Path::new(&version.state_dir) == state_dir).then_some(version.pid)
}

/// The one of the same build, else whichever there is.
fn stored() -> PathBuf {
    let beside = std::env::current_exe().ok();
    let beside = beside.and_then(|exe| Some(exe.parent()?.join("morph-stored")));
    beside
        .filter(|path| path.exists())
        .unwrap_or_else(|| PathBuf::from("morph-stored"))
}
