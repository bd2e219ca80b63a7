//! Requests to the supervisor.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use crate::machine::query::AppView;
use crate::supervisor::{Event, Request};

/// Time within which a stopped instance must have ended.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Time between two checks for its end.
const POLL_PERIOD: Duration = Duration::from_millis(20);

/// Way to the supervisor; clones share it.
#[derive(Clone)]
pub(super) struct Requests(mpsc::Sender<Event>);

impl Requests {
    pub(super) fn new(post: mpsc::Sender<Event>) -> Self {
        Requests(post)
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, Status>>) -> Request,
    ) -> Result<T, Status> {
        let (sender, receiver) = oneshot::channel();
        let shutting_down = || Status::unavailable("morphd is shutting down");
        self.0
            .send(Event::Request(Box::new(request(sender))))
            .await
            .map_err(|_| shutting_down())?;
        receiver.await.map_err(|_| shutting_down())?
    }

    /// Names of the apps by id.
    pub(super) async fn names(&self) -> Result<BTreeMap<u8, String>, Status> {
        let views = self.ask(Request::Apps).await?;
        Ok(views.into_iter().map(|view| (view.id, view.name)).collect())
    }

    /// An app as it is now; an error if there is none of this name.
    pub(super) async fn app(&self, name: &str) -> Result<AppView, Status> {
        let views = self.ask(Request::Apps).await?;
        let found = views.into_iter().find(|view| view.name == name);
        found.ok_or_else(|| {
            Status::not_found(format!("there is no app {name}; see `morphctl apps`"))
        })
    }

    /// Waits until the app has no process.
    pub(super) async fn wait_stopped(&self, name: &str) -> Result<(), Status> {
        let mut polls = tokio::time::interval(POLL_PERIOD);
        let gone = async {
            loop {
                polls.tick().await;
                if self.app(name).await?.pid == 0 {
                    return Ok(());
                }
            }
        };
        tokio::time::timeout(STOP_TIMEOUT, gone)
            .await
            .unwrap_or_else(|_| {
                Err(Status::unavailable(format!(
                    "the instance of {name} has not ended within {STOP_TIMEOUT:?}; see `morphctl logs {name}`"
                )))
            })
    }
}
