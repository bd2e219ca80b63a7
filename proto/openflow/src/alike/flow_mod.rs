//! What a flow-mod does.

/// What a flow-mod does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[repr(u8)]
pub enum FlowModCommand {
    /// Adds a rule, instead of one with the same match and priority.
    #[default]
    Add = 0,
    /// Changes what all rules that match do; where there is none, 1.0 adds one.
    Modify = 1,
    /// Changes what the rule with just this match and priority does; where there is none, 1.0 adds it.
    ModifyStrict = 2,
    /// Deletes all rules that match.
    Delete = 3,
    /// Deletes the rule with just this match and priority.
    DeleteStrict = 4,
}

impl FlowModCommand {
    /// From the wire's number.
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
