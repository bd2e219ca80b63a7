//! The process around an app.

use std::process::ExitCode;

use crate::{App, Migration};

/// The `main` of an app whose tables have but one schema version.
pub fn run<A: App>(app: impl FnOnce() -> A) -> ExitCode {
    drop(app);
    ExitCode::FAILURE
}

/// The `main` of an app that can also run on its tables' neighbouring schema version.
pub fn run_with_migration<A: App, M: Migration>(app: impl FnOnce() -> A) -> ExitCode {
    drop(app);
    ExitCode::FAILURE
}
