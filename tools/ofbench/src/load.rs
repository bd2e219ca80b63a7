//! A run: all switches connect, then the load, then the result.

use crate::bench::{Bench, Counts, cpu_time};
use crate::options::{Opt, Spin};
use crate::switch::State;
use crate::timeline::Timeline;
use crate::watch::{self, Watched};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time between two looks at every switch, in nanoseconds.
const TICK: u64 = 5_000_000;
/// Packet-ins that are due together before anything else has its turn.
const MOST_AT_ONCE: usize = 4096;
/// Longest time that --known adds to the warm-up, in nanoseconds.
const KNOWN: u64 = 60_000_000_000;

/// Figures of a run that are not counted by the switches.
pub(crate) struct Outcome {
    /// Length of the measurement in seconds.
    pub(crate) took: f64,
    pub(crate) handshake_ms: u64,
    /// Begin of the measurement, in seconds since 1970.
    pub(crate) unix_start: f64,
    /// Processor time of this process in the measurement, in percent.
    pub(crate) cpu_pct: f64,
    pub(crate) watched: Vec<Watched>,
}

/// Connects all switches and waits until they are ready. The error is why the first one did not connect.
pub(crate) fn connect(b: &mut Bench, events: &mut [libc::epoll_event]) -> Result<(), String> {
    let (gap, reconnect) = (b.o.connect_gap_ms * 1_000_000, b.o.reconnect);
    for s in 0..b.sw.len() {
        if !b.connect(s, Duration::from_secs(3)) && !reconnect {
            return Err(b.first_error.clone());
        }
        if gap > 0 {
            let until = b.now() + gap;
            while b.now() < until {
                b.poll(1, events);
            }
        } else {
            b.poll(0, events);
        }
    }
    let deadline = b.now() + nanoseconds(b.o.ready_timeout);
    while b.ready() < b.sw.len() && b.now() < deadline {
        b.poll(5, events);
        tick(b);
        if !reconnect && b.disconnects > 0 {
            break;
        }
    }
    Ok(())
}

/// Puts the load on all switches, which are ready, and measures.
pub(crate) fn run(b: &mut Bench, events: &mut [libc::epoll_event]) -> Outcome {
    let o = b.o.clone();
    let mut outcome = Outcome {
        took: 0.0,
        handshake_ms: b.now() / 1_000_000,
        unix_start: 0.0,
        cpu_pct: 0.0,
        watched: o.watch.iter().map(|pid| Watched::new(*pid)).collect(),
    };
    begin(b, &o);
    let mut pace = Pace::new(&o, b.now());
    let (spin, mut next_tick) = (spins(&o), 0);
    loop {
        let now = b.now();
        if (b.measuring && now >= b.start_at + nanoseconds(o.seconds))
            || (o.once && b.sw.iter().all(|w| w.left == 0 && w.outstanding == 0))
        {
            break;
        }
        if !b.measuring && now >= b.start_at && is_warm(b, now) {
            measure(b, &mut outcome);
        }
        if now >= next_tick {
            tick(b);
            next_tick = now + TICK;
            if !o.reconnect && b.disconnects > 0 {
                break;
            }
        }
        pace.send(b, now);
        let since = now.saturating_sub(b.start_at) as f64 / 1e9;
        if b.measuring && since >= o.flood_at && since < o.flood_at + o.flood_seconds {
            b.flood(0);
        }
        b.poll(if spin { 0 } else { 5 }, events);
    }
    finish(b, &mut outcome);
    linger(b, events);
    for w in &mut outcome.watched {
        w.after = watch::read(w.pid);
    }
    outcome
}

fn begin(b: &mut Bench, o: &Opt) {
    b.sending = !o.idle;
    b.start_at = b.now() + nanoseconds(o.warmup);
    for w in &mut b.sw {
        w.floods = crate::switch::floods(o, w.no);
        if o.once {
            w.left = (o.macs - w.cursor) as u64;
        }
    }
}

