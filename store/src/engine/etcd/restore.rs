//! A backup brought into etcd: first into memory, which shows whether it is whole, then under a prefix that is empty.
//!
//! ```text
//!  prefix is empty --> `restoring` --> entries, batch by batch --> head, and `restoring` goes
//!                          |                    |
//!                          '--------------------+--> an error: all under the prefix is deleted again
//! ```
//!
//! Every write compares `restoring`, so two of them do not mix, and no daemon makes the prefix a store while it is there. The
//! head is what makes it one: before it comes nothing has been restored.

use std::path::Path;
use std::sync::Arc;

use etcd_client::{Compare, CompareOp, DeleteOptions, TxnOp};
use morph_api::fail;
use redb::backends::InMemoryBackend;
use redb::{Builder, Database, ReadTransaction, ReadableDatabase};

use super::calls::{Answer, after_prefix};
use super::head::{FORMAT, GroupId, Head};
use super::keys::Keys;
use super::link::Link;
use super::load::patiently;
use super::options::EtcdUrl;
use super::plan;
use crate::engine::error::EngineError;
use crate::engine::layout::{CHECKPOINTS, KEYSPACES, ROWS, USED};
use crate::engine::restore::{RestoreError, Restored, pour};
use crate::engine::step::{Step, Table, Write};

/// Entries that are taken out of memory at once.
const SOME: usize = 2000;
/// Bytes of them, about.
const BYTES: usize = 4 << 20;

/// Makes the store under a prefix of etcd of a backup. Not within a runtime.
pub(in crate::engine) fn restore(url: EtcdUrl, backup: &Path) -> Result<Restored, RestoreError> {
    let memory = Builder::new().create_with_backend(InMemoryBackend::new());
    let database = memory.map_err(EngineError::from)?;
    let restored = pour(&database, backup)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(EngineError::Thread)?;
    runtime.block_on(bring(url, &database, restored.revision))?;
    Ok(restored)
}

/// What a daemon says that finds a restore that has not come to its end.
pub(super) fn unfinished(keys: &Keys) -> EngineError {
    EngineError::NoStore {
        path: keys.restoring().into(),
        message: format!(
            "a backup is being restored there, or was and did not come to its end: wait for it, or {}",
            mend(keys)
        ),
    }
}

fn mend(keys: &Keys) -> String {
    let prefix = keys.prefix();
    format!("empty the prefix (`etcdctl del --prefix {prefix}`) and restore again")
}

async fn bring(url: EtcdUrl, database: &Database, revision: u64) -> Result<(), RestoreError> {
    let keys = Keys::new(&url.prefix);
    let link = Link::new(Arc::new(url))?;
    let mut bringing = Bringing {
        link,
        at: 0,
        token: format!(
            "by process {}, {:?}",
            std::process::id(),
            std::time::SystemTime::now()
        ),
        keys,
    };
    bringing.begin().await?;
    let brought = bringing.all(database, revision).await;
    if brought.is_err() {
        bringing.clear().await;
    }
    brought
}

struct Bringing {
    link: Link,
    keys: Keys,
    /// The revision of etcd that wrote our `restoring`.
    at: i64,
    /// What it says, and nobody else's does.
    token: String,
}

impl Bringing {
    async fn begin(&mut self) -> Result<(), RestoreError> {
        let (keys, token) = (&self.keys, &self.token);
        let key = keys.restoring();
        let at = patiently(&mut self.link, async |link| {
            // Sent before, and the answer was lost.
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
                Answer::Done(at) => Ok(Some(at)),
                Answer::Behind(_) => Ok(None),
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
        RestoreError::Taken(match restoring {
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
        let step = Step {
            writes,
            ..Step::default()
        };
        let (key, at) = (self.keys.restoring(), self.at);
        for batch in plan::batches(&self.keys, &[step])? {
            let done = patiently(&mut self.link, async |link| {
                link.guarded(&key, at, &[], batch.clone()).await
            });
            match done.await? {
                Answer::Done(_) => fail::point("store.restore.batch").map_err(EngineError::from)?,
                Answer::Behind(_) => return Err(self.lost()),
            }
        }
        Ok(())
    }

    /// The head makes it a store.
    async fn end(&mut self, revision: u64) -> Result<(), RestoreError> {
        let head = Head {
            format: FORMAT,
            revision,
            group: Some(GroupId::default()),
            steps: Vec::new(),
            redo: 0,
        };
        let (key, restoring) = (self.keys.head(), self.keys.restoring());
        let (at, sealed) = (self.at, head.seal(&key));
        let done = patiently(&mut self.link, async |link| {
            let ops = vec![
                TxnOp::put(key.clone(), sealed.clone(), None),
                TxnOp::delete(restoring.clone(), None),
            ];
            let answer = link.guarded(&restoring, at, &[], ops).await?;
            if let Answer::Done(_) = answer {
                return Ok(true);
            }
            // Sent before, and the answer was lost; a daemon may have gone on from it.
            Ok(link.get(&key).await?.0.is_some())
        });
        match done.await? {
            true => Ok(()),
            false => Err(self.lost()),
        }
    }

    fn lost(&self) -> RestoreError {
        let url = self.link.url();
        RestoreError::Taken(format!(
            "{url}: somebody else has changed what is there meanwhile; nothing was restored"
        ))
    }

    /// Nothing is to be left of it. Where etcd is away it stays, and who finds it says so.
    async fn clear(&mut self) {
        let (key, prefix) = (self.keys.restoring(), self.keys.prefix());
        let options = DeleteOptions::new().with_range(after_prefix(prefix));
        let delete = vec![TxnOp::delete(prefix, Some(options))];
        let _ = self.link.guarded(&key, self.at, &[], delete).await; // see above
    }
}

/// The next entries of a table, in order.
fn entries(view: &ReadTransaction, table: Table, after: &[u8]) -> Result<Vec<Write>, EngineError> {
    let definition = match table {
        Table::Rows => ROWS,
        Table::Checkpoints => CHECKPOINTS,
        Table::Keyspaces => KEYSPACES,
        Table::Used => USED,
    };
    let mut writes = Vec::new();
    let mut bytes = 0;
    // The next key after one is that with a zero byte behind it; before the first there is none.
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
