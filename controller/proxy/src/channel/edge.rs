//! The edge of a channel that speaks OpenFlow 1.0: behind it all is 1.3.
//!
//! 1. The one table of the switch is the first table of the one present app. A rule of another table, a goto, a group or a meter
//!    has no place there: it is refused, with the error that a switch of 1.3 would have answered.
//! 2. 1.0 selects rules by match alone. So statistics by cookie or table are asked for in full and sifted here, and
//!    deletions are strict ones only; whose cookie the rule bears does not count then.
//! 3. Packet-ins bear no cookie: they are the app's by their table. Statistics bear no flags: a rule with an idle timeout
//!    counts as one that tells when it goes.
//! 4. Ports are part of the features: who asks for their description is answered from those.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use morph_openflow::v10::convert::{
    self, Inexpressible, actions_from_v13, actions_to_v13, match_from_v13, match_to_v13,
    port_from_v13, port_to_v13,
};
use morph_openflow::v10::{self, StatsBody, StatsReply, StatsRequest};
use morph_openflow::v13::error::kind;
use morph_openflow::v13::{
    self, AggregateStats, FlowMod, FlowModCommand, FlowStats, FlowStatsRequest, Instruction,
    Message, MultipartBody, MultipartReply, MultipartRequest, TABLE_ALL,
};
use morph_openflow::{DecodeError, Header};

/// Statistics that are asked for at once; beyond it the oldest are forgotten, and never answered.
const ASKED: usize = 1024;
/// The packet-in's rule is not known: as 1.3 says it.
const NO_COOKIE: u64 = u64::MAX;

const BAD_TYPE: (u16, u16) = (kind::BAD_REQUEST, 1);
const BAD_MULTIPART: (u16, u16) = (kind::BAD_REQUEST, 2);
const BAD_LEN: (u16, u16) = (kind::BAD_REQUEST, 6);
const UNSUPPORTED_INSTRUCTION: (u16, u16) = (kind::BAD_INSTRUCTION, 1);
const BAD_TABLE_ID: (u16, u16) = (kind::FLOW_MOD_FAILED, 2);
const BAD_COMMAND: (u16, u16) = (kind::FLOW_MOD_FAILED, 6);
const BAD_FLAGS: (u16, u16) = (kind::FLOW_MOD_FAILED, 7);

/// What is asked in another way than it was meant.
#[derive(Debug, Clone)]
enum Asked {
    /// The description of ports, by way of the features.
    Ports,
    /// Rules, of all that there are.
    Flow(Sieve),
    /// The sum of rules, one by one.
    Aggregate(Sieve, AggregateStats),
}

/// Which rules are meant.
#[derive(Debug, Clone, Copy)]
struct Sieve {
    table: u8,
    cookie: u64,
    mask: u64,
}

impl Sieve {
    fn takes(&self, rule: &FlowStats) -> bool {
        let table = self.table == TABLE_ALL || self.table == rule.table_id;
        table && rule.cookie & self.mask == self.cookie & self.mask
    }
}

/// The machine.
#[derive(Debug, Clone, Default)]
pub(super) struct Edge {
    /// The first table of the present app; 0 where there is none.
    table: u8,
    /// By xid.
    asked: BTreeMap<u32, Asked>,
}

fn no<T>(refusal: (u16, u16), what: impl std::fmt::Display) -> Result<T, Inexpressible> {
    Err(Inexpressible::new(refusal, what))
}

/// What goes out.
impl Edge {
    /// Says which table the switch's one is.
    pub(super) fn place(&mut self, table: u8) {
        self.table = table;
    }

    /// Appends the message in the words of 1.0, or says why it cannot be.
    pub(super) fn send(
        &mut self,
        xid: u32,
        message: &Message,
        out: &mut BytesMut,
    ) -> Result<(), Inexpressible> {
        let (message, asked) = self.translate(message)?;
        if let Err(error) = message.try_encode_into(xid, out) {
            return no(BAD_LEN, error);
        }
        if let Some(asked) = asked {
            self.asked.insert(xid, asked);
            if self.asked.len() > ASKED {
                self.asked.pop_first();
            }
        }
        Ok(())
    }

