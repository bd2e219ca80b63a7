//! What an instance is told, and what it has its driver do.

use std::time::{Instant, SystemTime};

use bytes::Bytes;
use morph_api::session::{from_app, to_app};
use morph_api::store::{Committed, StatusReply, Transaction, WatchReply, WatchRequest};
use morph_store::Refusal;

/// The time of an input.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For deadlines.
    pub instant: Instant,
    /// The time of day, for turns.
    pub wall: SystemTime,
}

/// Whose rows a watch follows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The app's own.
    Own,
    /// Another app's.
    Other(String),
}

/// What came of a transaction.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It is durable.
    Committed(Committed),
    /// It left no trace.
    Refused(Box<Refusal>),
    /// The store did not answer, and says why.
    Unknown(String),
}

/// What happened.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "a variant's line says what its fields are")]
pub enum Input {
    /// There is a session with the proxy.
    SessionUp,
    /// There is none any more.
    SessionDown,
    /// A control record of the session.
    Control(to_app::Record),
    /// An OpenFlow message of the session.
    Message { channel: u32, message: Bytes },
    /// The store's checkpoints and keyspaces, as asked for; or it is away.
    Status(Result<StatusReply, String>),
    /// A watch said something; an error: it broke.
    Watch {
        source: Source,
        /// Of which watch of this source: late words of earlier ones do not count.
        generation: u64,
        reply: Result<WatchReply, String>,
    },
    /// What came of a transaction.
    Committed { id: u64, outcome: Outcome },
    /// A deadline has passed.
    Time,
    /// The process is to end.
    Terminate,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "a variant's line says what its fields are")]
pub enum Output {
    /// Send this control record.
    Control(from_app::Record),
    /// Send this OpenFlow message.
    Message { channel: u32, message: Bytes },
    /// Ask the store for its checkpoints and keyspaces.
    Status,
    /// Watch, and no longer follow the source's earlier watch.
    Watch {
        source: Source,
        generation: u64,
        request: WatchRequest,
    },
    /// Commit this transaction.
    Commit { id: u64, transaction: Transaction },
    /// Send what is to be sent, then end with this status.
    Exit(u8),
}
