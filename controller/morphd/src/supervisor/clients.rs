//! Those who ask: requests of the management API, and streams of upgrade statuses.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use morph_api::management::{
    Migration, PlannedUpgrade, QuarantinedEvent, Release, Step, UpgradeStatus,
};
use semver::Version;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use crate::bundle::Bundle;
use crate::counts::Counts;
use crate::machine::daemon::DaemonView;
use crate::machine::outbox;
use crate::machine::query::{self, AppView, ConfigTables, LiveTables, PipelineView};
use crate::machine::request::{self, ErrorKind, Place, RequestError, RequestId, UpgradeRequest};
use crate::machine::{Node, NodeInput, checks, plan};

/// Statuses under way to one follower. A follower that does not read so many is not watching: it is let go.
const FOLLOWED: usize = 256;

/// Sender of the answer to a request.
pub type Reply<T> = oneshot::Sender<Result<T, Status>>;

/// Statuses that are, and a receiver for those to come.
pub(super) type Statuses = (Vec<UpgradeStatus>, mpsc::Receiver<UpgradeStatus>);

/// Something that the management API asks for.
pub enum Request {
    /// All apps.
    Apps(Reply<Vec<AppView>>),
    /// Everything that metrics show.
    Overview(Reply<Overview>),
    /// Whether there is such an app.
    Known(String, Reply<()>),
    /// All releases, or those of one app.
    Releases(String, Reply<Vec<Release>>),
    /// Tables of the releases that run.
    LiveTables(Reply<Vec<LiveTables>>),
    /// Whether a bundle may be installed: false where it is known already.
    MayInstall(Bundle, Reply<bool>),
    /// Stage a bundle that has been copied.
    Stage(Bundle, PathBuf, Reply<Release>),
    /// Start an app, in a version where one is named.
    Start(String, Option<Version>, Reply<()>),
    /// End an app's instance.
    Stop(String, Reply<()>),
    /// Bypass an app and end its instance; answers its id, whose rules are then to be deleted.
    /// Whether an app that drops while it is absent is removed, too.
    Remove(String, bool, Reply<u8>),
    /// Order of the apps, and their tables.
    Pipeline(Reply<PipelineView>),
    /// Let packets pass an app at another place.
    MoveApp(String, Place, Reply<()>),
    /// Upgrade apps as one: the receiver gets every status of each.
    Upgrade(UpgradeRequest, Reply<mpsc::Receiver<UpgradeStatus>>),
    /// Plan of an upgrade, without doing it.
    Plan(UpgradeRequest, Reply<Vec<PlannedUpgrade>>),
    /// End a probation; answers the last statuses, first that of the app.
    Commit(String, Reply<Vec<UpgradeStatus>>),
    /// Go back; answers the last statuses, first that of the app.
    Rollback(String, Reply<Vec<UpgradeStatus>>),
    /// Statuses, of one app where it is named.
    Status(Option<String>, Reply<Statuses>),
    /// Quarantined events, or those of one app.
    Quarantined(String, Reply<Vec<QuarantinedEvent>>),
    /// Deliver a quarantined event again.
    RetryEvent(String, Reply<QuarantinedEvent>),
    /// Forget a quarantined event.
    DropEvent(String, Reply<QuarantinedEvent>),
    /// The last shadow of each app's state, or of one app's.
    Migrations(String, Reply<Vec<Migration>>),
    /// Config tables of a release of an app; without a version of the one that runs, else of the newest.
    Config(String, Option<Version>, Reply<ConfigTables>),
    /// Config tables of an app that may be started, in a version where one is named.
    StartConfig(String, Option<Version>, Reply<ConfigTables>),
}

/// Everything that metrics show.
#[derive(Debug, Default)]
pub struct Overview {
    pub apps: Vec<AppView>,
    pub daemons: Vec<DaemonView>,
    /// The upgrades under way, and the last one of each other app.
    pub upgrades: Vec<UpgradeStatus>,
    /// Upgrades that ended since morphd's start.
    pub counts: Counts,
}

