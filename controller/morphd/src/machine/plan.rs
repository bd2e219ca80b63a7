//! What an upgrade would do, without doing it.

use morph_api::management::PlannedUpgrade;
use morph_api::manifest::Manifest;
use semver::Version;

use super::checks::{CheckedUpgrade, may_upgrade};
use super::query::present;
use super::request::UpgradeRequest;
use super::state::State;
use super::upgrade::Mode;

/// One plan for each app that is named; where the upgrade would be refused, what is known of each.
pub fn plan(state: &State, request: &UpgradeRequest) -> Vec<PlannedUpgrade> {
    match may_upgrade(state, request) {
        Ok(members) => {
            let members = members.iter();
            members
                .map(|member| planned(state, member, request))
                .collect()
        }
        Err(error) => {
            let refused = |(app, to): &(String, Option<Version>)| PlannedUpgrade {
                app: app.clone(),
                to: to.as_ref().map(ToString::to_string).unwrap_or_default(),
                refused: error.message.clone(),
                ..PlannedUpgrade::default()
            };
            request.releases.iter().map(refused).collect()
        }
    }
}

fn planned(state: &State, member: &CheckedUpgrade, request: &UpgradeRequest) -> PlannedUpgrade {
    let (old, new) = (&member.from.manifest, &member.to.manifest);
    let present = present(state, &member.app);
    let reader = |manifest: &&Manifest| {
        let schema = manifest.reads.get(&member.app)?;
        let (name, version) = (&manifest.name, &manifest.version);
        Some(format!("{name}@{version} reads {schema}"))
    };
    let deadlines = member.deadlines.all();
    let deadlines = deadlines.map(|(name, time)| format!("{name}={time:?}"));
    let range = state.pipeline.get(&member.app);
    let tables = range.map(|range| format!("{}-{}", range.first, range.exit()));
    PlannedUpgrade {
        app: member.app.clone(),
        from: old.version.to_string(),
        to: new.version.to_string(),
        mode: member.mode.name().to_owned(),
        old_schema: old.schema,
        new_schema: new.schema,
        readers: present.iter().filter_map(reader).collect(),
        tables: tables.unwrap_or_default(),
        deadlines: deadlines.join(" "),
        steps: steps(state, member, request),
        ..PlannedUpgrade::default()
    }
}

/// Steps of the upgrade in order, a sentence each.
fn steps(state: &State, member: &CheckedUpgrade, request: &UpgradeRequest) -> Vec<String> {
    let (old, new) = (&member.from.manifest, &member.to.manifest);
    let mut steps = match member.mode {
        Mode::Plain => vec!["the new instance starts beside the old one".to_owned()],
        Mode::Online => vec![format!(
            "the new instance starts on schema {} through its migration",
            old.schema
        )],
        Mode::Backfill => vec![
            format!(
                "the running instance makes a shadow of its state in schema {}",
                new.schema
            ),
            "the new instance starts on the shadow".to_owned(),
        ],
    };
    if !request.allow_rule_loss {
        steps.push(
            "where it would remove most of the app's rules on a switch, or all of a table, it is ended, and nothing was held: the start \
             tells"
                .to_owned(),
        );
    }
    if request.releases.len() > 1 {
        steps.push("it waits until the other apps are ready, too".to_owned());
    }
    steps.push("the slot is held, and the old instance finishes its turns".to_owned());
    steps.push(match member.mode {
        Mode::Backfill => {
            "the fence raises the epoch and swaps the state with the shadow".to_owned()
        }
        Mode::Plain | Mode::Online => "the fence raises the epoch".to_owned(),
    });
    let resume = "the new instance is resumed; its rules are compared with those in the switches";
    steps.push(resume.to_owned());
    let probation = request.probation.unwrap_or(state.config.probation);
    steps.push(match request.confirm {
        true => format!("it goes back after {probation:?}, unless it is committed"),
        false => format!("probation of {probation:?}"),
    });
    steps.push(match member.mode {
        Mode::Online => format!("the commit swaps the state to schema {}", new.schema),
        Mode::Plain | Mode::Backfill => "the commit makes it permanent".to_owned(),
    });
    steps
}
