//! How a group goes into transactions of etcd: into one where it fits, else by way of the redo key.

use std::collections::{BTreeMap, HashSet};

use etcd_client::TxnOp;
use morph_api::store::Transaction;
use prost::Message;

use super::keys::Keys;
use crate::engine::error::EngineError;
use crate::engine::step::{Step, Table};

/// Operations of one transaction of etcd: 128 unless its operator says otherwise, and one of them is the head's.
pub(super) const OPS: usize = 126;
/// Bytes of what a group changes. They go over the wire twice, as entries and within the head, and etcd takes 1.5 MiB.
pub(super) const BYTES: usize = 600 << 10;
/// Bytes of one part of the redo, and of one transaction that applies it.
pub(super) const PART: usize = 1 << 20;

/// What has gone into a group by now.
#[derive(Debug, Default)]
pub(in crate::engine) struct Weight {
    entries: HashSet<(i32, Vec<u8>)>,
    bytes: usize,
}

impl Weight {
    /// Entries written twice within a group are one operation.
    pub(in crate::engine) fn add(&mut self, step: &Step) {
        self.bytes += step.encoded_len();
        let keys = step.writes.iter().map(|w| (w.table, w.key.clone()));
        self.entries.extend(keys);
    }

    /// Does what this transaction may change at most still go into one transaction of etcd? Its checkpoint and the keyspace's
    /// count come with it, and a swap touches two keyspaces.
    pub(in crate::engine) fn has_room(&self, next: &Transaction) -> bool {
        let more = next.ops.len() * 2 + 2;
        let bytes = next.encoded_len() + next.ops.len() * 64 + 512;
        self.entries.len() + more <= OPS && self.bytes + bytes <= BYTES
    }

    fn fits(&self) -> bool {
        self.entries.len() <= OPS && self.bytes <= BYTES
    }
}

/// The entries that a group writes, each once, as it is afterwards.
type Entries<'s> = BTreeMap<(Table, &'s [u8]), Option<&'s [u8]>>;

pub(super) fn fits(steps: &[Step]) -> bool {
    let mut weight = Weight::default();
    steps.iter().for_each(|step| weight.add(step));
    weight.fits()
}

/// The operations that bring all entries to where they are after the steps, in parts that etcd takes.
pub(super) fn batches(keys: &Keys, steps: &[Step]) -> Result<Vec<Vec<TxnOp>>, EngineError> {
    let mut entries = Entries::new();
    for write in steps.iter().flat_map(|step| &step.writes) {
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
    use crate::core::At;
    use crate::engine::layout;
    use crate::engine::step::Write;

    fn put(key: &str, size: usize) -> Write {
        let key = layout::row_key(&At {
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

    fn step(writes: Vec<Write>) -> Step {
        Step {
            writes,
            ..Step::default()
        }
    }

    #[test]
    fn writes_to_one_key_are_one_operation() {
        let steps: Vec<Step> = (0..500).map(|_| step(vec![put("k", 9)])).collect();
        assert!(fits(&steps));
        let batches = batches(&Keys::new("/m/"), &steps).unwrap();
        assert_eq!((batches.len(), batches[0].len()), (1, 1));
    }

    #[test]
    fn what_is_too_large_goes_in_parts_that_are_not() {
        let many = step((0..1000).map(|n| put(&n.to_string(), 1)).collect());
        let large = step((0..5).map(|n| put(&n.to_string(), 700_000)).collect());
        for (step, parts) in [(many, 8), (large, 5)] {
            let steps = [step];
            assert!(!fits(&steps));
            let batches = batches(&Keys::new("/m/"), &steps).unwrap();
            assert_eq!(batches.len(), parts);
            assert!(batches.iter().all(|batch| (1..=OPS).contains(&batch.len())));
        }
    }

    #[test]
    fn a_group_is_closed_before_it_is_too_large() {
        use crate::op;
        let turn = |n: usize| op::shared([], [op::put(op::row("a", "t", n.to_string()), "1")]);
        let mut weight = Weight::default();
        let mut taken = 0;
        while weight.has_room(&turn(taken)) {
            weight.add(&step(vec![put(&taken.to_string(), 13)]));
            taken += 1;
        }
        assert!(taken > 100 && weight.fits(), "{taken}");
        let value = format!("\"{}\"", "x".repeat(700_000));
        let large = op::shared([], [op::put(op::row("a", "t", "k"), value)]);
        assert!(!Weight::default().has_room(&large));
    }
}
