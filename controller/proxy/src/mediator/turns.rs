//! Records from instances: commands, turns, reads.
//!
//! A turn is forwarded whole or not at all:
//! 1. Its commands are collected until its `TurnEnd`.
//! 2. The slot decides whether this instance may send it now.
//! 3. Every command is checked.
//! 4. All commands are queued on their channels; those for a lost channel are discarded, and so are packet-outs for a switch
//!    that is far behind.
//!    Changes of rules that are to take effect together wait for each other until then.
//! 5. The turn is accepted at once: no switch delays it. A session whose commands have filled a channel has to wait before it
//!    sends more. Apps of our SDK do not come to that.

use std::collections::BTreeSet;

use bytes::Bytes;
use morph_api::Record;
use morph_api::session::{FromApp, Rejected, TurnEnd, from_app, to_app};
use morph_openflow::{Dpid, Header, MessageType};
use prost::Message as _;

use super::session::TURN;
use super::*;
use crate::channel::{Expects, Requester, Transport};
use crate::command::{self, CommandKind};
use crate::slot::{Rejection, TurnPermit};

/// Changes of a turn for one switch that are to take effect together, and barriers that are to follow them.
#[derive(Debug, Default)]
struct Difference {
    changes: Vec<Bytes>,
    barriers: Vec<Bytes>,
}

fn is_barrier(message: &[u8]) -> bool {
    Header::read(message).is_ok_and(|header| header.kind == MessageType::BARRIER_REQUEST)
}

impl Mediator {
    /// Processes the records of a session until it has to wait.
    pub(super) fn process_records(&mut self, id: u64, now: Instant, out: &mut Vec<Output>) {
        loop {
            let Some(session) = self.sessions.get_mut(&id) else {
                return;
            };
            let waits = session.hello.is_some() && session.app.is_none();
            if !session.blocked_by.is_empty() || waits {
                return;
            }
            let Some(records) = session.inbox.front_mut() else {
                return;
            };
            match records.next() {
                None => {
                    session.inbox.pop_front();
                    out.push(Output::Credit { session: id });
                }
                Some(Err(error)) => {
                    return self.refuse(id, format!("malformed records: {error}"), now, out);
                }
                Some(Ok(Record::Message { channel, message })) => {
                    self.command(id, channel, message, now, out);
                }
                Some(Ok(Record::Control(bytes))) => self.control_record(id, bytes, now, out),
            }
        }
    }

    fn control_record(&mut self, id: u64, bytes: Bytes, now: Instant, out: &mut Vec<Output>) {
        use from_app::Record as From;
        let record = match FromApp::decode(bytes) {
            Ok(FromApp { record }) => record,
            Err(error) => {
                return self.refuse(id, format!("malformed control record: {error}"), now, out);
            }
        };
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        match (session.app, record) {
            (None, Some(From::Hello(hello))) => self.hello(id, hello, now, out),
            (None, _) => self.refuse(id, "the first record is not a hello".into(), now, out),
            (Some(_), Some(From::Hello(_))) => {
                self.refuse(id, "a second hello in one session".into(), now, out)
            }
            (Some(app), Some(From::TurnEnd(end))) => self.turn_end(id, app, end, now, out),
            (Some(app), Some(From::Durable(durable))) => {
                let cursor = durable.cursor.unwrap_or(Seq::ZERO);
                self.feed_slot(app, SlotInput::Durable(cursor), now, out);
            }
            (Some(app), Some(From::Quiesced(quiesced))) => {
                let session = id;
                self.feed_slot(app, SlotInput::Quiesced { session, quiesced }, now, out);
            }
            (Some(_), Some(From::Report(report))) => self.pass_report(id, report, out),
            (Some(_), Some(From::ReadBegin(_))) if session.commands.is_empty() => {
                session.reading = true
            }
            (Some(_), Some(From::ReadBegin(_))) => {
                self.refuse(id, "ReadBegin in the middle of a turn".into(), now, out);
            }
            (Some(_), Some(From::ReadEnd(_))) => session.reading = false,
            (Some(app), Some(From::RulesReady(ready))) => {
                let gated = self
                    .slots
                    .get(&app)
                    .is_some_and(|s| s.is_gated(id, ready.epoch));
                if gated {
                    self.feed_groups(|group, out| group.ready(app, ready.epoch, out), now, out);
                }
            }
            (Some(app), Some(From::TablesReady(ready))) => {
                let is_live = |slot: &Slot| slot.receiver() == Some(id);
                if self.slots.get(&app).is_some_and(is_live)
                    && let Some(settling) = &mut self.settling
                {
                    settling.ready(app, ready.serial);
                }
            }
            (Some(app), Some(From::RulesConfirmed(rules))) => {
                let is_live = |slot: &Slot| slot.receiver() == Some(id);
                if self.slots.get(&app).is_some_and(is_live) {
                    self.enter(app, rules.channel, now);
                }
            }
            // Record of a newer SDK, which this proxy need not know.
            (Some(_), None) => {}
        }
    }

