//! Observations for morphd.

use morph_api::supervisor::{Observation, SwitchChange, Synced, observation};

use super::sessions::attached;
use super::*;

impl Mediator {
    pub(super) fn observe(&self, out: &mut Vec<Output>, what: impl FnOnce() -> observation::What) {
        if self.observed {
            out.push(observation(what()));
        }
    }

    /// Adds or removes the observer. A new one receives the present state as if it had just come about.
    pub(super) fn observer(&mut self, present: bool, out: &mut Vec<Output>) {
        self.observed = present;
        if !present {
            return;
        }
        let mut sessions: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, s)| s.app.is_some())
            .collect();
        sessions.sort_by_key(|(id, _)| **id);
        let hellos = sessions
            .iter()
            .filter_map(|(_, session)| session.hello.as_ref());
        out.extend(hellos.map(|hello| observation(observation::What::Attached(attached(hello)))));
        let up = |switch: &Switch| {
            observation(observation::What::Switch(SwitchChange {
                dpid: switch.channel.dpid(),
                up: true,
                remote: switch.channel.remote.clone(),
                reason: String::new(),
                tables: u32::from(switch.channel.tables()),
            }))
        };
        out.extend(
            self.switches
                .values()
                .filter(|switch| switch.announced)
                .map(up),
        );
        let resumed = self.slots.values().filter_map(Slot::last_resume);
        out.extend(resumed.map(|resumed| observation(observation::What::Resumed(resumed))));
        out.push(observation(observation::What::Synced(Synced {
            incarnation: self.settings.incarnation,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
        })));
    }
}

fn observation(what: observation::What) -> Output {
    Output::Observe(Observation { what: Some(what) })
}
