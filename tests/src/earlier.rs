//! Builds of earlier revisions, for upgrades of what installed networks run.

use crate::morpheus::repository;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

static BUILD: OnceLock<PathBuf> = OnceLock::new();

/// Folder of the executables and bundles of an earlier revision: `$MORPH_EARLIER_BUILD`, or what `scripts/build-earlier` makes.
/// A test program has one such revision.
pub fn earlier_build(revision: &str) -> Result<&'static Path> {
    let folder = match std::env::var_os("MORPH_EARLIER_BUILD") {
        Some(folder) => PathBuf::from(folder),
        None => build(revision)?,
    };
    let folder = folder.canonicalize()?;
    ensure!(folder.join("morphd").exists(), "no morphd in {folder:?}");
    Ok(BUILD.get_or_init(|| folder))
}

/// Folder of the earlier revision that is in use.
pub(crate) fn in_use() -> Option<&'static Path> {
    BUILD.get().map(PathBuf::as_path)
}

fn build(revision: &str) -> Result<PathBuf> {
    let script = repository().join("scripts/build-earlier");
    let output = Command::new(script)
        .arg(revision)
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "build-earlier: {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    Ok(text
        .lines()
        .last()
        .context("build-earlier printed nothing")?
        .into())
}
