//! What the store and the proxy answer, and what the proxy says unasked.

use super::*;

impl Morphd {
    /// The oldest write comes to the store, and its answer here.
    pub(crate) fn write(&mut self, store: &mut Store, hands: &mut Hands<'_>) {
        let Some(job) = self.jobs.pop_front() else {
            return;
        };
        let unflushed = hands.broken.unflushed_fence;
        match job {
            Job::Record { app, step, writes } => {
                let input = match self.records.write(store, &writes, &[], false) {
                    Ok(_) => upgrade::Input::Recorded(step),
                    Err(refusal) => upgrade::Input::NotRecorded(step, refusal.to_string()),
                };
                hands.feeds.push_back(Feed::Upgrade(app, input));
            }
            Job::Finish { apps, writes } => {
                let result = self.records.write(store, &writes, &[], false);
                for app in apps {
                    let input = match &result {
                        Ok(_) => upgrade::Input::Finished,
                        Err(refusal) => upgrade::Input::FinishRefused(refusal.to_string()),
                    };
                    hands.feeds.push_back(Feed::Upgrade(app, input));
                }
            }
            Job::Fence {
                side,
                instances,
                fencings,
            } => {
                let result = self.records.fence(store, &fencings, unflushed);
                if !(hands.broken.resume_before_fence && side == Side::New) {
                    self.fence_answered(
                        &fencings,
                        &instances,
                        result.map_err(|r| r.to_string()),
                        hands,
                    );
                }
            }
            Job::Start { instance, fencing } => {
                let app = fencing.app.clone();
                match self
                    .records
                    .fence(store, &[fencing], unflushed)
                    .map(|f| f.first().copied())
                {
                    Ok(Some(fenced)) => {
                        let ask = resume_request(&app, &instance, fenced, None);
                        self.call(Waiting::Start(app, instance, fenced), ask, hands);
                    }
                    Ok(None) | Err(_) => {
                        hands
                            .feeds
                            .push_back(Feed::App(app, app::Input::ResumeFailed(instance)));
                    }
                }
            }
        }
        self.feed_all(hands);
    }

    /// The fence that is waited for is given up; whatever becomes of it.
    pub(crate) fn give_up_fence(&mut self, hands: &mut Hands<'_>) -> Option<Vec<Fencing>> {
        let Some(Job::Fence {
            side: Side::New, ..
        }) = self.jobs.front()
        else {
            return None;
        };
        let Some(Job::Fence {
            instances,
            fencings,
            ..
        }) = self.jobs.pop_front()
        else {
            return None;
        };
        self.fence_answered(
            &fencings,
            &instances,
            Err("the store did not answer in time".into()),
            hands,
        );
        self.feed_all(hands);
        Some(fencings)
    }

    /// A fence for newcomers is on its way.
    pub(crate) fn fences(&self) -> bool {
        matches!(
            self.jobs.front(),
            Some(Job::Fence {
                side: Side::New,
                ..
            })
        )
    }

    pub(crate) fn records(&self) -> &Records {
        &self.records
    }

    pub(super) fn fence_answered(
        &mut self,
        fencings: &[Fencing],
        instances: &[String],
        result: Result<Vec<Fenced>, String>,
        hands: &mut Hands<'_>,
    ) {
        match result {
            Err(why) => {
                for fencing in fencings {
                    let refused = upgrade::Input::FenceRefused(why.clone());
                    hands
                        .feeds
                        .push_back(Feed::Upgrade(fencing.app.clone(), refused));
                }
            }
            Ok(all) => {
                for ((fencing, instance), fenced) in fencings.iter().zip(instances).zip(all) {
                    self.checkpoint_is(&fencing.app, instance, fenced);
                    if let Some(running) = self.running(&fencing.app) {
                        running.fenced = Some(fenced);
                        running.row.fenced = true;
                    }
                    hands
                        .feeds
                        .push_back(Feed::Upgrade(fencing.app.clone(), upgrade::Input::Fenced));
                }
            }
        }
    }

