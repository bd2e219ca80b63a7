//! How a command can fail, and the exit code that says so.

use std::error::Error;
use std::fmt;

use tonic::{Code, Status};

/// Exit code of wrong usage, the same that clap gives.
pub(crate) const USAGE: u8 = 2;

/// Why a command did not do what it was to do. The text is for people, and says what mends it where something does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing changed.
    Refused(String),
    /// The words of the command line, or of `$MORPH_ENDPOINT`, are wrong.
    Usage(String),
    /// morphd cannot be reached, or may not be.
    Unreachable(String),
    /// It was tried, and the old release runs again.
    RolledBack(String),
    /// It may or may not have happened, or still goes on.
    Unknown(String),
}

/// What a call does to Morpheus: decides what a lost answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Only looks: a lost answer costs nothing.
    Reads,
    /// Changes something: a lost answer leaves it open whether it did.
    Changes,
}

impl Failure {
    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Failure::Refused(_) => 1,
            Failure::Usage(_) => USAGE,
            Failure::Unreachable(_) => 3,
            Failure::RolledBack(_) => 4,
            Failure::Unknown(_) => 5,
        }
    }

    /// What the answer to a call means.
    pub(crate) fn of_status(status: &Status, effect: Effect) -> Self {
        // A status that morphd sent has no source; one with a source was made on this side, of a broken transport.
        if status.source().is_some() {
            return Failure::lost(&format!("lost morphd: {}", root(status)), effect);
        }
        let said = said(status);
        match status.code() {
            Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::InvalidArgument
            | Code::OutOfRange
            | Code::ResourceExhausted
            | Code::Aborted => Failure::Refused(said),
            Code::Unimplemented => {
                Failure::Refused(format!("{said} (does morphd have this version?)"))
            }
            Code::PermissionDenied | Code::Unauthenticated => Failure::Unreachable(format!(
                "{said} (mend: on morphd's machine, use its socket: --endpoint unix:RUN_DIR/api.sock)"
            )),
            Code::Unavailable => Failure::Unreachable(format!("{said} (mend: try again)")),
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Internal
            | Code::DataLoss => Failure::Unknown(format!("morphd failed: {said}")),
        }
    }

    /// No answer came.
    pub(crate) fn lost(why: &str, effect: Effect) -> Self {
        match effect {
            Effect::Reads => Failure::Unreachable(why.to_owned()),
            Effect::Changes => Failure::Unknown(format!(
                "{why}; it may have been done or not: see `morphctl status` and `morphctl apps`"
            )),
        }
    }
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

/// morphd's own words, else what the code means.
fn said(status: &Status) -> String {
    match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    }
}

/// The innermost cause, which says the most.
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
            let status = Status::new(code, "as said");
            for (effect, expected) in [(Effect::Reads, reads), (Effect::Changes, changes)] {
                let failure = Failure::of_status(&status, effect);
                assert_eq!(failure.code(), expected, "{code:?} {effect:?}");
                assert!(failure.to_string().contains("as said"));
            }
        }
    }

    #[test]
    fn a_broken_transport_leaves_only_changes_open() {
        let broken = std::io::Error::new(std::io::ErrorKind::BrokenPipe, "pipe broke");
        let status = Status::from_error(Box::new(broken));
        assert_eq!(Failure::of_status(&status, Effect::Reads).code(), 3);
        let failure = Failure::of_status(&status, Effect::Changes);
        assert_eq!(failure.code(), 5);
        assert!(failure.to_string().contains("pipe broke"), "{failure}");
    }
}