    fn translate(&self, message: &Message) -> Result<(v10::Message, Option<Asked>), Inexpressible> {
        Ok(match message {
            Message::EchoRequest(data) => (v10::Message::EchoRequest(data.clone()), None),
            Message::FeaturesRequest => (v10::Message::FeaturesRequest, None),
            Message::SetConfig(config) => (v10::Message::SetConfig(*config), None),
            Message::BarrierRequest => (v10::Message::BarrierRequest, None),
            Message::RoleRequest(role) => (role_request(role.role)?, None),
            Message::PacketOut(out) => (packet_out(out)?, None),
            Message::FlowMod(flow) => (self.flow_mod(flow)?, None),
            Message::MultipartRequest(request) => return statistics(request),
            other => return no(BAD_TYPE, other.kind()),
        })
    }

    fn flow_mod(&self, flow: &FlowMod) -> Result<v10::Message, Inexpressible> {
        use v10::FlowModCommand as Old;
        if flow.table_id != self.table {
            let (table, own) = (flow.table_id, self.table);
            return no(BAD_TABLE_ID, format_args!("table but {own}, so no {table}"));
        }
        let command = match flow.command {
            FlowModCommand::Add => Old::Add,
            FlowModCommand::DeleteStrict => Old::DeleteStrict,
            other => return no(BAD_COMMAND, format_args!("{other:?} by cookie")),
        };
        let flags = flow.flags & !v13::flow_mod::flag::RESET_COUNTS;
        if flags & !(v10::flow_mod::flag::SEND_FLOW_REM | v10::flow_mod::flag::CHECK_OVERLAP) != 0 {
            return no(BAD_FLAGS, format_args!("flags {flags:#x}"));
        }
        let match_ = match_from_v13(&flow.match_)?;
        if match_.wildcards == 0 && flow.priority != u16::MAX {
            return no(
                BAD_COMMAND,
                "priority below the highest for a rule without wildcards",
            );
        }
        Ok(v10::Message::FlowMod(v10::FlowMod {
            match_,
            cookie: flow.cookie,
            command,
            idle_timeout: flow.idle_timeout,
            hard_timeout: flow.hard_timeout,
            priority: flow.priority,
            buffer_id: flow.buffer_id,
            out_port: port_from_v13(flow.out_port)?,
            flags,
            actions: applied(&flow.instructions)?,
        }))
    }
}

/// The actions of a rule that does nothing but apply them.
fn applied(instructions: &[Instruction]) -> Result<Vec<v10::Action>, Inexpressible> {
    match instructions {
        [] => Ok(Vec::new()),
        [Instruction::ApplyActions(actions)] => actions_from_v13(actions),
        others => {
            let others: Vec<String> = others.iter().map(ToString::to_string).collect();
            let what = format_args!(
                "instructions but to apply actions, so no {}",
                others.join(", ")
            );
            no(UNSUPPORTED_INSTRUCTION, what)
        }
    }
}

/// 1.0 has no roles; Nicira's are one less than those of 1.3, and none of them asks for the present one.
fn role_request(role: u32) -> Result<v10::Message, Inexpressible> {
    match role.checked_sub(1) {
        Some(role) => Ok(v10::Message::Vendor(v10::Vendor::NxRoleRequest(role))),
        None => no(BAD_TYPE, "question for the present role"),
    }
}

fn packet_out(out: &v13::PacketOut) -> Result<v10::Message, Inexpressible> {
    let in_port = match out.in_port {
        v13::port::CONTROLLER => v10::port::NONE,
        port => port_from_v13(port)?,
    };
    Ok(v10::Message::PacketOut(v10::PacketOut {
        buffer_id: out.buffer_id,
        in_port,
        actions: actions_from_v13(&out.actions)?,
        data: out.data.clone(),
    }))
}

fn statistics(request: &MultipartRequest) -> Result<(v10::Message, Option<Asked>), Inexpressible> {
    let (request, asked) = match request {
        MultipartRequest::Desc => (StatsRequest::Desc, None),
        MultipartRequest::PortDesc => {
            return Ok((v10::Message::FeaturesRequest, Some(Asked::Ports)));
        }
        MultipartRequest::PortStats { port_no } => {
            let port_no = port_from_v13(*port_no)?;
            (StatsRequest::Port { port_no }, None)
        }
        MultipartRequest::Flow(rules) => {
            let asked = Asked::Flow(sieve(rules));
            (StatsRequest::Flow(rules_of(rules)?), Some(asked))
        }
        MultipartRequest::Aggregate(rules) => {
            let asked = Asked::Aggregate(sieve(rules), AggregateStats::default());
            (StatsRequest::Flow(rules_of(rules)?), Some(asked))
        }
        other => {
            return no(
                BAD_MULTIPART,
                format_args!("statistics of type {}", other.kind()),
            );
        }
    };
    Ok((v10::Message::StatsRequest(request), asked))
}

