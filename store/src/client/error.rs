use std::fmt;
use std::time::Duration;

use morph_api::store::{Checkpoint, Reason, Refused};
use tonic::Status;

/// Refusal by the store: the transaction left no trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// Category, from which the caller knows what to do.
    pub reason: Reason,
    pub message: String,
    /// Current checkpoint, with `StaleEpoch`, `Gap` and `Already`.
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

/// The store did not answer, so it is unknown whether a transaction was applied. A turn is sent again (`ALREADY`
/// means that it was applied), and a write with `expect` is read back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The store cannot be reached, or went away during the call.
    #[error("the store at {socket} is away: {message}")]
    Away { socket: String, message: String },
    #[error("the store at {socket} did not answer within {deadline:?}")]
    Deadline { socket: String, deadline: Duration },
    /// The store answered with an error of its own, such as a failed checksum or disk.
    #[error("the store at {socket} failed: {message}")]
    Failed { socket: String, message: String },
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

/// Returns the innermost cause: the transport wraps the operating system's error in several layers without content.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
