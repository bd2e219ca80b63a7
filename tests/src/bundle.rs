//! Bundles for tests: one of our releases under another version, or with a program that misbehaves.

use crate::morpheus::bundle_dir;
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Bundle in the test's directory, changed step by step by the methods below.
pub struct Bundle(PathBuf);

impl Bundle {
    /// Copies one of the built bundles (such as `learning-switch-1.2.0`) into `dir` as `name`.
    pub fn copy(of: &str, dir: &Path, name: &str) -> Result<Self> {
        let (from, to) = (bundle_dir(of)?, dir.join(name));
        fs::create_dir_all(&to)?;
        for entry in fs::read_dir(&from)? {
            let entry = entry?;
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
        Ok(Self(to))
    }

    /// Builds a bundle in `dir` as `name` from a manifest and an executable.
    pub fn assemble(manifest: &Path, executable: &Path, dir: &Path, name: &str) -> Result<Self> {
        let to = dir.join(name);
        fs::create_dir_all(&to)?;
        fs::copy(manifest, to.join("app.toml"))?;
        let program = executable
            .file_name()
            .with_context(|| format!("{} has no file name", executable.display()))?;
        fs::copy(executable, to.join(program))?;
        Ok(Self(to))
    }

    /// Sets a key of the manifest to a TOML value, or adds the key.
    pub fn set(self, key: &str, value: &str) -> Result<Self> {
        self.write(key, Some(&format!("{key} = {value}")))
    }

    /// Removes a key from the manifest.
    pub fn without(self, key: &str) -> Result<Self> {
        self.write(key, None)
    }

    fn write(self, key: &str, line: Option<&str>) -> Result<Self> {
        let path = self.0.join("app.toml");
        let text = fs::read_to_string(&path)?;
        let sets_key = |l: &&str| l.split('=').next().is_some_and(|k| k.trim() == key);
        let others = text.lines().filter(|l| !sets_key(l));
        let lines: Vec<&str> = others.chain(line).collect();
        fs::write(&path, lines.join("\n") + "\n")?;
        Ok(self)
    }

    /// Replaces the program by a shell script.
    pub fn script(self, script: &str) -> Result<Self> {
        let path = self.0.join("program");
        fs::write(&path, format!("#!/bin/sh\n{script}\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        self.set("exec", "\"program\"")
    }

    /// Replaces the program by another executable.
    pub fn program(self, executable: &Path) -> Result<Self> {
        fs::copy(executable, self.0.join("program"))?;
        self.set("exec", "\"program\"")
    }

    /// Path in the form that `morphctl app install` takes.
    pub fn path(&self) -> Result<&str> {
        self.0.to_str().context("a path that is not UTF-8")
    }
}
