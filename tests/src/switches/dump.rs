//! Reports of all rules that take long: the agent of a switch makes one at a time.

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use morph_openflow::frame;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Time that a switch takes to report its rules.
#[derive(Clone, Copy, Debug)]
pub struct SlowDump {
    /// Until the first part of a report.
    pub first: Duration,
    /// From each part to the next one.
    pub part: Duration,
}

/// Reports of one switch that are not sent yet.
#[derive(Debug, Default)]
pub(super) struct Dumps {
    slow: Option<SlowDump>,
    asked: u64,
    /// Parts of reports with the times at which they are sent, in this order, and whether each is the last of its report.
    parts: VecDeque<(Instant, Bytes, bool)>,
}

impl Dumps {
    pub(super) fn slow_down(&mut self, dump: SlowDump) {
        self.slow = Some(dump);
    }

    pub(super) fn are_slow(&self) -> bool {
        self.slow.is_some()
    }

    pub(super) fn asked(&self) -> u64 {
        self.asked
    }

    /// Number of reports of which parts are missing.
    pub(super) fn pending(&self) -> usize {
        self.parts.iter().filter(|(_, _, last)| *last).count()
    }

    /// Takes a report as it is now. It is made after those before it.
    pub(super) fn add(&mut self, mut report: BytesMut, now: Instant) -> Result<()> {
        let Some(SlowDump { first, part }) = self.slow else {
            return Ok(());
        };
        self.asked += 1;
        let free = self.parts.back().map_or(now, |(at, ..)| (*at).max(now));
        let mut at = free + first;
        while let Some(frame) = frame::split(&mut report)? {
            self.parts.push_back((at, frame, report.is_empty()));
            at += part;
        }
        Ok(())
    }

    /// Writes the parts that are due.
    pub(super) fn write_due(&mut self, now: Instant, out: &mut BytesMut) {
        while let Some((_, part, _)) = self.parts.pop_front_if(|(at, ..)| *at <= now) {
            out.extend_from_slice(&part);
        }
    }

    /// Forgets the reports of a connection that is lost.
    pub(super) fn disconnected(&mut self) {
        self.parts.clear();
    }
}
