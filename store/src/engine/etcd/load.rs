//! Opening: a prefix that is empty is made a store, a start is counted, everything is read into the view.

use std::collections::BTreeSet;
use std::time::Duration;

use etcd_client::{Compare, CompareOp, TxnOp};
use tokio::time::Instant;

use super::calls::Answer;
use super::head::{FORMAT, GroupId, Head};
use super::keys::Keys;
use super::link::{Link, Trouble};
use super::plan;
use super::redo::{self, Redo};
use super::restore;
use crate::engine::error::EngineError;
use crate::engine::file::File;
use crate::engine::layout;
use crate::engine::step::{Step, Table};
use crate::engine::tables::Tables;

/// How long a start waits for an answer of etcd: reading a large store may take longer.
const START: Duration = Duration::from_secs(5);
/// How long it takes at most, where some calls are answered and others never are.
const MOST: Duration = Duration::from_secs(120);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// What was read.
pub(super) struct Loaded {
    /// The revision of etcd that wrote the head that the view reflects.
    pub(super) at: i64,
    /// The store's revision.
    pub(super) revision: u64,
    /// Prefixes of rows whose keyspace is gone: what is left where a drop was not carried through.
    pub(super) strays: BTreeSet<String>,
}

/// Tries again while etcd is away, for as long as a start may take.
pub(super) async fn patiently<T>(
    link: &mut Link,
    mut attempt: impl AsyncFnMut(&mut Link) -> Result<T, Trouble>,
) -> Result<T, EngineError> {
    let begun = Instant::now();
    loop {
        let last = match attempt(link).await {
            Ok(done) => return Ok(done),
            Err(Trouble::Away(last)) => last,
            // The history was compacted while it was read: a newer one is there.
            Err(Trouble::Compacted) => "etcd compacts its history".to_owned(),
            Err(refused @ Trouble::Refused(_)) => return Err(refused.into()),
        };
        let heard = link.heard().map_or(begun, |heard| heard.max(begun));
        if heard.elapsed() >= START || begun.elapsed() >= MOST {
            let url = link.url();
            let mend = match url.tls {
                true => "that it runs there, has a quorum, and that ca=, cert= and key= fit",
                false => "that it runs there, has a quorum, and does not want TLS (etcds://)",
            };
            return Err(EngineError::Away(format!(
                "cannot reach etcd at {url}: no answer for {:.0?}: {last}; check {mend}",
                heard.elapsed()
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Makes an empty prefix a store, with a keyspace for Morpheus's records.
pub(super) async fn found(link: &mut Link, keys: &Keys) -> Result<(), Trouble> {
    let key = keys.head();
    let (head, _) = link.get(&key).await?;
    if let Some(head) = head {
        Head::unseal(&key, &head.value).map_err(Trouble::Refused)?;
        return Ok(());
    }
    if let (Some(_), _) = link.get(&keys.restoring()).await? {
        return Err(Trouble::Refused(restore::unfinished(keys)));
    }
    let first = first().map_err(Trouble::Refused)?;
    let steps = [first];
    let mut ops = plan::batches(keys, &steps)
        .map_err(Trouble::Refused)?
        .concat();
    let head = Head {
        format: FORMAT,
        revision: steps[0].revision,
        group: Some(GroupId::default()),
        steps: steps.to_vec(),
        redo: 0,
    };
    ops.push(TxnOp::put(key.clone(), head.seal(&key), None));
    // If somebody else was first, it is a store as well.
    let no_restore = [Compare::version(keys.restoring(), CompareOp::Equal, 0)];
    link.guarded(&key, 0, &no_restore, ops).await.map(drop)
}

fn first() -> Result<Step, EngineError> {
    let (_, effects) = File::in_memory()?.first()?;
    Ok(Step::of(&effects))
}

/// A number that no daemon on this prefix has had before.
pub(super) async fn incarnation(link: &mut Link, keys: &Keys) -> Result<u64, Trouble> {
    let key = keys.incarnation();
    loop {
        let (last, _) = link.get(&key).await?;
        let (count, at) = match &last {
            Some(last) => (text_number(&key, &last.value)?, last.at),
            None => (0, 0),
        };
        let next = count + 1;
        let put = TxnOp::put(key.clone(), next.to_string(), None);
        if let Answer::Done(_) = link.guarded(&key, at, &[], vec![put]).await? {
            return Ok(next);
        }
    }
}

fn text_number(key: &str, value: &[u8]) -> Result<u64, Trouble> {
    let number = str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok());
    number.ok_or_else(|| Trouble::Refused(EngineError::Damaged(key.to_owned())))
}

/// Reads everything into the view, in place of what is there. Readers see either.
pub(super) async fn load(link: &mut Link, keys: &Keys, view: &File) -> Result<Loaded, Trouble> {
    let (head, at, now) = applied(link, keys).await?;
    let write = view.begin_write().map_err(Trouble::Refused)?;
    let mut tables = Tables::open(&write).map_err(Trouble::Refused)?;
    tables.clear().map_err(Trouble::Refused)?;
    let mut alive = BTreeSet::new();
    let mut strays = BTreeSet::new();
    // Keyspaces before rows.
    for table in [
        Table::Keyspaces,
        Table::Used,
        Table::Checkpoints,
        Table::Rows,
    ] {
        let folder = keys.table(table);
        // Each table of an app may have rows of a size of its own.
        let depth = if table == Table::Rows { 3 } else { 0 };
        let entries = link.walk(&folder, depth, now, |kv| {
            let key = keys.layout_key(table, kv.key())?;
            match table {
                Table::Keyspaces => drop(alive.insert(layout::keyspace_of_key(&key)?)),
                Table::Rows => {
                    let at = layout::at_of_key(&key)?;
                    let keyspace = (at.app, at.keyspace);
                    if !alive.contains(&keyspace) {
                        strays.insert(keys.keyspace(&keyspace.0, keyspace.1));
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
    touched.map_err(Trouble::Refused)?;
    drop(tables);
    let committed = write.commit().map_err(EngineError::from);
    committed.map_err(Trouble::Refused)?;
    Ok(Loaded {
        at,
        revision: head.revision,
        strays,
    })
}

/// The head, once nothing is left to be applied; its revision of etcd, and etcd's own now.
async fn applied(link: &mut Link, keys: &Keys) -> Result<(Head, i64, i64), Trouble> {
    loop {
        let (found, now) = link.get(&keys.head()).await?;
        let Some(found) = found else {
            let gone = format!(
                "{} is gone from etcd: restore it, or start anew",
                keys.head()
            );
            return Err(Trouble::Refused(EngineError::Away(gone)));
        };
        let head = Head::unseal(&keys.head(), &found.value).map_err(Trouble::Refused)?;
        if head.redo == 0 {
            return Ok((head, found.at, now));
        }
        let steps = redo::read(link, keys, found.at, &head).await?;
        // If somebody else is at it as well, one of both is first, and the loop finds out.
        let mut redo = Redo::of(head, &steps, keys).map_err(Trouble::Refused)?;
        redo::finish(link, keys, found.at, &mut redo).await?;
    }
}
