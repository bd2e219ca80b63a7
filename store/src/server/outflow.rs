//! Answers in many parts: backups and checks. A client that does not read is disconnected, because its view of the
//! store keeps old pages of the file alive.

use std::time::Duration;

use morph_api::store::{BackupPart, CheckProgress};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::status::status;
use crate::engine::{Check, EngineError, Export};

/// Time that a part may wait for its reader.
const PART_TIMEOUT: Duration = Duration::from_secs(30);
/// Parts that are sent ahead of the reader.
const AHEAD: usize = 2;

pub(super) type Parts<T> = ReceiverStream<Result<T, Status>>;

/// Answer that is produced part by part.
pub(super) trait PartSource: Send + 'static {
    type Part: Send + 'static;

    /// Returns the next part, and whether it is the last.
    fn next(&mut self) -> Result<(Self::Part, bool), EngineError>;
}

impl PartSource for Export {
    type Part = BackupPart;

    fn next(&mut self) -> Result<(BackupPart, bool), EngineError> {
        let data = self.part()?;
        let done = data.is_none();
        let part = BackupPart {
            data: data.unwrap_or_default().into(),
            done,
            revision: self.revision(),
            rows: self.rows(),
        };
        Ok((part, done))
    }
}

impl PartSource for Check {
    type Part = CheckProgress;

    fn next(&mut self) -> Result<(CheckProgress, bool), EngineError> {
        let (findings, more) = self.step()?;
        let progress = CheckProgress {
            rows: self.rows_checked(),
            findings,
            done: !more,
            revision: self.revision(),
        };
        Ok((progress, !more))
    }
}

/// Sends the parts from a task of its own, which ends with the stream.
pub(super) fn send_parts<T: PartSource>(mut source: T) -> Parts<T::Part> {
    let (parts, stream) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        loop {
            let step = tokio::task::spawn_blocking(move || {
                let part = source.next();
                (source, part)
            });
            let (part, last) = match step.await {
                Ok((back, Ok((part, last)))) => {
                    source = back;
                    (Ok(part), last)
                }
                Ok((back, Err(error))) => {
                    source = back;
                    (Err(status(&error)), true)
                }
                Err(error) => {
                    let _ = parts.send(Err(Status::internal(error.to_string()))).await; // or it has gone
                    return;
                }
            };
            let sent = tokio::time::timeout(PART_TIMEOUT, parts.send(part)).await;
            if sent.is_err() {
                tracing::info!(
                    "a client did not read for {PART_TIMEOUT:?}; its backup or check is ended"
                );
            }
            if last || !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    });
    ReceiverStream::new(stream)
}
