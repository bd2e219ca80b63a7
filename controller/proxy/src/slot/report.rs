//! What others may know of a slot.

use super::*;

impl Slot {
    /// The session to which events go now.
    pub(crate) fn gets_events(&self) -> Option<u64> {
        match &self.state {
            State::Live(live) => Some(live.session),
            State::Draining(..) | State::Empty { .. } | State::Held(_) | State::Fencing { .. } => {
                None
            }
        }
    }

    /// The instance that was live before the hold, whose expiry is under way.
    pub(crate) fn held_instance(&self) -> Option<&str> {
        match &self.state {
            State::Draining(_, hold) | State::Held(hold) | State::Fencing { hold, .. } => {
                hold.instance.as_deref()
            }
            State::Empty { .. } | State::Live(_) => None,
        }
    }

    /// The number of the next event.
    pub(crate) fn next_event(&self) -> u64 {
        self.backlog.next()
    }

    /// The event with this number.
    pub(crate) fn queued(&self, n: u64) -> Option<(&Queued, Seq)> {
        Some((self.backlog.get(n)?, self.backlog.seq(n)))
    }

    /// What was resumed last, for an observer that comes later.
    pub(crate) fn resumed(&self) -> Option<Resumed> {
        match &self.state {
            State::Live(live) | State::Draining(live, _) => Some(Resumed {
                app: self.app.clone(),
                instance: live.instance.clone(),
                epoch: self.epoch,
            }),
            State::Empty { .. } | State::Held(_) | State::Fencing { .. } => None,
        }
    }

    /// For morphd's table.
    pub(crate) fn report(&mut self, now: Instant) -> morph_api::supervisor::Slot {
        let instance = match &self.state {
            State::Live(live) | State::Draining(live, _) => live.instance.clone(),
            State::Empty { .. } | State::Held(_) | State::Fencing { .. } => String::new(),
        };
        let held = match &self.state {
            State::Draining(..) | State::Held(_) | State::Fencing { .. } => true,
            State::Live(live) => live.shut.is_some(),
            State::Empty { .. } => false,
        };
        let (answered, answer_us) = match &self.state {
            State::Live(live) | State::Draining(live, _) => (live.answered, live.answer_us),
            State::Empty { .. } | State::Held(_) | State::Fencing { .. } => (0, 0),
        };
        morph_api::supervisor::Slot {
            answered,
            answer_us,
            app: self.app.clone(),
            instance,
            epoch: self.epoch,
            held,
            backlog: self.backlog.len() as u64,
            backlog_bytes: self.backlog.bytes() as u64,
            last: Some(self.backlog.seq(self.backlog.next() - 1)),
            events: self.events,
            lost: self.backlog.lost(),
            flow_mods: self.forwarded.flow_mods,
            group_mods: self.forwarded.group_mods,
            meter_mods: self.forwarded.meter_mods,
            packet_outs: self.forwarded.packet_outs,
            rejected: self.forwarded.rejected,
            replayed: self.replayed,
            rate: self.rate.per_second(now),
        }
    }
}
