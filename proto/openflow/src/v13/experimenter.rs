//! `OFPT_EXPERIMENTER` (section 7.5.4), and the bodies of experimenters' multiparts: kept as they are.

use bytes::Bytes;

use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed};

/// `ONF_EXPERIMENTER_ID`: of the foundation's own extensions.
pub const ONF: u32 = 0x4f4e_4600;
/// `NX_VENDOR_ID`: of Nicira, whose extensions are Open vSwitch's.
pub const NICIRA: u32 = 0x2320;

fixed! {
    /// `ofp_experimenter_header`, and `ofp_experimenter_multipart_header`.
    pub(crate) struct ExperimenterFixed = "experimenter" {
        pub(crate) experimenter: u32,
        pub(crate) exp_type: u32,
    }
}

/// An experimenter's own message, or the body of its multipart.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Experimenter {
    /// Whose.
    pub experimenter: u32,
    /// What it means depends on whose it is.
    pub exp_type: u32,
    /// After its type.
    #[serde(serialize_with = "crate::serial::hex")]
    pub data: Bytes,
}

impl Experimenter {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<ExperimenterFixed>()?;
        Ok(Experimenter {
            experimenter: fixed.experimenter(),
            exp_type: fixed.exp_type(),
            data: reader.rest(),
        })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&ExperimenterFixed {
            experimenter: self.experimenter.into(),
            exp_type: self.exp_type.into(),
        });
        w.bytes(&self.data);
    }
}
