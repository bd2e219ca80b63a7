//! Value of the head key: the changes of the last group. Every group is one transaction of etcd that compares the
//! head's revision and writes the next head, so the sequence of heads is the history of the store.

use prost::Message;

use crate::engine::error::EngineError;
use crate::engine::layout;
use crate::engine::write_set::WriteSet;

/// Version of the format that is written, and the newest one that is read.
pub(super) const FORMAT: u32 = 1;

/// Identity of a group, never used twice.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct GroupId {
    #[prost(uint64, tag = "1")]
    pub(super) incarnation: u64,
    #[prost(uint64, tag = "2")]
    pub(super) n: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Head {
    #[prost(uint32, tag = "1")]
    pub(super) format: u32,
    /// Revision of the store after the group.
    #[prost(uint64, tag = "2")]
    pub(super) revision: u64,
    #[prost(message, optional, tag = "3")]
    pub(super) group: Option<GroupId>,
    /// Changes of the group, unless they are in `redo`. If both are empty, an earlier group's redo was finished.
    #[prost(message, repeated, tag = "4")]
    pub(super) write_sets: Vec<WriteSet>,
    /// Number of parts of encoded [`WriteSets`] under the redo key that are not applied to the entries yet. A daemon
    /// applies them before it writes anything else.
    #[prost(uint32, tag = "5")]
    pub(super) redo: u32,
}

/// Content of the redo key.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WriteSets {
    #[prost(message, repeated, tag = "1")]
    pub(super) write_sets: Vec<WriteSet>,
}

impl Head {
    pub(super) fn seal(&self, key: &str) -> Vec<u8> {
        layout::seal(key.as_bytes(), &self.encode_to_vec())
    }

    /// Decodes a head, if this version understands it.
    pub(super) fn unseal(key: &str, value: &[u8]) -> Result<Head, EngineError> {
        let head: Result<Head, _> = layout::message(key.as_bytes(), value);
        let head = head.map_err(|_| EngineError::NotAStore {
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