fn sieve(rules: &FlowStatsRequest) -> Sieve {
    Sieve {
        table: rules.table_id,
        cookie: rules.cookie,
        mask: rules.cookie_mask,
    }
}

fn rules_of(rules: &FlowStatsRequest) -> Result<v10::FlowStatsRequest, Inexpressible> {
    Ok(v10::FlowStatsRequest {
        match_: match_from_v13(&rules.match_)?,
        table_id: v10::TABLE_ALL,
        out_port: port_from_v13(rules.out_port)?,
    })
}

/// What comes in.
impl Edge {
    /// The message in the words of 1.3: one frame, several where it does not fit into one, or none where it says nothing that
    /// 1.3 knows.
    pub(super) fn receive(&mut self, frame: &Bytes) -> Result<Vec<Bytes>, DecodeError> {
        let (header, message) = v10::decode(frame)?;
        let Some(message) = self.meaning(header, message) else {
            return Ok(Vec::new());
        };
        let parts = match message {
            Message::MultipartReply(MultipartReply { more, body }) => parts(body, more),
            whole => vec![whole],
        };
        let encode = |message: Message| message.try_encode(header.xid);
        // Whole packets and descriptions are longer in 1.3; what no longer fits into a frame is as good as lost.
        Ok(parts
            .into_iter()
            .filter_map(|part| encode(part).ok())
            .collect())
    }

    fn meaning(&mut self, header: Header, message: v10::Message) -> Option<Message> {
        Some(match message {
            v10::Message::Error(error) => {
                self.asked.remove(&header.xid);
                Message::Error(convert::error_to_v13(&error))
            }
            v10::Message::FeaturesReply(features) => self.features(header.xid, &features),
            v10::Message::PacketIn(packet) => Message::PacketIn(self.packet_in(packet)),
            v10::Message::FlowRemoved(removed) => Message::FlowRemoved(self.flow_removed(&removed)),
            v10::Message::PortStatus(status) => Message::PortStatus(v13::PortStatus {
                reason: status.reason,
                port: convert::port_desc_to_v13(&status.desc),
            }),
            v10::Message::StatsReply(reply) => {
                Message::MultipartReply(self.reply(header.xid, reply)?)
            }
            v10::Message::GetConfigReply(config) => Message::GetConfigReply(config),
            v10::Message::BarrierReply => Message::BarrierReply,
            v10::Message::Vendor(v10::Vendor::NxRoleReply(role)) => Message::RoleReply(v13::Role {
                role: role.saturating_add(1),
                generation_id: 0,
            }),
            other => {
                tracing::debug!(kind = ?v10::kind::name(other.kind()), "not asked for, and ignored");
                return None;
            }
        })
    }

    fn features(&mut self, xid: u32, features: &v10::FeaturesReply) -> Message {
        if let Some(Asked::Ports) = self.asked.get(&xid) {
            self.asked.remove(&xid);
            let ports = features.ports.iter().map(convert::port_desc_to_v13);
            let body = MultipartBody::PortDesc(ports.collect());
            return Message::MultipartReply(MultipartReply { more: false, body });
        }
        use v10::capability::{FLOW_STATS, IP_REASM, PORT_STATS, QUEUE_STATS, TABLE_STATS};
        let common = FLOW_STATS | TABLE_STATS | PORT_STATS | IP_REASM | QUEUE_STATS;
        Message::FeaturesReply(v13::FeaturesReply {
            datapath_id: features.datapath_id,
            n_buffers: features.n_buffers,
            // However many it has, it chooses among them itself.
            n_tables: 1,
            auxiliary_id: 0,
            capabilities: features.capabilities & common,
            reserved: 0,
        })
    }

    fn packet_in(&self, packet: v10::PacketIn) -> v13::PacketIn {
        v13::PacketIn {
            buffer_id: packet.buffer_id,
            total_len: packet.total_len,
            reason: packet.reason,
            table_id: self.table,
            cookie: NO_COOKIE,
            match_: v13::Match::new().in_port(port_to_v13(packet.in_port)),
            data: packet.data,
        }
    }

