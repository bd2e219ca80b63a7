//! The management API: gRPC with reflection and health, on `RUN_DIR/api.sock` for everybody who may write to that socket, and
//! read-only over TCP if the operator asks for it.

mod arguments;
mod config;
mod events;
mod install;
mod logs;
mod migrations;
mod network;
mod orphans;
mod peer;
mod plans;
mod requests;
mod routes;
mod rows;
mod service;
mod store;
mod views;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use morph_api::management::management_server::ManagementServer;
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::Server;

use routes::{Grpc, Routes};
pub use service::Service;

/// Mode of the unix socket: its owner and group may connect.
const MODE: u32 = 0o660;
const NAME: &str = "morpheus.management.v1.Management";

/// Binds the unix socket and gives it to `group`; `None` leaves it with the group that it gets from its directory. The caller
/// holds morphd's lock, so an existing file is stale.
pub fn bind_unix(path: &Path, group: Option<u32>) -> anyhow::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(error).with_context(|| format!("cannot replace {}", path.display()));
        }
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    if group.is_some() {
        std::os::unix::fs::chown(path, None, group)
            .with_context(|| format!("cannot set the group of {}", path.display()))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))
        .with_context(|| format!("cannot set the mode of {}", path.display()))?;
    Ok(listener)
}

pub async fn bind_tcp(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot serve the management API on {address}"))
}

/// Serves everybody who may connect to the unix socket.
pub async fn serve_unix(listener: UnixListener, service: Service) -> anyhow::Result<()> {
    let routes = routes(service).await?;
    let incoming = UnixListenerStream::new(listener);
    Ok(Server::builder()
        .http2_max_pending_accept_reset_streams(Some(morph_api::ABANDONED_CALLS))
        .serve_with_incoming(routes, incoming)
        .await?)
}

/// Serves everybody over TCP; `service` must be read-only.
pub async fn serve_tcp(listener: TcpListener, service: Service) -> anyhow::Result<()> {
    let routes = routes(service).await?;
    let incoming = TcpListenerStream::new(listener);
    Ok(Server::builder()
        .serve_with_incoming(routes, incoming)
        .await?)
}

async fn routes(
    service: Service,
) -> anyhow::Result<Routes<impl Grpc, impl Grpc, impl Grpc, impl Grpc>> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(morph_api::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name(NAME)
            .with_service_name("grpc.health.v1.Health")
    };
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<ManagementServer<Service>>().await;
    let management = ManagementServer::new(service);
    // Older and newer tools ask for different versions of reflection.
    Ok(Routes(
        management,
        health,
        reflection().build_v1()?,
        reflection().build_v1alpha()?,
    ))
}
