//! Metrics for Prometheus, served as a page of text over HTTP. Each request makes a new page of what the supervisor, the proxy
//! and the store report within two seconds; none of them waits for the reader.

mod families;
mod page;
mod turn_sizes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use morph_store::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::alarms;
use crate::proxy::Proxy;
use crate::supervisor::{Event, Request, Supervisor};
use families::Readings;

/// Time within which each source has to answer.
const SOURCE_TIMEOUT: Duration = Duration::from_secs(2);
/// Time within which the request has to arrive.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// Time for a whole exchange: receiving the request, making the page, sending it.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest head of a request in bytes.
const MAX_HEAD: usize = 8 * 1024;
/// Number of readers at once; another one waits until one is done.
const READERS: usize = 32;
/// Pause after an accept that failed, for example for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Sources of the metrics.
#[derive(Clone)]
pub struct Source {
    post: mpsc::Sender<Event>,
    store: Client,
    proxy: Proxy,
}

impl Source {
    pub fn new(supervisor: &Supervisor) -> Self {
        let (store, proxy, _) = supervisor.clients();
        Source {
            post: supervisor.post(),
            store,
            proxy,
        }
    }

    async fn page(&self) -> String {
        let supervisor = async {
            let (sender, receiver) = oneshot::channel();
            let request = Event::Request(Box::new(Request::Overview(sender)));
            self.post.send(request).await.ok()?;
            receiver.await.ok()?.ok()
        };
        let (overview, slots, switches, store) = tokio::join!(
            within(supervisor),
            within(async { self.proxy.slots().await.ok() }),
            within(async { self.proxy.switches().await.ok() }),
            within(async { self.store.status().await.ok() }),
        );
        let overview = overview.unwrap_or_default();
        let of_apps = async { alarms::of_apps(&self.store, &overview.apps).await.ok() };
        let alarms = within(of_apps).await;
        let readings = Readings {
            alarms,
            apps: overview.apps,
            parts: overview.daemons,
            upgrades: overview.upgrades,
            counts: overview.counts,
            slots: slots.map(|reply| reply.slots),
            switches,
            store,
        };
        readings.page()
    }
}

async fn within<T>(answer: impl Future<Output = Option<T>>) -> Option<T> {
    tokio::time::timeout(SOURCE_TIMEOUT, answer)
        .await
        .ok()
        .flatten()
}

pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot serve metrics on {address}"))
}

/// Serves the page to everybody who connects.
pub async fn serve(listener: TcpListener, source: Source) {
    let readers = Arc::new(Semaphore::new(READERS));
    loop {
        let Ok(permit) = Arc::clone(&readers).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let source = source.clone();
                tokio::spawn(async move {
                    // A reader that is too slow or goes away gets no page.
                    let _ = tokio::time::timeout(TIMEOUT, answer(stream, &source)).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection to the metrics page");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers one request (HTTP/1.1, RFC 9112) and closes the connection.
async fn answer(mut stream: TcpStream, source: &Source) -> std::io::Result<()> {
    let head = tokio::time::timeout(REQUEST_TIMEOUT, head(&mut stream)).await??;
    let (status, kind, body) = match check_request(&head) {
        Ok(()) => (
            "200 OK",
            "text/plain; version=0.0.4; charset=utf-8",
            Box::pin(source.page()).await,
        ),
        Err((status, why)) => (status, "text/plain; charset=utf-8", format!("{why}\n")),
    };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// Reads up to the empty line that ends the head, or as much as a head may have.
async fn head(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while head.len() < MAX_HEAD && !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut part).await? {
            0 => break,
            read => head.extend_from_slice(&part[..read]),
        }
    }
    Ok(head)
}

/// Checks that a request is for the page. The error has the status and the reason.
fn check_request(head: &[u8]) -> Result<(), (&'static str, &'static str)> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (method, target) = (words.next(), words.next().unwrap_or_default());
    match (method, target.split('?').next()) {
        _ if !words
            .next()
            .is_some_and(|version| version.starts_with("HTTP/1.")) =>
        {
            Err(("400 Bad Request", "this is not an HTTP/1.1 request"))
        }
        (Some("GET"), Some("/metrics" | "/")) => Ok(()),
        (Some("GET"), _) => Err(("404 Not Found", "there is only /metrics")),
        _ => Err(("405 Method Not Allowed", "only GET is allowed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_page_is_served() {
        for (head, status) in [
            (&b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"[..], "200"),
            (b"GET /metrics?x=1 HTTP/1.0\r\n\r\n", "200"),
            (b"GET /secret HTTP/1.1\r\n\r\n", "404"),
            (b"POST /metrics HTTP/1.1\r\n\r\n", "405"),
            (b"GET /metrics\r\n\r\n", "400"),
            (b"\x16\x03\x01\x02\x00", "400"),
            (b"", "400"),
        ] {
            let found = check_request(head)
                .err()
                .map_or("200", |(status, _)| &status[..3]);
            assert_eq!(found, status, "{}", String::from_utf8_lossy(head));
        }
    }
}