    fn flow_removed(&self, removed: &v10::FlowRemoved) -> v13::FlowRemoved {
        v13::FlowRemoved {
            cookie: removed.cookie,
            priority: removed.priority,
            reason: removed.reason,
            table_id: self.table,
            duration_sec: removed.duration_sec,
            duration_nsec: removed.duration_nsec,
            idle_timeout: removed.idle_timeout,
            hard_timeout: 0,
            packet_count: removed.packet_count,
            byte_count: removed.byte_count,
            match_: match_to_v13(&removed.match_),
        }
    }

    fn reply(&mut self, xid: u32, reply: StatsReply) -> Option<MultipartReply> {
        let more = reply.more;
        let body = match reply.body {
            StatsBody::Desc(desc) => MultipartBody::Desc(desc),
            StatsBody::Port(ports) => {
                MultipartBody::PortStats(ports.iter().map(counters).collect())
            }
            StatsBody::Flow(rules) => self.rules(xid, more, &rules)?,
            _ => return None,
        };
        Some(MultipartReply { more, body })
    }

    /// Those that were asked for; their sum, if that was, with the last part.
    fn rules(&mut self, xid: u32, more: bool, rules: &[v10::FlowStats]) -> Option<MultipartBody> {
        let rules: Vec<FlowStats> = rules.iter().map(|rule| self.rule(rule)).collect();
        let body = match self.asked.get_mut(&xid)? {
            Asked::Ports => return None,
            Asked::Flow(sieve) => {
                let taken = rules.into_iter().filter(|rule| sieve.takes(rule));
                Some(MultipartBody::Flow(taken.collect()))
            }
            Asked::Aggregate(sieve, sum) => {
                for rule in rules.iter().filter(|rule| sieve.takes(rule)) {
                    sum.packet_count = sum.packet_count.wrapping_add(rule.packet_count);
                    sum.byte_count = sum.byte_count.wrapping_add(rule.byte_count);
                    sum.flow_count = sum.flow_count.wrapping_add(1);
                }
                (!more).then_some(MultipartBody::Aggregate(*sum))
            }
        };
        if !more {
            self.asked.remove(&xid);
        }
        body
    }

    fn rule(&self, rule: &v10::FlowStats) -> FlowStats {
        let match_ = match_to_v13(&rule.match_);
        let actions = actions_to_v13(&rule.actions, &match_);
        let instructions = match actions.is_empty() {
            true => Vec::new(),
            false => vec![Instruction::ApplyActions(actions)],
        };
        let tells = rule.idle_timeout != 0;
        FlowStats {
            table_id: self.table,
            duration_sec: rule.duration_sec,
            duration_nsec: rule.duration_nsec,
            priority: rule.priority,
            idle_timeout: rule.idle_timeout,
            hard_timeout: rule.hard_timeout,
            flags: if tells {
                v13::flow_mod::flag::SEND_FLOW_REM
            } else {
                0
            },
            cookie: rule.cookie,
            packet_count: rule.packet_count,
            byte_count: rule.byte_count,
            match_,
            instructions,
        }
    }
}

/// Rules take more room in 1.3: a part may become several.
fn parts(body: MultipartBody, more: bool) -> Vec<Message> {
    let mut parts = match body.into_parts() {
        Ok(parts) => parts,
        Err(error) => {
            tracing::warn!("statistics are lost: {error}");
            Vec::new()
        }
    };
    if let Some(last) = parts.last_mut() {
        last.more = more;
    }
    parts.into_iter().map(Message::MultipartReply).collect()
}

/// 1.0 does not say how long a port lives.
fn counters(old: &v10::PortStats) -> v13::PortStats {
    v13::PortStats {
        port_no: port_to_v13(old.port_no),
        rx_packets: old.rx_packets,
        tx_packets: old.tx_packets,
        rx_bytes: old.rx_bytes,
        tx_bytes: old.tx_bytes,
        rx_dropped: old.rx_dropped,
        tx_dropped: old.tx_dropped,
        rx_errors: old.rx_errors,
        tx_errors: old.tx_errors,
        rx_frame_err: old.rx_frame_err,
        rx_over_err: old.rx_over_err,
        rx_crc_err: old.rx_crc_err,
        collisions: old.collisions,
        duration_sec: 0,
        duration_nsec: 0,
    }
}
