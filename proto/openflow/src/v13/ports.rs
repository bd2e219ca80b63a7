//! Ports (section 7.2.1) and `OFPT_PORT_STATUS` (section 7.4.3).

use crate::addr::MacAddr;
use crate::error::DecodeError;
pub use crate::shared::port::port_reason;
use crate::shared::port::{NAME_LEN, PortStatusFixed};
use crate::wire::{Reader, Writer, fixed, read_text, write_text};

/// Reserved port numbers: `OFPP_*`.
pub mod port {
    /// Highest number of a physical or logical port.
    pub const MAX: u32 = 0xffff_ff00;
    /// Back out of the ingress port.
    pub const IN_PORT: u32 = 0xffff_fff8;
    /// Lookup from the first table; only valid in a packet-out.
    pub const TABLE: u32 = 0xffff_fff9;
    /// Processing as by a traditional switch.
    pub const NORMAL: u32 = 0xffff_fffa;
    /// Flooding as by a traditional switch.
    pub const FLOOD: u32 = 0xffff_fffb;
    /// All ports except the ingress port.
    pub const ALL: u32 = 0xffff_fffc;
    /// Controller, as output or ingress port.
    pub const CONTROLLER: u32 = 0xffff_fffd;
    /// Local port of the switch itself.
    pub const LOCAL: u32 = 0xffff_fffe;
    /// Any port, in requests and deletions.
    pub const ANY: u32 = 0xffff_ffff;
}

/// Configuration bits of a port: `OFPPC_*`.
pub mod port_config {
    /// Port is administratively down.
    pub const DOWN: u32 = 1;
    /// Drops all received packets.
    pub const NO_RECV: u32 = 1 << 2;
    /// Drops all packets to be transmitted.
    pub const NO_FWD: u32 = 1 << 5;
    /// Sends no packet-ins for received packets.
    pub const NO_PACKET_IN: u32 = 1 << 6;
}

/// State bits of a port: `OFPPS_*`.
pub mod port_state {
    /// No physical link.
    pub const LINK_DOWN: u32 = 1;
    /// Blocked, as by spanning tree.
    pub const BLOCKED: u32 = 2;
    /// Live for fast failover.
    pub const LIVE: u32 = 4;
}

fixed! {
    /// `ofp_port`: description of a port.
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

/// Description of a port.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Port {
    /// Port number within the switch.
    pub port_no: u32,
    /// Ethernet address of the port.
    pub hw_addr: MacAddr,
    /// Name of the port, at most 15 bytes.
    pub name: String,
    /// Bits of `port_config`: administrative settings.
    pub config: u32,
    /// Bits of `port_state`: observed state.
    pub state: u32,
    /// Features in use, bits of `port_feature`.
    pub curr: u32,
    /// Features advertised by the port.
    pub advertised: u32,
    /// Features supported by the port.
    pub supported: u32,
    /// Features advertised by the peer.
    pub peer: u32,
    /// Current bit rate in kbit/s.
    pub curr_speed: u32,
    /// Maximum bit rate in kbit/s.
    pub max_speed: u32,
}

impl Port {
    /// Tells whether the port has a link and is not administratively down.
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

/// Addition, removal or change of a port.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PortStatus {
    /// Cause, a constant of `port_reason`.
    pub reason: u8,
    /// Port after the change, or before its removal.
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
