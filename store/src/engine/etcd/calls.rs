//! Calls to etcd.

use etcd_client::{
    CompactionOptions, Compare, CompareOp, DeleteOptions, GetOptions, KeyValue, Txn, TxnOp,
    TxnOpResponse,
};

use super::link::{CallError, Link};
use crate::engine::error::EngineError;

/// Maximum size of an answer in bytes. Pages are requested so that they stay far below.
const ANSWER: usize = 64 << 20;
/// Approximate size of a page in bytes. For each page etcd counts all keys that follow in its range, so there should
/// be few: with 2000 keys a page, a million keys took 40 s.
const PAGE: usize = 4 << 20;
/// Maximum number of keys in a page.
const MOST: usize = 40_000;
const FEWEST: usize = 16;

/// Value of a key, and the revision of etcd that wrote it.
#[derive(Debug, Clone)]
pub(super) struct StoredValue {
    pub(super) value: Vec<u8>,
    pub(super) at: i64,
}

/// Outcome of a guarded transaction.
#[derive(Debug)]
pub(super) enum TxnOutcome {
    /// Committed at this revision of etcd.
    Done(i64),
    /// The guard has another revision than expected; this is its value.
    Mismatch(Option<StoredValue>),
}

impl Link {
    /// Commits a transaction if `guard` is at revision `at` (0: if it does not exist).
    pub(super) async fn guarded(
        &mut self,
        guard: &str,
        at: i64,
        more: &[Compare],
        ops: Vec<TxnOp>,
    ) -> Result<TxnOutcome, CallError> {
        let mut compares = vec![Compare::mod_revision(guard, CompareOp::Equal, at)];
        compares.extend_from_slice(more);
        let txn = Txn::new()
            .when(compares)
            .and_then(ops)
            .or_else([TxnOp::get(guard, None)]);
        let answer = self.call(async |client| client.txn(txn).await).await?;
        if answer.succeeded() {
            return Ok(TxnOutcome::Done(
                answer.header().map_or(0, |h| h.revision()),
            ));
        }
        let found = answer.op_responses().into_iter().find_map(|op| match op {
            TxnOpResponse::Get(get) => get.kvs().first().map(found),
            TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_) => None,
        });
        Ok(TxnOutcome::Mismatch(found))
    }

    /// Reads a key and the current revision of etcd.
    pub(super) async fn get(&mut self, key: &str) -> Result<(Option<StoredValue>, i64), CallError> {
        let answer = self
            .call(async |client| client.get(key, None).await)
            .await?;
        let now = answer.header().map_or(0, |h| h.revision());
        Ok((answer.kvs().first().map(found), now))
    }

    /// Reads a key as it was at a revision of etcd.
    pub(super) async fn get_at(
        &mut self,
        key: &str,
        at: i64,
    ) -> Result<Option<StoredValue>, CallError> {
        let options = GetOptions::new().with_revision(at);
        let answer = self
            .call(async |client| client.get(key, Some(options)).await)
            .await?;
        Ok(answer.kvs().first().map(found))
    }

    /// Reads everything under a prefix as it was at a revision of etcd, page by page and in order. Entries in the
    /// same folder `depth` levels below the prefix are assumed to have about the same size: only for these are large
    /// pages requested.
    pub(super) async fn walk(
        &mut self,
        prefix: &str,
        depth: usize,
        at: i64,
        mut each: impl FnMut(&KeyValue) -> Result<(), EngineError>,
    ) -> Result<(), CallError> {
        let end = after_prefix(prefix);
        let (mut from, mut to) = (prefix.as_bytes().to_vec(), end.clone());
        let mut limit = FEWEST;
        loop {
            let options = GetOptions::new()
                .with_range(to.clone())
                .with_limit(limit as i64)
                .with_revision(at);
            let page = self
                .call(async |client| {
                    let mut kv = client.kv_client().max_decoding_message_size(ANSWER);
                    kv.get(from.clone(), Some(options)).await
                })
                .await;
            let page = match page {
                Ok(page) => page,
                // Rows may be much larger than those before, so that the answer exceeds its limit.
                Err(CallError::Unreachable(_)) if limit > FEWEST => {
                    limit = FEWEST;
                    continue;
                }
                Err(trouble) => return Err(trouble),
            };
            let mut bytes = 0;
            for kv in page.kvs() {
                bytes += kv.key().len() + kv.value().len();
                each(kv).map_err(CallError::Refused)?;
            }
            match page.kvs().last().filter(|_| page.more()) {
                Some(last) => {
                    from = [last.key(), &[0]].concat();
                    to = after_folder(prefix, depth, last.key()).unwrap_or_else(|| end.clone());
                    let usual = bytes / page.kvs().len().max(1);
                    limit = (PAGE / usual.max(1)).clamp(FEWEST, MOST);
                }
                None if to == end => return Ok(()),
                None => {
                    from = std::mem::replace(&mut to, end.clone());
                    limit = FEWEST;
                }
            }
        }
    }

    /// Reads the first key under a prefix.
    pub(super) async fn first(&mut self, prefix: &str) -> Result<Option<String>, CallError> {
        let options = GetOptions::new().with_range(after_prefix(prefix));
        let options = options.with_limit(1).with_keys_only();
        let found = self
            .call(async |client| client.get(prefix, Some(options)).await)
            .await?;
        let text = |kv: &KeyValue| String::from_utf8_lossy(kv.key()).into_owned();
        Ok(found.kvs().first().map(text))
    }

    /// Deletes the first keys under a prefix. Returns true if there may be more.
    pub(super) async fn delete_some(
        &mut self,
        prefix: &str,
        some: usize,
    ) -> Result<bool, CallError> {
        let end = after_prefix(prefix);
        let options = GetOptions::new()
            .with_range(end)
            .with_limit(some as i64)
            .with_keys_only();
        let keys = self
            .call(async |client| client.get(prefix, Some(options)).await)
            .await?;
        let (Some(first), Some(last)) = (keys.kvs().first(), keys.kvs().last()) else {
            return Ok(false);
        };
        let options = DeleteOptions::new().with_range([last.key(), &[0]].concat());
        let first = first.key().to_vec();
        self.call(async |client| client.delete(first, Some(options)).await)
            .await?;
        Ok(keys.more())
    }

    /// Compacts etcd's history before a revision.
    pub(super) async fn compact(&mut self, before: i64) -> Result<(), CallError> {
        let options = CompactionOptions::default();
        let done = self
            .call(async |client| client.compact(before, Some(options)).await)
            .await;
        match done {
            // Another daemon compacted first.
            Ok(_) | Err(CallError::Compacted) => Ok(()),
            Err(trouble) => Err(trouble),
        }
    }
}

