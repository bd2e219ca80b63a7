//! What people ask for, as the machine takes it.

use std::path::PathBuf;
use std::time::Duration;

use semver::Version;

use crate::bundle::Bundle;

/// Identity of a request that is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A change that somebody asks for.
#[derive(Debug, Clone)]
pub enum Request {
    /// Stage a bundle that has been copied to this folder.
    Stage(Box<Bundle>, PathBuf),
    Start(String, Option<Version>),
    Stop(String),
    /// Removes an app; `bypass`: also one that drops what its rules do not let pass.
    Remove {
        app: String,
        bypass: bool,
    },
    /// Lets packets pass the app after, or before, another one.
    MoveApp {
        app: String,
        place: Place,
    },
    Upgrade(UpgradeRequest),
    Commit(String),
    Rollback(String),
    RetryEvent(String),
    DropEvent(String),
}

/// Place in the pipeline, beside another app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    After(String),
    Before(String),
}

#[derive(Debug, Clone, Default)]
pub struct UpgradeRequest {
    /// Apps, and the release of each to go to; none: the newest staged.
    pub releases: Vec<(String, Option<Version>)>,
    pub probation: Option<Duration>,
    /// Without a commit the upgrade goes back at the end of the probation.
    pub confirm: bool,
    /// An older release may lose rows.
    pub allow_loss: bool,
    /// The target may remove any number of rules.
    pub allow_rule_loss: bool,
    /// Events that the target has to handle in its probation.
    pub min_events: Option<u64>,
    /// Deadlines of steps, in the place of what the release says.
    pub deadlines: Vec<(String, Duration)>,
    /// The user who asks.
    pub who: String,
}

/// Kind of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Malformed.
    Invalid,
    NotFound,
    /// Not possible now; nothing was changed.
    Refused,
    /// A part of Morpheus is away: try again.
    Unavailable,
    Internal,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestError {
    pub kind: ErrorKind,
    pub message: String,
}

impl RequestError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        RequestError {
            kind,
            message: message.into(),
        }
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        RequestError::new(ErrorKind::NotFound, message)
    }
}

/// Not possible now; nothing was changed.
pub fn refused(message: impl Into<String>) -> RequestError {
    RequestError::new(ErrorKind::Refused, message)
}

pub fn invalid(message: impl Into<String>) -> RequestError {
    RequestError::new(ErrorKind::Invalid, message)
}

pub fn unavailable(message: impl Into<String>) -> RequestError {
    RequestError::new(ErrorKind::Unavailable, message)
}
