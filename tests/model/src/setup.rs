//! Settings of an exploration.

use std::fmt;

/// Defects that are put between a machine and the world around it, which the model has to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// A turn goes to the store before the proxy has accepted it.
    CommitBeforeAccept,
    /// The target is resumed before the fence stands.
    ResumeBeforeFence,
    /// The fence is acknowledged before earlier transactions are on disk.
    UnflushedFence,
    /// The record UPGRADED comes to the store after the record COMMITTED.
    RecordsOutOfOrder,
    /// A new morphd takes an instance as live that the last fence did not let in.
    WrongEpochAdopted,
    /// A quarantine moves the cursor past one event more.
    SkipOneMore,
    /// A shadow is dropped while the target reads it.
    DropWhileRead,
    /// A fence is retried with the next epoch, and morphd takes that one as done, though the store has the first.
    FenceRetriedWithAnotherEpoch,
    /// The commit of a group leaves one member out.
    CommitWithoutOne,
    /// RulesSynced is told while rules wait: a barrier is answered before the changes before it are carried out.
    BarrierAnsweredEarly,
    /// The proxy notes only the last event of an accepted turn as accepted.
    OnlyLastAccepted,
    /// Events whose turns were accepted are delivered again together with others.
    MixedReplay,
    /// An instance reports Quiesced before the cursor of turns that changed no row is stored.
    CursorNotFlushed,
    /// An event that was delivered is not delivered again.
    DeliveredEventDropped,
    /// An event that was delivered is told as lost, instead of being delivered again, once it has waited longer than the target.
    DeliveredEventTooOld,
    /// Dropping by age goes on in a pause: a packet that waited longer than the target is told as lost, whatever it waited for.
    PauseIgnored,
    /// A commit whose answer was lost with the store's daemon is taken as durable.
    UnknownTakenAsDurable,
}

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kinds {
    /// Instances are killed.
    pub instances: bool,
    /// morphd is killed.
    pub morphd: bool,
    /// The store daemon is killed.
    pub store: bool,
    /// The proxy is killed.
    pub proxy: bool,
    /// morphd gives up calls of the proxy and fences; the outcome is unknown.
    pub calls: bool,
    /// Deadlines pass while what they wait for is on its way.
    pub deadlines: bool,
    /// The operator takes the upgrade back.
    pub operator: bool,
}

impl Kinds {
    pub const ALL: Kinds = Kinds {
        instances: true,
        morphd: true,
        store: true,
        proxy: true,
        calls: true,
        deadlines: true,
        operator: true,
    };
    pub const NONE: Kinds = Kinds {
        instances: false,
        morphd: false,
        store: false,
        proxy: false,
        calls: false,
        deadlines: false,
        operator: false,
    };

    /// Kinds by their names, as [`Setup`] prints them.
    pub fn named(is: impl Fn(&str) -> bool) -> Kinds {
        Kinds {
            instances: is("instances"),
            morphd: is("morphd"),
            store: is("store"),
            proxy: is("proxy"),
            calls: is("calls"),
            deadlines: is("deadlines"),
            operator: is("operator"),
        }
    }

    fn names(&self) -> Vec<&'static str> {
        let kinds = [
            (self.instances, "instances"),
            (self.morphd, "morphd"),
            (self.store, "store"),
            (self.proxy, "proxy"),
            (self.calls, "calls"),
            (self.deadlines, "deadlines"),
            (self.operator, "operator"),
        ];
        let kinds = kinds.iter().filter(|(is, _)| *is);
        kinds.map(|(_, name)| *name).collect()
    }
}

