//! Bounds on hosts: of a port, of a switch and of the network. So a port with invented addresses takes no place of another one.
//!
//! A host beyond a bound is not learned. Its frames still pass, by the rule of its port, and each of them is punted as well; what
//! is for it is flooded, as for any address that nobody knows, and ARP for it is answered by itself. It is learned as soon as
//! another one is forgotten. A host that is known keeps its place, also where a bound is lowered.
//!
//! Counts are those of the SDK's indexes, which follow each change of a row. Counts in the store would take more rows for each
//! host of a flood, and would be missing in what release 1.0.0 leaves; counts in fields of the app would be wrong after a turn that
//! is undone.

use morph_sdk::{Alarm, Changes, Dpid, Key, Setting, Turn, View};

use crate::host_tables::{HOSTS, HOSTS_BY_PORT, HOSTS_BY_SWITCH};
use crate::tables::{End, LIMITS};

/// Most hosts of a port: more than should be behind one, and a tenth of the network's, so that nine ports with too many leave
/// room for others.
pub const HOSTS_PER_PORT: Setting = Setting::new(LIMITS, "hosts-per-port", 1000);
/// Most hosts of a switch: half of the network's. It is also what one flow table may have room for.
pub const HOSTS_PER_SWITCH: Setting = Setting::new(LIMITS, "hosts-per-switch", 5000);
/// Most hosts of the network.
pub const HOSTS_IN_ALL: Setting = Setting::new(LIMITS, "hosts", 10_000);

/// Alarm that hosts are not learned, because there are too many.
pub const LIMIT_REACHED: &str = "host-limit";
/// Share of a bound that has to be free before its alarm ends. One host that goes would end it for the next one only.
const ROOM: usize = 100;

/// Part of the network with a bound of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    Port(End),
    Switch(Dpid),
    Network,
}

impl Bound {
    /// First bound that leaves no room for a host at port `to`. A host that moves there already counts for the bounds that hold
    /// port `from` as well.
    pub(crate) fn reached(from: Option<End>, to: End, view: &View<'_>) -> Option<Bound> {
        let bounds = [Bound::Port(to), Bound::Switch(to.0), Bound::Network];
        let counts_there = |bound: &Bound| from.is_some_and(|from| bound.holds(from));
        let mut further = bounds.into_iter().filter(|bound| !counts_there(bound));
        further.find(|bound| bound.count(view) >= bound.limit(view))
    }

    fn holds(self, end: End) -> bool {
        match self {
            Bound::Port(port) => port == end,
            Bound::Switch(dpid) => dpid == end.0,
            Bound::Network => true,
        }
    }

    fn limit(self, view: &View<'_>) -> usize {
        let setting = match self {
            Bound::Port(_) => HOSTS_PER_PORT,
            Bound::Switch(_) => HOSTS_PER_SWITCH,
            Bound::Network => HOSTS_IN_ALL,
        };
        usize::try_from(setting.get(view)).unwrap_or(usize::MAX)
    }

    /// Number of hosts, which costs the same however many there are.
    fn count(self, view: &View<'_>) -> usize {
        match self {
            Bound::Port(end) => view.count_in(&HOSTS_BY_PORT, &end),
            Bound::Switch(dpid) => view.count_in(&HOSTS_BY_SWITCH, &dpid),
            Bound::Network => view.count(&HOSTS),
        }
    }

    fn has_room(self, view: &View<'_>) -> bool {
        let limit = self.limit(view);
        let room = (limit / ROOM).max(1);
        self.count(view) + room <= limit
    }

    /// Subject of the alarm.
    fn subject(self) -> String {
        match self {
            Bound::Port(end) => end.text(),
            Bound::Switch(dpid) => dpid.text(),
            Bound::Network => String::new(),
        }
    }

    fn of_subject(subject: &str) -> Option<Bound> {
        match subject {
            "" => Some(Bound::Network),
            _ => End::parse_exact(subject)
                .map(Bound::Port)
                .or_else(|| Dpid::parse_exact(subject).map(Bound::Switch)),
        }
    }

    /// Raises the alarm that a host was not learned.
    pub(crate) fn refuse(self, turn: &mut Turn<'_>) {
        let limit = self.limit(&turn.view());
        let (place, setting) = match self {
            Bound::Port(_) => ("are at this port", HOSTS_PER_PORT),
            Bound::Switch(_) => ("are at this switch", HOSTS_PER_SWITCH),
            Bound::Network => ("are known", HOSTS_IN_ALL),
        };
        let text =
            format!("{limit} hosts {place}, which is the limit: further ones are not learned");
        let find = match self {
            Bound::Port(_) => {
                "find out what sends from so many addresses there, and take the port out of service"
            }
            Bound::Switch(_) | Bound::Network => {
                "find the port with too many of them in `morphctl hosts`, and take it out of service"
            }
        };
        let name = setting.name();
        let mend = format!(
            "{find}; or allow more: `morphctl config set app=topology {}.{name}=N`. Idle hosts are forgotten after five minutes",
            LIMITS.name()
        );
        let alarm = Alarm::new(LIMIT_REACHED, self.subject(), text, mend);
        let alarm = match self {
            Bound::Port((dpid, port)) => alarm.on_port(dpid, port),
            Bound::Switch(dpid) => alarm.on_switch(dpid),
            Bound::Network => alarm,
        };
        turn.raise(&alarm);
    }
}

/// Ends the alarms of bounds below which there is room again.
pub(crate) fn end_refusals(turn: &mut Turn<'_>) {
    for subject in turn.raised(LIMIT_REACHED) {
        let bound = Bound::of_subject(&subject);
        if bound.is_none_or(|bound| bound.has_room(&turn.view())) {
            turn.end_alarm(LIMIT_REACHED, &subject);
        }
    }
}

/// Warns of settings that have no meaning.
pub(crate) fn check(changes: &Changes, view: &View<'_>) {
    let all = [HOSTS_PER_PORT, HOSTS_PER_SWITCH, HOSTS_IN_ALL];
    Setting::check(&LIMITS, &all, changes, view);
}
