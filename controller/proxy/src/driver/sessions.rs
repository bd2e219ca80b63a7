//! gRPC service for app instances: carries blobs of records in both directions.

use std::sync::Arc;

use bytes::Bytes;
use morph_api::session::Blob;
use morph_api::session::sessions_server::Sessions;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::message::{LoopMessage, SessionStreams, shutting_down};
use super::outbox::Outbox;
use crate::mediator::Input;

/// Blobs of one session that the mediator holds at most: one in work, the others queued.
const CREDITS: usize = 4;
/// Blobs between the writer and the transport. Few, because they no longer count as queued.
const SENDING: usize = 2;

#[derive(Debug)]
pub(super) struct SessionService {
    pub(super) inbox: mpsc::Sender<LoopMessage>,
}

#[tonic::async_trait]
impl Sessions for SessionService {
    type AttachStream = ReceiverStream<Result<Blob, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<Blob>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let (output, stream) = mpsc::channel(SENDING);
        let input = request.into_inner();
        let session = LoopMessage::Session(Box::new(SessionStreams { input, output }));
        self.inbox
            .send(session)
            .await
            .map_err(|_| shutting_down())?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Handle of a session. Dropping it stops the reader at once, and the writer after it has sent the queue.
#[derive(Debug)]
pub(super) struct SessionLink {
    pub(super) outbox: Arc<Outbox<Bytes>>,
    pub(super) credits: Arc<Semaphore>,
    reader: JoinHandle<()>,
}

impl SessionLink {
    pub(super) fn start(
        session: u64,
        streams: SessionStreams,
        inbox: &mpsc::Sender<LoopMessage>,
    ) -> Self {
        let outbox = Arc::new(Outbox::new());
        let credits = Arc::new(Semaphore::new(CREDITS));
        tokio::spawn(write(
            session,
            streams.output,
            outbox.clone(),
            inbox.clone(),
        ));
        SessionLink {
            reader: tokio::spawn(read(session, streams.input, credits.clone(), inbox.clone())),
            outbox,
            credits,
        }
    }
}

impl Drop for SessionLink {
    fn drop(&mut self) {
        self.reader.abort();
        self.outbox.close();
    }
}

async fn read(
    session: u64,
    mut input: Streaming<Blob>,
    credits: Arc<Semaphore>,
    inbox: mpsc::Sender<LoopMessage>,
) {
    let reason = loop {
        let Ok(credit) = credits.acquire().await else {
            return;
        };
        // Returned by the mediator as `Output::Credit`.
        credit.forget();
        match input.message().await {
            Ok(Some(Blob { records })) => {
                let blob = Input::Blob { session, records };
                if inbox.send(LoopMessage::Input(blob)).await.is_err() {
                    return;
                }
            }
            Ok(None) => break "the instance closed its session".to_owned(),
            Err(status) => break format!("the session broke: {}", status.message()),
        }
    };
    let ended = Input::SessionEnded { session, reason };
    let _ = inbox.send(LoopMessage::Input(ended)).await;
}

async fn write(
    session: u64,
    output: mpsc::Sender<Result<Blob, Status>>,
    outbox: Arc<Outbox<Bytes>>,
    inbox: mpsc::Sender<LoopMessage>,
) {
    while let Some(blobs) = outbox.take().await {
        for records in blobs {
            let bytes = records.len();
            // The reader notices the broken session too, and reports it.
            if output.send(Ok(Blob { records })).await.is_err() {
                return;
            }
            let written = Input::SessionWritten { session, bytes };
            if inbox.send(LoopMessage::Input(written)).await.is_err() {
                return;
            }
        }
    }
}
