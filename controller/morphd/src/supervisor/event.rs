//! Events under way to the supervisor, and the present in which it handles them.

use std::time::Instant;

use super::clients::Request;
use crate::boot::Moment;
use crate::machine::call::{Answer, CallId};
use crate::machine::daemon::{DaemonName, DaemonReply};
use crate::machine::liveness::ProbeOutcome;
use crate::machine::outbox::Present;
use crate::machine::{InstanceId, Observed};
use crate::process::Ending;
use crate::release::Release;

/// Something that has happened.
pub enum Event {
    /// Somebody asks for something.
    Request(Box<Request>),
    /// The observer of the proxy has heard something.
    Observed(Observed),
    /// A call was answered.
    Answered(CallId, Answer),
    /// The process of an instance ended.
    InstanceEnded(InstanceId, Ending),
    /// A probe was sent to an instance, or not.
    Probed(InstanceId, ProbeOutcome),
    /// A daemon's process ended.
    DaemonEnded(DaemonName, u32, Ending),
    /// A daemon's process was probed.
    DaemonReplied(DaemonName, u32, DaemonReply),
    /// The bundle of a release that was found beside morphd has been copied.
    Copied(Box<Release>),
}

/// The present, as the machines take it.
pub(super) fn present() -> Present {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let unix_ms = since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    });
    Present {
        at: Instant::now(),
        unix_ms,
        moment: Moment::now(),
    }
}
