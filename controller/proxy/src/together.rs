//! Apps that were resumed as one: no turn of theirs passes before each has its first rules.
//!
//! ```text
//!   Waiting --- the last one is resumed and has said RulesReady ---> open
//!      | late_at
//!      v
//!    Late  --- the last one ..., or open_at --------------------> open
//! ```
//!
//! Late is told to morphd, which takes all of them back. Where there is no morphd the turns pass after all, each app's by
//! itself: a network without control would be worse than rules that leave one after the other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// From late to open.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

/// What has to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    /// Let this app's turns pass.
    Open(u8),
    /// Tell that they do not pass yet, and why.
    Late(u8, String),
}

/// Where one app stands.
#[derive(Debug, Clone, Default)]
struct Member {
    name: String,
    /// In this epoch.
    resumed: Option<u64>,
    /// It has said so, in this epoch.
    ready: Option<u64>,
}

impl Member {
    fn is_ready(&self) -> bool {
        self.resumed.is_some() && self.ready == self.resumed
    }
}

/// The machine, one for each upgrade of several apps.
#[derive(Debug, Clone)]
pub(crate) struct Together {
    members: BTreeMap<u8, Member>,
    late_at: Instant,
    late: bool,
    open: bool,
}

impl Together {
    /// Of these apps, by id. The time begins with the first resume.
    pub(crate) fn new(
        apps: impl IntoIterator<Item = (u8, String)>,
        wait: Duration,
        now: Instant,
    ) -> Self {
        let member = |(id, name)| {
            let member = Member {
                name,
                ..Member::default()
            };
            (id, member)
        };
        Together {
            members: apps.into_iter().map(member).collect(),
            late_at: now + wait,
            late: false,
            open: false,
        }
    }

    /// This app is one of them.
    pub(crate) fn has(&self, app: u8) -> bool {
        self.members.contains_key(&app)
    }

    /// Nothing waits for it any longer.
    pub(crate) fn ended(&self) -> bool {
        self.open
    }

    /// An app was resumed, and its turns wait.
    pub(crate) fn resumed(&mut self, app: u8, epoch: u64, out: &mut Vec<Output>) {
        if let Some(member) = self.members.get_mut(&app) {
            member.resumed = Some(epoch);
        }
        self.open_if_ready(out);
    }

    /// An app has its first rules.
    pub(crate) fn ready(&mut self, app: u8, epoch: u64, out: &mut Vec<Output>) {
        if let Some(member) = self.members.get_mut(&app) {
            member.ready = Some(epoch);
        }
        self.open_if_ready(out);
    }

    /// When `time` is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match (self.open, self.late) {
            (true, _) => None,
            (false, false) => Some(self.late_at),
            (false, true) => Some(self.late_at + GRACE),
        }
    }

    /// A deadline may have passed.
    pub(crate) fn time(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.open {
            return;
        }
        if !self.late && self.late_at <= now {
            self.late = true;
            let missing = self.members.values().filter(|member| !member.is_ready());
            let missing: Vec<&str> = missing.map(|member| member.name.as_str()).collect();
            let why = format!("{} did not say its first rules in time", missing.join(", "));
            let late = |app: &u8| Output::Late(*app, why.clone());
            out.extend(self.members.keys().map(late));
        }
        if self.late_at + GRACE <= now {
            self.open_all(out);
        }
    }

    fn open_if_ready(&mut self, out: &mut Vec<Output>) {
        if !self.open && self.members.values().all(Member::is_ready) {
            self.open_all(out);
        }
    }

    fn open_all(&mut self, out: &mut Vec<Output>) {
        self.open = true;
        out.extend(self.members.keys().copied().map(Output::Open));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(3);

    fn two(now: Instant) -> Together {
        Together::new([(2, "topology".into()), (3, "router".into())], WAIT, now)
    }

    fn opened() -> Vec<Output> {
        vec![Output::Open(2), Output::Open(3)]
    }

    #[test]
    fn opens_when_the_last_one_is_ready_in_its_epoch() {
        let now = Instant::now();
        let mut together = two(now);
        let mut out = Vec::new();
        together.resumed(2, 5, &mut out);
        together.ready(2, 5, &mut out);
        together.ready(3, 8, &mut out);
        together.resumed(3, 9, &mut out);
        assert!(out.is_empty(), "what app 3 said was of an older epoch");
        together.ready(3, 9, &mut out);
        assert_eq!(out, opened());
        assert!(together.ended() && together.next_deadline().is_none());
        together.time(now + 10 * WAIT, &mut out);
        assert_eq!(out, opened(), "once");
    }

    #[test]
    fn those_that_are_late_are_named_and_pass_in_the_end() {
        let now = Instant::now();
        let mut together = two(now);
        let mut out = Vec::new();
        together.resumed(2, 5, &mut out);
        together.ready(2, 5, &mut out);
        together.time(now + WAIT - Duration::from_millis(1), &mut out);
        assert!(out.is_empty());
        together.time(now + WAIT, &mut out);
        let why = "router did not say its first rules in time".to_owned();
        let late = [2, 3].map(|app| Output::Late(app, why.clone()));
        assert_eq!(out, late);
        assert_eq!(together.next_deadline(), Some(now + WAIT + GRACE));
        out.clear();
        together.time(now + WAIT + GRACE, &mut out);
        assert_eq!(out, opened());
    }
}
