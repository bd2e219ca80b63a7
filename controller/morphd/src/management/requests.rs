//! Requests to the supervisor.

use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use crate::supervisor::{Event, Request};

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
}
