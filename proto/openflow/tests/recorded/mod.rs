//! Frames encoded by other implementations, in one folder for each version: `NAME.packet` holds the bytes,
//! `NAME.packet.json` the fields as the other implementation decoded them.
//!
//! Searched in `$MORPH_VECTORS`, and in `shared/vectors/openflow` in or beside the repository.

#![allow(dead_code, reason = "each test uses a part")]

use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes a line to standard error past the capture of test output, so that it is visible.
pub(crate) fn say(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Frames of a version ("of13"), sorted by name. The error lists the folders that were searched in vain.
pub(crate) fn files(version: &str) -> Result<Vec<PathBuf>, Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().unwrap();
    let named = std::env::var_os("MORPH_VECTORS").map(PathBuf::from);
    if let Some(named) = &named {
        assert!(
            named.is_dir(),
            "MORPH_VECTORS={} is not a folder",
            named.display()
        );
    }
    let around = [Some(&*root), root.parent()].into_iter().flatten();
    let around = around.map(|folder| folder.join("shared/vectors/openflow"));
    let places: Vec<PathBuf> = named
        .into_iter()
        .chain(around)
        .map(|place| place.join(version))
        .collect();
    let Some(folder) = places.iter().find(|place| place.is_dir()) else {
        return Err(places);
    };
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_none_or(|e| e != "json"))
        .collect();
    files.sort();
    Ok(files)
}

/// Frames as from [`files`]. If there are none, reports that the test was skipped.
pub(crate) fn files_or_skip(version: &str, test: &str) -> Option<Vec<PathBuf>> {
    files(version)
        .inspect_err(|places| {
            say(&format!(
                "SKIPPED {test} ({version}): no recorded frames found in {places:?}; \
                 MORPH_VECTORS=FOLDER names another place"
            ));
        })
        .ok()
}
