//! Changes of the records of apps and of their releases.

use super::call::{Call, NewPrimary, RecordWrite};
use super::outbox::{AppChange, AppChangeKind, Purpose};
use super::pipeline;
use super::record::{APPS, EVENTS, RELEASES, ReleaseRow, ReleaseStatus, Write};
use super::state::State;
use crate::release::Release;

/// Writes the record of an app that is to change, with its releases. A start creates its state where it has none.
pub(super) fn write_change(state: &mut State, change: AppChange) {
    let app = &change.app;
    let mut writes = vec![Write::new(APPS, app, &change.row)];
    match change.then {
        AppChangeKind::Start(_) => writes.push(pipeline::write(app, state.pipeline.get(app))),
        AppChangeKind::Remove(_) => writes.push(pipeline::write(app, None)),
        AppChangeKind::Stop(_) | AppChangeKind::CrashLoop => {}
    }
    if let Some(permanent) = &change.permanent {
        writes.push(release_write(permanent, ReleaseStatus::Permanent));
    }
    let passed_on = change.passed_on.iter();
    writes.extend(passed_on.map(|(id, row)| Write::new(EVENTS, id.as_str(), row)));
    let displaced = change.displaced.as_ref();
    let displaced = displaced.filter(|version| **version != change.row.release);
    let displaced = displaced.and_then(|version| state.releases.get(app, version));
    writes.extend(displaced.map(|old| release_write(old, ReleaseStatus::Old)));
    let started = change.permanent.as_ref();
    let started = started.filter(|_| matches!(change.then, AppChangeKind::Start(_)));
    let primary = started.map(|release| NewPrimary::of(&release.manifest));
    let write = RecordWrite {
        writes,
        primary,
        ..RecordWrite::default()
    };
    state
        .outbox
        .call(Call::Write(write), Purpose::App(Box::new(change)));
}

/// The record of a release, with this status.
pub(super) fn release_write(release: &Release, status: ReleaseStatus) -> Write {
    let row = ReleaseRow {
        status,
        ..release.row.clone()
    };
    row_write(release, row)
}

/// The record of a release of which a fence lets an instance in.
pub(super) fn live_write(release: &Release, status: ReleaseStatus) -> Write {
    let row = ReleaseRow {
        status,
        live: Some(true),
        ..release.row.clone()
    };
    row_write(release, row)
}

fn row_write(release: &Release, row: ReleaseRow) -> Write {
    let (app, version) = (&release.manifest.name, &release.manifest.version);
    Write::new(RELEASES, format!("{app}/{version}"), &row)
}

/// Takes over the statuses of releases that a change has written.
pub(super) fn change_releases(state: &mut State, change: &AppChange) {
    let (app, now) = (&change.app, &change.row.release);
    if let Some(old) = change.displaced.as_ref().filter(|old| *old != now) {
        state.releases.set_status(app, old, ReleaseStatus::Old);
    }
    if change.permanent.is_some() {
        state
            .releases
            .set_status(app, now, ReleaseStatus::Permanent);
    }
}
