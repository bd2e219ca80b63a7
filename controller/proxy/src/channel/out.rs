//! What goes out on a channel, and who is told when it does not.

use super::*;

/// What goes out.
impl Channel {
    /// Queues a message of our own; its xid.
    pub(crate) fn say(
        &mut self,
        message: &Message,
        asker: Asker,
        expects: Expects,
        now: Instant,
    ) -> u32 {
        let xid = self.xids.next(asker, expects, now);
        message.encode_into(xid, &mut self.out);
        self.messages_out += 1;
        xid
    }

    /// Queues a message of an app, under an xid of our own.
    pub(crate) fn forward(&mut self, message: &[u8], asker: Asker, expects: Expects, now: Instant) {
        let xid = self.xids.next(asker, expects, now);
        let start = self.out.len();
        self.out.extend_from_slice(message);
        frame::set_xid(&mut self.out[start..], xid);
        self.messages_out += 1;
    }

    /// All that is to be written now.
    pub(crate) fn take_out(&mut self, now: Instant) -> Option<BytesMut> {
        if self.out.is_empty() {
            return None;
        }
        self.unwritten += self.out.len();
        self.watch_queue(now);
        Some(self.out.split())
    }

    pub(super) fn queued(&self) -> usize {
        self.unwritten + self.out.len()
    }

    /// Whether turns for this channel have to wait.
    pub(crate) fn is_full(&self) -> bool {
        self.queued() > QUEUE
    }

    pub(super) fn watch_queue(&mut self, now: Instant) {
        if self.is_full() {
            self.full_since.get_or_insert(now);
        } else {
            self.full_since = None;
        }
    }

    /// Who sent the message with this xid.
    pub(crate) fn asked(&self, xid: u32) -> Option<Asked> {
        self.xids.get(xid)
    }

    /// Its last answer has come.
    pub(crate) fn answered(&mut self, xid: u32) {
        self.xids.done(xid);
    }

    /// A barrier was answered.
    pub(crate) fn barrier(&mut self, xid: u32) {
        self.xids.barrier(xid);
    }
}
