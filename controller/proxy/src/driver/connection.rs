//! One TCP connection: a reader task for messages and a writer task for bytes.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::message::LoopMessage;
use super::outbox::Outbox;
use crate::channel::ConnectionEnd;
use crate::mediator::Input;
use crate::wire;

/// Size in bytes of a read buffer.
const READ: usize = 64 << 10;
/// Free space in bytes below which a new buffer is allocated.
const ROOM: usize = 4 << 10;
/// Time that a closed connection may take to write its queue.
const LINGER: Duration = Duration::from_secs(1);

/// Handle of a connection. Dropping it stops the reader at once, and the writer after it has written the queue.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) outbox: Arc<Outbox<BytesMut>>,
    reader: JoinHandle<()>,
    writer: Option<JoinHandle<()>>,
}

impl Connection {
    pub(super) fn start(conn: u32, stream: TcpStream, inbox: &mpsc::Sender<LoopMessage>) -> Self {
        // Without it small messages may wait for acknowledgements. A failure is harmless.
        let _ = stream.set_nodelay(true);
        let (input, output) = stream.into_split();
        let outbox = Arc::new(Outbox::new());
        Connection {
            reader: tokio::spawn(read(conn, input, inbox.clone())),
            writer: Some(tokio::spawn(write(
                conn,
                output,
                outbox.clone(),
                inbox.clone(),
            ))),
            outbox,
        }
    }

    /// Closes the connection and waits until its queue is written.
    pub(super) async fn finish(mut self) {
        self.outbox.close();
        if let Some(writer) = self.writer.take() {
            // The writer has a time limit of its own.
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

async fn read(conn: u32, mut input: OwnedReadHalf, inbox: mpsc::Sender<LoopMessage>) {
    let mut buffer = BytesMut::with_capacity(READ);
    let mut first = true;
    // One read of each connection waits in the inbox at most: a switch that floods delays no other one there.
    let turns = Arc::new(Semaphore::new(1));
    let end = loop {
        if buffer.capacity() - buffer.len() < ROOM {
            buffer.reserve(READ);
        }
        match input.read_buf(&mut buffer).await {
            Ok(0) => {
                break ConnectionEnd::Peer {
                    unfinished: buffer.len(),
                };
            }
            Ok(_) => {}
            Err(error) => break ConnectionEnd::Error(error.to_string()),
        }
        let mut frames = Vec::new();
        let cut = wire::cut(&mut buffer, first, &mut frames);
        if !frames.is_empty() {
            first = false;
            let Ok(turn) = turns.clone().acquire_owned().await else {
                return;
            };
            let message = LoopMessage::Frames {
                conn,
                frames,
                _turn: turn,
            };
            if inbox.send(message).await.is_err() {
                return;
            }
        }
        if let Err(what) = cut {
            // The mediator closes the connection in turn; if it is gone, this task ends too.
            let _ = send(&inbox, Input::NotOpenFlow { conn, what }).await;
            return;
        }
    };
    let _ = send(&inbox, Input::Ended { conn, end }).await;
}

async fn write(
    conn: u32,
    mut output: OwnedWriteHalf,
    outbox: Arc<Outbox<BytesMut>>,
    inbox: mpsc::Sender<LoopMessage>,
) {
    while let Some(chunks) = outbox.take().await {
        let mut bytes = 0;
        for chunk in chunks {
            let progress = Progress {
                conn,
                inbox: &inbox,
                bytes: &mut bytes,
            };
            if let Err(error) = write_chunk(&mut output, &chunk, &outbox, progress).await {
                let end = ConnectionEnd::Error(error.to_string());
                let _ = send(&inbox, Input::Ended { conn, end }).await;
                return;
            }
        }
        if send(&inbox, Input::Written { conn, bytes }).await.is_err() {
            return;
        }
    }
    let _ = tokio::time::timeout(LINGER, output.shutdown()).await;
}

/// Bytes that were written and not reported yet.
struct Progress<'a> {
    conn: u32,
    inbox: &'a mpsc::Sender<LoopMessage>,
    bytes: &'a mut usize,
}

impl Progress<'_> {
    /// Writes all of a chunk. Where the peer takes it piece by piece, each piece is reported: it shows that the peer reads.
    async fn write(self, output: &mut OwnedWriteHalf, chunk: &[u8]) -> std::io::Result<()> {
        let mut rest = chunk;
        while !rest.is_empty() {
            let written = output.write(rest).await?;
            if written == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::WriteZero));
            }
            *self.bytes += written;
            rest = &rest[written..];
            if !rest.is_empty() {
                let (conn, bytes) = (self.conn, std::mem::take(self.bytes));
                let input = Input::Written { conn, bytes };
                // The mediator is gone only when the proxy ends.
                let _ = send(self.inbox, input).await;
            }
        }
        Ok(())
    }
}

/// Writes a chunk, for at most `LINGER` once the outbox is closed.
async fn write_chunk(
    output: &mut OwnedWriteHalf,
    chunk: &[u8],
    outbox: &Outbox<BytesMut>,
    progress: Progress<'_>,
) -> std::io::Result<()> {
    tokio::select! {
        written = progress.write(output, chunk) => written,
        () = async { outbox.closed().await; tokio::time::sleep(LINGER).await } => {
            Err(std::io::Error::from(std::io::ErrorKind::TimedOut))
        }
    }
}

async fn send(inbox: &mpsc::Sender<LoopMessage>, input: Input) -> Result<(), ()> {
    inbox.send(LoopMessage::Input(input)).await.map_err(drop)
}
