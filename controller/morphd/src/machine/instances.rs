//! The app instances of this node: their processes, and their sessions with the proxy.

use std::collections::BTreeMap;
use std::time::Instant;

use morph_api::supervisor::Vanishing;
use semver::Version;

/// Id of an instance: hexadecimal, and never given out twice by a node.
pub type InstanceId = String;

#[derive(Debug, Clone)]
pub struct Instance {
    pub app: String,
    pub release: Version,
    /// Process id; 0: not known yet.
    pub pid: u32,
    /// Has a session with the proxy.
    pub attached: bool,
    /// Has reported that it is ready.
    pub ready: bool,
    /// Its own summary from that report.
    pub summary: String,
    /// Objection to the rules that it would remove, from that report.
    pub rule_loss: Option<String>,
    /// Switches on which its rules vanish again and again, by its last report on its health.
    pub vanishing: Vec<Vanishing>,
    /// Events that it has handled, by that report.
    pub events_reported: u64,
    /// Was resumed last of its app.
    pub live: bool,
    /// Is being ended: its end is no failure.
    pub ending: bool,
    /// Whether it runs before morphd, as it was last told.
    pub first: Option<bool>,
    /// Its session has ended, and its process not yet.
    pub session_loss: Option<SessionLoss>,
}

/// A session that ended while the process of the instance still ran.
#[derive(Debug, Clone)]
pub struct SessionLoss {
    /// Time at which the process is of no use any longer.
    pub until: Instant,
    pub reason: String,
    /// The loss is as good as a crash, whether the instance attaches again or not: it has a part in an upgrade.
    pub final_loss: bool,
}

impl Instance {
    pub fn new(app: &str, release: &Version) -> Self {
        Instance {
            app: app.to_owned(),
            release: release.clone(),
            pid: 0,
            attached: false,
            ready: false,
            summary: String::new(),
            rule_loss: None,
            vanishing: Vec::new(),
            events_reported: 0,
            live: false,
            ending: false,
            first: None,
            session_loss: None,
        }
    }

    /// Attached, ready, and not being ended.
    pub fn is_usable(&self) -> bool {
        self.attached && self.ready && !self.ending
    }
}

#[derive(Debug, Clone, Default)]
pub struct Instances {
    all: BTreeMap<InstanceId, Instance>,
}

impl Instances {
    pub fn insert(&mut self, id: InstanceId, instance: Instance) {
        self.all.insert(id, instance);
    }

    pub fn remove(&mut self, id: &str) -> Option<Instance> {
        self.all.remove(id)
    }

    pub fn get(&self, id: &str) -> Option<&Instance> {
        self.all.get(id)
    }

    pub fn get_mut(&mut self, id: &str) -> Option<&mut Instance> {
        self.all.get_mut(id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&InstanceId, &Instance)> {
        self.all.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&InstanceId, &mut Instance)> {
        self.all.iter_mut()
    }

    pub fn of_app<'a>(
        &'a self,
        app: &'a str,
    ) -> impl Iterator<Item = (&'a InstanceId, &'a Instance)> {
        self.all.iter().filter(move |(_, i)| i.app == app)
    }

    /// The id, if there is such an instance and it is not being ended.
    pub fn there(&self, id: &InstanceId) -> Option<InstanceId> {
        let instance = self.all.get(id)?;
        (!instance.ending).then(|| id.clone())
    }

    /// Nobody of the app is live, or this instance alone.
    pub fn set_live(&mut self, app: &str, live: Option<&str>) {
        for (id, instance) in self.all.iter_mut().filter(|(_, i)| i.app == app) {
            instance.live = live == Some(id.as_str());
        }
    }

    /// The earliest time at which an instance without a session is of no use any longer.
    pub fn next_deadline(&self) -> Option<Instant> {
        let losses = self.all.values().filter_map(|i| i.session_loss.as_ref());
        losses.map(|loss| loss.until).min()
    }
}
