//! Fake instance of an app, with the protocol spelled out by hand.

use std::collections::VecDeque;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use morph_api::session::sessions_client::SessionsClient;
use morph_api::session::{
    Accepted, Blob, Durable, Event, FromApp, Hello, Quiesced, ReadBegin, ReadEnd, Rejected, Resume,
    SwitchUp, ToApp, TurnEnd, Welcome, event, from_app, to_app,
};
use morph_api::store::Seq;
use morph_api::{Record, Records, put_control, put_message};
use morph_openflow::v13::{self, Message, PacketOut};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::deadline::{eventually, within_deadline};

pub(crate) struct Instance {
    output: mpsc::Sender<Blob>,
    input: Streaming<Blob>,
    records: VecDeque<Record>,
    pub(crate) pipeline: Option<morph_api::session::Pipeline>,
    pub(crate) incarnation: u64,
    pub(crate) switches: Vec<SwitchUp>,
    pub(crate) epoch: u64,
    turn: u64,
}

impl Instance {
    /// Sends the hello without waiting for an answer.
    pub(crate) async fn open(dir: &Path, app: &str, name: &str, release: &str) -> Self {
        let socket = dir.join("sessions.sock");
        let (output, records) = mpsc::channel(16);
        let hello = from_app::Record::Hello(Hello {
            app: app.into(),
            instance: name.into(),
            release: release.into(),
            pid: std::process::id(),
            protocol: morph_api::PROTOCOL,
            confirms_rules: false,
        });
        output
            .send(blob(|records| control(records, hello)))
            .await
            .unwrap();
        let channel = eventually("the sessions' socket", async || {
            morph_api::unix::connect(&socket).await.ok()
        })
        .await;
        let attached = SessionsClient::new(channel)
            .attach(ReceiverStream::new(records))
            .await;
        Instance {
            output,
            input: attached.unwrap().into_inner(),
            records: VecDeque::new(),
            pipeline: None,
            incarnation: 0,
            switches: Vec::new(),
            epoch: 0,
            turn: 0,
        }
    }

    /// Attaches and receives the Welcome.
    pub(crate) async fn attach(dir: &Path, app: &str, name: &str, release: &str) -> Self {
        let mut instance = Instance::open(dir, app, name, release).await;
        instance.welcome().await;
        instance
    }

    pub(crate) async fn welcome(&mut self) {
        match self.control().await {
            to_app::Record::Welcome(Welcome {
                incarnation,
                switches,
                pipeline,
            }) => {
                self.incarnation = incarnation;
                self.switches = switches;
                self.pipeline = pipeline;
            }
            other => panic!("not a welcome: {other:?}"),
        }
    }

    async fn record(&mut self) -> Option<Record> {
        while self.records.is_empty() {
            let blob = within_deadline("a record", self.input.message())
                .await
                .ok()??;
            self.records
                .extend(Records::new(blob.records).map(Result::unwrap));
        }
        self.records.pop_front()
    }

    pub(crate) async fn control(&mut self) -> to_app::Record {
        match self.record().await {
            Some(Record::Control(bytes)) => ToApp::decode(bytes).unwrap().record.unwrap(),
            other => panic!("not a control record: {other:?}"),
        }
    }

    pub(crate) async fn message(&mut self) -> (u32, Bytes) {
        match self.record().await {
            Some(Record::Message { channel, message }) => (channel, message),
            other => panic!("not a message: {other:?}"),
        }
    }

    /// Returns whether the session has ended.
    pub(crate) async fn ended(&mut self) -> bool {
        self.record().await.is_none()
    }

    pub(crate) async fn resumed(&mut self) -> Resume {
        loop {
            match self.control().await {
                to_app::Record::Resume(resume) => {
                    self.epoch = resume.epoch;
                    self.turn = resume.turn;
                    return resume;
                }
                to_app::Record::SwitchUp(_) | to_app::Record::SwitchDown(_) => {}
                other => panic!("not a resume: {other:?}"),
            }
        }
    }

