//! Lock file of the daemon, with the location of its data.

use std::path::Path;

use morph_api::lock::{Holder, Lock, LockError};

use crate::engine::EngineError;

/// Takes the lock now or tells who has it.
pub(super) fn take(path: &Path, store: &str) -> Result<Lock, EngineError> {
    let holder = Holder {
        store: store.to_owned(),
        ..Holder::current()
    };
    Lock::take(path, &holder).map_err(|error| match error {
        LockError::Held(pid) => EngineError::InUse {
            path: path.to_owned(),
            by: pid.map(|pid| format!(", pid {pid}")),
        },
        LockError::File(source) => EngineError::Open {
            path: path.to_owned(),
            source,
        },
    })
}
