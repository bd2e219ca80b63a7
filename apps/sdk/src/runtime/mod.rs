//! The process around an app: its command line, its lock, its log, and the driver.

mod driver;
mod flags;
mod lock;
mod session;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use morph_api::manifest::Manifest;

use crate::instance::{Config, Instance};
use crate::migration::Chain;
use crate::{App, Migrations};
use driver::Driver;
use flags::Flags;
use lock::InstanceLock;

/// For a test of the tests only: where it is set, a resume deletes all rules and adds them again, which Morpheus never does
/// and its tests have to notice.
const REINSTALL: &str = "MORPH_SDK_REINSTALL";
/// morphd sets it where nobody serves the app meanwhile: after a death, or at the first start. A variable and no flag, so that a
/// release of an older SDK starts too.
const ALONE: &str = "MORPH_ALONE";

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|set| set == "1")
}

/// The `main` of an app whose tables have but one schema version.
pub fn run<A: App>(app: impl FnOnce() -> A) -> ExitCode {
    main(app, Chain::none)
}

/// The `main` of an app that can also run on other schema versions of its tables: through one migration, or a tuple of
/// neighbouring ones.
pub fn run_with_migration<A: App, M: Migrations>(app: impl FnOnce() -> A) -> ExitCode {
    main(app, Chain::of::<M>)
}

fn main<A: App>(app: impl FnOnce() -> A, chain: impl FnOnce(u32) -> Chain) -> ExitCode {
    let flags = Flags::parse();
    morph_api::log::to_stderr();
    match start(app, chain, &flags) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start<A: App>(
    app: impl FnOnce() -> A,
    chain: impl FnOnce(u32) -> Chain,
    flags: &Flags,
) -> anyhow::Result<u8> {
    if flags.schema {
        let schema = serde_json::json!({ "tables": A::tables() });
        writeln!(std::io::stdout(), "{schema}")?;
        return Ok(0);
    }
    let Some(start) = flags.start() else {
        writeln!(std::io::stdout(), "{}", flags::version())?;
        return Ok(0);
    };
    let manifest = Manifest::read(&start.manifest)?;
    let lock = InstanceLock::take(&start.run_dir, &manifest, &start.instance)
        .context("cannot lock the instance's file in RUN_DIR/instances")?;
    tracing::info!(
        app = %manifest.name,
        release = %manifest.version,
        instance = %start.instance,
        "starts"
    );
    let config = Config {
        chain: chain(manifest.schema),
        manifest,
        instance: start.instance,
        node: flags.node.clone(),
        pid: std::process::id(),
        keyspace: flags.keyspace,
        reinstall: is_set(REINSTALL),
        alone: is_set(ALONE),
    };
    let release = format!("{}.{}", config.manifest.name, config.manifest.version);
    let instance = Instance::new(app(), config);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let status = runtime.block_on(async {
        let driver =
            Driver::new(instance, &release, &start.run_dir).context("cannot take signals")?;
        anyhow::Ok(driver.run().await)
    });
    runtime.shutdown_background();
    drop(lock);
    status
}
