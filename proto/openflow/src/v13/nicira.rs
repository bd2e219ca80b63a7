//! Nicira's action extensions, as implemented by Open vSwitch. Only resubmit is decoded; others (`ct`, `learn`,
//! `note`, `reg_load` and so on) are kept as bytes in [`Action::Experimenter`](super::Action::Experimenter).

use crate::wire::{Reader, Writer, fixed};

/// Subtypes, the first 16 bits of a Nicira action's body: `NXAST_*`.
pub mod subtype {
    /// Looks the packet up again in the current table.
    pub const RESUBMIT: u16 = 1;
    /// Copies bits from one field to another.
    pub const REG_MOVE: u16 = 6;
    /// Loads a constant into a field.
    pub const REG_LOAD: u16 = 7;
    /// Comment bytes without effect.
    pub const NOTE: u16 = 8;
    /// Looks the packet up again in a given table.
    pub const RESUBMIT_TABLE: u16 = 14;
    /// Adds rules derived from packets.
    pub const LEARN: u16 = 16;
    /// Sends the packet through connection tracking.
    pub const CT: u16 = 35;
    /// Clears the connection-tracking state of the packet.
    pub const CT_CLEAR: u16 = 43;
}

/// `OFPP_IN_PORT` in 16 bits: the packet keeps its ingress port.
pub const IN_PORT: u16 = 0xfff8;
/// Table number for "the current table".
pub const TABLE_PRESENT: u8 = 0xff;

fixed! {
    /// `nx_action_resubmit` after the experimenter's id.
    struct ResubmitFixed = "action.nicira.resubmit" {
        subtype: u16,
        in_port: u16,
        table: u8,
        pad: [u8; 3],
    }
}

/// Looks the packet up again with another ingress port, then continues with the next action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Resubmit {
    /// Ingress port for the lookup, or [`IN_PORT`] to keep it.
    pub in_port: u16,
    /// Table for the lookup. `None`: the current table, encoded as `NXAST_RESUBMIT`, which has no table field.
    pub table: Option<u8>,
}

impl Resubmit {
    /// Decodes the body of a Nicira action. `None`: another action, or padding that is not zero.
    pub(crate) fn decode(mut body: Reader<'_>) -> Option<Resubmit> {
        let fixed = body.fixed::<ResubmitFixed>().ok()?;
        let table = match fixed.subtype() {
            subtype::RESUBMIT if fixed.table() == 0 => None,
            subtype::RESUBMIT_TABLE => Some(fixed.table()),
            _ => return None,
        };
        let whole = body.is_empty() && fixed.pad() == [0; 3];
        let in_port = fixed.in_port();
        whole.then_some(Resubmit { in_port, table })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        let subtype = match self.table {
            None => subtype::RESUBMIT,
            Some(_) => subtype::RESUBMIT_TABLE,
        };
        w.fixed(&ResubmitFixed {
            subtype: subtype.into(),
            in_port: self.in_port.into(),
            table: self.table.unwrap_or_default(),
            pad: [0; 3],
        });
    }
}
