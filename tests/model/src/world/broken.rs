//! What dies, is given up, or comes back.

use morph_api::store::{Checkpoint, Reason};
use morph_proxy::machine::FenceOutcome;
use morph_sdk::machine::CommitOutcome;
use morphd::machine::FoundInstance;

use super::*;
use crate::morphd::snapshot;
use crate::proxy;
use crate::records::NODE;
use crate::setup::Mutation;

impl World {
    /// Raises the epoch of the app's checkpoint, for the release that the checkpoint names: as the proxy's driver does.
    pub(super) fn proxy_fence(&mut self, setup: &Setup) {
        let Some(app) = self.ways.change().proxy_fences.pop_front() else {
            return;
        };
        let outcome = match self.store.get().checkpoint(&app).cloned() {
            None => FenceOutcome::NoCheckpoint,
            Some(Checkpoint { epoch, release, .. }) => {
                let fence = op::shared([], [op::fence(&app, NODE, epoch, release)]);
                let unflushed = setup.is_broken(Mutation::UnflushedFence);
                match self.store.change().commit(fence, unflushed) {
                    CommitOutcome::Committed(committed) => {
                        let checkpoint = self
                            .store
                            .get()
                            .checkpoint(&app)
                            .cloned()
                            .unwrap_or_default();
                        FenceOutcome::Committed {
                            epoch: checkpoint.epoch,
                            cursor: checkpoint.cursor.unwrap_or(Seq::ZERO),
                            turn: checkpoint.turn,
                            release: checkpoint.release,
                            revision: committed.revision,
                        }
                    }
                    CommitOutcome::Refused(refusal) if refusal.reason == Reason::StaleEpoch => {
                        FenceOutcome::LostRace
                    }
                    CommitOutcome::Refused(refusal) => {
                        FenceOutcome::StoreUnavailable(refusal.to_string())
                    }
                    CommitOutcome::Unknown(why) => FenceOutcome::StoreUnavailable(why),
                }
            }
        };
        self.feed_proxy(ProxyInput::Fenced { app, outcome }, None);
    }

    pub(super) fn kill_morphd(&mut self, calls_arrive: bool, setup: &Setup) {
        let Some(mut morphd) = self.morphd.take() else {
            return;
        };
        if calls_arrive {
            let before = self.store.get().keyspaces();
            let mutation = setup.mutation;
            morphd.change().write_all(self.store.change(), mutation);
            self.check_readers(&before);
        }
        self.deaths.clear();
        let ways = self.ways.change();
        ways.observed.clear();
        ways.unobserved = false;
        let on_the_way: BTreeSet<u64> = ways
            .calls
            .iter()
            .map(|(ticket, _)| *ticket)
            .chain(ways.answers.iter().map(|(ticket, _)| *ticket))
            .collect();
        ways.answers.clear();
        let asked = morphd.get().tickets().filter(|t| !on_the_way.contains(t));
        ways.abandoned.extend(asked);
        if !calls_arrive {
            ways.calls.clear();
        }
        // Nobody waits for their answers.
        for (ticket, _) in &mut ways.calls {
            *ticket = 0;
        }
        self.feed_proxy(ProxyInput::Observer { present: false }, None);
    }

    /// The proxy's state, as it tells a new observer.
    fn observe(&mut self) -> Snapshot {
        let effects = self.proxy.change();
        let effects = effects.put(ProxyInput::Observer { present: true });
        snapshot(effects.into_iter().filter_map(|effect| match effect {
            proxy::Effect::Observe(observation) => Some(observation),
            _ => None,
        }))
    }

    pub(super) fn morphd_starts(&mut self, setup: &Setup) {
        let morphd = Morphd::load(setup, self.store.get(), self.next_id);
        let configure = ControlRequest::Configure(morphd.configuration());
        self.call(0, configure, setup);
        let mut snapshot = self.observe();
        let mut found = Vec::new();
        for (id, instance) in &self.instances {
            let instance = instance.get();
            if instance.is_alive() {
                found.push(FoundInstance {
                    instance: format!("{id:x}"),
                    app: instance.app.clone(),
                    release: instance.release.clone(),
                    pid: 0,
                });
            }
        }
        if setup.is_broken(Mutation::WrongEpochAdopted) {
            for found in &found {
                let (app, id) = (found.app.clone(), found.instance.clone());
                if snapshot.attached.contains(&id) {
                    snapshot.live.insert(app, id);
                }
            }
        }
        self.morphd = Some(Part::new(morphd));
        self.morphd(setup, |morphd, port| morphd.adopt(found, snapshot, port));
    }

    pub(super) fn kill_store(&mut self, setup: &Setup) {
        self.store.change().crash();
        for instance in self.instances.values_mut() {
            instance.change().store_died(self.store.get());
        }
        if setup.lazy {
            // Turns that were acknowledged before they were on disk may be gone, and are made again.
            for seen in self.seen.values_mut() {
                seen.book.clear();
            }
        }
    }

    /// The proxy dies, with its sessions and all that it had not delivered; another one starts.
    pub(super) fn kill_proxy(&mut self, setup: &Setup) {
        self.incarnation += 1;
        let switch = self.proxy.get().switch().reconnected();
        self.proxy = Part::new(Proxy::new(self.incarnation, switch, setup));
        for (app, seen) in &mut self.seen {
            let book = self.store.get().book_on_disk(app);
            let lost = (1..=seen.came).filter(|number| !book.contains(number));
            seen.lost.extend(lost);
        }
        for instance in self.instances.values_mut() {
            instance.change().proxy_died(self.store.get());
        }
        let tickets: Vec<u64> = self.morphd.iter().flat_map(|m| m.get().tickets()).collect();
        let ways = self.ways.change();
        ways.calls.clear();
        ways.abandoned.clear();
        ways.observed.clear();
        ways.proxy_fences.clear();
        ways.strays.retain(|stray| matches!(stray, Stray::Fence(_)));
        ways.unobserved = self.morphd.is_some();
        ways.configured = false;
        for ticket in tickets {
            let answered = |(of, _): &(u64, Result<ControlReply, Refusal>)| *of == ticket;
            if !ways.answers.iter().any(answered) {
                let away = Refusal::Unavailable("the proxy is away".into());
                ways.answers.push_back((ticket, Err(away)));
            }
        }
    }

    /// morphd's observer reaches the new proxy.
    pub(super) fn observe_again(&mut self) {
        let snapshot = self.observe();
        let ways = self.ways.change();
        ways.unobserved = false;
        ways.observed.push_back(Heard::Snapshot(snapshot));
    }

    pub(super) fn stray(&mut self, setup: &Setup) {
        match self.ways.change().strays.pop_front() {
            Some(Stray::Call(request)) => {
                self.call(0, request, setup);
            }
            Some(Stray::Fence(transaction)) => {
                drop(self.store.change().commit(transaction, false));
            }
            None => {}
        }
    }
}
