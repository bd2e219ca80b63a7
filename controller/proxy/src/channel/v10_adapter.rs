//! Translation of a channel that speaks OpenFlow 1.0: the rest of the proxy sees OpenFlow 1.3.
//!
//! 1. The only table of the switch stands for the first table of the only present app. A rule of another table, a goto, a
//!    group or a meter is refused with the error that a switch of version 1.3 would send.
//! 2. OpenFlow 1.0 selects rules by match alone. Statistics by cookie or table are therefore requested in full and filtered
//!    here. Deletions are strict only, and ignore the cookie of the rule.
//! 3. Packet-ins have no cookie and belong to the app of their table. Statistics have no flags: a rule with an idle timeout
//!    counts as one that reports its removal.
//! 4. Ports are part of the features, from which requests for their description are answered.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use morph_openflow::v10::convert::{
    self, ConversionError, actions_from_v13, actions_to_v13, match_from_v13, match_to_v13,
    port_from_v13, port_to_v13,
};
use morph_openflow::v10::{self, StatsBody, StatsReply, StatsRequest};
use morph_openflow::v13::error::kind;
use morph_openflow::v13::{
    self, AggregateStats, FlowMod, FlowModCommand, FlowStats, FlowStatsRequest, Instruction,
    Message, MultipartBody, MultipartReply, MultipartRequest, TABLE_ALL,
};
use morph_openflow::{DecodeError, Header, SkippedRule};

/// Limit of pending statistics requests. Beyond it the oldest are forgotten and never answered.
const PENDING_REQUESTS: usize = 1024;
/// Cookie of a packet-in whose rule is unknown, as in OpenFlow 1.3.
const NO_COOKIE: u64 = u64::MAX;

const BAD_TYPE: (u16, u16) = (kind::BAD_REQUEST, 1);
const BAD_MULTIPART: (u16, u16) = (kind::BAD_REQUEST, 2);
const BAD_LEN: (u16, u16) = (kind::BAD_REQUEST, 6);
const UNSUPPORTED_INSTRUCTION: (u16, u16) = (kind::BAD_INSTRUCTION, 1);
const BAD_TABLE_ID: (u16, u16) = (kind::FLOW_MOD_FAILED, 2);
const BAD_COMMAND: (u16, u16) = (kind::FLOW_MOD_FAILED, 6);
const BAD_FLAGS: (u16, u16) = (kind::FLOW_MOD_FAILED, 7);

/// Request that is sent in another form than it was made.
#[derive(Debug, Clone)]
enum PendingRequest {
    /// Port description, taken from the features.
    Ports,
    /// Rules, filtered from all rules of the switch.
    Flow(FlowFilter),
    /// Aggregate statistics, summed up from single rules.
    Aggregate(FlowFilter, AggregateStats),
}

/// Frames of OpenFlow 1.3, and the rules that cannot be decoded.
pub(super) type Translated = (Vec<Bytes>, Vec<SkippedRule>);

/// Selection of rules by table and cookie.
#[derive(Debug, Clone, Copy)]
struct FlowFilter {
    table: u8,
    cookie: u64,
    mask: u64,
}

impl FlowFilter {
    fn selects(&self, rule: &FlowStats) -> bool {
        let table = self.table == TABLE_ALL || self.table == rule.table_id;
        table && rule.cookie & self.mask == self.cookie & self.mask
    }
}

/// Translator between the 1.3 messages of the proxy and a switch that speaks OpenFlow 1.0.
#[derive(Debug, Clone, Default)]
pub(super) struct V10Adapter {
    /// First table of the present app; 0 if there is none.
    table: u8,
    /// Pending requests, keyed by xid.
    pending: BTreeMap<u32, PendingRequest>,
}

fn inexpressible<T>(
    refusal: (u16, u16),
    what: impl std::fmt::Display,
) -> Result<T, ConversionError> {
    Err(ConversionError::new(refusal, what))
}

/// Outgoing messages, from 1.3 to 1.0.
impl V10Adapter {
    /// Sets the table for which the only table of the switch stands.
    pub(super) fn place(&mut self, table: u8) {
        self.table = table;
    }

    /// Appends the message as OpenFlow 1.0, or says why 1.0 cannot express it.
    pub(super) fn send(
        &mut self,
        xid: u32,
        message: &Message,
        out: &mut BytesMut,
    ) -> Result<(), ConversionError> {
        let (message, pending) = self.translate_outgoing(message)?;
        if let Err(error) = message.try_encode_into(xid, out) {
            return inexpressible(BAD_LEN, error);
        }
        if let Some(pending) = pending {
            self.pending.insert(xid, pending);
            if self.pending.len() > PENDING_REQUESTS {
                self.pending.pop_first();
            }
        }
        Ok(())
    }

