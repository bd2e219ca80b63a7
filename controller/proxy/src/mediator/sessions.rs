//! Sessions in the mediator: attachment, and the outputs of slots.

use bytes::Bytes;
use morph_api::PROTOCOL;
use morph_api::Records;
use morph_api::session::{self, Pipeline, SwitchUp, Welcome, event, to_app};
use morph_api::supervisor::{Attached, InstanceReport, SessionRefused, observation};
use morph_openflow::Dpid;

use super::session::ChannelSnapshot;
use super::*;
use crate::dispatch::PipelineApp;
use crate::slot::OverloadChange;

/// Limit of open sessions: two or three an app, and some without a hello.
const SESSIONS: usize = 1024;

impl Mediator {
    pub(super) fn session_opened(&mut self, id: u64, _now: Instant) {
        self.sessions.insert(id, Session::default());
    }

    pub(super) fn blob(&mut self, id: u64, records: Bytes, now: Instant, out: &mut Vec<Output>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.inbox.push_back(Records::new(records));
        self.process_records(id, now, out);
    }

    /// Handles the first record of a session.
    pub(super) fn hello(
        &mut self,
        id: u64,
        hello: session::Hello,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        if hello.protocol != PROTOCOL {
            return self.refuse_protocol(id, &hello, now, out);
        }
        let duplicate = |session: &Session| session.is(&hello.app, &hello.instance);
        if self.sessions.values().any(duplicate) {
            let why = format!(
                "instance {} of {} is attached already",
                hello.instance, hello.app
            );
            return self.refuse(id, why, now, out);
        }
        if self.sessions.len() > SESSIONS {
            return self.refuse(
                id,
                format!("too many sessions: {SESSIONS} are open"),
                now,
                out,
            );
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.hello = Some(hello);
        }
        // Before the first configuration the present apps are unknown, so the session waits.
        if self.apps.is_some() {
            self.attach(id, now, out);
        }
    }

    /// Attaches a session to its app, or refuses it if the app is not present.
    pub(super) fn attach(&mut self, id: u64, now: Instant, out: &mut Vec<Output>) {
        let Some(hello) = self
            .sessions
            .get(&id)
            .and_then(|session| session.hello.clone())
        else {
            return;
        };
        let present = self
            .apps
            .as_ref()
            .and_then(|apps| apps.by_name(&hello.app))
            .cloned();
        let Some(app) = present else {
            let why = format!("{} is not among the present apps", hello.app);
            return self.refuse(id, why, now, out);
        };
        let ready = |(conn, switch): (&u32, &Switch)| {
            switch.announced.then(|| {
                (
                    *conn,
                    ChannelSnapshot::of(&switch.channel),
                    switch.channel.switch_up(*conn),
                )
            })
        };
        let mut ready: Vec<(u32, ChannelSnapshot, SwitchUp)> =
            self.switches.iter().filter_map(ready).collect();
        ready.sort_by_key(|(conn, ..)| *conn);
        let serial = self.settling.as_ref().map_or(0, |settling| settling.serial);
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.app = Some(app.id);
        session.known_channels = ready
            .iter()
            .map(|(conn, known, _)| (*conn, *known))
            .collect();
        session.put(to_app::Record::Welcome(Welcome {
            incarnation: self.settings.incarnation,
            switches: ready.into_iter().map(|(.., up)| up).collect(),
            pipeline: Some(place(&app, serial)),
        }));
        self.dirty_sessions.push(id);
        tracing::info!(app = %hello.app, release = %hello.release, instance = %hello.instance, pid = hello.pid, "attached");
        self.observe(out, || observation::What::Attached(attached(&hello)));
        self.process_records(id, now, out);
    }

    /// Ends a session and sends the reason to its instance.
    pub(super) fn refuse(&mut self, id: u64, why: String, now: Instant, out: &mut Vec<Output>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        tracing::warn!(session = %session.name(), "session refused: {why}");
        let refused = session::Refused {
            message: why.clone(),
            permanent: false,
        };
        self.end_session(id, refused, now, out);
    }

