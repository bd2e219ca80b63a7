//! Shadows of apps' states: what their makers say of them, and those that stand for readers of another schema.
//!
//! A shadow for readers is looked at from how things are: who reads what, which shadow there is, and whose. A commit leaves
//! the former primary as a shadow of the target; where that is gone, a new shadow is made.

use std::time::Duration;

use morph_api::management::{Migration, MigrationLoss};
use morph_api::store::Keyspace;
use morph_api::supervisor::{Loss, ShadowProgress};

use super::call::{Answer, Call};
use super::instances::InstanceId;
use super::lifecycle::LifecycleState;
use super::outbox::Purpose;
use super::query::readers;
use super::state::{App, State};
use super::upgrade::{Order, ShadowInput, ShadowOutput};

/// Attempts to make a shadow for readers before it is given up: a migration that ends its instance would do so again.
const ATTEMPTS: u32 = 3;
/// Between two looks while somebody reads another schema.
const LOOK: Duration = Duration::from_secs(5);

// ---- what makers say ----

/// An instance is going to make a shadow in this keyspace and schema.
pub(super) fn begun(state: &mut State, app: &str, maker: &str, (keyspace, schema): (u32, u32)) {
    let plan = state.run(app).map(|run| &run.record.plan);
    let from = plan.map_or(0, |plan| match plan.target_schema == schema {
        true => plan.source_schema,
        false => plan.target_schema,
    });
    let unix_ms = state.outbox.present.unix_ms;
    if let Some(known) = state.apps.get_mut(app) {
        known.migration = Some(Migration {
            app: app.to_owned(),
            keyspace,
            from_schema: from,
            to_schema: schema,
            instance: maker.to_owned(),
            unix_ms,
            ..Migration::default()
        });
    }
}

/// The maker of a shadow reports how far it is. Returns what that means for the job.
pub(super) fn reported(
    state: &mut State,
    app: &str,
    maker: &str,
    report: &ShadowProgress,
) -> ShadowInput {
    note(state, app, maker, report);
    let keyspace = report.keyspace;
    let input = match report.error.is_empty() {
        true => ShadowInput::Progress {
            keyspace,
            complete: report.complete,
            lossy: report.lossy,
        },
        false => ShadowInput::Failed {
            keyspace,
            why: report.error.clone(),
        },
    };
    if state.run(app).is_none() {
        feed_job(state, app, maker, &input);
    }
    input
}

fn note(state: &mut State, app: &str, maker: &str, report: &ShadowProgress) {
    if let Some(run) = state.run_mut(app)
        && report.error.is_empty()
    {
        let record = &mut run.record.shadow;
        record.groups_checked = report.groups;
        record.groups_lossy = report.lossy;
        record.losses = report.losses.iter().map(sentence).collect();
    }
    let unix_ms = state.outbox.present.unix_ms;
    let Some(known) = state.apps.get_mut(app) else {
        return;
    };
    // The schemas of a shadow that another morphd ordered are unknown here.
    let before = known.migration.take();
    let before = before.filter(|migration| migration.keyspace == report.keyspace);
    known.migration = Some(Migration {
        app: app.to_owned(),
        keyspace: report.keyspace,
        instance: maker.to_owned(),
        groups: report.groups,
        groups_total: report.groups_total,
        rows: report.rows,
        source_rows: report.source_rows,
        watermark: report.watermark,
        complete: report.complete,
        lossy: report.lossy,
        losses: report.losses.iter().map(loss).collect(),
        error: report.error.clone(),
        unix_ms,
        ..before.unwrap_or_default()
    });
}

fn loss(loss: &Loss) -> MigrationLoss {
    MigrationLoss {
        group: loss.group.clone(),
        row: loss.row.clone(),
        before: loss.before.clone(),
        after: loss.after.clone(),
        error: loss.error.clone(),
    }
}

