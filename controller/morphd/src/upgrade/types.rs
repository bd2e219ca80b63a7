//! What goes into the upgrade machine, what comes out of it, and where it can stand.

use std::time::Duration;

use morph_api::deadlines::Deadlines;
use morph_api::management::Step;

/// Which instance of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Of the release that ran before.
    Old,
    /// The newcomer.
    New,
}

/// How the stored state gets from one schema to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Not at all: the schemas are equal.
    Plain,
    /// The newcomer has the migration: it serves the old primary through it until the commit swaps.
    Online,
    /// The running release has it: it makes the shadow first, and the fence swaps.
    Backfill,
}

/// What is to be done; settled before the upgrade begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// From the two manifests.
    pub mode: Mode,
    /// Schema of the running release.
    pub old_schema: u32,
    /// Schema of the newcomer.
    pub new_schema: u32,
    /// How long the newcomer has to prove itself.
    pub probation: Duration,
    /// At the end of the probation it goes back, unless the operator has committed.
    pub confirm: bool,
    /// Go on where rows would be lost.
    pub allow_loss: bool,
    /// How long each step may take.
    pub deadlines: Deadlines,
}

/// What a morphd found that goes on with another's upgrade.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// The old instance.
    pub old: OldIs,
    /// The fence of a `Backfill` has swapped.
    pub swapped: bool,
}

/// How the old instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldIs {
    /// Attached and ready to be resumed.
    Ready,
    /// Its process runs; it has not said that it is ready.
    Starting,
    /// There is none.
    Absent,
}

/// Why an upgrade ends as it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// For people.
    pub message: String,
    /// `operator`, `probation`, or `failure`.
    pub by: &'static str,
}

impl Cause {
    pub(super) fn failure(message: String) -> Self {
        let by = "failure";
        Cause { message, by }
    }

    pub(super) fn operator(message: &str) -> Self {
        let by = "operator";
        Cause {
            message: message.to_owned(),
            by,
        }
    }
}

/// What the proxy answered to a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldOutcome {
    /// All turns are durable, and the shadow is current.
    Quiesced,
    /// There was no live instance, or it died meanwhile.
    Gone,
    /// It hung; nothing of it passes any longer.
    Expired,
}

/// What the proxy said of a resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resumption {
    /// Events in the backlog at that moment.
    pub queued: u64,
    /// Of them, delivered before.
    pub replayed: u64,
    /// From the hold to the resume.
    pub held_us: u64,
}

/// What it would change, or has changed, in the switches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Difference {
    /// Rules that were not there.
    pub added: u64,
    /// Rules that were there with another body.
    pub changed: u64,
    /// Rules that are not wanted.
    pub removed: u64,
    /// Rules left alone.
    pub unchanged: u64,
}

/// How fast events are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answers {
    /// Events.
    pub count: u64,
    /// The sum of the times that their answers took.
    pub us: u64,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The record says so, on disk.
    Recorded(Step),
    /// The record of this step was refused: there is no space for it.
    NotRecorded(Step, String),
    /// The last record, with its swap, is on disk.
    Finished,
    /// They were refused: the shadow is not current, or there is no space.
    FinishRefused(String),
    /// The keyspace for the shadow exists.
    KeyspaceMade(u32),
    /// It could not be made.
    KeyspaceFailed(String),
    /// An instance is attached and ready, with what it says of itself.
    Ready(Side, String),
    /// The newcomer answered the probe.
    Pong,
    /// A report on the shadow.
    ShadowGrew {
        /// Which keyspace.
        keyspace: u32,
        /// It is whole, and follows.
        complete: bool,
        /// Groups of rows that would not come back as they are from the other schema.
        lossy: u64,
    },
    /// The maker of a shadow cannot go on with it.
    ShadowFailed {
        /// Which keyspace.
        keyspace: u32,
        /// For people.
        why: String,
    },
    /// The shadow holds everything and its writer waits for `Go`.
    Flushed,
    /// An instance says why it cannot go on.
    Failed(Side, String),
    /// A switch is in step with what an instance wants.
    Rules {
        /// Whose rules.
        side: Side,
        /// What was done.
        difference: Difference,
        /// All switches are in step.
        last: bool,
    },
    /// The newcomer's counts.
    Health {
        /// Events handled.
        events: u64,
        /// Of them, with an error.
        errors: u64,
        /// Rules that switches refused.
        refused_rules: u64,
        /// What the app itself says is wrong with it.
        unhealthy: Option<String>,
    },
    /// A look at the app's backlog and durable cursor.
    Load {
        /// Events that are not durable yet.
        backlog: u64,
        /// The cursor.
        durable: (u64, u64),
        /// What whoever was resumed last has answered since.
        answers: Answers,
    },
    /// The look failed, or the store is away: nothing can be said about the app.
    Unobserved,
    /// An instance's process or session ended.
    Gone(Side, String),
    /// The slot is this machine's; how the old instance is.
    Yielded(OldIs),
    /// The hold stands.
    Held(HoldOutcome),
    /// It could not be asked for.
    HoldFailed(String),
    /// The fence is on disk, with the record.
    Fenced,
    /// The schema version of the primary behind a fence for the old release: it tells whether a fence whose answer never came
    /// has swapped.
    Primary(u32),
    /// It was refused or could not be made.
    FenceRefused(String),
    /// The instance is live.
    Resumed(Resumption),
    /// It is not.
    ResumeFailed(String),
    /// The hold lasted too long and the proxy resumed by itself: whom, if anyone.
    HoldExpired(Option<Side>),
    /// The proxy died, and with it every session.
    ProxyLost,
    /// The operator ends the probation.
    Commit,
    /// The operator wants the old release back.
    Rollback,
    /// Another app's upgrade, of which this is a part, goes back.
    OtherGoesBack(Cause),
    /// `next_deadline` has come.
    Time,
}

