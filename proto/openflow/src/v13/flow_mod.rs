//! `OFPT_FLOW_MOD` (section 7.3.4.1): adds, changes and deletes rules.

use super::action::Action;
use super::instruction::{self, Instruction};
use super::oxm::OxmField;
use super::{GROUP_ANY, Match, NO_BUFFER, port};
use super::{match_, message};
use bytes::BytesMut;

pub use crate::alike::flow_mod::FlowModCommand;
use crate::error::{DecodeError, EncodeError};
use crate::header::MessageType;
use crate::rule::{RuleBody, RuleKey};
use crate::wire::{Reader, Writer, fixed};

/// `OFPFF_*`.
pub mod flag {
    /// Tell when the rule has gone.
    pub const SEND_FLOW_REM: u16 = 1;
    /// Refuse it where another rule overlaps.
    pub const CHECK_OVERLAP: u16 = 2;
    /// Counters start again.
    pub const RESET_COUNTS: u16 = 4;
    /// Packets need not be counted.
    pub const NO_PKT_COUNTS: u16 = 8;
    /// Bytes need not be counted.
    pub const NO_BYT_COUNTS: u16 = 16;
}

fixed! {
    /// `ofp_flow_mod` from its header to its match.
    pub struct FlowModFixed = "flow_mod" {
        pub cookie: u64,
        pub cookie_mask: u64,
        pub table_id: u8,
        pub command: u8,
        pub idle_timeout: u16,
        pub hard_timeout: u16,
        pub priority: u16,
        pub buffer_id: u32,
        pub out_port: u32,
        pub out_group: u32,
        pub flags: u16,
        pad: [u8; 2],
    }
}

/// Where in the message `command` is.
const COMMAND_AT: usize = 25;

/// Adds, changes or deletes rules. The default adds a rule that drops everything, at priority 0 in table 0.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FlowMod {
    /// The rule's; of changes and deletions, what the rules' cookies must be where `cookie_mask` has ones.
    #[serde(serialize_with = "crate::serial::hex_number")]
    pub cookie: u64,
    /// Not used when adding.
    #[serde(serialize_with = "crate::serial::hex_number")]
    pub cookie_mask: u64,
    /// Which table; `TABLE_ALL` for deletions.
    pub table_id: u8,
    /// What to do.
    pub command: FlowModCommand,
    /// Seconds without a packet until the rule goes; 0: never.
    pub idle_timeout: u16,
    /// Seconds until the rule goes; 0: never.
    pub hard_timeout: u16,
    /// Rules of a higher one are looked at first.
    pub priority: u16,
    /// A packet that the switch keeps, to be handled by the rule, or `NO_BUFFER`.
    pub buffer_id: u32,
    /// Deletes only rules that output to this port, or `port::ANY`.
    pub out_port: u32,
    /// Deletes only rules that point at this group, or `GROUP_ANY`.
    pub out_group: u32,
    /// `flag::*`.
    pub flags: u16,
    /// Which packets.
    #[serde(rename = "match")]
    pub match_: Match,
    /// What happens to them.
    pub instructions: Vec<Instruction>,
}

impl Default for FlowMod {
    fn default() -> Self {
        FlowMod {
            cookie: 0,
            cookie_mask: 0,
            table_id: 0,
            command: FlowModCommand::Add,
            idle_timeout: 0,
            hard_timeout: 0,
            priority: 0,
            buffer_id: NO_BUFFER,
            out_port: port::ANY,
            out_group: GROUP_ANY,
            flags: 0,
            match_: Match::new(),
            instructions: Vec::new(),
        }
    }
}

impl FlowMod {
    /// Adds a rule, or replaces the one that has its key. All in normal form: switches refuse bits outside a mask.
    pub fn add(key: &RuleKey, body: &RuleBody) -> FlowMod {
        FlowMod {
            cookie: body.cookie,
            table_id: key.table,
            idle_timeout: body.idle_timeout,
            hard_timeout: body.hard_timeout,
            priority: key.priority,
            flags: body.flags,
            match_: key.match_.normal(),
            instructions: instruction::normal(&body.instructions),
            ..FlowMod::default()
        }
    }

    /// Deletes the rule that has this key, if its cookie is this one.
    pub fn delete_strict(key: &RuleKey, cookie: u64) -> FlowMod {
        FlowMod {
            cookie,
            cookie_mask: u64::MAX,
            table_id: key.table,
            command: FlowModCommand::DeleteStrict,
            priority: key.priority,
            match_: key.match_.normal(),
            ..FlowMod::default()
        }
    }

    /// Deletes all rules of a table, or of all tables, whose cookie is this one where the mask has ones.
    pub fn delete(table_id: u8, cookie: u64, cookie_mask: u64) -> FlowMod {
        FlowMod {
            cookie,
            cookie_mask,
            table_id,
            command: FlowModCommand::Delete,
            ..FlowMod::default()
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<FlowModFixed>()?;
        let command = fixed.command();
        let Some(command) = FlowModCommand::from_u8(command) else {
            let found = command.into();
            return Err(DecodeError::value("flow_mod.command", COMMAND_AT, found));
        };
        let match_ = Match::decode(reader)?;
        let rest = reader.sub("flow_mod.instructions", reader.left())?;
        Ok(FlowMod {
            cookie: fixed.cookie(),
            cookie_mask: fixed.cookie_mask(),
            table_id: fixed.table_id(),
            command,
            idle_timeout: fixed.idle_timeout(),
            hard_timeout: fixed.hard_timeout(),
            priority: fixed.priority(),
            buffer_id: fixed.buffer_id(),
            out_port: fixed.out_port(),
            out_group: fixed.out_group(),
            flags: fixed.flags(),
            match_,
            instructions: instruction::decode_all(rest)?,
        })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        self.encode_fixed(w);
        self.match_.encode(w);
        instruction::encode_all(&self.instructions, w);
    }

    /// Appends a frame to a buffer: with these fields exactly, and these actions applied at once, instead of a match and
    /// instructions. With room in the buffer nothing is allocated.
    pub fn write(
        &self,
        xid: u32,
        fields: &[(OxmField, &[u8])],
        actions: &[Action],
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        message::write(MessageType::FLOW_MOD, xid, out, |w| {
            self.encode_fixed(w);
            match_::write_exact(fields, w);
            instruction::write_apply(actions, w);
        })
    }

    fn encode_fixed(&self, w: &mut Writer<'_>) {
        w.fixed(&FlowModFixed {
            cookie: self.cookie.into(),
            cookie_mask: self.cookie_mask.into(),
            table_id: self.table_id,
            command: self.command as u8,
            idle_timeout: self.idle_timeout.into(),
            hard_timeout: self.hard_timeout.into(),
            priority: self.priority.into(),
            buffer_id: self.buffer_id.into(),
            out_port: self.out_port.into(),
            out_group: self.out_group.into(),
            flags: self.flags.into(),
            pad: [0; 2],
        });
    }
}
