//! Lock of a run directory, held by its only proxy, and the sockets in it.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use morph_api::lock::{Holder, Lock, LockError};
use tokio::net::UnixListener;

/// Unusable run directory, file or socket.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// Run directory locked by another proxy.
    #[error("another morph-proxy runs in {}: proxy.lock is {lock}; end it first", dir.display())]
    Taken {
        dir: PathBuf,
        /// Names the process that holds the lock, where the file says so.
        lock: LockError,
    },
    /// File or socket that cannot be created.
    #[error("cannot use {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> RunDirError {
    let path = path.to_owned();
    |source| RunDirError::Io { path, source }
}

/// Creates the run directory and takes `proxy.lock` in it.
pub(super) fn take(dir: &Path) -> Result<Lock, RunDirError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(failed(dir))?;
    let path = dir.join("proxy.lock");
    Lock::take(&path, &Holder::current()).map_err(|error| match error {
        LockError::Held(_) => RunDirError::Taken {
            dir: dir.to_owned(),
            lock: error,
        },
        LockError::File(source) => RunDirError::Io { path, source },
    })
}

/// Unix socket whose file is removed with the handle.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
}

impl Socket {
    /// Listens on a socket. Removes a leftover file first, which is safe under the lock.
    pub(super) fn listen(path: PathBuf, mode: u32) -> Result<(Self, UnixListener), RunDirError> {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(&path)(error));
            }
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&path).map_err(failed(&path))?;
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(failed(&path))?;
        Ok((Socket { path }, listener))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A file that is already gone is fine.
        let _ = std::fs::remove_file(&self.path);
    }
}