/// What the driver must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Write the record: answer `Recorded` or `NotRecorded`.
    Record(Step),
    /// Tell everyone: this is true now.
    Publish(Step, String),
    /// Make a keyspace for a shadow, owned by this side, with this schema: answer `KeyspaceMade` or `KeyspaceFailed`.
    MakeKeyspace(Side, u32),
    /// Drop the shadow. No answer.
    DropKeyspace(u32),
    /// Start an instance of this side's release; where it fails: `Gone`. A newcomer may be told a keyspace to read.
    Spawn(Side, Option<u32>),
    /// Tell an instance. No answer by itself.
    Tell(Side, Order),
    /// End an instance, gently first. No answer.
    End(Side),
    /// Take the slot from the app's own supervision, then hold it: answer `Yielded`, then `Held` or `HoldFailed`.
    Hold,
    /// Fence for this side's release, with the record, and swap to this shadow if there is one: answer `Fenced` or
    /// `FenceRefused`.
    Fence(Side, Option<u32>),
    /// Resume this side under the epoch of the last fence: answer `Resumed` or `ResumeFailed`.
    Resume(Side),
    /// Look at the load: answer `Load` or `Unobserved`.
    Sample,
    /// Write the last record, and swap to this shadow if there is one: answer `Finished` or `FinishRefused`.
    Finish(Step, Option<u32>),
}

/// What an instance is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Answer the probe.
    Ping,
    /// Make the shadow: keyspace and schema.
    MakeShadow(u32, u32),
    /// No shadow is wanted any longer.
    StopShadow,
    /// Bring the shadow up to date and wait.
    Flush,
    /// Look which keyspace is the primary, and go on.
    Go,
}

/// Where an upgrade stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its first records are written.
    Staged,
    /// The running instance makes the shadow (`Backfill`).
    Filling,
    /// The newcomer loads its view and reads the switches.
    Starting,
    /// It was asked whether it lives.
    Probing,
    /// It is ready; the records before the hold are written.
    Ready,
    /// The hold is asked for.
    Quiescing,
    /// The fence is asked for.
    Fencing,
    /// The resume is asked for.
    Resuming,
    /// Probation.
    Upgraded,
    /// It is to be committed; the rules are getting in step.
    Settling,
    /// Committing.
    Finishing(Phase),
    /// Failed before the hold: the last record is written.
    Leaving,
    /// Going back after the hold.
    Back(Back),
    /// The old release is live, and gets its own schema back.
    Restoring(Phase),
    /// The end: the new release.
    Committed,
    /// The end: the old one.
    RolledBack,
}

/// Steps of getting from one primary to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The keyspace is made.
    Making,
    /// It is filled.
    Filling,
    /// The last turns go into it.
    Flushing,
    /// The swap, with the last record, is written.
    Swapping,
}

/// Steps of the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Back {
    /// The record says that it goes back.
    Recording,
    /// The old instance is awaited.
    Waiting,
    /// The newcomer is live: the slot is held.
    Holding,
    /// The fence for the old release.
    Fencing,
    /// The old instance is resumed.
    Resuming,
    /// It is live; its rules are getting in step.
    Settling,
    /// The last record is written.
    Closing,
}
