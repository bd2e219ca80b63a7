//! Connections of the switches, and waiting for them.

use crate::bench::Bench;
use crate::output::die;
use crate::outstanding::NOT_OUT;
use crate::switch::State;
use crate::wire;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

impl Bench {
    fn ctl(&self, op: i32, s: usize, events: u32) {
        if let Some(k) = &self.sw[s].sock {
            let mut ev = libc::epoll_event {
                events,
                u64: s as u64,
            };
            // SAFETY: epoll and the socket are open file descriptors, and ev outlives the call.
            if unsafe { libc::epoll_ctl(self.epoll, op, k.as_raw_fd(), &mut ev) } < 0 {
                die(&format!("epoll_ctl: {}", std::io::Error::last_os_error()));
            }
        }
    }

    pub(crate) fn connect(&mut self, s: usize, timeout: Duration) -> bool {
        let k = match TcpStream::connect_timeout(&self.addr, timeout) {
            Ok(k) => k,
            Err(e) => {
                self.refused += 1;
                if self.first_error.is_empty() {
                    self.first_error = format!("connect: {e}");
                }
                let at = self.now() + 50_000_000;
                self.sw[s].state = State::Down(at);
                return false;
            }
        };
        k.set_nodelay(true)
            .and_then(|_| k.set_nonblocking(true))
            .unwrap_or_else(|e| die(&e.to_string()));
        let now = self.now();
        let w = &mut self.sw[s];
        w.sock = Some(k);
        w.inbuf.clear();
        w.outbuf.clear();
        w.out_pos = 0;
        w.want_write = false;
        w.state = State::Hello;
        w.last_rx = now;
        w.connects += 1;
        w.cookie = None;
        w.punted = false;
        wire::hello(&mut w.outbuf, self.o.version);
        self.ctl(libc::EPOLL_CTL_ADD, s, libc::EPOLLIN as u32);
        self.flush(s);
        true
    }

    pub(crate) fn disconnect(&mut self, s: usize, why: &str) {
        if self.sw[s].sock.is_none() {
            return;
        }
        if self.o.verbose {
            eprintln!("switch {}: {why}", s + 1);
        }
        self.ctl(libc::EPOLL_CTL_DEL, s, 0);
        if self.first_error.is_empty() {
            self.first_error = format!("switch {}: {why}", s + 1);
        }
        let at = self.now() + 50_000_000;
        let w = &mut self.sw[s];
        w.sock = None;
        w.state = State::Down(at);
        w.entries.iter_mut().for_each(|e| e.at = NOT_OUT);
        let gone = std::mem::take(&mut w.outstanding);
        if self.measuring {
            self.c.lost += gone as u64;
        }
        self.disconnects += 1;
    }

    pub(crate) fn flush(&mut self, s: usize) {
        let w = &mut self.sw[s];
        let mut broken = None;
        while w.out_pos < w.outbuf.len() {
            let Some(k) = &mut w.sock else { return };
            match k.write(&w.outbuf[w.out_pos..]) {
                Ok(0) => {
                    broken = Some("write: closed".to_string());
                    break;
                }
                Ok(n) => {
                    w.out_pos += n;
                    self.c.bytes_out += n as u64;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    broken = Some(format!("write: {e}"));
                    break;
                }
            }
        }
        if let Some(why) = broken {
            return self.disconnect(s, &why);
        }
        if w.out_pos == w.outbuf.len() {
            w.outbuf.clear();
            w.out_pos = 0;
        } else if w.out_pos > 1 << 20 {
            w.outbuf.drain(..w.out_pos);
            w.out_pos = 0;
        }
        let want = !w.outbuf.is_empty();
        if want != w.want_write {
            w.want_write = want;
            let ev = libc::EPOLLIN as u32 | if want { libc::EPOLLOUT as u32 } else { 0 };
            self.ctl(libc::EPOLL_CTL_MOD, s, ev);
        }
    }

    /// Waits for I/O (at most `wait_ms`) and handles it.
    pub(crate) fn poll(&mut self, wait_ms: i32, events: &mut [libc::epoll_event]) {
        // SAFETY: events is a live, writable array of the length given.
        let n = unsafe {
            libc::epoll_wait(
                self.epoll,
                events.as_mut_ptr(),
                events.len() as i32,
                wait_ms,
            )
        };
        if n < 0 {
            let e = std::io::Error::last_os_error();
            if e.kind() != ErrorKind::Interrupted {
                die(&format!("epoll_wait: {e}"));
            }
            return;
        }
        for e in &events[..n as usize] {
            let (s, what) = (e.u64 as usize, e.events);
            if what & (libc::EPOLLIN | libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0 {
                self.readable(s);
            } else if what & libc::EPOLLOUT as u32 != 0 {
                self.send(s);
            }
        }
    }
}
