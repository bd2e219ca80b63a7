//! Requests from morphd.

use morph_api::session::to_app;
use morph_api::supervisor::{
    CleanReply, CleanRequest, CleanSwitchReply, Configuration, ConfigureReply, FlowsReply,
    FlowsRequest, ForgetSwitchReply, HoldReply, HoldRequest, InstructReply, InstructRequest,
    PortsReply, PortsRequest, ResumeReply, ResumeRequest, RetryReply, RetryRequest, Settled,
    SlotsReply, SuspectReply, SuspectRequest, SwitchesReply, observation,
};

use super::sessions::place;
use super::*;
use crate::dispatch::PipelineApp;
use crate::group::GroupOutput;

#[derive(Debug, Clone)]
pub enum ControlRequest {
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
    ForgetSwitch { dpid: u64 },
}

#[derive(Debug, Clone, PartialEq)]
pub enum ControlReply {
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
    ForgetSwitch(ForgetSwitchReply),
}

/// Reason why a request is refused; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Impossible arguments in the request.
    Invalid(String),
    /// Unknown app, instance or switch.
    NotFound(String),
    /// Request that the current state does not allow.
    Precondition(String),
    /// Switch that disconnected before it answered.
    Unavailable(String),
    /// Switch that did not answer in time.
    Deadline(String),
}

/// Converts a slot's reply for morphd.
pub(super) fn of_slot(reply: SlotReply) -> Result<ControlReply, Refusal> {
    match reply {
        SlotReply::Hold(reply) => Ok(ControlReply::Hold(reply)),
        SlotReply::Resume(reply) => Ok(ControlReply::Resume(reply)),
        SlotReply::Retry(seq) => Ok(ControlReply::Retry(RetryReply { seq: Some(seq) })),
        SlotReply::Refused(why) => Err(Refusal::Precondition(why)),
    }
}

pub(super) fn unknown_app(app: &str) -> Refusal {
    Refusal::NotFound(format!("{app} is not among the present apps"))
}

impl Mediator {
    pub(super) fn request(
        &mut self,
        ticket: u64,
        request: ControlRequest,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        // `None`: the reply comes later.
        let reply = match request {
            ControlRequest::Configure(configuration) => {
                Some(self.configure(&configuration, now, out))
            }
            ControlRequest::Hold(request) => self.hold(ticket, request, now, out),
            ControlRequest::Resume(request) => self.resume(ticket, request, now, out),
            ControlRequest::Instruct(request) => Some(self.instruct(request)),
            ControlRequest::Suspect(request) => Some(self.suspect(&request)),
            ControlRequest::Retry(request) => self.retry(ticket, request, now, out),
            ControlRequest::Slots => {
                let slots = self
                    .slots
                    .values_mut()
                    .map(|slot| slot.report(now))
                    .collect();
                Some(Ok(ControlReply::Slots(SlotsReply { slots })))
            }
            ControlRequest::Switches => Some(Ok(ControlReply::Switches(self.report_switches(now)))),
            ControlRequest::Ports(request) => self.query_ports(ticket, request.dpid, now),
            ControlRequest::Flows(request) => self.query_flows(ticket, request.dpid, now),
            ControlRequest::Clean(request) => self.clean(ticket, &request, now, out),
            ControlRequest::CleanSwitch { dpid } => self.clean_switch(ticket, dpid, now),
            ControlRequest::ForgetSwitch { dpid } => Some(self.forget_switch(dpid, now, out)),
        };
        if let Some(reply) = reply {
            out.push(Output::Reply { ticket, reply });
        }
    }

