//! Command line of morphd.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use morphd::config::{Environment, Flags, Settings};
use morphd::management::{self, Service};
use morphd::metrics::{self, Source};
use morphd::supervisor::{self, Shutdown};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let flags = Flags::parse();
    morph_api::log::to_stderr();
    match run(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A message that cannot be written has no reader.
            let _ = writeln!(std::io::stderr(), "morphd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: Flags) -> anyhow::Result<()> {
    let environment = Environment::read().context("cannot find the folder of the executable")?;
    let settings = Settings::from(flags, &environment)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(Box::pin(serve(settings)))
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    // Registered before anything is started, so that a signal during the start counts as well.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut alone = signal(SignalKind::user_defined1())?;
    let (socket, endpoints) = (settings.run("api.sock"), settings.endpoints);
    let tcp = match endpoints.api {
        Some(address) => Some(management::bind_tcp(address).await?),
        None => None,
    };
    let metrics_page = match endpoints.metrics {
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
        tracing::info!(api = %listener.local_addr()?, "the management API is served over TCP, read-only");
        tokio::spawn(management::serve_tcp(
            listener,
            Service::new(&supervisor, true),
        ));
    }
    if let Some(listener) = metrics_page {
        tracing::info!(metrics = %listener.local_addr()?, "metrics are served for Prometheus");
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
