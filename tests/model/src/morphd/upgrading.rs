//! What the machine of an upgrade asks for.

use super::*;

impl Morphd {
    pub(super) fn feed_upgrade(&mut self, app: &str, input: upgrade::Input, hands: &mut Hands<'_>) {
        let mut out = Vec::new();
        let now = self.now;
        let Some(running) = self.running(app) else {
            return;
        };
        running.machine.handle(input, now, &mut out);
        self.carry_out_upgrade(app, out, hands);
    }

    pub(super) fn running(&mut self, app: &str) -> Option<&mut Running> {
        self.apps.get_mut(app)?.upgrade.as_mut()
    }

    pub(super) fn carry_out_upgrade(&mut self, app: &str, out: Vec<Output>, hands: &mut Hands<'_>) {
        let mut acts = Vec::new();
        let running = self
            .apps
            .get(app)
            .and_then(|managed| managed.upgrade.as_ref());
        match (&mut self.together, running) {
            (Some(together), Some(running)) => together.pass(app, &running.machine, out, &mut acts),
            _ => {
                acts = out
                    .into_iter()
                    .map(|output| Act::Out(app.to_owned(), output))
                    .collect()
            }
        }
        for act in acts {
            match act {
                Act::Out(app, output) => self.carry_out(&app, output, hands),
                Act::Feed(app, input) => hands.feeds.push_back(Feed::Upgrade(app, input)),
                Act::FenceAll(members) => {
                    let members: Vec<String> = members.into_iter().map(|(app, _)| app).collect();
                    self.fence(&members, Side::New, hands);
                }
                Act::CommitAll(members) => {
                    let members: Vec<String> = members.into_iter().map(|(app, _)| app).collect();
                    self.finish(&members, Step::Committed);
                }
            }
        }
        if self
            .running(app)
            .is_some_and(|running| running.machine.ended())
        {
            self.upgrade_ended(app, hands);
        }
    }

    pub(super) fn carry_out(&mut self, app: &str, output: Output, hands: &mut Hands<'_>) {
        match output {
            Output::Record(step) => {
                if let Some(row) = self.renew_row(app, step) {
                    let writes = vec![upgrade_write(app, &row)];
                    self.jobs.push_back(Job::Record {
                        app: app.to_owned(),
                        step,
                        writes,
                    });
                }
            }
            Output::Publish(..) => {}
            // Of schema changes only, which the model does not make.
            Output::MakeKeyspace(..) | Output::DropKeyspace(_) => {}
            Output::Spawn(side, _) => {
                let Some(running) = self.running(app) else {
                    return;
                };
                let release = match side {
                    Side::New => running.row.to.clone(),
                    Side::Old => running.row.from.clone(),
                };
                let id = self.spawn(app, release, hands);
                if let Some(running) = self.running(app) {
                    match side {
                        Side::New => running.new = Some(id),
                        Side::Old => running.old = Some(id),
                    }
                }
            }
            Output::Tell(side, order) => self.tell(app, side, order, hands),
            Output::End(side) => match self.instance_of(app, side) {
                Some(id) => self.end(&id, hands),
                None => hands.feeds.push_back(Feed::Upgrade(app.into(), gone(side))),
            },
            Output::Hold => {
                let yielded = self
                    .apps
                    .get(app)
                    .is_some_and(|m| *m.machine.state() == AppState::Yielded);
                match yielded {
                    true => self.hold(app, hands),
                    false => hands
                        .feeds
                        .push_back(Feed::App(app.into(), app::Input::Yield)),
                }
            }
            Output::Fence(side, _) => self.fence(&[app.to_owned()], side, hands),
            Output::Resume(side) => self.resume(app, side, hands),
            Output::Sample => {
                hands
                    .feeds
                    .push_back(Feed::Upgrade(app.into(), upgrade::Input::Unobserved));
            }
            Output::Finish(step, _) => self.finish(&[app.to_owned()], step),
        }
    }

    pub(super) fn instance_of(&self, app: &str, side: Side) -> Option<String> {
        let managed = self.apps.get(app)?;
        let running = managed.upgrade.as_ref()?;
        let id = match side {
            Side::New => running.new.as_ref(),
            Side::Old => running.old.as_ref().or(managed.machine.instance()),
        }?;
        let there = self.instances.get(id).is_some_and(|known| !known.ending);
        there.then(|| id.clone())
    }

    pub(super) fn tell(&mut self, app: &str, side: Side, order: Order, hands: &mut Hands<'_>) {
        let Some(instance) = self.instance_of(app, side) else {
            return;
        };
        if order != Order::Ping {
            return;
        }
        let ping = instruction::Instruction::Ping(Ping { token: 1 });
        let instruction = Instruction {
            instruction: Some(ping),
        }
        .encode_to_vec()
        .into();
        let ask = ControlRequest::Instruct(InstructRequest {
            app: app.to_owned(),
            instance,
            instruction,
        });
        hands.effects.push(Effect::Call(0, ask));
    }

