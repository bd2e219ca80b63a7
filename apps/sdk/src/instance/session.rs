//! What the proxy says.

use std::collections::BTreeSet;

use bytes::Bytes;
use morph_api::session::{Event as Announcement, Hello, Pipeline as Place, SwitchUp, Welcome};
use morph_api::session::{Resume, event::What, from_app, to_app};
use morph_api::store::Seq;
use morph_openflow::{v10, v13};

use super::switches::Answer;
use super::{Fatal, HEALTH, Instance, Live, Now, Output, Role, TICK};
use crate::wanted::Stale;
use crate::{App, Changes, Dpid, Event, Pipeline, Switch};

/// Wire versions of switches that the proxy makes speak 1.3: those that do, and those of 1.0, which have one table.
const SPOKEN: [u32; 2] = [v13::VERSION as u32, v10::VERSION as u32];

/// A control record whose OpenFlow message comes next.
#[derive(Debug, Clone)]
pub(super) enum Announced {
    Event { seq: Seq, dpid: u64, alone: bool },
    Reply,
}

/// An event to be answered.
#[derive(Debug, Clone)]
pub(super) struct Delivered {
    pub(super) seq: Seq,
    /// What the app is told; absent: of no kind that it could be told.
    pub(super) event: Option<Event>,
    pub(super) link: Option<Link>,
    /// It was answered before, but the store refused the turn.
    pub(super) again: bool,
    /// Nothing comes before it is durable.
    pub(super) alone: bool,
}

/// A channel that came or went with an event.
#[derive(Debug, Clone, Copy)]
pub(super) enum Link {
    Up { dpid: Dpid, channel: u32 },
    Down { dpid: Dpid, channel: u32 },
}

impl<A: App> Instance<A> {
    pub(super) fn session_up(&mut self, out: &mut Vec<Output>) {
        let manifest = &self.config.manifest;
        let hello = Hello {
            app: manifest.name.clone(),
            instance: self.config.instance.clone(),
            release: manifest.version.to_string(),
            pid: self.config.pid,
            protocol: morph_api::PROTOCOL,
        };
        out.push(Output::Control(from_app::Record::Hello(hello)));
    }

    /// Whoever is live next is told so anew; a turn on its way to the store goes on there.
    pub(super) fn session_down(&mut self) {
        self.drop_unaccepted();
        self.hands.given_up = None;
        self.stop();
        self.role = Role::Waiting;
        self.welcomed = false;
        self.announced = None;
    }

    /// No longer live; follows.
    pub(super) fn pause(&mut self) {
        self.stop();
        if matches!(self.role, Role::Live(_)) {
            tracing::info!("paused");
        }
        self.role = Role::Paused;
    }

    fn stop(&mut self) {
        self.queue.clear();
        self.changes = None;
    }

    pub(super) fn control(
        &mut self,
        record: to_app::Record,
        now: Now,
        out: &mut Vec<Output>,
    ) -> Result<(), Fatal> {
        use to_app::Record;
        match record {
            Record::Welcome(welcome) => self.welcome(welcome),
            Record::Event(event) => self.deliver(event),
            Record::Accepted(accepted) => self.accepted(accepted.turn, out),
            Record::Rejected(rejected) => {
                self.rejected(rejected.turn, rejected.stale, &rejected.message)?;
            }
            Record::Resume(resume) => self.resume(&resume, now),
            Record::Quiesce(quiesce) => match &mut self.role {
                Role::Live(live) if live.epoch == quiesce.epoch => live.quiesce = true,
                role => tracing::warn!("Quiesce of epoch {} for {role:?}", quiesce.epoch),
            },
            Record::Pause(_) => {
                self.drop_unaccepted();
                self.pause();
            }
            Record::Instruction(bytes) => self.told(bytes, now, out),
            Record::Reply(_) => self.announced = Some(Announced::Reply),
            Record::SwitchUp(up) => self.switch_up(&up),
            Record::SwitchDown(down) => {
                if self.switches.disconnect(Dpid(down.dpid), down.channel) {
                    self.engine.remove_switch(Dpid(down.dpid));
                }
            }
            Record::Refused(refused) if refused.permanent => {
                let message = format!("the proxy refused the session: {}", refused.message);
                self.fail_with(morph_api::EXIT_PROTOCOL, message, out);
            }
            // The session ends; the driver attaches again, as the reason may pass: a proxy that was just started
            // does not know the apps yet.
            Record::Refused(refused) => {
                tracing::warn!("the proxy refused the session: {}", refused.message);
            }
        }
        Ok(())
    }

    fn welcome(&mut self, welcome: Welcome) {
        self.welcomed = true;
        self.ready_said = false;
        if let Some(Place {
            app_id,
            first_table,
            last_table,
        }) = welcome.pipeline
        {
            let byte = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
            let pipeline = Pipeline {
                app: byte(app_id),
                first: byte(first_table),
                exit: byte(last_table),
            };
            self.engine.set_pipeline(pipeline, &mut Stale::new());
        }
        let connected: BTreeSet<Dpid> = welcome.switches.iter().map(|up| Dpid(up.dpid)).collect();
        let gone: Vec<Dpid> = self.engine.switches.keys().copied().collect();
        for dpid in gone.into_iter().filter(|dpid| !connected.contains(dpid)) {
            self.engine.remove_switch(dpid);
        }
        // Channels of an earlier session mean nothing in this one.
        self.switches.forget();
        for up in &welcome.switches {
            self.switch_up(up);
        }
    }

