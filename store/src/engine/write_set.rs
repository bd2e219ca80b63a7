//! Changes of a transaction as a backend writes them: entries of tables, without their meaning.

use morph_api::store::Turn;
use prost::Message;

use super::error::EngineError;
use super::layout;
use super::subscriber_queue::Publication;
use crate::core::{Effects, RowKey};

/// Tables of the layout. Their numbers are stored, and never used for another table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(super) enum Table {
    Rows = 1,
    Checkpoints = 2,
    Keyspaces = 3,
    Used = 4,
}

/// Entry of a table: written, or deleted if it has no value.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Write {
    #[prost(enumeration = "Table", tag = "1")]
    pub(super) table: i32,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) key: Vec<u8>,
    /// Value with its checksum.
    #[prost(bytes = "vec", optional, tag = "3")]
    pub(super) value: Option<Vec<u8>>,
}

/// Keyspace that is dropped with its rows. Its own entry is among the writes.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DroppedKeyspace {
    #[prost(string, tag = "1")]
    pub(super) app: String,
    #[prost(uint32, tag = "2")]
    pub(super) id: u32,
}

/// All changes of one transaction.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WriteSet {
    #[prost(uint64, tag = "1")]
    pub(super) revision: u64,
    #[prost(message, optional, tag = "2")]
    pub(super) origin: Option<Turn>,
    #[prost(message, repeated, tag = "3")]
    pub(super) writes: Vec<Write>,
    #[prost(message, repeated, tag = "4")]
    pub(super) dropped: Vec<DroppedKeyspace>,
}

impl WriteSet {
    pub(super) fn of(effects: &Effects) -> WriteSet {
        let rows = effects.rows.iter().map(|(at, value)| {
            let key = layout::row_key(at);
            let sealed = value.as_ref();
            let sealed = sealed.map(|value| layout::seal_row(&key, effects.revision, value));
            write(Table::Rows, key, sealed)
        });
        let checkpoints = effects.checkpoints.iter().map(|checkpoint| {
            let key = layout::checkpoint_key(&checkpoint.app, &checkpoint.node);
            let sealed = layout::seal(&key, &checkpoint.encode_to_vec());
            write(Table::Checkpoints, key, Some(sealed))
        });
        let keyspaces = effects.keyspaces.iter().map(|keyspace| {
            let key = layout::keyspace_key(&keyspace.app, keyspace.id);
            let sealed = layout::seal(&key, &keyspace.encode_to_vec());
            write(Table::Keyspaces, key, Some(sealed))
        });
        let gone = effects
            .dropped
            .iter()
            .map(|(app, id)| write(Table::Keyspaces, layout::keyspace_key(app, *id), None));
        let used = effects.used.iter().map(|(app, id)| {
            let key = layout::keyspace_key(app, *id);
            let sealed = layout::seal(&key, &[]);
            write(Table::Used, key, Some(sealed))
        });
        WriteSet {
            revision: effects.revision,
            origin: effects.origin.clone(),
            writes: rows
                .chain(checkpoints)
                .chain(keyspaces)
                .chain(gone)
                .chain(used)
                .collect(),
            dropped: effects
                .dropped
                .iter()
                .map(|(app, id)| DroppedKeyspace {
                    app: app.clone(),
                    id: *id,
                })
                .collect(),
        }
    }

    /// Converts the changes into what watchers are told.
    pub(super) fn published(&self) -> Result<Publication, EngineError> {
        let rows = self.writes.iter().filter(|w| w.table() == Table::Rows);
        Ok(Publication {
            revision: self.revision,
            origin: self.origin.clone(),
            rows: rows.map(row).collect::<Result<_, _>>()?,
            dropped: self.dropped.iter().map(|d| (d.app.clone(), d.id)).collect(),
        })
    }
}

fn write(table: Table, key: Vec<u8>, value: Option<Vec<u8>>) -> Write {
    Write {
        table: table.into(),
        key,
        value,
    }
}

fn row(write: &Write) -> Result<(RowKey, Option<String>), EngineError> {
    let at = layout::at_of_key(&write.key)?;
    let keyspace = layout::keyspace_key(&at.app, at.keyspace).len();
    let value = match &write.value {
        Some(value) => layout::row_value(keyspace, &write.key, value)?.value,
        None => None,
    };
    Ok((at, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_told_as_the_core_said_them() {
        let at = |keyspace, table: &str, key: &str| RowKey {
            app: "router".into(),
            keyspace,
            table: table.into(),
            key: key.into(),
        };
        let effects = Effects {
            changed: true,
            revision: 7,
            origin: Some(Turn {
                app: "router".into(),
                follows: 3,
                ..Turn::default()
            }),
            rows: vec![
                (at(1, "a/b", "k%/ü"), Some("{}".into())),
                (at(0x0100_0000, "t", "gone"), None),
            ],
            dropped: vec![("router".into(), 9)],
            ..Effects::default()
        };
        let write_set = WriteSet::of(&effects);
        let again = WriteSet::decode(&write_set.encode_to_vec()[..]).unwrap();
        let told = again.published().unwrap();
        assert_eq!((told.revision, &told.origin), (7, &effects.origin));
        assert_eq!(
            (&told.rows, &told.dropped),
            (&effects.rows, &effects.dropped)
        );
    }
}