/// Schema versions of the two releases of each app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Schemas {
    #[default]
    Same,
    /// The first upgrade goes to a newer schema: the target migrates online.
    Newer,
    /// The first upgrade goes to an older schema: the source makes the shadow first.
    Older,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// Two apps that are upgraded as one; else one app.
    pub two_apps: bool,
    /// Packets for each app.
    pub packets: u8,
    /// Rules that the newer release of each app adds to one of the older release, on a switch that carries out changes late and
    /// is sent one at a time; 0: neither release wants any rule.
    pub rules: u8,
    /// Packets that the proxy reads from the switch at once: it delivers them at once, and one turn answers them.
    pub at_once: u8,
    /// The app is slow: the proxy's clock goes on with each of its turns, so that packets grow old. There is one app then, the
    /// proxy does not die, the first packet comes alone, so that the app is known to be slow before the others come, and what an
    /// instance sends to the store comes there at once.
    pub slow: bool,
    /// Times that the proxy's clock goes on at any moment while packets wait for a slow app.
    pub waits: u8,
    /// Upgrades, one after the other.
    pub upgrades: u8,
    pub schemas: Schemas,
    /// Number of the packet that kills each instance that handles it.
    pub poison: Option<u8>,
    /// Number of the packet on which the app fails, after it has changed its row.
    pub failing: Option<u8>,
    /// Number of the packet that the app answers and does not write down: its turn moves the cursor only.
    pub unwritten: Option<u8>,
    /// Faults in one run.
    pub faults: u8,
    pub kinds: Kinds,
    /// The store's answers, and its news of what others wrote, come at any time; else at once, and when they are waited for.
    pub late: bool,
    /// The app's turns are stored before they are on disk.
    pub lazy: bool,
    pub mutation: Option<Mutation>,
}

impl Setup {
    /// One app, one upgrade, two packets, and nothing goes wrong.
    pub const SMALL: Setup = Setup {
        two_apps: false,
        packets: 2,
        rules: 0,
        at_once: 1,
        slow: false,
        waits: 0,
        upgrades: 1,
        schemas: Schemas::Same,
        poison: None,
        failing: None,
        unwritten: None,
        faults: 0,
        kinds: Kinds::NONE,
        late: false,
        lazy: false,
        mutation: None,
    };

    pub(crate) fn apps(&self) -> Vec<String> {
        let apps = ["a", "b"].into_iter().map(str::to_owned);
        apps.take(if self.two_apps { 2 } else { 1 }).collect()
    }

    pub(crate) fn is_broken(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Whether the app writes a packet down.
    pub(crate) fn is_written(&self, number: u8) -> bool {
        self.is_sent(number) && self.unwritten != Some(number)
    }

    /// Whether the app answers a packet.
    pub(crate) fn is_sent(&self, number: u8) -> bool {
        self.failing != Some(number)
    }

    /// Shadows may exist.
    pub(crate) fn migrates(&self) -> bool {
        self.schemas != Schemas::Same
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setup {
            packets,
            upgrades,
            faults,
            ..
        } = self;
        let apps = if self.two_apps {
            "a group of two apps"
        } else {
            "one app"
        };
        write!(
            f,
            "{apps}, {upgrades} upgrades, {packets} packets, {faults} faults"
        )?;
        let kinds = self.kinds.names();
        if !kinds.is_empty() {
            write!(f, " ({})", kinds.join(", "))?;
        }
        match self.schemas {
            Schemas::Same => {}
            Schemas::Newer => write!(f, ", to a newer schema")?,
            Schemas::Older => write!(f, ", to an older schema")?,
        }
        if self.rules > 0 {
            write!(f, ", {} rules", self.rules)?;
        }
        if self.at_once > 1 {
            write!(f, ", {} at once", self.at_once)?;
        }
        if self.slow {
            write!(f, ", a slow app, {} waits", self.waits)?;
        }
        let special = [
            (self.poison, "is poison"),
            (self.failing, "fails"),
            (self.unwritten, "is not written down"),
        ];
        for (number, what) in special {
            if let Some(number) = number {
                write!(f, ", packet {number} {what}")?;
            }
        }
        for (is, what) in [(self.late, "late answers"), (self.lazy, "a lazy disk")] {
            if is {
                write!(f, ", {what}")?;
            }
        }
        self.mutation
            .map_or(Ok(()), |mutation| write!(f, ", broken: {mutation:?}"))
    }
}
