//! `morphctl store backup` and `store restore`.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use morph_api::management::{StoreBackupRequest, VersionRequest};

use crate::client::{Client, incomplete, next, open};
use crate::command::RestoreTarget;
use crate::endpoint::{self, Endpoint};
use crate::failure::Failure;
use crate::print::Output;
use crate::print::rows::BackupResult;

/// Deadline for morphd to name its state directory.
const VERSION_DEADLINE: Duration = Duration::from_secs(2);

/// Writes a backup. The file gets its name only when it is complete; an existing file is kept.
pub(crate) async fn back_up(
    path: &Path,
    client: &mut Client,
    out: &mut Output,
) -> Result<(), Failure> {
    if path.exists() {
        return Err(Failure::Refused(format!(
            "{} exists, and is not written over: name another file, or remove it",
            path.display()
        )));
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".part");
    let partial = PathBuf::from(partial);
    match receive(client, path, &partial).await {
        Ok(result) => out.list("backups", &[result]),
        Err(failure) => {
            // The file may not have been created.
            let _ = fs::remove_file(&partial);
            Err(failure)
        }
    }
}

async fn receive(
    client: &mut Client,
    path: &Path,
    partial: &Path,
) -> Result<BackupResult, Failure> {
    let probe = client.clone();
    let mut stream = open(&probe, client.store_backup(StoreBackupRequest {})).await?;
    let cannot_write = |error: std::io::Error| {
        Failure::Refused(format!("cannot write {}: {error}", partial.display()))
    };
    let mut file = create_private(partial).map_err(cannot_write)?;
    let mut bytes = 0;
    loop {
        let Some(part) = next(&probe, &mut stream).await? else {
            return Err(incomplete("the end of the backup"));
        };
        file.write_all(&part.data).map_err(cannot_write)?;
        bytes += part.data.len() as u64;
        if part.done {
            file.sync_all().map_err(cannot_write)?;
            fs::rename(partial, path).map_err(cannot_write)?;
            return Ok(BackupResult {
                file: path.display().to_string(),
                revision: part.revision,
                rows: part.rows,
                bytes,
            });
        }
    }
}

/// Creates a file that only its owner may read: a backup holds all state.
fn create_private(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)
}

/// Restores a backup by morph-stored, not through morphd, which cannot run without the store.
pub(crate) async fn restore(
    backup: &Path,
    target: &RestoreTarget,
    endpoint: Option<Endpoint>,
    out: &mut Output,
) -> Result<(), Failure> {
    let morph_stored = morph_stored();
    let mut command = Command::new(&morph_stored);
    match target {
        RestoreTarget::StateDir(state_dir) => {
            let store = state_dir.join("store");
            if let Some(pid) = morphd_on(state_dir, endpoint).await {
                return Err(Failure::Refused(format!(
                    "morphd (pid {pid}) runs on {}, and a store cannot be restored while it is in use: stop morphd, move {} \
                     away, restore, and start morphd again",
                    state_dir.display(),
                    store.display()
                )));
            }
            command.arg("--dir").arg(&store);
        }
        // morph-stored itself refuses a prefix with rows under it, so no morphd can be using it.
        RestoreTarget::Etcd(url) => {
            command.args(["--backend", url]);
        }
    }
    let output = command.arg("--restore").arg(backup).output();
    let output = output.map_err(|error| {
        Failure::Refused(format!(
            "cannot start {}: {error}; put morph-stored beside morphctl or into a folder of $PATH",
            morph_stored.display()
        ))
    })?;
    match output.status.success() {
        true => out.note(&String::from_utf8_lossy(&output.stdout)),
        false => {
            let message = String::from_utf8_lossy(&output.stderr);
            Err(Failure::Refused(message.trim_end().to_owned()))
        }
    }
}

/// Process of the morphd at the endpoint, if it runs on this state directory.
async fn morphd_on(state_dir: &Path, endpoint: Option<Endpoint>) -> Option<u32> {
    let mut client = Client::new(endpoint::connect(endpoint).await.ok()?);
    let call = client.version(VersionRequest {});
    let reply = tokio::time::timeout(VERSION_DEADLINE, call).await.ok()?;
    let version = reply.ok()?.into_inner();
    (Path::new(&version.state_dir) == state_dir).then_some(version.pid)
}

/// Program of the same build, else the one that `$PATH` leads to.
fn morph_stored() -> PathBuf {
    let own = std::env::current_exe().ok();
    let sibling = own.and_then(|own| Some(own.parent()?.join("morph-stored")));
    sibling
        .filter(|path| path.exists())
        .unwrap_or_else(|| PathBuf::from("morph-stored"))
}
