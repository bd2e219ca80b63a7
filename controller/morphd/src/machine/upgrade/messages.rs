//! What goes into the machine of an upgrade, and what comes out of it.

use std::time::Duration;

use morph_api::deadlines::Deadlines;
use morph_api::management::Step;
use serde::{Deserialize, Serialize};

/// One of the two instances of an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Instance of the release that is replaced.
    Source,
    /// Instance of the release that replaces it.
    Target,
}

/// Way of the stored state from one schema version to the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The schemas are equal: nothing is migrated.
    #[default]
    Plain,
    /// The target has the migration: it serves the primary through it and keeps a shadow, until the commit swaps the two.
    #[serde(alias = "through")]
    Online,
    /// The source has the migration: it makes the shadow first, and the fence swaps.
    #[serde(alias = "copy_first")]
    Backfill,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Mode::Plain => "plain",
            Mode::Online => "online",
            Mode::Backfill => "backfill",
        }
    }
}

/// Plan of one member of an upgrade; fixed before the upgrade begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    pub mode: Mode,
    pub source_schema: u32,
    pub target_schema: u32,
    pub probation: Duration,
    /// Without a commit by the operator the upgrade goes back at the end of the probation.
    pub confirm: bool,
    /// The upgrade goes on where rows would be lost.
    pub allow_loss: bool,
    /// The target may remove any number of rules.
    pub allow_rule_loss: bool,
    /// Events that the target has to handle before the probation ends in a commit.
    pub min_events: u64,
    pub deadlines: Deadlines,
}

/// Remains of an upgrade that another morphd left.
#[derive(Debug, Clone, Copy)]
pub struct Leftover {
    pub source: SourceState,
    /// The fence of a backfill has swapped primary and shadow.
    pub swapped: bool,
}

/// State of the source's process, for the machine that takes the slot over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceState {
    /// Attached, and ready to be resumed.
    Ready,
    /// Running, and not ready yet.
    Starting,
    /// No process.
    Absent,
}

/// Cause of an upgrade's end, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    Operator,
    Probation,
    Confirmation,
    Failure,
}

impl EndedBy {
    pub fn name(self) -> &'static str {
        match self {
            EndedBy::Operator => "operator",
            EndedBy::Probation => "probation",
            EndedBy::Confirmation => "confirmation",
            EndedBy::Failure => "failure",
        }
    }
}

/// Cause of an upgrade's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    pub message: String,
    pub by: EndedBy,
}

impl Cause {
    pub fn failure(message: impl Into<String>) -> Self {
        Cause {
            message: message.into(),
            by: EndedBy::Failure,
        }
    }

    pub fn operator(message: &str) -> Self {
        Cause {
            message: message.to_owned(),
            by: EndedBy::Operator,
        }
    }
}

/// The proxy's answer to a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldOutcome {
    /// All turns are durable, and a shadow that follows is current.
    Quiesced,
    /// There was no live instance, or it died meanwhile.
    Gone,
    /// The instance hung; nothing of it passes any longer.
    Expired,
}

/// The proxy's answer to a resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resumption {
    /// Events in the backlog at that moment.
    pub queued: u64,
    /// Events of the backlog that had been delivered before.
    pub replayed: u64,
    /// Microseconds from the hold to the resume.
    pub held_us: u64,
}

/// Numbers of rules by what an instance does, or would do, with them in the switches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuleCounts {
    pub added: u64,
    pub changed: u64,
    pub removed: u64,
    pub unchanged: u64,
}

impl RuleCounts {
    pub fn add(&mut self, more: RuleCounts) {
        self.added += more.added;
        self.changed += more.changed;
        self.removed += more.removed;
        self.unchanged += more.unchanged;
    }
}

/// Number of events that an instance has answered, and the time that took in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AnswerTimes {
    pub count: u64,
    pub us: u64,
}

/// A sample of how an app answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Time without an answer to a delivered event; zero where none waits for one.
    pub silent: Duration,
    /// Answers of the instance that was resumed last.
    pub answers: AnswerTimes,
}

/// Faults that an app has as long as its code and its state are as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StandingFaults {
    /// Rules that it states and that cannot be.
    pub rules_left_out: u64,
    /// Rules that it states twice, with different bodies.
    pub rules_disputed: u64,
    /// Whether the app has more alarms than are kept.
    pub alarms_left_out: bool,
}

/// Counts that the target reports, and what the app says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HealthReport {
    pub events: u64,
    /// Events whose handler returned an error.
    pub errors: u64,
    /// Ticks and changes of rows whose handler returned an error.
    pub failures: u64,
    /// Rules that switches refused.
    pub refused_rules: u64,
    pub faults: StandingFaults,
    /// Faults of the source when it was live; `None` if it has not reported.
    pub faults_before: Option<StandingFaults>,
    /// The app's own complaint (`App::healthy`).
    pub unhealthy: Option<String>,
}

