//! What the makers of shadows say of them: for people, and for the record of an upgrade.

use morph_api::management::{Migration, MigrationLoss};
use morph_api::supervisor::{Loss, ShadowProgress};

use super::Supervisor;
use crate::records::UpgradeRow;

impl Supervisor {
    /// A shadow is going to be made by this instance, in this keyspace and schema.
    pub(super) fn shadow_begins(&mut self, app: &str, instance: &str, keyspace: u32, schema: u32) {
        let Some(managed) = self.apps.get_mut(app) else {
            return;
        };
        let row = managed.upgrade.as_ref().map(|running| &running.row);
        let from = row.map_or(0, |row| match row.new_schema == schema {
            true => row.old_schema,
            false => row.new_schema,
        });
        managed.migration = Some(Migration {
            app: app.to_owned(),
            keyspace,
            from_schema: from,
            to_schema: schema,
            instance: instance.to_owned(),
            unix_ms: super::unix_ms(),
            ..Migration::default()
        });
    }

    /// Its maker says how far it is.
    pub(super) fn shadow_goes_on(&mut self, app: &str, instance: &str, said: &ShadowProgress) {
        let Some(managed) = self.apps.get_mut(app) else {
            return;
        };
        if let Some(running) = &mut managed.upgrade
            && said.error.is_empty()
        {
            note(&mut running.row, said);
        }
        let known = managed.migration.take();
        // One that another morphd ordered has not told which schemas it is between.
        let known = known.filter(|migration| migration.keyspace == said.keyspace);
        managed.migration = Some(Migration {
            app: app.to_owned(),
            keyspace: said.keyspace,
            instance: instance.to_owned(),
            groups: said.groups,
            groups_total: said.groups_total,
            rows: said.rows,
            source_rows: said.source_rows,
            watermark: said.watermark,
            complete: said.complete,
            lossy: said.lossy,
            losses: said.losses.iter().map(loss).collect(),
            error: said.error.clone(),
            unix_ms: super::unix_ms(),
            ..known.unwrap_or_default()
        });
    }

    /// Each app's last shadow, as far as its maker has told.
    pub(super) fn migrations(&self, only: &str) -> Vec<Migration> {
        let apps = self.apps.iter();
        let apps = apps.filter(|(name, _)| only.is_empty() || *name == only);
        let mut migrations = Vec::new();
        for (name, managed) in apps {
            let Some(mut migration) = managed.migration.clone() else {
                continue;
            };
            let release = self.releases.get(name, &managed.row.release);
            let own = release.map_or(0, |release| release.manifest.schema);
            // The schema of one that stayed after a commit is known to the store alone; it is not the release's own.
            let read = |schema: u32| match migration.to_schema {
                0 => schema != own,
                to => schema == to,
            };
            let readers = self.readers(name).into_iter();
            let readers = readers.filter(|(_, schema)| read(*schema));
            migration.readers = readers.map(|(reader, _)| reader).collect();
            migrations.push(migration);
        }
        migrations
    }
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

/// Puts into a record what its shadow would lose.
fn note(row: &mut UpgradeRow, said: &ShadowProgress) {
    row.groups_checked = said.groups;
    row.groups_lossy = said.lossy;
    row.losses = said.losses.iter().map(words).collect();
}

/// A loss in a line, for people.
fn words(loss: &Loss) -> String {
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
