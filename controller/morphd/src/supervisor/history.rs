//! Records of the upgrades that have ended: bounded, and shown to people.

use morph_api::management::PastUpgrade;

use crate::machine::record::{HISTORY, UpgradeRecord, Write};
use crate::machine::upgrade::EndedBy;
use crate::records::Records;

/// Records of each app that are kept: older ones go with each upgrade that ends.
const KEPT: usize = 100;

/// All that is kept, oldest first; of one app, where it is named. A record that cannot be read is left out: nothing is
/// decided by it.
pub(crate) async fn past(records: &Records, app: &str) -> Result<Vec<PastUpgrade>, String> {
    let rows = records.load::<UpgradeRecord>(HISTORY).await;
    let rows = rows.map_err(|away| away.to_string())?;
    let mut past = Vec::new();
    for (key, record) in rows {
        let Some((name, _)) = key.split_once('/') else {
            continue;
        };
        match record {
            Ok(record) if app.is_empty() || name == app => past.push(shown(name, record)),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(key, %error, "the record of an ended upgrade cannot be read")
            }
        }
    }
    past.sort_by(|a, b| (a.started_unix_ms, &a.app).cmp(&(b.started_unix_ms, &b.app)));
    Ok(past)
}

fn shown(app: &str, record: UpgradeRecord) -> PastUpgrade {
    let (plan, progress, counts) = (record.plan, record.progress, record.counts);
    PastUpgrade {
        app: app.to_owned(),
        from: plan.from.to_string(),
        to: plan.to.to_string(),
        step: progress.step.into(),
        who: plan.who,
        started_unix_ms: progress.started_unix_ms,
        ended_unix_ms: progress.step_unix_ms,
        took_us: progress.since_start_us,
        by: progress.by.map_or("", EndedBy::name).to_owned(),
        message: progress.message,
        handover_us: counts.handover_us,
        back_handover_us: counts.back_handover_us,
        events_held: counts.events_held,
        events_replayed: counts.events_replayed,
        rules_added: counts.rules_added,
        rules_changed: counts.rules_changed,
        rules_removed: counts.rules_removed,
        rules_unchanged: counts.rules_unchanged,
        id: record.id,
        with: record.with,
        events_handled: counts.events_handled,
        untested: counts.untested,
    }
}

/// Deletes the oldest records of an app.
pub(super) async fn bound(records: &Records, app: &str) -> Result<(), String> {
    let keys = records.keys(HISTORY).await;
    let mut keys = keys.map_err(|away| away.to_string())?;
    let prefix = format!("{app}/");
    keys.retain(|key| key.starts_with(&prefix));
    let over = keys.len().saturating_sub(KEPT);
    let oldest = keys.into_iter().take(over);
    let drops: Vec<Write> = oldest.map(|key| Write::gone(HISTORY, key)).collect();
    if drops.is_empty() {
        return Ok(());
    }
    let dropped = records.write(&drops, &[]).await;
    dropped.map(drop).map_err(|refusal| refusal.to_string())
}
