//! `OFPT_FEATURES_REPLY` (section 7.3.1): identity and capabilities of the switch.

use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed};

fixed! {
    /// `ofp_switch_features` after its header.
    struct FeaturesFixed = "features_reply" {
        datapath_id: u64,
        n_buffers: u32,
        n_tables: u8,
        auxiliary_id: u8,
        pad: [u8; 2],
        capabilities: u32,
        reserved: u32,
    }
}

/// Identity and capabilities of a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct FeaturesReply {
    /// Datapath id, unique to the switch.
    #[serde(serialize_with = "crate::serial::datapath")]
    pub datapath_id: u64,
    /// Number of packets that the switch can buffer.
    pub n_buffers: u32,
    /// Number of tables in the pipeline.
    pub n_tables: u8,
    /// Auxiliary connection id; 0 for the main connection.
    pub auxiliary_id: u8,
    /// Bits of `OFPC_*`: supported statistics and features.
    pub capabilities: u32,
    /// Reserved field, kept as received.
    pub reserved: u32,
}

impl FeaturesReply {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<FeaturesFixed>()?;
        Ok(FeaturesReply {
            datapath_id: fixed.datapath_id(),
            n_buffers: fixed.n_buffers(),
            n_tables: fixed.n_tables(),
            auxiliary_id: fixed.auxiliary_id(),
            capabilities: fixed.capabilities(),
            reserved: fixed.reserved(),
        })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&FeaturesFixed {
            datapath_id: self.datapath_id.into(),
            n_buffers: self.n_buffers.into(),
            n_tables: self.n_tables,
            auxiliary_id: self.auxiliary_id,
            pad: [0; 2],
            capabilities: self.capabilities.into(),
            reserved: self.reserved.into(),
        });
    }
}
