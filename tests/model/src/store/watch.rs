//! Watches of the store, as instances begin them.

use morph_api::store::ended::Why;
use morph_api::store::watch_request::Which;
use morph_api::store::{Changes, Ended, Rows, Synced, WatchReply, WatchRequest, watch_reply};

use super::{Change, CommitOutcome, Row, RowKey, RowValue, Store};

/// A watch of an instance.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    pub(crate) generation: u64,
    app: String,
    pub(crate) keyspace: u32,
    /// Told up to here.
    pub(crate) told: u64,
    durable: u64,
    /// The revision of its last transaction that was not on disk when it was answered.
    seen: u64,
}

impl Watch {
    /// Whether it knows of a revision that it does not know to be on disk.
    fn awaits_disk(&self) -> bool {
        self.durable < self.told.max(self.seen)
    }

    /// An answer of the store that came beside the watch.
    pub(crate) fn answered(&mut self, outcome: &CommitOutcome) {
        if let CommitOutcome::Committed(committed) = outcome
            && committed.durable < committed.revision
        {
            self.seen = self.seen.max(committed.revision);
        }
    }
}

impl Store {
    /// Begins a watch of one's own keyspace: what it says first, and itself.
    pub(crate) fn watch(
        &self,
        generation: u64,
        request: &WatchRequest,
    ) -> (Vec<WatchReply>, Option<Watch>) {
        let app = &request.app;
        let Some(Which::Keyspace(id)) = request.which else {
            return (vec![ended(Why::KeyspaceGone)], None);
        };
        let Some(keyspace) = self.state.keyspaces.get(&(app.clone(), id)) else {
            return (vec![ended(Why::KeyspaceGone)], None);
        };
        let goes_on = request.from_revision != 0;
        if goes_on && request.incarnation != self.incarnation {
            return (vec![ended(Why::Compacted)], None);
        }
        let told = match goes_on {
            true => request.from_revision,
            false => self.state.revision,
        };
        let synced = watch_reply::Reply::Synced(Synced {
            revision: told,
            incarnation: self.incarnation,
            keyspace: Some(keyspace.clone()),
            resumed: goes_on,
        });
        let mut replies = vec![wrap(synced)];
        if !goes_on {
            let of = |(at, _): &(&RowKey, &Row)| at.app == *app && at.keyspace == id;
            let rows = self.rows.iter().filter(of);
            let rows = rows.map(|(at, row)| RowValue {
                table: at.table.clone(),
                key: at.key.clone(),
                value: Some(row.value.clone()),
                revision: row.revision,
            });
            let rows = Rows {
                rows: rows.collect(),
            };
            replies.insert(0, wrap(watch_reply::Reply::Snapshot(rows)));
        }
        let (app, keyspace) = (app.clone(), id);
        let durable = self.durable();
        let watch = Watch {
            generation,
            app,
            keyspace,
            told,
            durable,
            seen: 0,
        };
        (replies, Some(watch))
    }

    /// Something of this watch's keyspace was not told.
    pub(crate) fn has_news(&self, watch: &Watch, late: bool) -> bool {
        if !self.has_keyspace(&watch.app, watch.keyspace) {
            return true;
        }
        if !late {
            return watch.durable < self.durable() && watch.awaits_disk();
        }
        let is_new = |(at, change): &(RowKey, Change)| {
            at.app == watch.app && at.keyspace == watch.keyspace && change.revision > watch.told
        };
        self.past.iter().any(is_new) || watch.durable < self.durable() && watch.awaits_disk()
    }

    /// All that a watch was not told.
    pub(crate) fn tell(&self, watch: &mut Watch) -> WatchReply {
        if !self.has_keyspace(&watch.app, watch.keyspace) {
            return ended(Why::KeyspaceGone);
        }
        let is_new = |(at, change): &&(RowKey, Change)| {
            at.app == watch.app && at.keyspace == watch.keyspace && change.revision > watch.told
        };
        let new = self.past.iter().filter(is_new);
        let changes = Changes {
            revision: self.state.revision,
            changes: new.map(|(_, change)| change.clone()).collect(),
            durable: self.durable(),
        };
        watch.told = self.state.revision;
        watch.durable = self.durable();
        wrap(watch_reply::Reply::Changes(changes))
    }

    /// Whether there is something that no watch needs any longer.
    pub(crate) fn may_forget(&self, told: u64) -> bool {
        self.past.iter().any(|(_, change)| change.revision <= told)
    }

    /// All watches were told up to here.
    pub(crate) fn forget(&mut self, told: u64) {
        self.past.retain(|(_, change)| change.revision > told);
    }
}

fn ended(why: Why) -> WatchReply {
    let mut ended = Ended::default();
    ended.set_why(why);
    wrap(watch_reply::Reply::Ended(ended))
}

fn wrap(reply: watch_reply::Reply) -> WatchReply {
    WatchReply { reply: Some(reply) }
}
