//! `OFPMP_PORT_STATS` (section 7.3.5.6): counters of ports.

use crate::shared::counters::port_stats;

port_stats! {
    "multipart.port_stats", u32, 4, {
        /// Time that the port has existed, in whole seconds.
        duration_sec: u32;
        /// Nanoseconds beyond `duration_sec`.
        duration_nsec: u32;
    }
}
