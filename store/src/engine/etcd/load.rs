//! Opening: makes an empty prefix a store, counts the start, and reads everything into the view.

use std::collections::BTreeSet;

use etcd_client::{Compare, CompareOp, TxnOp};

use super::calls::TxnOutcome;
use super::head::{FORMAT, GroupId, Head};
use super::keys::Keys;
use super::link::{CallError, Link};
use super::plan;
use super::redo::{self, Redo};
use super::restore;
use crate::engine::error::EngineError;
use crate::engine::file::File;
use crate::engine::layout;
use crate::engine::tables::Tables;
use crate::engine::write_set::{Table, WriteSet};

pub(super) struct Snapshot {
    /// Revision of etcd that wrote the head which the view reflects.
    pub(super) at: i64,
    /// Revision of the store.
    pub(super) revision: u64,
    /// Prefixes of rows whose keyspace no longer exists, because the deletion after a drop was not finished.
    pub(super) garbage: BTreeSet<String>,
}

/// Makes an empty prefix a store, with a keyspace for Morpheus's records.
pub(super) async fn found(link: &mut Link, keys: &Keys) -> Result<(), CallError> {
    let key = keys.head();
    let (head, _) = link.get(&key).await?;
    if let Some(head) = head {
        Head::unseal(&key, &head.value).map_err(CallError::Refused)?;
        return Ok(());
    }
    if let (Some(_), _) = link.get(&keys.restoring()).await? {
        return Err(CallError::Refused(restore::unfinished(keys)));
    }
    let first = first().map_err(CallError::Refused)?;
    let write_sets = [first];
    let mut ops = plan::batches(keys, &write_sets)
        .map_err(CallError::Refused)?
        .concat();
    let head = Head {
        format: FORMAT,
        revision: write_sets[0].revision,
        group: Some(GroupId::default()),
        write_sets: write_sets.to_vec(),
        redo: 0,
    };
    ops.push(TxnOp::put(key.clone(), head.seal(&key), None));
    // If another daemon was first, the prefix is a store too.
    let no_restore = [Compare::version(keys.restoring(), CompareOp::Equal, 0)];
    link.guarded(&key, 0, &no_restore, ops).await.map(drop)
}

fn first() -> Result<WriteSet, EngineError> {
    let (_, effects) = File::in_memory()?.first()?;
    Ok(WriteSet::of(&effects))
}

/// Returns a number that no other daemon on this prefix has had.
pub(super) async fn incarnation(link: &mut Link, keys: &Keys) -> Result<u64, CallError> {
    let key = keys.incarnation();
    loop {
        let (last, _) = link.get(&key).await?;
        let (count, at) = match &last {
            Some(last) => (text_number(&key, &last.value)?, last.at),
            None => (0, 0),
        };
        let next = count + 1;
        let put = TxnOp::put(key.clone(), next.to_string(), None);
        if let TxnOutcome::Done(_) = link.guarded(&key, at, &[], vec![put]).await? {
            return Ok(next);
        }
    }
}

fn text_number(key: &str, value: &[u8]) -> Result<u64, CallError> {
    let number = str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok());
    number.ok_or_else(|| CallError::Refused(EngineError::Corrupt(key.to_owned())))
}

/// Replaces the content of the view by everything in etcd, in one transaction of the view.
pub(super) async fn load(link: &mut Link, keys: &Keys, view: &File) -> Result<Snapshot, CallError> {
    let (head, at, now) = applied(link, keys).await?;
    let write = view.begin_write().map_err(CallError::Refused)?;
    let mut tables = Tables::open(&write).map_err(CallError::Refused)?;
    tables.clear().map_err(CallError::Refused)?;
    let mut alive = BTreeSet::new();
    let mut garbage = BTreeSet::new();
    // Keyspaces have to be known before rows.
    for table in [
        Table::Keyspaces,
        Table::Used,
        Table::Checkpoints,
        Table::Rows,
    ] {
        let folder = keys.table(table);
        // Rows of different tables may have very different sizes.
        let depth = if table == Table::Rows { 3 } else { 0 };
        let entries = link.walk(&folder, depth, now, |kv| {
            let key = keys.layout_key(table, kv.key())?;
            match table {
                Table::Keyspaces => drop(alive.insert(layout::keyspace_of_key(&key)?)),
                Table::Rows => {
                    let at = layout::at_of_key(&key)?;
                    let keyspace = (at.app, at.keyspace);
                    if !alive.contains(&keyspace) {
                        garbage.insert(keys.keyspace(&keyspace.0, keyspace.1));
                        return Ok(());
                    }
                }
                Table::Checkpoints | Table::Used => {}
            }
            tables.entry(table, &key, Some(kv.value()))
        });
        Box::pin(entries).await?;
    }
    let touched = tables.touch(head.revision);
    touched.map_err(CallError::Refused)?;
    drop(tables);
    let committed = write.commit().map_err(EngineError::from);
    committed.map_err(CallError::Refused)?;
    Ok(Snapshot {
        at,
        revision: head.revision,
        garbage,
    })
}

/// Returns the head after all its parts are applied, the revision of etcd that wrote it, and etcd's current revision.
async fn applied(link: &mut Link, keys: &Keys) -> Result<(Head, i64, i64), CallError> {
    loop {
        let (found, now) = link.get(&keys.head()).await?;
        let Some(found) = found else {
            let gone = format!(
                "{} is gone from etcd: restore it, or start anew",
                keys.head()
            );
            return Err(CallError::Refused(EngineError::Unreachable(gone)));
        };
        let head = Head::unseal(&keys.head(), &found.value).map_err(CallError::Refused)?;
        if head.redo == 0 {
            return Ok((head, found.at, now));
        }
        let write_sets = redo::read(link, keys, found.at, &head).await?;
        // If another daemon applies the parts too, one of both is first, and the loop notices it.
        let mut redo = Redo::of(head, &write_sets, keys).map_err(CallError::Refused)?;
        redo::finish(link, keys, found.at, &mut redo).await?;
    }
}
