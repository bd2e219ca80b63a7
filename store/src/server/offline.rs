//! Operations on a store that no daemon serves.

use std::path::Path;

use morph_api::store::Finding;

use super::lock::take;
use crate::engine::{
    self, EngineError, File, Location, RestoreError, RestoreSummary, make_directory,
};

/// Creates a store from a backup. A missing directory is created. An existing store, or one that a daemon has open,
/// is left alone. In etcd the prefix must be empty.
pub fn restore(source: Location, backup: &Path) -> Result<RestoreSummary, RestoreError> {
    let _lock = match &source {
        Location::Directory(directory) => Some(lock(directory)?),
        Location::Etcd(_) => None,
    };
    engine::restore(source, backup)
}

/// Checks a stopped store in a directory: the pages of its file by their checksums, then all content. Reports each
/// finding, and returns the number of rows and of findings.
pub fn check(
    directory: &Path,
    mut report: impl FnMut(&Finding),
) -> Result<(u64, u64), EngineError> {
    let path = directory.join("store.redb");
    if !path.exists() {
        let message = "there is no store.redb in it".to_owned();
        let path = directory.to_owned();
        return Err(EngineError::NotAStore { path, message });
    }
    let _lock = lock(directory)?;
    let (file, mut reported) = (File::open_to_check(directory)?, 0);
    if !file.is_sound()? {
        reported += 1;
        report(&Finding {
            r#where: path.display().to_string(),
            message: "pages fail their checksums; what is whole was taken up".into(),
        });
    }
    let mut check = file.check()?;
    loop {
        let (findings, more) = check.step()?;
        reported += findings.len() as u64;
        findings.iter().for_each(&mut report);
        if !more {
            return Ok((check.rows_checked(), reported));
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
