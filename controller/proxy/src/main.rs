//! Command line of the proxy.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use morph_api::Role;
use morph_api::verification::VerificationPeriods;
use morph_proxy::{Options, Proxy};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

/// Mediator between switches and app instances: ends the OpenFlow channels, and holds and replays events while an app
/// is replaced. Started by morphd.
#[derive(Debug, Parser)]
#[command(name = "morph-proxy", version)]
struct Args {
    /// Directory of sockets and locks; the store's socket is expected in it.
    #[arg(long, value_name = "DIR")]
    run_dir: PathBuf,
    /// Address for switches, as IP:PORT; may be given several times. Default: port 6653 on all addresses, and 6633
    /// where it is free.
    #[arg(long, value_name = "ADDR")]
    openflow: Vec<SocketAddr>,
    /// Name of this node, as in the store's checkpoints.
    #[arg(long, value_name = "NAME", default_value = "node1")]
    node: String,
    /// Role to request from the switches: equal, master (the former master becomes a slave) or slave (nothing is
    /// written, and apps see no switch).
    #[arg(long, value_name = "ROLE", default_value_t)]
    role: Role,
    /// Seconds between two counts of the rules that each switch has in table 0 and the exit tables, and between two readings of
    /// them; 0 for never.
    #[arg(long, value_name = "COUNTS,RULES", default_value_t)]
    verify: VerificationPeriods,
}

fn main() -> ExitCode {
    let args = Args::parse();
    morph_api::log::to_stderr();
    raise_file_limit();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Raises the limit of open files to the allowed maximum: each switch and each instance takes one.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

fn run(args: Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let proxy = Proxy::bind(Options {
            run_dir: args.run_dir,
            node: args.node,
            openflow: args.openflow,
            quota: None,
            target_delay: None,
            role: args.role,
            verification: args.verify,
        })?;
        proxy
            .run(async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            })
            .await;
        Ok(())
    })
}
