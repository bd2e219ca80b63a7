//! Reads, each from one consistent view. All functions here may block on the disk.

use std::collections::BTreeMap;
use std::ops::Bound;

use morph_api::store::{Keyspace, ReadReply, ReadRequest, RowValue, StatusReply};
use redb::{ReadOnlyTable, ReadTransaction};

use super::error::EngineError;
use super::file::{File, load, meta};
use super::layout::{self, Bytes, FORMAT, KEYSPACES, ROWS};
use crate::core::{Lease, RowKey};
use crate::op;

/// Rows of a read without a limit, and the maximum of any read.
const LIMIT: usize = 1000;
const MOST: usize = 10_000;
/// Bytes of a page, exceeded by one row at most.
const PAGE: usize = 256 << 10;

/// Scan over rows in their order, page by page.
#[derive(Debug)]
pub(crate) struct Scan {
    rows: ReadOnlyTable<Bytes, Bytes>,
    /// Length of the prefix that names the keyspace.
    keyspace: usize,
    /// Prefixes of the remaining keys, in order.
    prefixes: std::collections::VecDeque<Vec<u8>>,
    /// Prefix of the rows' own keys.
    key_prefix: String,
    after: Option<Vec<u8>>,
}

impl Scan {
    /// Scans some tables of a keyspace, or all.
    pub(super) fn tables(
        view: &ReadTransaction,
        app: &str,
        keyspace: u32,
        tables: &[String],
    ) -> Result<Scan, EngineError> {
        let whole = layout::keyspace_key(app, keyspace);
        let mut prefixes: Vec<Vec<u8>> = tables
            .iter()
            .map(|table| layout::table_key(app, keyspace, table))
            .collect();
        if tables.is_empty() {
            prefixes.push(whole.clone());
        }
        prefixes.sort_unstable();
        prefixes.dedup();
        Ok(Scan {
            rows: view.open_table(ROWS)?,
            keyspace: whole.len(),
            prefixes: prefixes.into(),
            key_prefix: String::new(),
            after: None,
        })
    }

    /// Returns the next rows, and whether there are more.
    pub(crate) fn page(&mut self, limit: usize) -> Result<(Vec<RowValue>, bool), EngineError> {
        let mut rows = Vec::new();
        let mut bytes = 0;
        while let Some(prefix) = self.prefixes.front() {
            let from = match &self.after {
                Some(after) if after >= prefix => Bound::Excluded(&after[..]),
                _ => Bound::Included(&prefix[..]),
            };
            for entry in self.rows.range::<&[u8]>((from, Bound::Unbounded))? {
                let (key, value) = entry?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                let row = layout::row_value(self.keyspace, key.value(), value.value())?;
                if !row.key.starts_with(&self.key_prefix) {
                    continue;
                }
                if rows.len() == limit || bytes >= PAGE {
                    return Ok((rows, true));
                }
                bytes += key.value().len() + value.value().len();
                self.after = Some(key.value().to_vec());
                rows.push(row);
            }
            self.prefixes.pop_front();
        }
        Ok((rows, false))
    }
}

impl File {
    /// Answers `Read`. An app or a keyspace that does not exist has no rows.
    pub(crate) fn read(&self, request: &ReadRequest) -> Result<ReadReply, EngineError> {
        let view = self.begin_read()?;
        let mut reply = ReadReply {
            revision: meta(&view, "revision")?,
            ..ReadReply::default()
        };
        let row = request.row.clone().unwrap_or_default();
        let keyspace = match row.keyspace {
            0 => primary(&view, &row.app)?.map(|keyspace| keyspace.id),
            id => exists(&view, &row.app, id)?.then_some(id),
        };
        let Some(keyspace) = keyspace else {
            return Ok(reply);
        };
        let of_table = match (request.prefix, row.table.is_empty()) {
            (true, true) => Vec::new(),
            (_, _) => vec![row.table.clone()],
        };
        let mut scan = Scan::tables(&view, &row.app, keyspace, &of_table)?;
        if !request.prefix {
            scan.exactly(&row.key)?
                .into_iter()
                .for_each(|row| reply.rows.push(row));
            return Ok(reply);
        }
        scan.narrow(&row.key, !row.table.is_empty());
        if !request.after_table.is_empty() {
            let table = layout::table_key(&row.app, keyspace, &request.after_table);
            scan.after = Some([&table[..], request.after_key.as_bytes()].concat());
        }
        let limit = match request.limit as usize {
            0 => LIMIT,
            limit => limit.min(MOST),
        };
        (reply.rows, reply.more) = scan.page(limit)?;
        Ok(reply)
    }

    /// Answers `Status`, apart from the incarnation.
    pub(crate) fn status(&self) -> Result<StatusReply, EngineError> {
        let state = load(&self.begin_read()?)?;
        Ok(StatusReply {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            format: FORMAT as u32,
            revision: state.revision,
            durable: self.durable().min(state.revision),
            checkpoints: state.checkpoints.into_values().collect(),
            keyspaces: state.keyspaces.into_values().collect(),
            leases: leases(&state.leases),
            ..StatusReply::default()
        })
    }
}

fn leases(leases: &BTreeMap<String, Lease>) -> Vec<morph_api::store::Lease> {
    let row = |at: &RowKey| op::row_in(&at.app, at.keyspace, &at.table, &at.key);
    let leases = leases.iter().map(|(name, lease)| morph_api::store::Lease {
        name: name.clone(),
        ttl_ms: lease.ttl_ms,
        revision: lease.revision,
        rows: lease.rows.iter().map(row).collect(),
    });
    leases.collect()
}

impl Scan {
    fn exactly(&self, key: &str) -> Result<Option<RowValue>, EngineError> {
        let Some(table) = self.prefixes.front() else {
            return Ok(None);
        };
        let key = [&table[..], key.as_bytes()].concat();
        match self.rows.get(&key[..])? {
            Some(value) => layout::row_value(self.keyspace, &key, value.value()).map(Some),
            None => Ok(None),
        }
    }

    /// Restricts the scan. Within one table a prefix of keys is a prefix on disk; across tables each row is compared.
    fn narrow(&mut self, prefix: &str, one_table: bool) {
        if one_table {
            self.prefixes
                .iter_mut()
                .for_each(|start| start.extend_from_slice(prefix.as_bytes()));
        } else {
            self.key_prefix = prefix.to_owned();
        }
    }
}

/// Returns true if the keyspace exists: rows of a dropped one may not all be collected yet.
fn exists(view: &ReadTransaction, app: &str, id: u32) -> Result<bool, EngineError> {
    let keyspaces = view.open_table(KEYSPACES)?;
    Ok(keyspaces.get(&layout::keyspace_key(app, id)[..])?.is_some())
}

fn primary(view: &ReadTransaction, app: &str) -> Result<Option<Keyspace>, EngineError> {
    let (first, last) = (
        layout::keyspace_key(app, 0),
        layout::keyspace_key(app, u32::MAX),
    );
    let keyspaces = view.open_table(KEYSPACES)?;
    for entry in keyspaces.range::<&[u8]>(&first[..]..=&last[..])? {
        let (key, value) = entry?;
        let keyspace: Keyspace = layout::message(key.value(), value.value())?;
        if keyspace.primary {
            return Ok(Some(keyspace));
        }
    }
    Ok(None)
}
