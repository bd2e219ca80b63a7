//! `OFPST_DESC`, `OFPMP_DESC`: the description of a switch.

use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed, read_text, write_text};

/// `DESC_STR_LEN`.
const STR_LEN: usize = 256;
/// `SERIAL_NUM_LEN`.
const SERIAL_LEN: usize = 32;

fixed! {
    /// `ofp_desc`.
    struct DescFixed = "desc" {
        mfr_desc: [u8; STR_LEN],
        hw_desc: [u8; STR_LEN],
        sw_desc: [u8; STR_LEN],
        serial_num: [u8; SERIAL_LEN],
        dp_desc: [u8; STR_LEN],
    }
}

/// The description of a switch, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Desc {
    /// The manufacturer.
    pub mfr_desc: String,
    /// The hardware.
    pub hw_desc: String,
    /// The software.
    pub sw_desc: String,
    /// The serial number.
    pub serial_num: String,
    /// The datapath.
    pub dp_desc: String,
}

impl Desc {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<DescFixed>()?;
        Ok(Desc {
            mfr_desc: read_text(&fixed.mfr_desc),
            hw_desc: read_text(&fixed.hw_desc),
            sw_desc: read_text(&fixed.sw_desc),
            serial_num: read_text(&fixed.serial_num),
            dp_desc: read_text(&fixed.dp_desc),
        })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&DescFixed {
            mfr_desc: write_text(&self.mfr_desc),
            hw_desc: write_text(&self.hw_desc),
            sw_desc: write_text(&self.sw_desc),
            serial_num: write_text(&self.serial_num),
            dp_desc: write_text(&self.dp_desc),
        });
    }
}
