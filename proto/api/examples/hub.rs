//! A hub, written against the session protocol alone: the complete small client that `docs/session.md` describes.
//!
//! Switches send the hub each packet, and it floods them and counts those of each switch in its table `packets`. One turn is in
//! flight at a time, and no table is in memory: the hub is here to be read. Applications are written with the SDK.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use morph_api::cookie::Cookie;
use morph_api::lock::{Holder, Lock};
use morph_api::manifest::Manifest;
use morph_api::session::{self, FromApp, ToApp, event::What, from_app, to_app};
use morph_api::store::store_client::StoreClient;
use morph_api::store::{self, Seq, commit_reply, op};
use morph_api::supervisor::{self, Report, instruction, report};
use morph_api::{PROTOCOL, Record, Records, put_control, put_message, unix};
use morph_openflow::v13::{
    self, Action, FlowMod, Instruction, Message, PacketInView, PacketOut, port,
};
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::transport::Channel;

type Failure = Box<dyn Error>;

const TABLE: &str = "packets";
/// Token in the xid of barriers: their replies come back with it.
const BARRIER: u32 = 1;

/// Command line of an instance.
struct Arguments {
    manifest: Manifest,
    instance: String,
    run_dir: PathBuf,
    node: String,
}

impl Arguments {
    fn read() -> Result<Option<Self>, Failure> {
        let mut flags = BTreeMap::new();
        let mut words = std::env::args().skip(1);
        while let Some(flag) = words.next() {
            if flag == "--schema" {
                return Ok(None);
            }
            let value = words.next().ok_or(format!("{flag} has no value"))?;
            flags.insert(flag, value);
        }
        let flag = |name: &str| {
            let value = flags.get(name).cloned();
            value.ok_or(format!(
                "{name} is missing: an instance is started by morphd"
            ))
        };
        Ok(Some(Arguments {
            manifest: Manifest::read(Path::new(&flag("--manifest")?))?,
            instance: flag("--instance")?,
            run_dir: flag("--run-dir")?.into(),
            node: flag("--node")?,
        }))
    }
}

/// State while the instance is live.
struct Live {
    epoch: u64,
    cursor: Seq,
    /// Number of the last turn that is committed.
    turn: u64,
    /// Rules that are to be sent, by channel; then their barriers are awaited.
    unruled: Vec<u32>,
    awaited: Vec<u32>,
    synced: bool,
    quiesce: bool,
}

/// A turn that was sent, with the rows that it writes.
struct Sent {
    epoch: u64,
    number: u64,
    event: Option<Seq>,
    packets: BTreeMap<u64, u64>,
}

/// An instance in its session.
struct Instance {
    arguments: Arguments,
    store: StoreClient<Channel>,
    outbox: mpsc::Sender<session::Blob>,
    /// Records that leave together.
    blob: BytesMut,
    /// Datapath ids by channel.
    switches: BTreeMap<u32, u64>,
    first_table: u8,
    live: Option<Live>,
    /// Events that are not handled yet, and the announcement of the message in the next record.
    events: VecDeque<(session::Event, u32, Bytes)>,
    announced: Option<session::Event>,
    is_reply: bool,
    sent: Option<Sent>,
    handled: u64,
}

impl Instance {
    fn control(&mut self, record: from_app::Record) {
        let record = Some(record);
        put_control(&mut self.blob, &FromApp { record });
    }

    fn report(&mut self, report: report::Report) {
        let report = Some(report);
        let bytes = Report { report }.encode_to_vec();
        self.control(from_app::Record::Report(bytes.into()));
    }

    /// Sends what has gathered.
    async fn flush(&mut self) -> Result<(), Failure> {
        if !self.blob.is_empty() {
            let records = self.blob.split().freeze();
            self.outbox.send(session::Blob { records }).await?;
        }
        Ok(())
    }