    /// Refuses a release that was built for another version of the session protocol.
    fn refuse_protocol(
        &mut self,
        id: u64,
        hello: &session::Hello,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let session::Hello { app, release, .. } = hello;
        let spoken = match hello.protocol {
            0 => "a session protocol from before its versions were numbered".to_owned(),
            other => format!("version {other} of the session protocol"),
        };
        let message = format!(
            "release {release} of app {app} speaks {spoken}, and this Morpheus speaks version {PROTOCOL}: rebuild the app with the \
             SDK of this Morpheus, install that release, and start or upgrade to it"
        );
        tracing::error!(instance = %hello.instance, pid = hello.pid, "session refused: {message}");
        self.observe(out, || {
            observation::What::SessionRefused(SessionRefused {
                app: app.clone(),
                instance: hello.instance.clone(),
                release: release.clone(),
                pid: hello.pid,
                message: message.clone(),
            })
        });
        let refused = session::Refused {
            message,
            permanent: true,
        };
        self.end_session(id, refused, now, out);
    }

    fn end_session(
        &mut self,
        id: u64,
        refused: session::Refused,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let why = refused.message.clone();
        session.put(to_app::Record::Refused(refused));
        let blobs = session.take_out(now);
        out.extend(blobs.map(|records| Output::Blob {
            session: id,
            records,
        }));
        self.drop_session(id, why, now, out);
    }

    /// Removes a session, whichever side ended it: an instance that closed its side waits for the end of the other.
    pub(super) fn drop_session(
        &mut self,
        id: u64,
        reason: String,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        out.push(Output::EndSession { session: id });
        let (Some(app), Some(hello)) = (session.app, session.hello) else {
            return;
        };
        tracing::info!(app = %hello.app, instance = %hello.instance, "detached: {reason}");
        let lost = SlotInput::SessionLost {
            session: id,
            instance: hello.instance,
            reason,
        };
        self.feed_slot(app, lost, now, out);
    }

    /// Passes a report of an instance on to morphd.
    pub(super) fn pass_report(&mut self, id: u64, report: Bytes, out: &mut Vec<Output>) {
        let Some(hello) = self
            .sessions
            .get(&id)
            .and_then(|session| session.hello.as_ref())
        else {
            return;
        };
        let (app, instance) = (hello.app.clone(), hello.instance.clone());
        self.observe(out, || {
            observation::What::InstanceReport(InstanceReport {
                app,
                instance,
                report,
            })
        });
    }

    /// Feeds a slot and carries out its outputs.
    pub(super) fn feed_slot(
        &mut self,
        app: u8,
        input: SlotInput,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let Some(slot) = self.slots.get_mut(&app) else {
            return;
        };
        let mut outputs = std::mem::take(&mut self.slot_outputs);
        slot.handle(input, now, &mut outputs);
        let deadline = slot.next_deadline();
        self.arm(deadline);
        for output in outputs.drain(..) {
            match output {
                SlotOutput::Send { session, record } => self.send(session, record),
                SlotOutput::Deliver {
                    session,
                    n,
                    replayed,
                    alone,
                } => self.deliver(app, session, n, replayed, alone, now),
                SlotOutput::Sync { session } => self.sync(session),
                SlotOutput::ListSwitches => self.list_switches(app, now),
                SlotOutput::JudgeGatedTurn { session } => self.judge_gated_turn(session, app, now, out),
                SlotOutput::Reply { ticket, reply } => out.push(Output::Reply {
                    ticket,
                    reply: control::of_slot(reply),
                }),
                SlotOutput::Fence => out.extend(self.app_name(app).map(|app| {
                    tracing::warn!(%app, "the hold has expired: raising the epoch, to resume an instance without morphd");
                    Output::Fence { app }
                })),
                SlotOutput::Observe(what) => {
                    if let observation::What::Resumed(resumed) = &what {
                        let (app, epoch) = (&resumed.app, resumed.epoch);
                        tracing::info!(%app, instance = %resumed.instance, epoch, "resumed");
                        self.enter_unconfirmed_of(app, now);
                    }
                    self.observe(out, || what);
                }
                SlotOutput::Overload(change) => self.log_overload(app, change),
            }
        }
        self.slot_outputs = outputs;
    }

