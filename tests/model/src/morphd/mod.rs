//! morphd without its processes and sockets: what its drivers do with what its machines (`App`, `Upgrade`, `Together`) say.

mod heard;
mod recover;
mod upgrading;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use morph_api::deadlines::Deadlines;
use morph_api::management::Step;
use morph_api::supervisor::{
    Group as Joint, HoldRequest, InstructRequest, Instruction, Observation, Ping, Report,
    ResumeRequest, hold_reply::Outcome as Hold, instruction, observation, report,
};
use morph_proxy::machine::{ControlReply, ControlRequest, Refusal};
use morphd::app::{self, App, State as AppState};
use morphd::records::{APPS, AppRow, Desired, UPGRADES, UpgradeRow};
use morphd::upgrade::{
    self, Act, Cause, Difference, Found, HoldOutcome, Left, Mode, OldIs, Order, Output, Plan,
    Resumption, Side, State, Together, Upgrade, left,
};
use prost::Message as _;

use crate::canon::Canon;
use crate::clock;
use crate::records::{Fenced, Fencing, Records, Write};
use crate::store::Store;
pub(crate) use recover::Finds;

/// The probation: the machine looks at the load as often, so that one step of the clock ends it.
const PROBATION: Duration = Duration::from_millis(500);
/// The releases.
pub(crate) const RELEASES: [&str; 2] = ["1.0.0", "2.0.0"];
/// The id of all apps that are upgraded as one.
const GROUP: &str = "group";

/// An instance that it knows of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub(crate) app: String,
    pub(crate) release: String,
    pub(crate) attached: bool,
    pub(crate) ready: bool,
    pub(crate) live: bool,
    pub(crate) ending: bool,
}

/// An app.
#[derive(Debug, Clone, Default)]
struct Managed {
    machine: App,
    release: String,
    instance: String,
    epoch: u64,
    upgrade: Option<Running>,
    last: Option<UpgradeRow>,
}

/// An upgrade in hand.
#[derive(Debug, Clone)]
struct Running {
    machine: Upgrade,
    row: UpgradeRow,
    new: Option<String>,
    old: Option<String>,
    fenced: Option<Fenced>,
}

/// A write of the records, and what it is the answer to.
#[derive(Debug, Clone)]
pub(crate) enum Job {
    /// The record of a step.
    Record {
        app: String,
        step: Step,
        writes: Vec<Write>,
    },
    /// The fence of upgrades, with whom it lets in.
    Fence {
        side: Side,
        instances: Vec<String>,
        fencings: Vec<Fencing>,
    },
    /// The fence of a start or a crash.
    Start { instance: String, fencing: Fencing },
    /// The last records.
    Finish {
        apps: Vec<String>,
        writes: Vec<Write>,
    },
}

/// A call of the proxy that is waited for.
#[derive(Debug, Clone)]
enum Waiting {
    Hold(String),
    Resume(String, String),
    Start(String, String, Fenced),
}

enum Feed {
    App(String, app::Input),
    Upgrade(String, upgrade::Input),
}

/// What it does to others.
#[derive(Debug)]
pub(crate) enum Effect {
    Spawn {
        id: String,
        app: String,
        release: String,
    },
    /// Told to end, gently.
    End(String),
    Call(u64, ControlRequest),
}

/// A seam at which the model can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) resume_before_fence: bool,
    pub(crate) unflushed_fence: bool,
}

/// morphd.
#[derive(Debug, Clone)]
pub(crate) struct Morphd {
    now: Instant,
    apps: BTreeMap<String, Managed>,
    pub(crate) instances: BTreeMap<String, Known>,
    together: Option<Together>,
    records: Records,
    /// Writes that are on their way.
    pub(crate) jobs: VecDeque<Job>,
    waiting: BTreeMap<u64, Waiting>,
}

