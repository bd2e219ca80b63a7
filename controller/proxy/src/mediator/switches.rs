//! Channels in the mediator: admission, routing of messages, and reconciliation of the pipeline.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use morph_api::session::{self, to_app};
use morph_api::supervisor::{ForgetSwitchReply, SwitchChange, observation};
use morph_openflow::v13::peek;
use morph_openflow::{Dpid, Header, MessageType};
use tracing::Level;

use super::session::ChannelSnapshot;
use super::*;
use crate::channel::{Closing, Election, Requester};
use crate::dispatch::PipelineApp;
use crate::reads::WaitingRead;

/// Limit of open connections; each costs buffers before its hello.
const CONNECTIONS: usize = 4096;
/// Limit of the connections of one peer that have sent no hello: a switch sends it at once. Without the limit, a single peer that
/// says nothing keeps all others out. Those of this machine are not limited.
const WITHOUT_HELLO: usize = 256;

impl Mediator {
    pub(super) fn connected(
        &mut self,
        conn: u32,
        remote: String,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        self.last_conn = self.last_conn.max(conn);
        if self.switches.len() >= CONNECTIONS {
            let why = format!("{CONNECTIONS} are open already");
            return self.refuse_connection(conn, &remote, &why, now, out);
        }
        let peer = address(&remote).filter(|ip| !ip.is_loopback());
        if let Some(peer) = peer
            && self.without_hello(peer) >= WITHOUT_HELLO
        {
            let why = format!("{WITHOUT_HELLO} of {peer} have sent no hello");
            return self.refuse_connection(conn, &remote, &why, now, out);
        }
        tracing::debug!(conn, %remote, "connection");
        let election = Election {
            role: self.settings.role,
            generation: self.settings.incarnation,
        };
        let mut channel = Channel::new(remote, election, now);
        channel.transport.place(self.one_table());
        let switch = Switch {
            channel,
            reconciliation: Reconciliation::default(),
            entries: Entries::default(),
            verification: Verification::new(self.settings.verification),
            reads: ReadQueue::default(),
            challenger: None,
            announced: false,
            dirty: false,
        };
        self.switches.insert(conn, switch);
        self.mark_dirty(conn);
    }

    /// Counts the connections of a peer that have sent no hello.
    fn without_hello(&self, peer: IpAddr) -> usize {
        let channels = self.switches.values().map(|switch| &switch.channel);
        let waiting = channels.filter(|channel| channel.awaits_hello());
        waiting
            .filter(|channel| address(&channel.remote) == Some(peer))
            .count()
    }

    /// Closes a connection that is one too many.
    fn refuse_connection(
        &mut self,
        conn: u32,
        remote: &str,
        why: &str,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let kind = format!("connection refused: {why}");
        if self.repeats.note(&kind, now) {
            tracing::error!(%remote, "{kind}");
        }
        out.push(Output::Disconnect { conn });
    }

    /// Marks a channel for the next flush.
    pub(super) fn mark_dirty(&mut self, conn: u32) {
        if let Some(switch) = self.switches.get_mut(&conn)
            && !std::mem::replace(&mut switch.dirty, true)
        {
            self.dirty_switches.push(conn);
        }
    }

    /// Feeds a channel and carries out its outputs.
    pub(super) fn feed_channel(
        &mut self,
        conn: u32,
        input: ChannelInput,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let Some(switch) = self.switches.get_mut(&conn) else {
            return;
        };
        let mut outputs = std::mem::take(&mut self.channel_outputs);
        switch.channel.handle(input, now, &mut outputs);
        self.mark_dirty(conn);
        for output in outputs.drain(..) {
            match output {
                ChannelOutput::Identified { dpid } => self.identified(conn, dpid, now, out),
                ChannelOutput::Ready => self.ready(conn, now, out),
                ChannelOutput::RoleChanged => self.role_changed(conn, now, out),
                ChannelOutput::Message(header, frame) => {
                    self.message(conn, header, frame, now, out)
                }
                ChannelOutput::Alive => self.alive(conn, now, out),
                ChannelOutput::Closed(closing) => self.closed(conn, closing, now, out),
            }
        }
        self.channel_outputs = outputs;
    }

    fn identified(&mut self, conn: u32, dpid: u64, now: Instant, out: &mut Vec<Output>) {
        let Some(known) = self.by_dpid.get(&dpid).copied() else {
            self.by_dpid.insert(dpid, conn);
            return self.feed_channel(conn, ChannelInput::Admit, now, out);
        };
        let Some(old) = self.switches.get_mut(&known) else {
            return;
        };
        if old.challenger.is_some() {
            let reason = format!(
                "datapath id {} is claimed by two others already",
                Dpid(dpid)
            );
            return self.feed_channel(conn, ChannelInput::Refuse(reason), now, out);
        }
        old.challenger = Some(conn);
        self.feed_channel(known, ChannelInput::Challenge, now, out);
    }

