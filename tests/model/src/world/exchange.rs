//! What processes send each other.

use super::*;
use crate::instance::Up;
use crate::proxy;

impl World {
    pub(super) fn carry_out(&mut self, effects: Vec<Effect>, setup: &Setup) {
        for effect in effects {
            match effect {
                Effect::Spawn(start) => {
                    let id = number(&start.id);
                    let instance = Instance::new(start, setup, self.store.get());
                    self.instances.insert(id, Part::new(instance));
                }
                Effect::End(id) => {
                    if let Some(instance) = self.instances.get_mut(&number(&id)) {
                        instance.change().ending = true;
                    }
                }
                Effect::Kill(id) => {
                    self.instance(number(&id), |instance, _| {
                        if instance.is_alive() {
                            instance.dies(true);
                        }
                    });
                }
                Effect::Call(ticket, request) => {
                    self.ways.change().calls.push_back((ticket, request));
                }
                Effect::Forget(ticket) => self.forget(ticket),
                Effect::ForgetFence(call) => {
                    let morphd = self.morphd.as_ref().map(Part::get);
                    let store = self.store.get();
                    let fence = morphd.and_then(|morphd| morphd.fence_transaction(store, &call));
                    let stray = fence.map(Stray::Fence);
                    self.ways.change().strays.extend(stray);
                }
            }
        }
    }

    /// Feeds the proxy on behalf of this session, or of nobody's.
    pub(super) fn feed_proxy(&mut self, input: ProxyInput, session: Option<u32>) {
        let effects = self.proxy.change().put(input);
        self.take(effects, session);
    }

    pub(super) fn take(&mut self, effects: Vec<proxy::Effect>, session: Option<u32>) {
        for effect in effects {
            match effect {
                proxy::Effect::Blob(to, blob) => {
                    if let Some(instance) = self.instances.get_mut(&(to as u32))
                        && instance.get().is_alive()
                    {
                        instance.change().down(blob);
                    }
                }
                proxy::Effect::Answer(ticket, answer) => self.answered(ticket, answer),
                proxy::Effect::Observe(observation) => self.observed(observation),
                proxy::Effect::Fence(app) => self.ways.change().proxy_fences.push_back(app),
                proxy::Effect::Packet(app, number) => self.packet_left(app, number, session),
            }
        }
    }

    /// A call comes to the proxy. An answer that decides nothing comes back at once.
    pub(super) fn call(&mut self, ticket: u64, request: ControlRequest, setup: &Setup) {
        self.ways.change().configured |= matches!(request, ControlRequest::Configure(_));
        let at_once = matches!(
            request,
            ControlRequest::Instruct(_) | ControlRequest::Configure(_)
        );
        self.feed_proxy(ProxyInput::Request { ticket, request }, None);
        if at_once {
            let answers = &mut self.ways.change().answers;
            let at = answers.iter().position(|(of, _)| *of == ticket);
            if let Some((ticket, answer)) = at.and_then(|at| answers.remove(at)) {
                self.morphd(setup, |morphd, port| morphd.answer(ticket, answer, port));
            }
        }
    }

    fn answered(&mut self, ticket: u64, answer: Result<ControlReply, Refusal>) {
        let waits = |morphd: &Part<Morphd>| morphd.get().tickets().any(|waits| waits == ticket);
        let abandoned = self.ways.get().abandoned.contains(&ticket);
        if abandoned {
            self.ways.change().abandoned.remove(&ticket);
        } else if self.morphd.as_ref().is_some_and(waits) {
            self.ways.change().answers.push_back((ticket, answer));
        }
    }

    /// Nobody waits for a call any longer: its request arrives later, or has arrived.
    pub(super) fn forget(&mut self, ticket: u64) {
        let ways = self.ways.change();
        let at = ways.calls.iter().position(|(of, _)| *of == ticket);
        if let Some((_, request)) = at.and_then(|at| ways.calls.remove(at)) {
            ways.strays.push_back(Stray::Call(request));
            return;
        }
        let answers = ways.answers.len();
        ways.answers.retain(|(of, _)| *of != ticket);
        if ways.answers.len() == answers {
            ways.abandoned.insert(ticket);
        }
    }

    fn observed(&mut self, observation: Observation) {
        use morph_api::supervisor::observation::What;
        let matters = !matches!(
            observation.what,
            Some(What::Resumed(_) | What::Synced(_) | What::Switch(_)) | None
        );
        if matters && self.morphd.is_some() && !self.ways.get().unobserved {
            let heard = Heard::Observation(observation);
            self.ways.change().observed.push_back(heard);
        }
    }

    pub(super) fn packet(&mut self, setup: &Setup) {
        let next = self
            .seen
            .values_mut()
            .enumerate()
            .min_by_key(|(_, seen)| seen.came);
        let Some((at, seen)) = next else { return };
        let first = seen.came + 1;
        let at_once = match setup.slow && seen.came == 0 {
            true => 1,
            false => setup.at_once,
        };
        seen.came = (seen.came + at_once).min(setup.packets);
        let numbers = first..=seen.came;
        let effects = self.proxy.change().packets_in(at as u8 + 1, numbers);
        self.take(effects, None);
    }

    pub(super) fn comes_to_proxy(&mut self, id: u32) {
        let Some(instance) = self.instances.get_mut(&id) else {
            return;
        };
        let session = u64::from(id);
        let input = match instance.change().up.pop_front() {
            Some(Up::Open) => ProxyInput::SessionOpened { session },
            Some(Up::Blob(records)) => ProxyInput::Blob { session, records },
            Some(Up::End) => ProxyInput::SessionEnded {
                session,
                reason: String::new(),
            },
            None => return,
        };
        self.feed_proxy(input, Some(id));
    }

    pub(super) fn commit(&mut self, id: u32) {
        let Some(instance) = self.instances.get_mut(&id) else {
            return;
        };
        let Some((commit, transaction)) = instance.change().commits.pop_front() else {
            return;
        };
        let outcome = self.store.change().commit(transaction, false);
        if instance.get().is_alive() {
            instance.change().answers.push_back((commit, outcome));
        }
    }

    pub(super) fn write(&mut self, at: usize, setup: &Setup) {
        let Some(morphd) = self.morphd.as_mut() else {
            return;
        };
        let mut port = Port {
            setup,
            next_id: &mut self.next_id,
            abandoned: &self.ways.get().abandoned,
            effects: Vec::new(),
        };
        let before = self.store.get().keyspaces();
        morphd.change().write(at, self.store.change(), &mut port);
        let effects = port.effects;
        self.check_readers(&before);
        self.carry_out(effects, setup);
    }

    pub(super) fn time(&mut self, who: Who, setup: &Setup) {
        match who {
            Who::Morphd => self.morphd(setup, Morphd::time),
            Who::Proxy => {
                let effects = self.proxy.change().time();
                self.take(effects, None);
            }
            Who::Instance(id) => self.instance(id, Instance::time),
        }
    }
}

/// Ids are hexadecimal numbers.
fn number(id: &str) -> u32 {
    u32::from_str_radix(id, 16).unwrap_or(0)
}
