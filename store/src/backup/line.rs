//! One line of a backup: what it says, and how it is written.

use morph_api::store::{Lane, Seq, Space};
use serde::{Deserialize, Serialize};

use super::FORMAT;
use crate::core::{At, SpaceKey};
use crate::engine::crc::crc32;

/// What a line says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Entry {
    /// The first: of which revision all is.
    Begin { revision: u64 },
    /// A lane.
    Lane(Lane),
    /// A space, without its rows.
    Space(Space),
    /// An id that was used.
    Used(SpaceKey),
    /// A row, its revision and its value.
    Row(At, u64, String),
    /// The last.
    End,
}

/// A line as JSON has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Line {
    Backup {
        format: u32,
        revision: u64,
        version: String,
    },
    Lane {
        app: String,
        node: String,
        epoch: u64,
        cursor: (u64, u64),
        turn: u64,
        release: String,
    },
    Space {
        app: String,
        id: u32,
        schema: u32,
        truth: bool,
        owner: String,
        mark: u64,
        modified: u64,
        keys: u64,
    },
    Used {
        app: String,
        id: u32,
    },
    Row {
        app: String,
        space: u32,
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
            Entry::Lane(lane) => {
                let cursor = lane.cursor.unwrap_or(Seq::ZERO);
                Line::Lane {
                    app: lane.app,
                    node: lane.node,
                    epoch: lane.epoch,
                    cursor: (cursor.stream, cursor.n),
                    turn: lane.turn,
                    release: lane.release,
                }
            }
            Entry::Space(space) => Line::Space {
                app: space.app,
                id: space.id,
                schema: space.schema,
                truth: space.truth,
                owner: space.owner,
                mark: space.mark,
                modified: space.modified,
                keys: space.keys,
            },
            Entry::Used((app, id)) => Line::Used { app, id },
            Entry::Row(at, revision, value) => Line::Row {
                app: at.app,
                space: at.space,
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
            Line::Lane {
                app,
                node,
                epoch,
                cursor: (stream, n),
                turn,
                release,
            } => Entry::Lane(Lane {
                app,
                node,
                epoch,
                cursor: Some(Seq { stream, n }),
                turn,
                release,
            }),
            Line::Space {
                app,
                id,
                schema,
                truth,
                owner,
                mark,
                modified,
                keys,
            } => Entry::Space(Space {
                app,
                id,
                schema,
                truth,
                owner,
                mark,
                modified,
                keys,
            }),
            Line::Used { app, id } => Entry::Used((app, id)),
            Line::Row {
                app,
                space,
                table,
                key,
                revision,
                value,
            } => {
                let at = At {
                    app,
                    space,
                    table,
                    key,
                };
                Entry::Row(at, revision, value)
            }
            Line::End { .. } => Entry::End,
        }
    }
}

/// Writes lines, each with the sum that hangs it onto the one before.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    sum: u32,
    lines: u64,
}

impl Writer {
    /// Appends the entry's line.
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
