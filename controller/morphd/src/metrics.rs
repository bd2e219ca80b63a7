//! Figures for Prometheus: a page of text on an address of choice. It is made when it is asked for, from what the supervisor, the
//! proxy and the store say within two seconds; none of them waits for whoever reads it.

mod families;
mod page;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use morph_store::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::proxy::Proxy;
use crate::supervisor::{Event, Request, Supervisor};
use families::Facts;

/// For each of those who are asked.
const ANSWER: Duration = Duration::from_secs(2);
/// For the request to come.
const REQUEST: Duration = Duration::from_secs(1);
/// For all of it: the request, the page, and its way.
const PATIENCE: Duration = Duration::from_secs(5);
/// The head of a request.
const HEAD: usize = 8 * 1024;
/// Readers at once; one more is not taken before one is done.
const READERS: usize = 32;
/// After an accept that failed (no descriptors left, say).
const AGAIN: Duration = Duration::from_millis(100);

/// Where the figures come from.
#[derive(Clone)]
pub struct Source {
    post: mpsc::Sender<Event>,
    store: Client,
    proxy: Proxy,
}

impl Source {
    /// Of this supervisor.
    pub fn new(supervisor: &Supervisor) -> Self {
        let (store, proxy, _) = supervisor.clients();
        Source {
            post: supervisor.post(),
            store,
            proxy,
        }
    }

    async fn page(&self) -> String {
        let own = async {
            let (sender, receiver) = oneshot::channel();
            let asked = Event::Asked(Box::new(Request::Figures(sender)));
            self.post.send(asked).await.ok()?;
            receiver.await.ok()?.ok()
        };
        let (own, slots, switches, store) = tokio::join!(
            within(own),
            within(async { self.proxy.slots().await.ok() }),
            within(async { self.proxy.switches().await.ok() }),
            within(async { self.store.status().await.ok() }),
        );
        let own = own.unwrap_or_default();
        let facts = Facts {
            apps: own.apps,
            parts: own.parts,
            upgrades: own.upgrades,
            counts: own.counts,
            slots: slots.map(|reply| reply.slots),
            switches: switches.map(|reply| reply.switches),
            store,
        };
        facts.page()
    }
}

async fn within<T>(answer: impl Future<Output = Option<T>>) -> Option<T> {
    tokio::time::timeout(ANSWER, answer).await.ok().flatten()
}

/// Binds the address.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot serve metrics on {address}"))
}

/// Serves the page to everybody, for ever.
pub async fn serve(listener: TcpListener, source: Source) {
    let readers = Arc::new(Semaphore::new(READERS));
    loop {
        let Ok(turn) = Arc::clone(&readers).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let source = source.clone();
                tokio::spawn(async move {
                    // Whoever is too slow, or goes, gets no page.
                    let _ = tokio::time::timeout(PATIENCE, answer(stream, &source)).await;
                    drop(turn);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a reader of metrics");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// One request, one answer (HTTP/1.1, RFC 9112), and the connection ends.
async fn answer(mut stream: TcpStream, source: &Source) -> std::io::Result<()> {
    let head = tokio::time::timeout(REQUEST, head(&mut stream)).await??;
    let (status, kind, body) = match asks_for(&head) {
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

/// Up to the empty line, or as much as a head may have.
async fn head(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while head.len() < HEAD && !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut part).await? {
            0 => break,
            read => head.extend_from_slice(&part[..read]),
        }
    }
    Ok(head)
}

/// Whether a request is for the page; otherwise the status, and why.
fn asks_for(head: &[u8]) -> Result<(), (&'static str, &'static str)> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (method, target) = (words.next(), words.next().unwrap_or_default());
    match (method, target.split('?').next()) {
        _ if !words
            .next()
            .is_some_and(|version| version.starts_with("HTTP/1.")) =>
        {
            Err(("400 Bad Request", "this is no request of HTTP/1.1"))
        }
        (Some("GET"), Some("/metrics" | "/")) => Ok(()),
        (Some("GET"), _) => Err(("404 Not Found", "the page is /metrics")),
        _ => Err(("405 Method Not Allowed", "only GET")),
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
            let found = asks_for(head)
                .err()
                .map_or("200", |(status, _)| &status[..3]);
            assert_eq!(found, status, "{}", String::from_utf8_lossy(head));
        }
    }
}
