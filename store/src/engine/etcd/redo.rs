//! Transactions that are too large for one of etcd's: first what they do is written down in parts, then the head
//! names the parts, which is when the transaction has happened, then the entries are brought to where they belong.
//! Whoever finds parts that are not applied does that before anything else; it may be done twice, as each part is
//! guarded by the head that names it.

use std::collections::VecDeque;

use etcd_client::{Compare, CompareOp, DeleteOptions, TxnOp};
use prost::Message;

use super::calls::{Answer, after_prefix};
use super::head::{GroupId, Head, Steps};
use super::keys::Keys;
use super::link::{Link, Trouble};
use super::plan::{self, PART};
use crate::engine::error::EngineError;
use crate::engine::step::Step;

/// What a head says is to be done.
#[derive(Debug)]
pub(super) struct Redo {
    head: Head,
    /// What is still to be applied.
    left: VecDeque<Vec<TxnOp>>,
}

impl Redo {
    pub(super) fn of(head: Head, steps: &[Step], keys: &Keys) -> Result<Redo, EngineError> {
        let left = plan::batches(keys, steps)?.into();
        Ok(Redo { head, left })
    }
}

/// The parts that were written, as the head's transaction has to find them.
pub(super) enum Written {
    Parts(Vec<Compare>),
    /// Somebody else has written a head meanwhile.
    Overtaken,
}

fn part(keys: &Keys, group: &GroupId, n: usize) -> String {
    let GroupId { incarnation, n: of } = group;
    format!("{}{incarnation}-{of}/{n:03}", keys.redo())
}

/// Writes the parts down. Nothing has happened by that.
pub(super) async fn write(
    link: &mut Link,
    keys: &Keys,
    at: i64,
    group: &GroupId,
    steps: &[Step],
) -> Result<Written, Trouble> {
    let steps = Steps {
        steps: steps.to_vec(),
    };
    let mut parts = Vec::new();
    for (n, bytes) in steps.encode_to_vec().chunks(PART).enumerate() {
        let key = part(keys, group, n);
        let put = TxnOp::put(key.clone(), bytes, None);
        match link.guarded(&keys.head(), at, &[], vec![put]).await? {
            Answer::Done(at) => parts.push(Compare::mod_revision(key, CompareOp::Equal, at)),
            Answer::Behind(_) => return Ok(Written::Overtaken),
        }
    }
    Ok(Written::Parts(parts))
}

/// Reads the parts that a head at this revision names. They may be gone by now, but not from etcd's history.
pub(super) async fn read(
    link: &mut Link,
    keys: &Keys,
    at: i64,
    head: &Head,
) -> Result<Vec<Step>, Trouble> {
    let group = head.group.clone().unwrap_or_default();
    let mut bytes = Vec::new();
    for n in 0..head.redo as usize {
        let part = link.get_at(&part(keys, &group, n), at).await?;
        bytes.extend(part.ok_or(Trouble::Compacted)?.value);
    }
    let steps = Steps::decode(&bytes[..]);
    let damaged = |_| Trouble::Refused(EngineError::Damaged(keys.redo()));
    Ok(steps.map_err(damaged)?.steps)
}

/// Applies the parts, and writes a head that does not name them any more. After an error it goes on where it was.
pub(super) async fn finish(
    link: &mut Link,
    keys: &Keys,
    at: i64,
    redo: &mut Redo,
) -> Result<Answer, Trouble> {
    while let Some(batch) = redo.left.front() {
        match link.guarded(&keys.head(), at, &[], batch.clone()).await? {
            Answer::Done(_) => drop(redo.left.pop_front()),
            behind @ Answer::Behind(_) => return Ok(behind),
        }
    }
    let head = Head {
        steps: Vec::new(),
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
