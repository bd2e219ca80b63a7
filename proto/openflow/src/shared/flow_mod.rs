//! Commands of `OFPT_FLOW_MOD`.

/// Command of a flow-mod: `OFPFC_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[repr(u8)]
pub enum FlowModCommand {
    /// Adds a rule; replaces a rule with the same match and priority.
    #[default]
    Add = 0,
    /// Changes the instructions (in 1.0 the actions) of all matching rules. If there are none, 1.0 adds the rule.
    Modify = 1,
    /// Changes the instructions (in 1.0 the actions) of the rule with this match and priority. If there is none, 1.0
    /// adds the rule.
    ModifyStrict = 2,
    /// Deletes all matching rules.
    Delete = 3,
    /// Deletes the rule with this match and priority.
    DeleteStrict = 4,
}

impl FlowModCommand {
    /// Converts the wire value; `None` for an undefined command.
    pub const fn from_u8(command: u8) -> Option<FlowModCommand> {
        Some(match command {
            0 => FlowModCommand::Add,
            1 => FlowModCommand::Modify,
            2 => FlowModCommand::ModifyStrict,
            3 => FlowModCommand::Delete,
            4 => FlowModCommand::DeleteStrict,
            _ => return None,
        })
    }
}
