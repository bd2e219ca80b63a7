//! morphd's command line.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use morphd::config::{Flags, Settings, Surroundings};
use morphd::management::{self, Service};
use morphd::metrics::{self, Source};
use morphd::supervisor::{self, Shutdown};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let flags = Flags::parse();
    let filter = EnvFilter::try_from_env("MORPH_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // It would be told on standard error, with a panic: a full disk under the log would end the process.
        .log_internal_errors(false)
        .with_target(false)
        .with_env_filter(filter)
        .init();
    match run(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody reads a message that cannot be written.
            let _ = writeln!(std::io::stderr(), "morphd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: Flags) -> anyhow::Result<()> {
    let around = Surroundings::look().context("cannot find out where morphd stands")?;
    let settings = Settings::from(flags, &around)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(Box::pin(serve(settings)))
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    // Before anything is started: a signal during the start counts as well.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut alone = signal(SignalKind::user_defined1())?;
    let (socket, api) = (settings.run("api.sock"), settings.api);
    let tcp = match api {
        Some(address) => Some(management::bind_tcp(address).await?),
        None => None,
    };
    let figures = match settings.metrics {
        Some(address) => Some(metrics::bind(address).await?),
        None => None,
    };
    let supervisor = supervisor::start(settings).await?;
    let unix = management::bind_unix(&socket, supervisor.api_group())?;
    tracing::info!(api = %socket.display(), "morphd is ready");
    tokio::spawn(management::serve_unix(
        unix,
        Service::new(&supervisor, false),
    ));
    if let Some(listener) = tcp {
        tracing::info!(api = %listener.local_addr()?, "read-only over TCP");
        tokio::spawn(management::serve_tcp(
            listener,
            Service::new(&supervisor, true),
        ));
    }
    if let Some(listener) = figures {
        tracing::info!(metrics = %listener.local_addr()?, "figures for Prometheus");
        tokio::spawn(metrics::serve(listener, Source::new(&supervisor)));
    }
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => Shutdown::All,
            _ = interrupt.recv() => Shutdown::All,
            _ = alone.recv() => Shutdown::Alone,
        }
    };
    supervisor.run(shutdown).await
}
