//! Reply to `OFPST_DESC` and `OFPMP_DESC`: description of a switch.

use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed, read_text, write_text};

/// `DESC_STR_LEN`: field length in bytes.
const STR_LEN: usize = 256;
/// `SERIAL_NUM_LEN`: field length in bytes.
const SERIAL_LEN: usize = 32;

fixed! {
    /// `ofp_desc`: zero-terminated texts.
    struct DescFixed = "desc" {
        mfr_desc: [u8; STR_LEN],
        hw_desc: [u8; STR_LEN],
        sw_desc: [u8; STR_LEN],
        serial_num: [u8; SERIAL_LEN],
        dp_desc: [u8; STR_LEN],
    }
}

/// Description of a switch for people. Texts are at most 255 bytes, the serial number 31.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Desc {
    /// Name of the manufacturer.
    pub mfr_desc: String,
    /// Description of the hardware.
    pub hw_desc: String,
    /// Description of the software.
    pub sw_desc: String,
    /// Serial number of the switch.
    pub serial_num: String,
    /// Description of the datapath, chosen by its operator.
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
