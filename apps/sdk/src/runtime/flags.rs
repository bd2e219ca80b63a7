//! Command line of an instance, written by morphd: see `docs/app-toml.md`.

use std::path::{Path, PathBuf};

use clap::Parser;
use morph_api::manifest::Manifest;

/// An instance of a Morpheus application. It is started by morphd.
#[derive(Debug, Parser)]
#[command(disable_version_flag = true)]
pub(super) struct Flags {
    /// The release's manifest, app.toml of its bundle
    #[arg(long, value_name = "FILE", required_unless_present_any = ["version", "schema"])]
    manifest: Option<PathBuf>,
    /// The instance's id
    #[arg(long, value_name = "ID", required_unless_present_any = ["version", "schema"])]
    instance: Option<String>,
    /// Folder with the sockets of the store and of the proxy
    #[arg(long, value_name = "DIR", required_unless_present_any = ["version", "schema"])]
    run_dir: Option<PathBuf>,
    /// The node's name
    #[arg(long, value_name = "NAME", default_value = "node1")]
    pub(super) node: String,
    /// Read this keyspace of the app's tables, which is to become the primary
    #[arg(long, value_name = "ID")]
    pub(super) keyspace: Option<u32>,
    /// Print the version
    #[arg(long, short = 'V')]
    version: bool,
    /// Print the shapes of the app's tables, of those that it reads, and its migrations, as JSON
    #[arg(long)]
    pub(super) schema: bool,
}

/// Arguments that an instance is started with.
#[derive(Debug)]
pub(super) struct Arguments {
    pub(super) manifest: PathBuf,
    pub(super) instance: String,
    pub(super) run_dir: PathBuf,
}

impl Flags {
    /// Arguments to start an instance; `None` if only the version or the schema was asked for.
    pub(super) fn arguments(&self) -> Option<Arguments> {
        if self.version || self.schema {
            return None;
        }
        Some(Arguments {
            manifest: self.manifest.clone()?,
            instance: self.instance.clone()?,
            run_dir: self.run_dir.clone()?,
        })
    }
}

/// Version line: the release, if its manifest is beside the executable, and this SDK.
pub(super) fn version() -> String {
    let sdk = concat!("morph-sdk ", env!("CARGO_PKG_VERSION"));
    let exe = std::env::current_exe().unwrap_or_default();
    let beside = exe.parent().unwrap_or(Path::new(".")).join(Manifest::FILE);
    match Manifest::read(&beside) {
        Ok(manifest) => format!("{} {} ({sdk})", manifest.name, manifest.version),
        Err(_) => {
            let name = exe.file_name().unwrap_or_default().to_string_lossy();
            format!("{name} ({sdk})")
        }
    }
}