/// A loss in a sentence for people.
fn sentence(loss: &Loss) -> String {
    if !loss.error.is_empty() {
        return loss.error.clone();
    }
    let or_none = |text: &str| match text {
        "" => "no row".to_owned(),
        text => text.to_owned(),
    };
    let (before, after) = (or_none(&loss.before), or_none(&loss.after));
    format!("{}: {before} comes back as {after}", loss.row)
}

// ---- shadows for readers ----

/// Looks at the shadows that readers need, when that is due.
pub(super) fn time(state: &mut State) {
    let now = state.now();
    if state.shadows_at.take_if(|at| *at <= now).is_none() {
        return;
    }
    let under_way = |purpose: &Purpose| matches!(purpose, Purpose::ReaderShadows);
    if !state.outbox.awaits(under_way) {
        state.outbox.call(Call::ReadStore, Purpose::ReaderShadows);
    }
}

pub(super) fn keyspaces_read(state: &mut State, answer: Answer) {
    let view = answer.store().unwrap_or_default();
    let apps: Vec<String> = state.apps.keys().cloned().collect();
    let mut read = false;
    for app in apps {
        let Some(known) = state.apps.get(&app) else {
            continue;
        };
        let wanted = wanted(state, &app, known);
        read |= wanted.is_some();
        if let Some(live) = live(known).cloned() {
            see_to(state, &app, (wanted, live), &view.keyspaces);
        }
    }
    if read {
        let next = state.now() + LOOK;
        state.shadows_at.get_or_insert(next);
    }
}

/// The schema beside its own in which an app is read, if its release can keep that up.
fn wanted(state: &State, app: &str, known: &App) -> Option<u32> {
    let release = state.releases.get(app, &known.row.release)?;
    let manifest = &release.manifest;
    let mut schemas = readers(state, app).into_iter().map(|(_, schema)| schema);
    schemas.find(|schema| *schema != manifest.schema && manifest.migrates.contains(schema))
}

/// The instance that serves, where no upgrade has a say.
fn live(app: &App) -> Option<&InstanceId> {
    match (&app.upgrade, app.lifecycle.state()) {
        (None, LifecycleState::Running { instance }) => Some(instance),
        _ => None,
    }
}

/// Need of an app for a shadow.
#[derive(Debug, PartialEq, Eq)]
enum Need {
    Nothing,
    /// Nobody reads these.
    Drop(Vec<u32>),
    Make(u32),
}

fn need(app: &str, wanted: Option<u32>, live: &str, keyspaces: &[Keyspace]) -> Need {
    let of_app = || keyspaces.iter().filter(|keyspace| keyspace.app == app);
    let shadows = || of_app().filter(|keyspace| !keyspace.primary);
    let has_primary = of_app().any(|keyspace| keyspace.primary);
    let is_kept = |schema| shadows().any(|s| s.schema == schema && s.owner == live);
    match wanted {
        Some(schema) if has_primary && !is_kept(schema) => Need::Make(schema),
        Some(_) => Need::Nothing,
        None if shadows().next().is_none() => Need::Nothing,
        None => Need::Drop(shadows().map(|keyspace| keyspace.id).collect()),
    }
}

fn see_to(
    state: &mut State,
    app: &str,
    (wanted, live): (Option<u32>, InstanceId),
    keyspaces: &[Keyspace],
) {
    match need(app, wanted, &live, keyspaces) {
        Need::Nothing => {}
        Need::Drop(ids) => {
            let app = app.to_owned();
            let purpose = Purpose::Log("a shadow is not dropped");
            state.outbox.call(Call::DropKeyspaces { app, ids }, purpose);
        }
        Need::Make(schema) => make(state, app, schema, live),
    }
}