    /// The tickets that are waited for.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = u64> {
        self.waiting.keys().copied()
    }

    /// What the proxy answered; or that it did not.
    pub(crate) fn answer(
        &mut self,
        ticket: u64,
        answer: Result<ControlReply, Refusal>,
        hands: &mut Hands<'_>,
    ) {
        let Some(waiting) = self.waiting.remove(&ticket) else {
            return;
        };
        match (waiting, answer) {
            (Waiting::Hold(app), Ok(ControlReply::Hold(reply))) => {
                let held = upgrade::Input::Held(match reply.outcome() {
                    Hold::Quiesced => HoldOutcome::Quiesced,
                    Hold::Gone => HoldOutcome::Gone,
                    Hold::Expired | Hold::Unspecified => HoldOutcome::Expired,
                });
                hands.feeds.push_back(Feed::Upgrade(app, held));
            }
            (Waiting::Hold(app), _) => {
                let failed = upgrade::Input::HoldFailed("the proxy".into());
                hands.feeds.push_back(Feed::Upgrade(app, failed));
            }
            (Waiting::Resume(app, instance), Ok(_)) => {
                self.is_live(&app, &instance);
                let resumed = upgrade::Input::Resumed(Resumption::default());
                hands.feeds.push_back(Feed::Upgrade(app, resumed));
            }
            (Waiting::Resume(app, _), Err(_)) => {
                let failed = upgrade::Input::ResumeFailed("the proxy".into());
                hands.feeds.push_back(Feed::Upgrade(app, failed));
            }
            (Waiting::Start(app, instance, fenced), answer) => {
                self.checkpoint_is(&app, &instance, fenced);
                let input = match answer {
                    Ok(_) => {
                        self.is_live(&app, &instance);
                        app::Input::Resumed(instance)
                    }
                    Err(_) => app::Input::ResumeFailed(instance),
                };
                hands.feeds.push_back(Feed::App(app, input));
            }
        }
        self.feed_all(hands);
    }

    /// The process of an instance has ended.
    pub(crate) fn instance_ended(&mut self, id: &str, hands: &mut Hands<'_>) {
        if let Some(known) = self.instances.remove(id) {
            if let Some(side) = self.side_of(&known.app, id) {
                hands
                    .feeds
                    .push_back(Feed::Upgrade(known.app.clone(), gone(side)));
            }
            hands
                .feeds
                .push_back(Feed::App(known.app, app::Input::Gone(id.to_owned())));
        }
        self.feed_all(hands);
    }

    /// What the proxy says unasked.
    pub(crate) fn observe(&mut self, observation: Observation, hands: &mut Hands<'_>) {
        match observation.what {
            Some(observation::What::Attached(attached)) => {
                if let Some(known) = self.instances.get_mut(&attached.instance) {
                    known.attached = true;
                }
                self.tell_ready(&attached.instance, hands);
            }
            Some(observation::What::Detached(detached)) => {
                self.session_ended(&detached.instance, hands)
            }
            Some(observation::What::InstanceReport(said)) => {
                if let Ok(Report {
                    report: Some(report),
                }) = Report::decode(said.report)
                {
                    self.report(&said.app, &said.instance, report, hands);
                }
            }
            Some(observation::What::HoldExpired(expired)) => {
                self.is_live(&expired.app, &expired.instance);
                if let Some(managed) = self.apps.get_mut(&expired.app) {
                    managed.epoch = managed.epoch.max(expired.epoch);
                }
                let side = self.side_of(&expired.app, &expired.instance);
                let input = upgrade::Input::HoldExpired(side);
                hands.feeds.push_back(Feed::Upgrade(expired.app, input));
            }
            Some(
                observation::What::Resumed(_)
                | observation::What::Synced(_)
                | observation::What::SessionRefused(_)
                | observation::What::Switch(_),
            )
            | None => {}
        }
        self.feed_all(hands);
    }

    /// In the model a session ends with its process, whose end is told by itself.
    pub(super) fn session_ended(&mut self, id: &str, hands: &mut Hands<'_>) {
        let Some(known) = self.instances.get_mut(id) else {
            return;
        };
        known.attached = false;
        let was_live = std::mem::replace(&mut known.live, false);
        let (app, ending) = (known.app.clone(), known.ending);
        let yielded = self
            .apps
            .get(&app)
            .is_some_and(|m| *m.machine.state() == AppState::Yielded);
        let on_trial = was_live && yielded || self.side_of(&app, id) == Some(Side::New);
        if !ending && was_live && !on_trial {
            hands
                .feeds
                .push_back(Feed::App(app, app::Input::SessionLost));
        }
    }

    pub(super) fn report(
        &mut self,
        app: &str,
        id: &str,
        report: report::Report,
        hands: &mut Hands<'_>,
    ) {
        let side = self.side_of(app, id);
        let input = match report {
            report::Report::Ready(_) => {
                if let Some(known) = self.instances.get_mut(id) {
                    known.ready = true;
                }
                return self.tell_ready(id, hands);
            }
            report::Report::Failed(failed) => {
                side.map(|side| upgrade::Input::Failed(side, failed.message))
            }
            report::Report::Pong(_) => (side == Some(Side::New)).then_some(upgrade::Input::Pong),
            report::Report::Rules(rules) => side.map(|side| upgrade::Input::Rules {
                side,
                difference: Difference::default(),
                last: rules.last,
            }),
            report::Report::Shadow(_) | report::Report::Flushed(_) | report::Report::Health(_) => {
                None
            }
        };
        if let Some(input) = input {
            hands.feeds.push_back(Feed::Upgrade(app.to_owned(), input));
        }
    }
}
