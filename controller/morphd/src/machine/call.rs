//! Calls that the machine makes of the store, the proxy and instances: what is asked, and what may come back.
//!
//! Every call has a limit. A call that the machine may give up ends as [`Answer::Overdue`], whatever becomes of the request
//! itself. Other calls are waited for as long as it takes, and people are told.

use std::time::Duration;

use morph_api::manifest::Manifest;
use morph_api::store::{Checkpoint, Keyspace, Seq};
use morph_api::supervisor::{Configuration, RetryRequest, SuspectReply};

use super::instances::InstanceId;
use super::record::{AppRow, Fenced, Fencing, Write};
use super::upgrade::{HoldOutcome, Load, Order, Resumption, Swap};
use morph_api::management::Step;
use semver::Version;

/// Identity of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// A transaction of records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordWrite {
    pub writes: Vec<Write>,
    /// Apps whose primary is swapped with this shadow.
    pub swaps: Vec<Swap>,
    /// Apps whose old primary stays, as a shadow of this instance.
    pub keeps: Vec<(String, InstanceId)>,
    /// A primary that is created unless the app has one.
    pub primary: Option<NewPrimary>,
    /// Step of an upgrade that the write records.
    pub step: Option<Step>,
}

/// State of an app that is created: an empty primary, but for the defaults of its release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPrimary {
    pub app: String,
    pub release: Version,
    pub schema: u32,
    /// Table, key and JSON of each row.
    pub rows: Vec<(String, String, String)>,
}

impl NewPrimary {
    pub fn of(manifest: &Manifest) -> Self {
        NewPrimary {
            app: manifest.name.clone(),
            release: manifest.version.clone(),
            schema: manifest.schema,
            rows: manifest.default_rows(),
        }
    }
}

/// Epochs to be raised, with the records that go with them, in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FenceRequest {
    pub parts: Vec<FencePart>,
    /// Step of an upgrade that the fence records.
    pub step: Option<Step>,
    /// The answer is to name the schema versions of the primaries.
    pub primaries: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FencePart {
    pub fencing: Fencing,
    /// The app's row; its epoch becomes the one that the fence raises.
    pub row: AppRow,
    pub writes: Vec<Write>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FenceAnswer {
    /// Checkpoints in the order of the parts.
    pub fenced: Vec<Fenced>,
    /// Schema versions of the primaries, where they were asked for.
    pub primaries: Vec<Option<u32>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FenceRefusal {
    /// The cursor, or a row, was not where the fence expected it.
    pub conflict: bool,
    pub message: String,
}

/// A resume under a fence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    pub app: String,
    pub instance: InstanceId,
    pub fenced: Fenced,
    /// Apps that are resumed as one, and how long their turns wait for each other.
    pub group: Option<(String, Vec<String>, Duration)>,
}

/// Status of the store.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StoreView {
    pub checkpoints: Vec<Checkpoint>,
    pub keyspaces: Vec<Keyspace>,
}

impl StoreView {
    /// Cursor of an app on a node.
    pub fn cursor(&self, app: &str, node: &str) -> Seq {
        let mut checkpoints = self.checkpoints.iter();
        let checkpoint = checkpoints.find(|c| c.app == app && c.node == node);
        checkpoint
            .and_then(|checkpoint| checkpoint.cursor)
            .unwrap_or(Seq::ZERO)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// Write records: `Written`.
    Write(RecordWrite),
    /// Raise epochs: `Fenced`.
    Fence(FenceRequest),
    /// Create the keyspace of a shadow, in the place of any other shadow of the app: `Keyspace`.
    MakeKeyspace {
        app: String,
        schema: u32,
        owner: InstanceId,
    },
    /// Drop these keyspaces: `Written`.
    DropKeyspaces { app: String, ids: Vec<u32> },
    /// Drop the shadows of an app, or those that one instance owns: `Written`.
    DropShadows {
        app: String,
        owner: Option<InstanceId>,
    },
    /// Delete the oldest ended upgrades of an app: `Written`.
    BoundHistory { app: String },
    /// Read the status of the store: `Store`.
    ReadStore,
    /// Hold the app's slot: `Held`.
    Hold {
        app: String,
        quiesce: Duration,
        hold: Duration,
    },
    /// Make an instance live: `Resumed`.
    Resume(Resume),
    /// Instruct an instance: `Done`.
    Instruct {
        app: String,
        instance: InstanceId,
        order: Order,
    },
    /// Ask which event an instance died with: `Suspect`.
    Suspect {
        app: String,
        instance: InstanceId,
        /// Event that it was handling; the driver knows, where the instance left word of it.
        handling: Option<Seq>,
    },
    /// Queue a quarantined event again: `Retried`.
    Retry(RetryRequest),
    /// Tell the proxy which apps are present: `Done`.
    Configure(Configuration),
    /// Sample the load of an app: `Load`.
    Sample { app: String },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Written(Result<(), String>),
    Fenced(Result<FenceAnswer, FenceRefusal>),
    Keyspace(Result<u32, String>),
    Store(StoreView),
    Held(Result<HoldOutcome, String>),
    Resumed(Result<Resumption, String>),
    Suspect(SuspectReply),
    Retried(Result<Seq, RetryRefusal>),
    Load(Option<Load>),
    Done(Result<(), String>),
    /// The limit has passed, and the outcome is unknown.
    Overdue(Duration),
}

/// Refusal of the proxy to queue an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryRefusal {
    /// The proxy is away: the event may have been queued.
    Away(String),
    Refused(String),
}

