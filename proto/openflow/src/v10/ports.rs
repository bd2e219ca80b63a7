//! Ports (section 5.2.1), `OFPT_PORT_STATUS` (section 5.4.3) and `OFPT_PORT_MOD` (section 5.3.3).

use crate::addr::MacAddr;
use crate::error::DecodeError;
pub use crate::shared::port::port_reason;
use crate::shared::port::{NAME_LEN, PortStatusFixed};
use crate::wire::{Reader, Writer, fixed, fixed_only, read_text, write_text};

/// Reserved port numbers: `OFPP_*`.
pub mod port {
    /// Highest number of a physical port.
    pub const MAX: u16 = 0xff00;
    /// Back out of the ingress port.
    pub const IN_PORT: u16 = 0xfff8;
    /// Lookup in the tables; only valid in a packet-out.
    pub const TABLE: u16 = 0xfff9;
    /// Processing as by a traditional switch.
    pub const NORMAL: u16 = 0xfffa;
    /// All ports except the ingress port and those disabled by spanning tree.
    pub const FLOOD: u16 = 0xfffb;
    /// All ports except the ingress port.
    pub const ALL: u16 = 0xfffc;
    /// Controller, as output port.
    pub const CONTROLLER: u16 = 0xfffd;
    /// Local port of the switch itself.
    pub const LOCAL: u16 = 0xfffe;
    /// No port; any port in requests.
    pub const NONE: u16 = 0xffff;
}

/// Configuration bits of a port: `OFPPC_*`.
pub mod port_config {
    /// Port is administratively down.
    pub const PORT_DOWN: u32 = 1;
    /// Excluded from 802.1D spanning tree.
    pub const NO_STP: u32 = 1 << 1;
    /// Drops all received packets except those of spanning tree.
    pub const NO_RECV: u32 = 1 << 2;
    /// Drops received spanning tree packets.
    pub const NO_RECV_STP: u32 = 1 << 3;
    /// Excluded from flooding.
    pub const NO_FLOOD: u32 = 1 << 4;
    /// Drops all packets to be transmitted.
    pub const NO_FWD: u32 = 1 << 5;
    /// Sends no packet-ins for received packets.
    pub const NO_PACKET_IN: u32 = 1 << 6;
}

/// State bits of a port: `OFPPS_*`.
pub mod port_state {
    /// No physical link.
    pub const LINK_DOWN: u32 = 1;
    /// Mask of the spanning tree state; all zeros mean listening.
    pub const STP_MASK: u32 = 3 << 8;
    /// Spanning tree state "learning".
    pub const STP_LEARN: u32 = 1 << 8;
    /// Spanning tree state "forwarding".
    pub const STP_FORWARD: u32 = 2 << 8;
    /// Spanning tree state "blocking".
    pub const STP_BLOCK: u32 = 3 << 8;
}

fixed! {
    /// `ofp_phy_port`: description of a port.
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

/// Description of a port.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PhyPort {
    /// Port number within the switch.
    pub port_no: u16,
    /// Ethernet address of the port.
    pub hw_addr: MacAddr,
    /// Name of the port, at most 15 bytes.
    pub name: String,
    /// Bits of `port_config`: administrative settings.
    pub config: u32,
    /// Bits of `port_state`: observed state.
    pub state: u32,
    /// Features in use: `OFPPF_*`.
    pub curr: u32,
    /// Features advertised by the port.
    pub advertised: u32,
    /// Features supported by the port.
    pub supported: u32,
    /// Features advertised by the peer.
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

/// Addition, removal or change of a port.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PortStatus {
    /// Cause, a constant of `port_reason`.
    pub reason: u8,
    /// Port after the change, or before its removal.
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

fixed_only! {
    /// Change of the configuration of a port.
    pub struct PortMod: PortModFixed = "port_mod" {
        /// Port number within the switch.
        port_no: u16;
        /// Ethernet address of the port; the switch refuses the message if it differs.
        hw_addr: MacAddr;
        /// Bits of `port_config`: new settings.
        config: u32;
        /// Bits of `config` to change.
        mask: u32;
        /// Features to advertise; 0 for no change.
        advertise: u32, pad: 4;
    }
}
