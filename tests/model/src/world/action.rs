//! The transitions, by name.

/// Owner of a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Who {
    Morphd,
    Proxy,
    Instance(u32),
}

/// Transition of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A switch sends the next packets.
    Packet,
    /// The proxy's clock goes on while packets wait.
    Wait,
    /// The switch carries out the changes of rules that wait there.
    Switch,
    /// A blob of an instance comes to the proxy.
    ToProxy(u32),
    /// A blob of the proxy comes to an instance.
    ToInstance(u32),
    /// A transaction of an instance comes to the store.
    Commit(u32),
    /// The store's answer comes to the instance.
    Committed(u32),
    /// The store tells an instance what is new.
    News(u32),
    /// The store gets to disk what is not there yet.
    Sync,
    /// One of morphd's calls comes to the store, and its answer to morphd.
    Write(u8),
    /// A call of morphd comes to the proxy.
    Call,
    /// An answer of the proxy comes to morphd.
    Answer,
    /// An observation of the proxy comes to morphd.
    Observe,
    /// morphd observes the proxy again.
    Observer,
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
    /// Fault: the proxy is killed, and starts again.
    KillProxy,
    /// Fault: morphd gives up a call of the proxy.
    GiveUp(u64),
    /// Fault: morphd gives up a fence.
    GiveUpFence,
    /// A request that was given up arrives.
    Stray,
}

impl Action {
    /// Whether an upgrade can end without it.
    pub fn is_fault(self) -> bool {
        matches!(
            self,
            Action::Early(_)
                | Action::Rollback
                | Action::Kill(..)
                | Action::KillMorphd(_)
                | Action::KillStore
                | Action::KillProxy
                | Action::GiveUp(_)
                | Action::GiveUpFence
                | Action::Stray
        )
    }
}
