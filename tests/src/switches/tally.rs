//! Numbered packets of one port of one switch: when each was sent, and how often and how soon it was answered.

use std::time::{Duration, Instant};

/// Local Experimental Ethertype 1: the ledger app knows it.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
/// Where the number is: after destination, source and type.
const NUMBER: std::ops::Range<usize> = 14..22;
/// The shortest Ethernet frame, without its checksum.
const FRAME: usize = 60;
/// A switch whose connection takes no more for so long forgets what it could not send.
const BEHIND: Duration = Duration::from_millis(250);
/// A window that stays full for so long is opened by one.
const GIVEN_UP: Duration = Duration::from_millis(500);
/// So many leave at once at most.
const BURST: u64 = 128;

/// Counts of one port of one switch. Numbers begin with 1.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// By number, from 1: when it was sent, and what came of it.
    packets: Vec<Packet>,
    answered: u64,
    /// Answers that came again.
    doubled: u64,
    /// Answers with a number below an earlier one's, or with one that was never sent.
    strays: u64,
    disordered: u64,
    newest: u64,
    pace: Option<Pace>,
}

#[derive(Clone, Copy, Debug)]
struct Packet {
    sent: Instant,
    /// In microseconds; `u32::MAX`: not yet.
    answered_us: u32,
}

/// How a host sends.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// So many packets a second, whatever comes back.
    Open(u32),
    /// So many a second, and no more while so many are unanswered: a slow machine makes it slower, and no backlog grows.
    Window(u32, u64),
    /// Not at all.
    Silent,
}

#[derive(Clone, Copy, Debug)]
struct Pace {
    every: Duration,
    next: Instant,
    window: u64,
}

impl Tally {
    pub(super) fn pace(&mut self, load: Load, now: Instant) {
        let (per_second, window) = match load {
            Load::Open(per_second) => (per_second, u64::MAX),
            Load::Window(per_second, window) => (per_second, window),
            Load::Silent => (0, 0),
        };
        let every = Duration::from_secs(1).checked_div(per_second);
        self.pace = every.map(|every| Pace {
            every,
            next: now,
            window,
        });
    }

    /// How many packets are due; they are counted from here on as sent soon.
    pub(super) fn due(&mut self, now: Instant) -> u64 {
        let last = self.packets.last().map(|packet| packet.sent);
        let out = self.sent() - self.newest;
        let Some(pace) = &mut self.pace else {
            return 0;
        };
        if now.saturating_duration_since(pace.next) > BEHIND {
            pace.next = now;
        }
        let mut room = pace.window.saturating_sub(out).min(BURST);
        // Those that are out may never be answered, where an instance died: another one is tried.
        if last.is_none_or(|last| now.saturating_duration_since(last) > GIVEN_UP) {
            room = room.max(1);
        }
        let mut due = 0;
        while pace.next <= now && due < room {
            pace.next += pace.every;
            due += 1;
        }
        due
    }

    /// The next packet, which is sent now.
    pub(super) fn packet(&mut self, now: Instant) -> [u8; FRAME] {
        self.packets.push(Packet {
            sent: now,
            answered_us: u32::MAX,
        });
        let mut frame = [0; FRAME];
        frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        frame[12..14].copy_from_slice(&ETHERTYPE);
        frame[NUMBER].copy_from_slice(&self.sent().to_be_bytes());
        frame
    }

    /// A packet came back; others than numbered ones do not count.
    pub(super) fn answer(&mut self, frame: &[u8], now: Instant) {
        let Some(number) = number(frame) else {
            return;
        };
        let at = usize::try_from(number).ok().and_then(|n| n.checked_sub(1));
        let Some(packet) = at.and_then(|at| self.packets.get_mut(at)) else {
            self.strays += 1;
            return;
        };
        if packet.answered_us != u32::MAX {
            self.doubled += 1;
            return;
        }
        let took = now.saturating_duration_since(packet.sent).as_micros();
        packet.answered_us = u32::try_from(took)
            .unwrap_or(u32::MAX - 1)
            .min(u32::MAX - 1);
        self.answered += 1;
        self.disordered += u64::from(number < self.newest);
        self.newest = self.newest.max(number);
    }

    /// When one of those sent after this was answered first.
    pub(super) fn first_answer(&self, after: Instant) -> Option<Instant> {
        let new = self.packets.iter().rev();
        let new = new.take_while(|packet| packet.sent > after);
        new.filter(|packet| packet.answered_us != u32::MAX)
            .map(|packet| packet.sent + Duration::from_micros(packet.answered_us.into()))
            .min()
    }

