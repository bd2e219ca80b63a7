//! Messages of the driver's tasks to its loop.

use std::net::SocketAddr;

use bytes::Bytes;
use morph_api::session::Blob;
use morph_api::supervisor::Observation;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tonic::{Status, Streaming};

use crate::mediator::{ControlReply, ControlRequest, Input, Refusal};

/// Message from the tasks to the loop.
#[derive(Debug)]
pub(super) enum LoopMessage {
    Input(Input),
    /// Messages of one read of a connection. The connection sends no further ones before these are handled.
    Frames {
        conn: u32,
        frames: Vec<Bytes>,
        _turn: OwnedSemaphorePermit,
    },
    Connection {
        stream: TcpStream,
        remote: SocketAddr,
    },
    Session(Box<SessionStreams>),
    Request {
        request: ControlRequest,
        reply: oneshot::Sender<Result<ControlReply, Refusal>>,
    },
    Observer(mpsc::Sender<Result<Observation, Status>>),
}

/// Streams of an `Attach` call.
#[derive(Debug)]
pub(super) struct SessionStreams {
    pub(super) input: Streaming<Blob>,
    pub(super) output: mpsc::Sender<Result<Blob, Status>>,
}

/// Status of a call that arrives while the loop ends.
pub(super) fn shutting_down() -> Status {
    Status::unavailable("the proxy ends")
}
