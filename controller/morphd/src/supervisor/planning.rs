//! What an upgrade would do, without doing it.

use morph_api::management::PlannedUpgrade;

use super::Supervisor;
use super::requests::Asked;
use super::upgrading::Way;
use crate::upgrade::Mode;

impl Supervisor {
    /// One plan for each app that is named; where it is refused, what is known of each.
    pub(super) fn plan_upgrade(&self, asked: &Asked) -> Vec<PlannedUpgrade> {
        match self.may_upgrade(asked) {
            Ok(ways) => ways.iter().map(|way| self.planned(way, asked)).collect(),
            Err(status) => {
                let refused = |(app, to): &(String, Option<semver::Version>)| PlannedUpgrade {
                    app: app.clone(),
                    to: to.as_ref().map(ToString::to_string).unwrap_or_default(),
                    refused: status.message().to_owned(),
                    ..PlannedUpgrade::default()
                };
                asked.releases.iter().map(refused).collect()
            }
        }
    }

    fn planned(&self, way: &Way, asked: &Asked) -> PlannedUpgrade {
        let (old, new) = (&way.from.manifest, &way.to.manifest);
        let present = self.present(&way.app);
        let reader = |manifest: &&morph_api::manifest::Manifest| {
            let schema = manifest.reads.get(&way.app)?;
            Some(format!(
                "{}@{} reads {schema}",
                manifest.name, manifest.version
            ))
        };
        let deadlines = way
            .deadlines
            .all()
            .map(|(name, time)| format!("{name}={time:?}"));
        let (mode, mut steps) = match way.mode {
            Mode::Plain => (
                "plain",
                vec!["the new instance starts beside the old one".to_owned()],
            ),
            Mode::Online => {
                let online = format!(
                    "the new instance starts on schema {} through its migration",
                    old.schema
                );
                ("online", vec![online])
            }
            Mode::Backfill => {
                let shadow = format!(
                    "the running instance derives a shadow of its state in schema {}",
                    new.schema
                );
                (
                    "backfill",
                    vec![shadow, "the new instance starts on the shadow".to_owned()],
                )
            }
        };
        if asked.releases.len() > 1 {
            steps.push("it waits until the other apps are ready, too".to_owned());
        }
        steps.push("the slot is held, and the old instance finishes its turns".to_owned());
        steps.push(match way.mode {
            Mode::Backfill => {
                "the fence raises the epoch and swaps the state to the shadow".to_owned()
            }
            Mode::Plain | Mode::Online => "the fence raises the epoch".to_owned(),
        });
        steps.push(
            "the new instance is resumed; its rules are compared with those in the switches"
                .to_owned(),
        );
        let probation = asked.probation.unwrap_or(self.settings.probation);
        steps.push(match asked.confirm {
            true => format!("it goes back after {probation:?}, unless it is committed"),
            false => format!("probation of {probation:?}"),
        });
        steps.push(match way.mode {
            Mode::Online => format!("the commit swaps the state to schema {}", new.schema),
            Mode::Plain | Mode::Backfill => "the commit makes it permanent".to_owned(),
        });
        PlannedUpgrade {
            app: way.app.clone(),
            from: old.version.to_string(),
            to: new.version.to_string(),
            mode: mode.to_owned(),
            old_schema: old.schema,
            new_schema: new.schema,
            readers: present.iter().filter_map(reader).collect(),
            tables: format!("{}-{}", new.tables[0], new.tables[1]),
            deadlines: deadlines.join(" "),
            steps,
            ..PlannedUpgrade::default()
        }
    }
}
