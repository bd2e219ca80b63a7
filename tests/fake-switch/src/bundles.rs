//! Bundles of a switch: changes that wait for their commit request.

use bytes::Bytes;
use morph_openflow::v13::bundle::control;
use morph_openflow::v13::{self, BundleAdd, BundleControl, FlowMod, Message};
use std::collections::BTreeMap;

/// Way in which a switch handles commit requests. One without bundles refuses `EXPERIMENTER` messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Commits {
    /// Makes all changes, or none where one of them is bad.
    #[default]
    Answered,
    /// Makes no change, and says so.
    Refused,
    /// Makes no change, and says nothing.
    Unanswered,
}

/// Outcome of a bundle message.
pub(crate) enum BundleStep {
    /// Nothing is to be done or answered.
    Nothing,
    /// The answer is this message.
    Reply(Message),
    /// Flow-mods with their frames, all of which are to be made, or none.
    Commit(Vec<(FlowMod, Bytes)>, Message),
    /// The message is refused by this bundle error.
    Refused(BundleError),
}

/// Errors of `ONFBFC_*`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BundleError {
    BadId = 2302,
    MessageXid = 2309,
    MessageUnsupported = 2310,
    MessageFailed = 2313,
}

/// Open bundles by id.
#[derive(Debug, Default)]
pub(crate) struct Bundles {
    open: BTreeMap<u32, Vec<(FlowMod, Bytes)>>,
    pub(crate) commits: Commits,
    /// Number of bundles whose changes were made.
    pub(crate) made: u64,
}

impl Bundles {
    pub(crate) fn control(&mut self, request: BundleControl) -> BundleStep {
        let id = request.bundle_id;
        let reply = |kind| Message::BundleControl(BundleControl { kind, ..request });
        match request.kind {
            control::OPEN_REQUEST => {
                self.open.insert(id, Vec::new());
                BundleStep::Reply(reply(control::OPEN_REPLY))
            }
            control::DISCARD_REQUEST => match self.open.remove(&id) {
                Some(_) => BundleStep::Reply(reply(control::DISCARD_REPLY)),
                None => BundleStep::Refused(BundleError::BadId),
            },
            control::COMMIT_REQUEST => match (self.open.remove(&id), self.commits) {
                (None, _) => BundleStep::Refused(BundleError::BadId),
                (Some(_), Commits::Refused) => BundleStep::Refused(BundleError::MessageFailed),
                (Some(_), Commits::Unanswered) => BundleStep::Nothing,
                (Some(changes), Commits::Answered) => {
                    BundleStep::Commit(changes, reply(control::COMMIT_REPLY))
                }
            },
            _ => BundleStep::Refused(BundleError::BadId),
        }
    }

    pub(crate) fn add(&mut self, xid: u32, add: BundleAdd) -> BundleStep {
        let Some(changes) = self.open.get_mut(&add.bundle_id) else {
            return BundleStep::Refused(BundleError::BadId);
        };
        match v13::decode(&add.frame) {
            Ok((header, _)) if header.xid != xid => BundleStep::Refused(BundleError::MessageXid),
            Ok((_, Message::FlowMod(flow))) => {
                changes.push((flow, add.frame));
                BundleStep::Nothing
            }
            Ok(_) | Err(_) => BundleStep::Refused(BundleError::MessageUnsupported),
        }
    }

    /// Forgets the bundles of a connection that is lost.
    pub(crate) fn disconnected(&mut self) {
        self.open.clear();
    }
}
