//! `OFPT_FEATURES_REPLY` (section 5.3.1): who the switch is, and its ports.

use super::PhyPort;
use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed};

/// What a switch can do: `OFPC_*`.
pub mod capability {
    /// Counts what rules handle.
    pub const FLOW_STATS: u32 = 1;
    /// Counts what tables handle.
    pub const TABLE_STATS: u32 = 1 << 1;
    /// Counts what ports handle.
    pub const PORT_STATS: u32 = 1 << 2;
    /// Speaks 802.1D spanning tree.
    pub const STP: u32 = 1 << 3;
    /// Puts IP fragments together.
    pub const IP_REASM: u32 = 1 << 5;
    /// Counts what queues handle.
    pub const QUEUE_STATS: u32 = 1 << 6;
    /// Matches IP addresses in ARP.
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

/// Who the switch is and what it can do.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FeaturesReply {
    /// Identifies the switch.
    #[serde(serialize_with = "crate::serial::datapath")]
    pub datapath_id: u64,
    /// How many packets it can keep.
    pub n_buffers: u32,
    /// How many tables it has; it chooses itself into which a rule goes.
    pub n_tables: u8,
    /// `capability::*`.
    pub capabilities: u32,
    /// The actions that it knows: bit n for type n.
    pub actions: u32,
    /// Its ports.
    pub ports: Vec<PhyPort>,
}

impl FeaturesReply {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<FeaturesFixed>()?;
        let mut ports = Vec::new();
        while !reader.is_empty() {
            ports.push(PhyPort::decode(reader)?);
        }
        Ok(FeaturesReply {
            datapath_id: fixed.datapath_id(),
            n_buffers: fixed.n_buffers(),
            n_tables: fixed.n_tables(),
            capabilities: fixed.capabilities(),
            actions: fixed.actions(),
            ports,
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
