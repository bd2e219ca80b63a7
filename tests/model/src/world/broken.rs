//! What dies, is given up, or comes back.

use super::*;

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
                let unflushed = setup.mutation == Some(crate::Mutation::UnflushedFence);
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

    pub(super) fn kill_morphd(&mut self, calls_arrive: bool) {
        self.morphd = None;
        self.deaths.clear();
        let ways = self.ways.change();
        ways.answers.clear();
        ways.observed.clear();
        if !calls_arrive {
            ways.calls.clear();
        }
        for (ticket, _) in &mut ways.calls {
            *ticket = 0;
        }
        self.feed_proxy(ProxyInput::Observer { present: false }, None);
    }

    pub(super) fn morphd_starts(&mut self, setup: &Setup) {
        let snapshot = self
            .proxy
            .change()
            .put(ProxyInput::Observer { present: true });
        let snapshot = snapshot.into_iter().filter_map(|effect| match effect {
            proxy::Effect::Observe(observation) => Some(observation),
            _ => None,
        });
        let snapshot = snapshot.collect();
        let alive = self
            .instances
            .iter()
            .filter(|(_, instance)| instance.get().is_alive());
        let processes = alive.map(|(id, instance)| {
            let instance = instance.get();
            (
                id.to_string(),
                instance.app.clone(),
                instance.release.clone(),
            )
        });
        let finds = Finds {
            store: self.store.get(),
            processes: processes.collect(),
            snapshot,
        };
        let mut hands = with(&mut self.next_id, setup);
        let morphd = Morphd::recovers(&setup.apps(), finds, &mut hands);
        let effects = hands.effects;
        self.morphd = Some(Part::new(morphd));
        self.carry_out(effects, setup);
    }

    pub(super) fn give_up(&mut self, ticket: u64, fate: Fate, setup: &Setup) {
        let ways = self.ways.change();
        let at = ways.calls.iter().position(|(of, _)| *of == ticket);
        let call = at.and_then(|at| ways.calls.remove(at));
        ways.answers.retain(|(of, _)| *of != ticket);
        if let (Fate::Late, Some((_, ask))) = (fate, call) {
            ways.strays.push_back(Stray::Call(ask));
        }
        let refusal = Err(Refusal::Deadline("given up".into()));
        self.morphd(setup, |morphd, hands| morphd.answer(ticket, refusal, hands));
    }

    pub(super) fn give_up_fence(&mut self, fate: Fate, setup: &Setup) {
        let Some(morphd) = &self.morphd else { return };
        let records = morphd.get().records().clone();
        let fencings = self
            .morphd(setup, |morphd, hands| morphd.give_up_fence(hands))
            .flatten();
        let Some(fencings) = fencings else { return };
        let transaction = records.transaction(&writes_of(&fencings), ops_of(&fencings));
        match fate {
            Fate::Lost => {}
            Fate::Done => drop(self.store.change().commit(transaction, false)),
            Fate::Late => self
                .ways
                .change()
                .strays
                .push_back(Stray::Fence(transaction)),
        }
    }

    pub(super) fn stray(&mut self) {
        match self.ways.change().strays.pop_front() {
            Some(Stray::Call(ask)) => self.feed_proxy(
                ProxyInput::Request {
                    ticket: 0,
                    request: ask,
                },
                None,
            ),
            Some(Stray::Fence(transaction)) => drop(self.store.change().commit(transaction, false)),
            None => {}
        }
    }
}
