//! One fake switch.

use crate::address::{host_mac, known_mac};
use crate::options::Opt;
use crate::outstanding::Entry;
use crate::wire::{self, PacketIns};
use std::net::TcpStream;

/// Bytes of packet-ins handed to one write.
const WRITE_BATCH: usize = 128 << 10;

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum State {
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

pub(crate) struct Switch {
    pub(crate) no: u16,
    pub(crate) dpid: u64,
    pub(crate) sock: Option<TcpStream>,
    pub(crate) state: State,
    pub(crate) last_rx: u64,
    pub(crate) inbuf: Vec<u8>,
    pub(crate) outbuf: Vec<u8>,
    pub(crate) out_pos: usize,
    pub(crate) want_write: bool,
    pub(crate) entries: Vec<Entry>,
    pub(crate) cursor: u32,
    /// Every address was sent once.
    pub(crate) been_around: bool,
    pub(crate) outstanding: u32,
    /// nothing can be overdue before this time
    pub(crate) overdue_at: u64,
    pub(crate) packet_ins: PacketIns,
    pub(crate) miss_send_len: u16,
    pub(crate) cookie: Option<u64>,
    /// `cookie` is that of a rule that sends to the controller.
    pub(crate) punted: bool,
    /// Cookie of the packet-ins.
    pub(crate) sent_cookie: Option<u64>,
    pub(crate) last_answer: u64,
    pub(crate) max_gap: u64,
    pub(crate) connects: u32,
    /// Packet-ins that it may still send.
    pub(crate) left: u64,
    /// Sends whatever is unanswered, and has no part in the results.
    pub(crate) floods: bool,
}

impl Switch {
    /// A switch that is not connected; `no` counts from 1.
    pub(crate) fn new(o: &Opt, no: u16) -> Switch {
        Switch {
            no,
            dpid: o.dpid + no as u64 - 1,
            sock: None,
            state: State::Down(0),
            last_rx: 0,
            inbuf: Vec::new(),
            outbuf: Vec::with_capacity(1 << 17),
            out_pos: 0,
            want_write: false,
            entries: vec![Entry::default(); o.macs as usize],
            cursor: 0,
            been_around: false,
            outstanding: 0,
            overdue_at: 0,
            packet_ins: packet_ins(o, no, None),
            miss_send_len: 128,
            cookie: None,
            punted: false,
            sent_cookie: None,
            last_answer: 0,
            max_gap: 0,
            connects: 0,
            left: u64::MAX,
            floods: false,
        }
    }
}

pub(crate) fn packet_ins(o: &Opt, no: u16, cookie: Option<u64>) -> PacketIns {
    let mut frame = vec![0; o.frame_len];
    wire::frame(&mut frame, known_mac(no), host_mac(no, 0), o.vlan, 0, 0);
    let n = if o.rate > 0.0 && !floods(o, no) {
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

/// Whether this switch is the one that floods.
pub(crate) fn floods(o: &Opt, no: u16) -> bool {
    o.flood_seconds > 0.0 && no == 1
}

pub(crate) fn cookie_of(o: &Opt, seen: Option<u64>) -> u64 {
    o.cookie.or(seen).unwrap_or(u64::MAX)
}
