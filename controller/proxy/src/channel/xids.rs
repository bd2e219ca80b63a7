//! Map from the xid on the wire to the sender of a message.

use std::collections::VecDeque;
use std::time::Instant;

use morph_openflow::Header;

/// Limit of remembered messages of one channel (384 KiB). Beyond it the oldest are forgotten, and an error that
/// answers one of them is only logged.
const BOUND: usize = 16_384;
/// Limit of requests among the forgotten that are remembered as they still expect a reply: an app that waits for the answer to
/// a barrier gets it, whatever it sends meanwhile.
const REQUESTS: usize = 256;
/// Age in seconds after which no answer is expected.
const AGE: u32 = 60;

/// Origin of a message to a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requester {
    /// App instance, in whose message the xid was `token`.
    Session { session: u64, token: u32 },
    /// Handshake and liveness probes of the channel itself.
    Channel,
    /// Reconciliation of table 0 and the exit tables.
    Pipeline,
    /// Request of morphd, by its ticket.
    Morphd(u64),
}

impl Requester {
    /// Returns the instance of a session, as the sender of this message.
    pub(crate) fn of_session(session: u64, message: &[u8]) -> Self {
        let token = Header::read(message).map_or(0, |header| header.xid);
        Requester::Session { session, token }
    }
}

/// Kind of answer that a message causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expects {
    /// No answer but an error.
    Nothing,
    Reply,
}

/// Record of a message that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SentMessage {
    pub(crate) requester: Requester,
    pub(crate) expects: Expects,
    /// Seconds since the first message: a loaded switch has a whole queue of these records, and an `Instant` takes
    /// four times the space.
    at: u32,
}

/// Messages sent on one channel. Xids count up by one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Xids {
    /// Xid of the first entry.
    first: u32,
    entries: VecDeque<Option<SentMessage>>,
    /// Unanswered requests before the first entry, oldest first, with their xids.
    requests: VecDeque<(u32, SentMessage)>,
    /// Time of the first message.
    since: Option<Instant>,
}

impl Xids {
    /// Assigns an xid to a message.
    pub(crate) fn next(&mut self, requester: Requester, expects: Expects, now: Instant) -> u32 {
        let since = *self.since.get_or_insert(now);
        let at = now.saturating_duration_since(since).as_secs();
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        self.trim(at);
        let xid = self.first.wrapping_add(self.entries.len() as u32);
        self.entries.push_back(Some(SentMessage {
            requester,
            expects,
            at,
        }));
        xid
    }

    /// Looks up a message by its xid.
    pub(crate) fn get(&self, xid: u32) -> Option<SentMessage> {
        let entry = self.entries.get(xid.wrapping_sub(self.first) as usize);
        let mut requests = self.requests.iter();
        let request = || requests.find(|(of, _)| *of == xid).map(|(_, sent)| *sent);
        entry.copied().unwrap_or_else(request)
    }

    /// Forgets a message whose last answer has come.
    pub(crate) fn done(&mut self, xid: u32) {
        if let Some(entry) = self.entries.get_mut(xid.wrapping_sub(self.first) as usize) {
            *entry = None;
        } else {
            self.requests.retain(|(of, _)| *of != xid);
        }
    }

    /// Handles the reply to a barrier: earlier messages that expect no reply have caused no error.
    pub(crate) fn barrier(&mut self, xid: u32) {
        let until = xid.wrapping_sub(self.first) as usize;
        if until >= self.entries.len() {
            // A barrier of which only the reply is remembered: the messages before it are forgotten already.
            return self.done(xid);
        }
        for entry in self.entries.range_mut(..until) {
            if entry.is_some_and(|sent| sent.expects == Expects::Nothing) {
                *entry = None;
            }
        }
        self.done(xid);
    }

