//! All that morphd knows about its node: apps, releases, instances, upgrades, events in quarantine.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use morph_api::deadlines::Deadlines;
use morph_api::management::{Migration, Step, UpgradeStatus};
use semver::Version;

use super::instances::InstanceId;
use super::instances::Instances;
use super::lifecycle::Lifecycle;
use super::outbox::{Outbox, Present};
use super::pipeline::{Move, Phase, Pipeline};
use super::poison::Death;
use super::quarantine::Quarantine;
use super::record::{AppRow, Desired, Fenced, UpgradeRecord};
use super::request::RequestId;
use super::takeover::Takeover;
use super::upgrade::{Group, Member, Order, ShadowJob, Side, StandingFaults};
use crate::release::Releases;

/// Settings that decisions depend on.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Name of this node.
    pub node: String,
    /// Length of a probation where nobody says otherwise.
    pub probation: Duration,
}

/// An app that is known: running, stopped or removed.
#[derive(Debug, Clone)]
pub struct App {
    pub row: AppRow,
    pub lifecycle: Lifecycle,
    /// The fence and resume under way.
    pub takeover: Option<Takeover>,
    /// Id of the upgrade that it is a member of.
    pub upgrade: Option<String>,
    pub last_upgrade: Option<UpgradeRecord>,
    /// The last death of an instance that may have been live, until it is attributed.
    pub death: Option<Death>,
    /// Words for the end of its last instance.
    pub last_end: String,
    /// Faults of the running release, by its last report.
    pub faults: Option<StandingFaults>,
    /// Time of the last report of events that the release that runs has handled.
    pub last_events_at: Option<Instant>,
    /// The last shadow of its state, as far as the maker has told.
    pub migration: Option<Migration>,
    pub reader_shadow: ReaderShadow,
}

/// The shadow that an app's live instance keeps for readers of another schema.
#[derive(Debug, Clone)]
pub struct ReaderShadow {
    pub schema: u32,
    pub release: Version,
    /// Attempts to make it, in this schema and by this release.
    pub attempts: u32,
    pub job: ShadowJob,
}

impl App {
    pub fn new(row: AppRow) -> Self {
        App {
            row,
            lifecycle: Lifecycle::default(),
            takeover: None,
            upgrade: None,
            last_upgrade: None,
            death: None,
            last_end: String::new(),
            faults: None,
            last_events_at: None,
            migration: None,
            reader_shadow: ReaderShadow {
                schema: 0,
                release: Version::new(0, 0, 0),
                attempts: 0,
                job: ShadowJob::idle(Deadlines::DEFAULT.shadow),
            },
        }
    }

    /// Whether the app takes part in the pipeline.
    pub fn is_present(&self) -> bool {
        self.row.desired != Desired::Removed
    }

    /// Whether the release that runs has handled events within this time.
    pub fn had_events_within(&self, time: Duration, now: Instant) -> bool {
        let at = self.last_events_at;
        at.is_some_and(|at| now.saturating_duration_since(at) <= time)
    }

    /// Whether the app was stopped because it kept dying.
    pub fn has_failed(&self) -> bool {
        let crash_loop = self.row.crash_loop.as_ref();
        crash_loop.is_some_and(|crash_loop| crash_loop.to.is_none())
    }

    /// The release to fall back to, should this one keep dying. One that kept dying itself is none.
    pub fn fallback_from(&self, version: &Version) -> Option<Version> {
        match self.row.release == *version || self.has_failed() {
            true => self.row.fallback.clone(),
            false => Some(self.row.release.clone()),
        }
    }
}

/// An upgrade under way.
#[derive(Debug, Clone, Default)]
pub struct ActiveUpgrade {
    pub group: Group,
    pub members: BTreeMap<String, MemberRun>,
    /// Requests that wait for its end, and the app that each named.
    pub waiting: Vec<(RequestId, String)>,
    /// Last statuses of the members that have ended.
    pub ended: BTreeMap<String, UpgradeStatus>,
}

/// One member of an upgrade: its record, and its two instances.
#[derive(Debug, Clone)]
pub struct MemberRun {
    pub record: UpgradeRecord,
    pub source: Option<InstanceId>,
    pub target: Option<InstanceId>,
    pub started: Instant,
    pub fenced: Option<Fenced>,
    /// An order that did not reach its instance, as the session was away.
    pub missed: Option<(Side, Order)>,
    /// The step that was last published. The record is ahead of it while it is being written.
    pub published: Option<Published>,
}

impl MemberRun {
    pub fn instance(&self, side: Side) -> Option<&InstanceId> {
        match side {
            Side::Source => self.source.as_ref(),
            Side::Target => self.target.as_ref(),
        }
    }
}