    /// Keeps the holder of a datapath id, which has answered, and refuses the challenger.
    fn alive(&mut self, conn: u32, now: Instant, out: &mut Vec<Output>) {
        let Some(switch) = self.switches.get_mut(&conn) else {
            return;
        };
        let Some(challenger) = switch.challenger.take() else {
            return;
        };
        let (dpid, remote) = (Dpid(switch.channel.dpid()), &switch.channel.remote);
        let reason = format!(
            "datapath id {dpid} is that of the switch at {remote}, which answers; give one of them another id"
        );
        self.feed_channel(challenger, ChannelInput::Refuse(reason), now, out);
    }

    fn closed(&mut self, conn: u32, closing: Closing, now: Instant, out: &mut Vec<Output>) {
        let Some(mut switch) = self.switches.remove(&conn) else {
            return;
        };
        if let Some(bytes) = switch.channel.transport.take_out(now) {
            out.push(Output::Write { conn, bytes });
        }
        out.push(Output::Disconnect { conn });
        let (dpid, remote) = (switch.channel.dpid(), &switch.channel.remote);
        // In the form of the line itself, for any port of the peer: `morphctl doctor` reads both.
        let peer = remote
            .rsplit_once(':')
            .map_or(remote.as_str(), |(ip, _)| ip);
        let id = display(dpid);
        let kind = format!("closed: {} remote={peer}:* dpid={id}", closing.reason);
        if closing.level > Level::INFO || self.repeats.note(&kind, now) {
            log(closing.level, remote, dpid, &closing.reason);
        }
        for other in self.switches.values_mut() {
            other.challenger.take_if(|challenger| *challenger == conn);
        }
        let held = self.by_dpid.get(&dpid) == Some(&conn);
        if held {
            self.by_dpid.remove(&dpid);
        }
        if switch.announced {
            self.switch_down(conn, dpid, switch.channel.remote, closing.reason, now, out);
        }
        self.continue_sessions(conn, now, out);
        if let Some(challenger) = switch.challenger.filter(|_| held) {
            self.by_dpid.insert(dpid, challenger);
            self.feed_channel(challenger, ChannelInput::Admit, now, out);
        }
    }

    /// Announces a described switch. While Morpheus is its slave, the switch is only listed.
    fn ready(&mut self, conn: u32, now: Instant, out: &mut Vec<Output>) {
        let Some(switch) = self.switches.get(&conn) else {
            return;
        };
        let (channel, dpid) = (&switch.channel, Dpid(switch.channel.dpid()));
        if channel.may_write() {
            return self.switch_up(conn, now, out);
        }
        tracing::warn!(%dpid, remote = %channel.remote, "switch connected, but another controller is its master: nothing is written to it, and no app sees it");
    }

    fn role_changed(&mut self, conn: u32, now: Instant, out: &mut Vec<Output>) {
        let Some(switch) = self.switches.get_mut(&conn) else {
            return;
        };
        match (switch.channel.may_write(), switch.announced) {
            (true, false) => self.switch_up(conn, now, out),
            (false, true) => {
                switch.announced = false;
                // A pending read is abandoned: no difference could be sent.
                switch.reconciliation = Reconciliation::default();
                switch.entries = Entries::default();
                switch.reads = ReadQueue::default();
                switch.verification.interrupt();
                let (dpid, remote) = (switch.channel.dpid(), switch.channel.remote.clone());
                let reason = "another controller is its master now".to_owned();
                self.withdraw(conn, dpid, remote, reason, now, out);
            }
            (true, true) | (false, false) => {}
        }
    }

    fn switch_up(&mut self, conn: u32, now: Instant, out: &mut Vec<Output>) {
        if let Some(reason) = self.too_few_tables(conn) {
            return self.refuse_switch(conn, reason, now, out);
        }
        let Some(switch) = self.switches.get_mut(&conn) else {
            return;
        };
        switch.announced = true;
        let report = switch.channel.report(0, now);
        let (dpid, remote) = (report.dpid, report.remote);
        self.refused.connected(dpid);
        let kind = format!("switch {}: connected", Dpid(dpid));
        if self.repeats.note(&kind, now) {
            tracing::info!(
                dpid = %Dpid(dpid), %remote, channel = conn, tables = report.tables, ports = report.ports,
                "switch connected: {} {}", report.manufacturer, report.software
            );
        }
        self.observe(out, || {
            observation::What::Switch(SwitchChange {
                dpid,
                up: true,
                remote,
                reason: String::new(),
                tables: report.tables,
            })
        });
        self.enter_unconfirmed(conn, now);
        self.reconcile(conn, now);
        self.switch_event(conn, dpid, EventKind::SwitchUp, now, out);
        self.inform(conn, dpid, true);
    }

