//! Carries out what stands above the upgrades of several apps as one.

use morph_api::management::Step;
use morph_api::supervisor::Group as Joint;

use super::{Feed, Supervisor};
use crate::upgrade::{Act, Output, Side, Together};

impl Supervisor {
    /// The group that an app is upgraded in, as long as that goes on.
    pub(super) fn group_of(&self, app: &str) -> Option<String> {
        let running = self.apps.get(app)?.upgrade.as_ref()?;
        let group = &running.row.group;
        self.together.contains_key(group).then(|| group.clone())
    }

    /// What one of them has put out, as the others let it.
    pub(super) fn pass_together(&mut self, group: &str, app: &str, out: Vec<Output>) {
        let mut acts = Vec::new();
        let running = self
            .apps
            .get(app)
            .and_then(|managed| managed.upgrade.as_ref());
        if let (Some(together), Some(running)) = (self.together.get_mut(group), running) {
            together.pass(app, &running.machine, out, &mut acts);
        }
        for act in acts {
            match act {
                Act::Out(app, output) => self.carry_out(&app, output),
                Act::Feed(app, input) => self.feed(Feed::Upgrade(app, input)),
                Act::FenceAll(members) => self.fence_all(&members, Side::New),
                Act::CommitAll(members) => self.finish_all(members, Step::Committed),
            }
        }
    }

    /// The new instances of a group are resumed together; on the way back each by itself.
    pub(super) fn resumed_together(&self, app: &str, side: Side) -> Option<Joint> {
        let group = self.group_of(app).filter(|_| side == Side::New)?;
        let apps = self.together.get(&group)?.apps().cloned().collect();
        let wait = self.deadlines(app).rules;
        Some(Joint {
            id: group,
            apps,
            wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
        })
    }

    /// The apps of a group, or the app alone.
    pub(super) fn all_of(&self, app: &str) -> Vec<String> {
        let group = self.group_of(app);
        match group.and_then(|group| self.together.get(&group)) {
            Some(together) => together.apps().cloned().collect(),
            None => vec![app.to_owned()],
        }
    }

    /// The group that an app is in, though its own part may have ended.
    pub(super) fn unfinished_group(&self, app: &str) -> Option<&Together> {
        let mut groups = self.together.values();
        groups.find(|together| together.apps().any(|member| member == app))
    }

    /// One of them has ended; with the last one the group is no more.
    pub(super) fn leave_group(&mut self, group: &str) {
        let goes_on = |managed: &super::Managed| {
            let running = managed.upgrade.as_ref();
            running.is_some_and(|running| running.row.group == group)
        };
        if !group.is_empty() && !self.apps.values().any(goes_on) {
            self.together.remove(group);
        }
    }

    /// Upgrades that another morphd left in probation go on as one.
    pub(super) fn rejoin(&mut self) {
        let mut groups = std::collections::BTreeMap::<String, Vec<String>>::new();
        for (name, managed) in &self.apps {
            if let Some(running) = &managed.upgrade
                && !running.row.group.is_empty()
            {
                let group = running.row.group.clone();
                groups.entry(group).or_default().push(name.clone());
            }
        }
        for (group, apps) in groups {
            self.together.insert(group, Together::new(apps));
        }
    }
}