    fn switch_up(&mut self, up: &SwitchUp) {
        if !SPOKEN.contains(&up.version) {
            tracing::warn!(
                "switch {} is left out: it speaks OpenFlow version {}",
                Dpid(up.dpid),
                up.version
            );
        } else if self.switches.connect(Dpid(up.dpid), up.channel) {
            self.engine.set_switch(Switch::from_session(up));
        }
    }

    fn resume(&mut self, resume: &Resume, now: Now) {
        let unaccepted = self.hands.accepting.as_ref();
        self.hands.given_up = unaccepted.map(|hand| hand.follows + 1);
        self.drop_unaccepted();
        self.stop();
        let cursor = resume.cursor.unwrap_or(Seq::ZERO);
        tracing::info!("live: epoch {}, cursor {cursor}", resume.epoch);
        self.role = Role::Live(Live {
            epoch: resume.epoch,
            cursor,
            turn: resume.turn,
            revision: resume.revision,
            quiesce: false,
            flush: None,
            tick: now.instant + TICK,
            health: now.instant + HEALTH,
            all_synced: false,
            group: resume.group,
        });
        self.lived.insert(resume.epoch);
        self.changes = Some(Changes::all());
        self.switches.unread();
        if !self.own_loaded() {
            // There was no space before the fence, perhaps.
            self.look_for_primary();
        }
    }

    fn deliver(&mut self, event: Announcement) {
        let (seq, alone) = (event.seq.unwrap_or(Seq::ZERO), event.alone);
        let (told, link) = match event.what {
            Some(What::Message(_)) => {
                let dpid = event.dpid;
                self.announced = Some(Announced::Event { seq, dpid, alone });
                return;
            }
            Some(What::SwitchUp(up)) if SPOKEN.contains(&up.version) => {
                let (dpid, channel) = (Dpid(up.dpid), up.channel);
                let link = Link::Up { dpid, channel };
                (Some(Event::SwitchUp(Switch::from_session(&up))), Some(link))
            }
            Some(What::SwitchDown(down)) => {
                let (dpid, channel) = (Dpid(down.dpid), down.channel);
                let link = Link::Down { dpid, channel };
                (Some(Event::SwitchDown(dpid)), Some(link))
            }
            Some(What::Lost(lost)) => {
                let (dpid, count) = (Dpid(lost.dpid), lost.count);
                (Some(Event::Lost { dpid, count }), None)
            }
            Some(What::Resync(resync)) => {
                let dpid = (resync.dpid != 0).then_some(Dpid(resync.dpid));
                self.switches.unread_again(dpid);
                (Some(Event::Resync { dpid }), None)
            }
            Some(What::SwitchUp(_)) | None => (None, None),
        };
        self.enqueue(seq, told, link, alone);
    }

    fn enqueue(&mut self, seq: Seq, event: Option<Event>, link: Option<Link>, alone: bool) {
        if !matches!(self.role, Role::Live(_)) {
            tracing::warn!("event {seq} is left to whoever is live");
            return;
        }
        self.queue.push_back(Delivered {
            seq,
            event,
            link,
            again: false,
            alone,
        });
    }

    pub(super) fn message(&mut self, channel: u32, message: Bytes, now: Now) {
        match self.announced.take() {
            Some(Announced::Event { seq, dpid, alone }) => {
                let known = (dpid != 0).then_some(Dpid(dpid));
                let dpid = known.or_else(|| self.switches.dpid(channel));
                let event = self.read_event(dpid, &message);
                self.enqueue(seq, event, None, alone);
            }
            Some(Announced::Reply) => self.reply(channel, &message, now),
            None => tracing::warn!("a message of channel {channel} came unannounced"),
        }
    }

    fn reply(&mut self, channel: u32, message: &Bytes, now: Now) {
        let Pipeline { first, exit, .. } = self.engine.pipeline;
        let switches = &mut self.switches;
        match switches.reply(channel, message, first..exit, now.instant) {
            Answer::Nothing => {}
            Answer::RuleFailed(dpid, error) => {
                self.counters.rule_failures += 1;
                tracing::error!("switch {dpid} refused a rule: {error}");
            }
            Answer::Error(dpid, error) => tracing::error!("switch {dpid}: {error}"),
        }
    }

    fn read_event(&self, dpid: Option<Dpid>, message: &Bytes) -> Option<Event> {
        let dpid = dpid?;
        match v13::decode(message) {
            Ok((_, message)) => Event::from_openflow(self.engine.pipeline.app, dpid, message),
            Err(error) => {
                tracing::error!("a message of switch {dpid} cannot be read: {error}");
                None
            }
        }
    }
}
