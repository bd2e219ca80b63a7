//! Counters that all versions have.

use crate::wire::plain;

plain! {
    /// Rules, summed up.
    pub struct AggregateStats: AggregateFixed = "aggregate" {
        /// Packets that they handled.
        packet_count: u64;
        /// Bytes that they handled.
        byte_count: u64;
        /// How many rules.
        flow_count: u32, pad: 4;
    }
}

/// Declares `ofp_port_stats`: the port, counters, and what a version has beyond them, all in wire order.
macro_rules! port_stats {
    ($what:literal, $port:ty, $pad:literal, { $($beyond:tt)* }) => {
        $crate::wire::plain! {
            /// Counters of a port; all ones where the switch does not count.
            pub struct PortStats: PortStatsFixed = $what {
                /// Which port.
                port_no: $port, pad: $pad;
                /// Packets that came in.
                rx_packets: u64;
                /// Packets that went out.
                tx_packets: u64;
                /// Bytes that came in.
                rx_bytes: u64;
                /// Bytes that went out.
                tx_bytes: u64;
                /// Dropped on the way in.
                rx_dropped: u64;
                /// Dropped on the way out.
                tx_dropped: u64;
                /// All errors on the way in: `rx_frame_err` to `rx_crc_err` are among them.
                rx_errors: u64;
                /// All errors on the way out.
                tx_errors: u64;
                /// Frame alignment errors.
                rx_frame_err: u64;
                /// Overruns.
                rx_over_err: u64;
                /// Checksum errors.
                rx_crc_err: u64;
                /// Collisions.
                collisions: u64;
                $($beyond)*
            }
        }
    };
}
pub(crate) use port_stats;
