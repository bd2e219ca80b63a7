//! Barrier of a group upgrade: no turn of a member passes before each member has its first rules.
//!
//! ```text
//!   Waiting --- the last member is resumed and has sent RulesReady ---> open
//!      | late_at
//!      v
//!    Late  --- the last member ..., or GRACE later --------------------> open
//! ```
//!
//! Lateness is reported to morphd, which takes all members back. Without morphd the turns pass after all, each app's by
//! itself: a network without control would be worse than rules that are sent one app after the other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Time from late to open.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

/// Actions for the slots of the members, by app id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GroupOutput {
    /// Let this app's turns pass.
    OpenGate(u8),
    /// Report that turns do not pass yet, for this reason.
    Late(u8, String),
}

#[derive(Debug, Clone, Default)]
struct Member {
    name: String,
    /// Epoch in which it was resumed.
    resumed: Option<u64>,
    /// Epoch in which it reported its first rules.
    ready: Option<u64>,
    /// Member of a newer group by now: it never becomes ready here, and is not acted upon.
    left: bool,
}

impl Member {
    fn is_ready(&self) -> bool {
        !self.left && self.resumed.is_some() && self.ready == self.resumed
    }
}

/// Machine of one group upgrade.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    members: BTreeMap<u8, Member>,
    late_at: Instant,
    late: bool,
    open: bool,
}

impl Group {
    /// Creates the group at the first resume, with the members' ids and names.
    pub(crate) fn new(
        apps: impl IntoIterator<Item = (u8, String)>,
        wait: Duration,
        now: Instant,
    ) -> Self {
        let mut group = Group {
            members: BTreeMap::new(),
            late_at: now + wait,
            late: false,
            open: false,
        };
        for (app, name) in apps {
            group.add(app, name);
        }
        group
    }

    fn add(&mut self, app: u8, name: String) {
        let member = Member {
            name,
            ..Member::default()
        };
        self.members.entry(app).or_insert(member);
    }

    /// Returns whether turns no longer wait for the group.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Notes that an app was resumed behind its gate. An app that was not named as a member becomes one: otherwise
    /// nothing would open its gate.
    pub(crate) fn resumed(&mut self, app: u8, name: &str, epoch: u64, out: &mut Vec<GroupOutput>) {
        self.add(app, name.to_owned());
        if let Some(member) = self.members.get_mut(&app) {
            member.resumed = Some(epoch);
            member.left = false;
        }
        self.open_if_ready(out);
    }

    /// Notes that an app was resumed as a member of another group. The others keep waiting, and are reported late in time.
    pub(crate) fn leave(&mut self, app: u8) {
        if let Some(member) = self.members.get_mut(&app) {
            member.left = true;
        }
    }

    /// Notes that an app has its first rules.
    pub(crate) fn ready(&mut self, app: u8, epoch: u64, out: &mut Vec<GroupOutput>) {
        if let Some(member) = self.members.get_mut(&app) {
            member.ready = Some(epoch);
        }
        self.open_if_ready(out);
    }

    /// Returns the time at which `timer` is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match (self.open, self.late) {
            (true, _) => None,
            (false, false) => Some(self.late_at),
            (false, true) => Some(self.late_at + GRACE),
        }
    }

    pub(crate) fn timer(&mut self, now: Instant, out: &mut Vec<GroupOutput>) {
        if self.open {
            return;
        }
        if !self.late && self.late_at <= now {
            self.late = true;
            let missing = self.members.values().filter(|member| !member.is_ready());
            let missing: Vec<&str> = missing.map(|member| member.name.as_str()).collect();
            let why = format!("no first rules in time from {}", missing.join(", "));
            let late = |app| GroupOutput::Late(app, why.clone());
            out.extend(self.present().map(late));
        }
        if self.late_at + GRACE <= now {
            self.open_all(out);
        }
    }

    fn open_if_ready(&mut self, out: &mut Vec<GroupOutput>) {
        if !self.open && self.members.values().all(Member::is_ready) {
            self.open_all(out);
        }
    }

    fn open_all(&mut self, out: &mut Vec<GroupOutput>) {
        self.open = true;
        out.extend(self.present().map(GroupOutput::OpenGate));
    }

    /// Returns the ids of the members that have not left.
    fn present(&self) -> impl Iterator<Item = u8> {
        let present = |(app, member): (&u8, &Member)| (!member.left).then_some(*app);
        self.members.iter().filter_map(present)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(3);

    fn group(now: Instant) -> Group {
        Group::new([(2, "topology".into()), (3, "router".into())], WAIT, now)
    }

    fn both_open() -> Vec<GroupOutput> {
        vec![GroupOutput::OpenGate(2), GroupOutput::OpenGate(3)]
    }

    #[test]
    fn opens_when_the_last_member_is_ready_in_its_epoch() {
        let now = Instant::now();
        let mut group = group(now);
        let mut out = Vec::new();
        group.resumed(2, "topology", 5, &mut out);
        group.ready(2, 5, &mut out);
        group.ready(3, 8, &mut out);
        group.resumed(3, "router", 9, &mut out);
        assert!(out.is_empty(), "app 3 was ready in an older epoch");
        group.ready(3, 9, &mut out);
        assert_eq!(out, both_open());
        assert!(group.is_open() && group.next_deadline().is_none());
        group.timer(now + 10 * WAIT, &mut out);
        assert_eq!(out, both_open(), "once");
    }

    #[test]
    fn late_members_are_named_and_pass_in_the_end() {
        let now = Instant::now();
        let mut group = group(now);
        let mut out = Vec::new();
        group.resumed(2, "topology", 5, &mut out);
        group.ready(2, 5, &mut out);
        group.timer(now + WAIT - Duration::from_millis(1), &mut out);
        assert!(out.is_empty());
        group.timer(now + WAIT, &mut out);
        let why = "no first rules in time from router".to_owned();
        let late = [2, 3].map(|app| GroupOutput::Late(app, why.clone()));
        assert_eq!(out, late);
        assert_eq!(group.next_deadline(), Some(now + WAIT + GRACE));
        out.clear();
        group.timer(now + WAIT + GRACE, &mut out);
        assert_eq!(out, both_open());
    }

    #[test]
    fn members_that_another_one_has_left_are_reported_late() {
        let now = Instant::now();
        let mut group = group(now);
        let mut out = Vec::new();
        group.resumed(2, "topology", 5, &mut out);
        group.ready(2, 5, &mut out);
        group.leave(3);
        assert!(out.is_empty());
        group.timer(now + WAIT, &mut out);
        let why = "no first rules in time from router".to_owned();
        assert_eq!(out, [GroupOutput::Late(2, why)]);
        group.timer(now + WAIT + GRACE, &mut out);
        assert_eq!(out[1..], [GroupOutput::OpenGate(2)]);
    }

    #[test]
    fn an_app_that_was_not_named_as_a_member_passes_with_the_group() {
        let mut group = Group::new([], WAIT, Instant::now());
        let mut out = Vec::new();
        group.resumed(2, "topology", 5, &mut out);
        assert!(out.is_empty());
        group.ready(2, 5, &mut out);
        assert_eq!(out, [GroupOutput::OpenGate(2)]);
    }
}
