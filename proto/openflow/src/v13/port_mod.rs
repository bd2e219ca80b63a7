//! `OFPT_PORT_MOD` (section 7.3.4.3): changes the configuration of a port.

use crate::addr::MacAddr;
use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed};

/// Features of a port and its link, in ports and port-mods: `OFPPF_*`.
pub mod port_feature {
    /// 10 Mbit/s, half duplex.
    pub const RATE_10MB_HD: u32 = 1;
    /// 10 Mbit/s, full duplex.
    pub const RATE_10MB_FD: u32 = 1 << 1;
    /// 100 Mbit/s, half duplex.
    pub const RATE_100MB_HD: u32 = 1 << 2;
    /// 100 Mbit/s, full duplex.
    pub const RATE_100MB_FD: u32 = 1 << 3;
    /// 1 Gbit/s, half duplex.
    pub const RATE_1GB_HD: u32 = 1 << 4;
    /// 1 Gbit/s, full duplex.
    pub const RATE_1GB_FD: u32 = 1 << 5;
    /// 10 Gbit/s, full duplex.
    pub const RATE_10GB_FD: u32 = 1 << 6;
    /// 40 Gbit/s, full duplex.
    pub const RATE_40GB_FD: u32 = 1 << 7;
    /// 100 Gbit/s, full duplex.
    pub const RATE_100GB_FD: u32 = 1 << 8;
    /// 1 Tbit/s, full duplex.
    pub const RATE_1TB_FD: u32 = 1 << 9;
    /// Bit rate not in this list.
    pub const OTHER: u32 = 1 << 10;
    /// Copper medium, as opposed to fiber.
    pub const COPPER: u32 = 1 << 11;
    /// Fiber medium, as opposed to copper.
    pub const FIBER: u32 = 1 << 12;
    /// Auto-negotiation of the link.
    pub const AUTONEG: u32 = 1 << 13;
    /// Pause frames in both directions.
    pub const PAUSE: u32 = 1 << 14;
    /// Asymmetric pause frames.
    pub const PAUSE_ASYM: u32 = 1 << 15;
}

fixed! {
    /// `ofp_port_mod` after its header.
    struct PortModFixed = "port_mod" {
        port_no: u32,
        pad: [u8; 4],
        hw_addr: MacAddr,
        pad2: [u8; 2],
        config: u32,
        mask: u32,
        advertise: u32,
        pad3: [u8; 4],
    }
}

/// Change of the configuration of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct PortMod {
    /// Port number within the switch.
    pub port_no: u32,
    /// Ethernet address of the port; the switch refuses the message if it differs.
    pub hw_addr: MacAddr,
    /// Bits of `port_config`: new settings.
    pub config: u32,
    /// Bits of `config` to change.
    pub mask: u32,
    /// Features to advertise, bits of `port_feature`; 0 for no change.
    pub advertise: u32,
}

impl PortMod {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<PortModFixed>()?;
        Ok(PortMod {
            port_no: fixed.port_no(),
            hw_addr: fixed.hw_addr(),
            config: fixed.config(),
            mask: fixed.mask(),
            advertise: fixed.advertise(),
        })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&PortModFixed {
            port_no: self.port_no.into(),
            pad: [0; 4],
            hw_addr: self.hw_addr,
            pad2: [0; 2],
            config: self.config.into(),
            mask: self.mask.into(),
            advertise: self.advertise.into(),
            pad3: [0; 4],
        });
    }
}
