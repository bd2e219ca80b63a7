//! Restoring a backup into etcd: first into memory, which shows whether it is complete, then under an empty prefix.
//!
//! ```text
//!  prefix is empty --> `restoring` --> entries, batch by batch --> head, and `restoring` goes
//!                          |                    |
//!                          '--------------------+--> an error: all under the prefix is deleted again
//! ```
//!
//! Every write compares the key `restoring`, so two restores do not mix, and no daemon makes the prefix a store while the
//! key exists. The head makes it a store: before it is written nothing has been restored.

use std::path::Path;
use std::sync::Arc;

use etcd_client::{Compare, CompareOp, DeleteOptions, TxnOp};
use morph_api::fail;
use redb::backends::InMemoryBackend;
use redb::{Builder, Database, ReadTransaction, ReadableDatabase};

use super::calls::{TxnOutcome, after_prefix};
use super::head::{FORMAT, GroupId, Head};
use super::keys::Keys;
use super::link::Link;
use super::options::EtcdUrl;
use super::plan;
use super::retry::retry;
use crate::engine::error::EngineError;
use crate::engine::layout::{CHECKPOINTS, KEYSPACES, ROWS, USED};
use crate::engine::restore::{RestoreError, RestoreSummary, read_into};
use crate::engine::write_set::{Table, Write, WriteSet};

/// Entries that are taken from memory at once.
const SOME: usize = 2000;
/// Approximate size of these entries in bytes.
const BYTES: usize = 4 << 20;

/// Creates a store under a prefix of etcd from a backup. Do not call this within a runtime.
pub(crate) fn restore(url: EtcdUrl, backup: &Path) -> Result<RestoreSummary, RestoreError> {
    let memory = Builder::new().create_with_backend(InMemoryBackend::new());
    let database = memory.map_err(EngineError::from)?;
    let restored = read_into(&database, backup)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(EngineError::Thread)?;
    runtime.block_on(import_into(url, &database, restored.revision))?;
    Ok(restored)
}

/// Error of a daemon that finds an unfinished restore.
pub(super) fn unfinished(keys: &Keys) -> EngineError {
    EngineError::NotAStore {
        path: keys.restoring().into(),
        message: format!(
            "a backup is being restored there, or was and did not come to its end: wait for it, or {}",
            advice(keys)
        ),
    }
}

fn advice(keys: &Keys) -> String {
    let prefix = keys.prefix();
    format!("empty the prefix (`etcdctl del --prefix {prefix}`) and restore again")
}

async fn import_into(url: EtcdUrl, database: &Database, revision: u64) -> Result<(), RestoreError> {
    let keys = Keys::new(&url.prefix);
    let link = Link::new(Arc::new(url))?;
    let mut import = EtcdImport {
        link,
        at: 0,
        token: format!(
            "by process {}, {:?}",
            std::process::id(),
            std::time::SystemTime::now()
        ),
        keys,
    };
    import.begin().await?;
    let imported = import.all(database, revision).await;
    if imported.is_err() {
        import.clear().await;
    }
    imported
}

struct EtcdImport {
    link: Link,
    keys: Keys,
    /// Revision of etcd that wrote our `restoring` key.
    at: i64,
    /// Unique content of our `restoring` key.
    token: String,
}

impl EtcdImport {
    async fn begin(&mut self) -> Result<(), RestoreError> {
        let (keys, token) = (&self.keys, &self.token);
        let key = keys.restoring();
        let at = retry(&mut self.link, async |link| {
            // The key may be ours already, if an answer was lost.
            if let (Some(found), _) = link.get(&key).await?
                && found.value == token.as_bytes()
            {
                return Ok(Some(found.at));
            }
            if link.first(keys.prefix()).await?.is_some() {
                return Ok(None);
            }
            let no_head = [Compare::version(keys.head(), CompareOp::Equal, 0)];
            let put = vec![TxnOp::put(key.clone(), token.clone(), None)];
            match link.guarded(&key, 0, &no_head, put).await? {
                TxnOutcome::Done(at) => Ok(Some(at)),
                TxnOutcome::Mismatch(_) => Ok(None),
            }
        });
        match at.await? {
            Some(at) => self.at = at,
            None => return Err(self.taken().await),
        }
        Ok(())
    }

