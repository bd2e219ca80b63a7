//! Reads, and the answers in them.

use crate::bench::Bench;
use crate::control::kind;
use crate::outstanding::{by_buffer, refers_to};
use crate::switch::State;
use crate::wire::{self, Reply};
use std::io::{ErrorKind, Read};

/// An OpenFlow message is shorter than this.
pub(crate) const LONGEST: usize = 1 << 16;
/// Most bytes taken by one read.
pub(crate) const READ_BATCH: usize = 256 << 10;

impl Bench {
    pub(crate) fn readable(&mut self, s: usize) {
        let mut buf = std::mem::take(&mut self.scratch);
        let closed = self.read(s, &mut buf);
        self.scratch = buf;
        match closed {
            Err(why) => self.disconnect(s, &why),
            Ok(()) => self.send(s),
        }
    }

    /// One read, behind what the last one left of a message; the error says why the connection is over.
    fn read(&mut self, s: usize, buf: &mut [u8]) -> Result<(), String> {
        let w = &mut self.sw[s];
        let Some(k) = &mut w.sock else { return Ok(()) };
        let held = w.inbuf.len();
        let n = match k.read(&mut buf[held..held + READ_BATCH]) {
            Ok(0) => return Err("controller closed the connection".to_string()),
            Ok(n) => n,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(e) => return Err(format!("read: {e}")),
        };
        self.c.bytes_in += n as u64;
        buf[..held].copy_from_slice(&w.inbuf);
        (self.batch.now, self.batch.measuring) = (self.now(), self.measuring);
        self.sw[s].last_rx = self.batch.now;
        let used = self.messages(s, &buf[..held + n]);
        self.record_answers(s);
        let w = &mut self.sw[s];
        w.inbuf.clear();
        w.inbuf.extend_from_slice(&buf[used?..held + n]);
        Ok(())
    }

    fn messages(&mut self, s: usize, b: &[u8]) -> Result<usize, String> {
        let mut o = 0;
        loop {
            o += self.flow_mods(s, &b[o..]);
            if b.len() - o < 8 {
                break;
            }
            let len = u16::from_be_bytes([b[o + 2], b[o + 3]]) as usize;
            if len < 8 {
                return Err(format!("message of length {len}"));
            }
            if b.len() - o < len {
                break;
            }
            self.message(s, &b[o..o + len]);
            o += len;
        }
        Ok(o)
    }

    /// Takes the FLOW_MODs with buffer ids at the beginning of `b`, with a fast controller nearly all there is, and
    /// returns their length. `message` handles everything else, and these while the switch is not ready.
    fn flow_mods(&mut self, s: usize, b: &[u8]) -> usize {
        let (w, v, mut o, mut n) = (&mut self.sw[s], self.o.version, 0, 0);
        if w.state != State::Ready {
            return 0;
        }
        while let Some((buffer, len)) = wire::flow_mod_buffer(v, &b[o..]) {
            self.batch.answered(w, by_buffer(buffer, &w.entries));
            o += len;
            n += 1;
        }
        if self.measuring {
            self.c.flow_mods += n;
        }
        o
    }

    fn answered(&mut self, s: usize, r: &Reply) {
        let w = &mut self.sw[s];
        self.batch.answered(w, refers_to(w.no, r, &w.entries));
    }

    /// Enters the answers of one read into the results.
    fn record_answers(&mut self, s: usize) {
        let (w, b) = (&mut self.sw[s], &mut self.batch);
        b.record_latency();
        let (now, n) = (b.now, std::mem::take(&mut b.answers));
        let (dup, unmatched) = (std::mem::take(&mut b.dup), std::mem::take(&mut b.unmatched));
        if self.measuring {
            self.c.dup += dup;
            self.c.unmatched += unmatched;
        }
        if n == 0 {
            return;
        }
        w.outstanding -= n as u32;
        if let State::Probing(_) = w.state {
            w.state = State::Ready;
            if self.o.verbose {
                eprintln!("switch {} ready after {} ms", s + 1, now / 1_000_000);
            }
        }
        if self.measuring {
            self.c.responses += n;
            let bin = ((now - self.start_at) / (self.o.interval_ms * 1_000_000)) as usize;
            if let Some(b) = self.samples.get_mut(bin) {
                *b += n;
            }
            self.max_gap = self.max_gap.max(now - self.last_answer.max(self.start_at));
            w.max_gap = w.max_gap.max(now - w.last_answer.max(self.start_at));
        }
        self.last_answer = now;
        w.last_answer = now;
    }

    fn message(&mut self, s: usize, m: &[u8]) {
        let v = self.o.version;
        let (ty, xid) = kind(m);
        if m[0] != v && ty != wire::HELLO {
            self.c.bad_version += 1;
            if ty != wire::ERROR {
                wire::error(&mut self.sw[s].outbuf, v, xid, 1, 0, m);
            }
            return;
        }
        match ty {
            wire::FLOW_MOD => {
                let Some(r) = wire::parse_flow_mod(v, m) else {
                    return wire::error(&mut self.sw[s].outbuf, v, xid, 1, 6, m);
                };
                if self.measuring {
                    self.c.flow_mods += 1;
                }
                let w = &mut self.sw[s];
                // packet-ins come from the rule that sends to the controller; where none was seen yet, any will do
                let punts = wire::to_controller(v, m);
                if w.state != State::Ready
                    && !r.delete
                    && (punts || !w.punted && (r.priority == 0 || w.cookie.is_none()))
                {
                    w.cookie = Some(r.cookie);
                    w.punted |= punts;
                }
                if !r.delete {
                    self.answered(s, &r);
                }
            }
            wire::PACKET_OUT => {
                let Some(r) = wire::parse_packet_out(v, m) else {
                    return wire::error(&mut self.sw[s].outbuf, v, xid, 1, 6, m);
                };
                if self.measuring {
                    self.c.packet_outs += 1;
                }
                if r.probe {
                    self.c.probes += 1;
                } else {
                    self.answered(s, &r);
                }
            }
            _ => self.control(s, m),
        }
    }
}
