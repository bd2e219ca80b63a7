//! What a new morphd finds: instances that run, upgrades that another one left.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use morph_api::deadlines::Deadlines;
use morph_api::management::Step;
use semver::Version;

use super::upgrades::Running;
use super::{Feed, Managed, Supervisor};
use crate::app::{self, App, InstanceId};
use crate::boot::Moment;
use crate::process::Process;
use crate::records::{RELEASES, ReleaseRow, UPGRADES, UpgradeRow, Write};
use crate::upgrade::{self, Cause, Left, Mode, OldIs, Plan, Upgrade};
use morph_api::lock::{self, Holder, LockState};

impl Supervisor {
    /// Takes hold of every instance whose lock file is held.
    pub(super) fn adopt_instances(&mut self) {
        let folder = self.settings.run("instances");
        let Ok(entries) = std::fs::read_dir(&folder) else {
            return;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            match lock::inspect(&path) {
                Ok(LockState::Held(holder)) => self.adopt_instance(&path, &holder),
                Ok(LockState::Free) => {
                    let _ = std::fs::remove_file(&path);
                }
                Ok(LockState::Unnamed) => {
                    tracing::warn!(file = %path.display(), "held, and does not say by whom")
                }
                Err(error) => tracing::warn!(file = %path.display(), %error, "cannot be looked at"),
            }
        }
    }

    fn adopt_instance(&mut self, path: &Path, holder: &Holder) {
        let adopted = Process::adopt(holder).map_err(|error| error.to_string());
        let version = holder
            .release
            .parse::<Version>()
            .map_err(|error| error.to_string());
        match adopted.and_then(|process| Ok((process, version?))) {
            Ok((process, version)) => {
                let (app, instance) = (&holder.app, &holder.instance);
                tracing::info!(app, instance, release = %version, pid = holder.pid, "adopted");
                self.add_instance(instance.clone(), app, &version, Arc::new(process));
                if let Some(adopted) = self.instances.get_mut(instance) {
                    // It was ready for the morphd before; one that was not proves it when it is resumed.
                    adopted.ready = true;
                }
            }
            Err(error) => tracing::warn!(file = %path.display(), error, "cannot be adopted"),
        }
    }

    /// Decides about every app, now that the proxy's snapshot is known.
    pub(super) fn recover_apps(&mut self) {
        let names: Vec<String> = self.apps.keys().cloned().collect();
        for name in &names {
            self.recover_app(name);
            if self
                .apps
                .get(name)
                .is_some_and(|managed| managed.upgrade.is_none())
            {
                self.drop_shadows(name, None);
            }
        }
        self.rejoin();
        let strangers: Vec<InstanceId> = self
            .instances
            .iter()
            .filter(|(_, instance)| !self.apps.contains_key(&instance.app))
            .map(|(id, _)| id.clone())
            .collect();
        for id in strangers {
            self.end_instance(&id);
        }
    }

    fn recover_app(&mut self, name: &str) {
        let last = self.apps.get(name).and_then(|managed| managed.last.clone());
        let left = match &last {
            Some(row) => self.left_with_others(row),
            None => Left::Ended,
        };
        match (left, last) {
            (Left::InProbation, Some(row)) => self.go_on(name, row, true),
            (Left::GoingBack, Some(row)) => self.go_on(name, row, false),
            (Left::BeforeFence, Some(row)) => {
                self.forget(name, row);
                self.adopt_app(name);
            }
            (Left::Ended, _) | (_, None) => self.adopt_app(name),
        }
    }

    fn left(&self, row: &UpgradeRow) -> Left {
        let step = Step::from_str_name(&row.step).unwrap_or_default();
        let live = self
            .instances
            .get(&row.newcomer)
            .is_some_and(|new| new.attached && new.live);
        upgrade::left(step, row.fenced, live)
    }

    /// Of several apps as one none stays where one of them goes back.
    fn left_with_others(&self, row: &UpgradeRow) -> Left {
        let left = self.left(row);
        if left != Left::InProbation {
            return left;
        }
        let mut others = row
            .with
            .iter()
            .filter_map(|app| self.apps.get(app)?.last.as_ref());
        match others.all(|other| other.group != row.group || self.left(other) == Left::InProbation)
        {
            true => Left::InProbation,
            false => Left::GoingBack,
        }
    }

    /// Finishes what another morphd began.
    fn go_on(&mut self, name: &str, row: UpgradeRow, in_probation: bool) {
        let now = Instant::now();
        let (Ok(from), Ok(to)) = (row.from.parse::<Version>(), row.to.parse::<Version>()) else {
            tracing::error!(app = name, id = row.id, "its upgrade names no versions");
            return self.adopt_app(name);
        };
        tracing::warn!(
            app = name,
            id = row.id,
            in_probation,
            "an unfinished upgrade is found and finished"
        );
        let there = |id: &String| self.instances.contains_key(id).then(|| id.clone());
        let (new, old) = (there(&row.newcomer), there(&row.old));
        let found = upgrade::Found {
            old: match old.as_ref().and_then(|id| self.instances.get(id)) {
                None => OldIs::Absent,
                Some(instance) if instance.attached => OldIs::Ready,
                Some(_) => OldIs::Starting,
            },
            swapped: row.swapped,
        };
        let plan = plan_of(&row);
        let mut out = Vec::new();
        let machine = match in_probation {
            true => Upgrade::adopted(plan, found, now, &mut out),
            false => {
                let message = match row.message.is_empty() {
                    true => "morphd and the new instance were gone".to_owned(),
                    false => row.message.clone(),
                };
                let why = Cause {
                    message,
                    by: "failure",
                };
                Upgrade::abandoned(plan, found, why, now, &mut out)
            }
        };
        let ago = Duration::from_millis(super::unix_ms().saturating_sub(row.started_unix_ms));
        let started = now.checked_sub(ago).unwrap_or(now);
        let running = Running {
            machine,
            row,
            from,
            to,
            new: new.clone(),
            old: old.clone(),
            started,
            fenced: None,
            untold: None,
            said: None,
            asker: None,
            waiting: Vec::new(),
        };
        if let Some(managed) = self.apps.get_mut(name) {
            let mut app = App::default();
            app.handle(app::Input::Yield, now, &mut Vec::new());
            managed.machine = app;
            managed.upgrade = Some(running);
        }
        self.end_others(name, &[new, old]);
        self.carry_out_upgrade(name, out);
    }

