//! Messages of the controller that are no answers.

use crate::bench::Bench;
use crate::switch::State;
use crate::wire;

/// Type and transaction id of a message.
pub(crate) fn kind(m: &[u8]) -> (u8, u32) {
    (m[1], u32::from_be_bytes([m[4], m[5], m[6], m[7]]))
}

impl Bench {
    /// Answers a message other than FLOW_MOD and PACKET_OUT.
    pub(crate) fn control(&mut self, s: usize, m: &[u8]) {
        let (v, (ty, xid)) = (self.o.version, kind(m));
        if self.o.verbose {
            eprintln!(
                "switch {}: <- type {ty} length {} {:02x?}",
                s + 1,
                m.len(),
                &m[8..m.len().min(24)]
            );
        }
        self.c.other += 1;
        let (w, o) = (&mut self.sw[s], &self.o);
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
}
