//! What became of the upgrades so far: written with the last record of each, and bounded.

use std::sync::Arc;

use morph_api::management::{PastUpgrade, Step};

use super::Supervisor;
use crate::records::{HISTORY, Records, UpgradeRow, Write};

/// So many of each app are kept: the older ones go when a morphd starts, and with each that ends.
const KEPT: usize = 100;

/// The record of an upgrade that has ended.
pub(super) fn write(app: &str, row: &UpgradeRow) -> Write {
    Write::new(HISTORY, key(app, row), row)
}

fn key(app: &str, row: &UpgradeRow) -> String {
    format!("{app}/{:013}/{}", row.started_unix_ms, row.id)
}

/// All that is kept, oldest first; of one app, where it is named.
pub(crate) async fn past(records: &Records, app: &str) -> Result<Vec<PastUpgrade>, String> {
    let rows = records.load::<UpgradeRow>(HISTORY).await;
    let rows = rows.map_err(|away| away.to_string())?;
    let of = |(key, row): (String, UpgradeRow)| {
        let (name, _) = key.split_once('/')?;
        (app.is_empty() || name == app).then(|| past_upgrade(name, row))
    };
    let mut past: Vec<PastUpgrade> = rows.into_iter().filter_map(of).collect();
    past.sort_by(|a, b| (a.started_unix_ms, &a.app).cmp(&(b.started_unix_ms, &b.app)));
    Ok(past)
}

fn past_upgrade(app: &str, row: UpgradeRow) -> PastUpgrade {
    PastUpgrade {
        app: app.to_owned(),
        from: row.from,
        to: row.to,
        step: Step::from_str_name(&row.step).unwrap_or_default().into(),
        who: row.who,
        started_unix_ms: row.started_unix_ms,
        ended_unix_ms: row.step_unix_ms,
        took_us: row.since_start_us,
        by: row.by,
        message: row.message,
        handover_us: row.handover_us,
        back_handover_us: row.back_handover_us,
        events_held: row.events_held,
        events_replayed: row.events_replayed,
        rules_added: row.rules_added,
        rules_changed: row.rules_changed,
        rules_removed: row.rules_removed,
        rules_unchanged: row.rules_unchanged,
        id: row.id,
        with: row.with,
    }
}

impl Supervisor {
    /// Lets go of the oldest ones of an app.
    pub(super) fn bound_history(&self, app: &str) {
        let (records, app) = (Arc::clone(&self.records), app.to_owned());
        let call = async move {
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
        };
        self.after(call, |_, result: Result<(), String>| {
            if let Err(why) = result {
                tracing::warn!(why, "the history of upgrades is not bounded");
            }
        });
    }
}
