//! The value of the head key: what the last group has done. Every group is one transaction of etcd that compares the
//! head's own revision and writes the next head, so the heads are the history of the store, one after the other.

use prost::Message;

use crate::engine::error::EngineError;
use crate::engine::layout;
use crate::engine::step::Step;

/// What this version writes, and the newest that it reads.
pub(super) const FORMAT: u32 = 1;

/// Which group of which daemon: never used twice.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct GroupId {
    #[prost(uint64, tag = "1")]
    pub(super) incarnation: u64,
    #[prost(uint64, tag = "2")]
    pub(super) n: u64,
}

/// See above.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Head {
    #[prost(uint32, tag = "1")]
    pub(super) format: u32,
    /// The store's revision after the group.
    #[prost(uint64, tag = "2")]
    pub(super) revision: u64,
    #[prost(message, optional, tag = "3")]
    pub(super) group: Option<GroupId>,
    /// What it did, unless it is in `redo`. None of both: an earlier group, whose redo is done.
    #[prost(message, repeated, tag = "4")]
    pub(super) steps: Vec<Step>,
    /// So many parts of an encoded [`Steps`] lie under the redo key, and are not applied to the entries yet: whoever
    /// wants to write does that first.
    #[prost(uint32, tag = "5")]
    pub(super) redo: u32,
}

/// What lies under the redo key.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Steps {
    #[prost(message, repeated, tag = "1")]
    pub(super) steps: Vec<Step>,
}

impl Head {
    pub(super) fn seal(&self, key: &str) -> Vec<u8> {
        layout::seal(key.as_bytes(), &self.encode_to_vec())
    }

    /// The head that lies there, if this version understands it.
    pub(super) fn unseal(key: &str, value: &[u8]) -> Result<Head, EngineError> {
        let head: Result<Head, _> = layout::message(key.as_bytes(), value);
        let head = head.map_err(|_| EngineError::NoStore {
            path: key.into(),
            message: "etcd has something else there; choose another prefix".into(),
        })?;
        if head.format > FORMAT {
            return Err(EngineError::Format {
                path: key.into(),
                found: head.format.into(),
                known: FORMAT.into(),
            });
        }
        Ok(head)
    }
}