/// Returns the end of the range of keys with this prefix, which ends with a `/`.
pub(super) fn after_prefix(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    end
}

/// Returns the end of the folder that contains this key `depth` levels below the prefix.
fn after_folder(prefix: &str, depth: usize, key: &[u8]) -> Option<Vec<u8>> {
    let below = key.get(prefix.len()..)?;
    let slashes = below.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let ends = slashes.map(|(at, _)| prefix.len() + at + 1);
    let folder = std::iter::once(prefix.len()).chain(ends).nth(depth)?;
    Some(after_prefix(str::from_utf8(&key[..folder]).ok()?))
}

fn found(kv: &KeyValue) -> StoredValue {
    StoredValue {
        value: kv.value().to_vec(),
        at: kv.mod_revision(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_ends_behind_the_last_key_in_it() {
        let key = b"/m/rows/router/1/trees/a/b";
        let behind = |depth| after_folder("/m/rows/", depth, key);
        let text = |depth| behind(depth).map(|key| String::from_utf8(key).unwrap());
        assert_eq!(text(0).unwrap(), "/m/rows0");
        assert_eq!(text(3).unwrap(), "/m/rows/router/1/trees0");
        assert_eq!(text(9), None);
        assert!(behind(3).unwrap() > key.to_vec());
        assert_eq!(after_folder("/m/rows/", 1, b"/m"), None);
    }
}