    fn switch_down(
        &mut self,
        conn: u32,
        dpid: u64,
        remote: String,
        reason: String,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        if self.disconnects.len() < COUNTED_DATAPATHS || self.disconnects.contains_key(&dpid) {
            *self.disconnects.entry(dpid).or_default() += 1;
        }
        self.fail_queries(conn, now, out);
        self.withdraw(conn, dpid, remote, reason, now, out);
    }

    /// Withdraws a switch from the apps.
    fn withdraw(
        &mut self,
        conn: u32,
        dpid: u64,
        remote: String,
        reason: String,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        self.observe(out, || {
            observation::What::Switch(SwitchChange {
                dpid,
                up: false,
                remote,
                reason,
                tables: 0,
            })
        });
        self.switch_event(conn, dpid, EventKind::SwitchDown, now, out);
        self.inform(conn, dpid, false);
    }

    /// Tells all apps that a switch is gone for good. Refused while it is connected: it would be known again at once.
    pub(super) fn forget_switch(
        &mut self,
        dpid: u64,
        now: Instant,
        out: &mut Vec<Output>,
    ) -> Result<ControlReply, Refusal> {
        if self.by_dpid.contains_key(&dpid) {
            return Err(Refusal::Precondition(format!(
                "switch {} is connected, so it would be known again at once: disconnect it first",
                Dpid(dpid)
            )));
        }
        self.disconnects.remove(&dpid);
        self.switch_event(0, dpid, EventKind::Forgotten, now, out);
        tracing::info!(dpid = %Dpid(dpid), "an operator has the switch forgotten");
        let apps = self.apps.iter().flat_map(Apps::iter);
        let apps = apps.map(|app| app.name.clone()).collect();
        Ok(ControlReply::ForgetSwitch(ForgetSwitchReply { apps }))
    }

    /// Queues an event for every app.
    pub(super) fn switch_event(
        &mut self,
        channel: u32,
        dpid: u64,
        what: EventKind,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        for app in self.slots.keys().copied().collect::<Vec<_>>() {
            let what = what.clone();
            let event = SlotInput::Event {
                channel,
                dpid,
                what,
            };
            self.feed_slot(app, event, now, out);
        }
    }

    /// Informs the instances that receive no events.
    fn inform(&mut self, conn: u32, dpid: u64, up: bool) {
        let channel = self.switches.get(&conn).map(|switch| &switch.channel);
        for (id, session) in &mut self.sessions {
            let Some(slot) = session.app.and_then(|app| self.slots.get(&app)) else {
                continue;
            };
            if slot.receiver() == Some(*id) {
                continue;
            }
            match channel.filter(|_| up) {
                Some(channel) => {
                    session
                        .known_channels
                        .insert(conn, ChannelSnapshot::of(channel));
                    session.put(to_app::Record::SwitchUp(channel.switch_up(conn)));
                }
                None => {
                    session.known_channels.remove(&conn);
                    session.put(to_app::Record::SwitchDown(session::SwitchDown {
                        channel: conn,
                        dpid,
                    }));
                }
            }
            self.dirty_sessions.push(*id);
        }
    }

    /// Returns the table for which the only table of an OpenFlow 1.0 switch stands; 0 if it belongs to no app.
    pub(super) fn one_table(&self) -> u8 {
        let only = self.apps.as_ref().and_then(Apps::only);
        only.map_or(0, |app| app.first_table)
    }

    /// Closes the channel of a switch that has too few tables.
    pub(super) fn refuse_switch(
        &mut self,
        conn: u32,
        reason: String,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        if let Some(switch) = self.switches.get(&conn) {
            let (dpid, remote) = (switch.channel.dpid(), &switch.channel.remote);
            self.refused.note(dpid, remote, &reason, now);
        }
        self.feed_channel(conn, ChannelInput::Refuse(reason), now, out);
    }

