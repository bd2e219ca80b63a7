//! `OFPT_METER_MOD` (section 7.3.4.4): adds, changes and deletes meters.

use bytes::Bytes;

use crate::error::DecodeError;
use crate::wire::{Padding, Reader, Tlv, Tlvs, Writer, fixed};

/// What a meter-mod does: `OFPMC_*`.
pub mod command {
    /// Adds a meter.
    pub const ADD: u16 = 0;
    /// Replaces a meter.
    pub const MODIFY: u16 = 1;
    /// Deletes a meter, or all.
    pub const DELETE: u16 = 2;
}

/// How a meter measures: `OFPMF_*`.
pub mod flag {
    /// In kbit/s.
    pub const KBPS: u16 = 1;
    /// In packets a second.
    pub const PKTPS: u16 = 1 << 1;
    /// Bursts count.
    pub const BURST: u16 = 1 << 2;
    /// It counts.
    pub const STATS: u16 = 1 << 3;
}

/// `OFPM_MAX`: the highest id that a meter of rules can have.
pub const MAX: u32 = 0xffff_0000;
/// `OFPM_SLOWPATH`: of what the switch's own processor handles.
pub const SLOWPATH: u32 = 0xffff_fffd;
/// `OFPM_CONTROLLER`: of what goes to the controller.
pub const CONTROLLER: u32 = 0xffff_fffe;
/// `OFPM_ALL`: all meters, in deletions and requests.
pub const ALL: u32 = 0xffff_ffff;

/// `OFPMBT_DROP`.
pub(crate) const DROP: u16 = 1;
/// `OFPMBT_DSCP_REMARK`.
pub(crate) const DSCP_REMARK: u16 = 2;
/// `OFPMBT_EXPERIMENTER`.
pub(crate) const EXPERIMENTER: u16 = 0xffff;

fixed! {
    /// `ofp_meter_mod` from its header to its bands.
    pub struct MeterModFixed = "meter_mod" {
        pub command: u16,
        pub flags: u16,
        pub meter_id: u32,
    }
}

fixed! {
    /// Of the bands of all types, what follows type and length.
    struct RateFixed = "meter_band" {
        rate: u32,
        burst_size: u32,
    }
}

fixed! {
    /// `ofp_meter_band_dscp_remark` after its burst.
    struct RemarkFixed = "meter_band.dscp_remark" {
        prec_level: u8,
        pad: [u8; 3],
    }
}

fixed! {
    /// `ofp_meter_band_experimenter` after its burst.
    struct ExperimenterFixed = "meter_band.experimenter" {
        experimenter: u32,
    }
}

/// Adds, changes or deletes a meter.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MeterMod {
    /// `command::*`.
    pub command: u16,
    /// `flag::*`.
    pub flags: u16,
    /// Which meter.
    pub meter_id: u32,
    /// What it does above which rate.
    pub bands: Vec<MeterBand>,
}

impl MeterMod {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = reader.fixed::<MeterModFixed>()?;
        let bands = reader.sub("meter_mod.bands", reader.left())?;
        Ok(MeterMod {
            command: fixed.command(),
            flags: fixed.flags(),
            meter_id: fixed.meter_id(),
            bands: decode_all(bands)?,
        })
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&MeterModFixed {
            command: self.command.into(),
            flags: self.flags.into(),
            meter_id: self.meter_id.into(),
        });
        encode_all(&self.bands, w);
    }
}

/// What a meter does with packets above a rate. Those that are not known are kept as they are.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub enum MeterBand {
    /// Drops them.
    Drop {
        /// Above which.
        rate: u32,
        /// How much may come at once.
        burst_size: u32,
    },
    /// Raises their drop precedence.
    DscpRemark {
        /// Above which.
        rate: u32,
        /// How much may come at once.
        burst_size: u32,
        /// By how many levels.
        prec_level: u8,
    },
    /// An experimenter's own.
    Experimenter {
        /// Above which.
        rate: u32,
        /// How much may come at once.
        burst_size: u32,
        /// Whose.
        experimenter: u32,
        /// After the experimenter's id.
        #[serde(serialize_with = "crate::serial::hex")]
        body: Bytes,
    },
    /// One that OpenFlow 1.3 does not know.
    Unknown {
        /// Its type.
        #[serde(rename = "type")]
        kind: u16,
        /// After type and length.
        #[serde(serialize_with = "crate::serial::hex")]
        body: Bytes,
    },
}

impl MeterBand {
    fn decode(tlv: Tlv<'_>) -> Result<MeterBand, DecodeError> {
        let mut body = tlv.body;
        if !matches!(tlv.kind, DROP | DSCP_REMARK | EXPERIMENTER) {
            let (kind, body) = (tlv.kind, body.rest());
            return Ok(MeterBand::Unknown { kind, body });
        }
        let fixed = body.fixed::<RateFixed>()?;
        let (rate, burst_size) = (fixed.rate(), fixed.burst_size());
        let band = match tlv.kind {
            DROP => {
                body.skip("meter_band.pad", 4)?;
                MeterBand::Drop { rate, burst_size }
            }
            DSCP_REMARK => MeterBand::DscpRemark {
                rate,
                burst_size,
                prec_level: body.fixed::<RemarkFixed>()?.prec_level(),
            },
            _ => MeterBand::Experimenter {
                rate,
                burst_size,
                experimenter: body.fixed::<ExperimenterFixed>()?.experimenter(),
                body: body.rest(),
            },
        };
        body.finish("meter_band")?;
        Ok(band)
    }

    fn encode(&self, w: &mut Writer<'_>) {
        let rated = |w: &mut Writer<'_>, rate: u32, burst_size: u32| {
            w.fixed(&RateFixed {
                rate: rate.into(),
                burst_size: burst_size.into(),
            });
        };
        let kind = match self {
            MeterBand::Drop { .. } => DROP,
            MeterBand::DscpRemark { .. } => DSCP_REMARK,
            MeterBand::Experimenter { .. } => EXPERIMENTER,
            MeterBand::Unknown { kind, .. } => *kind,
        };
        w.tlv_with(Padding::None, "meter_band", kind, |w| match self {
            MeterBand::Drop { rate, burst_size } => {
                rated(w, *rate, *burst_size);
                w.zeros(4);
            }
            MeterBand::DscpRemark {
                rate,
                burst_size,
                prec_level,
            } => {
                rated(w, *rate, *burst_size);
                w.bytes(&[*prec_level, 0, 0, 0]);
            }
            MeterBand::Experimenter {
                rate,
                burst_size,
                experimenter,
                body,
            } => {
                rated(w, *rate, *burst_size);
                w.bytes(&experimenter.to_be_bytes());
                w.bytes(body);
            }
            MeterBand::Unknown { body, .. } => w.bytes(body),
        });
    }
}

/// All bands up to the end of what they are in.
pub(crate) fn decode_all(reader: Reader<'_>) -> Result<Vec<MeterBand>, DecodeError> {
    Tlvs::packed("meter_band", reader)
        .map(|tlv| MeterBand::decode(tlv?))
        .collect()
}

pub(crate) fn encode_all(bands: &[MeterBand], w: &mut Writer<'_>) {
    for band in bands {
        band.encode(w);
    }
}
