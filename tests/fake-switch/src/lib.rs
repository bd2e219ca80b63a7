//! A fake OpenFlow 1.3 switch for tests: what a switch answers to its controller, and which packets it sends there.
//!
//! It has no socket and no clock; each test brings its own connection. It is small: rules never time out, groups are
//! stored and not executed, and of a packet it knows only the input port.

mod bundles;
mod flow_table;
#[cfg(test)]
mod tests;

use bundles::{BundleError, BundleStep, Bundles};
use bytes::{Bytes, BytesMut};
use flow_table::FlowTable;
use morph_openflow::rule::RuleSet;
use morph_openflow::v13::error::{code, kind};
use morph_openflow::v13::experimenter::ONF;
use morph_openflow::v13::{
    Desc, ErrorMsg, FeaturesReply, FlowMod, GroupDesc, GroupMod, Instruction, Message,
    MultipartBody, MultipartReply, MultipartRequest, Port, SwitchConfig, TABLE_ALL, group,
    port_state,
};
use morph_openflow::{Header, MacAddr, MessageType};
use std::collections::BTreeMap;

pub use bundles::Commits;
pub use flow_table::Punt;

/// Ports of every switch, with a host at each.
const PORTS: std::ops::RangeInclusive<u32> = 1..=2;
/// Number of tables where a test says nothing else.
const TABLES: u8 = 254;
/// `OFPC_FLOW_STATS`, `OFPC_TABLE_STATS`, `OFPC_PORT_STATS` and `OFPC_GROUP_STATS`.
const CAPABILITIES: u32 = 0xf;
/// Bytes of a refused message that its error quotes.
const QUOTED: usize = 64;

/// Kind of request that a switch may refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// Type of a message, refused by `BAD_TYPE`.
    Message(MessageType),
    /// Type of a multipart request, refused by `BAD_MULTIPART`.
    Multipart(u16),
}

impl RequestKind {
    /// Code of `OFPET_BAD_REQUEST` by which a message is refused; `None`: it is not of this kind.
    fn refusal(self, message: &Message) -> Option<u16> {
        match (self, message) {
            (Self::Multipart(kind), Message::MultipartRequest(request)) => {
                (request.kind() == kind).then_some(code::bad_request::BAD_MULTIPART)
            }
            (Self::Message(kind), message) => {
                (message.kind() == kind).then_some(code::bad_request::BAD_TYPE)
            }
            (Self::Multipart(_), _) => None,
        }
    }
}

/// State of one switch.
#[derive(Debug)]
pub struct Datapath {
    dpid: u64,
    table: FlowTable,
    groups: BTreeMap<u32, GroupMod>,
    config: SwitchConfig,
    /// Whether barriers are answered.
    answers_barriers: bool,
    /// Xids of the barriers that wait for their answers.
    barriers: Vec<u32>,
    bundles: Bundles,
    flow_mods: u64,
    /// Number of tables.
    tables: u8,
    refused: Vec<RequestKind>,
    /// Whether the first rule of each reply cannot be decoded.
    garbles: bool,
}

impl Datapath {
    /// Creates a switch that has these rules already.
    pub fn new(dpid: u64, rules: RuleSet) -> Self {
        Self {
            dpid,
            table: FlowTable::new(rules),
            groups: BTreeMap::new(),
            config: SwitchConfig {
                flags: 0,
                miss_send_len: 128,
            },
            answers_barriers: true,
            barriers: Vec::new(),
            bundles: Bundles::default(),
            flow_mods: 0,
            tables: TABLES,
            refused: Vec::new(),
            garbles: false,
        }
    }

    /// Rules of all tables.
    pub fn rules(&self) -> &RuleSet {
        self.table.rules()
    }

    /// Rule by which packets of this port go to the controller; `None` when they do not.
    pub fn punt(&mut self, in_port: u32) -> Option<Punt> {
        self.table.punt(in_port)
    }

    /// Number of flow-mods so far.
    pub fn flow_mods(&self) -> u64 {
        self.flow_mods
    }

    /// Number of bundles whose changes were made.
    pub fn bundles(&self) -> u64 {
        self.bundles.made
    }

    /// Handles commit requests in this way from now on.
    pub fn set_commits(&mut self, commits: Commits) {
        self.bundles.commits = commits;
    }

    /// Withholds the answers to barriers from now on.
    pub fn hold_barriers(&mut self) {
        self.answers_barriers = false;
    }

    /// Answers barriers again, first those that wait.
    pub fn release_barriers(&mut self, out: &mut BytesMut) {
        self.answers_barriers = true;
        for xid in std::mem::take(&mut self.barriers) {
            Message::BarrierReply.encode_into(xid, out);
        }
    }

