//! Lock of a run directory, held by its only proxy, and the sockets in it.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Unusable run directory, file or socket.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// Run directory locked by another proxy.
    #[error("another morph-proxy runs in {}: it holds proxy.lock ({holder}); end it first", dir.display())]
    Taken {
        dir: PathBuf,
        /// Content of the lock file.
        holder: String,
    },
    /// File or socket that cannot be created.
    #[error("cannot use {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> RunDirError {
    let path = path.to_owned();
    |source| RunDirError::Io { path, source }
}

/// Lock held while the process lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Creates the directory and takes `proxy.lock` in it.
    pub(super) fn take(dir: &Path) -> Result<Self, RunDirError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(failed(dir))?;
        let path = dir.join("proxy.lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(&path)
            .map_err(failed(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(RunDirError::Taken {
                    dir: dir.to_owned(),
                    holder: std::fs::read_to_string(&path)
                        .unwrap_or_default()
                        .trim()
                        .to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(failed(&path)(error)),
        }
        let content = serde_json::json!({
            "pid": std::process::id(),
            "program": "morph-proxy",
            "version": env!("CARGO_PKG_VERSION"),
        });
        file.set_len(0)
            .and_then(|()| writeln!(file, "{content}"))
            .map_err(failed(&path))?;
        Ok(Lock { _file: file })
    }
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
