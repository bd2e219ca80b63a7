//! What is told in many parts: backups and checks. A client that does not read is let go, as its view of the store keeps
//! old pages of the file alive.

use std::time::Duration;

use morph_api::store::{BackupPart, CheckProgress};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::service::status;
use crate::engine::{Check, EngineError, Export};

/// How long a part may wait for its reader.
const PATIENCE: Duration = Duration::from_secs(30);
/// Parts on their way.
const AHEAD: usize = 2;

pub(super) type Parts<T> = ReceiverStream<Result<T, Status>>;

/// Something that is told part by part.
pub(super) trait Told: Send + 'static {
    type Part: Send + 'static;

    /// The next part, and whether it is the last.
    fn next(&mut self) -> Result<(Self::Part, bool), EngineError>;
}

impl Told for Export {
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

impl Told for Check {
    type Part = CheckProgress;

    fn next(&mut self) -> Result<(CheckProgress, bool), EngineError> {
        let (findings, more) = self.step()?;
        let progress = CheckProgress {
            rows: self.looked_at(),
            findings,
            done: !more,
            revision: self.revision(),
        };
        Ok((progress, !more))
    }
}

/// Tells it from a task of its own, which ends with the stream.
pub(super) fn tell<T: Told>(mut told: T) -> Parts<T::Part> {
    let (parts, stream) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        loop {
            let step = tokio::task::spawn_blocking(move || {
                let part = told.next();
                (told, part)
            });
            let (part, last) = match step.await {
                Ok((back, Ok((part, last)))) => {
                    told = back;
                    (Ok(part), last)
                }
                Ok((back, Err(error))) => {
                    told = back;
                    (Err(status(&error)), true)
                }
                Err(error) => {
                    let _ = parts.send(Err(Status::internal(error.to_string()))).await; // or it has gone
                    return;
                }
            };
            let sent = tokio::time::timeout(PATIENCE, parts.send(part)).await;
            if sent.is_err() {
                tracing::info!("a part waited for {PATIENCE:?}: its reader is let go");
            }
            if last || !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    });
    ReceiverStream::new(stream)
}
