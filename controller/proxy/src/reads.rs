//! Requests for the rules of one switch, which apps and the proxy make: one at a time goes out.
//!
//! A switch may take seconds to list its rules, and a simple one does nothing else meanwhile. The next request goes out when
//! the last part of the answer, or an error, has come. A switch that is silent for too long gets the next request all the same,
//! and has twice the time from then on.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::channel::Requester;

/// First time limit of an answer, and of each further part of it. Doubled with each answer that is missing.
const ANSWER: Duration = Duration::from_secs(10);
/// Longest such limit.
const LONGEST: Duration = Duration::from_secs(60);
/// Number of missing answers after which the limit is the longest.
const MISSING: u32 = 3;

/// Request that waits to be sent.
#[derive(Debug, Clone)]
pub(crate) struct WaitingRead {
    pub(crate) requester: Requester,
    pub(crate) message: Bytes,
}

/// Request that was sent.
#[derive(Debug, Clone, Copy)]
struct ActiveRead {
    xid: u32,
    until: Instant,
}

/// Queue of one switch. It is bounded: each session has one request in it, and so has each table read by the proxy.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReadQueue {
    active: Option<ActiveRead>,
    waiting: VecDeque<WaitingRead>,
    /// Answers that were missing, counted up to [`MISSING`].
    missing: u32,
}

impl ReadQueue {
    /// Queues a request. One of the same session that waits is replaced: only the newest answer counts.
    pub(crate) fn push(&mut self, read: WaitingRead) {
        let session = session_of(&read.requester);
        let same = |waiting: &&mut WaitingRead| {
            session.is_some() && session_of(&waiting.requester) == session
        };
        match self.waiting.iter_mut().find(same) {
            Some(waiting) => *waiting = read,
            None => self.waiting.push_back(read),
        }
    }

    /// Drops waiting requests of the proxy itself, which begins anew.
    pub(crate) fn drop_own(&mut self) {
        self.waiting
            .retain(|read| read.requester != Requester::Pipeline);
    }

    /// Takes the request to be sent now.
    pub(crate) fn next(&mut self) -> Option<WaitingRead> {
        match self.active {
            Some(_) => None,
            None => self.waiting.pop_front(),
        }
    }

    /// Notes that a request was sent under this xid.
    pub(crate) fn sent(&mut self, xid: u32, now: Instant) {
        let until = now + self.limit();
        self.active = Some(ActiveRead { xid, until });
    }

    fn limit(&self) -> Duration {
        ANSWER.saturating_mul(1 << self.missing).min(LONGEST)
    }

    /// Notes a part of an answer, after which `more` follow.
    pub(crate) fn answered(&mut self, xid: u32, more: bool, now: Instant) {
        let limit = self.limit();
        let Some(active) = self.active.as_mut().filter(|active| active.xid == xid) else {
            return;
        };
        active.until = now + limit;
        if !more {
            self.active = None;
        }
    }

    /// Gives up the request that was sent, if its answer is missing. Returns its xid.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<u32> {
        let active = self.active.take_if(|active| active.until <= now)?;
        self.missing = (self.missing + 1).min(MISSING);
        Some(active.xid)
    }

    /// Returns the time at which the answer to the request that was sent is missing.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.active.map(|active| active.until)
    }
}

fn session_of(requester: &Requester) -> Option<u64> {
    match requester {
        Requester::Session { session, .. } => Some(*session),
        Requester::Channel | Requester::Pipeline | Requester::Morphd(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn read(session: u64, token: u32) -> WaitingRead {
        WaitingRead {
            requester: Requester::Session { session, token },
            message: Bytes::new(),
        }
    }

    fn own() -> WaitingRead {
        WaitingRead {
            requester: Requester::Pipeline,
            message: Bytes::new(),
        }
    }

    /// Sends the next request under this xid.
    fn send(queue: &mut ReadQueue, xid: u32, now: Instant) -> Option<Requester> {
        let read = queue.next()?;
        queue.sent(xid, now);
        Some(read.requester)
    }

    #[test]
    fn the_next_request_goes_out_after_the_last_part_of_the_answer() {
        let now = Instant::now();
        let mut queue = ReadQueue::default();
        for waiting in [own(), own(), read(1, 5), read(2, 6), read(1, 7)] {
            queue.push(waiting);
        }
        assert_eq!(send(&mut queue, 1, now), Some(Requester::Pipeline));
        assert_eq!(send(&mut queue, 2, now), None);
        queue.answered(1, true, now);
        queue.answered(9, false, now);
        assert_eq!(send(&mut queue, 2, now), None);
        queue.answered(1, false, now);
        queue.drop_own();
        // The newer request of session 1 has the place of the older one.
        assert_eq!(send(&mut queue, 2, now), Some(read(1, 7).requester));
        queue.answered(2, false, now);
        assert_eq!(send(&mut queue, 3, now), Some(read(2, 6).requester));
        queue.answered(3, false, now);
        assert!(queue.next().is_none() && queue.next_deadline().is_none());
    }

    #[test]
    fn parts_extend_the_time_and_missing_answers_double_it() {
        let mut now = Instant::now();
        let mut queue = ReadQueue::default();
        queue.push(read(1, 1));
        queue.push(read(2, 2));
        send(&mut queue, 1, now);
        for _ in 0..4 {
            now += 9 * SECOND;
            assert_eq!(queue.expire(now), None);
            queue.answered(1, true, now);
        }
        now += 10 * SECOND;
        assert_eq!(queue.expire(now), Some(1));
        assert_eq!(send(&mut queue, 2, now), Some(read(2, 2).requester));
        assert_eq!(queue.next_deadline(), Some(now + 20 * SECOND));
        // The answer that was given up changes nothing.
        queue.answered(1, false, now);
        assert_eq!(queue.next_deadline(), Some(now + 20 * SECOND));
        for _ in 0..9 {
            queue.expire(queue.next_deadline().unwrap());
            queue.sent(3, now);
        }
        assert_eq!(queue.next_deadline(), Some(now + LONGEST));
    }
}