fn spins(o: &Opt) -> bool {
    match o.spin {
        Spin::On => true,
        Spin::Off => false,
        Spin::Auto => o.latency || o.rate > 0.0,
    }
}

fn is_warm(b: &Bench, now: u64) -> bool {
    let known = || b.sw.iter().all(|w| w.been_around || w.floods);
    !b.o.known || now >= b.start_at + KNOWN || known()
}

/// Ends the warm-up.
fn measure(b: &mut Bench, outcome: &mut Outcome) {
    for w in &mut outcome.watched {
        w.begin = watch::read(w.pid);
    }
    if b.o.announce {
        println!("{{\"measuring\":true}}");
    }
    b.measuring = true;
    b.start_at = b.now();
    b.cpu_at = cpu_time();
    outcome.unix_start = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map(|d| d.as_secs_f64())
        .unwrap_or(0.0);
    b.c = Counts {
        probes: b.c.probes,
        other: b.c.other,
        errors: b.c.errors,
        bad_version: b.c.bad_version,
        ..Counts::default()
    };
    if b.o.flood_seconds > 0.0 {
        let (at, length) = (nanoseconds(b.o.flood_at), nanoseconds(b.o.seconds));
        let flood = (at, at + nanoseconds(b.o.flood_seconds));
        let interval = b.o.interval_ms * 1_000_000;
        b.batch.line = Some(Timeline::new(b.start_at, length, interval, flood));
    }
}

/// Ends the measurement.
fn finish(b: &mut Bench, outcome: &mut Outcome) {
    let (now, begun) = (b.now(), b.start_at);
    let cpu = cpu_time() - b.cpu_at;
    for w in &mut outcome.watched {
        w.end = watch::read(w.pid);
    }
    outcome.took = now.saturating_sub(begun) as f64 / 1e9;
    if b.measuring {
        b.max_gap = b.max_gap.max(now - b.last_answer.max(begun));
        for w in &mut b.sw {
            w.max_gap = w.max_gap.max(now - w.last_answer.max(begun));
        }
        outcome.cpu_pct = cpu as f64 / outcome.took / 1e7;
    }
    b.measuring = false;
    b.sending = false;
}

/// Keeps the connections for a while, and sends nothing.
fn linger(b: &mut Bench, events: &mut [libc::epoll_event]) {
    let until = b.now() + nanoseconds(b.o.linger);
    while b.now() < until {
        b.poll(5, events);
        tick(b);
        if !b.o.reconnect && b.disconnects > 0 {
            break;
        }
    }
}

fn tick(b: &mut Bench) {
    let now = b.now();
    for s in 0..b.sw.len() {
        b.tick(s, now);
    }
}

fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

/// Open loop: one packet-in after the other from all switches in turn, except for the one that floods.
struct Pace {
    /// Time between two packet-ins in nanoseconds; 0: a closed loop.
    step: f64,
    next_due: f64,
    turn: usize,
    first: usize,
}

impl Pace {
    fn new(o: &Opt, now: u64) -> Pace {
        Pace {
            step: if o.rate > 0.0 { 1e9 / o.rate } else { 0.0 },
            next_due: now as f64,
            turn: 0,
            first: usize::from(o.flood_seconds > 0.0),
        }
    }

    fn send(&mut self, b: &mut Bench, now: u64) {
        if self.step == 0.0 {
            return;
        }
        let mut batch = 0;
        while self.next_due <= now as f64 && batch < MOST_AT_ONCE {
            let s = self.first + self.turn % (b.sw.len() - self.first);
            self.turn += 1;
            let at = self.next_due as u64;
            self.next_due += self.step;
            batch += 1;
            let w = &b.sw[s];
            let has_room = w.state == State::Ready && w.outstanding < b.o.window;
            let queued = has_room && b.queue_packet_in(s, at);
            if !queued && b.measuring {
                b.c.throttled += 1;
            }
        }
        if batch > 0 {
            for s in self.first..b.sw.len() {
                if !b.sw[s].outbuf.is_empty() {
                    b.flush(s);
                }
            }
        }
    }
}