impl Canon for Morphd {
    const FIGURES: &'static [&'static str] = &[
        "numbers",
        "message",
        "by",
        "ready_said",
        "watermark",
        "old_answers",
        "plan",
        "total",
        "seen_at",
    ];

    fn now(&self) -> Instant {
        self.now
    }
}

/// A call into morphd: the next free id of an instance, and what it does to others.
pub(crate) struct Hands<'a> {
    pub(crate) next_id: &'a mut u32,
    pub(crate) effects: Vec<Effect>,
    pub(crate) broken: Broken,
    feeds: VecDeque<Feed>,
}

impl<'a> Hands<'a> {
    pub(crate) fn new(next_id: &'a mut u32, broken: Broken) -> Self {
        Hands {
            next_id,
            effects: Vec::new(),
            broken,
            feeds: VecDeque::new(),
        }
    }
}

impl Morphd {
    /// The first one: its apps are to run.
    pub(crate) fn new(apps: &[String], hands: &mut Hands<'_>) -> Self {
        let managed = |app: &String| {
            let release = RELEASES[0].to_owned();
            (
                app.clone(),
                Managed {
                    release,
                    ..Managed::default()
                },
            )
        };
        let mut morphd = Morphd {
            now: clock::base(),
            apps: apps.iter().map(managed).collect(),
            instances: BTreeMap::new(),
            together: None,
            records: Records::default(),
            jobs: VecDeque::new(),
            waiting: BTreeMap::new(),
        };
        for app in apps {
            hands
                .feeds
                .push_back(Feed::App(app.clone(), app::Input::Start));
        }
        morphd.feed_all(hands);
        morphd
    }

    fn feed_all(&mut self, hands: &mut Hands<'_>) {
        while let Some(feed) = hands.feeds.pop_front() {
            match feed {
                Feed::App(app, input) => self.feed_app(&app, input, hands),
                Feed::Upgrade(app, input) => self.feed_upgrade(&app, input, hands),
            }
        }
    }

    fn feed_app(&mut self, app: &str, input: app::Input, hands: &mut Hands<'_>) {
        let Some(managed) = self.apps.get_mut(app) else {
            return;
        };
        let mut out = Vec::new();
        managed.machine.handle(input, self.now, &mut out);
        for output in out {
            match output {
                app::Output::Spawn => {
                    let release = managed_release(&self.apps, app);
                    let id = self.spawn(app, release, hands);
                    hands
                        .feeds
                        .push_back(Feed::App(app.into(), app::Input::Spawned(id)));
                }
                app::Output::Resume(instance) => self.start(app, instance),
                app::Output::End(instance) => self.end(&instance, hands),
                app::Output::Yielded(instance) => self.yielded(app, instance, hands),
                app::Output::Looping(..) => {}
                // So few faults do not bring it there.
                app::Output::GivenUp(_) => {
                    hands
                        .feeds
                        .push_back(Feed::App(app.into(), app::Input::Start));
                }
            }
        }
    }

    fn spawn(&mut self, app: &str, release: String, hands: &mut Hands<'_>) -> String {
        *hands.next_id += 1;
        let id = hands.next_id.to_string();
        let app = app.to_owned();
        let known = Known {
            app: app.clone(),
            release: release.clone(),
            ..Known::default()
        };
        self.instances.insert(id.clone(), known);
        hands.effects.push(Effect::Spawn {
            id: id.clone(),
            app,
            release,
        });
        id
    }

    /// The path of every crash and first start: fence, then resume.
    fn start(&mut self, app: &str, instance: String) {
        let Some(managed) = self.apps.get(app) else {
            return;
        };
        let row = self.app_row(app, &instance, &managed.release);
        let fencing = Fencing {
            app: app.to_owned(),
            release: managed.release.clone(),
            epoch: managed.epoch,
            force: true,
            writes: vec![row],
        };
        self.jobs.push_back(Job::Start { instance, fencing });
    }