    fn command(
        &mut self,
        id: u64,
        channel: u32,
        message: Bytes,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.app.is_none() {
            return self.refuse(id, "the first record is not a hello".into(), now, out);
        }
        if session.reading {
            return self.read_request(id, channel, &message, now, out);
        }
        session.command_bytes += message.len();
        if session.command_bytes > TURN {
            let why =
                format!("a turn with more than {TURN} bytes of commands: send fewer in one turn");
            return self.refuse(id, why, now, out);
        }
        session.commands.push((channel, message));
    }

    /// Handles a request between `ReadBegin` and `ReadEnd`.
    fn read_request(
        &mut self,
        id: u64,
        channel: u32,
        message: &[u8],
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        if let Err(why) = command::check_read_request(message) {
            return self.refuse(id, why.to_string(), now, out);
        }
        if reading::is_read(message) {
            self.queue_read(id, channel, message, now);
        } else {
            self.forward(id, channel, message, Expects::Reply, now);
        }
        if self.is_full(channel)
            && let Some(session) = self.sessions.get_mut(&id)
        {
            session.blocked_by = vec![channel];
        }
    }

    /// Queues a message of an instance; discards it if the channel is gone.
    fn forward(
        &mut self,
        id: u64,
        conn: u32,
        message: &[u8],
        expects: Expects,
        now: Instant,
    ) -> bool {
        let requester = Requester::of_session(id, message);
        let Some(transport) = self.announced(conn) else {
            return false;
        };
        transport.forward(message, requester, expects, now);
        self.mark_dirty(conn);
        true
    }

    /// Returns the sending side of a channel that apps see.
    fn announced(&mut self, conn: u32) -> Option<&mut Transport> {
        let switch = self.switches.get_mut(&conn)?;
        switch.announced.then_some(&mut switch.channel.transport)
    }

    fn is_full(&self, conn: u32) -> bool {
        self.switches
            .get(&conn)
            .is_some_and(|switch| switch.channel.transport.is_full())
    }

    /// Whether packet-outs for this channel are dropped. The first one is logged.
    fn drops_packet(&mut self, conn: u32) -> bool {
        let Some(switch) = self.switches.get_mut(&conn) else {
            return false;
        };
        let transport = &mut switch.channel.transport;
        let drops = transport.drops_packets();
        if drops && transport.note_drop() {
            let dpid = Dpid(switch.channel.dpid());
            tracing::warn!(%dpid, "packet-outs are dropped: more than 1 MiB waits for the switch to read it");
        }
        drops
    }

    fn turn_end(&mut self, id: u64, app: u8, end: TurnEnd, now: Instant, out: &mut Vec<Output>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let commands = session.clear_turn();
        let Some(slot) = self.slots.get(&app) else {
            return;
        };
        if !slot.is_gated(id, end.epoch) {
            return self.turn(id, app, end, commands, now, out);
        }
        // An instance sends one turn at a time.
        if session.gated_turn.replace((end, commands)).is_some() {
            let why = "a second turn while the first one waits for other apps of the group";
            self.refuse(id, why.into(), now, out);
        }
    }

    /// Decides about the turn that waited for other apps.
    pub(super) fn judge_gated_turn(
        &mut self,
        id: u64,
        app: u8,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let gated = self.sessions.get_mut(&id).and_then(|s| s.gated_turn.take());
        if let Some((end, commands)) = gated {
            self.turn(id, app, end, commands, now, out);
        }
    }

