//! `OFPT_FLOW_MOD` (section 7.3.4.1): adds, changes and deletes rules.

use bytes::BytesMut;

use super::action::Action;
use super::instruction::{self, Instruction};
use super::oxm::OxmField;
use super::{GROUP_ANY, Match, NO_BUFFER, VERSION, match_, port};

use crate::error::{DecodeError, EncodeError};
use crate::header::MessageType;
pub use crate::shared::flow_mod::FlowModCommand;
use crate::shared::message;
use crate::wire::{Reader, Writer, fixed};

/// Flags of a flow-mod: `OFPFF_*`.
pub mod flag {
    /// Send a flow-removed message when the rule expires or is deleted.
    pub const SEND_FLOW_REM: u16 = 1;
    /// Refuse the rule if it overlaps another of the same priority.
    pub const CHECK_OVERLAP: u16 = 2;
    /// Reset the counters of the rule.
    pub const RESET_COUNTS: u16 = 4;
    /// Do not count packets.
    pub const NO_PKT_COUNTS: u16 = 8;
    /// Do not count bytes.
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

/// Position of `command` in the message, in bytes.
const COMMAND_AT: usize = 25;

/// Addition, change or deletion of rules. The default adds a rule to table 0 that drops everything, at priority 0.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FlowMod {
    /// Cookie of the rule. Changes and deletions select rules whose cookies equal it in the bits of `cookie_mask`.
    #[serde(serialize_with = "crate::serial::hex_number")]
    pub cookie: u64,
    /// Cookie bits to compare; not used by additions.
    #[serde(serialize_with = "crate::serial::hex_number")]
    pub cookie_mask: u64,
    /// Table of the rule; `TABLE_ALL` in deletions.
    pub table_id: u8,
    /// Addition, change or deletion.
    pub command: FlowModCommand,
    /// Seconds without a matching packet until the switch removes the rule; 0 for never.
    pub idle_timeout: u16,
    /// Seconds after installation until the switch removes the rule; 0 for never.
    pub hard_timeout: u16,
    /// Priority; a packet takes the matching rule with the highest one.
    pub priority: u16,
    /// Buffered packet to process by the rule, or `NO_BUFFER`.
    pub buffer_id: u32,
    /// Deletes only rules that output to this port; `port::ANY` for no restriction.
    pub out_port: u32,
    /// Deletes only rules that use this group; `GROUP_ANY` for no restriction.
    pub out_group: u32,
    /// Bits of [`flag`].
    pub flags: u16,
    /// Selection of packets.
    #[serde(rename = "match")]
    pub match_: Match,
    /// Instructions for matching packets.
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
    /// Deletes all rules of a table (`TABLE_ALL` for every table) whose cookie equals this one in the bits of the
    /// mask.
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

    /// Appends a frame that matches exactly these fields and applies these actions, in place of `match_` and
    /// `instructions`. Allocates nothing if the buffer has room.
    pub fn write(
        &self,
        xid: u32,
        fields: &[(OxmField, &[u8])],
        actions: &[Action],
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        message::write((VERSION, MessageType::FLOW_MOD), xid, out, |w| {
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