    fn log_overload(&self, app: u8, change: OverloadChange) {
        let app = self.app_name(app).unwrap_or_default();
        match change {
            OverloadChange::Began { dpid } => {
                let switch = Dpid(dpid);
                tracing::warn!(%app, %switch, "overloaded: events of this switch are dropped, see `morphctl apps`");
            }
            OverloadChange::Ended {
                dpid,
                of_it,
                lost,
                took,
            } => {
                let (switch, seconds) = (Dpid(dpid), took.as_secs());
                tracing::info!(%app, %switch, "no longer overloaded: {lost} events were dropped in {seconds} s, {of_it} of them of this switch");
            }
        }
    }

    pub(super) fn app_name(&self, app: u8) -> Option<String> {
        Some(self.apps.as_ref()?.by_id(app)?.name.clone())
    }

    pub(super) fn send(&mut self, id: u64, record: to_app::Record) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.put(record);
            self.dirty_sessions.push(id);
        }
    }

    fn deliver(&mut self, app: u8, id: u64, n: u64, replayed: bool, alone: bool, now: Instant) {
        let queued = self.slots.get(&app).and_then(|slot| slot.queued(n));
        let (Some((queued, seq)), Some(session)) = (queued, self.sessions.get_mut(&id)) else {
            return;
        };
        let (channel, dpid) = (queued.channel, queued.dpid);
        let what = match &queued.what {
            EventKind::PacketIn(_) | EventKind::Message(_) => event::What::Message(true),
            EventKind::SwitchUp => {
                // Present state of the switch. If it is gone already, its SwitchDown follows.
                let switch = self.switches.get(&channel);
                let unknown = ChannelSnapshot {
                    dpid,
                    port_changes: 0,
                };
                session.known_channels.insert(
                    channel,
                    switch.map_or(unknown, |s| ChannelSnapshot::of(&s.channel)),
                );
                event::What::SwitchUp(switch.map_or_else(
                    || gone(channel, dpid),
                    |switch| switch.channel.switch_up(channel),
                ))
            }
            EventKind::SwitchDown => {
                session.known_channels.remove(&channel);
                event::What::SwitchDown(session::SwitchDown { channel, dpid })
            }
            EventKind::Lost(count) => event::What::Lost(session::Lost {
                dpid,
                count: *count,
            }),
            EventKind::Resync { .. } => event::What::Resync(session::Resync {
                dpid,
                forget: false,
            }),
            EventKind::Forgotten => event::What::Resync(session::Resync { dpid, forget: true }),
        };
        let waited = queued
            .arrived
            .map(|arrived| now.saturating_duration_since(arrived));
        session.put(to_app::Record::Event(session::Event {
            seq: Some(seq),
            replayed,
            dpid,
            what: Some(what),
            alone,
            waited_us: waited.map_or(0, |waited| waited.as_micros() as u64),
        }));
        if let EventKind::PacketIn(message) | EventKind::Message(message) = &queued.what {
            session.put_message(channel, message, None);
        }
        self.dirty_sessions.push(id);
    }

    /// Sends a session the changes of switches that it has missed.
    fn sync(&mut self, id: u64) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let lost = |(conn, known): (&u32, &ChannelSnapshot)| {
            let there = self
                .switches
                .get(conn)
                .is_some_and(|switch| switch.announced);
            (!there).then_some((*conn, known.dpid))
        };
        for (channel, dpid) in session
            .known_channels
            .iter()
            .filter_map(lost)
            .collect::<Vec<_>>()
        {
            session.known_channels.remove(&channel);
            session.put(to_app::Record::SwitchDown(session::SwitchDown {
                channel,
                dpid,
            }));
        }
        let mut connected: Vec<_> = self.switches.iter().filter(|(_, s)| s.announced).collect();
        connected.sort_by_key(|(conn, _)| **conn);
        for (conn, switch) in connected {
            let known = ChannelSnapshot::of(&switch.channel);
            if session.known_channels.insert(*conn, known) != Some(known) {
                session.put(to_app::Record::SwitchUp(switch.channel.switch_up(*conn)));
            }
        }
        self.dirty_sessions.push(id);
    }

    /// Queues a `SwitchUp` for every connected switch.
    pub(super) fn list_switches(&mut self, app: u8, now: Instant) {
        let mut connected: Vec<(u32, u64)> = self
            .switches
            .iter()
            .filter(|(_, switch)| switch.announced)
            .map(|(conn, switch)| (*conn, switch.channel.dpid()))
            .collect();
        connected.sort_unstable();
        if let Some(slot) = self.slots.get_mut(&app) {
            for (conn, dpid) in connected {
                slot.append_listed_switch(conn, dpid, now);
            }
        }
    }

    /// Handles the result of the proxy's own fence: resumes an attached instance of the checkpoint's release.
    pub(super) fn fenced(
        &mut self,
        name: &str,
        outcome: FenceOutcome,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let Some(app) = self
            .apps
            .as_ref()
            .and_then(|apps| apps.by_name(name))
            .map(|app| app.id)
        else {
            return;
        };
        let fenced = match outcome {
            FenceOutcome::Committed {
                epoch,
                cursor,
                turn,
                release,
                revision,
            } => match self.instance_of(app, &release) {
                Some((session, instance)) => FenceResult::Committed(ResumePlan {
                    ticket: None,
                    session,
                    instance,
                    epoch,
                    cursor,
                    turn,
                    revision,
                    gated: false,
                }),
                None => {
                    tracing::error!(app = %name, %release, "no instance of the checkpoint's release is attached: events wait until morphd resumes one");
                    FenceResult::NoInstance { epoch }
                }
            },
            FenceOutcome::LostRace => FenceResult::LostRace,
            FenceOutcome::NoCheckpoint => FenceResult::NoInstance { epoch: 0 },
            FenceOutcome::StoreUnavailable(why) => {
                tracing::warn!(app = %name, "cannot raise the epoch after an expired hold, trying again: {why}");
                FenceResult::StoreUnavailable
            }
        };
        self.feed_slot(app, SlotInput::Fenced(fenced), now, out);
    }

    /// Finds an attached instance of this release; prefers the one that was live before.
    fn instance_of(&self, app: u8, release: &str) -> Option<(u64, String)> {
        let before = self.slots.get(&app).and_then(Slot::held_instance);
        let of = |(id, session): (&u64, &Session)| {
            let hello = session
                .hello
                .as_ref()
                .filter(|_| session.app == Some(app))?;
            (hello.release == release).then(|| (*id, hello.instance.clone()))
        };
        let found = self.sessions.iter().filter_map(of);
        found.min_by_key(|(id, instance)| (before != Some(instance.as_str()), *id))
    }
}

fn gone(channel: u32, dpid: u64) -> SwitchUp {
    SwitchUp {
        channel,
        dpid,
        version: u32::from(morph_openflow::v13::VERSION),
        ..SwitchUp::default()
    }
}

pub(super) fn place(app: &PipelineApp, serial: u64) -> Pipeline {
    Pipeline {
        app_id: u32::from(app.id),
        first_table: u32::from(app.first_table),
        last_table: u32::from(app.last_table),
        second_table: app.second_table.map_or(0, u32::from),
        serial,
    }
}

pub(super) fn attached(hello: &session::Hello) -> Attached {
    Attached {
        app: hello.app.clone(),
        instance: hello.instance.clone(),
        release: hello.release.clone(),
        pid: hello.pid,
    }
}
