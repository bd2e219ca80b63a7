//! Packets that were not sent on because only their beginning came: counted, with a log line a minute at most.

use std::time::{Duration, Instant};

use crate::Dpid;

/// Interval between two log lines.
const INTERVAL: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Default)]
pub(super) struct CutPackets {
    /// Number since the last log line.
    count: u64,
    logged: Option<Instant>,
}

impl CutPackets {
    /// Counts packets that came from this switch.
    pub(super) fn note(&mut self, count: u64, dpid: Option<Dpid>, now: Instant) {
        self.count += count;
        let is_quiet = |at| now.saturating_duration_since(at) < INTERVAL;
        if self.logged.is_some_and(is_quiet) {
            return;
        }
        let (count, dpid) = (std::mem::take(&mut self.count), dpid.unwrap_or(Dpid(0)));
        tracing::warn!(
            "{count} packets were dropped since the last line like this, the last one from switch {dpid}: it sent only their \
             beginning, and the switch that was to send them on does not have the rest"
        );
        self.logged = Some(now);
    }
}
