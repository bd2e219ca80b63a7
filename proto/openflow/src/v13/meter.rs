//! `OFPT_METER_MOD` (section 7.3.4.4): adds, changes and deletes meters.

use bytes::Bytes;

use crate::error::DecodeError;
use crate::wire::{Padding, Reader, Tlv, Tlvs, Writer, fixed};

/// Commands of a meter-mod: `OFPMC_*`.
pub mod command {
    /// Adds a meter.
    pub const ADD: u16 = 0;
    /// Replaces flags and bands of a meter.
    pub const MODIFY: u16 = 1;
    /// Deletes a meter, or all meters.
    pub const DELETE: u16 = 2;
}

/// Flags of a meter: `OFPMF_*`.
pub mod flag {
    /// Rates are in kbit/s.
    pub const KBPS: u16 = 1;
    /// Rates are in packets per second.
    pub const PKTPS: u16 = 1 << 1;
    /// Burst sizes are respected.
    pub const BURST: u16 = 1 << 2;
    /// Statistics are collected.
    pub const STATS: u16 = 1 << 3;
}

/// `OFPM_MAX`: highest id of a meter that rules can use.
pub const MAX: u32 = 0xffff_0000;
/// `OFPM_SLOWPATH`: meter of packets on the switch's slow path.
pub const SLOWPATH: u32 = 0xffff_fffd;
/// `OFPM_CONTROLLER`: meter of packets to the controller.
pub const CONTROLLER: u32 = 0xffff_fffe;
/// `OFPM_ALL`: all meters, in deletions and requests.
pub const ALL: u32 = 0xffff_ffff;

/// `OFPMBT_DROP`: band type.
pub(crate) const DROP: u16 = 1;
/// `OFPMBT_DSCP_REMARK`: band type.
pub(crate) const DSCP_REMARK: u16 = 2;
/// `OFPMBT_EXPERIMENTER`: band type.
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
    /// Common fields of all meter bands, after type and length.
    struct MeterRateFixed = "meter_band" {
        rate: u32,
        burst_size: u32,
    }
}

fixed! {
    /// `ofp_meter_band_dscp_remark` after the common fields.
    struct RemarkFixed = "meter_band.dscp_remark" {
        prec_level: u8,
        pad: [u8; 3],
    }
}

fixed! {
    /// `ofp_meter_band_experimenter` after the common fields.
    struct BandExperimenterFixed = "meter_band.experimenter" {
        experimenter: u32,
    }
}

/// Addition, change or deletion of a meter.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MeterMod {
    /// Command, a constant of [`command`].
    pub command: u16,
    /// Bits of [`flag`].
    pub flags: u16,
    /// Meter id, at most [`MAX`] for meters of rules.
    pub meter_id: u32,
    /// Bands; the band with the highest exceeded rate applies.
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

/// Treatment of packets above a rate. Rates are in kbit/s or packets per second, by the meter's flags. Unknown
/// bands are kept as bytes and encoded unchanged.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub enum MeterBand {
    /// Drops packets above the rate.
    Drop {
        /// Rate above which the band applies.
        rate: u32,
        /// Burst allowed above the rate, in kilobits or packets.
        burst_size: u32,
    },
    /// Raises the drop precedence of packets above the rate.
    DscpRemark {
        /// Rate above which the band applies.
        rate: u32,
        /// Burst allowed above the rate, in kilobits or packets.
        burst_size: u32,
        /// Levels by which the drop precedence is raised.
        prec_level: u8,
    },
    /// Band defined by an experimenter, kept as bytes.
    Experimenter {
        /// Rate above which the band applies.
        rate: u32,
        /// Burst allowed above the rate, in kilobits or packets.
        burst_size: u32,
        /// Experimenter id, as in `OFPT_EXPERIMENTER`.
        experimenter: u32,
        /// Bytes after the experimenter id.
        #[serde(serialize_with = "crate::serial::hex")]
        body: Bytes,
    },
    /// Band of an unknown type, kept as bytes.
    Unknown {
        /// Band type on the wire.
        #[serde(rename = "type")]
        kind: u16,
        /// Bytes after type and length.
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
        let fixed = body.fixed::<MeterRateFixed>()?;
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
                experimenter: body.fixed::<BandExperimenterFixed>()?.experimenter(),
                body: body.rest(),
            },
        };
        body.finish("meter_band")?;
        Ok(band)
    }

    fn encode(&self, w: &mut Writer<'_>) {
        let rated = |w: &mut Writer<'_>, rate: u32, burst_size: u32| {
            w.fixed(&MeterRateFixed {
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

/// Decodes bands up to the end of the reader.
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
