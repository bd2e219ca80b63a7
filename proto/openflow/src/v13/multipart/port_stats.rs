//! `OFPMP_PORT_STATS` (section 7.3.5.6): counters of ports.

use crate::error::DecodeError;
use crate::wire::{Reader, Writer, fixed};

/// Declares `ofp_port_stats`: the port, then counters and the duration, all in wire order.
macro_rules! port_stats {
    ($($(#[$meta:meta])* $counter:ident),* $(,)?) => {
        fixed! {
            /// `ofp_port_stats`.
            struct PortStatsFixed = "multipart.port_stats" {
                port_no: u32,
                pad: [u8; 4],
                $($counter: u64,)*
                duration_sec: u32,
                duration_nsec: u32,
            }
        }

        /// Counters of a port; all ones where the switch does not count.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
        pub struct PortStats {
            /// Which port.
            pub port_no: u32,
            $($(#[$meta])* pub $counter: u64,)*
            /// How long the port lives: seconds,
            pub duration_sec: u32,
            /// and nanoseconds beyond them.
            pub duration_nsec: u32,
        }

        impl PortStats {
            pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let fixed = reader.fixed::<PortStatsFixed>()?;
                Ok(PortStats {
                    port_no: fixed.port_no(),
                    $($counter: fixed.$counter(),)*
                    duration_sec: fixed.duration_sec(),
                    duration_nsec: fixed.duration_nsec(),
                })
            }

            pub(super) fn encode(&self, w: &mut Writer<'_>) {
                w.fixed(&PortStatsFixed {
                    port_no: self.port_no.into(),
                    pad: [0; 4],
                    $($counter: self.$counter.into(),)*
                    duration_sec: self.duration_sec.into(),
                    duration_nsec: self.duration_nsec.into(),
                });
            }
        }
    };
}

port_stats! {
    /// Packets that came in.
    rx_packets,
    /// Packets that went out.
    tx_packets,
    /// Bytes that came in.
    rx_bytes,
    /// Bytes that went out.
    tx_bytes,
    /// Dropped on the way in.
    rx_dropped,
    /// Dropped on the way out.
    tx_dropped,
    /// All errors on the way in, of which
    rx_errors,
    /// All errors on the way out.
    tx_errors,
    /// frame alignment errors,
    rx_frame_err,
    /// overruns,
    rx_over_err,
    /// and checksum errors.
    rx_crc_err,
    /// Collisions.
    collisions,
}
