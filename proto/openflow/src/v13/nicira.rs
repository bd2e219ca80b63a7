//! Nicira's actions, which are Open vSwitch's: those that are modelled. All others (`ct`, `learn`, `note`, `reg_load`
//! and so on) are [`Action::Experimenter`](super::Action::Experimenter)s, kept as they are.

use crate::wire::{Reader, Writer, fixed};

/// Numbers of actions, the first 16 bits of an experimenter's body: `NXAST_*`.
pub mod subtype {
    /// Looks the packet up again, in the present table.
    pub const RESUBMIT: u16 = 1;
    /// Copies bits from field to field.
    pub const REG_MOVE: u16 = 6;
    /// Loads bits into a field.
    pub const REG_LOAD: u16 = 7;
    /// Bytes for people.
    pub const NOTE: u16 = 8;
    /// Looks the packet up again, in a table.
    pub const RESUBMIT_TABLE: u16 = 14;
    /// Makes rules from packets.
    pub const LEARN: u16 = 16;
    /// Passes connection tracking.
    pub const CT: u16 = 35;
    /// Forgets what connection tracking said.
    pub const CT_CLEAR: u16 = 43;
}

/// `OFPP_IN_PORT` in 16 bits: keeps the ingress port.
pub const IN_PORT: u16 = 0xfff8;
/// Keeps the present table.
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

/// Looks the packet up again, as if it had come in by a port, and comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Resubmit {
    /// By which port, or [`IN_PORT`].
    pub in_port: u16,
    /// In which table. `None`: in the present one, by the older form of the action, which has no table.
    pub table: Option<u8>,
}

impl Resubmit {
    /// From an experimenter's body; `None` where it is another action, or has something in its padding.
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
