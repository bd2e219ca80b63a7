//! ofbench: an OpenFlow controller load generator. See USAGE below and README.md.

#![allow(
    unsafe_code,
    reason = "epoll, resource limits and the CPU clock are plain system calls; each block says why it is sound"
)]
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a command: it prints its result and ends itself"
)]

mod hist;
mod wire;

use hist::Hist;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wire::{PacketIns, Reply};

const USAGE: &str = "\
ofbench - OpenFlow controller load generator (fake switches sending packet-ins)

usage: ofbench [--host 127.0.0.1] [--port 6653] [--of 1.3|1.0] [--mode throughput|latency]
               [--switches 1] [--macs N] [--window N|full] [--seconds 10] [--warmup 2]
               [--buffer id|none] [--unknown-pct 0] [--rate N] [--interval-ms 1000] [--timeout-ms 1000]
               [--frame-len 64] [--vlan 0] [--ports 4] [--tables 16] [--dpid 1] [--table-id 0] [--reason 0] [--cookie auto|N]
               [--settle-ms 300] [--ready-timeout 30] [--connect-gap-ms 0] [--reconnect] [--spin on|off|auto] [--label TEXT] [--verbose]

  throughput  every switch keeps up to --window packet-ins unanswered (default 4096,
              but at most 16384 over all switches and not under 128, and at most half of --macs)
  --window full   as many as the socket takes, at most half of --macs (as cbench does)
  latency     one packet-in unanswered per switch (--window is 1)
  --rate N    open loop: N packet-ins/s over all switches; latency counts from the intended send time; --window caps (default 100000)
  --buffer id   packet-ins carry a buffer id (as cbench does); none: OFP_NO_BUFFER, whole frame (as Open vSwitch does)
  --macs      source MAC addresses per switch, used in turn; the destination is one learned host per switch
              (default 1000; in throughput mode twice --window if that is more, and 131072 with --window full)
  --unknown-pct   share of packet-ins whose destination was never seen (a learning switch floods those)
  --reconnect keep going when the controller goes away, and report disconnects and gaps

One packet-in counts once, when the first FLOW_MOD or PACKET_OUT that refers to it arrives (by buffer id, by the
tag in the packet-out's frame, or by the Ethernet addresses of the flow-mod's match). LLDP/BDDP never counts.
The last line on stdout is one JSON object. Exit status: 0 measured, 2 not every switch became ready, 1 other failure.";

/// Unanswered packet-ins per switch in throughput mode unless --window says otherwise, and over all switches. More
/// over all switches would keep a slow controller's answers beyond --timeout-ms.
const WINDOW: u32 = 4096;
const WINDOW_ALL: u32 = 16384;
/// Value of `--window full` until --macs is known.
const WINDOW_FULL: u32 = u32::MAX;
/// Bytes of packet-ins handed to one write, and the most bytes taken by one read.
const WRITE_BATCH: usize = 128 << 10;
const READ_BATCH: usize = 256 << 10;
/// An OpenFlow message is shorter than this.
const LONGEST: usize = 1 << 16;
/// Writes to one switch before the next switch has its turn.
const WRITES_IN_TURN: usize = 4;

#[derive(Clone, PartialEq)]
enum Spin {
    On,
    Off,
    Auto,
}

#[derive(Clone)]
struct Opt {
    host: String,
    port: u16,
    version: u8,
    latency: bool,
    switches: usize,
    macs: u32,
    window: u32,
    seconds: f64,
    warmup: f64,
    buffer: bool,
    unknown_pct: u32,
    rate: f64,
    interval_ms: u64,
    timeout_ms: u64,
    frame_len: usize,
    vlan: u16,
    ports: u32,
    tables: u8,
    dpid: u64,
    table_id: u8,
    reason: u8,
    cookie: Option<u64>,
    settle_ms: u64,
    ready_timeout: f64,
    connect_gap_ms: u64,
    reconnect: bool,
    spin: Spin,
    label: String,
    verbose: bool,
}

fn die(why: &str) -> ! {
    eprintln!("ofbench: {why}");
    println!("{{\"tool\":\"ofbench\",\"error\":{}}}", json_str(why));
    std::process::exit(1)
}