    async fn taken(&mut self) -> RestoreError {
        let (url, prefix) = (self.link.url().to_string(), self.keys.prefix().to_owned());
        let restoring = self.link.get(&self.keys.restoring()).await;
        RestoreError::Occupied(match restoring {
            Ok((Some(_), _)) => format!("{url}: {}", unfinished(&self.keys)),
            Ok((None, _)) | Err(_) => format!(
                "{url} is not empty, and nothing is written over what is there: name another prefix, or, if nobody needs \
                 it, stop what runs on it and `etcdctl del --prefix {prefix}`"
            ),
        })
    }

    async fn all(&mut self, database: &Database, revision: u64) -> Result<(), RestoreError> {
        let view = database.begin_read().map_err(EngineError::from)?;
        for table in [
            Table::Rows,
            Table::Used,
            Table::Keyspaces,
            Table::Checkpoints,
        ] {
            let mut after = Vec::new();
            loop {
                let writes = entries(&view, table, &after)?;
                let Some(last) = writes.last() else { break };
                after.clone_from(&last.key);
                self.write(writes).await?;
            }
        }
        self.end(revision).await
    }

    async fn write(&mut self, writes: Vec<Write>) -> Result<(), RestoreError> {
        let write_set = WriteSet {
            writes,
            ..WriteSet::default()
        };
        let (key, at) = (self.keys.restoring(), self.at);
        for batch in plan::batches(&self.keys, &[write_set])? {
            let done = retry(&mut self.link, async |link| {
                link.guarded(&key, at, &[], batch.clone()).await
            });
            match done.await? {
                TxnOutcome::Done(_) => {
                    fail::point("store.restore.batch").map_err(EngineError::from)?
                }
                TxnOutcome::Mismatch(_) => return Err(self.lost()),
            }
        }
        Ok(())
    }

    /// Writes the head, which makes the prefix a store.
    async fn end(&mut self, revision: u64) -> Result<(), RestoreError> {
        let head = Head {
            format: FORMAT,
            revision,
            group: Some(GroupId::default()),
            write_sets: Vec::new(),
            redo: 0,
        };
        let (key, restoring) = (self.keys.head(), self.keys.restoring());
        let (at, sealed) = (self.at, head.seal(&key));
        let done = retry(&mut self.link, async |link| {
            let ops = vec![
                TxnOp::put(key.clone(), sealed.clone(), None),
                TxnOp::delete(restoring.clone(), None),
            ];
            let answer = link.guarded(&restoring, at, &[], ops).await?;
            if let TxnOutcome::Done(_) = answer {
                return Ok(true);
            }
            // The head may be written already, if an answer was lost; a daemon may even have advanced it.
            Ok(link.get(&key).await?.0.is_some())
        });
        match done.await? {
            true => Ok(()),
            false => Err(self.lost()),
        }
    }

    fn lost(&self) -> RestoreError {
        let url = self.link.url();
        RestoreError::Occupied(format!(
            "{url}: somebody else has changed what is there meanwhile; nothing was restored"
        ))
    }

    /// Deletes everything that was imported. If etcd is unreachable it stays, and the next restore or daemon reports
    /// it.
    async fn clear(&mut self) {
        let (key, prefix) = (self.keys.restoring(), self.keys.prefix());
        let options = DeleteOptions::new().with_range(after_prefix(prefix));
        let delete = vec![TxnOp::delete(prefix, Some(options))];
        let _ = self.link.guarded(&key, self.at, &[], delete).await; // see above
    }
}

/// Returns the next entries of a table, in order.
fn entries(view: &ReadTransaction, table: Table, after: &[u8]) -> Result<Vec<Write>, EngineError> {
    let definition = match table {
        Table::Rows => ROWS,
        Table::Checkpoints => CHECKPOINTS,
        Table::Keyspaces => KEYSPACES,
        Table::Used => USED,
    };
    let mut writes = Vec::new();
    let mut bytes = 0;
    // The successor of a key is the key with a zero byte appended.
    let from = match after.is_empty() {
        true => Vec::new(),
        false => [after, &[0]].concat(),
    };
    for entry in view.open_table(definition)?.range::<&[u8]>(&from[..]..)? {
        let (key, value) = entry?;
        bytes += key.value().len() + value.value().len();
        writes.push(Write {
            table: table.into(),
            key: key.value().to_vec(),
            value: Some(value.value().to_vec()),
        });
        if writes.len() == SOME || bytes >= BYTES {
            break;
        }
    }
    Ok(writes)
}
