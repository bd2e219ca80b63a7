use morph_api::store::{Checkpoint, Reason, Refused};

/// Reason for which the work on a transaction ends early.
#[derive(Debug)]
pub(super) enum Interrupt<E> {
    Refused(Box<Refused>),
    /// The backend cannot read.
    Failed(E),
}

impl<E> From<Box<Refused>> for Interrupt<E> {
    fn from(refused: Box<Refused>) -> Self {
        Interrupt::Refused(refused)
    }
}

pub(super) fn refuse(reason: Reason, message: impl Into<String>) -> Box<Refused> {
    Box::new(Refused {
        reason: reason.into(),
        message: message.into(),
        checkpoint: None,
    })
}

pub(super) fn invalid(message: impl Into<String>) -> Box<Refused> {
    refuse(Reason::Invalid, message)
}

pub(super) fn too_large(message: impl Into<String>) -> Box<Refused> {
    refuse(Reason::TooLarge, message)
}

pub(super) fn conflict(message: impl Into<String>) -> Box<Refused> {
    refuse(Reason::Conflict, message)
}

/// Builds a refusal that contains the current checkpoint.
pub(super) fn of_checkpoint(
    reason: Reason,
    checkpoint: Checkpoint,
    message: String,
) -> Box<Refused> {
    let mut refused = refuse(reason, message);
    refused.checkpoint = Some(checkpoint);
    refused
}
