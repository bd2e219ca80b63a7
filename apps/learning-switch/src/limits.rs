//! Settings: rows of `limits`, or their defaults.

use morph_sdk::{Changes, Setting, View};

use crate::tables::LIMITS;

/// Most hosts of a switch.
pub(crate) const HOSTS_PER_SWITCH: Setting = Setting::new(LIMITS, "hosts-per-switch", 16_384);
/// Most hosts of a port: a quarter of a switch's, so that three ports with too many leave room for the others. It is also
/// what a /20 network holds, more than should be behind one port.
pub(crate) const HOSTS_PER_PORT: Setting = Setting::new(LIMITS, "hosts-per-port", 4096);
/// Seconds without a packet after which a host is forgotten.
const IDLE_SECONDS: Setting = Setting::new(LIMITS, "idle-seconds", 300);

/// Most pairs of a switch with one table. Its flow table seldom holds more; and the pairs of two hosts, each of two rows, can be
/// forgotten in one transaction.
pub(crate) const PAIRS_PER_SWITCH: u32 = 4096;
/// Most pairs whose packets come in by one port: a quarter, as for hosts.
pub(crate) const PAIRS_PER_PORT: u32 = 1024;

/// Idle timeout of a host's rule, at most what a rule can have.
pub(crate) fn idle_seconds(view: &View<'_>) -> u16 {
    u16::try_from(IDLE_SECONDS.get(view)).unwrap_or(u16::MAX)
}

/// Whether the rules of hosts depend on this setting.
pub(crate) fn is_of_rules(name: &str) -> bool {
    name == IDLE_SECONDS.name()
}

/// Warns of settings that have no meaning.
pub(crate) fn check(changes: &Changes, view: &View<'_>) {
    let all = [HOSTS_PER_SWITCH, HOSTS_PER_PORT, IDLE_SECONDS];
    Setting::check(&LIMITS, &all, changes, view);
}