fn json_str(s: &str) -> String {
    let mut o = String::from("\"");
    for c in s.chars() {
        match c {
            '"' | '\\' => {
                o.push('\\');
                o.push(c)
            }
            c if (c as u32) < 0x20 => o.push_str(&format!("\\u{:04x}", c as u32)),
            c => o.push(c),
        }
    }
    o + "\""
}

fn parse_args() -> Opt {
    let mut o = Opt {
        host: "127.0.0.1".into(),
        port: 6653,
        version: wire::V13,
        latency: false,
        switches: 1,
        macs: 0,
        window: 0,
        seconds: 10.0,
        warmup: 2.0,
        buffer: true,
        unknown_pct: 0,
        rate: 0.0,
        interval_ms: 1000,
        timeout_ms: 1000,
        frame_len: 64,
        vlan: 0,
        ports: 4,
        tables: 16,
        dpid: 1,
        table_id: 0,
        reason: 0,
        cookie: None,
        settle_ms: 300,
        ready_timeout: 30.0,
        connect_gap_ms: 0,
        reconnect: false,
        spin: Spin::Auto,
        label: String::new(),
        verbose: false,
    };
    fn num<T: std::str::FromStr>(k: &str, v: &str) -> T {
        v.parse()
            .unwrap_or_else(|_| die(&format!("{k}: '{v}' is not a number that fits")))
    }
    let mut it = std::env::args().skip(1);
    while let Some(k) = it.next() {
        match k.as_str() {
            "--help" | "-h" => {
                println!("{USAGE}");
                std::process::exit(0)
            }
            "--reconnect" => {
                o.reconnect = true;
                continue;
            }
            "--verbose" => {
                o.verbose = true;
                continue;
            }
            _ => {}
        }
        let Some(v) = it.next() else {
            die(&format!("{k} needs a value (or is unknown); try --help"))
        };
        match k.as_str() {
            "--host" => o.host = v,
            "--port" => o.port = num(&k, &v),
            "--of" => {
                o.version = match v.as_str() {
                    "1.0" | "10" => wire::V10,
                    "1.3" | "13" => wire::V13,
                    _ => die("--of is 1.0 or 1.3"),
                }
            }
            "--mode" => {
                o.latency = match v.as_str() {
                    "throughput" | "thr" => false,
                    "latency" | "lat" => true,
                    _ => die("--mode is throughput or latency"),
                }
            }
            "--switches" => o.switches = num(&k, &v),
            "--macs" => o.macs = num(&k, &v),
            "--window" => {
                o.window = if v == "full" {
                    WINDOW_FULL
                } else {
                    num(&k, &v)
                }
            }
            "--seconds" => o.seconds = num(&k, &v),
            "--warmup" => o.warmup = num(&k, &v),
            "--buffer" => {
                o.buffer = match v.as_str() {
                    "id" => true,
                    "none" => false,
                    _ => die("--buffer is id or none"),
                }
            }
            "--unknown-pct" => o.unknown_pct = num(&k, &v),
            "--rate" => o.rate = num(&k, &v),
            "--interval-ms" => o.interval_ms = num(&k, &v),
            "--timeout-ms" => o.timeout_ms = num(&k, &v),
            "--frame-len" => o.frame_len = num(&k, &v),
            "--vlan" => o.vlan = num(&k, &v),
            "--ports" => o.ports = num(&k, &v),
            "--tables" => o.tables = num(&k, &v),
            "--dpid" => o.dpid = num(&k, &v),
            "--table-id" => o.table_id = num(&k, &v),
            "--reason" => o.reason = num(&k, &v),
            "--cookie" => o.cookie = if v == "auto" { None } else { Some(num(&k, &v)) },
            "--settle-ms" => o.settle_ms = num(&k, &v),
            "--ready-timeout" => o.ready_timeout = num(&k, &v),
            "--connect-gap-ms" => o.connect_gap_ms = num(&k, &v),
            "--spin" => {
                o.spin = match v.as_str() {
                    "on" => Spin::On,
                    "off" => Spin::Off,
                    "auto" => Spin::Auto,
                    _ => die("--spin is on, off or auto"),
                }
            }
            "--label" => o.label = v,
            _ => die(&format!("unknown option {k}; try --help")),
        }
    }
    if o.switches == 0 || o.switches > 0xffff {
        die("--switches is 1 to 65535");
    }
    if o.latency && o.rate > 0.0 {
        die("--rate goes with --mode throughput");
    }
    if o.latency {
        o.window = 1;
    } else if o.rate > 0.0 {
        o.window = if o.window == 0 || o.window == WINDOW_FULL {
            100_000
        } else {
            o.window
        };
    } else if o.window == WINDOW_FULL {
        o.macs = if o.macs == 0 { 1 << 17 } else { o.macs };
        o.window = o.macs / 2;
    } else if o.window == 0 {
        let w = (WINDOW_ALL / o.switches as u32).clamp(128, WINDOW);
        o.window = if o.macs == 0 { w } else { w.min(o.macs / 2) };
    }
    if o.macs == 0 {
        o.macs = if o.rate > 0.0 {
            1000
        } else {
            o.window.saturating_mul(2).max(1000)
        };
    }
    if o.macs < 2 || o.macs > 1 << 20 {
        die("--macs is 2 to 1048576");
    }
    if o.macs < 2 * o.window && o.rate == 0.0 {
        die(
            "--macs must be at least twice --window, so that an address is not reused while an answer is due",
        );
    }
    if o.vlan > 4094 {
        die("--vlan is 0 (untagged) to 4094");
    }
    if o.vlan != 0 {
        o.frame_len += 4;
    }
    if o.frame_len < wire::MIN_FRAME || o.frame_len > 9000 {
        die(&format!("--frame-len is {} to 9000", wire::MIN_FRAME));
    }
    if o.ports < 2
        || o.ports > 900
        || o.interval_ms == 0
        || o.seconds <= 0.0
        || o.warmup < 0.0
        || o.unknown_pct > 100
    {
        die(
            "--ports is 2 to 900, --interval-ms and --seconds are positive, --unknown-pct is 0 to 100",
        );
    }
    o
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum State {
    /// no connection; try again at this time
    Down(u64),
    /// connected, waiting for FEATURES_REQUEST
    Hello,
    /// features sent; waiting for the controller to be quiet for the settle time
    Settling,
    /// destination announced; test packet-ins are tried until one is answered
    Probing(u64),
    Ready,
}

/// One source address: when its packet-in was sent (NOT_OUT: none is unanswered), and how many it has sent.
#[derive(Clone, Copy)]
struct Entry {
    at: u64,
    generation: u32,
}

const NOT_OUT: u64 = u64::MAX;

impl Default for Entry {
    fn default() -> Entry {
        Entry {
            at: NOT_OUT,
            generation: 0,
        }
    }
}

struct Switch {
    no: u16,
    dpid: u64,
    sock: Option<TcpStream>,
    state: State,
    last_rx: u64,
    inbuf: Vec<u8>,
    outbuf: Vec<u8>,
    out_pos: usize,
    want_write: bool,
    entries: Vec<Entry>,
    cursor: u32,
    outstanding: u32,
    /// nothing can be overdue before this time
    overdue_at: u64,
    packet_ins: PacketIns,
    miss_send_len: u16,
    cookie: Option<u64>,
    /// `cookie` is that of a rule that sends to the controller.
    punted: bool,
    last_answer: u64,
    max_gap: u64,
    connects: u32,
}

/// The answers in one read: what they have in common is recorded once, and equal latencies together.
struct Batch {
    now: u64,
    measuring: bool,
    answers: u64,
    dup: u64,
    unmatched: u64,
    latency: u64,
    same_latency: u64,
    hist: Hist,
}

impl Batch {
    #[inline]
    fn answered(&mut self, w: &mut Switch, which: Option<(u32, Option<bool>)>) {
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
        e.at = NOT_OUT;
        self.answers += 1;
        if latency != self.latency {
            self.record_latency();
            self.latency = latency;
        }
        self.same_latency += 1;
    }

    #[cold]
    fn record_latency(&mut self) {
        if self.measuring {
            self.hist.add(self.latency, self.same_latency);
        }
        self.same_latency = 0;
    }
}

#[derive(Default)]
struct Counts {
    responses: u64,
    sent: u64,
    lost: u64,
    dup: u64,
    flow_mods: u64,
    packet_outs: u64,
    probes: u64,
    unmatched: u64,
    other: u64,
    errors: u64,
    bad_version: u64,
    throttled: u64,
    bytes_in: u64,
    bytes_out: u64,
}

struct Bench {
    o: Opt,
    addr: SocketAddr,
    t0: Instant,
    epoll: i32,
    sw: Vec<Switch>,
    c: Counts,
    samples: Vec<u64>,
    measuring: bool,
    start_at: u64,
    cpu_at: u64,
    sending: bool,
    disconnects: u64,
    last_answer: u64,
    max_gap: u64,
    batch: Batch,
    scratch: Vec<u8>,
    first_error: String,
    refused: u64,
}

fn host_mac(no: u16, index: u32) -> [u8; 6] {
    [
        0x0a,
        (no >> 8) as u8,
        no as u8,
        (index >> 16) as u8,
        (index >> 8) as u8,
        index as u8,
    ]
}
fn known_mac(no: u16) -> [u8; 6] {
    [0x0e, (no >> 8) as u8, no as u8, 0xff, 0xff, 0xff]
}
fn unknown_mac(no: u16, index: u32) -> [u8; 6] {
    [
        0x06,
        (no >> 8) as u8,
        no as u8,
        (index >> 16) as u8,
        (index >> 8) as u8,
        index as u8,
    ]
}
fn index_of(no: u16, mac: Option<[u8; 6]>) -> Option<u32> {
    let m = mac?;
    if m[0] == 0x0a && m[1] == (no >> 8) as u8 && m[2] == no as u8 {
        return Some((m[3] as u32) << 16 | (m[4] as u32) << 8 | m[5] as u32);
    }
    None
}

const INDEX_BITS: u32 = 20;
const GEN_MASK: u32 = 0x7ff; // the buffer id's top bit stays clear, so it is never OFP_NO_BUFFER

fn buffer_id(index: u32, generation: u32) -> u32 {
    (generation & GEN_MASK) << INDEX_BITS | index
}

fn by_buffer(b: u32, entries: &[Entry]) -> Option<(u32, Option<bool>)> {
    let i = b & ((1 << INDEX_BITS) - 1);
    let e = entries.get(i as usize)?;
    Some((i, Some(e.generation & GEN_MASK == b >> INDEX_BITS)))
}

/// Packet-in that a controller message refers to: its index, and whether its generation agrees (None: cannot tell).
fn refers_to(no: u16, r: &Reply, entries: &[Entry]) -> Option<(u32, Option<bool>)> {
    if let Some(b) = r.buffer {
        return by_buffer(b, entries);
    }
    if let Some((i, g)) = r.tag {
        let e = entries.get(i as usize)?;
        return Some((i, Some(e.generation == g)));
    }
    let i = index_of(no, r.src).or_else(|| index_of(no, r.dst))?;
    entries.get(i as usize)?;
    Some((i, None))
}

impl Bench {
    fn now(&self) -> u64 {
        self.t0.elapsed().as_nanos() as u64
    }

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

    fn connect(&mut self, s: usize, timeout: Duration) -> bool {
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

    fn disconnect(&mut self, s: usize, why: &str) {
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

    fn flush(&mut self, s: usize) {
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

    /// Makes the next packet-ins, up to `n` and stamped with `at`, in the switch's prebuilt ones; returns their length:
    /// fewer than `n` when that is all there are, or when too many addresses in a row still await their answers.
    fn next_packet_ins(&mut self, s: usize, at: u64, n: usize) -> usize {
        let (w, o) = (&mut self.sw[s], &self.o);
        let entries = &mut w.entries[..o.macs as usize];
        let mut made = 0;
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
        if self.measuring {
            self.c.sent += made as u64;
        }
        made * w.packet_ins.length()
    }

    /// Queues one packet-in; false when there is none to be had.
    fn queue_packet_in(&mut self, s: usize, at: u64) -> bool {
        let n = self.next_packet_ins(s, at, 1);
        let w = &mut self.sw[s];
        w.outbuf.extend_from_slice(&w.packet_ins.bytes()[..n]);
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
    fn send(&mut self, s: usize) {
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
                e.at = NOT_OUT;
                lost += 1;
            }
            oldest = oldest.min(e.at);
        }
        w.outstanding -= lost;
        if self.measuring {
            self.c.lost += lost as u64;
        }
        // looking again costs a pass over the addresses: not more than a few per cent of the time
        w.overdue_at = (oldest + limit).max(now + 20 * self.o.macs as u64 * self.o.switches as u64);
    }

    /// Drops packet-ins that were never answered, and walks the connection states.
    fn tick(&mut self, s: usize, now: u64) {
        self.drop_overdue(s, now);
        let w = &mut self.sw[s];
        match w.state {
            State::Down(at) if now >= at && (self.o.reconnect || w.connects == 0) => {
                self.connect(s, Duration::from_millis(200));
            }
            State::Settling if now.saturating_sub(w.last_rx) >= self.o.settle_ms * 1_000_000 => {
                w.packet_ins = packet_ins(&self.o, w.no, w.cookie);
                w.state = State::Probing(now + 100_000_000);
                self.announce(s);
                self.flush(s);
            }
            State::Probing(at) if now >= at => {
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

    fn readable(&mut self, s: usize) {
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
        let (ty, xid) = (m[1], u32::from_be_bytes([m[4], m[5], m[6], m[7]]));
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
                return;
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
                return;
            }
            _ => {}
        }
        if self.o.verbose {
            eprintln!(
                "switch {}: <- type {ty} length {} {:02x?}",
                s + 1,
                m.len(),
                &m[8..m.len().min(24)]
            );
        }
        self.c.other += 1;
        let o = self.o.clone_small();
        let w = &mut self.sw[s];
        let out = &mut w.outbuf;
        match ty {
            wire::HELLO | wire::ECHO_REPLY => {}
            wire::ERROR => {
                self.c.errors += 1;
                if self.first_error.is_empty() {
                    self.first_error = format!(
                        "error message from the controller: {:02x?}",
                        &m[8..m.len().min(12)]
                    );
                }
            }
            wire::ECHO_REQUEST => wire::msg(out, v, wire::ECHO_REPLY, xid, &m[8..]),
            wire::EXPERIMENTER => wire::error(out, v, xid, 1, 3, m),
            wire::FEATURES_REQUEST => {
                wire::features_reply(out, v, xid, w.dpid, o.ports, o.tables);
                if w.state == State::Hello {
                    w.state = State::Settling;
                }
            }
            wire::GET_CONFIG_REQUEST => {
                let b = [[0, 0], w.miss_send_len.to_be_bytes()].concat();
                wire::msg(out, v, wire::GET_CONFIG_REPLY, xid, &b)
            }
            wire::SET_CONFIG => w.miss_send_len = wire::u16_at(m, 10).unwrap_or(128),
            _ if v == wire::V10 => match ty {
                wire::v10::PORT_MOD => {}
                wire::v10::STATS_REQUEST => {
                    wire::multipart_reply(out, v, m, w.dpid, o.ports, o.tables)
                }
                wire::v10::BARRIER_REQUEST => wire::msg(out, v, wire::v10::BARRIER_REPLY, xid, &[]),
                wire::v10::QUEUE_REQUEST => {
                    let mut b = m.get(8..10).unwrap_or(&[0, 0]).to_vec();
                    b.extend_from_slice(&[0; 6]);
                    wire::msg(out, v, wire::v10::QUEUE_REPLY, xid, &b)
                }
                _ => wire::error(out, v, xid, 1, 1, m),
            },
            _ => match ty {
                wire::v13::GROUP_MOD
                | wire::v13::PORT_MOD
                | wire::v13::TABLE_MOD
                | wire::v13::METER_MOD
                | wire::v13::SET_ASYNC => {}
                wire::v13::MULTIPART_REQUEST => {
                    wire::multipart_reply(out, v, m, w.dpid, o.ports, o.tables)
                }
                wire::v13::BARRIER_REQUEST => wire::msg(out, v, wire::v13::BARRIER_REPLY, xid, &[]),
                wire::v13::ROLE_REQUEST => {
                    let mut b = m[8..].to_vec();
                    b.resize(16, 0);
                    wire::msg(out, v, wire::v13::ROLE_REPLY, xid, &b)
                }
                wire::v13::QUEUE_REQUEST => {
                    let mut b = m.get(8..12).unwrap_or(&[0; 4]).to_vec();
                    b.extend_from_slice(&[0; 4]);
                    wire::msg(out, v, wire::v13::QUEUE_REPLY, xid, &b)
                }
                wire::v13::GET_ASYNC_REQUEST => {
                    let b: Vec<u8> = [3u32, 0, 7, 0, 15, 0]
                        .iter()
                        .flat_map(|x| x.to_be_bytes())
                        .collect();
                    wire::msg(out, v, wire::v13::GET_ASYNC_REPLY, xid, &b)
                }
                _ => wire::error(out, v, xid, 1, 1, m),
            },
        }
    }

    /// Waits for I/O (at most `wait_ms`) and handles it.
    fn poll(&mut self, wait_ms: i32, events: &mut [libc::epoll_event]) {
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

    fn ready(&self) -> usize {
        self.sw.iter().filter(|w| w.state == State::Ready).count()
    }
}

struct Small {
    ports: u32,
    tables: u8,
}
impl Opt {
    fn clone_small(&self) -> Small {
        Small {
            ports: self.ports,
            tables: self.tables,
        }
    }
}

fn packet_ins(o: &Opt, no: u16, cookie: Option<u64>) -> PacketIns {
    let mut frame = vec![0; o.frame_len];
    wire::frame(&mut frame, known_mac(no), host_mac(no, 0), o.vlan, 0, 0);
    let n = if o.rate > 0.0 {
        1
    } else {
        (o.window as usize).min(1 + WRITE_BATCH / o.frame_len)
    };
    PacketIns::new(
        n,
        o.version,
        o.reason,
        o.table_id,
        cookie_of(o, cookie),
        o.vlan,
        &frame,
    )
}

fn cookie_of(o: &Opt, seen: Option<u64>) -> u64 {
    o.cookie.or(seen).unwrap_or(u64::MAX)
}

fn main() {
    let o = parse_args();
    let addr = match (o.host.as_str(), o.port)
        .to_socket_addrs()
        .ok()
        .and_then(|mut a| a.next())
    {
        Some(a) => a,
        None => die(&format!("cannot resolve {}:{}", o.host, o.port)),
    };
    // SAFETY: plain system calls on a local struct; a failed setrlimit only limits the number of switches.
    let epoll = unsafe {
        let mut r = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut r) == 0 {
            r.rlim_cur = r.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &r);
        }
        libc::epoll_create1(libc::EPOLL_CLOEXEC)
    };
    if epoll < 0 {
        die("epoll_create1 failed");
    }
    let sw = (0..o.switches)
        .map(|i| Switch {
            no: i as u16 + 1,
            dpid: o.dpid + i as u64,
            sock: None,
            state: State::Down(0),
            last_rx: 0,
            inbuf: Vec::new(),
            outbuf: Vec::with_capacity(1 << 17),
            out_pos: 0,
            want_write: false,
            entries: vec![Entry::default(); o.macs as usize],
            cursor: 0,
            outstanding: 0,
            overdue_at: 0,
            packet_ins: packet_ins(&o, i as u16 + 1, None),
            miss_send_len: 128,
            cookie: None,
            punted: false,
            last_answer: 0,
            max_gap: 0,
            connects: 0,
        })
        .collect();
    let bins = ((o.seconds * 1000.0) as u64 / o.interval_ms).max(1) as usize;
    let mut b = Bench {
        addr,
        t0: Instant::now(),
        epoll,
        sw,
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
        },
        scratch: vec![0; LONGEST + READ_BATCH],
        cpu_at: 0,
        first_error: String::new(),
        refused: 0,
        o: o.clone(),
    };
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; 256];

    // connect, handshake, probe
    for s in 0..o.switches {
        if !b.connect(s, Duration::from_secs(3)) && !o.reconnect {
            die(&b.first_error.clone());
        }
        if o.connect_gap_ms > 0 {
            let until = b.now() + o.connect_gap_ms * 1_000_000;
            while b.now() < until {
                b.poll(1, &mut events);
            }
        } else {
            b.poll(0, &mut events);
        }
    }
    let deadline = b.now() + (o.ready_timeout * 1e9) as u64;
    while b.ready() < o.switches && b.now() < deadline {
        b.poll(5, &mut events);
        let now = b.now();
        for s in 0..o.switches {
            b.tick(s, now);
        }
        if !o.reconnect && b.disconnects > 0 {
            break;
        }
    }
    let ready = b.ready();
    let handshake_ms = b.now() / 1_000_000;
    if ready < o.switches {
        eprintln!(
            "ofbench: only {ready} of {} switches became ready: {}",
            o.switches, b.first_error
        );
        println!(
            "{{\"tool\":\"ofbench\",\"label\":{},\"error\":\"not ready\",\"ready\":{ready},\"switches\":{},\"why\":{},\"bad_version\":{}}}",
            json_str(&o.label),
            o.switches,
            json_str(&b.first_error),
            b.c.bad_version
        );
        std::process::exit(2);
    }

    // load
    let spin = match o.spin {
        Spin::On => true,
        Spin::Off => false,
        Spin::Auto => o.latency || o.rate > 0.0,
    };
    b.sending = true;
    let begin = b.now();
    b.start_at = begin + (o.warmup * 1e9) as u64;
    let end = b.start_at + (o.seconds * 1e9) as u64;
    let mut unix_start = 0.0;
    let mut next_tick = 0;
    let mut next_due = begin as f64;
    let step = if o.rate > 0.0 { 1e9 / o.rate } else { 0.0 };
    let mut turn = 0usize;
    loop {
        let now = b.now();
        if now >= end {
            break;
        }
        if !b.measuring && now >= b.start_at {
            b.measuring = true;
            b.start_at = now;
            b.cpu_at = cpu_time();
            unix_start = SystemTime::now()
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
        }
        if now >= next_tick {
            for s in 0..o.switches {
                b.tick(s, now);
            }
            next_tick = now + 5_000_000;
            if !o.reconnect && b.disconnects > 0 {
                break;
            }
        }
        if step > 0.0 {
            let mut batch = 0;
            while next_due <= now as f64 && batch < 4096 {
                let s = turn % o.switches;
                turn += 1;
                let at = next_due as u64;
                next_due += step;
                batch += 1;
                let queued = b.sw[s].state == State::Ready
                    && b.sw[s].outstanding < o.window
                    && b.queue_packet_in(s, at);
                if !queued && b.measuring {
                    b.c.throttled += 1;
                }
            }
            if batch > 0 {
                for s in 0..o.switches {
                    if !b.sw[s].outbuf.is_empty() {
                        b.flush(s);
                    }
                }
            }
        }
        b.poll(if spin { 0 } else { 5 }, &mut events);
    }
    let cpu = cpu_time() - b.cpu_at;
    let took = (b.now().max(b.start_at) - b.start_at) as f64 / 1e9;
    let now = b.now();
    if b.measuring {
        b.max_gap = b.max_gap.max(now - b.last_answer.max(b.start_at));
        let st = b.start_at;
        for w in &mut b.sw {
            w.max_gap = w.max_gap.max(now - w.last_answer.max(st));
        }
    }
    let cpu_pct = if b.measuring {
        cpu as f64 / took / 1e7
    } else {
        0.0
    };
    report(&b, took, handshake_ms, unix_start, cpu_pct);
    if b.disconnects > 0 && !o.reconnect {
        eprintln!("ofbench: {}", b.first_error);
        std::process::exit(1);
    }
}

/// CPU time of this process so far, in nanoseconds.
fn cpu_time() -> u64 {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: t is live and writable.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

fn report(b: &Bench, took: f64, handshake_ms: u64, unix_start: f64, cpu_pct: f64) {
    let (o, c) = (&b.o, &b.c);
    let per = 1000.0 / o.interval_ms as f64;
    let whole = ((took * 1000.0) as u64 / o.interval_ms) as usize;
    // the last bin may be cut a few microseconds short: count it as whole
    let bins = if took + 0.01 >= o.seconds {
        b.samples.len()
    } else {
        whole.min(b.samples.len())
    };
    let rates: Vec<u64> = b.samples[..bins]
        .iter()
        .map(|n| (*n as f64 * per).round() as u64)
        .collect();
    let mut sorted = rates.clone();
    sorted.sort_unstable();
    let med = match sorted.len() {
        0 => 0,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2,
    };
    let us = |ns: u64| format!("{:.1}", ns as f64 / 1000.0);
    let h = &b.batch.hist;
    let ver = if o.version == wire::V10 { "1.0" } else { "1.3" };
    let sw_gap = b.sw.iter().map(|w| w.max_gap).max().unwrap_or(0);
    println!(
        "{{\"tool\":\"ofbench\",\"version\":\"{}\",\"label\":{},\"of\":\"{ver}\",\"mode\":\"{}\",\"host\":{},\"port\":{},\"switches\":{},\"macs\":{},\"window\":{},\"buffer\":\"{}\",\"unknown_pct\":{},\"offered_rate\":{},\"seconds\":{:.3},\"warmup\":{},\"t0_unix\":{:.3},\"handshake_ms\":{handshake_ms},\
\"responses\":{},\"rate\":{:.0},\"rate_med\":{med},\"rate_min\":{},\"rate_max\":{},\"samples\":{:?},\"interval_ms\":{},\
\"sent\":{},\"lost\":{},\"dup\":{},\"unmatched\":{},\"flow_mods\":{},\"packet_outs\":{},\"lldp\":{},\"other\":{},\"errors\":{},\"bad_version\":{},\"throttled\":{},\
\"lat_us\":{{\"n\":{},\"mean\":{},\"p50\":{},\"p90\":{},\"p99\":{},\"p99.9\":{},\"max\":{}}},\
\"max_gap_ms\":{:.2},\"switch_max_gap_ms\":{:.2},\"disconnects\":{},\"refused\":{},\"bytes_in\":{},\"bytes_out\":{},\"cpu_pct\":{cpu_pct:.1},\"note\":{}}}",
        env!("CARGO_PKG_VERSION"),
        json_str(&o.label),
        if o.latency {
            "latency"
        } else if o.rate > 0.0 {
            "rate"
        } else {
            "throughput"
        },
        json_str(&o.host),
        o.port,
        o.switches,
        o.macs,
        o.window,
        if o.buffer { "id" } else { "none" },
        o.unknown_pct,
        o.rate,
        took,
        o.warmup,
        unix_start,
        c.responses,
        if took > 0.0 {
            c.responses as f64 / took
        } else {
            0.0
        },
        sorted.first().unwrap_or(&0),
        sorted.last().unwrap_or(&0),
        rates,
        o.interval_ms,
        c.sent,
        c.lost,
        c.dup,
        c.unmatched,
        c.flow_mods,
        c.packet_outs,
        c.probes,
        c.other,
        c.errors,
        c.bad_version,
        c.throttled,
        h.len(),
        us(h.mean() as u64),
        us(h.quantile(0.5)),
        us(h.quantile(0.9)),
        us(h.quantile(0.99)),
        us(h.quantile(0.999)),
        us(h.max()),
        b.max_gap as f64 / 1e6,
        sw_gap as f64 / 1e6,
        b.disconnects,
        b.refused,
        c.bytes_in,
        c.bytes_out,
        json_str(&b.first_error)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_map_back_to_their_index() {
        for i in [0u32, 1, 255, 256, 65_535, 65_536, 1_048_575] {
            assert_eq!(index_of(7, Some(host_mac(7, i))), Some(i));
            assert_eq!(index_of(8, Some(host_mac(7, i))), None);
            assert_eq!(index_of(7, Some(unknown_mac(7, i))), None);
        }
        assert_eq!(index_of(7, Some(known_mac(7))), None);
    }

    #[test]
    fn buffer_ids_are_never_no_buffer_and_tell_generations_apart() {
        let mut e = vec![Entry::default(); 1 << 20];
        e[5].generation = 3;
        for g in [0u32, 1, 3, 2048, u32::MAX] {
            assert_ne!(buffer_id((1 << 20) - 1, g), wire::NO_BUFFER);
        }
        let r = Reply {
            buffer: Some(buffer_id(5, 3)),
            ..Reply::default()
        };
        assert_eq!(refers_to(1, &r, &e), Some((5, Some(true))));
        let r = Reply {
            buffer: Some(buffer_id(5, 2)),
            ..Reply::default()
        };
        assert_eq!(refers_to(1, &r, &e), Some((5, Some(false))));
    }

    #[test]
    fn a_reverse_flow_refers_to_the_same_packet_in() {
        let e = vec![Entry::default(); 100];
        let r = Reply {
            src: Some(known_mac(1)),
            dst: Some(host_mac(1, 42)),
            ..Reply::default()
        };
        assert_eq!(refers_to(1, &r, &e), Some((42, None)));
        let r = Reply {
            src: Some(known_mac(1)),
            dst: Some([0xff; 6]),
            ..Reply::default()
        };
        assert_eq!(refers_to(1, &r, &e), None);
    }

    #[test]
    fn json_strings_are_escaped() {
        assert_eq!(json_str("a\"b\\c\n"), "\"a\\\"b\\\\c\\u000a\"");
    }
}