    pub(super) fn call(&mut self, waiting: Waiting, ask: ControlRequest, hands: &mut Hands<'_>) {
        let ticket = (1..)
            .find(|ticket| !self.waiting.contains_key(ticket))
            .unwrap_or(0);
        self.waiting.insert(ticket, waiting);
        hands.effects.push(Effect::Call(ticket, ask));
    }

    pub(super) fn hold(&mut self, app: &str, hands: &mut Hands<'_>) {
        let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let (quiesce, hold) = (Deadlines::DEFAULT.quiesce, Deadlines::DEFAULT.hold);
        let ask = ControlRequest::Hold(HoldRequest {
            app: app.to_owned(),
            quiesce_ms: ms(quiesce),
            hold_ms: ms(hold),
        });
        self.call(Waiting::Hold(app.to_owned()), ask, hands);
    }

    pub(super) fn resume(&mut self, app: &str, side: Side, hands: &mut Hands<'_>) {
        let instance = self.instance_of(app, side);
        let fenced = self.running(app).and_then(|running| running.fenced);
        let (Some(instance), Some(fenced)) = (instance, fenced) else {
            let failed = upgrade::Input::ResumeFailed("it is not there".into());
            return hands.feeds.push_back(Feed::Upgrade(app.into(), failed));
        };
        let together = self.together.as_ref().filter(|_| side == Side::New);
        let together = together.map(|together| Joint {
            id: GROUP.into(),
            apps: together.apps().cloned().collect(),
            wait_ms: 3000,
        });
        let ask = resume_request(app, &instance, fenced, together);
        self.call(Waiting::Resume(app.to_owned(), instance), ask, hands);
    }

    pub(super) fn renew_row(&mut self, app: &str, step: Step) -> Option<UpgradeRow> {
        let running = self.running(app)?;
        let row = &mut running.row;
        row.step = step.as_str_name().to_owned();
        if let Some(new) = &running.new {
            row.newcomer.clone_from(new);
        }
        row.old = running.old.clone().unwrap_or_default();
        Some(row.clone())
    }

    pub(super) fn fence(&mut self, apps: &[String], side: Side, hands: &mut Hands<'_>) {
        let (mut fencings, mut instances) = (Vec::new(), Vec::new());
        let step = match side {
            Side::New => Step::Resuming,
            Side::Old => Step::RollingBack,
        };
        for app in apps {
            let instance = self.instance_of(app, side).unwrap_or_default();
            let Some(mut row) = self.renew_row(app, step) else {
                return;
            };
            row.fenced = true;
            let Some(managed) = self.apps.get(app) else {
                return;
            };
            let release = match side {
                Side::New => row.to.clone(),
                Side::Old => row.from.clone(),
            };
            let (epoch, force) = (managed.epoch, side == Side::Old);
            let writes = vec![
                upgrade_write(app, &row),
                self.app_row(app, &instance, &managed.release),
            ];
            fencings.push(Fencing {
                app: app.clone(),
                release,
                epoch,
                force,
                writes,
            });
            instances.push(instance);
        }
        let job = Job::Fence {
            side,
            instances,
            fencings,
        };
        if hands.broken.resume_before_fence && side == Side::New {
            // The mutation: the machine is told that the fence stands before it is asked for.
            self.jobs.push_back(job);
            for app in apps {
                let Some(managed) = self.apps.get_mut(app) else {
                    return;
                };
                let epoch = managed.epoch + 1;
                if let Some(running) = &mut managed.upgrade {
                    let before = Fenced {
                        epoch,
                        cursor: Default::default(),
                        turn: 0,
                        revision: 0,
                    };
                    running.fenced = Some(before);
                }
                hands
                    .feeds
                    .push_back(Feed::Upgrade(app.clone(), upgrade::Input::Fenced));
            }
            return;
        }
        self.jobs.push_back(job);
    }

    pub(super) fn finish(&mut self, apps: &[String], step: Step) {
        let mut writes = Vec::new();
        for app in apps {
            let Some(row) = self.renew_row(app, step) else {
                return;
            };
            writes.push(upgrade_write(app, &row));
            if step == Step::Committed
                && let Some(managed) = self.apps.get(app)
            {
                writes.push(self.app_row(app, &managed.instance, &row.to));
            }
        }
        self.jobs.push_back(Job::Finish {
            apps: apps.to_vec(),
            writes,
        });
    }

    pub(super) fn upgrade_ended(&mut self, app: &str, hands: &mut Hands<'_>) {
        let Some(managed) = self.apps.get_mut(app) else {
            return;
        };
        let Some(running) = managed.upgrade.take() else {
            return;
        };
        let committed = running.machine.state() == State::Committed;
        let yielded = *managed.machine.state() == AppState::Yielded;
        if committed {
            managed.release.clone_from(&running.row.to);
        }
        if !self.apps.values().any(|managed| managed.upgrade.is_some()) {
            self.together = None;
        }
        let (stays, goes) = match committed {
            true => (running.new, running.old),
            false => (running.old, running.new),
        };
        if let Some(goes) = goes {
            self.end(&goes, hands);
        }
        if yielded {
            let there = stays.and_then(|id| {
                let known = self.instances.get(&id).filter(|known| !known.ending)?;
                Some((id, known.live))
            });
            self.take_back(app, there, hands);
        }
    }
}