    /// Has so many tables from the next connection on, and refuses rules for others.
    pub fn set_tables(&mut self, tables: u8) {
        self.tables = tables;
    }

    /// Refuses requests of these kinds from now on.
    pub fn refuse(&mut self, kinds: &[RequestKind]) {
        self.refused = kinds.to_vec();
    }

    /// Reports the first rule of each reply in a form that cannot be decoded.
    pub fn garble_rules(&mut self) {
        self.garbles = true;
    }

    /// Forgets the barriers of a connection that is lost.
    pub fn disconnected(&mut self) {
        self.barriers.clear();
        self.bundles.disconnected();
    }

    /// Handles a message of the controller (`frame` in its encoded form), and writes the answers to `out`. Packet-outs
    /// are left to the caller.
    pub fn answer(&mut self, frame: &[u8], header: Header, message: Message, out: &mut BytesMut) {
        let mut refusals = self.refused.iter();
        if let Some(code) = refusals.find_map(|kind| kind.refusal(&message)) {
            return refusal(kind::BAD_REQUEST, code, frame).encode_into(header.xid, out);
        }
        let answer = match message {
            Message::EchoRequest(data) => Message::EchoReply(data),
            Message::FeaturesRequest => Message::FeaturesReply(FeaturesReply {
                datapath_id: self.dpid,
                n_buffers: 0,
                n_tables: self.tables,
                auxiliary_id: 0,
                capabilities: CAPABILITIES,
                reserved: 0,
            }),
            Message::GetConfigRequest => Message::GetConfigReply(self.config),
            Message::SetConfig(config) => return self.config = config,
            Message::BarrierRequest if self.answers_barriers => Message::BarrierReply,
            Message::BarrierRequest => return self.barriers.push(header.xid),
            // Every role is granted: there is only one connection.
            Message::RoleRequest(role) => Message::RoleReply(role),
            Message::FlowMod(flow) => match missing_table(&flow, self.tables) {
                Some((group, code)) => {
                    self.flow_mods += 1;
                    refusal(group, code, frame)
                }
                None => return self.flow_mod(flow, out),
            },
            Message::BundleControl(control) => match self.bundles.control(control) {
                BundleStep::Commit(changes, reply) => match self.commit(changes, out) {
                    Ok(()) => reply,
                    Err(error) => bundle_refusal(error, frame),
                },
                BundleStep::Reply(reply) => reply,
                BundleStep::Refused(error) => bundle_refusal(error, frame),
                BundleStep::Nothing => return,
            },
            Message::BundleAdd(add) => match self.bundles.add(header.xid, add) {
                BundleStep::Refused(error) => bundle_refusal(error, frame),
                BundleStep::Nothing | BundleStep::Reply(_) | BundleStep::Commit(..) => return,
            },
            Message::GroupMod(group) => match self.group_mod(group) {
                Ok(()) => return,
                Err(code) => refusal(kind::GROUP_MOD_FAILED, code, frame),
            },
            Message::MultipartRequest(request) => match self.multipart(&request) {
                Some(parts) => {
                    let start = out.len();
                    let is_flow = matches!(request, MultipartRequest::Flow(_));
                    write_parts(parts, header.xid, out);
                    if self.garbles && is_flow {
                        garble(out, start);
                    }
                    return;
                }
                None => refusal(kind::BAD_REQUEST, code::bad_request::BAD_MULTIPART, frame),
            },
            Message::Hello(_)
            | Message::Error(_)
            | Message::EchoReply(_)
            | Message::PacketOut(_) => {
                return;
            }
            _ => refusal(kind::BAD_REQUEST, code::bad_request::BAD_TYPE, frame),
        };
        answer.encode_into(header.xid, out);
    }

    fn flow_mod(&mut self, flow: FlowMod, out: &mut BytesMut) {
        self.flow_mods += 1;
        for removed in self.table.apply(flow) {
            removed.encode_into(0, out);
        }
    }

    /// Makes the changes of a bundle. The first bad one has an error of its own, and none is made then.
    fn commit(
        &mut self,
        changes: Vec<(FlowMod, Bytes)>,
        out: &mut BytesMut,
    ) -> Result<(), BundleError> {
        for (flow, frame) in &changes {
            if let Some((kind, code)) = missing_table(flow, self.tables) {
                let xid = Header::read(frame).map_or(0, |header| header.xid);
                refusal(kind, code, frame).encode_into(xid, out);
                return Err(BundleError::MessageFailed);
            }
        }
        self.bundles.made += u64::from(!changes.is_empty());
        for (flow, _) in changes {
            self.flow_mod(flow, out);
        }
        Ok(())
    }

