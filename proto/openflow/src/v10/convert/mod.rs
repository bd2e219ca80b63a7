//! Between the values of OpenFlow 1.0 and those of 1.3, for who speaks to switches of both alike.
//!
//! From 1.0 to 1.3 everything has a place. The other way much has none; then it is said what, and as which error a switch
//! of 1.3 would have said so. What goes there and comes back is the same, in normal form.

mod action;
mod match_;

pub use action::{actions_from_v13, actions_to_v13};
pub use match_::{match_from_v13, match_to_v13};

use std::fmt;

use super::{ErrorMsg, PhyPort, port, port_config, port_state};
use crate::v13;

/// OpenFlow 1.0 cannot say this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("OpenFlow 1.0 has no {what}")]
pub struct Inexpressible {
    /// What it lacks.
    pub what: String,
    /// `v13::error::kind::*`.
    pub kind: u16,
    /// `v13`'s code of that type.
    pub code: u16,
}

impl Inexpressible {
    /// As which error of 1.3 it is told.
    pub fn new((kind, code): (u16, u16), what: impl fmt::Display) -> Self {
        Inexpressible {
            what: what.to_string(),
            kind,
            code,
        }
    }
}

/// Types and codes of 1.3's errors.
mod refusal {
    use crate::v13::error::kind;

    pub(super) const BAD_OUT_PORT: (u16, u16) = (kind::BAD_ACTION, 4);
    pub(super) const BAD_TYPE: (u16, u16) = (kind::BAD_ACTION, 0);
    pub(super) const BAD_SET_TYPE: (u16, u16) = (kind::BAD_ACTION, 13);
    pub(super) const BAD_SET_ARGUMENT: (u16, u16) = (kind::BAD_ACTION, 15);
    pub(super) const BAD_FIELD: (u16, u16) = (kind::BAD_MATCH, 6);
    pub(super) const BAD_VALUE: (u16, u16) = (kind::BAD_MATCH, 7);
    pub(super) const BAD_MASK: (u16, u16) = (kind::BAD_MATCH, 8);
    pub(super) const BAD_PREREQ: (u16, u16) = (kind::BAD_MATCH, 9);
}

/// The reserved ports of 1.3 are those of 1.0 with the upper half set.
const RESERVED: u32 = 0xffff_0000;

/// A port's number.
pub const fn port_to_v13(number: u16) -> u32 {
    match number {
        0..=port::MAX => number as u32,
        _ => RESERVED | number as u32,
    }
}

/// A port's number; those above 0xff00 have no place.
pub fn port_from_v13(number: u32) -> Result<u16, Inexpressible> {
    let low = number as u16;
    match port_to_v13(low) == number {
        true => Ok(low),
        false => Err(Inexpressible::new(
            refusal::BAD_OUT_PORT,
            format_args!("port {number}"),
        )),
    }
}

/// Bits of a port's configuration that both have.
const CONFIG: u32 =
    port_config::PORT_DOWN | port_config::NO_RECV | port_config::NO_FWD | port_config::NO_PACKET_IN;
/// Features up to 10 Gbit/s, which both number alike; 1.3 has four more speeds before the others.
const SPEEDS: u32 = (1 << 7) - 1;
/// Those speeds in kbit/s, from bit 0.
const KBPS: [u32; 7] = [
    10_000, 10_000, 100_000, 100_000, 1_000_000, 1_000_000, 10_000_000,
];

/// A port; its speeds are those of its features.
pub fn port_desc_to_v13(desc: &PhyPort) -> v13::Port {
    let blocked = desc.state & port_state::STP_MASK == port_state::STP_BLOCK;
    let down = desc.state & port_state::LINK_DOWN;
    v13::Port {
        port_no: port_to_v13(desc.port_no),
        hw_addr: desc.hw_addr,
        name: desc.name.clone(),
        config: desc.config & CONFIG,
        state: down | if blocked { v13::port_state::BLOCKED } else { 0 },
        curr: features(desc.curr),
        advertised: features(desc.advertised),
        supported: features(desc.supported),
        peer: features(desc.peer),
        curr_speed: speed(desc.curr),
        max_speed: speed(desc.supported),
    }
}

