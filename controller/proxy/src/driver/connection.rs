//! One TCP connection: a task that reads messages and one that writes bytes.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Event;
use super::outbox::Outbox;
use crate::channel::End;
use crate::mediator::Input;
use crate::wire;

/// Read at once, at most.
const READ: usize = 64 << 10;
/// Below so much room a new buffer is begun.
const ROOM: usize = 4 << 10;
/// What a connection that is closed may still take to be written.
const LINGER: Duration = Duration::from_secs(1);

/// The handle; dropping it stops the reader, and the writer once it has written what is queued.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) outbox: Arc<Outbox<BytesMut>>,
    reader: JoinHandle<()>,
    writer: Option<JoinHandle<()>>,
}

impl Connection {
    pub(super) fn start(conn: u32, stream: TcpStream, events: &mpsc::Sender<Event>) -> Self {
        // Only a hint: without it small messages may wait for each other's acknowledgement.
        let _ = stream.set_nodelay(true);
        let (input, output) = stream.into_split();
        let outbox = Arc::new(Outbox::new());
        Connection {
            reader: tokio::spawn(read(conn, input, events.clone())),
            writer: Some(tokio::spawn(write(
                conn,
                output,
                outbox.clone(),
                events.clone(),
            ))),
            outbox,
        }
    }

    /// Closes it, and waits for what is queued.
    pub(super) async fn finish(mut self) {
        self.outbox.close();
        if let Some(writer) = self.writer.take() {
            // It gives up by itself.
            let _ = writer.await;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
        self.outbox.close();
    }
}

async fn read(conn: u32, mut input: OwnedReadHalf, events: mpsc::Sender<Event>) {
    let mut buffer = BytesMut::with_capacity(READ);
    let mut first = true;
    let end = loop {
        if buffer.capacity() - buffer.len() < ROOM {
            buffer.reserve(READ);
        }
        match input.read_buf(&mut buffer).await {
            Ok(0) => break End::Peer { left: buffer.len() },
            Ok(_) => {}
            Err(error) => break End::Error(error.to_string()),
        }
        let mut frames = Vec::new();
        let cut = wire::cut(&mut buffer, first, &mut frames);
        if !frames.is_empty() {
            first = false;
            if send(&events, Input::Frames { conn, frames }).await.is_err() {
                return;
            }
        }
        if let Err(what) = cut {
            // The mediator closes the connection; if it is gone, so is this task.
            let _ = send(&events, Input::NotOpenFlow { conn, what }).await;
            return;
        }
    };
    let _ = send(&events, Input::Ended { conn, end }).await;
}

async fn write(
    conn: u32,
    mut output: OwnedWriteHalf,
    outbox: Arc<Outbox<BytesMut>>,
    events: mpsc::Sender<Event>,
) {
    while let Some(chunks) = outbox.take().await {
        let mut bytes = 0;
        for chunk in chunks {
            bytes += chunk.len();
            if let Err(error) = write_chunk(&mut output, &chunk, &outbox).await {
                let end = End::Error(error.to_string());
                let _ = send(&events, Input::Ended { conn, end }).await;
                return;
            }
        }
        if send(&events, Input::Written { conn, bytes }).await.is_err() {
            return;
        }
    }
    let _ = tokio::time::timeout(LINGER, output.shutdown()).await;
}

/// Writes; after the outbox was closed for no longer than a moment.
async fn write_chunk(
    output: &mut OwnedWriteHalf,
    chunk: &[u8],
    outbox: &Outbox<BytesMut>,
) -> std::io::Result<()> {
    tokio::select! {
        written = output.write_all(chunk) => written,
        () = async { outbox.closed().await; tokio::time::sleep(LINGER).await } => {
            Err(std::io::Error::from(std::io::ErrorKind::TimedOut))
        }
    }
}

async fn send(events: &mpsc::Sender<Event>, input: Input) -> Result<(), ()> {
    events.send(Event::Seen(input)).await.map_err(drop)
}