    fn translate_outgoing(
        &self,
        message: &Message,
    ) -> Result<(v10::Message, Option<PendingRequest>), ConversionError> {
        Ok(match message {
            Message::EchoRequest(data) => (v10::Message::EchoRequest(data.clone()), None),
            Message::FeaturesRequest => (v10::Message::FeaturesRequest, None),
            Message::SetConfig(config) => (v10::Message::SetConfig(*config), None),
            Message::BarrierRequest => (v10::Message::BarrierRequest, None),
            Message::RoleRequest(role) => (role_request(role.role)?, None),
            Message::PacketOut(out) => (packet_out(out)?, None),
            Message::FlowMod(flow) => (self.flow_mod(flow)?, None),
            Message::MultipartRequest(request) => return statistics(request),
            other => return inexpressible(BAD_TYPE, other.kind()),
        })
    }

    fn flow_mod(&self, flow: &FlowMod) -> Result<v10::Message, ConversionError> {
        use v10::FlowModCommand as Old;
        if flow.table_id != self.table {
            let (table, own) = (flow.table_id, self.table);
            return inexpressible(
                BAD_TABLE_ID,
                format_args!("table {table}: its only one stands for table {own}"),
            );
        }
        let command = match flow.command {
            FlowModCommand::Add => Old::Add,
            FlowModCommand::DeleteStrict => Old::DeleteStrict,
            other => return inexpressible(BAD_COMMAND, format_args!("{other:?} by cookie")),
        };
        let flags = flow.flags & !v13::flow_mod::flag::RESET_COUNTS;
        if flags & !(v10::flow_mod::flag::SEND_FLOW_REM | v10::flow_mod::flag::CHECK_OVERLAP) != 0 {
            return inexpressible(BAD_FLAGS, format_args!("flags {flags:#x}"));
        }
        let match_ = match_from_v13(&flow.match_)?;
        if match_.wildcards == 0 && flow.priority != u16::MAX {
            return inexpressible(
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
            actions: applied_actions(&flow.instructions)?,
        }))
    }
}

/// Extracts the actions of a rule that only applies actions.
fn applied_actions(instructions: &[Instruction]) -> Result<Vec<v10::Action>, ConversionError> {
    match instructions {
        [] => Ok(Vec::new()),
        [Instruction::ApplyActions(actions)] => actions_from_v13(actions),
        others => {
            let others: Vec<String> = others.iter().map(ToString::to_string).collect();
            let what = format_args!(
                "instruction {}: it can only apply actions",
                others.join(", ")
            );
            inexpressible(UNSUPPORTED_INSTRUCTION, what)
        }
    }
}

/// Translates a role: Nicira's numbers are one less than those of 1.3, and none asks for the current role.
fn role_request(role: u32) -> Result<v10::Message, ConversionError> {
    match role.checked_sub(1) {
        Some(role) => Ok(v10::Message::Vendor(v10::Vendor::NxRoleRequest(role))),
        None => inexpressible(BAD_TYPE, "request for the current role"),
    }
}

