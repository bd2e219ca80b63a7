//! The lock that says that this process is the only proxy of its run directory, and its sockets there.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// A run directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// Another proxy holds the lock.
    #[error("another morph-proxy runs in {}: it holds proxy.lock ({holder})", dir.display())]
    Taken {
        /// The run directory.
        dir: PathBuf,
        /// What the lock file says.
        holder: String,
    },
    /// A file or socket cannot be made.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> RunDirError {
    let path = path.to_owned();
    |source| RunDirError::Io { path, source }
}

/// Held while the process lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Makes the directory, and takes `proxy.lock` in it.
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

/// A unix socket that is removed with its handle.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
}

impl Socket {
    /// Listens; a file that is left over is removed first: the lock says that we are alone.
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
        // Gone already is as good.
        let _ = std::fs::remove_file(&self.path);
    }
}
