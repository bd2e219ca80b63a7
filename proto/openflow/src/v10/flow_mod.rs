//! `OFPT_FLOW_MOD` (section 5.3.3): adds, changes and deletes rules.

use super::action::{self, Action};
use super::{Match, NO_BUFFER, port};
pub use crate::alike::flow_mod::FlowModCommand;
use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed};

/// `OFPFF_*`.
pub mod flag {
    /// Tell when the rule has gone.
    pub const SEND_FLOW_REM: u16 = 1;
    /// Refuse it where another rule overlaps.
    pub const CHECK_OVERLAP: u16 = 2;
    /// It counts only while there is no controller.
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

/// Where in the message `command` is.
const COMMAND_AT: usize = 56;

/// Adds, changes or deletes rules. The default adds a rule that drops everything, at priority 0.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FlowMod {
    /// Which packets.
    #[serde(rename = "match")]
    pub match_: Match,
    /// The rule's; it does not select what is changed or deleted.
    #[serde(serialize_with = "crate::serial::hex_number")]
    pub cookie: u64,
    /// What to do.
    pub command: FlowModCommand,
    /// Seconds without a packet until the rule goes; 0: never.
    pub idle_timeout: u16,
    /// Seconds until the rule goes; 0: never.
    pub hard_timeout: u16,
    /// Rules of a higher one are looked at first, rules without wildcards before all others.
    pub priority: u16,
    /// A packet that the switch keeps, to be handled by the rule, or `NO_BUFFER`.
    pub buffer_id: u32,
    /// Deletes only rules that output to this port, or `port::NONE`.
    pub out_port: u16,
    /// `flag::*`.
    pub flags: u16,
    /// What happens to them; nothing: they are dropped.
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