fn packet_out(out: &v13::PacketOut) -> Result<v10::Message, ConversionError> {
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

fn statistics(
    request: &MultipartRequest,
) -> Result<(v10::Message, Option<PendingRequest>), ConversionError> {
    let (request, pending) = match request {
        MultipartRequest::Desc => (StatsRequest::Desc, None),
        MultipartRequest::PortDesc => {
            return Ok((v10::Message::FeaturesRequest, Some(PendingRequest::Ports)));
        }
        MultipartRequest::PortStats { port_no } => {
            let port_no = port_from_v13(*port_no)?;
            (StatsRequest::Port { port_no }, None)
        }
        MultipartRequest::Flow(rules) => {
            let pending = PendingRequest::Flow(filter(rules));
            (StatsRequest::Flow(rules_of(rules)?), Some(pending))
        }
        MultipartRequest::Aggregate(rules) => {
            let pending = PendingRequest::Aggregate(filter(rules), AggregateStats::default());
            (StatsRequest::Flow(rules_of(rules)?), Some(pending))
        }
        other => {
            return inexpressible(
                BAD_MULTIPART,
                format_args!("statistics of type {}", other.kind()),
            );
        }
    };
    Ok((v10::Message::StatsRequest(request), pending))
}

fn filter(rules: &FlowStatsRequest) -> FlowFilter {
    FlowFilter {
        table: rules.table_id,
        cookie: rules.cookie,
        mask: rules.cookie_mask,
    }
}

fn rules_of(rules: &FlowStatsRequest) -> Result<v10::FlowStatsRequest, ConversionError> {
    Ok(v10::FlowStatsRequest {
        match_: match_from_v13(&rules.match_)?,
        table_id: v10::TABLE_ALL,
        out_port: port_from_v13(rules.out_port)?,
    })
}

/// Incoming messages, from 1.0 to 1.3.
impl V10Adapter {
    /// Translates a message to 1.3. Returns several frames where one is too small, and none for a message without a
    /// counterpart. Rules that cannot be decoded are left out, and returned beside.
    pub(super) fn receive(&mut self, frame: &Bytes) -> Result<Translated, DecodeError> {
        let (header, message, skipped) = v10::decode_lenient(frame)?;
        let Some(message) = self.translate_incoming(header, message) else {
            return Ok((Vec::new(), skipped));
        };
        let parts = match message {
            Message::MultipartReply(MultipartReply { more, body }) => parts(body, more),
            whole => vec![whole],
        };
        let encode = |message: Message| message.try_encode(header.xid);
        // Whole packets and descriptions are longer in 1.3; a message that exceeds a frame is dropped.
        let frames = parts.into_iter().filter_map(|part| encode(part).ok());
        Ok((frames.collect(), skipped))
    }

    fn translate_incoming(&mut self, header: Header, message: v10::Message) -> Option<Message> {
        Some(match message {
            v10::Message::Error(error) => {
                self.pending.remove(&header.xid);
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
                tracing::debug!(kind = ?v10::kind::name(other.kind()), "ignoring a message of the switch that was not requested");
                return None;
            }
        })
    }

    fn features(&mut self, xid: u32, features: &v10::FeaturesReply) -> Message {
        if let Some(PendingRequest::Ports) = self.pending.get(&xid) {
            self.pending.remove(&xid);
            let ports = features.ports.iter().map(convert::port_desc_to_v13);
            let body = MultipartBody::PortDesc(ports.collect());
            return Message::MultipartReply(MultipartReply { more: false, body });
        }
        use v10::capability::{FLOW_STATS, IP_REASM, PORT_STATS, QUEUE_STATS, TABLE_STATS};
        let common = FLOW_STATS | TABLE_STATS | PORT_STATS | IP_REASM | QUEUE_STATS;
        Message::FeaturesReply(v13::FeaturesReply {
            datapath_id: features.datapath_id,
            n_buffers: features.n_buffers,
            // The switch may have more tables, but chooses among them itself.
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

    /// Filters a part of the rules. A requested sum is returned with the last part.
    fn rules(&mut self, xid: u32, more: bool, rules: &[v10::FlowStats]) -> Option<MultipartBody> {
        let rules: Vec<FlowStats> = rules.iter().map(|rule| self.rule(rule)).collect();
        let body = match self.pending.get_mut(&xid)? {
            PendingRequest::Ports => return None,
            PendingRequest::Flow(filter) => {
                let taken = rules.into_iter().filter(|rule| filter.selects(rule));
                Some(MultipartBody::Flow(taken.collect()))
            }
            PendingRequest::Aggregate(filter, sum) => {
                for rule in rules.iter().filter(|rule| filter.selects(rule)) {
                    sum.packet_count = sum.packet_count.wrapping_add(rule.packet_count);
                    sum.byte_count = sum.byte_count.wrapping_add(rule.byte_count);
                    sum.flow_count = sum.flow_count.wrapping_add(1);
                }
                (!more).then_some(MultipartBody::Aggregate(*sum))
            }
        };
        if !more {
            self.pending.remove(&xid);
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
        let reports_removal = rule.idle_timeout != 0;
        FlowStats {
            table_id: self.table,
            duration_sec: rule.duration_sec,
            duration_nsec: rule.duration_nsec,
            priority: rule.priority,
            idle_timeout: rule.idle_timeout,
            hard_timeout: rule.hard_timeout,
            flags: if reports_removal {
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

/// Splits a reply: rules are longer in 1.3, so one part may become several.
fn parts(body: MultipartBody, more: bool) -> Vec<Message> {
    let mut parts = match body.into_parts() {
        Ok(parts) => parts,
        Err(error) => {
            tracing::warn!(
                "dropped statistics of the switch that do not fit into OpenFlow 1.3: {error}"
            );
            Vec::new()
        }
    };
    if let Some(last) = parts.last_mut() {
        last.more = more;
    }
    parts.into_iter().map(Message::MultipartReply).collect()
}

/// Converts port counters; 1.0 does not report the age of a port.
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
