//! Transactions that are too large for one of etcd's.
//!
//! 1. The changes are written down in parts.
//! 2. The head names the parts, and with that the transaction is committed.
//! 3. The entries are brought up to date.
//!
//! A daemon that finds parts which are not applied does that before anything else. It may happen twice, as each step
//! is guarded by the head that names the parts.

use std::collections::VecDeque;

use etcd_client::{Compare, CompareOp, DeleteOptions, TxnOp};
use prost::Message;

use super::calls::{TxnOutcome, after_prefix};
use super::head::{GroupId, Head, WriteSets};
use super::keys::Keys;
use super::link::{CallError, Link};
use super::plan::{self, PART};
use crate::engine::error::EngineError;
use crate::engine::write_set::WriteSet;

/// Parts that a head names and that are to be applied.
#[derive(Debug)]
pub(super) struct Redo {
    head: Head,
    left: VecDeque<Vec<TxnOp>>,
}

impl Redo {
    pub(super) fn of(
        head: Head,
        write_sets: &[WriteSet],
        keys: &Keys,
    ) -> Result<Redo, EngineError> {
        let left = plan::batches(keys, write_sets)?.into();
        Ok(Redo { head, left })
    }
}

/// Outcome of writing the parts.
pub(super) enum PartsOutcome {
    Written(Vec<Compare>),
    /// Another daemon has written a head meanwhile.
    LostRace,
}

fn part(keys: &Keys, group: &GroupId, n: usize) -> String {
    let GroupId { incarnation, n: of } = group;
    format!("{}{incarnation}-{of}/{n:03}", keys.redo())
}

/// Writes the parts, which commits nothing yet. Returns conditions for the head's transaction: the parts must exist.
pub(super) async fn write(
    link: &mut Link,
    keys: &Keys,
    at: i64,
    group: &GroupId,
    write_sets: &[WriteSet],
) -> Result<PartsOutcome, CallError> {
    let write_sets = WriteSets {
        write_sets: write_sets.to_vec(),
    };
    let mut parts = Vec::new();
    for (n, bytes) in write_sets.encode_to_vec().chunks(PART).enumerate() {
        let key = part(keys, group, n);
        let put = TxnOp::put(key.clone(), bytes, None);
        match link.guarded(&keys.head(), at, &[], vec![put]).await? {
            TxnOutcome::Done(at) => parts.push(Compare::mod_revision(key, CompareOp::Equal, at)),
            TxnOutcome::Mismatch(_) => return Ok(PartsOutcome::LostRace),
        }
    }
    Ok(PartsOutcome::Written(parts))
}

/// Reads the parts that a head names. They may be deleted by now, but not from etcd's history.
pub(super) async fn read(
    link: &mut Link,
    keys: &Keys,
    at: i64,
    head: &Head,
) -> Result<Vec<WriteSet>, CallError> {
    let group = head.group.clone().unwrap_or_default();
    let mut bytes = Vec::new();
    for n in 0..head.redo as usize {
        let part = link.get_at(&part(keys, &group, n), at).await?;
        bytes.extend(part.ok_or(CallError::Compacted)?.value);
    }
    let write_sets = WriteSets::decode(&bytes[..]);
    let damaged = |_| CallError::Refused(EngineError::Corrupt(keys.redo()));
    Ok(write_sets.map_err(damaged)?.write_sets)
}

/// Applies the parts, and writes a head that no longer names them. After an error a further call continues.
pub(super) async fn finish(
    link: &mut Link,
    keys: &Keys,
    at: i64,
    redo: &mut Redo,
) -> Result<TxnOutcome, CallError> {
    while let Some(batch) = redo.left.front() {
        match link.guarded(&keys.head(), at, &[], batch.clone()).await? {
            TxnOutcome::Done(_) => drop(redo.left.pop_front()),
            behind @ TxnOutcome::Mismatch(_) => return Ok(behind),
        }
    }
    let head = Head {
        write_sets: Vec::new(),
        redo: 0,
        ..redo.head.clone()
    };
    let all = DeleteOptions::new().with_range(after_prefix(&keys.redo()));
    let ops = vec![
        TxnOp::put(keys.head(), head.seal(&keys.head()), None),
        TxnOp::delete(keys.redo(), Some(all)),
    ];
    link.guarded(&keys.head(), at, &[], ops).await
}
