//! Failures of commands, with their exit codes.

use std::error::Error;
use std::fmt;

use tonic::{Code, Status};

/// Exit code of wrong usage, the same as clap's.
pub(crate) const USAGE: u8 = 2;

/// Failure of a command. The text tells people what happened, to what, and how to fix it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The request was refused; nothing changed.
    Refused(String),
    /// The command line or `$MORPH_ENDPOINT` is wrong.
    Usage(String),
    /// morphd cannot be reached, or denies access.
    Unreachable(String),
    /// An upgrade was tried, and the source runs again.
    RolledBack(String),
    /// The request may or may not have been carried out, or is still being carried out.
    Unknown(String),
}

/// Effect of a call on Morpheus. Decides the meaning of a lost answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Changes nothing: a lost answer is only unreachable.
    Reads,
    /// Changes something: after a lost answer the outcome is unknown.
    Changes,
}

impl Failure {
    pub(crate) fn code(&self) -> u8 {
        match self {
            Failure::Refused(_) => 1,
            Failure::Usage(_) => USAGE,
            Failure::Unreachable(_) => 3,
            Failure::RolledBack(_) => 4,
            Failure::Unknown(_) => 5,
        }
    }

    /// Interprets a gRPC status other than OK.
    pub(crate) fn of_status(status: &Status, effect: Effect) -> Self {
        // A status from morphd has no source. A status with a source was made on this side, for a broken transport.
        if status.source().is_some() {
            return Failure::lost(
                &format!("lost the connection to morphd: {}", root(status)),
                effect,
            );
        }
        let message = message_of(status);
        match status.code() {
            Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::InvalidArgument
            | Code::OutOfRange
            | Code::ResourceExhausted
            | Code::Aborted => Failure::Refused(message),
            Code::Unimplemented => Failure::Refused(format!(
                "{message} (is morphd of another version than morphctl?)"
            )),
            Code::PermissionDenied | Code::Unauthenticated => Failure::Unreachable(with_fix(
                &message,
                "on morphd's machine, use its socket: --endpoint unix:RUN_DIR/api.sock",
            )),
            Code::Unavailable => Failure::Unreachable(with_fix(&message, "try again")),
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Internal
            | Code::DataLoss => Failure::Unknown(format!("morphd failed: {message}")),
        }
    }

    /// Failure of a call whose answer did not arrive.
    pub(crate) fn lost(reason: &str, effect: Effect) -> Self {
        match effect {
            Effect::Reads => Failure::Unreachable(reason.to_owned()),
            Effect::Changes => Failure::Unknown(format!(
                "{reason}; the command may or may not have been carried out: see `morphctl status` and `morphctl apps`"
            )),
        }
    }
}

const FIX: &str = " (to fix: ";

/// Appends the fix of a problem to its description.
pub(crate) fn with_fix(problem: &str, fix: &str) -> String {
    format!("{problem}{FIX}{fix})")
}

/// Removes what [`with_fix`] appended.
pub(crate) fn without_fix(text: &str) -> &str {
    text.split_once(FIX).map_or(text, |(problem, _)| problem)
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Failure::Refused(text)
        | Failure::Usage(text)
        | Failure::Unreachable(text)
        | Failure::RolledBack(text)
        | Failure::Unknown(text)) = self;
        f.write_str(text)
    }
}

/// Message of a status, or the description of its code if it has none.
fn message_of(status: &Status) -> String {
    match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    }
}

/// Innermost cause of an error, which is the most specific one.
fn root(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_exit_code() {
        use Code::*;
        for (code, reads, changes) in [
            (Cancelled, 5, 5),
            (Unknown, 5, 5),
            (InvalidArgument, 1, 1),
            (DeadlineExceeded, 5, 5),
            (NotFound, 1, 1),
            (AlreadyExists, 1, 1),
            (PermissionDenied, 3, 3),
            (ResourceExhausted, 1, 1),
            (FailedPrecondition, 1, 1),
            (Aborted, 1, 1),
            (OutOfRange, 1, 1),
            (Unimplemented, 1, 1),
            (Internal, 5, 5),
            (Unavailable, 3, 3),
            (DataLoss, 5, 5),
            (Unauthenticated, 3, 3),
        ] {
            let status = Status::new(code, "the message");
            for (effect, expected) in [(Effect::Reads, reads), (Effect::Changes, changes)] {
                let failure = Failure::of_status(&status, effect);
                assert_eq!(failure.code(), expected, "{code:?} {effect:?}");
                assert!(failure.to_string().contains("the message"));
            }
        }
    }

    #[test]
    fn after_a_broken_transport_only_the_outcome_of_changes_is_unknown() {
        let broken = std::io::Error::new(std::io::ErrorKind::BrokenPipe, "pipe broke");
        let status = Status::from_error(Box::new(broken));
        assert_eq!(Failure::of_status(&status, Effect::Reads).code(), 3);
        let failure = Failure::of_status(&status, Effect::Changes);
        assert_eq!(failure.code(), 5);
        assert!(failure.to_string().contains("pipe broke"), "{failure}");
    }
}
