//! Events that apps die of: which one it was, and one that was set aside comes back.

use morph_api::supervisor::{
    RetryRequest, SuspectReply, SuspectRequest, UnplacedEvent, unplaced_event,
};
use morph_openflow::Dpid;

use super::control::unknown_app;
use super::*;
use crate::slot::{Queued, What};

impl Mediator {
    pub(super) fn suspect(&self, request: &SuspectRequest) -> Result<Answer, Refusal> {
        let app = self
            .app_id(&request.app)
            .ok_or_else(|| unknown_app(&request.app))?;
        let slot = self.slots.get(&app);
        let suspect = slot.and_then(|slot| slot.suspect(&request.instance));
        let reply = suspect.map_or_else(SuspectReply::default, |(queued, seq)| SuspectReply {
            seq: Some(seq),
            event: Some(content(queued)),
        });
        Ok(Answer::Suspect(reply))
    }

    pub(super) fn retry(
        &mut self,
        ticket: u64,
        request: RetryRequest,
        now: Instant,
        out: &mut Vec<Output>,
    ) -> Option<Result<Answer, Refusal>> {
        let Some(app) = self.app_id(&request.app) else {
            return Some(Err(unknown_app(&request.app)));
        };
        let event = request.event.unwrap_or_default();
        let dpid = event.dpid;
        let announced = |conn: &&u32| self.switches.get(*conn).is_some_and(|s| s.announced);
        let conn = self.by_dpid.get(&dpid).filter(announced).copied();
        let (channel, what) = match come_back(event, conn) {
            Ok(what) => what,
            Err(refusal) => return Some(Err(refusal)),
        };
        let resync = matches!(what, What::Resync { .. });
        let retry = slot::Retry {
            ticket,
            try_: (request.id, request.attempt),
            channel,
            dpid,
            what,
        };
        self.slot(app, slot::Input::Retry(retry), now, out);
        if let (true, Some(conn), Some(slot)) = (resync, conn, self.slots.get_mut(&app)) {
            // What is stored of the switch is compared with this.
            slot.list(conn, dpid);
        }
        None
    }
}

/// An event as it is set aside.
fn content(queued: &Queued) -> UnplacedEvent {
    let what = match &queued.what {
        What::PacketIn(message) => unplaced_event::What::PacketIn(message.clone()),
        What::Message(message) => unplaced_event::What::Message(message.clone()),
        What::SwitchUp => unplaced_event::What::SwitchUp(true),
        What::SwitchDown => unplaced_event::What::SwitchDown(true),
        What::Lost(count) => unplaced_event::What::Lost(*count),
        What::Resync { .. } => unplaced_event::What::Resync(true),
    };
    UnplacedEvent {
        dpid: queued.dpid,
        what: Some(what),
    }
}

/// What to queue of an event that was set aside, where its switch is connected by this channel now.
fn come_back(event: UnplacedEvent, conn: Option<u32>) -> Result<(u32, What), Refusal> {
    let dpid = event.dpid;
    let connected = || {
        conn.ok_or_else(|| {
            Refusal::Precondition(format!(
                "switch {} is not connected: try again when it is, or drop the event",
                Dpid(dpid)
            ))
        })
    };
    Ok(match event.what {
        Some(unplaced_event::What::PacketIn(message)) => (connected()?, What::PacketIn(message)),
        Some(unplaced_event::What::Message(message)) => (connected()?, What::Message(message)),
        Some(unplaced_event::What::SwitchUp(_)) => (connected()?, What::SwitchUp),
        // It may have come back since: the app compares what it has stored with what is.
        Some(unplaced_event::What::SwitchDown(_) | unplaced_event::What::Resync(_)) => {
            (0, What::Resync { list: dpid == 0 })
        }
        Some(unplaced_event::What::Lost(count)) => (conn.unwrap_or(0), What::Lost(count)),
        None => return Err(Refusal::Invalid("the event says nothing".into())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// What comes back of an event of a switch that is connected by this channel, or not.
    fn back(dpid: u64, what: unplaced_event::What, conn: Option<u32>) -> Option<(u32, What)> {
        let what = Some(what);
        come_back(UnplacedEvent { dpid, what }, conn).ok()
    }

    #[test]
    fn what_belongs_to_a_channel_comes_back_by_the_present_one_only() {
        let message = Bytes::from_static(&[4, 10]);
        for (what, queued) in [
            (
                unplaced_event::What::PacketIn(message.clone()),
                What::PacketIn(message.clone()),
            ),
            (
                unplaced_event::What::Message(message.clone()),
                What::Message(message),
            ),
            (unplaced_event::What::SwitchUp(true), What::SwitchUp),
        ] {
            assert_eq!(back(1, what.clone(), Some(7)), Some((7, queued)));
            assert_eq!(back(1, what, None), None);
        }
        let nothing = UnplacedEvent {
            dpid: 1,
            what: None,
        };
        assert!(come_back(nothing, Some(7)).is_err());
    }

    #[test]
    fn what_is_old_news_of_a_switch_comes_back_as_a_comparison_with_what_is() {
        let resync = |list| Some((0, What::Resync { list }));
        let down = unplaced_event::What::SwitchDown(true);
        assert_eq!(back(1, down.clone(), Some(7)), resync(false));
        assert_eq!(back(1, down, None), resync(false));
        let all = unplaced_event::What::Resync(true);
        assert_eq!(back(0, all, None), resync(true));
        let lost = unplaced_event::What::Lost(9);
        assert_eq!(back(1, lost, None), Some((0, What::Lost(9))));
    }
}
