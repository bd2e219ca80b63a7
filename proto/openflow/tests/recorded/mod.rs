//! Frames that other implementations wrote, a folder a version: `NAME.packet` (the bytes) beside `NAME.packet.json` (what the
//! other implementation read in them).
//!
//! They are looked for in `$MORPH_VECTORS` and in `shared/vectors/openflow` in or beside the repository's folder.

#![allow(dead_code, reason = "each test uses a part")]

use std::io::Write;
use std::path::{Path, PathBuf};

/// Says it past the capture of tests' output, so that it is seen.
pub(crate) fn say(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// The frames of a version ("of13"), sorted; none where its folder is not there.
pub(crate) fn files(version: &str) -> Result<Vec<PathBuf>, Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().unwrap();
    let named = std::env::var_os("MORPH_VECTORS").map(PathBuf::from);
    if let Some(named) = &named {
        assert!(
            named.is_dir(),
            "MORPH_VECTORS={} is no folder",
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

/// As [`files`]; where there are none a test says so and passes.
pub(crate) fn files_or_skip(version: &str, test: &str) -> Option<Vec<PathBuf>> {
    files(version)
        .inspect_err(|places| {
            say(&format!(
                "SKIPPED {test}, {version}: NO VECTOR OF OTHERS WAS CHECKED, none of {places:?} is there \
                 (MORPH_VECTORS=FOLDER names another place)"
            ));
        })
        .ok()
}
