//! Requests of the proxy itself that a switch refuses. Morpheus goes on without what they ask for.

use std::collections::{BTreeMap, BTreeSet};

use morph_openflow::Dpid;
use morph_openflow::v13::ErrorMsg;
use morph_openflow::v13::error::{code, kind};

/// Kind of a request that a switch may refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Refusable {
    Aggregate,
    Barrier,
    Bundle,
    Config,
    Desc,
    Echo,
    PortDesc,
    Role,
}

impl Refusable {
    /// Name for people, after the message of the specification.
    fn name(self) -> &'static str {
        match self {
            Refusable::Aggregate => "aggregate",
            Refusable::Barrier => "barrier",
            Refusable::Bundle => "bundle",
            Refusable::Config => "set-config",
            Refusable::Desc => "desc",
            Refusable::Echo => "echo",
            Refusable::PortDesc => "port-desc",
            Refusable::Role => "role",
        }
    }

    /// Consequence of a refusal, for people.
    fn consequence(self) -> &'static str {
        match self {
            Refusable::Aggregate => "rules that vanish are missed only when all rules are read",
            Refusable::Barrier => "changes of rules are paced by echo requests instead",
            Refusable::Bundle => "rules that differ change one by one",
            Refusable::Config => "it may shorten the packets that it sends to Morpheus",
            Refusable::Desc => "its manufacturer and software are unknown",
            Refusable::Echo => "its refusals show that it is alive",
            Refusable::PortDesc => "its ports are unknown until they change",
            Refusable::Role => "it treats all controllers alike",
        }
    }
}

/// Refused requests of one channel.
#[derive(Debug, Clone, Default)]
pub(super) struct Refusals {
    /// Requests of the handshake, by xid.
    asked: BTreeMap<u32, Refusable>,
    refused: BTreeSet<Refusable>,
}

impl Refusals {
    /// Notes a request of the handshake.
    pub(super) fn asked(&mut self, xid: u32, what: Refusable) {
        self.asked.insert(xid, what);
    }

    /// Returns the request of the handshake with this xid.
    pub(super) fn request(&self, xid: u32) -> Option<Refusable> {
        self.asked.get(&xid).copied()
    }

    /// Notes a refusal that is logged elsewhere.
    pub(super) fn note(&mut self, what: Refusable) {
        self.refused.insert(what);
    }

    /// Notes a refusal. The first one of each kind is logged.
    pub(super) fn refused(&mut self, what: Refusable, dpid: Dpid, error: &ErrorMsg) {
        if self.refused.insert(what) {
            let (request, consequence) = (what.name(), what.consequence());
            tracing::warn!(%dpid, "the switch refuses {request} requests, so {consequence}: {error}");
        }
    }

    /// Names of the kinds that were refused.
    pub(super) fn names(&self) -> Vec<String> {
        let names = self.refused.iter().map(|what| what.name().to_owned());
        names.collect()
    }
}

/// Returns whether an error says that the switch does not support a request, whoever makes it.
pub(super) fn is_refusal(error: &ErrorMsg) -> bool {
    error.kind == kind::BAD_REQUEST && !lacks_permission(error)
}

/// Returns whether an error says that this controller may not make a request, as others may.
pub(super) fn lacks_permission(error: &ErrorMsg) -> bool {
    use code::bad_request::{EPERM, IS_SLAVE};
    error.kind == kind::BAD_REQUEST && [EPERM, IS_SLAVE].contains(&error.code)
}
