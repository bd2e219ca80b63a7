//! Who asked: from the xid on the wire to whoever sent the message.

use std::collections::VecDeque;
use std::time::Instant;

/// What is remembered of one channel at most: 384 KiB. Beyond it the oldest are forgotten, and an error that answers one of
/// them is only logged.
const BOUND: usize = 16_384;
/// What is not answered after so many seconds never is.
const AGE: u32 = 60;

/// Who sent a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// An app instance, whose message had this xid.
    Session { session: u64, token: u32 },
    /// The channel itself: its handshake and its probes.
    Channel,
    /// The reconciler of table 0 and the exits.
    Pipeline,
    /// morphd, through a question with this ticket.
    Ticket(u64),
}

/// Whether an answer is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expects {
    /// An error at most.
    Nothing,
    /// A reply, or an error.
    Reply,
}

/// A message that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) asker: Asker,
    pub(crate) expects: Expects,
    /// In seconds since the first message: a switch under load has a whole queue of these, and an `Instant` takes four times
    /// the space.
    at: u32,
}

/// The messages sent on one channel, by xid; xids count up by one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Xids {
    /// The xid of the first entry.
    first: u32,
    entries: VecDeque<Option<Asked>>,
    /// When the first message was sent.
    since: Option<Instant>,
}

impl Xids {
    /// The xid for a message.
    pub(crate) fn next(&mut self, asker: Asker, expects: Expects, now: Instant) -> u32 {
        let since = *self.since.get_or_insert(now);
        let at = now.saturating_duration_since(since).as_secs();
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        self.trim(at);
        let xid = self.first.wrapping_add(self.entries.len() as u32);
        self.entries.push_back(Some(Asked { asker, expects, at }));
        xid
    }

    /// Who sent the message with this xid.
    pub(crate) fn get(&self, xid: u32) -> Option<Asked> {
        *self.entries.get(xid.wrapping_sub(self.first) as usize)?
    }

    /// Its last answer has come.
    pub(crate) fn done(&mut self, xid: u32) {
        if let Some(entry) = self.entries.get_mut(xid.wrapping_sub(self.first) as usize) {
            *entry = None;
        }
    }

    /// A barrier with this xid was answered: what expects no reply and came before it has caused no error.
    pub(crate) fn barrier(&mut self, xid: u32) {
        let until = xid.wrapping_sub(self.first) as usize;
        if until >= self.entries.len() {
            return;
        }
        for entry in self.entries.range_mut(..until) {
            if entry.is_some_and(|asked| asked.expects == Expects::Nothing) {
                *entry = None;
            }
        }
        self.done(xid);
    }

    fn trim(&mut self, now: u32) {
        while let Some(front) = self.entries.front() {
            let old = front.is_none_or(|asked| now.saturating_sub(asked.at) > AGE);
            if !old && self.entries.len() < BOUND {
                break;
            }
            self.entries.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn of(token: u32) -> Asker {
        Asker::Session { session: 1, token }
    }

    fn asker(xids: &Xids, xid: u32) -> Option<Asker> {
        xids.get(xid).map(|asked| asked.asker)
    }

    #[test]
    fn an_xid_leads_back_to_its_asker_until_it_is_done() {
        let now = Instant::now();
        let mut xids = Xids::default();
        let (a, b) = (
            xids.next(of(7), Expects::Reply, now),
            xids.next(of(8), Expects::Reply, now),
        );
        assert_eq!(
            (asker(&xids, a), asker(&xids, b)),
            (Some(of(7)), Some(of(8)))
        );
        xids.done(a);
        assert_eq!((asker(&xids, a), asker(&xids, b)), (None, Some(of(8))));
        assert_eq!(asker(&xids, b.wrapping_add(1)), None);
        assert_eq!(asker(&xids, a.wrapping_sub(1)), None);
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
        assert_eq!(asker(&xids, command), None);
        assert_eq!(asker(&xids, request), Some(of(2)));
        assert_eq!(asker(&xids, barrier), None);
        assert_eq!(asker(&xids, later), Some(of(4)));
    }

    #[test]
    fn a_full_one_takes_no_more_memory_than_is_said() {
        let mut xids = Xids::default();
        let now = Instant::now();
        for second in 0..3 * BOUND as u64 {
            xids.next(of(0), Expects::Nothing, now + Duration::from_millis(second));
        }
        let bytes = xids.entries.capacity() * size_of::<Option<Asked>>();
        assert!(bytes <= 384 << 10, "{bytes}");
    }

    #[test]
    fn it_is_bounded_by_number_and_age_and_survives_the_wrap() {
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
        assert_eq!(
            (asker(&xids, first), asker(&xids, second)),
            (None, Some(of(1)))
        );
        let late = xids.next(of(9), Expects::Reply, now + Duration::from_secs(121));
        assert_eq!(xids.entries.len(), 1);
        assert_eq!(asker(&xids, late), Some(of(9)));
    }
}
