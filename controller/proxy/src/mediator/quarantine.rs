//! Poison events: names the suspect of a death, and queues a quarantined event again.

use morph_api::supervisor::{
    RetryRequest, SuspectReply, SuspectRequest, UnplacedEvent, unplaced_event,
};
use morph_openflow::Dpid;

use super::control::unknown_app;
use super::*;
use crate::slot::QueuedEvent;

impl Mediator {
    pub(super) fn suspect(&self, request: &SuspectRequest) -> Result<ControlReply, Refusal> {
        let app = self
            .app_id(&request.app)
            .ok_or_else(|| unknown_app(&request.app))?;
        let slot = self.slots.get(&app);
        let place = slot.zip(request.handling);
        let place = place.and_then(|(slot, handling)| slot.place(&request.instance, handling));
        if let Some((place, count)) = place {
            tracing::info!(
                app = request.app,
                instance = request.instance,
                "the instance died of event {place} of {count} that it was to answer"
            );
        }
        let suspect = slot.and_then(|slot| slot.suspect(&request.instance, request.handling));
        let reply = suspect.map_or_else(SuspectReply::default, |(queued, seq)| SuspectReply {
            seq: Some(seq),
            event: Some(unplaced(queued)),
        });
        Ok(ControlReply::Suspect(reply))
    }

    pub(super) fn retry(
        &mut self,
        ticket: u64,
        request: RetryRequest,
        now: Instant,
        out: &mut Vec<Output>,
    ) -> Option<Result<ControlReply, Refusal>> {
        let Some(app) = self.app_id(&request.app) else {
            return Some(Err(unknown_app(&request.app)));
        };
        let event = request.event.unwrap_or_default();
        let dpid = event.dpid;
        let announced = |conn: &&u32| self.switches.get(*conn).is_some_and(|s| s.announced);
        let conn = self.by_dpid.get(&dpid).filter(announced).copied();
        let (channel, what) = match requeued(event, conn) {
            Ok(what) => what,
            Err(refusal) => return Some(Err(refusal)),
        };
        let resync = matches!(what, EventKind::Resync { .. });
        let retry = Retry {
            ticket,
            attempt: (request.id, request.attempt),
            channel,
            dpid,
            what,
        };
        self.feed_slot(app, SlotInput::Retry(retry), now, out);
        if let (true, Some(conn), Some(slot)) = (resync, conn, self.slots.get_mut(&app)) {
            // The app compares its stored state of the switch with this event.
            slot.append_listed_switch(conn, dpid, now);
        }
        None
    }
}

/// Copies an event without its sequence number, for a quarantine record.
fn unplaced(queued: &QueuedEvent) -> UnplacedEvent {
    let what = match &queued.what {
        EventKind::PacketIn(message) => unplaced_event::What::PacketIn(message.clone()),
        EventKind::Message(message) => unplaced_event::What::Message(message.clone()),
        EventKind::SwitchUp => unplaced_event::What::SwitchUp(true),
        EventKind::SwitchDown => unplaced_event::What::SwitchDown(true),
        EventKind::Lost(count) => unplaced_event::What::Lost(*count),
        EventKind::Resync { .. } => unplaced_event::What::Resync(true),
        EventKind::Forgotten => unplaced_event::What::Forgotten(true),
    };
    UnplacedEvent {
        dpid: queued.dpid,
        what: Some(what),
    }
}

/// Converts a quarantined event into one to queue. `conn` is the present channel of its switch.
fn requeued(event: UnplacedEvent, conn: Option<u32>) -> Result<(u32, EventKind), Refusal> {
    let dpid = event.dpid;
    let connected = || {
        conn.ok_or_else(|| {
            Refusal::Precondition(format!(
                "switch {} is not connected: retry the event when it is, or drop it",
                Dpid(dpid)
            ))
        })
    };
    Ok(match event.what {
        Some(unplaced_event::What::PacketIn(message)) => {
            (connected()?, EventKind::PacketIn(message))
        }
        Some(unplaced_event::What::Message(message)) => (connected()?, EventKind::Message(message)),
        Some(unplaced_event::What::SwitchUp(_)) => (connected()?, EventKind::SwitchUp),
        // The switch may have come back since: a `Resync` makes the app compare its state with the present.
        Some(unplaced_event::What::SwitchDown(_) | unplaced_event::What::Resync(_)) => {
            (0, EventKind::Resync { list: dpid == 0 })
        }
        Some(unplaced_event::What::Forgotten(_)) if conn.is_some() => {
            return Err(Refusal::Precondition(format!(
                "switch {} is connected again, so it is not forgotten: drop the event",
                Dpid(dpid)
            )));
        }
        Some(unplaced_event::What::Forgotten(_)) => (0, EventKind::Forgotten),
        Some(unplaced_event::What::Lost(count)) => (conn.unwrap_or(0), EventKind::Lost(count)),
        None => {
            return Err(Refusal::Invalid(
                "the quarantined event has no content".into(),
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// Requeues an event whose switch is connected by `conn`, or not connected.
    fn requeue(
        dpid: u64,
        what: unplaced_event::What,
        conn: Option<u32>,
    ) -> Option<(u32, EventKind)> {
        let what = Some(what);
        requeued(UnplacedEvent { dpid, what }, conn).ok()
    }

    #[test]
    fn an_event_of_a_channel_is_requeued_for_the_present_channel_only() {
        let message = Bytes::from_static(&[4, 10]);
        for (what, queued) in [
            (
                unplaced_event::What::PacketIn(message.clone()),
                EventKind::PacketIn(message.clone()),
            ),
            (
                unplaced_event::What::Message(message.clone()),
                EventKind::Message(message),
            ),
            (unplaced_event::What::SwitchUp(true), EventKind::SwitchUp),
        ] {
            assert_eq!(requeue(1, what.clone(), Some(7)), Some((7, queued)));
            assert_eq!(requeue(1, what, None), None);
        }
        let nothing = UnplacedEvent {
            dpid: 1,
            what: None,
        };
        assert!(requeued(nothing, Some(7)).is_err());
    }

    #[test]
    fn outdated_news_of_a_switch_are_requeued_as_a_comparison_with_the_present() {
        let resync = |list| Some((0, EventKind::Resync { list }));
        let down = unplaced_event::What::SwitchDown(true);
        assert_eq!(requeue(1, down.clone(), Some(7)), resync(false));
        assert_eq!(requeue(1, down, None), resync(false));
        let all = unplaced_event::What::Resync(true);
        assert_eq!(requeue(0, all, None), resync(true));
        let forgotten = unplaced_event::What::Forgotten(true);
        assert_eq!(
            requeue(1, forgotten.clone(), None),
            Some((0, EventKind::Forgotten))
        );
        assert_eq!(requeue(1, forgotten, Some(7)), None);
        let lost = unplaced_event::What::Lost(9);
        assert_eq!(requeue(1, lost, None), Some((0, EventKind::Lost(9))));
    }
}
