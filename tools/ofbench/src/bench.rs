//! All switches, and what was counted so far.

use crate::hist::Hist;
use crate::options::Opt;
use crate::outstanding::NOT_OUT;
use crate::receiving::{LONGEST, READ_BATCH};
use crate::switch::{State, Switch};
use crate::timeline::Timeline;
use std::net::SocketAddr;
use std::time::Instant;

/// The answers in one read: what they have in common is recorded once, and equal latencies together.
pub(crate) struct Batch {
    pub(crate) now: u64,
    pub(crate) measuring: bool,
    pub(crate) answers: u64,
    pub(crate) dup: u64,
    pub(crate) unmatched: u64,
    pub(crate) latency: u64,
    pub(crate) same_latency: u64,
    pub(crate) hist: Hist,
    /// With a flood: the switches beside the one that floods.
    pub(crate) line: Option<Timeline>,
    /// Answers to the switch that floods.
    pub(crate) flood_answers: u64,
}

impl Batch {
    #[inline]
    pub(crate) fn answered(&mut self, w: &mut Switch, which: Option<(u32, Option<bool>)>) {
        if w.floods {
            self.flood_answers += 1;
            return;
        }
        let Some((i, same)) = which else {
            self.unmatched += 1;
            return;
        };
        let e = &mut w.entries[i as usize];
        if e.at == NOT_OUT || same == Some(false) {
            self.dup += 1;
            return;
        }
        let latency = self.now.saturating_sub(e.at);
        if let Some(line) = &mut self.line {
            line.answered(e.at, latency);
        }
        e.at = NOT_OUT;
        self.answers += 1;
        if latency != self.latency {
            self.record_latency();
            self.latency = latency;
        }
        self.same_latency += 1;
    }

    #[cold]
    pub(crate) fn record_latency(&mut self) {
        if self.measuring {
            self.hist.add(self.latency, self.same_latency);
        }
        self.same_latency = 0;
    }
}

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) responses: u64,
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) dup: u64,
    pub(crate) flow_mods: u64,
    pub(crate) packet_outs: u64,
    pub(crate) probes: u64,
    pub(crate) unmatched: u64,
    pub(crate) other: u64,
    pub(crate) errors: u64,
    pub(crate) bad_version: u64,
    pub(crate) throttled: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

pub(crate) struct Bench {
    pub(crate) o: Opt,
    pub(crate) addr: SocketAddr,
    pub(crate) t0: Instant,
    pub(crate) epoll: i32,
    pub(crate) sw: Vec<Switch>,
    pub(crate) c: Counts,
    pub(crate) samples: Vec<u64>,
    pub(crate) measuring: bool,
    pub(crate) start_at: u64,
    pub(crate) cpu_at: u64,
    pub(crate) sending: bool,
    pub(crate) disconnects: u64,
    pub(crate) last_answer: u64,
    pub(crate) max_gap: u64,
    pub(crate) batch: Batch,
    pub(crate) scratch: Vec<u8>,
    pub(crate) first_error: String,
    pub(crate) refused: u64,
    pub(crate) flood_sent: u64,
    /// Packet-ins given up after the measurement.
    pub(crate) given_up: u64,
}

impl Bench {
    /// No switch is connected yet. `epoll` is an epoll instance.
    pub(crate) fn new(o: &Opt, addr: SocketAddr, epoll: i32) -> Bench {
        let bins = ((o.seconds * 1000.0) as u64 / o.interval_ms).max(1) as usize;
        Bench {
            addr,
            t0: Instant::now(),
            epoll,
            sw: (0..o.switches)
                .map(|i| Switch::new(o, i as u16 + 1))
                .collect(),
            c: Counts::default(),
            samples: vec![0; bins],
            measuring: false,
            start_at: 0,
            sending: false,
            disconnects: 0,
            last_answer: 0,
            max_gap: 0,
            batch: Batch {
                now: 0,
                measuring: false,
                answers: 0,
                dup: 0,
                unmatched: 0,
                latency: 0,
                same_latency: 0,
                hist: Hist::new(),
                line: None,
                flood_answers: 0,
            },
            scratch: vec![0; LONGEST + READ_BATCH],
            cpu_at: 0,
            first_error: String::new(),
            refused: 0,
            flood_sent: 0,
            given_up: 0,
            o: o.clone(),
        }
    }

    pub(crate) fn now(&self) -> u64 {
        self.t0.elapsed().as_nanos() as u64
    }

    pub(crate) fn ready(&self) -> usize {
        self.sw.iter().filter(|w| w.state == State::Ready).count()
    }
}

/// CPU time of this process so far, in nanoseconds.
pub(crate) fn cpu_time() -> u64 {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: t is live and writable.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}
