//! Rules of a switch: how flow-mods change them, how they are reported, and where they send a packet.

use morph_openflow::rule::{RuleBody, RuleKey, RuleSet};
use morph_openflow::v13::{
    Action, AggregateStats, FlowMod, FlowModCommand, FlowRemoved, FlowStats, FlowStatsRequest,
    Instruction, Match, Message, MultipartBody, Oxm, OxmField, TABLE_ALL, flow_mod, port,
};
use std::collections::BTreeMap;

/// `OFPRR_DELETE` of OpenFlow 1.3.
const DELETED: u8 = 2;
/// Most rules in one part of a reply.
const PART: usize = 500;

/// Rules of all tables.
#[derive(Debug)]
pub(crate) struct FlowTable {
    rules: RuleSet,
    /// Results of [`FlowTable::punt`] by port since the rules changed last.
    punts: BTreeMap<u32, Option<Punt>>,
}

/// Rule by which a packet goes to the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Punt {
    /// Table that holds the rule.
    pub table: u8,
    /// Cookie of the rule.
    pub cookie: u64,
}

impl FlowTable {
    pub(crate) fn new(rules: RuleSet) -> Self {
        Self {
            rules,
            punts: BTreeMap::new(),
        }
    }

    pub(crate) fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// Carries out a flow-mod; returns the flow-removed messages that it causes.
    pub(crate) fn apply(&mut self, flow: FlowMod) -> Vec<Message> {
        self.punts.clear();
        let key = RuleKey::new(flow.table_id, flow.priority, &flow.match_);
        match flow.command {
            FlowModCommand::Add => {
                let body = RuleBody {
                    instructions: flow.instructions.into(),
                    idle_timeout: flow.idle_timeout,
                    hard_timeout: flow.hard_timeout,
                    flags: flow.flags,
                    cookie: flow.cookie,
                };
                self.rules.insert(key, body);
                Vec::new()
            }
            FlowModCommand::Modify | FlowModCommand::ModifyStrict => {
                let rules = self.rules.iter_mut();
                for (_, body) in rules.filter(|(rule, body)| selects(&flow, &key, rule, body)) {
                    body.instructions = flow.instructions.as_slice().into();
                }
                Vec::new()
            }
            FlowModCommand::Delete | FlowModCommand::DeleteStrict => {
                let selected =
                    |rule: &RuleKey, body: &mut RuleBody| selects(&flow, &key, rule, body);
                let deleted = self.rules.extract_if(.., selected);
                let reported =
                    deleted.filter(|(_, body)| body.flags & flow_mod::flag::SEND_FLOW_REM != 0);
                reported.map(|(key, body)| removed(&key, &body)).collect()
            }
        }
    }

    /// Rules that a request asks for. Two rules and more come in at least two parts, as large switches send them.
    pub(crate) fn stats(&self, request: &FlowStatsRequest) -> Vec<MultipartBody> {
        let found: Vec<FlowStats> = self.asked(request).map(flow_stats).collect();
        if found.is_empty() {
            return vec![MultipartBody::Flow(found)];
        }
        let part = found.len().div_ceil(2).min(PART);
        let parts = found.chunks(part);
        parts
            .map(|part| MultipartBody::Flow(part.to_vec()))
            .collect()
    }

    /// Number of the rules that a request asks for.
    pub(crate) fn sum(&self, request: &FlowStatsRequest) -> AggregateStats {
        AggregateStats {
            packet_count: 0,
            byte_count: 0,
            flow_count: self.asked(request).count() as u32,
        }
    }

    fn asked<'a>(
        &'a self,
        request: &'a FlowStatsRequest,
    ) -> impl Iterator<Item = (&'a RuleKey, &'a RuleBody)> {
        self.rules.iter().filter(|(key, body)| {
            let table = request.table_id == TABLE_ALL || request.table_id == key.table;
            let cookie = body.cookie & request.cookie_mask == request.cookie & request.cookie_mask;
            table && cookie && covers(&request.match_, &key.match_)
        })
    }

    /// Rule by which packets of this port go to the controller.
    pub(crate) fn punt(&mut self, in_port: u32) -> Option<Punt> {
        if let Some(found) = self.punts.get(&in_port) {
            return *found;
        }
        let found = self.look_up(in_port);
        self.punts.insert(in_port, found);
        found
    }

    /// Runs a packet through the pipeline from table 0, up to the first rule that sends it to the controller.
    fn look_up(&self, in_port: u32) -> Option<Punt> {
        let mut table = 0;
        loop {
            let in_table = self.rules.iter().filter(|(key, _)| key.table == table);
            let matching = in_table.filter(|(key, _)| matches(&key.match_, in_port));
            let (_, rule) = matching.max_by_key(|(key, _)| key.priority)?;
            let mut next = None;
            for instruction in rule.instructions.iter() {
                match instruction {
                    Instruction::ApplyActions(actions) if actions.iter().any(is_punt) => {
                        let cookie = rule.cookie;
                        return Some(Punt { table, cookie });
                    }
                    Instruction::GotoTable(to) => next = Some(*to),
                    _ => {}
                }
            }
            // A goto only leads to a later table, so the loop ends.
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

/// Whether a match accepts packets of this port. One that has other fields too accepts none.
fn matches(match_: &Match, in_port: u32) -> bool {
    let is_port =
        |oxm: &Oxm| oxm.field == OxmField::IN_PORT && oxm.value[..] == in_port.to_be_bytes();
    match_.fields.iter().all(is_port)
}

/// Whether a modification or deletion with this key changes a rule. A strict one changes the rule with the same key only.
fn selects(flow: &FlowMod, key: &RuleKey, rule: &RuleKey, body: &RuleBody) -> bool {
    if body.cookie & flow.cookie_mask != flow.cookie & flow.cookie_mask {
        return false;
    }
    match flow.command {
        FlowModCommand::ModifyStrict | FlowModCommand::DeleteStrict => key == rule,
        FlowModCommand::Modify | FlowModCommand::Delete | FlowModCommand::Add => {
            let table = flow.table_id == TABLE_ALL || flow.table_id == rule.table;
            table && covers(&flow.match_, &rule.match_)
        }
    }
}

/// Whether each field of the wider match is in the narrower one too.
fn covers(wide: &Match, narrow: &Match) -> bool {
    let wide = wide.normal();
    wide.fields.iter().all(|oxm| narrow.fields.contains(oxm))
}

fn flow_stats((key, body): (&RuleKey, &RuleBody)) -> FlowStats {
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
        match_: (*key.match_).clone(),
        instructions: body.instructions.to_vec(),
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
        match_: (*key.match_).clone(),
    })
}
