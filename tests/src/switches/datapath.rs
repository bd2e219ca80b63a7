//! What a switch is to its controller: its rules and groups, what it answers, and where a packet goes. Pure.
//!
//! Small: rules have no timeouts of their own accord, groups are kept and not carried out, and of a packet it knows its port.

use bytes::BytesMut;
use morph_openflow::rule::{RuleBody, RuleKey, RuleSet};
use morph_openflow::v13::error::{code, kind};
use morph_openflow::v13::{
    Action, Desc, ErrorMsg, FeaturesReply, FlowMod, FlowModCommand, FlowRemoved, FlowStats,
    FlowStatsRequest, GroupDesc, GroupMod, Instruction, Match, Message, MultipartBody,
    MultipartReply, MultipartRequest, OxmField, Port, PortStatus, SwitchConfig, TABLE_ALL,
    flow_mod, group, port, port_reason, port_state,
};
use morph_openflow::{Header, MacAddr};
use std::collections::BTreeMap;

/// Its ports: hosts are at them.
const PORTS: std::ops::RangeInclusive<u32> = 1..=4;
const TABLES: u8 = 254;
/// `OFPC_FLOW_STATS`, `OFPC_TABLE_STATS`, `OFPC_PORT_STATS` and `OFPC_GROUP_STATS`.
const CAPABILITIES: u32 = 0xf;
/// `OFPRR_DELETE`.
const DELETED: u8 = 2;
/// Rules in one part of a reply.
const PART: usize = 500;
/// As much of a refused message is quoted.
const QUOTED: usize = 64;

#[derive(Debug)]
pub(super) struct Datapath {
    dpid: u64,
    rules: RuleSet,
    groups: BTreeMap<u32, GroupMod>,
    ports: BTreeMap<u32, Port>,
    config: SwitchConfig,
    /// What was found for a port since rules changed last.
    found: BTreeMap<u32, Option<Punt>>,
}

/// By which rule a packet goes to the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Punt {
    pub(super) table: u8,
    pub(super) cookie: u64,
}

impl Datapath {
    pub(super) fn new(dpid: u64) -> Self {
        Self {
            dpid,
            rules: RuleSet::new(),
            groups: BTreeMap::new(),
            ports: PORTS.map(|n| (n, new_port(n))).collect(),
            config: SwitchConfig {
                flags: 0,
                miss_send_len: 128,
            },
            found: BTreeMap::new(),
        }
    }