fn make(state: &mut State, app: &str, schema: u32, live: InstanceId) {
    let Some(known) = state.apps.get_mut(app) else {
        return;
    };
    let tried = &mut known.reader_shadow;
    if (tried.schema, &tried.release) != (schema, &known.row.release) {
        tried.schema = schema;
        tried.release.clone_from(&known.row.release);
        tried.attempts = 0;
    }
    if tried.attempts == ATTEMPTS {
        return;
    }
    tried.attempts += 1;
    if tried.attempts == ATTEMPTS {
        tracing::error!(
            app,
            schema,
            "the shadow for readers is made for the last time: {ATTEMPTS} instances did not keep it up"
        );
    }
    let output = tried.job.begin(schema);
    job_output(state, app, &live, output);
}

/// Does what the job of a shadow for readers asks for.
fn job_output(state: &mut State, app: &str, maker: &str, output: ShadowOutput) {
    let (app, maker) = (app.to_owned(), maker.to_owned());
    match output {
        ShadowOutput::Make(schema) => {
            let call = Call::MakeKeyspace {
                app: app.clone(),
                schema,
                owner: maker.clone(),
            };
            let purpose = Purpose::ReaderKeyspace { app, maker, schema };
            state.outbox.call(call, purpose);
        }
        ShadowOutput::Fill { keyspace, schema } => {
            let order = Order::MakeShadow { keyspace, schema };
            let call = Call::Instruct {
                app,
                instance: maker,
                order,
            };
            let purpose = Purpose::Log("a shadow for readers is not made yet");
            state.outbox.call(call, purpose);
        }
        ShadowOutput::Drop(keyspace) => {
            let ids = vec![keyspace];
            let purpose = Purpose::Log("a shadow is not dropped");
            state.outbox.call(Call::DropKeyspaces { app, ids }, purpose);
        }
        ShadowOutput::Fail(why) => {
            tracing::warn!(app, why, "a shadow for readers is not made yet");
        }
        // Nobody switches over to it.
        ShadowOutput::Flush => {}
    }
}

/// One input of the job of an app's shadow for readers.
fn feed_job(state: &mut State, app: &str, maker: &str, input: &ShadowInput) {
    let now = state.now();
    let Some(known) = state.apps.get_mut(app) else {
        return;
    };
    if let Some(output) = known.reader_shadow.job.handle(input, now) {
        job_output(state, app, maker, output);
    }
}

/// The keyspace of a shadow for readers is there, or not.
pub(super) fn keyspace_made(
    state: &mut State,
    app: &str,
    (maker, schema): (InstanceId, u32),
    answer: Answer,
) {
    let input = match answer.keyspace() {
        Ok(keyspace) => {
            begun(state, app, &maker, (keyspace, schema));
            ShadowInput::Made(keyspace)
        }
        Err(why) => ShadowInput::MakeFailed(why),
    };
    feed_job(state, app, &maker, &input);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyspace(id: u32, primary: bool, owner: &str) -> Keyspace {
        Keyspace {
            app: "router".into(),
            id,
            schema: id,
            primary,
            owner: owner.into(),
            ..Keyspace::default()
        }
    }

    #[test]
    fn a_shadow_is_kept_by_the_live_instance_while_it_is_read() {
        let alone = [keyspace(2, true, "")];
        let own = [keyspace(1, false, "live"), keyspace(2, true, "")];
        let orphan = [keyspace(1, false, "dead"), keyspace(2, true, "")];
        for (wanted, keyspaces, expected) in [
            (None, &alone[..], Need::Nothing),
            (None, &own, Need::Drop(vec![1])),
            (None, &orphan, Need::Drop(vec![1])),
            (Some(1), &alone, Need::Make(1)),
            (Some(1), &own, Need::Nothing),
            (Some(1), &orphan, Need::Make(1)),
            (Some(3), &own, Need::Make(3)),
            (Some(1), &[], Need::Nothing),
        ] {
            assert_eq!(
                need("router", wanted, "live", keyspaces),
                expected,
                "{wanted:?} {keyspaces:?}"
            );
        }
    }
}