/// A change that was asked for, and where its answer goes.
enum Waiting {
    Done(Reply<()>),
    Staged(Reply<Release>),
    Removed(Reply<u8>),
    Begun(Reply<mpsc::Receiver<UpgradeStatus>>),
    Ended(Reply<Vec<UpgradeStatus>>),
    Event(Reply<QuarantinedEvent>),
}

/// Upgrades of which a follower gets the statuses.
enum Followed {
    All,
    App(String),
    /// Ids of upgrades, until each has ended.
    Upgrades(BTreeSet<String>),
}

struct Follower {
    followed: Followed,
    sender: mpsc::Sender<UpgradeStatus>,
}

#[derive(Default)]
pub(super) struct Clients {
    waiting: BTreeMap<RequestId, Waiting>,
    followers: Vec<Follower>,
    counts: Counts,
    last_id: u64,
}

impl Clients {
    /// Answers a question at once; a change is returned as an input for the node.
    pub(super) fn ask(
        &mut self,
        request: Request,
        node: &Node,
        daemons: Vec<DaemonView>,
    ) -> Option<NodeInput> {
        let state = node.state();
        match request {
            Request::Apps(reply) => send(reply, Ok(query::app_views(state))),
            Request::Overview(reply) => {
                let overview = Overview {
                    apps: query::app_views(state),
                    daemons,
                    upgrades: query::statuses(state, None),
                    counts: self.counts.clone(),
                };
                send(reply, Ok(overview));
            }
            Request::Known(app, reply) => send(reply, query::known(state, &app).map(drop)),
            Request::Releases(app, reply) => send(reply, query::release_views(state, &app)),
            Request::LiveTables(reply) => send(reply, Ok(query::live_tables(state))),
            Request::MayInstall(bundle, reply) => {
                send(reply, checks::may_install(state, &bundle));
            }
            Request::Plan(request, reply) => send(reply, Ok(plan::plan(state, &request))),
            Request::Status(app, reply) => {
                let statuses = query::statuses(state, app.as_deref());
                let followed = app.map_or(Followed::All, Followed::App);
                let receiver = self.follow(followed);
                send(reply, Ok((statuses, receiver)));
            }
            Request::Quarantined(app, reply) => send(reply, query::quarantined(state, &app)),
            Request::Migrations(app, reply) => send(reply, Ok(query::migrations(state, &app))),
            Request::Config(app, version, reply) => {
                send(reply, query::config_tables(state, &app, version.as_ref()));
            }
            Request::StartConfig(app, version, reply) => {
                let startable = checks::may_start(state, &app, version.clone());
                let tables =
                    startable.and_then(|_| query::config_tables(state, &app, version.as_ref()));
                send(reply, tables);
            }
            Request::Stage(bundle, folder, reply) => {
                let stage = request::Request::Stage(Box::new(bundle), folder);
                return Some(self.begin(stage, Waiting::Staged(reply)));
            }
            Request::Start(app, version, reply) => {
                let start = request::Request::Start(app, version);
                return Some(self.begin(start, Waiting::Done(reply)));
            }
            Request::Stop(app, reply) => {
                let stop = request::Request::Stop(app);
                return Some(self.begin(stop, Waiting::Done(reply)));
            }
            Request::Remove(app, bypass, reply) => {
                let remove = request::Request::Remove { app, bypass };
                return Some(self.begin(remove, Waiting::Removed(reply)));
            }
            Request::Pipeline(reply) => send(reply, Ok(query::pipeline(state))),
            Request::MoveApp(app, place, reply) => {
                let request = request::Request::MoveApp { app, place };
                return Some(self.begin(request, Waiting::Done(reply)));
            }
            Request::Upgrade(upgrade, reply) => {
                let upgrade = request::Request::Upgrade(upgrade);
                return Some(self.begin(upgrade, Waiting::Begun(reply)));
            }
            Request::Commit(app, reply) => {
                let commit = request::Request::Commit(app);
                return Some(self.begin(commit, Waiting::Ended(reply)));
            }
            Request::Rollback(app, reply) => {
                let rollback = request::Request::Rollback(app);
                return Some(self.begin(rollback, Waiting::Ended(reply)));
            }
            Request::RetryEvent(id, reply) => {
                let retry = request::Request::RetryEvent(id);
                return Some(self.begin(retry, Waiting::Event(reply)));
            }
            Request::DropEvent(id, reply) => {
                let drop = request::Request::DropEvent(id);
                return Some(self.begin(drop, Waiting::Event(reply)));
            }
        }
        None
    }

