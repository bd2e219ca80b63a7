//! Layout of the store on disk, format 2:
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `format`, `revision`, `incarnation`, `ceiling` | u64 |
//! | `rows` | app 0 keyspace(4) table 0 key | sealed: revision(8) value |
//! | `lanes` | app 0 node | sealed: `Checkpoint` of store.proto |
//! | `spaces` | app 0 keyspace(4) | sealed: `Keyspace` of store.proto |
//! | `used` | app 0 keyspace(4) | sealed: nothing |
//!
//! Format 1 has no `ceiling` and no leases. It is read, and becomes format 2 at once, which a daemon of format 1 refuses.
//!
//! Numbers are big-endian, so that bytes sort as rows do. A *sealed* value is the CRC-32 (4 bytes) of key and content,
//! then the content. The engine's own page checksums are verified only when it opens a file that was not closed, so
//! later reads verify this one.

use morph_api::store::RowValue;
use prost::Message;
use redb::TableDefinition;

use super::crc::crc32;
use super::error::EngineError;
use crate::core::RowKey;

pub(super) type Bytes = &'static [u8];

/// Version of the format that is written, and the newest one that is read.
pub(super) const FORMAT: u64 = 2;

pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
pub(super) const ROWS: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("rows");
// Format 2 calls checkpoints `lanes` and keyspaces `spaces`.
pub(super) const CHECKPOINTS: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("lanes");
pub(super) const KEYSPACES: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("spaces");
pub(super) const USED: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("used");

/// Prefix of all rows of a keyspace.
pub(super) fn keyspace_key(app: &str, keyspace: u32) -> Vec<u8> {
    [app.as_bytes(), &[0], &keyspace.to_be_bytes()].concat()
}

/// Prefix of all rows of a table.
pub(super) fn table_key(app: &str, keyspace: u32, table: &str) -> Vec<u8> {
    [&keyspace_key(app, keyspace)[..], table.as_bytes(), &[0]].concat()
}

pub(super) fn row_key(at: &RowKey) -> Vec<u8> {
    [
        &table_key(&at.app, at.keyspace, &at.table)[..],
        at.key.as_bytes(),
    ]
    .concat()
}

pub(super) fn checkpoint_key(app: &str, node: &str) -> Vec<u8> {
    [app.as_bytes(), &[0], node.as_bytes()].concat()
}

pub(super) fn seal(key: &[u8], content: &[u8]) -> Vec<u8> {
    [&crc32(&[key, content]).to_be_bytes()[..], content].concat()
}

/// Returns the content if it was written for this key.
pub(super) fn unseal<'v>(key: &[u8], value: &'v [u8]) -> Result<&'v [u8], EngineError> {
    match value.split_first_chunk() {
        Some((crc, content)) if u32::from_be_bytes(*crc) == crc32(&[key, content]) => Ok(content),
        _ => Err(damaged(key)),
    }
}

pub(super) fn message<M: Message + Default>(key: &[u8], value: &[u8]) -> Result<M, EngineError> {
    M::decode(unseal(key, value)?).map_err(|_| damaged(key))
}

pub(super) fn seal_row(key: &[u8], revision: u64, value: &str) -> Vec<u8> {
    seal(key, &[&revision.to_be_bytes(), value.as_bytes()].concat())
}

pub(super) fn row_revision(key: &[u8], value: &[u8]) -> Result<u64, EngineError> {
    Ok(split_row(key, value)?.0)
}

/// Decodes a row; `prefix` is the length of the part of its key that names the keyspace.
pub(super) fn row_value(prefix: usize, key: &[u8], value: &[u8]) -> Result<RowValue, EngineError> {
    let (revision, json) = split_row(key, value)?;
    let mut names = key[prefix.min(key.len())..].splitn(2, |byte| *byte == 0);
    let mut text = || names.next().and_then(|name| str::from_utf8(name).ok());
    match (text(), text(), str::from_utf8(json)) {
        (Some(table), Some(key), Ok(json)) => Ok(RowValue {
            table: table.to_owned(),
            key: key.to_owned(),
            value: Some(json.to_owned()),
            revision,
        }),
        _ => Err(damaged(key)),
    }
}