    fn app_row(&self, app: &str, instance: &str, release: &str) -> Write {
        // What else is in an app's record is of instances that keep dying, which is no part of the model.
        let value = serde_json::json!({
            "id": 1,
            "release": release,
            "desired": Desired::Running,
            "instance": instance,
            "epoch": self.apps.get(app).map_or(0, |managed| managed.epoch),
        });
        Write {
            table: APPS,
            key: app.to_owned(),
            value,
        }
    }

    fn end(&mut self, id: &str, hands: &mut Hands<'_>) {
        if let Some(known) = self.instances.get_mut(id)
            && !std::mem::replace(&mut known.ending, true)
        {
            hands.effects.push(Effect::End(id.to_owned()));
        }
    }

    fn yielded(&mut self, app: &str, instance: Option<(String, bool)>, hands: &mut Hands<'_>) {
        let id = instance.map(|(id, _)| id);
        let old = match id.as_ref().and_then(|id| self.instances.get(id)) {
            None => OldIs::Absent,
            Some(known) if known.attached && known.ready => OldIs::Ready,
            Some(_) => OldIs::Starting,
        };
        match self
            .apps
            .get_mut(app)
            .and_then(|managed| managed.upgrade.as_mut())
        {
            Some(running) => running.old = id,
            None => {
                let back = id
                    .filter(|id| self.instances.contains_key(id))
                    .map(|id| (id, false));
                return self.take_back(app, back, hands);
            }
        }
        self.feed_upgrade(app, upgrade::Input::Yielded(old), hands);
        self.hold(app, hands);
    }

    fn take_back(&mut self, app: &str, instance: Option<(String, bool)>, hands: &mut Hands<'_>) {
        let id = instance.as_ref().map(|(id, _)| id.clone());
        hands
            .feeds
            .push_back(Feed::App(app.into(), app::Input::Take(instance)));
        if let Some(id) = id {
            self.tell_ready(&id, hands);
        }
    }

    fn side_of(&self, app: &str, id: &str) -> Option<Side> {
        let running = self.apps.get(app)?.upgrade.as_ref()?;
        if running.new.as_deref() == Some(id) {
            return Some(Side::New);
        }
        (running.old.as_deref() == Some(id)).then_some(Side::Old)
    }

    fn tell_ready(&mut self, id: &str, hands: &mut Hands<'_>) {
        let Some(known) = self.instances.get(id) else {
            return;
        };
        if !(known.attached && known.ready) || known.ending {
            return;
        }
        let app = known.app.clone();
        if let Some(side) = self.side_of(&app, id) {
            let ready = upgrade::Input::Ready(side, String::new());
            hands.feeds.push_back(Feed::Upgrade(app.clone(), ready));
        }
        hands
            .feeds
            .push_back(Feed::App(app, app::Input::Ready(id.to_owned())));
    }

    /// Only this instance of its app is live.
    fn is_live(&mut self, app: &str, instance: &str) {
        for (id, known) in self
            .instances
            .iter_mut()
            .filter(|(_, known)| known.app == app)
        {
            known.live = id == instance;
        }
    }

    fn checkpoint_is(&mut self, app: &str, instance: &str, fenced: Fenced) {
        if let Some(managed) = self.apps.get_mut(app) {
            managed.epoch = fenced.epoch;
            managed.instance = instance.to_owned();
        }
        self.is_live(app, "");
    }