impl Answer {
    /// The words for an answer that is not of the kind that was asked for: too late, or a defect of the driver.
    fn not_it(self) -> String {
        match self {
            Answer::Overdue(limit) => format!("no answer within {limit:?}"),
            other => format!("an answer to another question: {other:?}"),
        }
    }

    pub fn written(self) -> Result<(), String> {
        match self {
            Answer::Written(result) | Answer::Done(result) => result,
            other => Err(other.not_it()),
        }
    }

    pub fn fenced(self) -> Result<FenceAnswer, FenceRefusal> {
        match self {
            Answer::Fenced(result) => result,
            other => Err(FenceRefusal {
                conflict: false,
                message: other.not_it(),
            }),
        }
    }

    pub fn keyspace(self) -> Result<u32, String> {
        match self {
            Answer::Keyspace(result) => result,
            other => Err(other.not_it()),
        }
    }

    pub fn store(self) -> Option<StoreView> {
        match self {
            Answer::Store(view) => Some(view),
            _ => None,
        }
    }

    pub fn held(self) -> Result<HoldOutcome, String> {
        match self {
            Answer::Held(result) => result,
            other => Err(other.not_it()),
        }
    }

    pub fn resumed(self) -> Result<Resumption, String> {
        match self {
            Answer::Resumed(result) => result,
            other => Err(other.not_it()),
        }
    }

    /// Without an answer no event is suspected: a proxy that is away has lost its events.
    pub fn suspect(self) -> SuspectReply {
        match self {
            Answer::Suspect(reply) => reply,
            _ => SuspectReply::default(),
        }
    }

    pub fn retried(self) -> Result<Seq, RetryRefusal> {
        match self {
            Answer::Retried(result) => result,
            other => Err(RetryRefusal::Away(other.not_it())),
        }
    }

    pub fn load(self) -> Option<Load> {
        match self {
            Answer::Load(load) => load,
            _ => None,
        }
    }
}

/// Longest wait for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Then its outcome is unknown.
    GiveUp(Duration),
    /// Each time it has passed, people are told what is waited for.
    Remind(Duration),
}

/// Calls of one sequence are made one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sequence {
    /// Writes of the records of this app.
    Records(String),
    /// Otherwise a call that makes a keyspace could find one that is about to be dropped.
    Keyspaces(String),
    /// Otherwise the proxy could be left with an earlier set of apps.
    Pipeline,
}

/// For the proxy's answer to a question that concerns only itself.
const LOCAL: Duration = Duration::from_secs(3);
/// Before people are told that an answer of the store is missing.
const STORE: Duration = Duration::from_secs(10);

impl Call {
    /// The fence for a target has a limit of its own.
    pub fn limit(&self) -> Limit {
        match self {
            Call::Write(_)
            | Call::Fence(_)
            | Call::MakeKeyspace { .. }
            | Call::DropKeyspaces { .. }
            | Call::DropShadows { .. }
            | Call::BoundHistory { .. }
            | Call::ReadStore => Limit::Remind(STORE),
            Call::Hold { quiesce, .. } => Limit::GiveUp(*quiesce + LOCAL),
            Call::Resume(resume) => {
                let wait = resume.group.as_ref().map(|(_, _, wait)| *wait);
                Limit::GiveUp(LOCAL + wait.unwrap_or_default())
            }
            Call::Instruct { .. } | Call::Suspect { .. } | Call::Retry(_) => Limit::GiveUp(LOCAL),
            // Without it the proxy serves no app: it is never given up while there is that proxy.
            Call::Configure(_) => Limit::Remind(LOCAL),
            Call::Sample { .. } => Limit::GiveUp(2 * LOCAL),
        }
    }

    /// The sequence that it belongs to, if it must not overtake others. Writes of records are put into theirs by
    /// [`write_in_order`](super::outbox::Outbox::write_in_order).
    pub fn sequence(&self) -> Option<Sequence> {
        match self {
            Call::MakeKeyspace { app, .. }
            | Call::DropKeyspaces { app, .. }
            | Call::DropShadows { app, .. } => Some(Sequence::Keyspaces(app.clone())),
            Call::Configure(_) => Some(Sequence::Pipeline),
            Call::Write(_)
            | Call::Fence(_)
            | Call::BoundHistory { .. }
            | Call::ReadStore
            | Call::Hold { .. }
            | Call::Resume(_)
            | Call::Instruct { .. }
            | Call::Suspect { .. }
            | Call::Retry(_)
            | Call::Sample { .. } => None,
        }
    }

    /// The words for a call that is waited for.
    pub fn name(&self) -> &'static str {
        match self {
            Call::Write(_) => "a record",
            Call::Fence(_) => "a fence",
            Call::MakeKeyspace { .. } => "the keyspace of a shadow",
            Call::DropKeyspaces { .. } | Call::DropShadows { .. } => "the end of a shadow",
            Call::BoundHistory { .. } => "the end of old upgrade records",
            Call::ReadStore => "the store's status",
            Call::Hold { .. } => "a hold",
            Call::Resume(_) => "a resume",
            Call::Instruct { .. } => "an instruction to an instance",
            Call::Suspect { .. } => "the event that an instance died with",
            Call::Retry(_) => "a quarantined event to be queued",
            Call::Configure(_) => "the pipeline",
            Call::Sample { .. } => "the load of an app",
        }
    }
}