    fn begin(&mut self, request: request::Request, waiting: Waiting) -> NodeInput {
        self.last_id += 1;
        let id = RequestId(self.last_id);
        self.waiting.insert(id, waiting);
        NodeInput::Request(id, request)
    }

    /// The node's answer to a change.
    pub(super) fn reply(&mut self, id: RequestId, result: Result<outbox::Reply, RequestError>) {
        let Some(waiting) = self.waiting.remove(&id) else {
            return;
        };
        let reply = match result {
            Ok(reply) => reply,
            Err(error) => return refuse(waiting, error),
        };
        match (waiting, reply) {
            (Waiting::Done(to), outbox::Reply::Done) => send(to, Ok(())),
            (Waiting::Staged(to), outbox::Reply::Staged(release)) => send(to, Ok(release)),
            (Waiting::Removed(to), outbox::Reply::Removed(id)) => send(to, Ok(id)),
            (Waiting::Begun(to), outbox::Reply::Begun(ids)) => {
                let followed = Followed::Upgrades(ids.into_iter().collect());
                send(to, Ok(self.follow(followed)));
            }
            (Waiting::Ended(to), outbox::Reply::Ended(statuses)) => send(to, Ok(statuses)),
            (Waiting::Event(to), outbox::Reply::Event(event)) => send(to, Ok(event)),
            (waiting, reply) => {
                let message = format!("an answer to another request: {reply:?}");
                refuse(waiting, RequestError::new(ErrorKind::Internal, message));
            }
        }
    }

    fn follow(&mut self, followed: Followed) -> mpsc::Receiver<UpgradeStatus> {
        let (sender, receiver) = mpsc::channel(FOLLOWED);
        self.followers.push(Follower { followed, sender });
        receiver
    }

    /// Tells everybody who follows an upgrade of a status that has become true.
    pub(super) fn status(&mut self, status: &UpgradeStatus) {
        let (app, step, id) = (&status.app, status.step().as_str_name(), &status.id);
        let (from, to, message) = (&status.from, &status.to, &status.message);
        tracing::info!(app, id, from, to, step, message, "upgrade");
        let ended = matches!(status.step(), Step::Committed | Step::RolledBack);
        if ended {
            self.counts.ended(status);
        }
        self.followers.retain_mut(|follower| {
            let concerns = match &follower.followed {
                Followed::All => true,
                Followed::App(app) => *app == status.app,
                Followed::Upgrades(ids) => ids.contains(&status.id),
            };
            // A follower that has gone away, or does not read, is let go; that stops nothing.
            if concerns && follower.sender.try_send(status.clone()).is_err() {
                return false;
            }
            match &mut follower.followed {
                Followed::Upgrades(ids) if ended => {
                    ids.remove(&status.id);
                    !ids.is_empty()
                }
                Followed::All | Followed::App(_) | Followed::Upgrades(_) => true,
            }
        });
    }
}

/// A receiver that waits no longer does not need the answer.
fn send<T>(reply: Reply<T>, result: Result<T, RequestError>) {
    let _ = reply.send(result.map_err(status));
}

fn refuse(waiting: Waiting, error: RequestError) {
    match waiting {
        Waiting::Done(to) => send(to, Err(error)),
        Waiting::Staged(to) => send(to, Err(error)),
        Waiting::Removed(to) => send(to, Err(error)),
        Waiting::Begun(to) => send(to, Err(error)),
        Waiting::Ended(to) => send(to, Err(error)),
        Waiting::Event(to) => send(to, Err(error)),
    }
}

fn status(error: RequestError) -> Status {
    let message = error.message;
    match error.kind {
        ErrorKind::Invalid => Status::invalid_argument(message),
        ErrorKind::NotFound => Status::not_found(message),
        ErrorKind::Refused => Status::failed_precondition(message),
        ErrorKind::Unavailable => Status::unavailable(message),
        ErrorKind::Internal => Status::internal(message),
    }
}
