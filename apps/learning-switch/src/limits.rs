//! Settings: rows of `limits`, or their defaults.

use morph_sdk::{Changes, View, tracing};

use crate::tables::LIMITS;

/// Most hosts of a switch.
const HOSTS_PER_SWITCH: (&str, u32) = ("hosts-per-switch", 16_384);
/// Most hosts of a port: a quarter of a switch's, so that three ports with too many leave room for the others. It is also
/// what a /20 network holds, more than should be behind one port.
const HOSTS_PER_PORT: (&str, u32) = ("hosts-per-port", 4096);
/// Seconds without a packet after which a host is forgotten.
const IDLE_SECONDS: (&str, u32) = ("idle-seconds", 300);

const ALL: [(&str, u32); 3] = [HOSTS_PER_SWITCH, HOSTS_PER_PORT, IDLE_SECONDS];

/// Most pairs of a switch with one table. Its flow table seldom holds more; and the pairs of two hosts, each of two rows, can be
/// forgotten in one transaction.
pub(crate) const PAIRS_PER_SWITCH: u32 = 4096;
/// Most pairs whose packets come in by one port: a quarter, as for hosts.
pub(crate) const PAIRS_PER_PORT: u32 = 1024;

pub(crate) fn hosts_per_switch(view: &View<'_>) -> u32 {
    get(HOSTS_PER_SWITCH, view)
}

pub(crate) fn hosts_per_port(view: &View<'_>) -> u32 {
    get(HOSTS_PER_PORT, view)
}

pub(crate) fn idle_seconds(view: &View<'_>) -> u16 {
    u16::try_from(get(IDLE_SECONDS, view)).unwrap_or(u16::MAX)
}

/// Whether the rules of hosts depend on this setting.
pub(crate) fn is_of_rules(name: &str) -> bool {
    name == IDLE_SECONDS.0
}

fn get((name, default): (&str, u32), view: &View<'_>) -> u32 {
    view.get(&LIMITS, &name.to_owned()).unwrap_or(default)
}

/// Says which settings have no meaning.
pub(crate) fn check(changes: &Changes, view: &View<'_>) {
    let changed = changes.keys(&LIMITS);
    let all = changes
        .all
        .then(|| view.iter(&LIMITS).map(|(name, _)| name));
    for name in changed.chain(all.into_iter().flatten()) {
        if !ALL.iter().any(|(known, _)| *known == name) {
            let known = ALL.map(|(known, _)| known).join(", ");
            tracing::warn!("limits.{name} has no effect: the settings are {known}");
        }
    }
}
