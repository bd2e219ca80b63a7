//! `OFPMP_METER`, `OFPMP_METER_CONFIG` and `OFPMP_METER_FEATURES` (sections 7.3.5.12 to 7.3.5.14): counters of meters, meters,
//! and what they can be.

use crate::error::DecodeError;
use crate::v13::meter::{self, MeterBand};
use crate::wire::{Fixed, Reader, Writer, fixed, plain};

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

/// Where in `ofp_meter_stats` `len` is.
const LEN_AT: usize = 4;

fixed! {
    /// `ofp_meter_config` up to its bands.
    struct MeterConfigFixed = "multipart.meter_config" {
        length: u16,
        flags: u16,
        meter_id: u32,
    }
}

plain! {
    /// What meters a switch can have.
    pub struct MeterFeatures: MeterFeaturesFixed = "multipart.meter_features" {
        /// How many, at most.
        max_meter: u32;
        /// Bit n for type n of bands.
        band_types: u32;
        /// Bits of `meter::flag::*`.
        capabilities: u32;
        /// How many bands a meter can have.
        max_bands: u8;
        /// How many colors.
        max_color: u8, pad: 2;
    }
}

plain! {
    /// Counters of a band.
    pub struct MeterBandStats: MeterBandStatsFixed = "multipart.meter_band" {
        /// Packets above its rate.
        packet_band_count: u64;
        /// Bytes above its rate.
        byte_band_count: u64;
    }
}

/// Counters of a meter.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct MeterStats {
    /// Which.
    pub meter_id: u32,
    /// How many rules pass it.
    pub flow_count: u32,
    /// Packets that passed it.
    pub packet_in_count: u64,
    /// Bytes that passed it.
    pub byte_in_count: u64,
    /// How long it lives: seconds,
    pub duration_sec: u32,
    /// and nanoseconds beyond them.
    pub duration_nsec: u32,
    /// Of its bands.
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

/// A meter as a switch has it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MeterConfig {
    /// `meter::flag::*`.
    pub flags: u16,
    /// Which.
    pub meter_id: u32,
    /// What it does above which rate.
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
