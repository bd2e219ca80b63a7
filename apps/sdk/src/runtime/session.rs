//! The session with the proxy: one task that attaches, reads, and attaches again when the session has ended.

use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use morph_api::session::sessions_client::SessionsClient;
use morph_api::session::{Blob, FromApp, ToApp, from_app};
use morph_api::{Record, Records, put_control, put_message, unix};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::instance::{Input, Output};

/// How soon the proxy is tried again, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// Blobs between the driver and the transport: what waits there can no longer be held back.
const SENDING: usize = 2;
/// Records are sent in blobs of about this size.
const BLOB: usize = 64 << 10;
/// The largest blob taken: the proxy's are some 128 KiB and one record.
const LARGEST: usize = 4 << 20;

/// What the session's task says.
#[derive(Debug)]
pub(super) enum Said {
    /// A session has begun; its blobs go here.
    Up(mpsc::Sender<Blob>),
    /// The records of a blob.
    Inputs(Vec<Input>),
    /// The session has ended.
    Down,
}

/// Attaches for ever; ends when nobody listens.
pub(super) async fn attach(socket: PathBuf, said: mpsc::Sender<Said>) {
    let (least, most) = AGAIN;
    let mut patience = least;
    loop {
        match once(&socket, &said).await {
            Ok(()) => patience = least,
            Err(reason) => {
                if patience == least {
                    tracing::warn!("no session with the proxy: {reason}");
                } else {
                    tracing::debug!("no session with the proxy: {reason}");
                }
            }
        }
        if said.send(Said::Down).await.is_err() {
            return;
        }
        tokio::time::sleep(patience).await;
        patience = (patience * 2).min(most);
    }
}

/// One session, from its beginning to its end. An error: it never came to one.
async fn once(socket: &PathBuf, said: &mpsc::Sender<Said>) -> Result<(), String> {
    let channel = unix::connect(socket)
        .await
        .map_err(|error| format!("{}: {error}", socket.display()))?;
    let mut client = SessionsClient::new(channel).max_decoding_message_size(LARGEST);
    let (sender, receiver) = mpsc::channel(SENDING);
    // Before the answer to the call: it may come only after the first blob.
    let _ = said.send(Said::Up(sender)).await;
    let replies = client
        .attach(ReceiverStream::new(receiver))
        .await
        .map_err(|status| status.message().to_owned())?;
    let mut replies = replies.into_inner();
    let mut begun = false;
    let reason = loop {
        match replies.message().await {
            Ok(Some(blob)) => match read(blob.records) {
                Ok(inputs) => {
                    begun = true;
                    if said.send(Said::Inputs(inputs)).await.is_err() {
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
        tracing::warn!("the session with the proxy has ended: {reason}");
        return Ok(());
    }
    Err(reason)
}

fn read(records: Bytes) -> Result<Vec<Input>, String> {
    let mut inputs = Vec::new();
    for record in Records::new(records) {
        match record.map_err(|error| error.to_string())? {
            Record::Message { channel, message } => {
                inputs.push(Input::Message { channel, message });
            }
            Record::Control(bytes) => {
                let control = ToApp::decode(bytes).map_err(|error| error.to_string())?;
                // Of a newer proxy: nothing that this SDK needs to know.
                inputs.extend(control.record.map(Input::Control));
            }
        }
    }
    Ok(inputs)
}

/// Records on their way out, in blobs. Its bound is the machine's: one turn in flight, which the proxy takes whole up to
/// 16 MiB, and some reports a second.
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

    /// Takes a record of the machine's; other outputs come back.
    pub(super) fn put(&mut self, output: Output) -> Option<Output> {
        match output {
            Output::Control(record) => self.control(record),
            Output::Message { channel, message } => self.message(channel, &message),
            other => return Some(other),
        }
        None
    }
}