    /// Answers a message. Packet-outs are not for it.
    pub(super) fn answer(
        &mut self,
        frame: &[u8],
        header: Header,
        message: Message,
        out: &mut BytesMut,
    ) {
        let answer = match message {
            Message::EchoRequest(data) => Message::EchoReply(data),
            Message::FeaturesRequest => Message::FeaturesReply(FeaturesReply {
                datapath_id: self.dpid,
                n_buffers: 0,
                n_tables: TABLES,
                auxiliary_id: 0,
                capabilities: CAPABILITIES,
                reserved: 0,
            }),
            Message::GetConfigRequest => Message::GetConfigReply(self.config),
            Message::SetConfig(config) => return self.config = config,
            Message::BarrierRequest => Message::BarrierReply,
            // One connection is equal to none other.
            Message::RoleRequest(role) => Message::RoleReply(role),
            Message::FlowMod(flow) => return self.flow_mod(flow, out),
            Message::GroupMod(group) => match self.group_mod(group) {
                Ok(()) => return,
                Err(code) => refusal(kind::GROUP_MOD_FAILED, code, frame),
            },
            Message::MultipartRequest(request) => {
                match self.multipart(&request) {
                    Some(parts) => write_parts(parts, header.xid, out),
                    None => {
                        let code = code::bad_request::BAD_MULTIPART;
                        refusal(kind::BAD_REQUEST, code, frame).encode_into(header.xid, out);
                    }
                }
                return;
            }
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
        self.found.clear();
        let key = RuleKey::new(flow.table_id, flow.priority, &flow.match_);
        match flow.command {
            FlowModCommand::Add => {
                let body = RuleBody {
                    instructions: flow.instructions,
                    idle_timeout: flow.idle_timeout,
                    hard_timeout: flow.hard_timeout,
                    flags: flow.flags,
                    cookie: flow.cookie,
                };
                self.rules.insert(key, body);
            }
            FlowModCommand::Modify | FlowModCommand::ModifyStrict => {
                for (_, body) in self
                    .rules
                    .iter_mut()
                    .filter(|(other, body)| concerns(&flow, &key, other, body))
                {
                    body.instructions.clone_from(&flow.instructions);
                }
            }
            FlowModCommand::Delete | FlowModCommand::DeleteStrict => {
                let gone = self
                    .rules
                    .extract_if(.., |other, body| concerns(&flow, &key, other, body));
                for (key, body) in
                    gone.filter(|(_, body)| body.flags & flow_mod::flag::SEND_FLOW_REM != 0)
                {
                    removed(&key, &body).encode_into(0, out);
                }
            }
        }
    }

    /// An error: the code of `OFPET_GROUP_MOD_FAILED`.
    fn group_mod(&mut self, group: GroupMod) -> Result<(), u16> {
        use code::group_mod_failed::{BAD_COMMAND, GROUP_EXISTS, UNKNOWN_GROUP};
        let there = self.groups.contains_key(&group.group_id);
        match group.command {
            group::command::ADD if there => return Err(GROUP_EXISTS),
            group::command::MODIFY if !there => return Err(UNKNOWN_GROUP),
            group::command::ADD | group::command::MODIFY => {
                self.groups.insert(group.group_id, group);
            }
            group::command::DELETE if group.group_id == group::ALL => self.groups.clear(),
            group::command::DELETE => drop(self.groups.remove(&group.group_id)),
            _ => return Err(BAD_COMMAND),
        }
        Ok(())
    }

    fn multipart(&self, request: &MultipartRequest) -> Option<Vec<MultipartBody>> {
        Some(match request {
            MultipartRequest::Desc => vec![MultipartBody::Desc(Desc {
                mfr_desc: "Morpheus's tests".into(),
                hw_desc: "none".into(),
                sw_desc: "1".into(),
                serial_num: self.dpid.to_string(),
                dp_desc: format!("fake switch {}", self.dpid),
            })],
            MultipartRequest::PortDesc => {
                vec![MultipartBody::PortDesc(
                    self.ports.values().cloned().collect(),
                )]
            }
            MultipartRequest::PortStats { .. } => vec![MultipartBody::PortStats(Vec::new())],
            MultipartRequest::Flow(request) => self.stats(request),
            MultipartRequest::GroupDesc => vec![MultipartBody::GroupDesc(
                self.groups.values().map(described).collect(),
            )],
            MultipartRequest::MeterConfig { .. } => vec![MultipartBody::MeterConfig(Vec::new())],
            _ => return None,
        })
    }

    /// In parts, as large switches do.
    fn stats(&self, request: &FlowStatsRequest) -> Vec<MultipartBody> {
        let asked = |(key, body): &(&RuleKey, &RuleBody)| {
            let table = request.table_id == TABLE_ALL || request.table_id == key.table;
            let cookie = body.cookie & request.cookie_mask == request.cookie & request.cookie_mask;
            table && cookie && covers(&request.match_, &key.match_)
        };
        let found: Vec<FlowStats> = self.rules.iter().filter(asked).map(reported).collect();
        if found.is_empty() {
            return vec![MultipartBody::Flow(found)];
        }
        found
            .chunks(PART)
            .map(|part| MultipartBody::Flow(part.to_vec()))
            .collect()
    }

    /// Changes a port, and says so.
    pub(super) fn set_port(&mut self, number: u32, up: bool) -> Message {
        let port = self.ports.entry(number).or_insert_with(|| new_port(number));
        port.state = if up {
            port_state::LIVE
        } else {
            port_state::LINK_DOWN
        };
        Message::PortStatus(PortStatus {
            reason: port_reason::MODIFY,
            port: port.clone(),
        })
    }

    /// Packets of this port go to the controller.
    pub(super) fn punts(&mut self, port: u32) -> bool {
        self.punt(port).is_some()
    }

    /// By which rule they do.
    pub(super) fn punt(&mut self, port: u32) -> Option<Punt> {
        if let Some(found) = self.found.get(&port) {
            return *found;
        }
        let found = self.look(port);
        self.found.insert(port, found);
        found
    }

    /// The pipeline, from table 0 on. The first rule that sends the packet to the controller counts.
    fn look(&self, in_port: u32) -> Option<Punt> {
        let mut table = 0;
        loop {
            let of_table = self.rules.iter().filter(|(key, _)| key.table == table);
            let meets = of_table.filter(|(key, _)| meets(&key.match_, in_port));
            let (_, rule) = meets.max_by_key(|(key, _)| key.priority)?;
            let mut next = None;
            for instruction in &rule.instructions {
                match instruction {
                    Instruction::ApplyActions(actions) if actions.iter().any(is_punt) => {
                        let cookie = rule.cookie;
                        return Some(Punt { table, cookie });
                    }
                    Instruction::GotoTable(to) => next = Some(*to),
                    _ => {}
                }
            }
            // Only forward, so there is an end.
            table = next.filter(|next| *next > table)?;
        }
    }
}

fn is_punt(action: &Action) -> bool {
    matches!(
        action,
        Action::Output {
            port: port::CONTROLLER,
            ..
        }
    )
}

/// A rule that asks for anything but the port does not meet numbered packets.
fn meets(match_: &Match, in_port: u32) -> bool {
    let is_it = |oxm: &morph_openflow::v13::Oxm| {
        oxm.field == OxmField::IN_PORT && oxm.value[..] == in_port.to_be_bytes()
    };
    match_.fields.iter().all(is_it)
}

/// Whether a modification or deletion is about a rule. A strict one is about the rule with its key.
fn concerns(flow: &FlowMod, key: &RuleKey, other: &RuleKey, body: &RuleBody) -> bool {
    if body.cookie & flow.cookie_mask != flow.cookie & flow.cookie_mask {
        return false;
    }
    match flow.command {
        FlowModCommand::ModifyStrict | FlowModCommand::DeleteStrict => key == other,
        FlowModCommand::Modify | FlowModCommand::Delete | FlowModCommand::Add => {
            let table = flow.table_id == TABLE_ALL || flow.table_id == other.table;
            table && covers(&flow.match_, &other.match_)
        }
    }
}

/// Each field of the wider match is in the narrower one too.
fn covers(wide: &Match, narrow: &Match) -> bool {
    wide.normal()
        .fields
        .iter()
        .all(|oxm| narrow.fields.contains(oxm))
}

fn reported((key, body): (&RuleKey, &RuleBody)) -> FlowStats {
    FlowStats {
        table_id: key.table,
        duration_sec: 1,
        duration_nsec: 0,
        priority: key.priority,
        idle_timeout: body.idle_timeout,
        hard_timeout: body.hard_timeout,
        flags: body.flags,
        cookie: body.cookie,
        packet_count: 0,
        byte_count: 0,
        match_: key.match_.clone(),
        instructions: body.instructions.clone(),
    }
}

fn removed(key: &RuleKey, body: &RuleBody) -> Message {
    Message::FlowRemoved(FlowRemoved {
        cookie: body.cookie,
        priority: key.priority,
        reason: DELETED,
        table_id: key.table,
        duration_sec: 1,
        duration_nsec: 0,
        idle_timeout: body.idle_timeout,
        hard_timeout: body.hard_timeout,
        packet_count: 0,
        byte_count: 0,
        match_: key.match_.clone(),
    })
}

fn described(group: &GroupMod) -> GroupDesc {
    GroupDesc {
        kind: group.kind,
        group_id: group.group_id,
        buckets: group.buckets.clone(),
    }
}

fn refusal(kind: u16, code: u16, frame: &[u8]) -> Message {
    let quoted = frame.get(..QUOTED).unwrap_or(frame);
    Message::Error(ErrorMsg {
        kind,
        code,
        data: bytes::Bytes::copy_from_slice(quoted),
    })
}

fn write_parts(parts: Vec<MultipartBody>, xid: u32, out: &mut BytesMut) {
    let last = parts.len().saturating_sub(1);
    for (at, body) in parts.into_iter().enumerate() {
        let more = at < last;
        Message::MultipartReply(MultipartReply { more, body }).encode_into(xid, out);
    }
}

fn new_port(number: u32) -> Port {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn say(datapath: &mut Datapath, message: Message) -> Vec<Message> {
        let frame = message.encode(7);
        let header = Header::read(&frame).unwrap();
        let mut out = BytesMut::new();
        datapath.answer(&frame, header, message, &mut out);
        let mut answers = Vec::new();
        while let Some(frame) = morph_openflow::frame::split(&mut out).unwrap() {
            answers.push(morph_openflow::v13::decode(&frame).unwrap().1);
        }
        answers
    }

    fn add(table: u8, priority: u16, match_: Match, instruction: Instruction) -> Message {
        Message::FlowMod(FlowMod {
            table_id: table,
            priority,
            match_,
            cookie: u64::from(table) << 8 | 5,
            instructions: vec![instruction],
            ..FlowMod::default()
        })
    }

    fn controlled() -> Datapath {
        let mut datapath = Datapath::new(1);
        let punt = || Instruction::ApplyActions(vec![Action::to_controller()]);
        say(
            &mut datapath,
            add(0, 0, Match::new(), Instruction::GotoTable(9)),
        );
        say(&mut datapath, add(9, 1, Match::new().in_port(1), punt()));
        datapath
    }

    #[test]
    fn a_packet_takes_its_way_through_the_tables_and_is_not_sent_without_a_rule() {
        let mut datapath = controlled();
        let punt = Punt {
            table: 9,
            cookie: 9 << 8 | 5,
        };
        assert_eq!(datapath.punt(1), Some(punt));
        assert_eq!(datapath.punt(2), None);
        // A higher rule that says nothing drops.
        let nothing = Instruction::ApplyActions(Vec::new());
        say(&mut datapath, add(9, 2, Match::new(), nothing));
        assert_eq!(datapath.punt(1), None);
    }

    #[test]
    fn rules_are_found_and_deleted_by_their_cookies() {
        let mut datapath = controlled();
        let asked = |cookie, mask| {
            let request = FlowStatsRequest::by_cookie(cookie, mask);
            Message::MultipartRequest(MultipartRequest::Flow(request))
        };
        let count = |answers: &[Message]| match &answers[0] {
            Message::MultipartReply(MultipartReply {
                body: MultipartBody::Flow(rules),
                ..
            }) => rules.len(),
            other => panic!("{other:?}"),
        };
        assert_eq!(count(&say(&mut datapath, asked(5, 0xff))), 2);
        assert_eq!(count(&say(&mut datapath, asked(9 << 8, 0xff00))), 1);
        let delete = FlowMod::delete(TABLE_ALL, 9 << 8, 0xff00);
        assert!(say(&mut datapath, Message::FlowMod(delete)).is_empty());
        assert_eq!(count(&say(&mut datapath, asked(0, 0))), 1);
        assert!(!datapath.punts(1));
    }

    #[test]
    fn a_group_that_is_there_is_not_added_again() {
        let mut datapath = Datapath::new(1);
        let group = |command| {
            Message::GroupMod(GroupMod {
                command,
                kind: group::kind::ALL,
                group_id: 3,
                buckets: Vec::new(),
            })
        };
        assert!(matches!(
            say(&mut datapath, group(group::command::MODIFY))[..],
            [Message::Error(_)]
        ));
        assert!(say(&mut datapath, group(group::command::ADD)).is_empty());
        assert!(matches!(
            say(&mut datapath, group(group::command::ADD))[..],
            [Message::Error(_)]
        ));
        assert!(say(&mut datapath, group(group::command::DELETE)).is_empty());
    }

    #[test]
    fn what_it_does_not_know_is_refused_and_not_swallowed() {
        let mut datapath = Datapath::new(1);
        let answers = say(&mut datapath, Message::GetAsyncRequest);
        assert!(matches!(answers[..], [Message::Error(_)]), "{answers:?}");
    }
}
