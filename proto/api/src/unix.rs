//! gRPC connections over unix sockets.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Error, Uri};

/// Time limit of a connect. A local socket answers at once or not at all.
const CONNECT: Duration = Duration::from_secs(2);

fn endpoint() -> Endpoint {
    // The URI names no host that is ever looked up, since the connector ignores it.
    Endpoint::from_static("http://localhost").connect_timeout(CONNECT)
}

fn connector(
    path: PathBuf,
) -> impl tower::Service<
    Uri,
    Response = TokioIo<UnixStream>,
    Error = std::io::Error,
    Future = impl Future<Output = std::io::Result<TokioIo<UnixStream>>> + Send,
> + Send
+ 'static {
    tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    })
}

/// Returns the mode of a socket for apps: accessible to their group if the folder passes its group on (set-group-ID),
/// otherwise to its owner only.
pub fn mode_for_apps(socket: &Path) -> u32 {
    let folder = socket.parent().map(std::fs::metadata);
    match folder {
        Some(Ok(found)) if found.mode() & 0o2000 != 0 => 0o660,
        Some(_) | None => 0o600,
    }
}

/// Connects to a gRPC server on a unix socket now, or fails.
pub async fn connect(path: impl AsRef<Path>) -> Result<Channel, Error> {
    endpoint()
        .connect_with_connector(connector(path.as_ref().to_owned()))
        .await
}

/// Returns a channel that connects on its first call, and again after the server was away.
pub fn connect_lazy(path: impl AsRef<Path>) -> Channel {
    endpoint().connect_with_connector_lazy(connector(path.as_ref().to_owned()))
}
