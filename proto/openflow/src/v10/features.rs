//! `OFPT_FEATURES_REPLY` (section 5.3.1): identity, capabilities and ports of the switch.

use super::PhyPort;
use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed};

/// Capability bits of a switch: `OFPC_*`.
pub mod capability {
    /// Counters of rules.
    pub const FLOW_STATS: u32 = 1;
    /// Counters of tables.
    pub const TABLE_STATS: u32 = 1 << 1;
    /// Counters of ports.
    pub const PORT_STATS: u32 = 1 << 2;
    /// 802.1D spanning tree.
    pub const STP: u32 = 1 << 3;
    /// Reassembly of IP fragments.
    pub const IP_REASM: u32 = 1 << 5;
    /// Counters of queues.
    pub const QUEUE_STATS: u32 = 1 << 6;
    /// Matching of IP addresses in ARP packets.
    pub const ARP_MATCH_IP: u32 = 1 << 7;
}

fixed! {
    /// `ofp_switch_features` from its header to its ports.
    struct FeaturesFixed = "features_reply" {
        datapath_id: u64,
        n_buffers: u32,
        n_tables: u8,
        pad: [u8; 3],
        capabilities: u32,
        actions: u32,
    }
}

/// Identity, capabilities and ports of a switch.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FeaturesReply {
    /// Datapath id, unique to the switch.
    #[serde(serialize_with = "crate::serial::datapath")]
    pub datapath_id: u64,
    /// Number of packets that the switch can buffer.
    pub n_buffers: u32,
    /// Number of tables; the switch itself chooses the table of a rule.
    pub n_tables: u8,
    /// Bits of [`capability`].
    pub capabilities: u32,
    /// Supported actions: bit n for action type n.
    pub actions: u32,
    /// Ports of the switch.
    pub ports: Vec<PhyPort>,
}

impl FeaturesReply {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<FeaturesFixed>()?;
        Ok(FeaturesReply {
            datapath_id: fixed.datapath_id(),
            n_buffers: fixed.n_buffers(),
            n_tables: fixed.n_tables(),
            capabilities: fixed.capabilities(),
            actions: fixed.actions(),
            ports: reader.all(PhyPort::decode)?,
        })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&FeaturesFixed {
            datapath_id: self.datapath_id.into(),
            n_buffers: self.n_buffers.into(),
            n_tables: self.n_tables,
            pad: [0; 3],
            capabilities: self.capabilities.into(),
            actions: self.actions.into(),
        });
        for port in &self.ports {
            port.encode(w);
        }
    }
}
