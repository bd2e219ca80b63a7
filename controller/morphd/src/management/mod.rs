//! The management API: gRPC with reflection and health, on `RUN_DIR/api.sock` for those who may write there, and on TCP,
//! where it is asked for, read-only.

mod config;
mod logs;
mod migrations;
mod peer;
mod plans;
mod routes;
mod rows;
mod service;
mod state;
mod views;
mod whole;

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

/// Owner and group may speak to it.
const MODE: u32 = 0o660;
const NAME: &str = "morpheus.management.v1.Management";

/// Binds the unix socket, for this group where it is not the folder's matter. Whoever calls this holds morphd's lock, so a file that is there is stale.
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

/// Binds the TCP address.
pub async fn bind_tcp(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot serve the management API on {address}"))
}

/// Serves everybody on the unix socket.
pub async fn serve_unix(listener: UnixListener, service: Service) -> anyhow::Result<()> {
    let routes = routes(service).await?;
    let incoming = UnixListenerStream::new(listener);
    Ok(Server::builder()
        .serve_with_incoming(routes, incoming)
        .await?)
}

/// Serves everybody over TCP; `service` is to be a read-only one.
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
    // Tools of different ages ask for different versions of reflection.
    Ok(Routes(
        management,
        health,
        reflection().build_v1()?,
        reflection().build_v1alpha()?,
    ))
}
