//! Log output of Morpheus's processes.

use tracing_subscriber::EnvFilter;

/// Sends the process's log to standard error, one line an event. `MORPH_LOG` sets the filter (syntax of
/// [`EnvFilter`]); without it everything from level `info` on is written.
pub fn to_stderr() {
    let filter = EnvFilter::try_from_env("MORPH_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // A failed write would be reported on standard error itself, by a panic: a full disk under the log would end the
        // process.
        .log_internal_errors(false)
        .with_target(false)
        .with_env_filter(filter)
        .init();
}
