//! The proxy: its mediator, and the switch behind it, which answers at once unless changes of rules wait there.

mod broken;
mod deliveries;

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use morph_api::Role;
use morph_api::supervisor::Observation;
use morph_api::verification::VerificationPeriods;
use morph_openflow::frame;
use morph_openflow::v13::{self, FeaturesReply, Hello, Match, Message, PacketIn};
use morph_proxy::machine::{
    ControlReply, Input, Mediator, Output, QUOTA, Refusal, Settings, TARGET_DELAY,
};

use crate::canon::Canon;
use crate::clock;
use crate::setup::Setup;
use crate::switch::Switch;
use broken::Defect;
use deliveries::Deliveries;

/// The one channel.
const CHANNEL: u32 = 1;
/// The one switch.
pub(crate) const DPID: u64 = 7;

/// Time that a slow app takes for a turn: less than the target delay, and twice this is so much more that packets are dropped.
const TURN: Duration = Duration::from_millis(150);
/// Time that is a pause if nothing is answered in it, and shorter than all deadlines of a hold.
const PAUSE: Duration = Duration::from_millis(700);

/// The mediator and its clock.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    mediator: Mediator,
    now: Instant,
    switch: Switch,
    incarnation: u64,
    defect: Defect,
    /// Deliveries of the one app, where packets grow old.
    deliveries: Option<Deliveries>,
}

/// Output of the proxy.
#[derive(Debug)]
pub(crate) enum Effect {
    Blob(u64, Bytes),
    Answer(u64, Result<ControlReply, Refusal>),
    Observe(Observation),
    Fence(String),
    /// A packet of this app with this number has left a switch.
    Packet(u8, u8),
}

impl Canon for Proxy {
    const FIGURES: &'static [&'static str] = &[
        "rate",
        "forwarded",
        "events",
        "only",
        "replayed",
        "answered",
        "answer_us",
        "turn_sizes",
        "overload_above",
        "heard",
        "delivered_at",
        "received",
        "xid",
        "messages_out",
        "xids",
        "askers",
        "settings",
        "wanted",
        "roles",
        "features",
        "desc",
        "connected",
        "wake",
        "length",
        "reply",
        "known_channels",
        "pid",
        "observed",
    ];

    const PAST: &'static [&'static str] = &["paused_at", "since"];

    fn now(&self) -> Instant {
        self.now
    }

    fn tells_past(&self) -> bool {
        self.deliveries.as_ref().is_some_and(Deliveries::any_waits)
    }
}

impl Proxy {
    /// A proxy that knows no apps yet, with a switch.
    pub(crate) fn new(incarnation: u64, switch: Switch, setup: &Setup) -> Self {
        let settings = Settings {
            incarnation,
            quota: QUOTA,
            target_delay: TARGET_DELAY,
            role: Role::Equal,
            // Questions of the verification and their times would be states of their own.
            verification: VerificationPeriods::OFF,
        };
        let mut proxy = Proxy {
            mediator: Mediator::new(settings),
            now: clock::base(),
            switch,
            incarnation,
            defect: Defect::new(setup.mutation),
            deliveries: setup.slow.then(|| Deliveries::new(clock::base())),
        };
        proxy.put(Input::Connected {
            conn: CHANNEL,
            remote: "switch".into(),
        });
        proxy.frame(&Message::Hello(Hello::V13));
        proxy.frame(&Message::FeaturesReply(FeaturesReply {
            datapath_id: DPID,
            n_buffers: 0,
            n_tables: 254,
            auxiliary_id: 0,
            capabilities: 0,
            reserved: 0,
        }));
        proxy
    }

    fn frame(&mut self, message: &Message) -> Vec<Effect> {
        self.frames([message])
    }