    /// All apps begin an upgrade to their other release, as one if there are several.
    pub(crate) fn begin(&mut self, hands: &mut Hands<'_>) {
        let apps: Vec<String> = self.apps.keys().cloned().collect();
        let several = apps.len() > 1;
        self.together = several.then(|| Together::new(apps.clone()));
        for app in &apps {
            let mut out = Vec::new();
            let Some(managed) = self.apps.get_mut(app) else {
                return;
            };
            let to = RELEASES
                .into_iter()
                .find(|release| *release != managed.release);
            let others = apps.iter().filter(|other| *other != app);
            let row = UpgradeRow {
                id: "upgrade".into(),
                group: if several { GROUP.into() } else { String::new() },
                with: others.cloned().collect(),
                from: managed.release.clone(),
                to: to.unwrap_or_default().to_owned(),
                ..UpgradeRow::default()
            };
            let machine = Upgrade::begin(plan(), &mut out);
            let old = managed.machine.instance().cloned();
            managed.upgrade = Some(Running {
                machine,
                row,
                new: None,
                old,
                fenced: None,
            });
            self.carry_out_upgrade(app, out, hands);
        }
        self.feed_all(hands);
    }

    /// The operator wants the old release back.
    pub(crate) fn roll_back(&mut self, hands: &mut Hands<'_>) {
        if let Some(app) = self.apps.keys().next().cloned() {
            hands
                .feeds
                .push_back(Feed::Upgrade(app, upgrade::Input::Rollback));
        }
        self.feed_all(hands);
    }

    /// An upgrade is under way.
    pub(crate) fn is_upgrading(&self) -> bool {
        self.apps.values().any(|managed| managed.upgrade.is_some())
    }

    /// Who serves the app, once nothing is under way.
    pub(crate) fn serves(&self, app: &str) -> Option<&Known> {
        let managed = self
            .apps
            .get(app)
            .filter(|managed| managed.upgrade.is_none())?;
        match managed.machine.state() {
            AppState::Running { instance } => {
                let known = self.instances.get(instance)?;
                (known.release == managed.release).then_some(known)
            }
            _ => None,
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let deadlines = self.apps.values().flat_map(|managed| {
            let upgrade = managed
                .upgrade
                .as_ref()
                .and_then(|running| running.machine.next_deadline());
            [managed.machine.next_deadline(), upgrade]
        });
        deadlines.flatten().min()
    }

    /// Its clock goes on to the next deadline.
    pub(crate) fn time(&mut self, hands: &mut Hands<'_>) {
        self.now = self.next_deadline().map_or(self.now, |at| at.max(self.now));
        for (app, managed) in &self.apps {
            if managed
                .machine
                .next_deadline()
                .is_some_and(|at| at <= self.now)
            {
                hands
                    .feeds
                    .push_back(Feed::App(app.clone(), app::Input::Time));
            }
            let upgrade = managed
                .upgrade
                .as_ref()
                .and_then(|running| running.machine.next_deadline());
            if upgrade.is_some_and(|at| at <= self.now) {
                hands
                    .feeds
                    .push_back(Feed::Upgrade(app.clone(), upgrade::Input::Time));
            }
        }
        self.feed_all(hands);
    }
}

fn managed_release(apps: &BTreeMap<String, Managed>, app: &str) -> String {
    apps.get(app)
        .map_or(String::new(), |managed| managed.release.clone())
}

fn gone(side: Side) -> upgrade::Input {
    upgrade::Input::Gone(side, "died".into())
}

fn upgrade_write(app: &str, row: &UpgradeRow) -> Write {
    let value = serde_json::to_value(row).unwrap_or_default();
    Write {
        table: UPGRADES,
        key: app.to_owned(),
        value,
    }
}

fn resume_request(
    app: &str,
    instance: &str,
    fenced: Fenced,
    group: Option<Joint>,
) -> ControlRequest {
    ControlRequest::Resume(ResumeRequest {
        app: app.to_owned(),
        instance: instance.to_owned(),
        epoch: fenced.epoch,
        cursor: Some(fenced.cursor),
        turn: fenced.turn,
        revision: fenced.revision,
        group,
    })
}

fn plan() -> Plan {
    Plan {
        mode: Mode::Plain,
        old_schema: 1,
        new_schema: 1,
        probation: PROBATION,
        confirm: false,
        allow_loss: false,
        deadlines: Deadlines::DEFAULT,
    }
}
