//! `OFPT_FLOW_MOD` (section 5.3.3): adds, changes and deletes rules.

use super::action::{self, Action};
use super::{Match, NO_BUFFER, port};
use crate::error::DecodeError;
pub use crate::shared::flow_mod::FlowModCommand;
use crate::wire::{Reader, Writer, fixed};

/// Flags of a flow-mod: `OFPFF_*`.
pub mod flag {
    /// Send a flow-removed message when the rule expires or is deleted.
    pub const SEND_FLOW_REM: u16 = 1;
    /// Refuse the rule if it overlaps another of the same priority.
    pub const CHECK_OVERLAP: u16 = 2;
    /// Emergency rule, in use only without a controller connection.
    pub const EMERG: u16 = 4;
}

fixed! {
    /// `ofp_flow_mod` from its match to its actions.
    struct FlowModFixed = "flow_mod" {
        cookie: u64,
        command: u16,
        idle_timeout: u16,
        hard_timeout: u16,
        priority: u16,
        buffer_id: u32,
        out_port: u16,
        flags: u16,
    }
}

/// Position of `command` in the message, in bytes.
const COMMAND_AT: usize = 56;

/// Addition, change or deletion of rules. The default adds a rule that drops everything, at priority 0.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FlowMod {
    /// Selection of packets.
    #[serde(rename = "match")]
    pub match_: Match,
    /// Cookie of the rule; it does not select rules to change or delete.
    #[serde(serialize_with = "crate::serial::hex_number")]
    pub cookie: u64,
    /// Addition, change or deletion.
    pub command: FlowModCommand,
    /// Seconds without a matching packet until the switch removes the rule; 0 for never.
    pub idle_timeout: u16,
    /// Seconds after installation until the switch removes the rule; 0 for never.
    pub hard_timeout: u16,
    /// Priority; a packet takes the matching rule with the highest one. Rules without wildcards precede all others.
    pub priority: u16,
    /// Buffered packet to process by the rule, or `NO_BUFFER`.
    pub buffer_id: u32,
    /// Deletes only rules that output to this port; `port::NONE` for no restriction.
    pub out_port: u16,
    /// Bits of [`flag`].
    pub flags: u16,
    /// Actions on matching packets; without any the packets are dropped.
    pub actions: Vec<Action>,
}

impl Default for FlowMod {
    fn default() -> Self {
        FlowMod {
            match_: Match::default(),
            cookie: 0,
            command: FlowModCommand::Add,
            idle_timeout: 0,
            hard_timeout: 0,
            priority: 0,
            buffer_id: NO_BUFFER,
            out_port: port::NONE,
            flags: 0,
            actions: Vec::new(),
        }
    }
}

impl FlowMod {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let match_ = Match::decode(reader)?;
        let fixed = reader.fixed::<FlowModFixed>()?;
        let command = fixed.command();
        let known = u8::try_from(command).ok();
        let Some(command) = known.and_then(FlowModCommand::from_u8) else {
            let found = command.into();
            return Err(DecodeError::value("flow_mod.command", COMMAND_AT, found));
        };
        let actions = reader.sub("flow_mod.actions", reader.left())?;
        Ok(FlowMod {
            match_,
            cookie: fixed.cookie(),
            command,
            idle_timeout: fixed.idle_timeout(),
            hard_timeout: fixed.hard_timeout(),
            priority: fixed.priority(),
            buffer_id: fixed.buffer_id(),
            out_port: fixed.out_port(),
            flags: fixed.flags(),
            actions: action::decode_all(actions)?,
        })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        self.match_.encode(w);
        w.fixed(&FlowModFixed {
            cookie: self.cookie.into(),
            command: (self.command as u16).into(),
            idle_timeout: self.idle_timeout.into(),
            hard_timeout: self.hard_timeout.into(),
            priority: self.priority.into(),
            buffer_id: self.buffer_id.into(),
            out_port: self.out_port.into(),
            flags: self.flags.into(),
        });
        action::encode_all(&self.actions, w);
    }
}
