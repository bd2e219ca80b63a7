//! Ports (section 5.2.1), `OFPT_PORT_STATUS` (section 5.4.3) and `OFPT_PORT_MOD` (section 5.3.3).

use crate::addr::MacAddr;
pub use crate::alike::port::port_reason;
use crate::alike::port::{NAME_LEN, PortStatusFixed};
use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed, plain, read_text, write_text};

/// Port numbers that mean something: `OFPP_*`.
pub mod port {
    /// The highest number that a port can have.
    pub const MAX: u16 = 0xff00;
    /// Back out of the port it came in by.
    pub const IN_PORT: u16 = 0xfff8;
    /// Through the tables; only of a packet-out.
    pub const TABLE: u16 = 0xfff9;
    /// As an ordinary switch would do.
    pub const NORMAL: u16 = 0xfffa;
    /// Out of all ports but the one it came in by and those that spanning tree disables.
    pub const FLOOD: u16 = 0xfffb;
    /// Out of all ports but the one it came in by.
    pub const ALL: u16 = 0xfffc;
    /// To the controller.
    pub const CONTROLLER: u16 = 0xfffd;
    /// The switch's own.
    pub const LOCAL: u16 = 0xfffe;
    /// None, or any.
    pub const NONE: u16 = 0xffff;
}

/// What a port was told to do: `OFPPC_*`.
pub mod port_config {
    /// It was shut down.
    pub const PORT_DOWN: u32 = 1;
    /// It takes no part in 802.1D spanning tree.
    pub const NO_STP: u32 = 1 << 1;
    /// It drops all that comes in but spanning tree's packets.
    pub const NO_RECV: u32 = 1 << 2;
    /// It drops spanning tree's packets.
    pub const NO_RECV_STP: u32 = 1 << 3;
    /// Nothing is flooded out of it.
    pub const NO_FLOOD: u32 = 1 << 4;
    /// It drops all that should go out.
    pub const NO_FWD: u32 = 1 << 5;
    /// What comes in is not sent to the controller.
    pub const NO_PACKET_IN: u32 = 1 << 6;
}

/// How a port is: `OFPPS_*`.
pub mod port_state {
    /// No link.
    pub const LINK_DOWN: u32 = 1;
    /// The bits that say how spanning tree uses it; all zero: it listens.
    pub const STP_MASK: u32 = 3 << 8;
    /// It learns and does not forward.
    pub const STP_LEARN: u32 = 1 << 8;
    /// It forwards.
    pub const STP_FORWARD: u32 = 2 << 8;
    /// It is no part of the tree.
    pub const STP_BLOCK: u32 = 3 << 8;
}

fixed! {
    /// `ofp_phy_port`.
    struct PhyPortFixed = "phy_port" {
        port_no: u16,
        hw_addr: MacAddr,
        name: [u8; NAME_LEN],
        config: u32,
        state: u32,
        curr: u32,
        advertised: u32,
        supported: u32,
        peer: u32,
    }
}

/// A port of a switch.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PhyPort {
    /// Its number.
    pub port_no: u16,
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
}

impl PhyPort {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<PhyPortFixed>()?;
        Ok(PhyPort {
            port_no: fixed.port_no(),
            hw_addr: fixed.hw_addr(),
            name: read_text(&fixed.name),
            config: fixed.config(),
            state: fixed.state(),
            curr: fixed.curr(),
            advertised: fixed.advertised(),
            supported: fixed.supported(),
            peer: fixed.peer(),
        })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&PhyPortFixed {
            port_no: self.port_no.into(),
            hw_addr: self.hw_addr,
            name: write_text(&self.name),
            config: self.config.into(),
            state: self.state.into(),
            curr: self.curr.into(),
            advertised: self.advertised.into(),
            supported: self.supported.into(),
            peer: self.peer.into(),
        });
    }
}

/// A port has come, gone or changed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PortStatus {
    /// `port_reason::*`.
    pub reason: u8,
    /// As it is now, or was at last.
    pub desc: PhyPort,
}

impl PortStatus {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let reason = reader.fixed::<PortStatusFixed>()?.reason();
        let desc = PhyPort::decode(reader)?;
        Ok(PortStatus { reason, desc })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&PortStatusFixed::of(self.reason));
        self.desc.encode(w);
    }
}

plain! {
    /// Changes a port.
    pub struct PortMod: PortModFixed = "port_mod" {
        /// Which.
        port_no: u16;
        /// Its address, so that no other port is meant.
        hw_addr: MacAddr;
        /// `port_config::*`,
        config: u32;
        /// of which only these bits are changed.
        mask: u32;
        /// Features that it is to advertise; 0: as before.
        advertise: u32, pad: 4;
    }
}
