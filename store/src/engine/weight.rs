//! Size of a group, compared with what one transaction of etcd takes.

use std::collections::HashSet;

use morph_api::store::Transaction;
use prost::Message;

use super::write_set::WriteSet;

/// Operations of one transaction of etcd: 128 by default, of which the head takes one.
pub(super) const OPS: usize = 126;
/// Bytes that a group changes. They are sent twice, as entries and within the head, and etcd takes 1.5 MiB.
pub(super) const BYTES: usize = 600 << 10;
/// Size of the changes that a group contains so far.
#[derive(Debug, Default)]
pub(super) struct Weight {
    entries: HashSet<(i32, Vec<u8>)>,
    bytes: usize,
}

impl Weight {
    /// Adds the changes of a transaction. An entry that a group writes twice is one operation.
    pub(super) fn add(&mut self, write_set: &WriteSet) {
        self.bytes += write_set.encoded_len();
        let keys = write_set.writes.iter().map(|w| (w.table, w.key.clone()));
        self.entries.extend(keys);
    }

    /// Returns true if all that this transaction may change still fits. Its checkpoint and the count of its keyspace
    /// are included, and a swap touches two keyspaces.
    pub(super) fn has_room(&self, next: &Transaction) -> bool {
        let more = next.ops.len() * 2 + 2;
        let bytes = next.encoded_len() + next.ops.len() * 64 + 512;
        self.entries.len() + more <= OPS && self.bytes + bytes <= BYTES
    }

    pub(super) fn fits(&self) -> bool {
        self.entries.len() <= OPS && self.bytes <= BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout;
    use super::super::write_set::{Table, Write};
    use super::*;
    use crate::core::RowKey;

    fn put(key: &str, size: usize) -> Write {
        let key = layout::row_key(&RowKey {
            app: "a".into(),
            keyspace: 1,
            table: "t".into(),
            key: key.into(),
        });
        Write {
            table: Table::Rows.into(),
            key,
            value: Some(vec![7; size]),
        }
    }

    fn write_set(writes: Vec<Write>) -> WriteSet {
        WriteSet {
            writes,
            ..WriteSet::default()
        }
    }

    #[test]
    fn a_group_is_closed_before_it_is_too_large() {
        use crate::op;
        let turn = |n: usize| op::shared([], [op::put(op::row("a", "t", n.to_string()), "1")]);
        let mut weight = Weight::default();
        let mut taken = 0;
        while weight.has_room(&turn(taken)) {
            weight.add(&write_set(vec![put(&taken.to_string(), 13)]));
            taken += 1;
        }
        assert!(taken > 100 && weight.fits(), "{taken}");
        let value = format!("\"{}\"", "x".repeat(700_000));
        let large = op::shared([], [op::put(op::row("a", "t", "k"), value)]);
        assert!(!Weight::default().has_room(&large));
    }
}
