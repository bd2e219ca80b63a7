//! Conditions under which the executables of releases run.

use std::path::Path;

use morph_api::description::{Description, ask};
use morph_api::manifest::Manifest;
use rustix::process::Resource;

use crate::bundle::Bundle;
use crate::children::AppUsers;
use crate::process::{SpawnOptions, confined, machine_memory};

/// Seconds of processor time for an answer about itself.
const CPU_SECONDS: u64 = 10;

/// The user an instance runs as, and its limits. Without `users` it runs as morphd does.
pub fn options(users: Option<AppUsers>, manifest: &Manifest) -> SpawnOptions {
    let credentials = users.map(|users| users.of(manifest.id));
    let (memory, more) = (manifest.memory_mib.map(|mib| mib << 20), &manifest.limits);
    let memory = memory.or_else(|| Some(machine_memory()? / 2));
    let mut limits = vec![
        (Resource::Core, more.core_mib << 20),
        (Resource::Nofile, more.open_files.into()),
    ];
    // An instance that wants more memory aborts, and the machine has enough for all others.
    limits.extend(memory.map(|bytes| (Resource::Data, bytes)));
    // The limit of processes counts all of a user, so an app without a user of its own has none.
    limits.extend(credentials.map(|_| (Resource::Nproc, more.processes.into())));
    SpawnOptions {
        credentials,
        limits,
        environment: Vec::new(),
    }
}

/// Asks a bundle's executable what it has, and checks that its manifest says the same. It runs in `folder`'s copy of the bundle,
/// as an instance would, and writes no file. Blocks until it has ended.
pub fn describe(
    users: Option<AppUsers>,
    bundle: &Bundle,
    folder: &Path,
) -> Result<Description, DescribeError> {
    let manifest = &bundle.manifest;
    let mut options = options(users, manifest);
    let more = [(Resource::Cpu, CPU_SECONDS), (Resource::Fsize, 0)];
    options.limits.extend(more);
    let mut command = confined(&options, &folder.join(&manifest.exec));
    let description = ask(&mut command).map_err(|why| {
        DescribeError::Silent(format!(
            "{}@{}: its executable {} {why}",
            manifest.name,
            manifest.version,
            manifest.exec.display()
        ))
    })?;
    description
        .check(manifest)
        .map_err(DescribeError::Differs)?;
    Ok(description)
}

/// Reason why a bundle has no description.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// The executable cannot be run, or says nothing of itself.
    #[error("{0}")]
    Silent(String),
    /// Executable and manifest differ.
    #[error("{0}")]
    Differs(String),
}
