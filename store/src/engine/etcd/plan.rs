//! Distribution of a group over transactions of etcd: one if it fits, otherwise several by way of the redo key.

use std::collections::BTreeMap;

use etcd_client::TxnOp;

use super::keys::Keys;
use crate::engine::error::EngineError;
use crate::engine::weight::{OPS, Weight};
use crate::engine::write_set::{Table, WriteSet};

/// Bytes of one part of the redo, and of one transaction that applies it.
pub(super) const PART: usize = 1 << 20;

/// Entries that a group writes, each once, with the final value.
type Entries<'s> = BTreeMap<(Table, &'s [u8]), Option<&'s [u8]>>;

pub(super) fn fits(write_sets: &[WriteSet]) -> bool {
    let mut weight = Weight::default();
    write_sets
        .iter()
        .for_each(|write_set| weight.add(write_set));
    weight.fits()
}

/// Returns the operations that apply all changes, in batches that etcd takes.
pub(super) fn batches(
    keys: &Keys,
    write_sets: &[WriteSet],
) -> Result<Vec<Vec<TxnOp>>, EngineError> {
    let mut entries = Entries::new();
    for write in write_sets.iter().flat_map(|write_set| &write_set.writes) {
        entries.insert((write.table(), &write.key), write.value.as_deref());
    }
    let mut batches = vec![Vec::new()];
    let mut bytes = 0;
    for ((table, key), value) in entries {
        let name = keys.entry(table, key)?;
        let size = name.len() + value.map_or(0, <[u8]>::len);
        let last = batches.last().map_or(0, Vec::len);
        if last == OPS || last > 0 && bytes + size > PART {
            batches.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        if let Some(batch) = batches.last_mut() {
            batch.push(match value {
                Some(value) => TxnOp::put(name, value, None),
                None => TxnOp::delete(name, None),
            });
        }
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::RowKey;
    use crate::engine::layout;
    use crate::engine::write_set::Write;

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
    fn writes_to_one_key_are_one_operation() {
        let write_sets: Vec<WriteSet> = (0..500).map(|_| write_set(vec![put("k", 9)])).collect();
        assert!(fits(&write_sets));
        let batches = batches(&Keys::new("/m/"), &write_sets).unwrap();
        assert_eq!((batches.len(), batches[0].len()), (1, 1));
    }

    #[test]
    fn what_is_too_large_goes_in_parts_that_are_not() {
        let many = write_set((0..1000).map(|n| put(&n.to_string(), 1)).collect());
        let large = write_set((0..5).map(|n| put(&n.to_string(), 700_000)).collect());
        for (write_set, parts) in [(many, 8), (large, 5)] {
            let write_sets = [write_set];
            assert!(!fits(&write_sets));
            let batches = batches(&Keys::new("/m/"), &write_sets).unwrap();
            assert_eq!(batches.len(), parts);
            assert!(batches.iter().all(|batch| (1..=OPS).contains(&batch.len())));
        }
    }
}