    /// An upgrade that had not come to the fence: the newcomer ends with the others, and the record says so.
    fn forget(&mut self, name: &str, mut row: UpgradeRow) {
        tracing::warn!(
            app = name,
            id = row.id,
            step = row.step,
            "an unfinished upgrade is found; it is rolled back"
        );
        row.step = Step::RolledBack.as_str_name().to_owned();
        row.step_unix_ms = super::unix_ms();
        row.message = "morphd was started again before the hand-over".into();
        row.by = "failure".into();
        let mut writes = vec![
            Write::new(UPGRADES, name, &row),
            super::history::write(name, &row),
        ];
        let to = row.to.parse::<Version>().ok();
        if let (Some(to), Some(status)) = (to, row.was)
            && let Some(release) = self.releases.get(name, &to)
        {
            let release = ReleaseRow {
                status,
                ..release.row.clone()
            };
            writes.push(Write::new(RELEASES, format!("{name}/{to}"), &release));
        }
        if let Some(managed) = self.apps.get_mut(name) {
            managed.last = Some(row);
        }
        let records = Arc::clone(&self.records);
        self.after(
            async move { records.write(&writes, &[]).await },
            |_, result| {
                if let Err(refusal) = result {
                    tracing::error!(%refusal, "the record of an upgrade was refused");
                }
            },
        );
    }

    /// The usual case: the live instance stays live; else one is made live by the path of every crash.
    fn adopt_app(&mut self, name: &str) {
        let Some(managed) = self.apps.get(name) else {
            return;
        };
        let wanted = managed.row.desired == crate::records::Desired::Running;
        let died = &managed.row.instance;
        if wanted && !died.is_empty() && !self.instances.contains_key(died) {
            let (died, release) = (died.clone(), managed.row.release.clone());
            self.note_death(name, &died, &release, "died while there was no morphd");
        }
        let Some(managed) = self.apps.get(name) else {
            return;
        };
        let release = managed.row.release.clone();
        let candidates = self
            .instances
            .iter()
            .filter(|(_, i)| wanted && i.app == name && i.release == release);
        // The live one before all others, then one that has a session.
        let best = candidates.max_by_key(|(_, i)| (i.live, i.attached));
        let best = best.map(|(id, instance)| (id.clone(), instance.live));
        let kept = best.as_ref().map(|(id, _)| id.clone());
        self.end_others(name, std::slice::from_ref(&kept));
        match best {
            Some((id, live)) => {
                if let Some(managed) = self.apps.get_mut(name) {
                    managed.machine = App::adopted(id.clone(), live, Instant::now());
                }
                self.tell_ready(&id);
            }
            None if wanted => self.feed(Feed::App(name.to_owned(), app::Input::Start)),
            None => {}
        }
    }

    fn end_others(&mut self, name: &str, kept: &[Option<InstanceId>]) {
        let others: Vec<InstanceId> = self
            .instances
            .iter()
            .filter(|(id, instance)| {
                instance.app == name && !kept.iter().flatten().any(|kept| kept == *id)
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in others {
            self.end_instance(&id);
        }
    }

    /// Puts what the store says of the apps into memory.
    pub(super) fn remember(
        &mut self,
        apps: Vec<(String, crate::records::AppRow)>,
        upgrades: Vec<(String, UpgradeRow)>,
    ) {
        for (name, row) in apps {
            self.apps.insert(name, Managed::new(row));
        }
        for (name, row) in upgrades {
            if let Some(managed) = self.apps.get_mut(&name) {
                managed.last = Some(row);
            }
        }
    }
}

/// The plan of a recorded upgrade; of its probation, what is left.
fn plan_of(row: &UpgradeRow) -> Plan {
    let mode = match row.mode.as_str() {
        "online" | "through" => Mode::Online,
        "backfill" | "copy_first" => Mode::Backfill,
        _ => Mode::Plain,
    };
    // Whatever was done to the wall clock meanwhile; after a start of the machine the time begins anew.
    let gone = match Step::from_str_name(&row.step) {
        // After a start of the machine, and where nobody wrote it down, it begins anew.
        Some(Step::Upgraded) => row.step_at.as_ref().and_then(Moment::elapsed),
        _ => None,
    };
    let mut deadlines = Deadlines::default();
    for (name, ms) in &row.deadlines_ms {
        // An earlier morphd called the deadline of the shadow `copy`. A name that this morphd does not know is of no step that it
        // could take.
        let name = if name == "copy" { "shadow" } else { name };
        let _ = deadlines.set(name, Duration::from_millis(*ms));
    }
    Plan {
        mode,
        old_schema: row.old_schema,
        new_schema: row.new_schema,
        probation: Duration::from_millis(row.probation_ms).saturating_sub(gone.unwrap_or_default()),
        confirm: row.confirm,
        allow_loss: row.allow_loss,
        deadlines,
    }
}
