use morph_api::store::{Checkpoint, Keyspace, Seq};
use serde::{Deserialize, Serialize};

use crate::core::{KeyspaceKey, RowKey};
use crate::engine::crc::crc32;

/// Version of the format that is written, and the newest one that is read.
pub(super) const FORMAT: u32 = 1;

/// Content of a line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Entry {
    /// First line, with the revision of the whole backup.
    Begin {
        revision: u64,
    },
    Checkpoint(Checkpoint),
    /// Keyspace without its rows.
    Keyspace(Keyspace),
    /// Id that must not be used again.
    Used(KeyspaceKey),
    /// Row with its revision and value.
    Row(RowKey, u64, String),
    /// Last line.
    End,
}

/// JSON of a line. Checkpoints, keyspaces and some of their fields keep the names that format 2 gave them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Line {
    Backup {
        format: u32,
        revision: u64,
        version: String,
    },
    #[serde(rename = "lane")]
    Checkpoint {
        app: String,
        node: String,
        epoch: u64,
        cursor: (u64, u64),
        turn: u64,
        release: String,
    },
    #[serde(rename = "space")]
    Keyspace {
        app: String,
        id: u32,
        schema: u32,
        #[serde(rename = "truth")]
        primary: bool,
        owner: String,
        #[serde(rename = "mark")]
        watermark: u64,
        modified: u64,
        keys: u64,
    },
    Used {
        app: String,
        id: u32,
    },
    Row {
        app: String,
        #[serde(rename = "space")]
        keyspace: u32,
        table: String,
        key: String,
        revision: u64,
        value: String,
    },
    End {
        lines: u64,
    },
}

impl Line {
    fn of(entry: Entry, lines: u64) -> Line {
        match entry {
            Entry::Begin { revision } => Line::Backup {
                format: FORMAT,
                revision,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            Entry::Checkpoint(checkpoint) => {
                let cursor = checkpoint.cursor.unwrap_or(Seq::ZERO);
                Line::Checkpoint {
                    app: checkpoint.app,
                    node: checkpoint.node,
                    epoch: checkpoint.epoch,
                    cursor: (cursor.incarnation, cursor.n),
                    turn: checkpoint.turn,
                    release: checkpoint.release,
                }
            }
            Entry::Keyspace(keyspace) => Line::Keyspace {
                app: keyspace.app,
                id: keyspace.id,
                schema: keyspace.schema,
                primary: keyspace.primary,
                owner: keyspace.owner,
                watermark: keyspace.watermark,
                modified: keyspace.modified,
                keys: keyspace.keys,
            },
            Entry::Used((app, id)) => Line::Used { app, id },
            Entry::Row(at, revision, value) => Line::Row {
                app: at.app,
                keyspace: at.keyspace,
                table: at.table,
                key: at.key,
                revision,
                value,
            },
            Entry::End => Line::End { lines },
        }
    }

    pub(super) fn entry(self) -> Entry {
        match self {
            Line::Backup { revision, .. } => Entry::Begin { revision },
            Line::Checkpoint {
                app,
                node,
                epoch,
                cursor: (incarnation, n),
                turn,
                release,
            } => Entry::Checkpoint(Checkpoint {
                app,
                node,
                epoch,
                cursor: Some(Seq { incarnation, n }),
                turn,
                release,
            }),
            Line::Keyspace {
                app,
                id,
                schema,
                primary,
                owner,
                watermark,
                modified,
                keys,
            } => Entry::Keyspace(Keyspace {
                app,
                id,
                schema,
                primary,
                owner,
                watermark,
                modified,
                keys,
            }),
            Line::Used { app, id } => Entry::Used((app, id)),
            Line::Row {
                app,
                keyspace,
                table,
                key,
                revision,
                value,
            } => {
                let at = RowKey {
                    app,
                    keyspace,
                    table,
                    key,
                };
                Entry::Row(at, revision, value)
            }
            Line::End { .. } => Entry::End,
        }
    }
}

/// Writes lines, each with a checksum that includes the checksum of the line before.
#[derive(Debug, Default)]
pub(crate) struct BackupWriter {
    sum: u32,
    lines: u64,
}

impl BackupWriter {
    pub(crate) fn write(&mut self, entry: Entry, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let json = serde_json::to_vec(&Line::of(entry, self.lines))?;
        self.sum = chained(self.sum, &json);
        self.lines += 1;
        out.extend_from_slice(format!("{:08x} ", self.sum).as_bytes());
        out.extend_from_slice(&json);
        out.push(b'\n');
        Ok(())
    }
}

pub(super) fn chained(before: u32, json: &[u8]) -> u32 {
    crc32(&[format!("{before:08x}").as_bytes(), json])
}
