//! The transitions, by name.

/// Whose clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Who {
    /// morphd's.
    Morphd,
    /// The proxy's.
    Proxy,
    /// An instance's.
    Instance(u32),
}

/// What becomes of a request whose answer is not waited for any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It never arrives.
    Lost,
    /// It arrives now.
    Done,
    /// It arrives some time later, or never.
    Late,
}

/// A transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A switch sends the next packet.
    Packet,
    /// What an instance sent comes to the proxy.
    ToProxy(u32),
    /// What the proxy sent comes to an instance.
    ToInstance(u32),
    /// A transaction of an instance comes to the store.
    Commit(u32),
    /// Its answer comes to the instance.
    Committed(u32),
    /// The store tells an instance what is new.
    News(u32),
    /// The store gets to disk what is not there yet.
    Sync,
    /// A write of morphd comes to the store, and its answer to morphd.
    Write,
    /// A call of morphd comes to the proxy.
    Call,
    /// An answer of the proxy comes to morphd.
    Answer,
    /// What the proxy observed comes to morphd.
    Observe,
    /// morphd hears that the process of an instance has ended.
    Ended(u32),
    /// The proxy's own fence comes to the store, and its answer to the proxy.
    ProxyFence,
    /// An instance that was told to end does so.
    Ends(u32),
    /// A deadline passes, as nothing else happens any longer.
    Time(Who),
    /// The next upgrade begins.
    Upgrade,
    /// A new morphd starts.
    MorphdStarts,
    /// Fault: a deadline passes although something is on its way.
    Early(Who),
    /// Fault: the operator takes the upgrade back.
    Rollback,
    /// Fault: an instance is killed; what it has sent arrives, or not.
    Kill(u32, bool),
    /// Fault: morphd is killed; its calls arrive, or not.
    KillMorphd(bool),
    /// Fault: the store daemon is killed, and starts again.
    KillStore,
    /// Fault: morphd gives up a call.
    GiveUp(u64, Fate),
    /// Fault: morphd gives up a fence.
    GiveUpFence(Fate),
    /// A request that was given up arrives.
    Stray,
}

impl Action {
    /// It need not happen for an upgrade to end.
    pub fn is_fault(self) -> bool {
        matches!(
            self,
            Action::Early(_)
                | Action::Rollback
                | Action::Kill(..)
                | Action::KillMorphd(_)
                | Action::KillStore
                | Action::GiveUp(..)
                | Action::GiveUpFence(_)
                | Action::Stray
        )
    }
}
