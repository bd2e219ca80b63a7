//! What can happen in a state.

use super::*;

impl World {
    /// Actions that are possible without a fault. Messages between the proxy and an instance that is not live yet come at once:
    /// no order with anything else makes a difference.
    pub(crate) fn steps(&self, setup: &Setup) -> Vec<Action> {
        if self.is_done(setup) {
            return Vec::new();
        }
        if let Some(action) = self.preparing().or_else(|| self.storing(setup)) {
            return vec![action];
        }
        let mut actions = Vec::new();
        let store = self.store.get();
        let ways = self.ways.get();
        for (id, instance) in &self.instances {
            let instance = instance.get();
            let mut may = |is: bool, action| {
                if is {
                    actions.push(action)
                }
            };
            may(!instance.up.is_empty(), Action::ToProxy(*id));
            may(!instance.down.is_empty(), Action::ToInstance(*id));
            may(!instance.commits.is_empty(), Action::Commit(*id));
            may(!instance.answers.is_empty(), Action::Committed(*id));
            may(instance.may_be_told(store, setup.late), Action::News(*id));
            may(instance.ending && instance.is_alive(), Action::Ends(*id));
        }
        let mut may = |is: bool, action| {
            if is {
                actions.push(action)
            }
        };
        may(self.proxy.get().switch().is_behind(), Action::Switch);
        may(store.is_behind(), Action::Sync);
        may(!ways.calls.is_empty(), Action::Call);
        may(!ways.proxy_fences.is_empty(), Action::ProxyFence);
        match &self.morphd {
            Some(morphd) => {
                let morphd = morphd.get();
                for at in 0..morphd.stored() {
                    may(true, Action::Write(at as u8));
                }
                may(ways.unobserved, Action::Observer);
                may(!ways.answers.is_empty(), Action::Answer);
                may(!ways.observed.is_empty(), Action::Observe);
                may(
                    self.upgrades > 0 && !morphd.is_upgrading() && self.serves_all(morphd),
                    Action::Upgrade,
                );
            }
            None => may(true, Action::MorphdStarts),
        }
        if self.morphd.is_some() {
            actions.extend(self.deaths.iter().map(|id| Action::Ended(*id)));
        }
        if actions.is_empty() {
            actions.extend(self.clocks().map(Action::Time));
        }
        if !self.has_all(setup) && self.is_set_up() && ways.configured {
            actions.push(Action::Packet);
        }
        if self.waits > 0 && self.proxy.get().may_wait() {
            actions.push(Action::Wait);
        }
        actions
    }

    pub(super) fn preparing(&self) -> Option<Action> {
        let unheld = self
            .instances
            .iter()
            .filter(|(_, instance)| instance.get().prepares());
        let mut exchange = unheld.filter_map(|(id, instance)| match instance.get() {
            instance if !instance.up.is_empty() => Some(Action::ToProxy(*id)),
            instance if !instance.down.is_empty() => Some(Action::ToInstance(*id)),
            _ => None,
        });
        exchange.next()
    }

    /// Transaction that comes to the store before anything else happens: the age of packets does not depend on it.
    fn storing(&self, setup: &Setup) -> Option<Action> {
        let mut instances = self.instances.iter().filter(|_| setup.slow);
        instances.find_map(|(id, instance)| match instance.get() {
            instance if !instance.commits.is_empty() => Some(Action::Commit(*id)),
            instance if !instance.answers.is_empty() => Some(Action::Committed(*id)),
            _ => None,
        })
    }

    /// All has come, been done, and ended.
    pub fn is_done(&self, setup: &Setup) -> bool {
        self.is_over(setup) && self.has_all(setup)
    }

    /// Source or target serves each app again, and all that came is written down and was answered.
    pub fn is_over(&self, setup: &Setup) -> bool {
        let Some(morphd) = &self.morphd else {
            return false;
        };
        let morphd = morphd.get();
        let serves = |(app, seen): (&String, &Seen)| {
            let live = morphd
                .serves(app)
                .is_some_and(|known| known.live && known.attached && !known.ending);
            let book = self.store.get().book(app);
            let expected = self.expected(app, seen, setup);
            let mut written = expected.iter().filter(|number| setup.is_written(**number));
            let mut sent = expected.iter().filter(|number| setup.is_sent(**number));
            live && sent.all(|number| seen.sent.contains(number))
                && written.all(|number| book.contains(number))
        };
        self.upgrades == 0 && !morphd.is_upgrading() && self.seen.iter().all(serves)
    }

    /// All packets have come.
    pub fn has_all(&self, setup: &Setup) -> bool {
        self.seen.values().all(|seen| seen.came == setup.packets)
    }

    pub(super) fn serves_all(&self, morphd: &Morphd) -> bool {
        self.seen.keys().all(|app| morphd.serves(app).is_some())
    }

    /// Each app was made live once.
    pub(super) fn is_set_up(&self) -> bool {
        self.seen
            .keys()
            .all(|app| self.store.get().cursor(app) > Seq::ZERO)
    }

    pub(super) fn clocks(&self) -> impl Iterator<Item = Who> {
        let instances = self
            .instances
            .iter()
            .filter(|(_, instance)| instance.get().waits());
        let morphd = self
            .morphd
            .as_ref()
            .filter(|morphd| morphd.get().next_deadline().is_some());
        let proxy = self.proxy.get().next_deadline().map(|_| Who::Proxy);
        let morphd = morphd.map(|_| Who::Morphd);
        morphd
            .into_iter()
            .chain(proxy)
            .chain(instances.map(|(id, _)| Who::Instance(*id)))
    }

    /// Faults that are possible.
    pub(crate) fn faults(&self, setup: &Setup) -> Vec<Action> {
        let mut actions = Vec::new();
        if !self.ways.get().strays.is_empty() {
            actions.push(Action::Stray);
        }
        if self.faults == 0 || self.is_done(setup) {
            return actions;
        }
        let kinds = setup.kinds;
        if kinds.deadlines {
            actions.extend(
                self.clocks()
                    .filter(|who| !matches!(who, Who::Instance(_)))
                    .map(Action::Early),
            );
        }
        if kinds.instances {
            for (id, instance) in self
                .instances
                .iter()
                .filter(|(_, instance)| instance.get().is_alive())
            {
                actions.push(Action::Kill(*id, true));
                if !instance.get().up.is_empty() || !instance.get().commits.is_empty() {
                    actions.push(Action::Kill(*id, false));
                }
            }
        }
        if kinds.store {
            actions.push(Action::KillStore);
        }
        if kinds.proxy {
            actions.push(Action::KillProxy);
        }
        let Some(morphd) = &self.morphd else {
            return actions;
        };
        let morphd = morphd.get();
        if kinds.morphd {
            actions.push(Action::KillMorphd(true));
            if !self.ways.get().calls.is_empty() || morphd.stored() > 0 {
                actions.push(Action::KillMorphd(false));
            }
        }
        if kinds.operator && morphd.is_upgrading() {
            actions.push(Action::Rollback);
        }
        if kinds.calls {
            actions.extend(morphd.may_be_given_up().map(Action::GiveUp));
            if morphd.fences() {
                actions.push(Action::GiveUpFence);
            }
        }
        actions
    }
}
