//! Apps that do nothing but die: back to the release that was permanent before, or stopped, with their rules as they are.

use std::sync::Arc;

use semver::Version;

use super::requests::release_write;
use super::start::as_permanent;
use super::{Feed, Managed, Supervisor};
use crate::app::Input;
use crate::records::{APPS, AppRow, Desired, RELEASES, ReleaseRow, ReleaseStatus, Trouble, Write};
use crate::release::{self, Release};
use crate::upgrade::Mode;

impl Managed {
    /// It was stopped because it kept dying.
    pub(super) fn gave_up(&self) -> bool {
        let trouble = self.row.trouble.as_ref();
        trouble.is_some_and(|trouble| trouble.to.is_none())
    }

    /// What it goes back to if this release, which it goes to, keeps dying.
    pub(super) fn former_than(&self, version: &Version) -> Option<Version> {
        match self.row.release == *version {
            true => self.row.former.clone(),
            false => Some(self.row.release.clone()),
        }
    }
}

/// What happened, and what may be done about it.
pub(super) fn told(trouble: &Trouble) -> String {
    let Trouble {
        release, to, why, ..
    } = trouble;
    match to {
        Some(to) => format!("{release} kept dying, {to} runs instead: {why}"),
        None => format!("{release} kept dying and is stopped, its rules stay: {why}"),
    }
}

impl Supervisor {
    /// It has died too often in a row.
    pub(super) fn given_up(&mut self, app: &str, deaths: u32) {
        let Some(managed) = self.apps.get(app) else {
            return;
        };
        if managed.upgrade.is_some() {
            // Somebody is about to give it another release already.
            return self.feed(Feed::App(app.to_owned(), Input::Start));
        }
        let to = self.former(app, managed);
        let (former, why) = match &to {
            Ok(former) => (Some(*former), String::new()),
            Err(why) => (None, format!("; {why}")),
        };
        let trouble = Trouble {
            unix_ms: super::unix_ms(),
            release: managed.row.release.to_string(),
            to: former.map(|former| former.manifest.version.to_string()),
            why: format!("{deaths} deaths, the last: {}{why}", managed.last_end),
        };
        tracing::error!(app, "crash loop: {}", told(&trouble));
        let row = AppRow {
            release: former.map_or(managed.row.release.clone(), |f| f.manifest.version.clone()),
            desired: match former {
                Some(_) => Desired::Running,
                None => Desired::Stopped,
            },
            // From there, only down.
            former: None,
            trouble: Some(trouble),
            ..managed.row.clone()
        };
        let (old, new) = (managed.row.release.clone(), row.release.clone());
        let mut writes = vec![Write::new(APPS, app, &row)];
        if let Some(former) = former {
            writes.push(release_write(&as_permanent(former)));
            writes.extend(self.releases.get(app, &old).map(old_write));
        }
        self.give_up(app, row, writes, (old, new));
    }

    fn give_up(&self, app: &str, row: AppRow, writes: Vec<Write>, (old, new): (Version, Version)) {
        let (records, name) = (Arc::clone(&self.records), app.to_owned());
        let call = async move { records.write(&writes, &[]).await };
        self.after(call, move |supervisor, result| {
            if let Err(refusal) = result {
                tracing::error!(app = name, %refusal, "what is done about a crash loop is not recorded; it goes on");
                return supervisor.feed(Feed::App(name, Input::Start));
            }
            if new != old {
                let releases = &mut supervisor.releases;
                releases.set_status(&name, &old, ReleaseStatus::Old);
                releases.set_status(&name, &new, ReleaseStatus::Permanent);
            }
            let input = match row.desired {
                Desired::Running => Input::Start,
                Desired::Stopped | Desired::Removed => Input::Stop,
            };
            if let Some(managed) = supervisor.apps.get_mut(&name) {
                managed.row = row;
            }
            supervisor.feed(Feed::App(name, input));
        });
    }

    /// The release that was permanent before, where it can go on from the state as it is; else why not.
    fn former(&self, app: &str, managed: &Managed) -> Result<&Release, String> {
        let version = managed.row.former.as_ref();
        let version = version.ok_or("there is no former release to go back to")?;
        let installed = |version: &Version| {
            let found = self.releases.get(app, version);
            found.ok_or_else(|| format!("{version} is not installed any longer"))
        };
        let (now, former) = (installed(&managed.row.release)?, installed(version)?);
        match release::migration_mode(&now.manifest, &former.manifest)? {
            Mode::Plain => {}
            // Only the release that dies could map the state, and say what would be lost.
            Mode::Online | Mode::Backfill => {
                let (is, was) = (now.manifest.schema, former.manifest.schema);
                return Err(format!(
                    "{version} has schema {was}, and the state has {is}"
                ));
            }
        }
        let mut together = self.present(app);
        together.push(&former.manifest);
        release::check_readers(&now.manifest, &former.manifest, &together)?;
        release::check_reads(&former.manifest, &together)?;
        release::check_coexistence(&together)?;
        Ok(former)
    }
}

fn old_write(release: &Release) -> Write {
    let (app, version) = (&release.manifest.name, &release.manifest.version);
    let row = ReleaseRow {
        status: ReleaseStatus::Old,
        ..release.row.clone()
    };
    Write::new(RELEASES, format!("{app}/{version}"), &row)
}
