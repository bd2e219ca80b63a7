//! The driver with a real store, and with a proxy that the test controls.

use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;
use morph_api::session::sessions_server::{Sessions, SessionsServer};
use morph_api::session::{self, Blob, FromApp, ToApp, event, from_app, to_app};
use morph_api::store::Seq;
use morph_api::supervisor::{Report, report};
use morph_api::{Record, Records, put_control, put_message};
use morph_store::server::Store;
use morph_store::{Client, op};
use prost::Message as _;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status, Streaming};

use super::driver::Driver;
use crate::instance::Instance;
use crate::instance::tests::app::{Cells, S, V1ToV2};
use crate::instance::tests::world::{config, packet_in};

/// Time that anything may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One session, on the proxy's side.
struct Session {
    input: Streaming<Blob>,
    output: mpsc::Sender<Result<Blob, Status>>,
    records: Option<Records>,
}

struct Service(mpsc::Sender<Session>);

#[tonic::async_trait]
impl Sessions for Service {
    type AttachStream = ReceiverStream<Result<Blob, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<Blob>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let (output, replies) = mpsc::channel(8);
        let session = Session {
            input: request.into_inner(),
            output,
            records: None,
        };
        self.0.send(session).await.unwrap();
        Ok(Response::new(ReceiverStream::new(replies)))
    }
}

/// A proxy that hands its sessions to the test.
fn proxy(run_dir: &Path) -> (mpsc::Receiver<Session>, JoinHandle<()>) {
    let (sender, sessions) = mpsc::channel(1);
    let listener = UnixListener::bind(run_dir.join("sessions.sock")).unwrap();
    let server = tonic::transport::Server::builder().serve_with_incoming(
        SessionsServer::new(Service(sender)),
        UnixListenerStream::new(listener),
    );
    let server = tokio::spawn(async move { server.await.unwrap() });
    (sessions, server)
}

impl Session {
    async fn next(&mut self) -> Record {
        loop {
            if let Some(record) = self.records.as_mut().and_then(Iterator::next) {
                return record.unwrap();
            }
            let blob = tokio::time::timeout(TIMEOUT, self.input.message()).await;
            let blob = blob.unwrap().unwrap().unwrap();
            self.records = Some(Records::new(blob.records));
        }
    }

    /// Next control record that is no report; commands are skipped.
    async fn control(&mut self) -> from_app::Record {
        loop {
            let Record::Control(bytes) = self.next().await else {
                continue;
            };
            match FromApp::decode(bytes).unwrap().record.unwrap() {
                from_app::Record::Report(_) => {}
                record => return record,
            }
        }
    }

    async fn report(&mut self) -> report::Report {
        loop {
            let Record::Control(bytes) = self.next().await else {
                continue;
            };
            if let Some(from_app::Record::Report(bytes)) = FromApp::decode(bytes).unwrap().record {
                return Report::decode(bytes).unwrap().report.unwrap();
            }
        }
    }

    async fn put(&self, records: impl IntoIterator<Item = to_app::Record>, message: Option<&[u8]>) {
        let mut blob = BytesMut::new();
        for record in records {
            let record = Some(record);
            put_control(&mut blob, &ToApp { record });
        }
        if let Some(message) = message {
            put_message(&mut blob, 1, message);
        }
        let records = blob.freeze();
        self.output.send(Ok(Blob { records })).await.unwrap();
    }

    async fn event(&self, n: u64, data: [u8; 3]) {
        let event = to_app::Record::Event(session::Event {
            seq: Some(Seq { incarnation: 1, n }),
            what: Some(event::What::Message(true)),
            dpid: S.0,
            ..session::Event::default()
        });
        self.put([event], Some(&packet_in(data))).await;
    }

    /// Reads the turn's end and accepts it.
    async fn accept(&mut self) {
        let from_app::Record::TurnEnd(end) = self.control().await else {
            panic!("no turn");
        };
        let (turn, epoch) = (end.turn, end.epoch);
        let accepted = to_app::Record::Accepted(session::Accepted { turn, epoch });
        self.put([accepted], None).await;
    }

