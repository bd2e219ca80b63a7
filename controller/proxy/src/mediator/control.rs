//! What morphd asks.

use morph_api::session::to_app;
use morph_api::supervisor::{
    CleanReply, CleanRequest, CleanSwitchReply, Configuration, ConfigureReply, FlowsReply,
    FlowsRequest, HoldReply, HoldRequest, InstructReply, InstructRequest, PortsReply, PortsRequest,
    ResumeReply, ResumeRequest, RetryReply, RetryRequest, SlotsReply, SuspectReply, SuspectRequest,
    SwitchesReply,
};

use super::*;
use crate::{pipeline, together};

/// A question of morphd's.
#[derive(Debug, Clone)]
pub enum Ask {
    Configure(Configuration),
    Hold(HoldRequest),
    Resume(ResumeRequest),
    Instruct(InstructRequest),
    Suspect(SuspectRequest),
    Retry(RetryRequest),
    Slots,
    Switches,
    Ports(PortsRequest),
    Flows(FlowsRequest),
    Clean(CleanRequest),
    CleanSwitch { dpid: u64 },
}

/// Its answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Configure(ConfigureReply),
    Hold(HoldReply),
    Resume(ResumeReply),
    Instruct(InstructReply),
    Suspect(SuspectReply),
    Retry(RetryReply),
    Slots(SlotsReply),
    Switches(SwitchesReply),
    Ports(PortsReply),
    Flows(FlowsReply),
    Clean(CleanReply),
    CleanSwitch(CleanSwitchReply),
}

/// Why there is no answer; in each case nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The question makes no sense.
    Invalid(String),
    /// No such app, instance or switch.
    NotFound(String),
    /// Not in this state.
    Precondition(String),
    /// The switch went away meanwhile.
    Unavailable(String),
    /// The switch did not answer in time.
    Deadline(String),
}

/// A slot's answer, as morphd gets it.
pub(super) fn of_slot(answer: slot::Answer) -> Result<Answer, Refusal> {
    match answer {
        slot::Answer::Hold(reply) => Ok(Answer::Hold(reply)),
        slot::Answer::Resume(reply) => Ok(Answer::Resume(reply)),
        slot::Answer::Retry(seq) => Ok(Answer::Retry(RetryReply { seq: Some(seq) })),
        slot::Answer::Refused(why) => Err(Refusal::Precondition(why)),
    }
}

pub(super) fn unknown_app(app: &str) -> Refusal {
    Refusal::NotFound(format!("{app} is not among the present apps"))
}

impl Mediator {
    pub(super) fn ask(&mut self, ticket: u64, ask: Ask, now: Instant, out: &mut Vec<Output>) {
        // None: the answer comes later.
        let answer = match ask {
            Ask::Configure(configuration) => Some(self.configure(&configuration, now, out)),
            Ask::Hold(request) => self.hold(ticket, request, now, out),
            Ask::Resume(request) => self.resume(ticket, request, now, out),
            Ask::Instruct(request) => Some(self.tell(request)),
            Ask::Suspect(request) => Some(self.suspect(&request)),
            Ask::Retry(request) => self.retry(ticket, request, now, out),
            Ask::Slots => {
                let slots = self
                    .slots
                    .values_mut()
                    .map(|slot| slot.report(now))
                    .collect();
                Some(Ok(Answer::Slots(SlotsReply { slots })))
            }
            Ask::Switches => Some(Ok(Answer::Switches(self.report_switches(now)))),
            Ask::Ports(request) => self.ask_ports(ticket, request.dpid, now),
            Ask::Flows(request) => self.ask_flows(ticket, request.dpid, now),
            Ask::Clean(request) => self.clean(ticket, &request, now, out),
            Ask::CleanSwitch { dpid } => self.clean_switch(ticket, dpid, now),
        };
        if let Some(answer) = answer {
            out.push(Output::Answer { ticket, answer });
        }
    }

    fn configure(
        &mut self,
        configuration: &Configuration,
        now: Instant,
        out: &mut Vec<Output>,
    ) -> Result<Answer, Refusal> {
        let apps = Apps::new(configuration).map_err(Refusal::Invalid)?;
        let names: Vec<&str> = apps.iter().map(|app| app.name.as_str()).collect();
        tracing::info!(apps = names.join(", "), "configured");
        self.remove_absent(&apps, now, out);
        self.wanted = pipeline::wanted(&apps);
        for app in apps
            .iter()
            .filter(|app| !self.slots.contains_key(&app.id))
            .collect::<Vec<_>>()
        {
            let first = self.removed.get(&app.id).copied().unwrap_or(1);
            let slot = Slot::new(
                &app.name,
                self.settings.incarnation,
                first,
                self.settings.quota,
                now,
            );
            self.slots.insert(app.id, slot);
            self.list_switches(app.id);
        }
        self.apps = Some(apps);
        let table = self.one_table();
        for switch in self.switches.values_mut() {
            switch.channel.place(table);
        }
        for conn in self.switches.keys().copied().collect::<Vec<_>>() {
            if !self
                .switches
                .get(&conn)
                .is_some_and(|switch| switch.announced)
            {
                continue;
            }
            match self.too_few_tables(conn) {
                Some(reason) => self.channel(conn, channel::Input::Refuse(reason), now, out),
                None => self.reconcile(conn, now),
            }
        }
        let waits = |(id, session): (&u64, &Session)| {
            (session.hello.is_some() && session.app.is_none()).then_some(*id)
        };
        for id in self.sessions.iter().filter_map(waits).collect::<Vec<_>>() {
            self.attach(id, now, out);
        }
        Ok(Answer::Configure(ConfigureReply {}))
    }

