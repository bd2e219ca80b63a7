//! Properties of a slot for reports and for the mediator.

use super::*;

impl Slot {
    /// Returns the session that receives events.
    pub(crate) fn receiver(&self) -> Option<u64> {
        match &self.state {
            SlotState::Live(live) => Some(live.session),
            SlotState::Draining(..)
            | SlotState::Empty { .. }
            | SlotState::Held(_)
            | SlotState::Fencing { .. } => None,
        }
    }

    /// Returns the instance that was live before the hold.
    pub(crate) fn held_instance(&self) -> Option<&str> {
        match &self.state {
            SlotState::Draining(_, hold)
            | SlotState::Held(hold)
            | SlotState::Fencing { hold, .. } => hold.instance.as_deref(),
            SlotState::Empty { .. } | SlotState::Live(_) => None,
        }
    }

    /// Returns the number of the next event.
    pub(crate) fn next_event(&self) -> u64 {
        self.backlog.next()
    }

    /// Looks up an event by its number.
    pub(crate) fn queued(&self, n: u64) -> Option<(&QueuedEvent, Seq)> {
        Some((self.backlog.get(n)?, self.backlog.seq(n)))
    }

    /// Describes the last resume, for a late observer.
    pub(crate) fn last_resume(&self) -> Option<Resumed> {
        match &self.state {
            SlotState::Live(live) | SlotState::Draining(live, _) => Some(Resumed {
                app: self.app.clone(),
                instance: live.instance.clone(),
                epoch: self.epoch,
            }),
            SlotState::Empty { .. } | SlotState::Held(_) | SlotState::Fencing { .. } => None,
        }
    }

    /// Describes the slot for morphd.
    pub(crate) fn report(&mut self, now: Instant) -> morph_api::supervisor::Slot {
        let instance = match &self.state {
            SlotState::Live(live) | SlotState::Draining(live, _) => live.instance.clone(),
            SlotState::Empty { .. } | SlotState::Held(_) | SlotState::Fencing { .. } => {
                String::new()
            }
        };
        let held = match &self.state {
            SlotState::Draining(..) | SlotState::Held(_) | SlotState::Fencing { .. } => true,
            SlotState::Live(live) => live.gate.is_some(),
            SlotState::Empty { .. } => false,
        };
        let [delay_p50_us, delay_p99_us] = self.delays.percentiles([50, 99], now);
        let silence = match &self.state {
            SlotState::Live(live) if live.gate.is_none() => live.window.silence(now),
            SlotState::Live(_)
            | SlotState::Draining(..)
            | SlotState::Empty { .. }
            | SlotState::Held(_)
            | SlotState::Fencing { .. } => Duration::ZERO,
        };
        let flood = self.backlog.flood(now);
        let (answered, answer_us) = match &self.state {
            SlotState::Live(live) | SlotState::Draining(live, _) => live.window.answers(),
            SlotState::Empty { .. } | SlotState::Held(_) | SlotState::Fencing { .. } => (0, 0),
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
            packet_outs_dropped: self.forwarded.packet_outs_dropped,
            rejected: self.forwarded.rejected,
            replayed: self.replayed,
            rate: self.rate.per_second(now),
            turn_sizes: Some(self.turn_sizes.report()),
            answered_total: self.answered,
            too_old: self.backlog.too_old(),
            delay_p50_us,
            delay_p99_us,
            target_delay_us: self.backlog.target().as_micros() as u64,
            silent_us: silence.as_micros() as u64,
            flood,
        }
    }
}
