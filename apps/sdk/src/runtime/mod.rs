//! Process around an app: command line, lock, log, and driver.

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
use morph_api::verification::{VARIABLE, VerificationPeriods};

use crate::describe::describe;
use crate::instance::{Config, Instance};
use crate::migration::Chain;
use crate::{App, Migrations};
use driver::Driver;
use flags::Flags;
use lock::InstanceLock;

/// Set by morphd if no instance serves the app meanwhile: after a death, or at the first start. A variable and no flag,
/// so that a release with an older SDK starts too.
const ALONE: &str = "MORPH_ALONE";

/// Periods of the verification, as morphd set them. A release that is started by an older morphd has the default.
fn verification() -> anyhow::Result<VerificationPeriods> {
    let Some(text) = std::env::var_os(VARIABLE) else {
        return Ok(VerificationPeriods::default());
    };
    let periods = text.to_string_lossy().parse();
    periods.map_err(|error| anyhow::anyhow!("{VARIABLE}: {error}"))
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|set| set == "1")
}

/// Runs an app whose tables have but one schema version; the whole `main` of its executable.
///
/// ```
/// # use morph_sdk::{App, AppError, Event, RuleInput, Rules, Turn, View};
/// # struct Hub;
/// # impl App for Hub {
/// #     type Group = ();
/// #     fn event(&mut self, _: &Event, _: &mut Turn<'_>) -> Result<(), AppError> { Ok(()) }
/// #     fn groups(&self, _: &RuleInput<'_>, _: &View<'_>) -> Vec<()> { Vec::new() }
/// #     fn rules(&self, (): &(), _: &View<'_>, _: &mut Rules) {}
/// # }
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     # if true { return ExitCode::SUCCESS; }
///     morph_sdk::run(|| Hub)
/// }
/// ```
pub fn run<A: App>(app: impl FnOnce() -> A) -> ExitCode {
    main(app, Chain::none)
}

/// Runs an app that can also work on other schema versions of its tables: through one migration, or a tuple of
/// neighbouring ones. The whole `main` of its executable.
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
        // The versions of the migrations do not depend on the release's own.
        let description = describe::<A>(chain(0).versions());
        writeln!(
            std::io::stdout(),
            "{}",
            serde_json::to_string(&description)?
        )?;
        return Ok(0);
    }
    let Some(arguments) = flags.arguments() else {
        writeln!(std::io::stdout(), "{}", flags::version())?;
        return Ok(0);
    };
    let manifest = Manifest::read(&arguments.manifest)?;
    let chain = chain(manifest.schema);
    let description = describe::<A>(chain.versions());
    description.check(&manifest).map_err(anyhow::Error::msg)?;
    let lock = InstanceLock::take(&arguments.run_dir, &manifest, &arguments.instance)
        .context("cannot lock this instance's file in RUN_DIR/instances")?;
    tracing::info!(
        app = %manifest.name,
        release = %manifest.version,
        instance = %arguments.instance,
        "starting"
    );
    let config = Config {
        chain,
        manifest,
        instance: arguments.instance,
        node: flags.node.clone(),
        pid: std::process::id(),
        keyspace: flags.keyspace,
        clock: Some(std::time::Instant::now),
        event_mark: lock.event_mark(),
        unserved: is_set(ALONE),
        rule_window: crate::instance::RuleWindow::default(),
        verification: verification()?,
    };
    let release = format!("{}.{}", config.manifest.name, config.manifest.version);
    let instance = Instance::new(app(), config);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let status = runtime.block_on(async {
        let driver = Driver::new(instance, &release, &arguments.run_dir)
            .context("cannot install signal handlers")?;
        anyhow::Ok(driver.run().await)
    });
    runtime.shutdown_background();
    if matches!(status, Ok(driver::PANICKED)) {
        lock.leave();
    }
    status
}