/// A step that has become true.
#[derive(Debug, Clone, Copy)]
pub struct Published {
    pub step: Step,
    pub unix_ms: u64,
    pub since_start_us: u64,
}

/// State of the proxy, as observed last.
#[derive(Debug, Clone, Default)]
pub struct ObservedProxy {
    pub incarnation: Option<u64>,
    /// Number of tables of each connected switch; 0: not known.
    pub switches: BTreeMap<u64, u32>,
}

#[derive(Debug, Clone)]
pub struct State {
    pub config: NodeConfig,
    pub outbox: Outbox,
    pub releases: Releases,
    pub apps: BTreeMap<String, App>,
    pub instances: Instances,
    /// Tables of the apps; also of one that is about to be started.
    pub pipeline: Pipeline,
    /// Move of apps to other tables.
    pub moving: Option<Move>,
    /// Upgrades under way, by id.
    pub upgrades: BTreeMap<String, ActiveUpgrade>,
    pub quarantine: Quarantine,
    pub proxy: ObservedProxy,
    /// The newest number that was given out for an instance or an upgrade.
    pub last_id: u64,
    /// Time of the next look at the shadows that readers need.
    pub shadows_at: Option<Instant>,
}

impl State {
    pub fn new(config: NodeConfig, present: Present) -> Self {
        State {
            config,
            outbox: Outbox::new(present),
            releases: Releases::default(),
            apps: BTreeMap::new(),
            instances: Instances::default(),
            pipeline: Pipeline::default(),
            moving: None,
            upgrades: BTreeMap::new(),
            quarantine: Quarantine::default(),
            proxy: ObservedProxy::default(),
            last_id: 0,
            shadows_at: None,
        }
    }

    pub fn now(&self) -> Instant {
        self.outbox.present.at
    }

    /// A number that was never given out before: the time, or later.
    pub fn next_id(&mut self) -> u64 {
        self.last_id = self.outbox.present.unix_ms.max(self.last_id + 1);
        self.last_id
    }

    /// Numbers the next configuration. Says whether apps have to confirm it; 0: nobody waits for it.
    pub fn number_configuration(&mut self) -> (u64, bool) {
        if self.moving.is_none() {
            return (0, false);
        }
        let serial = self.next_id();
        let Some(moving) = &mut self.moving else {
            return (0, false);
        };
        moving.serial = Some(serial);
        let is_confirmed = matches!(moving.phase, Phase::Copying | Phase::Deleting);
        (serial, is_confirmed)
    }

    pub fn upgrade_of(&self, app: &str) -> Option<&ActiveUpgrade> {
        let id = self.apps.get(app)?.upgrade.as_ref()?;
        self.upgrades.get(id)
    }

    /// The record and instances of an app's upgrade.
    pub fn run(&self, app: &str) -> Option<&MemberRun> {
        self.upgrade_of(app)?.members.get(app)
    }

    pub fn run_mut(&mut self, app: &str) -> Option<&mut MemberRun> {
        let id = self.apps.get(app)?.upgrade.as_ref()?;
        self.upgrades.get_mut(id)?.members.get_mut(app)
    }

    /// Deadlines of an app's upgrade.
    pub fn deadlines(&self, app: &str) -> Deadlines {
        let member = self.member(app);
        member.map_or(Deadlines::DEFAULT, |member| member.plan().deadlines)
    }

    /// The machine of an app's upgrade.
    pub fn member(&self, app: &str) -> Option<&Member> {
        self.upgrade_of(app)?.group.member(app)
    }

    /// The upgrade that an app is in, though its own part may have ended.
    pub fn unfinished_upgrade(&self, app: &str) -> Option<&ActiveUpgrade> {
        let mut upgrades = self.upgrades.values();
        upgrades.find(|upgrade| upgrade.members.contains_key(app))
    }

    /// The side on which an instance is in its app's upgrade.
    pub fn side_of(&self, app: &str, instance: &str) -> Option<Side> {
        let run = self.run(app)?;
        if run.target.as_deref() == Some(instance) {
            return Some(Side::Target);
        }
        (run.source.as_deref() == Some(instance)).then_some(Side::Source)
    }

    /// The instance of a side, if there is one that is not being ended.
    pub fn instance_of(&self, app: &str, side: Side) -> Option<InstanceId> {
        let run = self.run(app)?;
        let own = || self.apps.get(app)?.lifecycle.instance();
        let id = match side {
            Side::Target => run.target.as_ref(),
            // Before the hold the source is the app's own instance.
            Side::Source => run.source.as_ref().or_else(own),
        }?;
        self.instances.there(id)
    }

    /// The shadows that readers need may have changed: they are looked at with the next step of the clock.
    pub fn look_at_shadows(&mut self) {
        self.shadows_at = Some(self.now());
    }
}
