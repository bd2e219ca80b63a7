//! Conversion of port numbers and port descriptions.

use super::error::{ConversionError, refusal};
use crate::v10::{PhyPort, port, port_config, port_state};
use crate::v13;

/// Upper half of the reserved ports of 1.3; their lower half is the number in 1.0.
const RESERVED: u32 = 0xffff_0000;

/// Converts a port number.
pub const fn port_to_v13(number: u16) -> u32 {
    match number {
        0..=port::MAX => number as u32,
        _ => RESERVED | number as u32,
    }
}

/// Converts a port number. Fails above 0xff00, except for reserved ports.
pub fn port_from_v13(number: u32) -> Result<u16, ConversionError> {
    let low = number as u16;
    match port_to_v13(low) == number {
        true => Ok(low),
        false => Err(ConversionError::new(
            refusal::BAD_OUT_PORT,
            format_args!("port {number}"),
        )),
    }
}

/// Configuration bits of ports that both versions have.
const CONFIG: u32 =
    port_config::PORT_DOWN | port_config::NO_RECV | port_config::NO_FWD | port_config::NO_PACKET_IN;
/// Features up to 10 Gbit/s, with equal numbers in both versions; 1.3 inserts four more rates after them.
const SPEEDS: u32 = (1 << 7) - 1;
/// Rates of these features in kbit/s, by bit number.
const KBPS: [u32; 7] = [
    10_000, 10_000, 100_000, 100_000, 1_000_000, 1_000_000, 10_000_000,
];

/// Converts the description of a port; its speeds are derived from its features.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::MacAddr;

    #[test]
    fn port_numbers_and_reserved_ports_convert_both_ways() {
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
}
