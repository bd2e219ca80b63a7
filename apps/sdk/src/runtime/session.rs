//! Session with the proxy: one task that attaches, reads, and attaches again when the session has ended.

use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use morph_api::session::sessions_client::SessionsClient;
use morph_api::session::{Blob, FromApp, ToApp, from_app};
use morph_api::{Record, Records, put_control, put_message, unix};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::backoff::Backoff;
use crate::instance::{Input, Output};

/// Backoff between attempts to reach the proxy: shortest and longest.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));
/// Blobs between the driver and the transport, which cannot be held back any more.
const SENDING: usize = 2;
/// Approximate size of a blob.
const BLOB: usize = 64 << 10;
/// Usual size of a record: a packet-in of a small packet, and what announces it.
const RECORD: usize = 80;
/// Largest blob that is accepted: the proxy's are some 128 KiB and one record.
const LARGEST: usize = 4 << 20;

/// Report of the session's task to the driver.
#[derive(Debug)]
pub(super) enum SessionEvent {
    /// A session has begun, and takes blobs here.
    Up(mpsc::Sender<Blob>),
    /// Inputs read from one blob.
    Inputs(Vec<Input>),
    /// The session has ended.
    Down,
}

/// Attaches for ever; ends when the driver is gone.
pub(super) async fn attach(socket: PathBuf, events: mpsc::Sender<SessionEvent>) {
    let mut backoff = Duration::ZERO;
    loop {
        match run_once(&socket, &events).await {
            Ok(()) => backoff = Duration::ZERO,
            Err(reason) => {
                if backoff.is_zero() {
                    tracing::warn!("no session with the proxy yet, it is tried again: {reason}");
                } else {
                    tracing::debug!("no session with the proxy: {reason}");
                }
            }
        }
        if events.send(SessionEvent::Down).await.is_err() {
            return;
        }
        backoff = BACKOFF.after(backoff);
        tokio::time::sleep(backoff).await;
    }
}

/// Runs one session from its beginning to its end. An error: it never began.
async fn run_once(socket: &PathBuf, events: &mpsc::Sender<SessionEvent>) -> Result<(), String> {
    let channel = unix::connect(socket)
        .await
        .map_err(|error| format!("{}: {error}", socket.display()))?;
    let mut client = SessionsClient::new(channel).max_decoding_message_size(LARGEST);
    let (sender, receiver) = mpsc::channel(SENDING);
    // Sent before the call is answered: the answer may come only after the first blob.
    let _ = events.send(SessionEvent::Up(sender)).await;
    let replies = client
        .attach(ReceiverStream::new(receiver))
        .await
        .map_err(|status| status.message().to_owned())?;
    let mut replies = replies.into_inner();
    let mut begun = false;
    let reason = loop {
        match replies.message().await {
            Ok(Some(blob)) => match inputs_of(blob.records) {
                Ok(inputs) => {
                    begun = true;
                    if events.send(SessionEvent::Inputs(inputs)).await.is_err() {
                        return Ok(());
                    }
                }
                Err(reason) => break reason,
            },
            Ok(None) => break "the proxy ended it".to_owned(),
            Err(status) => break status.message().to_owned(),
        }
    };
    if begun {
        tracing::warn!("the session with the proxy has ended, another one is begun: {reason}");
        return Ok(());
    }
    Err(reason)
}

fn inputs_of(records: Bytes) -> Result<Vec<Input>, String> {
    let mut inputs = Vec::with_capacity(records.len() / RECORD);
    for record in Records::new(records) {
        match record.map_err(|error| error.to_string())? {
            Record::Message { channel, message } => {
                inputs.push(Input::Message { channel, message });
            }
            Record::Control(bytes) => {
                let control = ToApp::decode(bytes).map_err(|error| error.to_string())?;
                // A record kind of a newer proxy, which this SDK need not know.
                inputs.extend(control.record.map(Input::Control));
            }
        }
    }
    Ok(inputs)
}

/// Outgoing records, in blobs. The machine bounds it: one unaccepted turn, of which the proxy takes up to 16 MiB, and a
/// few reports a second.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    blobs: std::collections::VecDeque<BytesMut>,
}

impl Outbox {
    fn blob(&mut self) -> &mut BytesMut {
        if self.blobs.back().is_none_or(|blob| blob.len() >= BLOB) {
            self.blobs.push_back(BytesMut::new());
        }
        let last = self.blobs.len() - 1;
        &mut self.blobs[last]
    }

    pub(super) fn control(&mut self, record: from_app::Record) {
        let record = FromApp {
            record: Some(record),
        };
        put_control(self.blob(), &record);
    }

    pub(super) fn message(&mut self, channel: u32, message: &[u8]) {
        put_message(self.blob(), channel, message);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.blobs.clear();
    }

    pub(super) fn take(&mut self) -> Option<Blob> {
        let records = self.blobs.pop_front()?.freeze();
        Some(Blob { records })
    }

    /// Queues a record of the machine; other outputs are handed back.
    pub(super) fn put(&mut self, output: Output) -> Option<Output> {
        match output {
            Output::Control(record) => self.control(record),
            Output::Message { channel, message } => self.message(channel, &message),
            other => return Some(other),
        }
        None
    }
}
