//! The statuses of upgrades, for those who watch.

use morph_api::fail;
use morph_api::management::{Step, UpgradeStatus};
use tokio::sync::{mpsc, oneshot};

use super::Supervisor;
use super::record::count;
use super::upgrades::{Running, Said};
use crate::boot::Moment;
use crate::records::UpgradeRow;

/// Statuses under way to one watcher of all upgrades. One that does not read so many is not watching: it is let go.
pub(super) const FOLLOWED: usize = 256;

impl Supervisor {
    /// Says a status that has become true.
    pub(super) fn publish(&mut self, app: &str, step: Step, message: String) {
        step_reached(step);
        // The last one is said once the app is itself again: see `last_status`.
        if matches!(step, Step::Committed | Step::RolledBack) {
            return;
        }
        let Some(running) = self
            .apps
            .get_mut(app)
            .and_then(|managed| managed.upgrade.as_mut())
        else {
            return;
        };
        running.row.message = message;
        let status = status(app, step, running);
        tell_asker(running, &status);
        self.tell_followers(&status);
    }

    /// The last one: whoever waits for the end has it now.
    pub(super) fn last_status(
        &mut self,
        app: &str,
        row: UpgradeRow,
        asker: Option<mpsc::Sender<UpgradeStatus>>,
        waiting: Vec<oneshot::Sender<UpgradeStatus>>,
    ) {
        let status = status_of(app, &row);
        if let Some(asker) = asker {
            let _ = asker.try_send(status.clone());
        }
        for waiting in waiting {
            let _ = waiting.send(status.clone());
        }
        self.tell_followers(&status);
        self.counts.ended(&status);
        if let Some(managed) = self.apps.get_mut(app) {
            managed.last = Some(row);
        }
    }

    fn tell_followers(&mut self, status: &UpgradeStatus) {
        let (app, step, id) = (&status.app, status.step().as_str_name(), &status.id);
        let (from, to, message) = (&status.from, &status.to, &status.message);
        tracing::info!(app, id, from, to, step, message, "upgrade");
        self.followers.retain(|(only, follower)| {
            only.as_ref().is_some_and(|only| only != app)
                || follower.try_send(status.clone()).is_ok()
        });
    }

    /// The running upgrades and the last one of each app.
    pub(super) fn statuses(&self, only: Option<&str>) -> Vec<UpgradeStatus> {
        let apps = self
            .apps
            .iter()
            .filter(|(name, _)| only.is_none_or(|only| only == *name));
        apps.filter_map(|(name, managed)| match &managed.upgrade {
            Some(running) => {
                let mut row = running.row.clone();
                count(&mut row, running.machine.numbers());
                let mut status = status_of(name, &row);
                if let Some(said) = running.said {
                    status.set_step(said.step);
                    (status.unix_ms, status.since_start_us) = (said.unix_ms, said.since_start_us);
                }
                Some(status)
            }
            None => managed.last.as_ref().map(|row| status_of(name, row)),
        })
        .collect()
    }
}

/// A place where a test can end, stop or hang morphd; nothing here could fail with an error.
pub(super) fn may_fail(place: &str) {
    let _ = fail::point(place);
}

/// A place where tests make morphd fail: what the status says is on disk, and nothing of what follows has been done.
/// `morphd.upgrade.STEP`, as `morphd.upgrade.quiescing`.
fn step_reached(step: Step) {
    // There is nothing here that could fail with an error: that is what the record is for.
    let _ = fail::point(&format!(
        "morphd.upgrade.{}",
        step.as_str_name().to_lowercase()
    ));
}

fn tell_asker(running: &mut Running, status: &UpgradeStatus) {
    // Its queue takes all statuses of an upgrade; refused only when it went away, and that stops nothing.
    if running
        .asker
        .as_ref()
        .is_some_and(|asker| asker.try_send(status.clone()).is_err())
    {
        running.asker = None;
    }
}

fn status(app: &str, step: Step, running: &mut Running) -> UpgradeStatus {
    running.row.step = step.as_str_name().to_owned();
    running.row.step_unix_ms = super::unix_ms();
    running.row.step_at = Moment::now();
    running.row.since_start_us =
        u64::try_from(running.started.elapsed().as_micros()).unwrap_or(u64::MAX);
    running.said = Some(Said {
        step,
        unix_ms: running.row.step_unix_ms,
        since_start_us: running.row.since_start_us,
    });
    status_of(app, &running.row)
}

/// A record as people see it.
pub(super) fn status_of(app: &str, row: &UpgradeRow) -> UpgradeStatus {
    let step = Step::from_str_name(&row.step).unwrap_or_default();
    UpgradeStatus {
        app: app.to_owned(),
        from: row.from.clone(),
        to: row.to.clone(),
        step: step.into(),
        unix_ms: row.step_unix_ms,
        since_start_us: row.since_start_us,
        message: row.message.clone(),
        id: row.id.clone(),
        handover_us: row.handover_us,
        events_held: row.events_held,
        events_replayed: row.events_replayed,
        rules_added: row.rules_added,
        rules_changed: row.rules_changed,
        rules_removed: row.rules_removed,
        rules_unchanged: row.rules_unchanged,
        back_handover_us: row.back_handover_us,
        by: row.by.clone(),
        groups_checked: row.groups_checked,
        groups_lossy: row.groups_lossy,
        losses: row.losses.clone(),
        with: row.with.clone(),
    }
}

/// A channel for one who watches all upgrades.
pub(super) fn followed() -> (mpsc::Sender<UpgradeStatus>, mpsc::Receiver<UpgradeStatus>) {
    mpsc::channel(FOLLOWED)
}
