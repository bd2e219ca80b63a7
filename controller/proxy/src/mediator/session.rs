//! State of one session in the mediator.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use morph_api::session::{Hello, ToApp, TurnEnd, to_app};
use morph_api::{Records, put_control, put_message};
use morph_openflow::frame;

use crate::channel::Channel;

/// Target size of a blob of records in bytes.
const BLOB: usize = 128 << 10;
/// Bytes that may wait for an instance. Events wait for answers, so these are replies.
const QUEUE: usize = 16 << 20;
/// Time that the queue may stay full.
const FULL: Duration = Duration::from_secs(5);
/// Limit in bytes of a turn's commands: some 100 000 flow-mods.
pub(super) const TURN: usize = 16 << 20;

#[derive(Debug, Clone, Default)]
pub(super) struct Session {
    /// Hello of the instance; `None` until it arrives.
    pub(super) hello: Option<Hello>,
    /// Id of the app, once attached.
    pub(super) app: Option<u8>,
    /// Blobs not yet processed. The driver's credits bound their number.
    pub(super) inbox: VecDeque<Records>,
    /// Commands of the turn that is being received.
    pub(super) commands: Vec<(u32, Bytes)>,
    pub(super) command_bytes: usize,
    /// Turn that waits for other apps of its group, with its commands.
    pub(super) gated_turn: Option<(TurnEnd, Vec<(u32, Bytes)>)>,
    /// Set between `ReadBegin` and `ReadEnd`.
    pub(super) reading: bool,
    /// Full channels that the records wait for.
    pub(super) blocked_by: Vec<u32>,
    /// Channels that the instance knows.
    pub(super) known_channels: BTreeMap<u32, ChannelSnapshot>,
    out: VecDeque<BytesMut>,
    unwritten: usize,
    full_since: Option<Instant>,
}

/// State of a channel as the instance knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChannelSnapshot {
    pub(super) dpid: u64,
    /// Count of port changes when the instance was informed.
    pub(super) port_changes: u64,
}

impl ChannelSnapshot {
    pub(super) fn of(channel: &Channel) -> Self {
        ChannelSnapshot {
            dpid: channel.dpid(),
            port_changes: channel.port_changes(),
        }
    }
}

impl Session {
    /// Names the instance in log lines.
    pub(super) fn name(&self) -> String {
        match &self.hello {
            Some(hello) => format!("{} {} ({})", hello.app, hello.release, hello.instance),
            None => "an instance before its hello".to_owned(),
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

    /// Queues a message after its control record; `xid` replaces the one in the message.
    pub(super) fn put_message(&mut self, channel: u32, message: &[u8], xid: Option<u32>) {
        // A message shares a blob with its control record.
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

    /// Takes all blobs to send now.
    pub(super) fn take_out(&mut self, now: Instant) -> impl Iterator<Item = Bytes> + use<> {
        self.unwritten += self.out.iter().map(BytesMut::len).sum::<usize>();
        self.watch_queue(now);
        std::mem::take(&mut self.out)
            .into_iter()
            .map(BytesMut::freeze)
    }

    /// Notes that bytes have left the queue.
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

    /// Returns whether the instance does not keep up; replies are not kept for it then.
    pub(super) fn is_full(&self) -> bool {
        self.unwritten > QUEUE
    }

    /// Returns the time at which a session with a full queue is closed.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.full_since.map(|since| since + FULL)
    }

    /// Takes the commands of the unfinished turn.
    pub(super) fn clear_turn(&mut self) -> Vec<(u32, Bytes)> {
        self.command_bytes = 0;
        std::mem::take(&mut self.commands)
    }
}
