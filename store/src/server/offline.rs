//! What is done with a store that nobody serves.

use std::path::Path;

use morph_api::store::Finding;

use super::lock::take;
use crate::engine::{self, EngineError, File, RestoreError, Restored, Source, make_directory};

/// Makes the store of a backup. A directory is made if it is not there; a store that is there is left alone, and so is one
/// that a daemon has open. In etcd nothing may be under the prefix.
pub fn restore(source: Source, backup: &Path) -> Result<Restored, RestoreError> {
    let _lock = match &source {
        Source::Directory(directory) => Some(lock(directory)?),
        Source::Etcd(_) => None,
    };
    engine::restore(source, backup)
}

/// Looks at everything in a directory: the pages of the file by their checksums, then all that they say. Tells each
/// finding; rows that were looked at, and how many findings there are.
pub fn check(directory: &Path, mut tell: impl FnMut(&Finding)) -> Result<(u64, u64), EngineError> {
    let path = directory.join("store.redb");
    if !path.exists() {
        let message = "there is no store.redb in it".to_owned();
        let path = directory.to_owned();
        return Err(EngineError::NoStore { path, message });
    }
    let _lock = lock(directory)?;
    let (file, mut told) = (File::open_to_check(directory)?, 0);
    if !file.is_sound()? {
        told += 1;
        tell(&Finding {
            r#where: path.display().to_string(),
            message: "pages fail their checksums; what is whole was taken up".into(),
        });
    }
    let mut check = file.check()?;
    loop {
        let (findings, more) = check.step()?;
        told += findings.len() as u64;
        findings.iter().for_each(&mut tell);
        if !more {
            return Ok((check.looked_at(), told));
        }
    }
}

fn lock(directory: &Path) -> Result<morph_api::lock::Lock, EngineError> {
    make_directory(directory).map_err(|source| EngineError::Open {
        path: directory.to_owned(),
        source,
    })?;
    take(&directory.join("lock"), &directory.display().to_string())
}
