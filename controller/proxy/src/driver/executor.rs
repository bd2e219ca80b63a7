//! Execution of the mediator's outputs.

use std::collections::HashMap;
use std::time::Duration;

use morph_api::supervisor::Observation;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tonic::Status;

use super::connection::Connection;
use super::message::LoopMessage;
use super::sessions::SessionLink;
use super::store::Store;
use crate::mediator::{ControlReply, Input, Output, Refusal};

/// Connections, sessions and pending replies, by the numbers that the mediator knows them by.
#[derive(Debug)]
pub(super) struct Executor {
    inbox: mpsc::Sender<LoopMessage>,
    store: Store,
    connections: HashMap<u32, Connection>,
    sessions: HashMap<u64, SessionLink>,
    replies: HashMap<u64, oneshot::Sender<Result<ControlReply, Refusal>>>,
    observer: Option<mpsc::Sender<Result<Observation, Status>>>,
    /// Tasks that end by themselves: connections that close, and fences.
    closing: JoinSet<()>,
    last_conn: u32,
    last_session: u64,
    last_ticket: u64,
}

impl Executor {
    pub(super) fn new(inbox: mpsc::Sender<LoopMessage>, store: Store) -> Self {
        Executor {
            inbox,
            store,
            connections: HashMap::new(),
            sessions: HashMap::new(),
            replies: HashMap::new(),
            observer: None,
            closing: JoinSet::new(),
            last_conn: 0,
            last_session: 0,
            last_ticket: 0,
        }
    }

    /// Numbers a new connection, session or request, and turns the message into an input.
    pub(super) fn register(&mut self, message: LoopMessage) -> Input {
        match message {
            LoopMessage::Input(input) => input,
            LoopMessage::Frames { conn, frames, .. } => Input::Frames { conn, frames },
            LoopMessage::Connection { stream, remote } => {
                self.last_conn += 1;
                let conn = self.last_conn;
                self.connections
                    .insert(conn, Connection::start(conn, stream, &self.inbox));
                let remote = remote.to_string();
                Input::Connected { conn, remote }
            }
            LoopMessage::Session(streams) => {
                self.last_session += 1;
                let session = self.last_session;
                self.sessions
                    .insert(session, SessionLink::start(session, *streams, &self.inbox));
                Input::SessionOpened { session }
            }
            LoopMessage::Request { request, reply } => {
                self.last_ticket += 1;
                let ticket = self.last_ticket;
                self.replies.insert(ticket, reply);
                Input::Request { ticket, request }
            }
            LoopMessage::Observer(observer) => {
                // Replacing the sender ends the stream of the former observer.
                self.observer = Some(observer);
                Input::Observer { present: true }
            }
        }
    }

    /// Carries out the outputs. Returns an input for the mediator if the observer is gone.
    pub(super) fn carry_out(&mut self, outputs: &mut Vec<Output>) -> Option<Input> {
        let mut feedback = None;
        while self.closing.try_join_next().is_some() {}
        for output in outputs.drain(..) {
            match output {
                Output::Write { conn, bytes } => {
                    if let Some(connection) = self.connections.get(&conn) {
                        connection.outbox.push(bytes);
                    }
                }
                Output::Disconnect { conn } => {
                    if let Some(connection) = self.connections.remove(&conn) {
                        self.closing.spawn(connection.finish());
                    }
                }
                Output::Blob { session, records } => {
                    if let Some(link) = self.sessions.get(&session) {
                        link.outbox.push(records);
                    }
                }
                Output::EndSession { session } => drop(self.sessions.remove(&session)),
                Output::Credit { session } => {
                    if let Some(link) = self.sessions.get(&session) {
                        link.credits.add_permits(1);
                    }
                }
                Output::Reply { ticket, reply } => {
                    // The caller may have gone away.
                    let _ = self.replies.remove(&ticket).map(|call| call.send(reply));
                }
                Output::Observe(observation) => {
                    if !self.observe(observation) {
                        feedback = Some(Input::Observer { present: false });
                    }
                }
                Output::Fence { app } => self.fence(app),
            }
        }
        feedback
    }

    /// Sends an observation; returns whether there still is an observer.
    fn observe(&mut self, observation: Observation) -> bool {
        let Some(observer) = &self.observer else {
            return false;
        };
        match observer.try_send(Ok(observation)) {
            Ok(()) => true,
            Err(error) => {
                if matches!(error, mpsc::error::TrySendError::Full(_)) {
                    tracing::warn!(
                        "morphd does not read its observations: the stream is ended, and morphd has to observe again"
                    );
                }
                self.observer = None;
                false
            }
        }
    }

    fn fence(&mut self, app: String) {
        let (store, inbox) = (self.store.clone(), self.inbox.clone());
        self.closing.spawn(async move {
            let outcome = store.fence(&app).await;
            let fenced = Input::Fenced { app, outcome };
            let _ = inbox.send(LoopMessage::Input(fenced)).await;
        });
    }

    /// Waits until queued bytes are written, within this limit.
    pub(super) async fn finish(mut self, limit: Duration) {
        drop(self.inbox);
        self.sessions.clear();
        for (_, connection) in self.connections.drain() {
            self.closing.spawn(connection.finish());
        }
        // Each task stops by itself after a second.
        let all = async { while self.closing.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(limit, all).await;
    }
}
