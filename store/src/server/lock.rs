//! A file that says that the daemon lives: locked while it does, with who it is inside.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::Path;

use crate::engine::EngineError;

/// A lock that is held. The file stays when it is let go: only the lock counts.
#[derive(Debug)]
pub(super) struct Lock(#[allow(dead_code, reason = "open is what it has to be")] File);

impl Lock {
    /// Takes the lock now or says who has it.
    pub(super) fn take(path: &Path, store: &str) -> Result<Lock, EngineError> {
        let open = |source| EngineError::Open {
            path: path.to_owned(),
            source,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(open)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(path)),
            Err(TryLockError::Error(source)) => return Err(open(source)),
        }
        describe(&file, store).map_err(open)?;
        Ok(Lock(file))
    }
}

fn describe(mut file: &File, store: &str) -> io::Result<()> {
    let who = serde_json::json!({
        "pid": std::process::id(),
        "version": env!("CARGO_PKG_VERSION"),
        "store": store,
    });
    file.set_len(0)?;
    writeln!(file, "{who}")
}

fn in_use(path: &Path) -> EngineError {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let pid = serde_json::from_str::<serde_json::Value>(&text)
        .ok()
        .and_then(|who| who.get("pid")?.as_u64());
    EngineError::InUse {
        path: path.to_owned(),
        by: pid.map(|pid| format!(", pid {pid}")),
    }
}
