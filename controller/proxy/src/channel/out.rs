//! What goes out on a channel, and who is told when it does not.

use morph_openflow::v10::convert::Inexpressible;
use morph_openflow::v13::ErrorMsg;

use super::*;

/// `OFPET_BAD_REQUEST`, `OFPBRC_BAD_LEN`.
const UNREADABLE: (u16, u16) = (1, 6);
/// How much of a message an error repeats.
const REPEATED: usize = 64;

/// A message that the channel's version has no words for.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    pub(crate) why: Inexpressible,
    /// The error, as if the switch had answered so.
    pub(crate) error: Bytes,
}

impl Refused {
    fn new(xid: u32, why: Inexpressible, message: &[u8]) -> Self {
        let error = Message::Error(ErrorMsg {
            kind: why.kind,
            code: why.code,
            data: Bytes::copy_from_slice(&message[..message.len().min(REPEATED)]),
        });
        let error = error.encode(xid);
        Refused { why, error }
    }
}

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
        self.put(xid, message);
        xid
    }

    /// Queues a message in the channel's version; one that it has no words for is refused.
    fn put(&mut self, xid: u32, message: &Message) {
        let Some(edge) = &mut self.edge else {
            message.encode_into(xid, &mut self.out);
            self.messages_out += 1;
            return;
        };
        match edge.send(xid, message, &mut self.out) {
            Ok(()) => self.messages_out += 1,
            Err(why) => {
                let refused = Refused::new(xid, why, &message.encode(xid));
                self.refused.push(refused);
            }
        }
    }

    /// What was refused here since the last call.
    pub(crate) fn take_refused(&mut self) -> Vec<Refused> {
        std::mem::take(&mut self.refused)
    }

    /// Queues a message of an app, under an xid of our own.
    pub(crate) fn forward(&mut self, message: &[u8], asker: Asker, expects: Expects, now: Instant) {
        let xid = self.xids.next(asker, expects, now);
        if self.edge.is_some() {
            match v13::decode(&Bytes::copy_from_slice(message)) {
                Ok((_, message)) => self.put(xid, &message),
                Err(error) => {
                    let why = Inexpressible::new(UNREADABLE, error);
                    self.refused.push(Refused::new(xid, why, message));
                }
            }
            return;
        }
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
