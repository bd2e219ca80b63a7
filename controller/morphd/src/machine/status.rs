//! Statuses of upgrades, as people see them.

use morph_api::management::UpgradeStatus;

use super::record::{CountsRecord, UpgradeRecord};
use super::upgrade::{EndedBy, Numbers};

/// Puts into a record what the upgrade has counted by now.
pub(super) fn count(record: &mut CountsRecord, numbers: &Numbers) {
    if let Some(forward) = numbers.forward {
        record.handover_us = forward.held_us;
        record.events_held = forward.queued;
        record.events_replayed = forward.replayed;
    }
    let mut rules = numbers.forward_rules;
    if let Some(back) = numbers.back {
        record.back_handover_us = back.held_us;
        rules = numbers.back_rules;
    }
    record.rules_added = rules.added;
    record.rules_changed = rules.changed;
    record.rules_removed = rules.removed;
    record.rules_unchanged = rules.unchanged;
    record.events_handled = numbers.events;
    record.untested = numbers.untested;
}

pub(super) fn status_of(app: &str, record: &UpgradeRecord) -> UpgradeStatus {
    let (progress, counts) = (&record.progress, &record.counts);
    UpgradeStatus {
        app: app.to_owned(),
        from: record.plan.from.to_string(),
        to: record.plan.to.to_string(),
        step: progress.step.into(),
        unix_ms: progress.step_unix_ms,
        since_start_us: progress.since_start_us,
        message: progress.message.clone(),
        id: record.id.clone(),
        handover_us: counts.handover_us,
        events_held: counts.events_held,
        events_replayed: counts.events_replayed,
        rules_added: counts.rules_added,
        rules_changed: counts.rules_changed,
        rules_removed: counts.rules_removed,
        rules_unchanged: counts.rules_unchanged,
        back_handover_us: counts.back_handover_us,
        by: progress.by.map_or("", EndedBy::name).to_owned(),
        groups_checked: record.shadow.groups_checked,
        groups_lossy: record.shadow.groups_lossy,
        losses: record.shadow.losses.clone(),
        with: record.with.clone(),
        events_handled: counts.events_handled,
        untested: counts.untested,
    }
}