    /// Receives the next event and its message.
    pub(crate) async fn event(&mut self) -> (Event, Option<Message>) {
        match self.control().await {
            to_app::Record::Event(event) => {
                let message = match event.what {
                    Some(event::What::Message(_)) => {
                        let (_, bytes) = self.message().await;
                        Some(v13::decode(&bytes).unwrap().1)
                    }
                    _ => None,
                };
                (event, message)
            }
            other => panic!("not an event: {other:?}"),
        }
    }

    /// Receives the next event, which must be a packet-in, and its payload.
    pub(crate) async fn packet_in(&mut self) -> (Event, Bytes) {
        match self.event().await {
            (event, Some(Message::PacketIn(packet))) => (event, packet.data),
            other => panic!("not a packet-in: {other:?}"),
        }
    }

    pub(crate) async fn accepted(&mut self) -> u64 {
        match self.control().await {
            to_app::Record::Accepted(Accepted { turn, .. }) => turn,
            other => panic!("not accepted: {other:?}"),
        }
    }

    pub(crate) async fn rejected(&mut self) -> Rejected {
        match self.control().await {
            to_app::Record::Rejected(rejected) => rejected,
            other => panic!("not rejected: {other:?}"),
        }
    }

    /// Sends a turn in one blob.
    pub(crate) async fn turn(&mut self, commands: &[(u32, u32, Message)], event: Option<Seq>) {
        self.turn += 1;
        let end = from_app::Record::TurnEnd(TurnEnd {
            epoch: self.epoch,
            turn: self.turn,
            event,
            ..TurnEnd::default()
        });
        let turn = blob(|records| {
            for (channel, xid, message) in commands {
                put_message(records, *channel, &message.encode(*xid));
            }
            control(records, end);
        });
        self.output.send(turn).await.unwrap();
    }

    /// Sends an empty turn for the event, waits for its acceptance, and reports it durable.
    pub(crate) async fn answer(&mut self, event: &Event) {
        self.turn(&[], event.seq).await;
        self.accepted().await;
        self.durable(event.seq.unwrap()).await;
    }

    pub(crate) async fn durable(&self, cursor: Seq) {
        let cursor = Some(cursor);
        self.say(from_app::Record::Durable(Durable { cursor }))
            .await;
    }

    pub(crate) async fn quiesce(&mut self, cursor: Seq) {
        match self.control().await {
            to_app::Record::Quiesce(quiesce) => assert_eq!(quiesce.epoch, self.epoch),
            other => panic!("not a quiesce: {other:?}"),
        }
        self.say(from_app::Record::Quiesced(Quiesced {
            epoch: self.epoch,
            cursor: Some(cursor),
            turn: self.turn,
        }))
        .await;
    }

    /// Sends a read request outside of any turn.
    pub(crate) async fn read(&self, channel: u32, xid: u32, question: Message) {
        let read = blob(|records| {
            control(records, from_app::Record::ReadBegin(ReadBegin {}));
            put_message(records, channel, &question.encode(xid));
            control(records, from_app::Record::ReadEnd(ReadEnd {}));
        });
        self.output.send(read).await.unwrap();
    }

    pub(crate) async fn say(&self, record: from_app::Record) {
        self.output
            .send(blob(|records| control(records, record)))
            .await
            .unwrap();
    }

    pub(crate) async fn raw(&self, records: &'static [u8]) {
        let records = Bytes::from_static(records);
        self.output.send(Blob { records }).await.unwrap();
    }
}

fn blob(fill: impl FnOnce(&mut BytesMut)) -> Blob {
    let mut records = BytesMut::new();
    fill(&mut records);
    Blob {
        records: records.freeze(),
    }
}

fn control(records: &mut BytesMut, record: from_app::Record) {
    let record = Some(record);
    put_control(records, &FromApp { record });
}

pub(crate) fn packet_out(data: &'static [u8]) -> Message {
    Message::PacketOut(PacketOut {
        buffer_id: v13::NO_BUFFER,
        in_port: v13::port::CONTROLLER,
        actions: Vec::new(),
        data: Bytes::from_static(data),
    })
}