    /// Handles what the proxy says. False: the instance ends.
    async fn control_record(&mut self, record: to_app::Record) -> Result<bool, Failure> {
        use to_app::Record;
        match record {
            Record::Welcome(welcome) => {
                self.pipeline(welcome.pipeline.unwrap_or_default());
                for up in &welcome.switches {
                    self.switches.insert(up.channel, up.dpid);
                }
                self.wait_for_keyspace().await?;
                let ready = supervisor::Ready {
                    schema: self.arguments.manifest.schema,
                    ..Default::default()
                };
                self.report(report::Report::Ready(ready));
            }
            Record::Pipeline(pipeline) => self.pipeline(pipeline),
            Record::SwitchUp(up) => {
                self.switches.insert(up.channel, up.dpid);
            }
            Record::SwitchDown(down) => {
                self.switches.remove(&down.channel);
            }
            Record::Event(event) if matches!(event.what, Some(What::Message(_))) => {
                self.announced = Some(event);
            }
            Record::Event(event) => self.events.push_back((event, 0, Bytes::new())),
            Record::Reply(_) => self.is_reply = true,
            Record::Resume(resume) => {
                // Turns of an earlier epoch that were not accepted are void; their events come again.
                self.events.clear();
                self.sent = None;
                self.live = Some(Live {
                    epoch: resume.epoch,
                    cursor: resume.cursor.unwrap_or_default(),
                    turn: resume.turn,
                    unruled: self.switches.keys().copied().collect(),
                    awaited: Vec::new(),
                    synced: false,
                    quiesce: false,
                });
                if resume.group {
                    let epoch = resume.epoch;
                    self.control(from_app::Record::RulesReady(session::RulesReady { epoch }));
                }
            }
            Record::Accepted(accepted) => {
                let is_it = |sent: &mut Sent| sent.number == accepted.turn;
                if let Some(sent) = self.sent.take_if(is_it) {
                    self.commit(sent).await?;
                }
            }
            Record::Rejected(rejected) if rejected.stale => self.live = None,
            Record::Rejected(rejected) => return Err(rejected.message.into()),
            Record::Quiesce(quiesce) => {
                if let Some(live) = self.live.as_mut() {
                    live.quiesce |= live.epoch == quiesce.epoch;
                }
            }
            Record::Pause(_) => self.live = None,
            Record::Instruction(bytes) => return self.instruction(bytes).await,
            Record::Refused(refused) => return Err(refused.message.into()),
        }
        Ok(true)
    }

    /// The app's rules are level-triggered: where its tables are others, its rules go there.
    fn pipeline(&mut self, pipeline: session::Pipeline) {
        self.first_table = u8::try_from(pipeline.first_table).unwrap_or(u8::MAX);
        if let Some(live) = self.live.as_mut() {
            live.unruled = self.switches.keys().copied().collect();
        }
    }

    async fn instruction(&mut self, bytes: Bytes) -> Result<bool, Failure> {
        match supervisor::Instruction::decode(bytes)?.instruction {
            Some(instruction::Instruction::Ping(ping)) => {
                let status = self.store.status(store::StatusRequest::default()).await?;
                let revision = status.into_inner().revision;
                let token = ping.token;
                self.report(report::Report::Pong(supervisor::Pong { token, revision }));
            }
            Some(instruction::Instruction::MakeShadow(order)) => {
                let refused = supervisor::ShadowProgress {
                    keyspace: order.keyspace,
                    error: "the hub has no migrations".to_owned(),
                    ..Default::default()
                };
                self.report(report::Report::Shadow(refused));
            }
            Some(instruction::Instruction::Stop(_)) => return Ok(false),
            // The hub keeps no shadow, so there is nothing to flush.
            Some(_) | None => {}
        }
        Ok(true)
    }

