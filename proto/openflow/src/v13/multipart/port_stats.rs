//! `OFPMP_PORT_STATS` (section 7.3.5.6): counters of ports.

use crate::alike::counters::port_stats;

port_stats! {
    "multipart.port_stats", u32, 4, {
        /// How long the port lives: seconds,
        duration_sec: u32;
        /// and nanoseconds beyond them.
        duration_nsec: u32;
    }
}
