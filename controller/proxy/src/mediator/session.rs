//! What the mediator knows of one session.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use morph_api::session::{Hello, ToApp, TurnEnd, to_app};
use morph_api::store::Seq;
use morph_api::{Records, put_control, put_message};
use morph_openflow::frame;

use crate::channel::Channel;

/// Records are sent in blobs of about this size.
const BLOB: usize = 128 << 10;
/// Bytes that may wait for an instance. An event is delivered when the former is answered, so these are replies.
const QUEUE: usize = 16 << 20;
/// How long the queue may stay full.
const FULL: Duration = Duration::from_secs(5);
/// A turn's commands in bytes: some 100 000 flow-mods.
pub(super) const TURN: usize = 16 << 20;

/// A session from its first record on.
#[derive(Debug, Clone, Default)]
pub(super) struct Session {
    /// Who is at the other end; none before its hello.
    pub(super) hello: Option<Hello>,
    /// The app's id, once it is attached.
    pub(super) app: Option<u8>,
    /// Blobs that are not worked off; the driver sends no more than it has credits.
    pub(super) inbox: VecDeque<Records>,
    /// The turn that is being made.
    pub(super) commands: Vec<(u32, Bytes)>,
    pub(super) command_bytes: usize,
    /// A turn that waits for other apps, with its commands.
    pub(super) parked: Option<(TurnEnd, Vec<(u32, Bytes)>)>,
    /// Between `ReadBegin` and `ReadEnd`.
    pub(super) reading: bool,
    /// Its records wait until these channels have room.
    pub(super) blocked: Option<Blocked>,
    /// The channels that it knows.
    pub(super) known: BTreeMap<u32, Known>,
    out: VecDeque<BytesMut>,
    unwritten: usize,
    full_since: Option<Instant>,
}

/// What an instance knows of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) dpid: u64,
    /// The count of its ports' changes when it was told of them.
    pub(super) changes: u64,
}

impl Known {
    pub(super) fn of(channel: &Channel) -> Self {
        Known {
            dpid: channel.dpid(),
            changes: channel.changes(),
        }
    }
}

/// Why a session is not read.
#[derive(Debug, Clone)]
pub(super) struct Blocked {
    /// Those that were full.
    pub(super) channels: Vec<u32>,
    /// The turn that is accepted once they have room; none: questions.
    pub(super) turn: Option<(u64, Option<Seq>)>,
}

impl Session {
    /// For the log.
    pub(super) fn name(&self) -> String {
        match &self.hello {
            Some(hello) => format!("{} {} ({})", hello.app, hello.release, hello.instance),
            None => "an instance without a hello".to_owned(),
        }
    }

    pub(super) fn is(&self, app: &str, instance: &str) -> bool {
        self.hello
            .as_ref()
            .is_some_and(|hello| hello.app == app && hello.instance == instance)
    }

    fn blob(&mut self) -> &mut BytesMut {
        if self.out.back().is_none_or(|blob| blob.len() >= BLOB) {
            self.out.push_back(BytesMut::new());
        }
        let last = self.out.len() - 1;
        &mut self.out[last]
    }

    /// Queues a control record.
    pub(super) fn put(&mut self, record: to_app::Record) {
        let record = ToApp {
            record: Some(record),
        };
        put_control(self.blob(), &record);
    }

    /// Queues a message for the control record before it; `xid`: instead of its own.
    pub(super) fn put_message(&mut self, channel: u32, message: &[u8], xid: Option<u32>) {
        // Together with its control record, in one blob.
        let last = self.out.len().saturating_sub(1);
        let Some(blob) = self.out.get_mut(last) else {
            return;
        };
        put_message(blob, channel, message);
        if let Some(xid) = xid {
            let start = blob.len() - message.len();
            frame::set_xid(&mut blob[start..], xid);
        }
    }

    /// All blobs that are to be sent now.
    pub(super) fn take_out(&mut self, now: Instant) -> impl Iterator<Item = Bytes> + use<> {
        self.unwritten += self.out.iter().map(BytesMut::len).sum::<usize>();
        self.watch_queue(now);
        std::mem::take(&mut self.out)
            .into_iter()
            .map(BytesMut::freeze)
    }

    /// So many bytes have left the queue.
    pub(super) fn written(&mut self, bytes: usize, now: Instant) {
        self.unwritten = self.unwritten.saturating_sub(bytes);
        self.watch_queue(now);
    }

    fn watch_queue(&mut self, now: Instant) {
        if self.is_full() {
            self.full_since.get_or_insert(now);
        } else {
            self.full_since = None;
        }
    }

    /// Its instance does not read: replies are not kept for it.
    pub(super) fn is_full(&self) -> bool {
        self.unwritten > QUEUE
    }

    /// When it is given up.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.full_since.map(|since| since + FULL)
    }

    /// Forgets the turn that is being made.
    pub(super) fn clear_turn(&mut self) -> Vec<(u32, Bytes)> {
        self.command_bytes = 0;
        std::mem::take(&mut self.commands)
    }
}
