//! Keys of entries in etcd, readable for people: `PREFIX rows/router/1/trees/KEY`, `PREFIX lanes/router/node1` (a
//! checkpoint), `PREFIX spaces/router/1` (a keyspace), `PREFIX used/router/1`. Values have their checksum as on disk:
//! a row is 12 bytes, then its JSON.

use crate::core::RowKey;
use crate::engine::error::EngineError;
use crate::engine::layout;
use crate::engine::write_set::Table;

/// Builder of keys under one prefix.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Keys {
            prefix: prefix.to_owned(),
        }
    }

    /// Key that every write compares.
    pub(super) fn head(&self) -> String {
        format!("{}head", self.prefix)
    }

    /// Key of the counter of daemon starts.
    pub(super) fn incarnation(&self) -> String {
        format!("{}incarnation", self.prefix)
    }

    /// Prefix of transactions that are too large for one of etcd's.
    pub(super) fn redo(&self) -> String {
        format!("{}redo/", self.prefix)
    }

    /// Key that exists while a backup is being restored.
    pub(super) fn restoring(&self) -> String {
        format!("{}restoring", self.prefix)
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Prefix of all entries of a table.
    pub(super) fn table(&self, table: Table) -> String {
        format!("{}{}/", self.prefix, folder(table))
    }

    /// Prefix of all rows of a keyspace.
    pub(super) fn keyspace(&self, app: &str, id: u32) -> String {
        format!("{}{}/{id}/", self.table(Table::Rows), escape(app))
    }

    /// Returns the key of an entry, from its key in the layout.
    pub(super) fn entry(&self, table: Table, key: &[u8]) -> Result<String, EngineError> {
        let name = match table {
            Table::Rows => {
                let at = layout::at_of_key(key)?;
                let (app, table) = (escape(&at.app), escape(&at.table));
                format!("{app}/{}/{table}/{}", at.keyspace, at.key)
            }
            Table::Checkpoints => {
                let (app, node) = layout::checkpoint_of_key(key)?;
                format!("{}/{}", escape(&app), escape(&node))
            }
            Table::Keyspaces | Table::Used => {
                let (app, id) = layout::keyspace_of_key(key)?;
                format!("{}/{id}", escape(&app))
            }
        };
        Ok(self.table(table) + &name)
    }

    /// Returns the key in the layout, from the key of an entry of this table.
    pub(super) fn layout_key(&self, table: Table, key: &[u8]) -> Result<Vec<u8>, EngineError> {
        let parse = || {
            let text = str::from_utf8(key).ok()?;
            let name = text.strip_prefix(&self.table(table))?;
            let mut parts = name.splitn(
                match table {
                    Table::Rows => 4,
                    Table::Checkpoints | Table::Keyspaces | Table::Used => 2,
                },
                '/',
            );
            let app = unescape(parts.next()?)?;
            match table {
                Table::Rows => Some(layout::row_key(&RowKey {
                    app,
                    keyspace: parts.next()?.parse().ok()?,
                    table: unescape(parts.next()?)?,
                    key: parts.next()?.to_owned(),
                })),
                Table::Checkpoints => Some(layout::checkpoint_key(&app, &unescape(parts.next()?)?)),
                Table::Keyspaces | Table::Used => {
                    Some(layout::keyspace_key(&app, parts.next()?.parse().ok()?))
                }
            }
        };
        parse().ok_or_else(|| EngineError::Corrupt(key.escape_ascii().to_string()))
    }
}

fn folder(table: Table) -> &'static str {
    match table {
        Table::Rows => "rows",
        // Format 2 calls checkpoints `lanes` and keyspaces `spaces`.
        Table::Checkpoints => "lanes",
        Table::Keyspaces => "spaces",
        Table::Used => "used",
    }
}

fn escape(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F")
}

fn unescape(name: &str) -> Option<String> {
    let plain = name.replace("%2F", "/").replace("%25", "%");
    // Names that were not written by this code are not guessed.
    (escape(&plain) == name).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_comes_back_whatever_is_in_it() {
        let keys = Keys::new("/m/");
        for name in ["a", "a/b", "%", "%2F", "ü %25/", "/", "%252F"] {
            let row = layout::row_key(&RowKey {
                app: name.into(),
                keyspace: 258,
                table: name.into(),
                key: name.into(),
            });
            let entries = [
                (Table::Rows, row),
                (Table::Checkpoints, layout::checkpoint_key(name, name)),
                (Table::Keyspaces, layout::keyspace_key(name, u32::MAX)),
                (Table::Used, layout::keyspace_key(name, 1)),
            ];
            for (table, key) in entries {
                let text = keys.entry(table, &key).unwrap();
                let back = keys.layout_key(table, text.as_bytes());
                assert_eq!(back.unwrap(), key, "{text}");
            }
        }
        let row = layout::row_key(&RowKey {
            app: "router".into(),
            keyspace: 1,
            table: "trees".into(),
            key: "00:01/2".into(),
        });
        let text = keys.entry(Table::Rows, &row).unwrap();
        assert_eq!(text, "/m/rows/router/1/trees/00:01/2");
        assert!(text.starts_with(&keys.keyspace("router", 1)));
    }

    #[test]
    fn foreign_keys_are_an_error_and_no_panic() {
        let keys = Keys::new("/m/");
        for key in ["", "/m/rows/", "/m/rows/a/b/c/d", "/m/rows/a%/1/c/d", "/x"] {
            assert!(
                keys.layout_key(Table::Rows, key.as_bytes()).is_err(),
                "{key}"
            );
        }
        assert!(
            keys.layout_key(Table::Checkpoints, b"/m/checkpoints/\xFF/a")
                .is_err()
        );
        assert!(
            keys.layout_key(Table::Keyspaces, b"/m/keyspaces/a/-1")
                .is_err()
        );
    }
}
