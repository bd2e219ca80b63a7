//! What a call to the store may come back with, beside an answer.

use std::fmt;
use std::time::Duration;

use morph_api::store::{Checkpoint, Reason, Refused};
use tonic::Status;

/// The store's "no": the transaction left no trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// What to do about it.
    pub reason: Reason,
    /// What, where, and what was found instead.
    pub message: String,
    /// With `StaleEpoch`, `Gap` and `Already`: the checkpoint as it is.
    pub checkpoint: Option<Checkpoint>,
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        Refusal {
            reason: refused.reason(),
            message: refused.message,
            checkpoint: refused.checkpoint,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.as_str_name(), self.message)
    }
}

impl std::error::Error for Refusal {}

/// The store did not answer. Whether a transaction was applied is unknown: a turn is sent again (`ALREADY` says that
/// it was), a write with `expect` is read back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// It cannot be reached, or went away during the call.
    #[error("the store at {socket} is away: {message}")]
    Away {
        /// Where it should be.
        socket: String,
        /// What the transport says.
        message: String,
    },
    /// It did not answer in time.
    #[error("the store at {socket} did not answer within {deadline:?}")]
    Deadline {
        /// Where it should be.
        socket: String,
        /// How long the call waited.
        deadline: Duration,
    },
    /// It answered with an error of its own: a row fails its checksum, the disk fails.
    #[error("the store at {socket} failed: {message}")]
    Failed {
        /// Where it is.
        socket: String,
        /// What it says.
        message: String,
    },
}

impl Unavailable {
    pub(super) fn from_status(socket: String, status: &Status) -> Self {
        let message = match std::error::Error::source(status).map(innermost) {
            Some(cause) => format!("{}: {cause}", status.message()),
            None => status.message().to_owned(),
        };
        match status.code() {
            tonic::Code::Internal
            | tonic::Code::DataLoss
            | tonic::Code::InvalidArgument
            | tonic::Code::ResourceExhausted => Unavailable::Failed { socket, message },
            _ => Unavailable::Away { socket, message },
        }
    }
}

/// The transport wraps the operating system's words in several layers that say nothing.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
