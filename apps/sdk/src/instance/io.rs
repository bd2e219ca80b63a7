//! Inputs and outputs of an instance.

use std::time::{Instant, SystemTime};

use bytes::Bytes;
use morph_api::session::{from_app, to_app};
use morph_api::store::{Committed, StatusReply, Transaction, WatchReply, WatchRequest};
use morph_store::Refusal;

/// Time of an input.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Monotonic time, for deadlines.
    pub instant: Instant,
    /// Time of day, for turns.
    pub wall: SystemTime,
}

/// Owner of the rows that a watch follows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowSource {
    /// The app itself.
    Own,
    /// Another app, by name.
    Other(String),
}

/// Outcome of a transaction.
#[derive(Debug, Clone)]
pub enum CommitOutcome {
    /// The transaction was committed.
    Committed(Committed),
    /// The transaction left no trace.
    Refused(Box<Refusal>),
    /// The store did not answer, for this reason.
    Unknown(String),
}

/// Something that happened to the instance.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "a variant's line says what its fields are")]
pub enum Input {
    /// A session with the proxy has begun.
    SessionUp,
    /// The session with the proxy has ended.
    SessionDown,
    /// A control record arrived in the session.
    Control(to_app::Record),
    /// An OpenFlow message arrived in the session.
    Message { channel: u32, message: Bytes },
    /// Checkpoints and keyspaces of the store, as requested; an error if the store is away.
    Status(Result<StatusReply, String>),
    /// A watch delivered a reply; an error if it broke.
    Watch {
        source: RowSource,
        /// Number of the watch of this source: replies of earlier ones do not count.
        generation: u64,
        reply: Result<WatchReply, String>,
    },
    /// A transaction has this outcome.
    Committed { id: u64, outcome: CommitOutcome },
    /// A deadline has passed.
    Time,
    /// The process has to end.
    Terminate,
}

/// Something that the driver has to do.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "a variant's line says what its fields are")]
pub enum Output {
    /// Send this control record.
    Control(from_app::Record),
    /// Send this OpenFlow message.
    Message { channel: u32, message: Bytes },
    /// Ask the store for its checkpoints and keyspaces.
    Status,
    /// Watch these rows, instead of the source's earlier watch.
    Watch {
        source: RowSource,
        generation: u64,
        request: WatchRequest,
    },
    /// Commit this transaction.
    Commit { id: u64, transaction: Transaction },
    /// Send what is queued, then end with this status.
    Exit(u8),
}
