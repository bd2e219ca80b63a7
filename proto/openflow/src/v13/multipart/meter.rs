//! `OFPMP_METER`, `OFPMP_METER_CONFIG` and `OFPMP_METER_FEATURES` (sections 7.3.5.12 to 7.3.5.14): counters,
//! configurations and capabilities of meters.

use crate::error::DecodeError;
use crate::v13::meter::{self, MeterBand};
use crate::wire::{Fixed, Reader, Writer, fixed, fixed_only};

fixed! {
    /// `ofp_meter_stats` up to its bands.
    struct MeterStatsFixed = "multipart.meter" {
        meter_id: u32,
        len: u16,
        pad: [u8; 6],
        flow_count: u32,
        packet_in_count: u64,
        byte_in_count: u64,
        duration_sec: u32,
        duration_nsec: u32,
    }
}

/// Position of `len` in `ofp_meter_stats`, in bytes.
const LEN_AT: usize = 4;

fixed! {
    /// `ofp_meter_config` up to its bands.
    struct MeterConfigFixed = "multipart.meter_config" {
        length: u16,
        flags: u16,
        meter_id: u32,
    }
}

fixed_only! {
    /// Meter capabilities of a switch.
    pub struct MeterFeatures: MeterFeaturesFixed = "multipart.meter_features" {
        /// Maximum number of meters.
        max_meter: u32;
        /// Supported band types: bit n for type n.
        band_types: u32;
        /// Supported flags, bits of `meter::flag`.
        capabilities: u32;
        /// Maximum number of bands in a meter.
        max_bands: u8;
        /// Maximum number of color values.
        max_color: u8, pad: 2;
    }
}

fixed_only! {
    /// Counters of a meter band.
    pub struct MeterBandStats: MeterBandStatsFixed = "multipart.meter_band" {
        /// Packets above the rate of the band.
        packet_band_count: u64;
        /// Bytes above the rate of the band.
        byte_band_count: u64;
    }
}

/// Counters of a meter.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct MeterStats {
    /// Meter id within the switch.
    pub meter_id: u32,
    /// Number of rules that use the meter.
    pub flow_count: u32,
    /// Packets processed by the meter.
    pub packet_in_count: u64,
    /// Bytes processed by the meter.
    pub byte_in_count: u64,
    /// Time that the meter has existed, in whole seconds.
    pub duration_sec: u32,
    /// Nanoseconds beyond `duration_sec`.
    pub duration_nsec: u32,
    /// Counters of its bands.
    pub bands: Vec<MeterBandStats>,
}

impl MeterStats {
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let length = MeterStatsFixed::len;
        let (fixed, mut bands) = reader.entry("multipart.meter.len", LEN_AT, length)?;
        Ok(MeterStats {
            meter_id: fixed.meter_id(),
            flow_count: fixed.flow_count(),
            packet_in_count: fixed.packet_in_count(),
            byte_in_count: fixed.byte_in_count(),
            duration_sec: fixed.duration_sec(),
            duration_nsec: fixed.duration_nsec(),
            bands: bands.all(MeterBandStats::decode)?,
        })
    }

    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        let start = w.position();
        w.fixed(&MeterStatsFixed {
            meter_id: self.meter_id.into(),
            len: 0.into(),
            pad: [0; 6],
            flow_count: self.flow_count.into(),
            packet_in_count: self.packet_in_count.into(),
            byte_in_count: self.byte_in_count.into(),
            duration_sec: self.duration_sec.into(),
            duration_nsec: self.duration_nsec.into(),
        });
        self.bands.iter().for_each(|band| band.encode(w));
        let length = w.position() - start;
        w.set_length(MeterStatsFixed::NAME, start + LEN_AT, length);
    }
}

/// Configuration of a meter.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MeterConfig {
    /// Bits of `meter::flag`.
    pub flags: u16,
    /// Meter id within the switch.
    pub meter_id: u32,
    /// Bands; the band with the highest exceeded rate applies.
    pub bands: Vec<MeterBand>,
}

impl MeterConfig {
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let length = MeterConfigFixed::length;
        let (fixed, bands) = reader.entry("multipart.meter_config.length", 0, length)?;
        Ok(MeterConfig {
            flags: fixed.flags(),
            meter_id: fixed.meter_id(),
            bands: meter::decode_all(bands)?,
        })
    }

    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        let start = w.position();
        w.fixed(&MeterConfigFixed {
            length: 0.into(),
            flags: self.flags.into(),
            meter_id: self.meter_id.into(),
        });
        meter::encode_all(&self.bands, w);
        w.set_length(MeterConfigFixed::NAME, start, w.position() - start);
    }
}
