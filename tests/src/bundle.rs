//! Bundles for tests: a release of ours under another version, or with a program that misbehaves.

use crate::morpheus::bundles;
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A bundle in a directory of the test's.
pub struct Bundle(PathBuf);

impl Bundle {
    /// Copies one of our bundles (`learning-switch-1.0.0`) into `dir` as `name`.
    ///
    /// # Errors
    /// When it is not made.
    pub fn copy(of: &str, dir: &Path, name: &str) -> Result<Self> {
        let (from, to) = (bundles(of)?, dir.join(name));
        fs::create_dir_all(&to)?;
        for entry in fs::read_dir(&from)? {
            let entry = entry?;
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
        Ok(Self(to))
    }

    /// Makes one in `dir` as `name` from a manifest and its executable.
    ///
    /// # Errors
    /// When it is not made.
    pub fn made(manifest: &Path, executable: &Path, dir: &Path, name: &str) -> Result<Self> {
        let to = dir.join(name);
        fs::create_dir_all(&to)?;
        fs::copy(manifest, to.join("app.toml"))?;
        let program = executable.file_name().context("no executable")?;
        fs::copy(executable, to.join(program))?;
        Ok(Self(to))
    }

    /// Sets a key of its manifest to this TOML value; a key that is not there is added.
    ///
    /// # Errors
    /// When the manifest cannot be read or written.
    pub fn set(self, key: &str, value: &str) -> Result<Self> {
        self.write(key, Some(&format!("{key} = {value}")))
    }

    /// Takes a key out of its manifest.
    ///
    /// # Errors
    /// When the manifest cannot be read or written.
    pub fn without(self, key: &str) -> Result<Self> {
        self.write(key, None)
    }

    fn write(self, key: &str, line: Option<&str>) -> Result<Self> {
        let path = self.0.join("app.toml");
        let text = fs::read_to_string(&path)?;
        let is_it = |l: &&str| l.split('=').next().is_some_and(|k| k.trim() == key);
        let kept = text.lines().filter(|l| !is_it(l));
        let lines: Vec<&str> = kept.chain(line).collect();
        fs::write(&path, lines.join("\n") + "\n")?;
        Ok(self)
    }

    /// Puts a shell script in the place of its program.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn script(self, script: &str) -> Result<Self> {
        let path = self.0.join("program");
        fs::write(&path, format!("#!/bin/sh\n{script}\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        self.set("exec", "\"program\"")
    }

    /// Puts another executable in the place of its program.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn program(self, executable: &Path) -> Result<Self> {
        fs::copy(executable, self.0.join("program"))?;
        self.set("exec", "\"program\"")
    }

    /// Where it is, for `morphctl app install`.
    ///
    /// # Errors
    /// When the path is no text.
    pub fn path(&self) -> Result<&str> {
        self.0.to_str().context("a path that is no text")
    }
}