const fn features(bits: u32) -> u32 {
    bits & SPEEDS | (bits & 0xf80) << 4
}

fn speed(bits: u32) -> u32 {
    let highest = (0..KBPS.len()).rev().find(|bit| bits & 1 << bit != 0);
    highest.map_or(0, |bit| KBPS[bit])
}

/// An error; one of a type that 1.0 does not know keeps its numbers.
pub fn error_to_v13(error: &ErrorMsg) -> v13::ErrorMsg {
    use super::error::kind;
    use v13::error::kind as newer;
    let code = error.code;
    let (kind, code) = match error.kind {
        kind::FLOW_MOD_FAILED => (
            newer::FLOW_MOD_FAILED,
            match code {
                0 => 1,
                1 => 3,
                2 => 4,
                3 => 5,
                4 => 6,
                _ => 0,
            },
        ),
        kind::PORT_MOD_FAILED => (newer::PORT_MOD_FAILED, code),
        kind::QUEUE_OP_FAILED => (newer::QUEUE_OP_FAILED, code),
        kind => (kind, code),
    };
    v13::ErrorMsg {
        kind,
        code,
        data: error.data.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::MacAddr;

    #[test]
    fn ports_and_the_reserved_ones() {
        for (old, new) in [
            (0, 0),
            (port::MAX, 0xff00),
            (port::IN_PORT, v13::port::IN_PORT),
            (port::FLOOD, v13::port::FLOOD),
            (port::CONTROLLER, v13::port::CONTROLLER),
            (port::LOCAL, v13::port::LOCAL),
            (port::NONE, v13::port::ANY),
        ] {
            assert_eq!((port_to_v13(old), port_from_v13(new)), (new, Ok(old)));
        }
        for none in [0xff01, 0xffff, 0x1_0001, 0xfffe_0001] {
            assert!(port_from_v13(none).is_err(), "{none:x}");
        }
    }

    #[test]
    fn a_port_keeps_its_speed_and_state() {
        let desc = PhyPort {
            port_no: port::LOCAL,
            hw_addr: MacAddr([2; 6]),
            name: "br0".into(),
            config: port_config::PORT_DOWN | port_config::NO_FLOOD,
            state: port_state::LINK_DOWN | port_state::STP_BLOCK,
            curr: 1 << 5 | 1 << 7,
            advertised: 1 << 11,
            supported: 1 << 6 | 1 << 5,
            peer: 0,
        };
        let port = port_desc_to_v13(&desc);
        assert_eq!(port.port_no, v13::port::LOCAL);
        assert_eq!((port.config, port.state, port.is_up()), (1, 3, false));
        assert_eq!((port.curr, port.advertised), (1 << 5 | 1 << 11, 1 << 15));
        assert_eq!((port.curr_speed, port.max_speed), (1_000_000, 10_000_000));
    }

    #[test]
    fn errors_are_named_as_in_their_own_version() {
        for (kind, code, old, new) in [
            (
                1,
                8,
                "BAD_REQUEST/BUFFER_UNKNOWN",
                "BAD_REQUEST/BUFFER_UNKNOWN",
            ),
            (2, 4, "BAD_ACTION/BAD_OUT_PORT", "BAD_ACTION/BAD_OUT_PORT"),
            (
                3,
                0,
                "FLOW_MOD_FAILED/ALL_TABLES_FULL",
                "FLOW_MOD_FAILED/TABLE_FULL",
            ),
            (
                3,
                4,
                "FLOW_MOD_FAILED/BAD_COMMAND",
                "FLOW_MOD_FAILED/BAD_COMMAND",
            ),
            (
                4,
                1,
                "PORT_MOD_FAILED/BAD_HW_ADDR",
                "PORT_MOD_FAILED/BAD_HW_ADDR",
            ),
            (
                5,
                1,
                "QUEUE_OP_FAILED/BAD_QUEUE",
                "QUEUE_OP_FAILED/BAD_QUEUE",
            ),
        ] {
            let data = bytes::Bytes::new();
            let error = ErrorMsg { kind, code, data };
            let newer = error_to_v13(&error);
            assert_eq!(
                (error.to_string(), newer.to_string()),
                (old.into(), new.into())
            );
        }
    }
}
