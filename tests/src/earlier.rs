//! Builds of earlier revisions, for upgrades of what installed networks run.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

static BUILD: OnceLock<PathBuf> = OnceLock::new();

/// Folder of the executables and bundles of an earlier revision, as `scripts/build-earlier` makes it.
pub fn earlier_build() -> Result<&'static Path> {
    let folder = std::env::var_os("MORPH_EARLIER_BUILD");
    let folder = PathBuf::from(folder.context(
        "MORPH_EARLIER_BUILD is not set to a build of an earlier revision: `make test-long` does that",
    )?);
    let folder = folder.canonicalize()?;
    ensure!(
        folder.join("morphd").exists(),
        "no morphd in {}",
        folder.display()
    );
    Ok(BUILD.get_or_init(|| folder))
}

/// Folder of the earlier revision that is in use.
pub(crate) fn in_use() -> Option<&'static Path> {
    BUILD.get().map(PathBuf::as_path)
}