    async fn durable(&mut self) -> Seq {
        match self.control().await {
            from_app::Record::Durable(durable) => durable.cursor.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Welcomes the instance and makes it live.
    async fn welcome(&mut self, store: &Client) {
        let hello = self.control().await;
        assert!(matches!(hello, from_app::Record::Hello(_)), "{hello:?}");
        let welcome = session::Welcome {
            incarnation: 1,
            ..session::Welcome::default()
        };
        self.put([to_app::Record::Welcome(welcome)], None).await;
        let report::Report::Ready(_) = self.report().await else {
            panic!("not ready");
        };
        let checkpoints = store.status().await.unwrap().checkpoints;
        let epoch = checkpoints.first().map_or(0, |checkpoint| checkpoint.epoch);
        let mut ops = vec![op::fence("cells", "node1", epoch, "2.0.0")];
        if epoch == 0 {
            ops.push(op::create_primary("cells", 1, 2));
        }
        let fenced = store.commit(op::shared([], ops)).await.unwrap().unwrap();
        let checkpoint = &fenced.checkpoints[0];
        let resume = session::Resume {
            group: false,
            epoch: checkpoint.epoch,
            cursor: checkpoint.cursor,
            turn: checkpoint.turn,
            revision: fenced.revision,
        };
        self.put([to_app::Record::Resume(resume)], None).await;
        if epoch == 0 {
            self.accept().await; // what the app does about its having become live for the first time
        }
    }
}

/// A store that serves until the sender is dropped.
fn serve(dir: &Path) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let store = Store::open(&dir.join("store"), dir).unwrap();
    let listener = store.listen().unwrap();
    let (stop, stopped) = oneshot::channel();
    let run = store.run(listener, async move { drop(stopped.await) });
    (stop, tokio::spawn(async move { run.await.unwrap() }))
}

fn start(dir: &Path) -> JoinHandle<u8> {
    let instance = Instance::new(Cells, config::<V1ToV2>("i1"));
    let driver = Driver::new(instance, "1.0.0", dir).unwrap();
    tokio::spawn(driver.run())
}

async fn cell(store: &Client) -> Option<String> {
    let row = store.get("cells", "cells", "1/2").await.unwrap();
    row.map(|(value, _)| value)
}

#[tokio::test]
async fn it_survives_the_proxy_and_the_store_and_ends_with_a_panic_of_its_app() {
    let dir = tempfile::tempdir().unwrap();
    let (stop, stopped) = serve(dir.path());
    let store = Client::new(dir.path().join("store.sock"));
    let running = start(dir.path());

    // The proxy comes later than the instance.
    let (mut sessions, server) = proxy(dir.path());
    let mut session = sessions.recv().await.unwrap();
    session.welcome(&store).await;
    session.event(1, [1, 2, 3]).await;
    session.accept().await;
    assert_eq!(
        session.durable().await,
        Seq {
            incarnation: 1,
            n: 1
        }
    );
    assert_eq!(cell(&store).await.as_deref(), Some("3"));

    // The proxy dies with an event unhandled, and another one comes.
    session.event(2, [1, 2, 4]).await;
    drop((session, sessions));
    server.abort();
    let _ = server.await;
    std::fs::remove_file(dir.path().join("sessions.sock")).unwrap();
    let (mut sessions, _server) = proxy(dir.path());
    let mut session = sessions.recv().await.unwrap();
    session.welcome(&store).await;
    session.event(2, [1, 2, 4]).await;
    session.accept().await;
    assert_eq!(
        session.durable().await,
        Seq {
            incarnation: 1,
            n: 2
        }
    );

    // The store is away while a turn is accepted.
    drop(stop);
    stopped.await.unwrap();
    session.event(3, [1, 2, 5]).await;
    session.accept().await;
    let (_stop, _stopped) = serve(dir.path());
    assert_eq!(
        session.durable().await,
        Seq {
            incarnation: 1,
            n: 3
        }
    );
    assert_eq!(cell(&store).await.as_deref(), Some("5"));

    // The app panics: nothing of that turn goes out.
    session.event(4, [1, 2, 99]).await;
    assert_eq!(running.await.unwrap(), 101);
    assert_eq!(cell(&store).await.as_deref(), Some("5"));
}

#[tokio::test]
async fn its_last_report_reaches_the_proxy() {
    let dir = tempfile::tempdir().unwrap();
    let (_stop, _stopped) = serve(dir.path());
    let (mut sessions, _server) = proxy(dir.path());
    let running = start(dir.path());
    let mut session = sessions.recv().await.unwrap();
    session.control().await;
    let welcome = to_app::Record::Welcome(session::Welcome::default());
    session.put([welcome], None).await;
    session.report().await;
    let rejected = session::Rejected {
        message: "for the test".into(),
        ..session::Rejected::default()
    };
    session
        .put([to_app::Record::Rejected(rejected)], None)
        .await;
    let report::Report::Failed(failed) = session.report().await else {
        panic!("no failure");
    };
    assert!(failed.message.contains("for the test"), "{failed:?}");
    drop(session);
    assert_eq!(running.await.unwrap(), 1);
}

#[tokio::test]
async fn one_that_reaches_nobody_ends() {
    let dir = tempfile::tempdir().unwrap();
    let ended = tokio::time::timeout(TIMEOUT, start(dir.path())).await;
    assert_eq!(ended.unwrap().unwrap(), 1);
    // A store alone is enough to go on waiting for the proxy.
    let (_stop, _stopped) = serve(dir.path());
    let running = start(dir.path());
    let wait = tokio::time::timeout(TIMEOUT * 7 / 10, running).await;
    assert!(wait.is_err(), "{wait:?}");
}