    /// Before its first start an app has no tables: morphd makes them.
    async fn wait_for_keyspace(&mut self) -> Result<(), Failure> {
        let name = &self.arguments.manifest.name;
        loop {
            let status = self.store.status(store::StatusRequest::default()).await?;
            let keyspaces = status.into_inner().keyspaces;
            if keyspaces.iter().any(|k| k.primary && k.app == *name) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn message(&mut self, channel: u32, message: Bytes) {
        if let Some(event) = self.announced.take() {
            self.events.push_back((event, channel, message));
        } else if std::mem::take(&mut self.is_reply)
            && let Ok((header, Message::BarrierReply)) = v13::decode(&message)
            && header.xid == BARRIER
            && let Some(live) = self.live.as_mut()
        {
            live.awaited.retain(|awaited| *awaited != channel);
            let confirmed = session::RulesConfirmed { channel };
            self.control(from_app::Record::RulesConfirmed(confirmed));
        }
    }

    /// Makes the next turn, if there is anything to do and no turn is in flight.
    async fn turn(&mut self) -> Result<(), Failure> {
        let Some(live) = self.live.as_mut().filter(|_| self.sent.is_none()) else {
            return Ok(());
        };
        if live.quiesce {
            let quiesced = session::Quiesced {
                epoch: live.epoch,
                cursor: Some(live.cursor),
                turn: live.turn,
            };
            self.live = None;
            self.control(from_app::Record::Quiesced(quiesced));
            return Ok(());
        }
        if live.unruled.is_empty() && live.awaited.is_empty() && !live.synced {
            live.synced = true;
            let synced = supervisor::RulesSynced {
                epoch: live.epoch,
                last: true,
                ..Default::default()
            };
            self.report(report::Report::Rules(synced));
        }
        let Some(live) = self.live.as_mut() else {
            return Ok(());
        };
        let unruled = std::mem::take(&mut live.unruled);
        live.awaited.extend(&unruled);
        let (epoch, number, cursor) = (live.epoch, live.turn + 1, live.cursor);
        let event = self.events.pop_front();
        if unruled.is_empty() && event.is_none() {
            return Ok(());
        }
        for channel in unruled {
            self.rules(channel, epoch);
        }
        let mut sent = Sent {
            epoch,
            number,
            event: None,
            packets: BTreeMap::new(),
        };
        if let Some((event, channel, message)) = event {
            sent.event = event.seq;
            self.handled += 1;
            // An event up to the cursor is in the tables already.
            if sent.event.is_some_and(|seq| order(seq) > order(cursor)) {
                self.event(event, channel, &message, &mut sent).await?;
            }
        }
        self.control(from_app::Record::TurnEnd(session::TurnEnd {
            epoch,
            turn: number,
            event: sent.event,
            ..Default::default()
        }));
        self.sent = Some(sent);
        Ok(())
    }

    async fn event(
        &mut self,
        event: session::Event,
        channel: u32,
        message: &Bytes,
        sent: &mut Sent,
    ) -> Result<(), Failure> {
        match event.what {
            Some(What::SwitchUp(up)) => {
                self.switches.insert(up.channel, up.dpid);
                self.rules(up.channel, sent.epoch);
            }
            Some(What::SwitchDown(down)) => {
                self.switches.remove(&down.channel);
            }
            Some(What::Message(_)) => {
                if let Ok(packet) = PacketInView::new(message) {
                    let count = self.count(event.dpid).await?;
                    sent.packets.insert(event.dpid, count + 1);
                    let in_port = packet.in_port().unwrap_or(port::CONTROLLER);
                    let flood = [Action::output(port::FLOOD)];
                    let mut out = BytesMut::new();
                    PacketOut::write(0, in_port, &flood, packet.data(), &mut out)?;
                    put_message(&mut self.blob, channel, &out);
                }
            }
            Some(What::Lost(_) | What::Resync(_)) | None => {}
        }
        Ok(())
    }

    /// Puts the hub's only rule into the turn: all packets go to the controller.
    fn rules(&mut self, channel: u32, epoch: u64) {
        let cookie = Cookie {
            app: self.arguments.manifest.id,
            epoch: epoch as u16,
            own: 0,
        };
        let rule = FlowMod {
            cookie: cookie.to_u64(),
            table_id: self.first_table,
            instructions: vec![Instruction::ApplyActions(vec![Action::to_controller()])],
            ..FlowMod::default()
        };
        put_message(&mut self.blob, channel, &Message::FlowMod(rule).encode(0));
        let barrier = Message::BarrierRequest.encode(BARRIER);
        put_message(&mut self.blob, channel, &barrier);
    }

    /// Number of packets of a switch so far.
    async fn count(&mut self, dpid: u64) -> Result<u64, Failure> {
        let request = store::ReadRequest {
            row: Some(self.row(dpid)),
            ..Default::default()
        };
        let rows = self.store.read(request).await?.into_inner().rows;
        let value = rows.first().and_then(|row| row.value.as_ref());
        let value = value.map(|value| value.parse());
        Ok(value.transpose()?.unwrap_or_default())
    }

    fn row(&self, dpid: u64) -> store::Row {
        store::Row {
            app: self.arguments.manifest.name.clone(),
            keyspace: 0,
            table: TABLE.to_owned(),
            key: format!("{dpid:016x}"),
        }
    }

    /// Stores an accepted turn: rows, cursor and turn number in one transaction, fenced by the epoch.
    async fn commit(&mut self, sent: Sent) -> Result<(), Failure> {
        let put = |(dpid, count): (&u64, &u64)| store::Op {
            op: Some(op::Op::Put(store::Put {
                row: Some(self.row(*dpid)),
                value: count.to_string(),
                lease: String::new(),
            })),
        };
        let transaction = store::Transaction {
            turn: Some(store::Turn {
                app: self.arguments.manifest.name.clone(),
                node: self.arguments.node.clone(),
                epoch: sent.epoch,
                follows: sent.number - 1,
                cursor: sent.event,
            }),
            ops: sent.packets.iter().map(put).collect(),
            ..Default::default()
        };
        let reply = self.store.commit(transaction).await?.into_inner();
        let (Some(commit_reply::Result::Committed(_)), Some(live)) =
            (&reply.result, &mut self.live)
        else {
            // Another instance is live, or the outcome is unknown: the one that is started next goes on from the store.
            return Err(format!("turn {} is not stored: {reply:?}", sent.number).into());
        };
        live.turn = sent.number;
        if let Some(seq) = sent.event {
            live.cursor = seq;
            let cursor = Some(seq);
            self.control(from_app::Record::Durable(session::Durable { cursor }));
        }
        Ok(())
    }

    fn health(&mut self) {
        if let Some(live) = &self.live {
            let health = supervisor::Health {
                events: self.handled,
                cursor: Some(live.cursor),
                ..Default::default()
            };
            self.report(report::Report::Health(health));
        }
    }
}

fn order(seq: Seq) -> (u64, u64) {
    (seq.incarnation, seq.n)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let Some(arguments) = Arguments::read()? else {
        let tables =
            format!(r#"[{{"name":"{TABLE}","key":"Dpid","value":"u64","shape":"integer"}}]"#);
        writeln!(std::io::stdout(), r#"{{"tables":{tables}}}"#)?;
        return Ok(());
    };
    let (manifest, instance) = (&arguments.manifest, &arguments.instance);
    let holder = Holder {
        app: manifest.name.clone(),
        release: manifest.version.to_string(),
        instance: instance.clone(),
        ..Holder::current()
    };
    let locks = arguments.run_dir.join("instances");
    std::fs::create_dir_all(&locks)?;
    let _lock = Lock::take(
        &locks.join(format!("{}-{instance}", manifest.name)),
        &holder,
    )?;
    let hello = session::Hello {
        app: manifest.name.clone(),
        instance: instance.clone(),
        release: manifest.version.to_string(),
        pid: std::process::id(),
        protocol: PROTOCOL,
        confirms_rules: true,
    };
    let store = unix::connect_lazy(arguments.run_dir.join("store.sock"));
    let proxy = unix::connect(arguments.run_dir.join("sessions.sock")).await?;
    let (outbox, blobs) = mpsc::channel(4);
    let mut hub = Instance {
        arguments,
        store: StoreClient::new(store),
        outbox,
        blob: BytesMut::new(),
        switches: BTreeMap::new(),
        first_table: 1,
        live: None,
        events: VecDeque::new(),
        announced: None,
        is_reply: false,
        sent: None,
        handled: 0,
    };
    // The first record is sent before the call is answered: the answer comes after it.
    hub.control(from_app::Record::Hello(hello));
    hub.flush().await?;
    let blobs = tokio_stream::wrappers::ReceiverStream::new(blobs);
    let mut client = session::sessions_client::SessionsClient::new(proxy);
    let mut incoming = client.attach(blobs).await?.into_inner();
    let mut health = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            blob = incoming.message() => {
                // Without a session an instance is of no use. morphd starts the next one.
                let blob = blob?.ok_or("the proxy ended the session")?;
                for record in Records::new(blob.records) {
                    match record? {
                        Record::Message { channel, message } => hub.message(channel, message),
                        Record::Control(bytes) => {
                            let Some(record) = ToApp::decode(bytes)?.record else { continue };
                            if !hub.control_record(record).await? {
                                return Ok(());
                            }
                        }
                    }
                }
            }
            _ = health.tick() => hub.health(),
        }
        hub.turn().await?;
        hub.flush().await?;
    }
}
