//! Statistics that have the same shape in all versions.

use crate::wire::fixed_only;

fixed_only! {
    /// Sums over the selected rules (`ofp_aggregate_stats_reply`).
    pub struct AggregateStats: AggregateFixed = "aggregate" {
        /// Packets matched by the rules.
        packet_count: u64;
        /// Bytes matched by the rules.
        byte_count: u64;
        /// Number of rules.
        flow_count: u32, pad: 4;
    }
}

/// Declares `ofp_port_stats` in wire order: the port, the common counters, and the counters that a version adds.
macro_rules! port_stats {
    ($what:literal, $port:ty, $pad:literal, { $($beyond:tt)* }) => {
        $crate::wire::fixed_only! {
            /// Counters of a port; all ones for a counter that the switch does not support.
            pub struct PortStats: PortStatsFixed = $what {
                /// Port number within the switch.
                port_no: $port, pad: $pad;
                /// Packets received by the port.
                rx_packets: u64;
                /// Packets transmitted by the port.
                tx_packets: u64;
                /// Bytes received by the port.
                rx_bytes: u64;
                /// Bytes transmitted by the port.
                tx_bytes: u64;
                /// Packets dropped on receipt.
                rx_dropped: u64;
                /// Packets dropped on transmission.
                tx_dropped: u64;
                /// Receive errors of all kinds, at least the sum of `rx_frame_err`, `rx_over_err` and `rx_crc_err`.
                rx_errors: u64;
                /// Transmit errors of all kinds.
                tx_errors: u64;
                /// Frame alignment errors on receipt.
                rx_frame_err: u64;
                /// Packets lost to receive overruns.
                rx_over_err: u64;
                /// Checksum (CRC) errors on receipt.
                rx_crc_err: u64;
                /// Number of Ethernet collisions.
                collisions: u64;
                $($beyond)*
            }
        }
    };
}
pub(crate) use port_stats;
