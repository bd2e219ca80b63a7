//! Numbered packets of one port of one switch: when each was sent, how often it was answered, and how soon.

use std::time::{Duration, Instant};

/// Local Experimental Ethertype 1 of IEEE 802, which the ledger app recognizes.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
/// Place of the number: behind destination, source and type.
const NUMBER: std::ops::Range<usize> = 14..22;
/// Place of the mark of packets that are to kill the app.
const MARK: usize = 22;
/// Shortest Ethernet frame, without its checksum.
const FRAME: usize = 60;
/// Delay after which a switch whose connection is full drops what it could not send.
const STALE: Duration = Duration::from_millis(250);
/// Time after which a full window is opened by one packet.
const GIVEN_UP: Duration = Duration::from_millis(500);
/// Most packets that are sent in one step.
const BURST: u64 = 128;

/// Counters of one port of one switch. Packet numbers begin with 1.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Sent packets; the index is the number less one.
    packets: Vec<Packet>,
    answered: u64,
    /// Further answers to a packet that was answered.
    duplicates: u64,
    /// Answers with a number that was never sent.
    unknown: u64,
    out_of_order: u64,
    newest: u64,
    pace: Option<Pace>,
    /// Packets that are to be sent at once.
    burst: u64,
    /// Number of the packet that is marked.
    marked: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Packet {
    sent: Instant,
    /// Response time in microseconds; `u32::MAX` while there is no answer.
    answered_us: u32,
}

impl Packet {
    fn answered(&self) -> Option<Instant> {
        let took = Duration::from_micros(self.answered_us.into());
        (self.answered_us != u32::MAX).then(|| self.sent + took)
    }
}

/// Rate at which a host sends.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// Packets a second, whatever is answered.
    Open(u32),
    /// Packets a second, and the most that may be unanswered: a slow machine slows the host down, and no backlog
    /// grows.
    Window(u32, u64),
    Silent,
}

#[derive(Clone, Copy, Debug)]
struct Pace {
    interval: Duration,
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
        let interval = Duration::from_secs(1).checked_div(per_second);
        self.pace = interval.map(|interval| Pace {
            interval,
            next: now,
            window,
        });
    }

    /// Has packets sent at once, regardless of the pace. The one at this place, from 1, is marked.
    pub(super) fn burst(&mut self, count: u64, marked: Option<u64>) {
        self.burst = count;
        self.marked = marked.map(|place| self.sent() + place);
    }

    /// Number of packets that are due. The caller sends them at once.
    pub(super) fn due(&mut self, now: Instant) -> u64 {
        std::mem::take(&mut self.burst) + self.due_by_pace(now)
    }

    fn due_by_pace(&mut self, now: Instant) -> u64 {
        let last = self.packets.last().map(|packet| packet.sent);
        let unanswered = self.sent() - self.newest;
        let Some(pace) = &mut self.pace else {
            return 0;
        };
        if now.saturating_duration_since(pace.next) > STALE {
            pace.next = now;
        }
        let mut room = pace.window.saturating_sub(unanswered).min(BURST);
        // Unanswered packets may stay so when an instance died: send another one.
        if last.is_none_or(|last| now.saturating_duration_since(last) > GIVEN_UP) {
            room = room.max(1);
        }
        let mut due = 0;
        while pace.next <= now && due < room {
            pace.next += pace.interval;
            due += 1;
        }
        due
    }

    /// Builds the next packet and notes the time.
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
        frame[MARK] = u8::from(self.marked == Some(self.sent()));
        frame
    }

    /// Records an answer. Frames that are not numbered packets are ignored.
    pub(super) fn answer(&mut self, frame: &[u8], now: Instant) {
        let Some(number) = number(frame) else {
            return;
        };
        let at = usize::try_from(number).ok().and_then(|n| n.checked_sub(1));
        let Some(packet) = at.and_then(|at| self.packets.get_mut(at)) else {
            self.unknown += 1;
            return;
        };
        if packet.answered_us != u32::MAX {
            self.duplicates += 1;
            return;
        }
        let took = now.saturating_duration_since(packet.sent).as_micros();
        packet.answered_us = u32::try_from(took)
            .unwrap_or(u32::MAX - 1)
            .min(u32::MAX - 1);
        self.answered += 1;
        self.out_of_order += u64::from(number < self.newest);
        self.newest = self.newest.max(number);
    }

    /// Time of the first answer to a packet that was sent after `after`.
    pub fn first_answer(&self, after: Instant) -> Option<Instant> {
        let new = self.packets.iter().rev();
        let new = new.take_while(|packet| packet.sent > after);
        new.filter_map(Packet::answered).min()
    }

    /// Number of packets that were answered up to this time.
    pub fn answered_by(&self, time: Instant) -> u64 {
        let answered = self.packets.iter().filter_map(Packet::answered);
        answered.filter(|answered| *answered <= time).count() as u64
    }

    /// Number of packets sent, which is also the number of the last one.
    pub fn sent(&self) -> u64 {
        self.packets.len() as u64
    }

    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// Numbers of the packets without an answer.
    pub fn unanswered(&self) -> Vec<u64> {
        let numbered = (1..).zip(&self.packets);
        let not = numbered.filter(|(_, packet)| packet.answered_us == u32::MAX);
        not.map(|(number, _)| number).collect()
    }

    /// Answers beyond the first, and answers to numbers that were never sent.
    pub fn extra_answers(&self) -> u64 {
        self.duplicates + self.unknown
    }

    /// Answers that came after the answer to a later packet.
    pub fn out_of_order(&self) -> u64 {
        self.out_of_order
    }

    /// Highest number that was answered.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// Appends the response times in microseconds of the packets sent between two moments.
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

/// Number in a frame; `None` for a frame that is not a numbered packet.
fn number(frame: &[u8]) -> Option<u64> {
    let bytes = frame.get(NUMBER)?.try_into().ok()?;
    (frame.get(12..14)? == ETHERTYPE).then(|| u64::from_be_bytes(bytes))
}

/// Percentiles of times in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Percentiles {
    pub count: usize,
    pub p50: u32,
    pub p99: u32,
    pub max: u32,
}

impl Percentiles {
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
    fn lost_duplicate_and_late_answers_are_counted() {
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
        assert_eq!((tally.out_of_order(), tally.extra_answers()), (1, 2));
        assert_eq!(tally.unanswered(), [4]);
    }

    #[test]
    fn an_answer_to_an_earlier_packet_is_not_the_first_answer() {
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
    fn the_rate_is_kept_and_packets_that_a_full_connection_delayed_are_dropped() {
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
    fn a_full_window_stops_a_host_for_a_bounded_time() {
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
    fn a_burst_is_sent_once_and_one_of_its_packets_is_marked() {
        let mut tally = Tally::default();
        let now = Instant::now();
        let _ = tally.packet(now);
        tally.burst(3, Some(2));
        assert_eq!((tally.due(now), tally.due(now)), (3, 0));
        let marks: Vec<u8> = (0..3).map(|_| tally.packet(now)[MARK]).collect();
        assert_eq!(marks, [0, 1, 0]);
    }

    #[test]
    fn percentiles_are_values_by_rank() {
        let of = Percentiles::of((1..=200).rev().collect());
        assert_eq!((of.p50, of.p99, of.max), (100, 198, 200));
        assert_eq!(Percentiles::of(Vec::new()).max, 0);
    }
}
