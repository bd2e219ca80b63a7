//! What a new morphd finds.

use super::*;

/// A new morphd: what it finds, and what it does about it.
pub(crate) struct Finds<'a> {
    pub(crate) store: &'a Store,
    /// Instances that run: id, app, release.
    pub(crate) processes: Vec<(String, String, String)>,
    /// The proxy's snapshot.
    pub(crate) snapshot: Vec<Observation>,
}

impl Morphd {
    /// Takes over what another one has left.
    pub(crate) fn recovers(apps: &[String], finds: Finds<'_>, hands: &mut Hands<'_>) -> Self {
        let mut morphd = Morphd {
            now: clock::base(),
            apps: BTreeMap::new(),
            instances: BTreeMap::new(),
            together: None,
            records: Records::default(),
            jobs: VecDeque::new(),
            waiting: BTreeMap::new(),
        };
        for (id, app, release) in finds.processes {
            let known = Known {
                app,
                release,
                ready: true,
                ..Known::default()
            };
            morphd.instances.insert(id, known);
        }
        for observation in finds.snapshot {
            match observation.what {
                Some(observation::What::Attached(attached)) => {
                    if let Some(known) = morphd.instances.get_mut(&attached.instance) {
                        known.attached = true;
                    }
                }
                Some(observation::What::Resumed(resumed)) => {
                    morphd.is_live(&resumed.app, &resumed.instance)
                }
                _ => {}
            }
        }
        for app in apps {
            let managed = morphd.remember(app, finds.store);
            morphd.apps.insert(app.clone(), managed);
        }
        for app in apps {
            morphd.recover(app, hands);
        }
        let rejoins = |managed: &Managed| {
            managed
                .upgrade
                .as_ref()
                .is_some_and(|r| !r.row.group.is_empty())
        };
        let rejoin: Vec<String> = morphd
            .apps
            .iter()
            .filter(|(_, m)| rejoins(m))
            .map(|(a, _)| a.clone())
            .collect();
        morphd.together = (!rejoin.is_empty()).then(|| Together::new(rejoin));
        morphd.feed_all(hands);
        morphd
    }

    pub(super) fn remember(&mut self, app: &str, store: &Store) -> Managed {
        let empty = |table| Write {
            table,
            key: app.to_owned(),
            value: serde_json::Value::Null,
        };
        self.records
            .read_back(store, &[empty(APPS), empty(UPGRADES)]);
        let text = |table| {
            store
                .row(morph_api::RECORDS, table, app)
                .map(|row| row.value.as_str())
        };
        let row = text(APPS).and_then(|text| serde_json::from_str::<AppRow>(text).ok());
        let last = text(UPGRADES).and_then(|text| serde_json::from_str(text).ok());
        let release = row
            .as_ref()
            .map_or(RELEASES[0].to_owned(), |row| row.release.to_string());
        let (instance, epoch) = row.map_or((String::new(), 0), |row| (row.instance, row.epoch));
        Managed {
            release,
            instance,
            epoch,
            last,
            ..Managed::default()
        }
    }

    pub(super) fn left(&self, row: &UpgradeRow) -> Left {
        let step = Step::from_str_name(&row.step).unwrap_or_default();
        let live = self
            .instances
            .get(&row.newcomer)
            .is_some_and(|new| new.attached && new.live);
        left(step, row.fenced, live)
    }

    pub(super) fn left_with_others(&self, row: &UpgradeRow) -> Left {
        let left = self.left(row);
        let mut others = row
            .with
            .iter()
            .filter_map(|app| self.apps.get(app)?.last.as_ref());
        match left == Left::InProbation
            && !others
                .all(|other| other.group != row.group || self.left(other) == Left::InProbation)
        {
            true => Left::GoingBack,
            false => left,
        }
    }

    pub(super) fn recover(&mut self, app: &str, hands: &mut Hands<'_>) {
        let last = self.apps.get(app).and_then(|managed| managed.last.clone());
        match last.map(|row| (self.left_with_others(&row), row)) {
            Some((Left::InProbation, row)) => self.go_on(app, row, true, hands),
            Some((Left::GoingBack, row)) => self.go_on(app, row, false, hands),
            Some((Left::BeforeFence, mut row)) => {
                row.step = Step::RolledBack.as_str_name().to_owned();
                let writes = vec![upgrade_write(app, &row)];
                // Nobody waits for it.
                self.jobs.push_back(Job::Finish {
                    apps: Vec::new(),
                    writes,
                });
                self.adopt(app, hands);
            }
            Some((Left::Ended, _)) | None => self.adopt(app, hands),
        }
    }

    pub(super) fn go_on(
        &mut self,
        app: &str,
        row: UpgradeRow,
        in_probation: bool,
        hands: &mut Hands<'_>,
    ) {
        let there = |id: &String| self.instances.contains_key(id).then(|| id.clone());
        let (new, old) = (there(&row.newcomer), there(&row.old));
        let found = Found {
            old: match old.as_ref().and_then(|id| self.instances.get(id)) {
                None => OldIs::Absent,
                Some(known) if known.attached => OldIs::Ready,
                Some(_) => OldIs::Starting,
            },
            swapped: row.swapped,
        };
        let mut out = Vec::new();
        let machine = match in_probation {
            true => Upgrade::adopted(plan(), found, self.now, &mut out),
            false => {
                let why = Cause {
                    message: String::new(),
                    by: "failure",
                };
                Upgrade::abandoned(plan(), found, why, self.now, &mut out)
            }
        };
        if let Some(managed) = self.apps.get_mut(app) {
            managed
                .machine
                .handle(app::Input::Yield, self.now, &mut Vec::new());
            let (new, old) = (new.clone(), old.clone());
            managed.upgrade = Some(Running {
                machine,
                row,
                new,
                old,
                fenced: None,
            });
        }
        self.end_others(app, &[new, old], hands);
        self.carry_out_upgrade(app, out, hands);
    }

    pub(super) fn adopt(&mut self, app: &str, hands: &mut Hands<'_>) {
        let Some(managed) = self.apps.get(app) else {
            return;
        };
        let release = managed.release.clone();
        let candidates = self
            .instances
            .iter()
            .filter(|(_, k)| k.app == app && k.release == release);
        let best = candidates.max_by_key(|(_, known)| (known.live, known.attached));
        let best = best.map(|(id, known)| (id.clone(), known.live));
        let kept = best.as_ref().map(|(id, _)| id.clone());
        self.end_others(app, &[kept], hands);
        match best {
            Some((id, live)) => {
                let now = self.now;
                if let Some(managed) = self.apps.get_mut(app) {
                    managed.machine = App::adopted(id.clone(), live, now);
                }
                self.tell_ready(&id, hands);
            }
            None => hands
                .feeds
                .push_back(Feed::App(app.to_owned(), app::Input::Start)),
        }
    }

    pub(super) fn end_others(&mut self, app: &str, kept: &[Option<String>], hands: &mut Hands<'_>) {
        let goes = |(id, known): &(&String, &Known)| {
            known.app == app && !kept.iter().flatten().any(|k| k == *id)
        };
        let others: Vec<String> = self
            .instances
            .iter()
            .filter(goes)
            .map(|(id, _)| id.clone())
            .collect();
        for id in others {
            self.end(&id, hands);
        }
    }
}