pub(super) fn keyspace_of_key(key: &[u8]) -> Result<(String, u32), EngineError> {
    let parts = key.split_last_chunk::<4>();
    let named = parts.and_then(|(app, id)| {
        let app = str::from_utf8(app.strip_suffix(&[0])?).ok()?;
        Some((app.to_owned(), u32::from_be_bytes(*id)))
    });
    named.ok_or_else(|| damaged(key))
}

pub(super) fn checkpoint_of_key(key: &[u8]) -> Result<(String, String), EngineError> {
    let named = split_at_zero(key).and_then(|(app, node)| {
        let text = |bytes: &[u8]| Some(str::from_utf8(bytes).ok()?.to_owned());
        Some((text(app)?, text(node)?))
    });
    named.ok_or_else(|| damaged(key))
}

pub(super) fn at_of_key(key: &[u8]) -> Result<RowKey, EngineError> {
    let parts = || {
        let (app, rest) = split_at_zero(key)?;
        let (keyspace, rest) = rest.split_first_chunk::<4>()?;
        let (table, key) = split_at_zero(rest)?;
        let text = |bytes: &[u8]| Some(str::from_utf8(bytes).ok()?.to_owned());
        Some(RowKey {
            app: text(app)?,
            keyspace: u32::from_be_bytes(*keyspace),
            table: text(table)?,
            key: text(key)?,
        })
    };
    parts().ok_or_else(|| damaged(key))
}

fn split_at_zero(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let zero = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..zero], &bytes[zero + 1..]))
}

/// Returns revision and JSON of a row.
pub(super) fn split_row<'v>(key: &[u8], value: &'v [u8]) -> Result<(u64, &'v [u8]), EngineError> {
    let content = unseal(key, value)?;
    let (revision, json) = content.split_first_chunk().ok_or_else(|| damaged(key))?;
    Ok((u64::from_be_bytes(*revision), json))
}

fn damaged(key: &[u8]) -> EngineError {
    EngineError::Corrupt(key.escape_ascii().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(app: &str, keyspace: u32, table: &str, key: &str) -> RowKey {
        RowKey {
            app: app.into(),
            keyspace,
            table: table.into(),
            key: key.into(),
        }
    }

    #[test]
    fn keys_sort_as_rows_do() {
        let rows = [
            at("a", 1, "t", "k"),
            at("a", 1, "t", "k0"),
            at("a", 1, "t-", "a"),
            at("a", 2, "a", "a"),
            at("a", 256, "a", "a"),
            at("a-b", 1, "a", "a"),
        ];
        assert!(rows.is_sorted());
        assert!(rows.iter().map(row_key).is_sorted());
        for row in rows {
            assert_eq!(at_of_key(&row_key(&row)).unwrap(), row);
        }
    }

    #[test]
    fn every_flipped_bit_of_a_row_is_seen() {
        let key = row_key(&at("router", 7, "trees", "ü"));
        let value = seal_row(&key, 42, "{\"a\":1}");
        let prefix = keyspace_key("router", 7).len();
        let row = row_value(prefix, &key, &value).unwrap();
        assert_eq!((row.table.as_str(), row.key.as_str()), ("trees", "ü"));
        assert_eq!(
            (row.value.as_deref(), row.revision),
            (Some("{\"a\":1}"), 42)
        );
        for bit in 0..value.len() * 8 {
            let mut value = value.clone();
            value[bit / 8] ^= 1 << (bit % 8);
            assert!(row_value(prefix, &key, &value).is_err(), "bit {bit}");
        }
        assert!(row_value(prefix, &row_key(&at("router", 8, "trees", "ü")), &value).is_err());
    }

    #[test]
    fn whatever_lies_there_is_an_error_and_no_panic() {
        for length in 0..16 {
            let bytes = vec![0xFF; length];
            assert!(row_value(99, &bytes, &bytes).is_err());
            assert!(keyspace_of_key(&bytes).is_err());
            assert!(at_of_key(&bytes).is_err());
        }
    }
}
