//! Ports (section 7.2.1) and `OFPT_PORT_STATUS` (section 7.4.3).

use crate::addr::MacAddr;
pub use crate::alike::port::port_reason;
use crate::alike::port::{NAME_LEN, PortStatusFixed};
use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed, read_text, write_text};

/// Port numbers that mean something: `OFPP_*`.
pub mod port {
    /// The highest number that a port can have.
    pub const MAX: u32 = 0xffff_ff00;
    /// Back out of the port it came in by.
    pub const IN_PORT: u32 = 0xffff_fff8;
    /// Through the tables, from the first; only of a packet-out.
    pub const TABLE: u32 = 0xffff_fff9;
    /// As an ordinary switch would do.
    pub const NORMAL: u32 = 0xffff_fffa;
    /// As an ordinary switch would flood.
    pub const FLOOD: u32 = 0xffff_fffb;
    /// Out of all ports but the one it came in by.
    pub const ALL: u32 = 0xffff_fffc;
    /// To the controller, or from it.
    pub const CONTROLLER: u32 = 0xffff_fffd;
    /// The switch's own.
    pub const LOCAL: u32 = 0xffff_fffe;
    /// Any, in requests and deletions.
    pub const ANY: u32 = 0xffff_ffff;
}

/// What a port was told to do: `OFPPC_*`.
pub mod port_config {
    /// It was shut down.
    pub const DOWN: u32 = 1;
    /// It drops all that comes in.
    pub const NO_RECV: u32 = 1 << 2;
    /// It drops all that should go out.
    pub const NO_FWD: u32 = 1 << 5;
    /// What comes in is not sent to the controller.
    pub const NO_PACKET_IN: u32 = 1 << 6;
}

/// How a port is: `OFPPS_*`.
pub mod port_state {
    /// No link.
    pub const LINK_DOWN: u32 = 1;
    /// Blocked, as by spanning tree.
    pub const BLOCKED: u32 = 2;
    /// Live for fast failover.
    pub const LIVE: u32 = 4;
}

fixed! {
    /// `ofp_port`.
    struct PortFixed = "port" {
        port_no: u32,
        pad: [u8; 4],
        hw_addr: MacAddr,
        pad2: [u8; 2],
        name: [u8; NAME_LEN],
        config: u32,
        state: u32,
        curr: u32,
        advertised: u32,
        supported: u32,
        peer: u32,
        curr_speed: u32,
        max_speed: u32,
    }
}

/// A port of a switch.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Port {
    /// Its number.
    pub port_no: u32,
    /// Its address.
    pub hw_addr: MacAddr,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// `port_config::*`.
    pub config: u32,
    /// `port_state::*`.
    pub state: u32,
    /// Features in use: `OFPPF_*`.
    pub curr: u32,
    /// Features that it advertises.
    pub advertised: u32,
    /// Features that it has.
    pub supported: u32,
    /// Features that its peer advertises.
    pub peer: u32,
    /// Bit rate in kbit/s.
    pub curr_speed: u32,
    /// Highest bit rate in kbit/s.
    pub max_speed: u32,
}

impl Port {
    /// It has a link and was not shut down.
    pub const fn is_up(&self) -> bool {
        self.config & port_config::DOWN == 0 && self.state & port_state::LINK_DOWN == 0
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<PortFixed>()?;
        Ok(Port {
            port_no: fixed.port_no(),
            hw_addr: fixed.hw_addr(),
            name: read_text(&fixed.name),
            config: fixed.config(),
            state: fixed.state(),
            curr: fixed.curr(),
            advertised: fixed.advertised(),
            supported: fixed.supported(),
            peer: fixed.peer(),
            curr_speed: fixed.curr_speed(),
            max_speed: fixed.max_speed(),
        })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&PortFixed {
            port_no: self.port_no.into(),
            pad: [0; 4],
            hw_addr: self.hw_addr,
            pad2: [0; 2],
            name: write_text(&self.name),
            config: self.config.into(),
            state: self.state.into(),
            curr: self.curr.into(),
            advertised: self.advertised.into(),
            supported: self.supported.into(),
            peer: self.peer.into(),
            curr_speed: self.curr_speed.into(),
            max_speed: self.max_speed.into(),
        });
    }
}

/// A port has come, gone or changed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PortStatus {
    /// `port_reason::*`.
    pub reason: u8,
    /// As it is now, or was at last.
    pub port: Port,
}

impl PortStatus {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let reason = reader.fixed::<PortStatusFixed>()?.reason();
        let port = Port::decode(reader)?;
        Ok(PortStatus { reason, port })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&PortStatusFixed::of(self.reason));
        self.port.encode(w);
    }
}
