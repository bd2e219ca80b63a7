//! `OFPMP_QUEUE` (section 7.3.5.8): counters of queues.

use crate::wire::fixed_only;

fixed_only! {
    /// Request for the counters of queues.
    pub struct QueueStatsRequest: QueueStatsRequestFixed = "multipart.queue_request" {
        /// Port number, or `port::ANY`.
        port_no: u32;
        /// Queue id, or `queue::ALL`.
        queue_id: u32;
    }
}

fixed_only! {
    /// Counters of a queue.
    pub struct QueueStats: QueueStatsFixed = "multipart.queue" {
        /// Port of the queue.
        port_no: u32;
        /// Queue id within the port.
        queue_id: u32;
        /// Bytes transmitted by the queue.
        tx_bytes: u64;
        /// Packets transmitted by the queue.
        tx_packets: u64;
        /// Packets dropped because the queue was full.
        tx_errors: u64;
        /// Time that the queue has existed, in whole seconds.
        duration_sec: u32;
        /// Nanoseconds beyond `duration_sec`.
        duration_nsec: u32;
    }
}
