//! `OFPMP_QUEUE` (section 7.3.5.8): counters of queues.

use crate::wire::plain;

plain! {
    /// Whose counters to tell.
    pub struct QueueStatsRequest: QueueStatsRequestFixed = "multipart.queue_request" {
        /// Of which port, or `port::ANY`.
        port_no: u32;
        /// Of which queue, or `queue::ALL`.
        queue_id: u32;
    }
}

plain! {
    /// Counters of a queue.
    pub struct QueueStats: QueueStatsFixed = "multipart.queue" {
        /// Whose.
        port_no: u32;
        /// Which.
        queue_id: u32;
        /// Bytes that went out.
        tx_bytes: u64;
        /// Packets that went out.
        tx_packets: u64;
        /// Packets that were dropped, the queue being full.
        tx_errors: u64;
        /// How long the queue lives: seconds,
        duration_sec: u32;
        /// and nanoseconds beyond them.
        duration_nsec: u32;
    }
}
