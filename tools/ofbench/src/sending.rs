//! Packet-ins: made, sent, and given up.

use crate::address::{known_mac, unknown_mac};
use crate::bench::Bench;
use crate::outstanding::{NOT_OUT, buffer_id};
use crate::switch::{State, cookie_of, packet_ins};
use crate::wire;
use std::io::Write;
use std::time::Duration;

/// Writes to one switch before the next switch has its turn.
const WRITES_IN_TURN: usize = 4;

impl Bench {
    /// Makes the next packet-ins, up to `n` and stamped with `at`, in the switch's prebuilt ones; returns their length:
    /// fewer than `n` when that is all there are, or when too many addresses in a row still await their answers.
    fn next_packet_ins(&mut self, s: usize, at: u64, n: usize) -> usize {
        let (w, o) = (&mut self.sw[s], &self.o);
        let entries = &mut w.entries[..o.macs as usize];
        let mut made = 0;
        let n = (n as u64).min(w.left) as usize;
        for mut m in w.packet_ins.iter_mut().take(n) {
            let mut tries = 0;
            while entries[w.cursor as usize].at != NOT_OUT && tries <= 64.min(o.macs) {
                w.cursor = if w.cursor + 1 == o.macs {
                    0
                } else {
                    w.cursor + 1
                };
                tries += 1;
            }
            let i = w.cursor;
            let e = &mut entries[i as usize];
            if e.at != NOT_OUT {
                break;
            }
            w.cursor = if i + 1 == o.macs { 0 } else { i + 1 };
            w.been_around |= w.cursor == 0;
            e.generation = e.generation.wrapping_add(1);
            e.at = at;
            let buffer = if o.buffer {
                buffer_id(i, e.generation)
            } else {
                wire::NO_BUFFER
            };
            m.set(i, e.generation, buffer);
            if o.unknown_pct > 0 {
                m.set_destination(if i % 100 < o.unknown_pct {
                    unknown_mac(w.no, i)
                } else {
                    known_mac(w.no)
                });
            }
            made += 1;
        }
        w.outstanding += made as u32;
        w.left -= made as u64;
        if self.measuring {
            self.c.sent += made as u64;
        }
        made * w.packet_ins.length()
    }

    /// Queues one packet-in; false when there is none to be had.
    pub(crate) fn queue_packet_in(&mut self, s: usize, at: u64) -> bool {
        let n = self.next_packet_ins(s, at, 1);
        let w = &mut self.sw[s];
        w.outbuf.extend_from_slice(&w.packet_ins.bytes()[..n]);
        if let Some(line) = self.batch.line.as_mut().filter(|_| n > 0) {
            line.sent(at);
        }
        n > 0
    }

    fn announce(&mut self, s: usize) {
        let w = &mut self.sw[s];
        let f = wire::arp(known_mac(w.no), [10, 255, 255, 254], self.o.vlan);
        wire::packet_in(
            &mut w.outbuf,
            self.o.version,
            2,
            self.o.reason,
            self.o.table_id,
            cookie_of(&self.o, w.cookie),
            &f,
        );
    }

    /// Sends what is queued, then packet-ins until the window or the socket is full.
    pub(crate) fn send(&mut self, s: usize) {
        self.flush(s);
        if !self.sending || self.o.rate > 0.0 {
            return;
        }
        for _ in 0..WRITES_IN_TURN {
            let w = &self.sw[s];
            if w.state != State::Ready || !w.outbuf.is_empty() || w.outstanding >= self.o.window {
                return;
            }
            let n = self.next_packet_ins(s, self.now(), (self.o.window - w.outstanding) as usize);
            let w = &mut self.sw[s];
            let Some(k) = &mut w.sock else { return };
            let b = &w.packet_ins.bytes()[..n];
            let done = if n == 0 {
                return;
            } else {
                k.write(b).unwrap_or(0)
            };
            w.outbuf.extend_from_slice(&b[done..]);
            self.c.bytes_out += done as u64;
            if done < n {
                self.flush(s); // deals with the error, or waits for room
            }
        }
    }

    /// Sends packet-ins from the switch that floods, whatever is unanswered, until its socket is full.
    pub(crate) fn flood(&mut self, s: usize) {
        self.flush(s);
        for _ in 0..WRITES_IN_TURN {
            let (w, o) = (&mut self.sw[s], &self.o);
            if w.state != State::Ready || !w.outbuf.is_empty() {
                return;
            }
            let mut made = 0;
            for mut m in w.packet_ins.iter_mut() {
                let e = &mut w.entries[w.cursor as usize];
                e.generation = e.generation.wrapping_add(1);
                let buffer = if o.buffer {
                    buffer_id(w.cursor, e.generation)
                } else {
                    wire::NO_BUFFER
                };
                m.set(w.cursor, e.generation, buffer);
                w.cursor = (w.cursor + 1) % o.macs;
                made += 1;
            }
            self.flood_sent += made;
            w.outbuf.extend_from_slice(w.packet_ins.bytes());
            self.flush(s);
        }
    }

    /// Gives up packet-ins that were not answered in time.
    fn drop_overdue(&mut self, s: usize, now: u64) {
        let limit = self.o.timeout_ms * 1_000_000;
        let w = &mut self.sw[s];
        if w.outstanding == 0 || now < w.overdue_at {
            return;
        }
        let (mut oldest, mut lost) = (now, 0);
        for e in &mut w.entries {
            if now.saturating_sub(e.at) >= limit {
                if let Some(line) = &mut self.batch.line {
                    line.lost(e.at);
                }
                e.at = NOT_OUT;
                lost += 1;
            }
            oldest = oldest.min(e.at);
        }
        w.outstanding -= lost;
        if self.measuring {
            self.c.lost += lost as u64;
        } else if !self.sending {
            self.given_up += lost as u64;
        }
        // looking again costs a pass over the addresses: not more than a few per cent of the time
        w.overdue_at = (oldest + limit).max(now + 20 * self.o.macs as u64 * self.o.switches as u64);
    }

    /// Drops packet-ins that were never answered, and walks the connection states.
    pub(crate) fn tick(&mut self, s: usize, now: u64) {
        self.drop_overdue(s, now);
        let w = &mut self.sw[s];
        match w.state {
            State::Down(at) if now >= at && (self.o.reconnect || w.connects == 0) => {
                self.connect(s, Duration::from_millis(200));
            }
            State::Settling if now.saturating_sub(w.last_rx) >= self.o.settle_ms * 1_000_000 => {
                w.packet_ins = packet_ins(&self.o, w.no, w.cookie);
                w.sent_cookie = w.cookie;
                w.state = State::Probing(now + 100_000_000);
                self.announce(s);
                self.flush(s);
            }
            State::Probing(at) if now >= at => {
                if w.cookie != w.sent_cookie {
                    // The rule came late: no packet-in without its cookie is answered.
                    w.packet_ins = packet_ins(&self.o, w.no, w.cookie);
                    w.sent_cookie = w.cookie;
                    w.entries.iter_mut().for_each(|e| e.at = NOT_OUT);
                    w.outstanding = 0;
                }
                if w.outstanding == 0 {
                    self.announce(s);
                    self.queue_packet_in(s, now);
                }
                self.sw[s].state = State::Probing(now + 250_000_000);
                self.flush(s);
            }
            _ => {}
        }
        if self.sw[s].state == State::Ready {
            self.send(s);
        }
    }
}
