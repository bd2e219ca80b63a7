//! The gRPC service for app instances: blobs in, blobs out.

use std::sync::Arc;

use bytes::Bytes;
use morph_api::session::Blob;
use morph_api::session::sessions_server::Sessions;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Event;
use super::outbox::Outbox;
use crate::mediator::Input;

/// Blobs of one session that the mediator has at once: one in work, some behind it.
const CREDITS: usize = 4;
/// Blobs between the writer and the transport: what is in there no longer waits with us.
const SENDING: usize = 2;

/// What an `Attach` brings.
#[derive(Debug)]
pub(super) struct Attach {
    input: Streaming<Blob>,
    output: mpsc::Sender<Result<Blob, Status>>,
}

/// The service.
#[derive(Debug)]
pub(super) struct SessionService {
    pub(super) events: mpsc::Sender<Event>,
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
        let attach = Event::Attach(Box::new(Attach { input, output }));
        self.events.send(attach).await.map_err(|_| ending())?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

pub(super) fn ending() -> Status {
    Status::unavailable("the proxy ends")
}

/// The handle; dropping it stops the reader, and the writer once it has sent what is queued.
#[derive(Debug)]
pub(super) struct SessionLink {
    pub(super) outbox: Arc<Outbox<Bytes>>,
    pub(super) credits: Arc<Semaphore>,
    reader: JoinHandle<()>,
}

impl SessionLink {
    pub(super) fn start(session: u64, attach: Attach, events: &mpsc::Sender<Event>) -> Self {
        let outbox = Arc::new(Outbox::new());
        let credits = Arc::new(Semaphore::new(CREDITS));
        tokio::spawn(write(
            session,
            attach.output,
            outbox.clone(),
            events.clone(),
        ));
        SessionLink {
            reader: tokio::spawn(read(session, attach.input, credits.clone(), events.clone())),
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
    events: mpsc::Sender<Event>,
) {
    let reason = loop {
        let Ok(credit) = credits.acquire().await else {
            return;
        };
        // The mediator gives it back.
        credit.forget();
        match input.message().await {
            Ok(Some(Blob { records })) => {
                let blob = Input::Blob { session, records };
                if events.send(Event::Seen(blob)).await.is_err() {
                    return;
                }
            }
            Ok(None) => break "the instance closed its session".to_owned(),
            Err(status) => break format!("the session broke: {}", status.message()),
        }
    };
    let ended = Input::SessionEnded { session, reason };
    let _ = events.send(Event::Seen(ended)).await;
}

async fn write(
    session: u64,
    output: mpsc::Sender<Result<Blob, Status>>,
    outbox: Arc<Outbox<Bytes>>,
    events: mpsc::Sender<Event>,
) {
    while let Some(blobs) = outbox.take().await {
        for records in blobs {
            let bytes = records.len();
            // The reader sees the end of a broken session too, and tells.
            if output.send(Ok(Blob { records })).await.is_err() {
                return;
            }
            let written = Input::SessionWritten { session, bytes };
            if events.send(Event::Seen(written)).await.is_err() {
                return;
            }
        }
    }
}