    fn turn(
        &mut self,
        id: u64,
        app: u8,
        end: TurnEnd,
        commands: Vec<(u32, Bytes)>,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let Some(slot) = self.slots.get(&app) else {
            return;
        };
        let checked = slot
            .permit_turn(id, end.epoch, end.event)
            .and_then(|permit| Ok((permit, self.check(app, end.epoch, &commands)?)));
        let (permit, kinds) = match checked {
            Ok(checked) => checked,
            Err(rejection) => return self.reject(id, app, &end, rejection),
        };
        let event = end.event;
        let commands = commands.into_iter().zip(kinds);
        let full = self.forward_turn(id, app, commands, &end.together, permit, now);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.blocked_by = full;
        }
        self.feed_slot(app, SlotInput::Forwarded { event }, now, out);
        self.accept(id, app, end, now, out);
    }

    fn check(
        &self,
        app: u8,
        epoch: u64,
        commands: &[(u32, Bytes)],
    ) -> Result<Vec<CommandKind>, Rejection> {
        let apps = self.apps.as_ref();
        let Some((apps, present)) = apps.and_then(|apps| Some((apps, apps.by_id(app)?))) else {
            return Err(Rejection {
                stale: true,
                message: "the app is not present".into(),
            });
        };
        let count = commands.len();
        let check = |(index, (channel, message)): (usize, &(u32, Bytes))| {
            let reject = |why: String| Rejection {
                stale: false,
                message: format!(
                    "command {} of {count}, for channel {channel}: {why}",
                    index + 1
                ),
            };
            if *channel > self.last_conn {
                return Err(reject("no switch ever had this channel".into()));
            }
            command::check(apps, present, epoch, message).map_err(|why| reject(why.to_string()))
        };
        commands.iter().enumerate().map(check).collect()
    }

    fn accept(&mut self, id: u64, app: u8, turn: TurnEnd, now: Instant, out: &mut Vec<Output>) {
        let accepted = SlotInput::TurnAccepted { session: id, turn };
        self.feed_slot(app, accepted, now, out);
    }

    fn reject(&mut self, id: u64, app: u8, end: &TurnEnd, rejection: Rejection) {
        if let Some(slot) = self.slots.get_mut(&app) {
            slot.forwarded.rejected += 1;
        }
        let name = self
            .sessions
            .get(&id)
            .map(Session::name)
            .unwrap_or_default();
        let (stale, message) = (rejection.stale, rejection.message);
        let (turn, epoch) = (end.turn, end.epoch);
        tracing::warn!(instance = %name, turn, stale, "turn rejected: {message}");
        let rejected = Rejected {
            turn,
            stale,
            message,
            epoch,
        };
        self.send(id, to_app::Record::Rejected(rejected));
    }

    /// Queues a turn's commands; returns the channels that are full now. Changes for the channels in `together` take effect
    /// together, as far as no packet-out and no question but barriers is among them. These barriers follow.
    fn forward_turn(
        &mut self,
        id: u64,
        app: u8,
        commands: impl Iterator<Item = ((u32, Bytes), CommandKind)>,
        together: &[u32],
        permit: TurnPermit,
        now: Instant,
    ) -> Vec<u32> {
        let mut channels = BTreeSet::new();
        let mut differences: BTreeMap<u32, Difference> = BTreeMap::new();
        let mut counts = [0u64; 5];
        for ((channel, message), kind) in commands {
            if kind == CommandKind::PacketOut {
                if permit.drop_packet_outs {
                    continue;
                }
                if self.drops_packet(channel) {
                    counts[4] += 1;
                    continue;
                }
            }
            channels.insert(channel);
            let is_change = matches!(kind, CommandKind::FlowMod | CommandKind::GroupMod);
            let is_queued = if is_change && together.contains(&channel) {
                let difference = differences.entry(channel).or_default();
                difference.changes.push(message);
                self.announced(channel).is_some()
            } else if let Some(difference) = differences.get_mut(&channel)
                && is_barrier(&message)
            {
                difference.barriers.push(message);
                true
            } else {
                if let Some(difference) = differences.remove(&channel) {
                    self.forward_difference(id, channel, difference, now);
                }
                self.forward(id, channel, &message, kind.expects(), now)
            };
            if !is_queued {
                continue;
            }
            match kind {
                CommandKind::FlowMod => counts[0] += 1,
                CommandKind::GroupMod => counts[1] += 1,
                CommandKind::MeterMod => counts[2] += 1,
                CommandKind::PacketOut => counts[3] += 1,
                CommandKind::ReadRequest => {}
            }
        }
        for (channel, difference) in differences {
            self.forward_difference(id, channel, difference, now);
        }
        if let Some(slot) = self.slots.get_mut(&app) {
            slot.forwarded.flow_mods += counts[0];
            slot.forwarded.group_mods += counts[1];
            slot.forwarded.meter_mods += counts[2];
            slot.forwarded.packet_outs += counts[3];
            slot.forwarded.packet_outs_dropped += counts[4];
        }
        channels.retain(|channel| self.is_full(*channel));
        channels.into_iter().collect()
    }

    /// Queues changes that are to take effect together, and the barriers behind them.
    fn forward_difference(&mut self, id: u64, conn: u32, difference: Difference, now: Instant) {
        if let Some(transport) = self.announced(conn) {
            transport.forward_together(id, difference.changes, now);
            self.mark_dirty(conn);
        }
        for barrier in difference.barriers {
            self.forward(id, conn, &barrier, Expects::Reply, now);
        }
    }

    /// Continues sessions that waited for this channel, which has room again or is gone.
    pub(super) fn continue_sessions(&mut self, conn: u32, now: Instant, out: &mut Vec<Output>) {
        if self.is_full(conn) {
            return;
        }
        let waits =
            |(id, session): (&u64, &Session)| session.blocked_by.contains(&conn).then_some(*id);
        for id in self.sessions.iter().filter_map(waits).collect::<Vec<_>>() {
            self.continue_session(id, conn, now, out);
        }
    }

    fn continue_session(&mut self, id: u64, conn: u32, now: Instant, out: &mut Vec<Output>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.blocked_by.retain(|channel| *channel != conn);
        self.process_records(id, now, out);
    }
}
