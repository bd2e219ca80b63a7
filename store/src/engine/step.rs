//! What a transaction changes, as a backend writes it: entries of tables, without knowing what they mean.

use morph_api::store::Turn;
use prost::Message;

use super::error::EngineError;
use super::layout;
use super::mailbox::Published;
use crate::core::{At, Effects};

/// Which table of the layout. The numbers are written, and never used for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(super) enum Table {
    Rows = 1,
    Checkpoints = 2,
    Keyspaces = 3,
    Used = 4,
}

/// One entry of a table: written, or deleted where there is no value.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Write {
    #[prost(enumeration = "Table", tag = "1")]
    pub(super) table: i32,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) key: Vec<u8>,
    /// Sealed.
    #[prost(bytes = "vec", optional, tag = "3")]
    pub(super) value: Option<Vec<u8>>,
}

/// A keyspace that goes, with its rows. Its own entry is among the writes.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Dropped {
    #[prost(string, tag = "1")]
    pub(super) app: String,
    #[prost(uint32, tag = "2")]
    pub(super) id: u32,
}

/// All that one transaction changes.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Step {
    #[prost(uint64, tag = "1")]
    pub(super) revision: u64,
    #[prost(message, optional, tag = "2")]
    pub(super) origin: Option<Turn>,
    #[prost(message, repeated, tag = "3")]
    pub(super) writes: Vec<Write>,
    #[prost(message, repeated, tag = "4")]
    pub(super) dropped: Vec<Dropped>,
}

impl Step {
    pub(super) fn of(effects: &Effects) -> Step {
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
        Step {
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
                .map(|(app, id)| Dropped {
                    app: app.clone(),
                    id: *id,
                })
                .collect(),
        }
    }

    /// As watchers are told.
    pub(super) fn published(&self) -> Result<Published, EngineError> {
        let rows = self.writes.iter().filter(|w| w.table() == Table::Rows);
        Ok(Published {
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

fn row(write: &Write) -> Result<(At, Option<String>), EngineError> {
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
        let at = |keyspace, table: &str, key: &str| At {
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
        let step = Step::of(&effects);
        let again = Step::decode(&step.encode_to_vec()[..]).unwrap();
        let told = again.published().unwrap();
        assert_eq!((told.revision, &told.origin), (7, &effects.origin));
        assert_eq!(
            (&told.rows, &told.dropped),
            (&effects.rows, &effects.dropped)
        );
    }
}