    /// Changes a group. An error is a code of `OFPET_GROUP_MOD_FAILED`.
    fn group_mod(&mut self, group: GroupMod) -> Result<(), u16> {
        use code::group_mod_failed::{BAD_COMMAND, GROUP_EXISTS, UNKNOWN_GROUP};
        let exists = self.groups.contains_key(&group.group_id);
        match group.command {
            group::command::ADD if exists => return Err(GROUP_EXISTS),
            group::command::MODIFY if !exists => return Err(UNKNOWN_GROUP),
            group::command::ADD | group::command::MODIFY => {
                self.groups.insert(group.group_id, group);
            }
            group::command::DELETE if group.group_id == group::ALL => self.groups.clear(),
            group::command::DELETE => drop(self.groups.remove(&group.group_id)),
            _ => return Err(BAD_COMMAND),
        }
        Ok(())
    }

    /// Parts of the reply; `None` for a request that the switch does not support.
    fn multipart(&self, request: &MultipartRequest) -> Option<Vec<MultipartBody>> {
        let groups = || self.groups.values().map(group_desc).collect();
        Some(match request {
            MultipartRequest::Desc => vec![MultipartBody::Desc(Desc {
                mfr_desc: "Fake".into(),
                hw_desc: "none".into(),
                sw_desc: "1".into(),
                serial_num: self.dpid.to_string(),
                dp_desc: format!("fake switch {}", self.dpid),
            })],
            MultipartRequest::PortDesc => vec![MultipartBody::PortDesc(PORTS.map(port).collect())],
            MultipartRequest::PortStats { .. } => vec![MultipartBody::PortStats(Vec::new())],
            MultipartRequest::Flow(request) => self.table.stats(request),
            MultipartRequest::Aggregate(request) => {
                vec![MultipartBody::Aggregate(self.table.sum(request))]
            }
            MultipartRequest::GroupDesc => vec![MultipartBody::GroupDesc(groups())],
            MultipartRequest::MeterConfig { .. } => vec![MultipartBody::MeterConfig(Vec::new())],
            _ => return None,
        })
    }
}

/// Description of a port that is up.
pub fn port(number: u32) -> Port {
    let [.., low] = number.to_be_bytes();
    Port {
        port_no: number,
        hw_addr: MacAddr([2, 0, 0, 0, 1, low]),
        name: format!("eth{number}"),
        config: 0,
        state: port_state::LIVE,
        curr: 0,
        advertised: 0,
        supported: 0,
        peer: 0,
        curr_speed: 0,
        max_speed: 0,
    }
}

fn group_desc(group: &GroupMod) -> GroupDesc {
    GroupDesc {
        kind: group.kind,
        group_id: group.group_id,
        buckets: group.buckets.clone(),
    }
}

/// Error type and code for a rule that is in a missing table, or goes on to one.
fn missing_table(flow: &FlowMod, tables: u8) -> Option<(u16, u16)> {
    let is_missing = |table: u8| table >= tables && table != TABLE_ALL;
    let mut instructions = flow.instructions.iter();
    let goes_on = instructions
        .any(|instruction| matches!(instruction, Instruction::GotoTable(to) if is_missing(*to)));
    if is_missing(flow.table_id) {
        return Some((kind::FLOW_MOD_FAILED, 2));
    }
    goes_on.then_some((kind::BAD_INSTRUCTION, 2))
}

fn refusal(kind: u16, code: u16, frame: &[u8]) -> Message {
    let quoted = frame.get(..QUOTED).unwrap_or(frame);
    Message::Error(ErrorMsg {
        kind,
        code,
        data: Bytes::copy_from_slice(quoted),
    })
}

fn bundle_refusal(error: BundleError, frame: &[u8]) -> Message {
    let experimenter = ONF.to_be_bytes();
    refusal(
        kind::EXPERIMENTER,
        error as u16,
        &[&experimenter, frame].concat(),
    )
}

fn write_parts(parts: Vec<MultipartBody>, xid: u32, out: &mut BytesMut) {
    let last = parts.len().saturating_sub(1);
    for (at, body) in parts.into_iter().enumerate() {
        let more = at < last;
        Message::MultipartReply(MultipartReply { more, body }).encode_into(xid, out);
    }
}

/// Gives the first rule of a reply that begins here a match of an unknown type.
fn garble(out: &mut [u8], reply: usize) {
    /// Bytes of a multipart reply before its first rule, and of a rule before the lower byte of its match's type.
    const MATCH_TYPE: usize = 16 + 49;
    if let Some(byte) = out.get_mut(reply + MATCH_TYPE) {
        *byte = 9;
    }
}
