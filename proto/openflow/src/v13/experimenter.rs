//! `OFPT_EXPERIMENTER` (section 7.5.4), and bodies of experimenter multipart messages. Data is kept as bytes.

use bytes::Bytes;

use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed};

/// `ONF_EXPERIMENTER_ID`: extensions of the Open Networking Foundation.
pub const ONF: u32 = 0x4f4e_4600;
/// `NX_VENDOR_ID`: Nicira's extensions, which Open vSwitch implements.
pub const NICIRA: u32 = 0x2320;

fixed! {
    /// `ofp_experimenter_header`, and `ofp_experimenter_multipart_header`.
    pub(crate) struct ExperimenterFixed = "experimenter" {
        pub(crate) experimenter: u32,
        pub(crate) exp_type: u32,
    }
}

/// Experimenter message, or body of an experimenter multipart message.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Experimenter {
    /// Experimenter id, such as [`ONF`].
    pub experimenter: u32,
    /// Message type, defined by the experimenter.
    pub exp_type: u32,
    /// Bytes after the experimenter type.
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