    pub(super) fn too_few_tables(&self, conn: u32) -> Option<String> {
        let channel = &self.switches.get(&conn)?.channel;
        let apps = self.apps.as_ref()?;
        if channel.transport.has_one_table() {
            let names: Vec<&str> = apps.iter().map(|app| app.name.as_str()).collect();
            return (names.len() > 1).then(|| {
                format!(
                    "speaks OpenFlow 1.0, whose only table has room for one app, but these are present: {}",
                    names.join(", ")
                )
            });
        }
        let (tables, needed) = (channel.tables(), apps.tables_needed());
        (needed > tables).then(|| {
            format!(
                "has {tables} tables, and the apps' pipeline needs {needed}: {}",
                apps.needs()
            )
        })
    }

    /// Starts to read table 0 and the exit tables, to send the difference.
    pub(super) fn reconcile(&mut self, conn: u32, now: Instant) {
        if let Some(switch) = self.switches.get_mut(&conn) {
            switch.verification.interrupt();
        }
        self.read_pipeline(conn, now);
    }

    /// Reads table 0 and the exit tables, for whatever reason.
    pub(super) fn read_pipeline(&mut self, conn: u32, now: Instant) {
        let Some(switch) = self.switches.get_mut(&conn) else {
            return;
        };
        if self.apps.is_none() || !switch.announced {
            return;
        }
        let requests = Reconciliation::requests(switch.channel.transport.has_one_table());
        switch.reconciliation.begin(requests.len());
        switch.reads.drop_own();
        for request in requests {
            let read = WaitingRead::new(Requester::Pipeline, request.encode(0));
            switch.reads.push(read);
        }
        self.read_next(conn, now);
    }

    fn message(
        &mut self,
        conn: u32,
        header: Header,
        frame: Bytes,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let Some(switch) = self.switches.get(&conn) else {
            return;
        };
        let (dpid, apps) = (switch.channel.dpid(), self.apps.as_ref());
        let id = |app: &PipelineApp| app.id;
        let (app, what) = match header.kind {
            MessageType::PACKET_IN => match peek::packet_in(&frame) {
                Ok(fixed) => {
                    let app = apps.and_then(|apps| {
                        apps.receiver_of_packet_in(fixed.cookie(), fixed.table_id())
                    });
                    (app.map(id), EventKind::PacketIn(frame))
                }
                Err(error) => return self.malformed(conn, header, &error, now, out),
            },
            MessageType::FLOW_REMOVED => match peek::flow_removed(&frame) {
                Ok(fixed) => {
                    let app = apps.and_then(|apps| apps.owner_of_cookie(fixed.cookie()));
                    (app.map(id), EventKind::Message(frame))
                }
                Err(error) => return self.malformed(conn, header, &error, now, out),
            },
            // Where apps do not see the switch, its `SwitchUp` will tell them of the port.
            MessageType::PORT_STATUS if !switch.announced => return,
            MessageType::PORT_STATUS => {
                self.inform_ports(conn);
                return self.switch_event(conn, dpid, EventKind::Message(frame), now, out);
            }
            _ => return self.reply(conn, header, frame, now, out),
        };
        let Some(app) = app else {
            self.unclaimed += 1;
            tracing::debug!(dpid = %Dpid(dpid), kind = %header.kind, unclaimed = self.unclaimed, "dropped a message that belongs to no present app");
            return;
        };
        let event = SlotInput::Event {
            channel: conn,
            dpid,
            what,
        };
        self.feed_slot(app, event, now, out);
    }

    /// Informs the instances that receive no events about changed ports.
    fn inform_ports(&mut self, conn: u32) {
        let dpid = self
            .switches
            .get(&conn)
            .map_or(0, |switch| switch.channel.dpid());
        self.inform(conn, dpid, true);
    }

    pub(super) fn malformed(
        &mut self,
        conn: u32,
        header: Header,
        error: &morph_openflow::DecodeError,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let reason = format!("malformed {}: {error}", header.kind);
        self.feed_channel(conn, ChannelInput::Refuse(reason), now, out);
    }
}

/// Returns the address of a peer without its port.
fn address(remote: &str) -> Option<IpAddr> {
    remote.parse().ok().map(|peer: SocketAddr| peer.ip())
}

/// Shows a datapath id; nothing while it is unknown.
fn display(dpid: u64) -> String {
    match dpid {
        0 => String::new(),
        dpid => Dpid(dpid).to_string(),
    }
}

fn log(level: Level, remote: &str, dpid: u64, reason: &str) {
    let dpid = display(dpid);
    match level {
        Level::ERROR => tracing::error!(%remote, %dpid, "closed: {reason}"),
        Level::WARN => tracing::warn!(%remote, %dpid, "closed: {reason}"),
        Level::INFO => tracing::info!(%remote, %dpid, "closed: {reason}"),
        _ => tracing::debug!(%remote, %dpid, "closed: {reason}"),
    }
}