    /// How many were sent; also the last one's number.
    pub fn sent(&self) -> u64 {
        self.packets.len() as u64
    }

    /// How many were answered.
    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// Those that were not.
    pub fn unanswered(&self) -> Vec<u64> {
        let numbered = (1..).zip(&self.packets);
        let not = numbered.filter(|(_, packet)| packet.answered_us == u32::MAX);
        not.map(|(number, _)| number).collect()
    }

    /// Answers that were none of the first: the same again, and of numbers never sent.
    pub fn too_many(&self) -> u64 {
        self.doubled + self.strays
    }

    /// Answers that came after that of a later packet.
    pub fn disordered(&self) -> u64 {
        self.disordered
    }

    /// The highest number that was answered.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// The answering times, in microseconds, of what was sent between two moments and is answered.
    pub(super) fn latencies(&self, from: Instant, to: Instant, into: &mut Vec<u32>) {
        let first = self.packets.partition_point(|packet| packet.sent < from);
        let sent = self.packets[first..]
            .iter()
            .take_while(|packet| packet.sent < to);
        into.extend(
            sent.map(|packet| packet.answered_us)
                .filter(|us| *us != u32::MAX),
        );
    }
}

/// The number that a frame bears.
fn number(frame: &[u8]) -> Option<u64> {
    let bytes = frame.get(NUMBER)?.try_into().ok()?;
    (frame.get(12..14)? == ETHERTYPE).then(|| u64::from_be_bytes(bytes))
}

/// Of some times, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Percentiles {
    /// How many there were.
    pub count: usize,
    /// Half are below.
    pub p50: u32,
    /// 99 of 100 are below.
    pub p99: u32,
    /// The longest.
    pub max: u32,
}

impl Percentiles {
    /// Of these times.
    pub fn of(mut times: Vec<u32>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1) - 1;
            times.get(rank).copied().unwrap_or(0)
        };
        Self {
            count: times.len(),
            p50: at(50),
            p99: at(99),
            max: at(100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_lost_doubled_or_late_is_counted_as_such() {
        let mut tally = Tally::default();
        let now = Instant::now();
        let frames: Vec<_> = (0..4).map(|_| tally.packet(now)).collect();
        for at in [0, 2, 1, 1] {
            tally.answer(&frames[at], now);
        }
        let mut never = frames[0];
        never[NUMBER].copy_from_slice(&9_u64.to_be_bytes());
        tally.answer(&never, now);
        assert_eq!((tally.sent(), tally.answered()), (4, 3));
        assert_eq!((tally.disordered(), tally.too_many()), (1, 2));
        assert_eq!(tally.unanswered(), [4]);
    }

    #[test]
    fn an_answer_to_what_was_sent_before_is_not_the_first_after() {
        let start = Instant::now();
        let mut tally = Tally::default();
        let at = |ms| start + Duration::from_millis(ms);
        let old = tally.packet(start);
        let new = tally.packet(at(10));
        tally.answer(&old, at(20));
        assert_eq!(tally.first_answer(at(5)), None);
        tally.answer(&new, at(30));
        assert_eq!(tally.first_answer(at(5)), Some(at(30)));
    }

    #[test]
    fn a_pace_is_kept_and_what_a_full_connection_prevented_is_forgotten() {
        let mut tally = Tally::default();
        let start = Instant::now();
        tally.pace(Load::Open(1000), start);
        let due: u64 = (0..100)
            .map(|n| tally.due(start + Duration::from_millis(n)))
            .sum();
        assert_eq!(due, 100);
        assert_eq!(tally.due(start + Duration::from_secs(9)), 1);
    }

    #[test]
    fn a_full_window_stops_a_host_but_not_for_ever() {
        let mut tally = Tally::default();
        let start = Instant::now();
        tally.pace(Load::Window(1000, 2), start);
        let later = start + Duration::from_millis(100);
        assert_eq!(tally.due(later), 2);
        let frames = [tally.packet(later), tally.packet(later)];
        assert_eq!(tally.due(later), 0);
        tally.answer(&frames[0], later);
        assert_eq!(tally.due(later), 1);
        let _ = tally.packet(later);
        assert_eq!(tally.due(later + GIVEN_UP), 0);
        assert_eq!(tally.due(later + 2 * GIVEN_UP), 1);
    }

    #[test]
    fn percentiles_are_of_ranks() {
        let of = Percentiles::of((1..=200).rev().collect());
        assert_eq!((of.p50, of.p99, of.max), (100, 198, 200));
        assert_eq!(Percentiles::of(Vec::new()).max, 0);
    }
}