    fn trim(&mut self, now: u32) {
        let is_old = |sent: &SentMessage| now.saturating_sub(sent.at) > AGE;
        while let Some(front) = self.entries.front() {
            let over = front.as_ref().is_none_or(is_old);
            if !over && self.entries.len() < BOUND {
                break;
            }
            let request = front.filter(|sent| !over && sent.expects == Expects::Reply);
            self.requests
                .extend(request.map(|request| (self.first, request)));
            self.entries.pop_front();
            self.first = self.first.wrapping_add(1);
        }
        let front = |requests: &VecDeque<(u32, SentMessage)>| {
            let old = requests.front().is_some_and(|(_, sent)| is_old(sent));
            old || requests.len() > REQUESTS
        };
        while front(&self.requests) {
            self.requests.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn of(token: u32) -> Requester {
        Requester::Session { session: 1, token }
    }

    fn requester(xids: &Xids, xid: u32) -> Option<Requester> {
        xids.get(xid).map(|sent| sent.requester)
    }

    #[test]
    fn an_xid_leads_to_its_requester_until_it_is_answered() {
        let now = Instant::now();
        let mut xids = Xids::default();
        let (a, b) = (
            xids.next(of(7), Expects::Reply, now),
            xids.next(of(8), Expects::Reply, now),
        );
        assert_eq!(
            (requester(&xids, a), requester(&xids, b)),
            (Some(of(7)), Some(of(8)))
        );
        xids.done(a);
        assert_eq!(
            (requester(&xids, a), requester(&xids, b)),
            (None, Some(of(8)))
        );
        assert_eq!(requester(&xids, b.wrapping_add(1)), None);
        assert_eq!(requester(&xids, a.wrapping_sub(1)), None);
    }

    #[test]
    fn a_barrier_ends_commands_before_it_but_not_requests() {
        let now = Instant::now();
        let mut xids = Xids::default();
        let command = xids.next(of(1), Expects::Nothing, now);
        let request = xids.next(of(2), Expects::Reply, now);
        let barrier = xids.next(of(3), Expects::Reply, now);
        let later = xids.next(of(4), Expects::Nothing, now);
        xids.barrier(barrier);
        assert_eq!(requester(&xids, command), None);
        assert_eq!(requester(&xids, request), Some(of(2)));
        assert_eq!(requester(&xids, barrier), None);
        assert_eq!(requester(&xids, later), Some(of(4)));
    }

    #[test]
    fn a_request_is_remembered_for_its_reply_whatever_is_sent_after_it() {
        let now = Instant::now();
        let mut xids = Xids::default();
        let commands = |xids: &mut Xids| {
            for _ in 0..2 * BOUND {
                xids.next(of(0), Expects::Nothing, now);
            }
        };
        let (barrier, read) = (
            xids.next(of(7), Expects::Reply, now),
            xids.next(of(8), Expects::Reply, now),
        );
        commands(&mut xids);
        assert_eq!(requester(&xids, barrier), Some(of(7)));
        xids.barrier(barrier);
        assert_eq!(requester(&xids, barrier), None);
        assert_eq!(requester(&xids, read), Some(of(8)));
        xids.done(read);
        assert_eq!(requester(&xids, read), None);
        // Remembered requests are bounded by number and age as well.
        let first = xids.next(of(1), Expects::Reply, now);
        for _ in 0..REQUESTS {
            xids.next(of(2), Expects::Reply, now);
        }
        commands(&mut xids);
        assert_eq!((requester(&xids, first), xids.requests.len()), (None, 256));
        xids.next(of(0), Expects::Nothing, now + Duration::from_secs(121));
        assert_eq!(xids.requests.len(), 0);
    }

    #[test]
    fn the_memory_of_a_full_table_is_bounded() {
        let mut xids = Xids::default();
        let now = Instant::now();
        for second in 0..3 * BOUND as u64 {
            xids.next(of(0), Expects::Nothing, now + Duration::from_millis(second));
        }
        let bytes = xids.entries.capacity() * size_of::<Option<SentMessage>>();
        assert!(bytes <= 384 << 10, "{bytes}");
    }

    #[test]
    fn entries_are_bounded_by_number_and_age_and_xids_wrap_around() {
        let now = Instant::now();
        let mut xids = Xids {
            first: u32::MAX - 5,
            ..Xids::default()
        };
        let first = xids.next(of(0), Expects::Reply, now);
        let second = xids.next(of(1), Expects::Reply, now);
        for token in 2..BOUND as u32 + 1 {
            xids.next(of(token), Expects::Reply, now);
        }
        assert_eq!(xids.entries.len(), BOUND);
        assert_eq!(
            (requester(&xids, first), requester(&xids, second)),
            (Some(of(0)), Some(of(1)))
        );
        let late = xids.next(of(9), Expects::Reply, now + Duration::from_secs(121));
        assert_eq!((xids.entries.len(), xids.requests.len()), (1, 0));
        assert_eq!(requester(&xids, late), Some(of(9)));
    }
}