    fn remove_absent(&mut self, apps: &Apps, now: Instant, out: &mut Vec<Output>) {
        let before = self.apps.take().unwrap_or_default();
        let stays = |name: &str, id: u8| apps.by_id(id).is_some_and(|app| app.name == name);
        for app in before.iter().filter(|app| !stays(&app.name, app.id)) {
            let attached =
                |(id, session): (&u64, &Session)| (session.app == Some(app.id)).then_some(*id);
            for id in self
                .sessions
                .iter()
                .filter_map(attached)
                .collect::<Vec<_>>()
            {
                self.refuse(id, format!("{} is no longer present", app.name), now, out);
            }
            if let Some(slot) = self.slots.remove(&app.id) {
                self.removed.insert(app.id, slot.next_event());
            }
        }
        self.apps = Some(before);
    }

    fn hold(
        &mut self,
        ticket: u64,
        request: HoldRequest,
        now: Instant,
        out: &mut Vec<Output>,
    ) -> Option<Result<Answer, Refusal>> {
        let Some(app) = self.app_id(&request.app) else {
            return Some(Err(unknown_app(&request.app)));
        };
        let hold = slot::Input::Hold {
            ticket,
            quiesce: Duration::from_millis(request.quiesce_ms.into()),
            length: Duration::from_millis(request.hold_ms.into()),
        };
        self.slot(app, hold, now, out);
        None
    }

    fn resume(
        &mut self,
        ticket: u64,
        request: ResumeRequest,
        now: Instant,
        out: &mut Vec<Output>,
    ) -> Option<Result<Answer, Refusal>> {
        let Some(app) = self.app_id(&request.app) else {
            return Some(Err(unknown_app(&request.app)));
        };
        let Some(session) = self.session_of(&request.app, &request.instance) else {
            return Some(Err(unknown_instance(&request.app, &request.instance)));
        };
        let mut others = Vec::new();
        for name in request.group.iter().flat_map(|group| &group.apps) {
            match self.app_id(name) {
                Some(id) => others.push((id, name.clone())),
                None => return Some(Err(unknown_app(name))),
            }
        }
        let resume = slot::Resume {
            ticket: Some(ticket),
            session,
            instance: request.instance,
            epoch: request.epoch,
            cursor: request.cursor.unwrap_or(Seq::ZERO),
            turn: request.turn,
            revision: request.revision,
            shut: request.group.is_some(),
        };
        self.slot(app, slot::Input::Resume(resume), now, out);
        let shut = |slot: &Slot| slot.is_shut(session, request.epoch);
        if let Some(group) = request.group
            && self.slots.get(&app).is_some_and(shut)
        {
            let wait = Duration::from_millis(group.wait_ms.into());
            // One that this app has left waits for nobody any longer.
            self.together
                .retain(|id, other| *id == group.id || !other.has(app));
            let begun = || Together::new(others, wait, now);
            self.together.entry(group.id).or_insert_with(begun);
            let resumed = |t: &mut Together, out: &mut Vec<_>| t.resumed(app, request.epoch, out);
            self.together(resumed, now, out);
        }
        None
    }

    /// Feeds the apps that wait for each other, and carries out what comes of it.
    pub(super) fn together(
        &mut self,
        mut feed: impl FnMut(&mut Together, &mut Vec<together::Output>),
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let mut outputs = Vec::new();
        for together in self.together.values_mut() {
            feed(together, &mut outputs);
        }
        self.together.retain(|_, together| !together.ended());
        self.arm(
            self.together
                .values()
                .filter_map(Together::next_deadline)
                .min(),
        );
        for output in outputs {
            match output {
                together::Output::Open(app) => self.slot(app, slot::Input::Open, now, out),
                together::Output::Late(app, why) => {
                    self.slot(app, slot::Input::Late(why), now, out);
                }
            }
        }
    }

    fn tell(&mut self, request: InstructRequest) -> Result<Answer, Refusal> {
        let id = self
            .session_of(&request.app, &request.instance)
            .ok_or_else(|| unknown_instance(&request.app, &request.instance))?;
        self.send(id, to_app::Record::Instruction(request.instruction));
        Ok(Answer::Instruct(InstructReply {}))
    }

    pub(super) fn app_id(&self, name: &str) -> Option<u8> {
        Some(self.apps.as_ref()?.by_name(name)?.id)
    }

    fn session_of(&self, app: &str, instance: &str) -> Option<u64> {
        let is = |(id, session): (&u64, &Session)| {
            (session.app.is_some() && session.is(app, instance)).then_some(*id)
        };
        self.sessions.iter().find_map(is)
    }

    fn report_switches(&self, now: Instant) -> SwitchesReply {
        let report = |switch: &Switch| {
            let disconnects = self.disconnects.get(&switch.channel.dpid());
            switch
                .channel
                .report(disconnects.copied().unwrap_or_default(), now)
        };
        let connected = self.switches.values().filter(|s| s.channel.is_ready());
        let mut switches: Vec<_> = connected.map(report).collect();
        switches.sort_by_key(|switch| switch.dpid);
        SwitchesReply { switches }
    }
}

fn unknown_instance(app: &str, instance: &str) -> Refusal {
    Refusal::NotFound(format!("instance {instance} of {app} is not attached"))
}
