//! Tokens: the xids of messages to switches, which their replies bring back.

/// Token of all flow-mods, which are answered only by errors.
pub(in crate::instance) const FLOW_MOD: u32 = 1;
/// Token of all packet-outs.
pub(in crate::instance) const PACKET_OUT: u32 = 2;
/// Token of all group-mods and meter-mods, which are answered only by errors.
pub(super) const ENTRY_MOD: u32 = 3;
/// Token of the first request that is answered.
const FIRST: u32 = 16;

/// Source of tokens, each used once.
#[derive(Debug, Clone)]
pub(super) struct Tokens(u32);

impl Tokens {
    pub(super) fn new() -> Self {
        Tokens(FIRST)
    }

    pub(super) fn take(&mut self) -> u32 {
        let token = self.0;
        self.0 = token.checked_add(1).unwrap_or(FIRST);
        token
    }
}
