//! Requests about one quarantined event, or about all of an app.

use morph_api::management::QuarantinedEvent;
use tokio::sync::oneshot;
use tonic::{Code, Status};

use super::requests::Requests;
use crate::supervisor::Request;

/// Answer to a request about one event.
type Reply = oneshot::Sender<Result<QuarantinedEvent, Status>>;

/// Selection of quarantined events.
pub(super) enum Events {
    One(String),
    /// All that rest in quarantine of an app.
    All(String),
}

/// Result of a request about selected events.
#[derive(Default)]
pub(super) struct Handled {
    pub(super) one: Option<QuarantinedEvent>,
    pub(super) all: Vec<QuarantinedEvent>,
    /// Ids of events that stay as they were, and why.
    pub(super) refused: Vec<String>,
}

impl Events {
    pub(super) fn of(id: String, app: String) -> Result<Self, Status> {
        match (id.is_empty(), app.is_empty()) {
            (false, true) => Ok(Events::One(id)),
            (true, false) => Ok(Events::All(app)),
            _ => Err(Status::invalid_argument(
                "name the id of an event, or an app",
            )),
        }
    }

    /// Makes a request for each of them, in the order of their arrival. Of several, one that is gone meanwhile is left out, and where
    /// none is handled the first refusal is the answer.
    pub(super) async fn handle(
        self,
        requests: &Requests,
        request: impl Fn(String, Reply) -> Request,
    ) -> Result<Handled, Status> {
        let mut handled = Handled::default();
        let app = match self {
            Events::One(id) => {
                handled.one = Some(requests.ask(|reply| request(id, reply)).await?);
                return Ok(handled);
            }
            Events::All(app) => app,
        };
        let listed = requests.ask(|reply| Request::Quarantined(app, reply));
        let mut events = listed.await?;
        events.retain(|event| event.state == "quarantined");
        events.sort_by_key(|event| (event.unix_ms, event.id.clone()));
        let mut first = None;
        for event in events {
            let id = event.id.clone();
            match requests.ask(|reply| request(event.id, reply)).await {
                Ok(event) => handled.all.push(event),
                Err(error) if error.code() == Code::NotFound => {}
                Err(error) => {
                    handled.refused.push(format!("{id}: {}", error.message()));
                    first.get_or_insert(error);
                }
            }
        }
        match first {
            Some(error) if handled.all.is_empty() => Err(error),
            Some(_) | None => Ok(handled),
        }
    }
}