    fn configure(
        &mut self,
        configuration: &Configuration,
        now: Instant,
        out: &mut Vec<Output>,
    ) -> Result<ControlReply, Refusal> {
        let apps = Apps::new(configuration).map_err(Refusal::Invalid)?;
        let names: Vec<&str> = apps.iter().map(|app| app.name.as_str()).collect();
        tracing::info!(apps = names.join(", "), "configured the present apps");
        self.remove_absent(&apps, now, out);
        if let Some(before) = &self.apps {
            for switch in self.switches.values_mut() {
                switch.entries.follow(before, &apps);
            }
        }
        for app in apps
            .iter()
            .filter(|app| !self.slots.contains_key(&app.id))
            .collect::<Vec<_>>()
        {
            let first = self.removed.get(&app.id).copied().unwrap_or(1);
            let limits = Limits {
                quota: self.settings.quota,
                target_delay: self.settings.target_delay,
            };
            let incarnation = self.settings.incarnation;
            let slot = Slot::new(&app.name, incarnation, first, limits, now);
            self.slots.insert(app.id, slot);
            self.list_switches(app.id, now);
        }
        let mut apps = apps;
        if let Some(before) = &self.apps {
            apps.follow(before);
        }
        self.tell_tables(configuration, &apps);
        self.apps = Some(apps);
        let table = self.one_table();
        for switch in self.switches.values_mut() {
            switch.channel.transport.place(table);
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
                Some(reason) => self.refuse_switch(conn, reason, now, out),
                None => self.reconcile(conn, now),
            }
        }
        let waits = |(id, session): (&u64, &Session)| {
            (session.hello.is_some() && session.app.is_none()).then_some(*id)
        };
        for id in self.sessions.iter().filter_map(waits).collect::<Vec<_>>() {
            self.attach(id, now, out);
        }
        Ok(ControlReply::Configure(ConfigureReply {}))
    }

    /// Tells the instances of apps whose tables change, or whose rules are in two ranges.
    fn tell_tables(&mut self, configuration: &Configuration, apps: &Apps) {
        let before = self.apps.take().unwrap_or_default();
        if let Some(Settling { serial, apps }) = &self.settling {
            tracing::warn!(serial, waiting = ?apps, "the present apps change before the former configuration was carried out");
        }
        let serial = configuration.serial;
        let is_told = |app: &&PipelineApp| {
            let before = before.by_id(app.id);
            app.second_table.is_some()
                || before.is_some_and(|before| before.ranges().ne(app.ranges()))
        };
        let told: Vec<&PipelineApp> = apps.iter().filter(is_told).collect();
        for app in &told {
            let sessions = self.sessions.iter();
            let own = sessions.filter(|(_, session)| session.app == Some(app.id));
            for id in own.map(|(id, _)| *id).collect::<Vec<_>>() {
                self.send(id, to_app::Record::Pipeline(place(app, serial)));
            }
        }
        let confirm = told.iter().filter(|_| configuration.apps_confirm);
        self.settling = (serial != 0).then(|| Settling {
            serial,
            apps: confirm.map(|app| app.id).collect(),
        });
        self.apps = Some(before);
    }

    /// Reports to morphd that the configuration that it waits for is carried out.
    pub(super) fn report_settled(&mut self, out: &mut Vec<Output>) {
        let is_settled = |settling: &mut Settling| settling.apps.is_empty();
        let mut announced = self.switches.values().filter(|switch| switch.announced);
        let in_step = |switch: &Switch| switch.reconciliation.is_in_step();
        if self.settling.is_none() || !announced.all(in_step) {
            return;
        }
        if let Some(Settling { serial, .. }) = self.settling.take_if(is_settled) {
            self.observe(out, || observation::What::Settled(Settled { serial }));
        }
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
    ) -> Option<Result<ControlReply, Refusal>> {
        let Some(app) = self.app_id(&request.app) else {
            return Some(Err(unknown_app(&request.app)));
        };
        let hold = SlotInput::Hold {
            ticket,
            quiesce: Duration::from_millis(request.quiesce_ms.into()),
            length: Duration::from_millis(request.hold_ms.into()),
        };
        self.feed_slot(app, hold, now, out);
        None
    }

    fn resume(
        &mut self,
        ticket: u64,
        request: ResumeRequest,
        now: Instant,
        out: &mut Vec<Output>,
    ) -> Option<Result<ControlReply, Refusal>> {
        let Some(app) = self.app_id(&request.app) else {
            return Some(Err(unknown_app(&request.app)));
        };
        let Some(session) = self.session_of(&request.app, &request.instance) else {
            return Some(Err(unknown_instance(&request.app, &request.instance)));
        };
        let mut members = Vec::new();
        for name in request.group.iter().flat_map(|group| &group.apps) {
            match self.app_id(name) {
                Some(id) => members.push((id, name.clone())),
                None => return Some(Err(unknown_app(name))),
            }
        }
        let plan = ResumePlan {
            ticket: Some(ticket),
            session,
            instance: request.instance,
            epoch: request.epoch,
            cursor: request.cursor.unwrap_or(Seq::ZERO),
            turn: request.turn,
            revision: request.revision,
            gated: request.group.is_some(),
        };
        self.feed_slot(app, SlotInput::Resume(plan), now, out);
        let gated = |slot: &Slot| slot.is_gated(session, request.epoch);
        if let Some(group) = request.group
            && self.slots.get(&app).is_some_and(gated)
        {
            let wait = Duration::from_millis(group.wait_ms.into());
            for (_, other) in self.groups.iter_mut().filter(|(id, _)| **id != group.id) {
                other.leave(app);
            }
            let mut outputs = Vec::new();
            let begun = || Group::new(members, wait, now);
            let group = self.groups.entry(group.id).or_insert_with(begun);
            group.resumed(app, &request.app, request.epoch, &mut outputs);
            self.carry_out_groups(outputs, now, out);
        }
        None
    }

    /// Feeds the groups and carries out their outputs.
    pub(super) fn feed_groups(
        &mut self,
        mut feed: impl FnMut(&mut Group, &mut Vec<GroupOutput>),
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let mut outputs = Vec::new();
        for group in self.groups.values_mut() {
            feed(group, &mut outputs);
        }
        self.carry_out_groups(outputs, now, out);
    }

    fn carry_out_groups(&mut self, outputs: Vec<GroupOutput>, now: Instant, out: &mut Vec<Output>) {
        self.groups.retain(|_, group| !group.is_open());
        self.arm(self.groups.values().filter_map(Group::next_deadline).min());
        for output in outputs {
            match output {
                GroupOutput::OpenGate(app) => self.feed_slot(app, SlotInput::OpenGate, now, out),
                GroupOutput::Late(app, why) => {
                    self.feed_slot(app, SlotInput::GroupLate(why), now, out);
                }
            }
        }
    }

    fn instruct(&mut self, request: InstructRequest) -> Result<ControlReply, Refusal> {
        let id = self
            .session_of(&request.app, &request.instance)
            .ok_or_else(|| unknown_instance(&request.app, &request.instance))?;
        self.send(id, to_app::Record::Instruction(request.instruction));
        Ok(ControlReply::Instruct(InstructReply {}))
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
            let report = switch
                .channel
                .report(disconnects.copied().unwrap_or_default(), now);
            let trouble = switch.verification.trouble(now);
            morph_api::supervisor::Switch {
                vanishing_ms: trouble.map(|lasts| lasts.as_millis() as u64),
                ..report
            }
        };
        let connected = self.switches.values().filter(|s| s.channel.is_ready());
        let mut switches: Vec<_> = connected.map(report).collect();
        switches.sort_by_key(|switch| switch.dpid);
        SwitchesReply {
            switches,
            refused: self.refused.report(now),
        }
    }
}

fn unknown_instance(app: &str, instance: &str) -> Refusal {
    Refusal::NotFound(format!("instance {instance} of {app} is not attached"))
}