/// Something that happened to one member of an upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberInput {
    /// The record of this step is on disk.
    Recorded(Step),
    /// The record of this step was refused.
    NotRecorded(Step, String),
    /// The last record is on disk, with its swap.
    Ended,
    /// The last record was refused: the shadow is not current, or the disk is full.
    EndRefused(String),
    /// A report on the shadow.
    Shadow(ShadowInput),
    /// Objection to the rules that the target would remove; `Ready` follows.
    RuleLoss(String),
    /// An instance is attached and ready; the text is its own summary.
    Ready(Side, String),
    /// The target answered the liveness probe.
    Pong,
    /// An instance says why it cannot go on.
    Failed(Side, String),
    /// A switch has the rules that an instance wants.
    Rules {
        side: Side,
        counts: RuleCounts,
        /// All switches are in step since the resume.
        last: bool,
    },
    /// The target's report on itself.
    Health(HealthReport),
    /// A sample of the load; none: the proxy or the store did not answer.
    Load(Option<Load>),
    /// The process or the session of an instance ended.
    Gone(Side, String),
    /// The slot now belongs to the upgrade.
    Yielded(SourceState),
    /// The slot is held.
    Held(HoldOutcome),
    /// The slot could not be held.
    HoldFailed(String),
    /// All members have come to the barrier.
    Open,
    /// The fence is on disk, with the record.
    Fenced,
    /// The schema version of the primary after the fence for the source. It tells whether a fence whose answer never came
    /// has swapped.
    PrimarySchema(u32),
    /// The fence was refused, or its outcome is unknown.
    FenceRefused(String),
    /// The instance is live.
    Resumed(Resumption),
    /// The instance could not be made live.
    ResumeFailed(String),
    /// The hold lasted too long, and the proxy resumed this side, or nobody.
    HoldExpired(Option<Side>),
    /// The proxy died, and every session with it.
    ProxyLost,
    /// The operator ends the probation.
    Commit,
    /// The operator wants the source back.
    Rollback,
    /// Another member of the group goes back.
    OtherGoesBack(Cause),
    /// A deadline has passed.
    Time,
}

/// Action for one member of an upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberOutput {
    /// Write the record of this step: answer `Recorded` or `NotRecorded`.
    Record(Step),
    /// Tell everybody that this step is true now.
    Publish(Step, String),
    /// Create the keyspace of a shadow that this side owns, in this schema: answer `Made` or `MakeFailed`.
    MakeKeyspace(Side, u32),
    /// Drop a shadow. No answer.
    DropKeyspace(u32),
    /// Start an instance of this side's release; where it fails, answer `Gone`. A target may be given a keyspace to read.
    Spawn(Side, Option<u32>),
    /// Send an instruction to an instance. No answer by itself.
    Instruct(Side, Order),
    /// End an instance, gently first. No answer.
    End(Side),
    /// Take the slot from the app's own supervision, then hold it: answer `Yielded`, then `Held` or `HoldFailed`.
    Hold,
    /// Fence for the source's release, with the record: answer `PrimarySchema` and `Fenced`, or `FenceRefused`.
    FenceForSource,
    /// Resume this side under the epoch of the last fence: answer `Resumed` or `ResumeFailed`.
    Resume(Side),
    /// Sample the load: answer `Load`.
    Sample,
    /// Write the record ROLLED_BACK, and swap to this shadow if there is one: answer `Ended` or `EndRefused`.
    RecordRolledBack(Option<u32>),
}

/// An instruction to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Answer a liveness probe.
    Ping,
    /// Keep a shadow in this keyspace.
    MakeShadow { keyspace: u32, schema: u32 },
    /// No shadow is wanted any longer.
    StopShadow,
    /// Bring the shadow up to date, then wait.
    Flush,
    /// Find out which keyspace is the primary, and go on.
    Go,
}

/// Something that happened to a shadow job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShadowInput {
    /// The keyspace exists.
    Made(u32),
    /// The keyspace could not be created.
    MakeFailed(String),
    /// The maker reports how far it is.
    Progress {
        keyspace: u32,
        /// The shadow is whole, and follows.
        complete: bool,
        /// Groups of rows that would not come back as they were from the other schema version.
        lossy: u64,
    },
    /// The maker cannot go on.
    Failed { keyspace: u32, why: String },
    /// The shadow has everything, and its maker waits for `Go`.
    Flushed,
}
