//! Answers of a switch to bundles, and to the question whether it has them.

use super::bundles::{BundleAnswer, BundleEvent};
use super::*;

impl Channel {
    /// Returns whether a message is an answer that concerns bundles, and nobody else.
    pub(super) fn bundle_answered(&mut self, header: Header, frame: &Bytes, now: Instant) -> bool {
        if !self.transport.concerns_bundles(header.xid) {
            return false;
        }
        let answer = match v13::decode(frame) {
            Ok((_, Message::Error(error))) => BundleAnswer::Error(error),
            Ok((_, Message::BundleControl(_))) => BundleAnswer::Control,
            Ok((_, Message::BarrierReply)) => BundleAnswer::Barrier,
            Ok(_) | Err(_) => return false,
        };
        let event = self.transport.bundle_answered(header.xid, answer, now);
        self.note_bundle(event);
        true
    }

    /// Gives up a bundle that the switch does not answer in time.
    pub(super) fn expire_bundle(&mut self, now: Instant) {
        let event = self.transport.expire_bundle(now);
        self.note_bundle(event);
    }

    fn note_bundle(&mut self, event: BundleEvent) {
        let dpid = self.display_dpid();
        match event {
            BundleEvent::Nothing => {}
            BundleEvent::Absent(error) if refusals::lacks_permission(&error) => {}
            BundleEvent::Absent(error) => {
                tracing::info!(%dpid, "the switch has no bundles, so rules that differ change one by one: {error}");
                self.refusals.note(Refusable::Bundle);
            }
            BundleEvent::MessageRefused => self.received.errors += 1,
            BundleEvent::Refused { changes, error } => {
                self.received.errors += 1;
                tracing::info!(%dpid, changes, "the switch refused a bundle of changes, which are sent one by one: {error}");
            }
            BundleEvent::Unanswered { changes } => {
                tracing::warn!(%dpid, changes, "the switch does not answer bundles: their changes are sent one by one from now on");
                self.refusals.note(Refusable::Bundle);
            }
        }
    }
}