    fn frames<'a>(&mut self, messages: impl IntoIterator<Item = &'a Message>) -> Vec<Effect> {
        let messages = messages.into_iter();
        self.put(Input::Frames {
            conn: CHANNEL,
            frames: messages.map(|message| message.encode(0)).collect(),
        })
    }

    /// Numbered packets come in at once, for the app with this id.
    pub(crate) fn packets_in(
        &mut self,
        app: u8,
        numbers: impl IntoIterator<Item = u8>,
    ) -> Vec<Effect> {
        let packet = |number| {
            Message::PacketIn(PacketIn {
                buffer_id: v13::NO_BUFFER,
                total_len: 2,
                reason: 1,
                table_id: 10 * app,
                cookie: u64::MAX,
                match_: Match::new().in_port(1),
                data: Bytes::copy_from_slice(&[app, number]),
            })
        };
        let packets: Vec<Message> = numbers.into_iter().map(packet).collect();
        if let Some(deliveries) = &mut self.deliveries {
            // Nothing else happens at the same time, so that it is known what was before.
            self.now += Duration::from_millis(1);
            deliveries.arrived(packets.len(), self.now);
        }
        self.frames(&packets)
    }

    pub(crate) fn switch(&self) -> &Switch {
        &self.switch
    }

    /// The switch carries out all that waits there.
    pub(crate) fn catch_up(&mut self) -> Vec<Effect> {
        let frames = self.switch.catch_up();
        self.put(Input::Frames {
            conn: CHANNEL,
            frames,
        })
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.mediator.next_deadline()
    }

    /// Its clock goes on to the next deadline.
    pub(crate) fn time(&mut self) -> Vec<Effect> {
        self.now = self
            .mediator
            .next_deadline()
            .map_or(self.now, |at| at.max(self.now));
        self.put(Input::Timer)
    }

    /// Whether packets wait for their delivery or an answer, and no deadline passes in [`PAUSE`].
    pub(crate) fn may_wait(&self) -> bool {
        let waits = self.deliveries.as_ref().is_some_and(Deliveries::any_waits);
        waits && !self.has_deadline_in(PAUSE)
    }

    fn has_deadline_in(&self, time: Duration) -> bool {
        let deadline = self.next_deadline();
        deadline.is_some_and(|at| at <= self.now + time)
    }

    /// Its clock goes on by [`PAUSE`].
    pub(crate) fn wait(&mut self) {
        self.now += PAUSE;
    }

    /// Sentence about a packet that was dropped by age and must not be.
    pub(crate) fn wrongly_dropped(&self) -> Option<String> {
        self.deliveries.as_ref().and_then(Deliveries::wrong)
    }

    pub(crate) fn put(&mut self, input: Input) -> Vec<Effect> {
        let turns = match (&self.deliveries, &input) {
            (Some(_), Input::Blob { records, .. }) => broken::turns(records),
            _ => Vec::new(),
        };
        if turns.iter().any(|turn| turn.end.event.is_some()) && !self.has_deadline_in(TURN) {
            self.now += TURN;
        }
        let effects = self.put_broken(input);
        if let Some(deliveries) = &mut self.deliveries {
            deliveries.ask(turns.into_iter().map(|turn| turn.end));
            for effect in &effects {
                if let Effect::Blob(_, blob) = effect {
                    deliveries.deliver(blob, self.now);
                }
            }
        }
        effects
    }

    /// Feeds the shipped mediator an input.
    fn mediate(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut inputs = vec![input];
        while !inputs.is_empty() {
            let mut outputs = Vec::new();
            for input in inputs.drain(..) {
                self.mediator.handle(input, self.now, &mut outputs);
            }
            self.mediator.flush(self.now, &mut outputs);
            for output in outputs {
                carry_out(&mut self.switch, output, &mut inputs, &mut effects);
            }
        }
        effects
    }
}

fn carry_out(
    switch: &mut Switch,
    output: Output,
    inputs: &mut Vec<Input>,
    effects: &mut Vec<Effect>,
) {
    match output {
        Output::Write { conn, bytes } => {
            inputs.push(Input::Written {
                conn,
                bytes: bytes.len(),
            });
            inputs.extend(answer(switch, conn, bytes, effects));
        }
        // No session is refused here, and the driver gives credit.
        Output::Disconnect { .. } | Output::EndSession { .. } | Output::Credit { .. } => {}
        Output::Blob { session, records } => {
            inputs.push(Input::SessionWritten {
                session,
                bytes: records.len(),
            });
            effects.push(Effect::Blob(session, records));
        }
        Output::Reply { ticket, reply } => effects.push(Effect::Answer(ticket, reply)),
        Output::Observe(observation) => effects.push(Effect::Observe(observation)),
        Output::Fence { app } => effects.push(Effect::Fence(app)),
    }
}

/// Answers of the switch.
fn answer(
    switch: &mut Switch,
    conn: u32,
    mut bytes: BytesMut,
    effects: &mut Vec<Effect>,
) -> Option<Input> {
    let mut frames = Vec::new();
    while let Ok(Some(frame)) = frame::split(&mut bytes) {
        let Ok((header, message)) = v13::decode(&frame) else {
            continue;
        };
        if let Message::PacketOut(packet) = message {
            if let [app, number] = packet.data[..] {
                effects.push(Effect::Packet(app, number));
            }
            continue;
        }
        frames.extend(switch.take(header.xid, message));
    }
    (!frames.is_empty()).then_some(Input::Frames { conn, frames })
}
