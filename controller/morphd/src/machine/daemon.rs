//! The two daemons that every app needs, morph-stored and morph-proxy: started again when they end, and probed, since a
//! daemon that hangs keeps its process and its sockets, so nothing else tells of it.
//!
//! ```text
//!   answering --3 unanswered--> hung --8 unanswered--> hung, and replaced where that is safe
//!      ^                          |
//!      +------- an answer, or another process ------+
//! ```
//!
//! The store daemon can be replaced: what was acknowledged is on disk, and whoever writes asks again. The proxy cannot: its
//! end would be that of all channels, and of the events that they brought.

use std::time::{Duration, Instant};

use super::restarts::Restarts;

/// Between an answer and the next probe.
const PERIOD: Duration = Duration::from_secs(1);
/// Time for an answer.
pub const ANSWER: Duration = Duration::from_millis(1500);
/// Unanswered probes in a row after which a daemon hangs. Probes count, not time: a morphd that was itself stopped for a while
/// has sent none.
const UNANSWERED: u32 = 3;
/// Unanswered probes in a row after which it is given up.
const GIVEN_UP: u32 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DaemonName {
    Store,
    Proxy,
}

impl DaemonName {
    /// Name of the executable, and of the log.
    pub fn executable(self) -> &'static str {
        match self {
            DaemonName::Store => "morph-stored",
            DaemonName::Proxy => "morph-proxy",
        }
    }
}

/// Result of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DaemonReply {
    Answered,
    /// No answer in time, though somebody took the probe.
    Silent,
    /// Nobody is there to answer: others see to that.
    Away,
}

/// News of a daemon's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DaemonNews {
    /// The daemon does not answer any longer.
    Hangs,
    /// The daemon has been silent for so long that another process should take its place, if that is safe.
    GivenUp,
    /// The daemon answers again.
    Back,
}

/// Probes of one daemon.
#[derive(Debug)]
struct Probes {
    unanswered: u32,
    /// None: a probe is under way.
    next: Option<Instant>,
}

impl Probes {
    fn new(now: Instant) -> Self {
        Probes {
            unanswered: 0,
            next: Some(now + PERIOD),
        }
    }

    /// Whether a probe is due; its reply has to follow.
    fn is_due(&mut self, now: Instant) -> bool {
        self.next.take_if(|at| *at <= now).is_some()
    }

    fn hangs(&self) -> bool {
        self.unanswered >= UNANSWERED
    }

    fn replied(&mut self, reply: DaemonReply, now: Instant) -> Option<DaemonNews> {
        let hung = self.hangs();
        self.next = Some(now + PERIOD);
        match reply {
            DaemonReply::Silent => {
                self.unanswered = self.unanswered.saturating_add(1);
                match self.unanswered {
                    UNANSWERED => Some(DaemonNews::Hangs),
                    GIVEN_UP => Some(DaemonNews::GivenUp),
                    _ => None,
                }
            }
            DaemonReply::Answered | DaemonReply::Away => {
                self.unanswered = 0;
                (hung && reply == DaemonReply::Answered).then_some(DaemonNews::Back)
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DaemonOutput {
    /// Start its process: answer `started` or `start_failed`.
    Start,
    /// Send a probe to this process: answer `replied`.
    Probe(u32),
    /// Kill this process.
    Kill(u32),
}

/// A daemon, as the management API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonView {
    /// Name of its executable.
    pub name: &'static str,
    /// Process id; 0: no process.
    pub pid: u32,
    /// running, hung (it does not answer) or gone.
    pub state: &'static str,
    /// Deaths since morphd's start.
    pub restarts: u64,
}

#[derive(Debug)]
pub struct Daemon {
    name: DaemonName,
    /// Process id; none: no process.
    pid: Option<u32>,
    restarts: Restarts,
    start_at: Option<Instant>,
    probes: Probes,
}

impl Daemon {
    pub fn new(name: DaemonName, pid: u32, now: Instant) -> Self {
        Daemon {
            name,
            pid: Some(pid),
            // Two deaths are answered at once; from the third one within ten seconds on there are waits between.
            restarts: Restarts::new(2),
            start_at: None,
            probes: Probes::new(now),
        }
    }

    pub fn view(&self) -> DaemonView {
        DaemonView {
            name: self.name.executable(),
            pid: self.pid.unwrap_or(0),
            state: match self.pid {
                None => "gone",
                Some(_) if self.probes.hangs() => "hung",
                Some(_) => "running",
            },
            restarts: self.restarts.total(),
        }
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [self.start_at, self.probes.next];
        deadlines.into_iter().flatten().min()
    }

    pub fn time(&mut self, now: Instant, out: &mut Vec<DaemonOutput>) {
        if self.start_at.take_if(|at| *at <= now).is_some() {
            out.push(DaemonOutput::Start);
        }
        if self.probes.is_due(now) {
            out.push(DaemonOutput::Probe(self.pid.unwrap_or(0)));
        }
    }

    pub fn started(&mut self, pid: u32) {
        self.pid = Some(pid);
    }

    pub fn start_failed(&mut self, now: Instant) {
        self.start_at = Some(self.restarts.died(now));
    }

    /// The process has ended, in these words.
    pub fn ended(&mut self, pid: u32, how: &str, now: Instant) {
        if self.pid != Some(pid) {
            return;
        }
        self.pid = None;
        let at = self.restarts.died(now);
        self.start_at = Some(at);
        let (daemon, deaths) = (self.name.executable(), self.restarts.in_row());
        tracing::error!(daemon, pid, "{how}");
        if deaths >= 3 {
            let wait = at.saturating_duration_since(now);
            tracing::error!(
                daemon,
                deaths,
                ?wait,
                "the daemon keeps dying; it is started again after a wait"
            );
        }
    }

    /// A probe of this process was answered, or not. Silence of another process than the present one says nothing.
    pub fn replied(
        &mut self,
        pid: u32,
        reply: DaemonReply,
        now: Instant,
        out: &mut Vec<DaemonOutput>,
    ) {
        let reply = match reply {
            DaemonReply::Silent if self.pid != Some(pid) => DaemonReply::Away,
            reply => reply,
        };
        let Some(news) = self.probes.replied(reply, now) else {
            return;
        };
        let daemon = self.name.executable();
        match (news, self.name) {
            (DaemonNews::Back, _) => tracing::warn!(daemon, pid, "answers again"),
            (DaemonNews::Hangs, DaemonName::Store) => tracing::error!(
                daemon,
                pid,
                "does not answer: nothing is stored; it is ended if that lasts"
            ),
            (DaemonNews::Hangs, DaemonName::Proxy) => tracing::error!(
                daemon,
                pid,
                "does not answer: switches and apps wait. It is not ended, since switches would lose their channels; \
                 `kill -9 {pid}` makes morphd start another"
            ),
            (DaemonNews::GivenUp, DaemonName::Store) => {
                tracing::error!(daemon, pid, "still does not answer, and is killed");
                out.push(DaemonOutput::Kill(pid));
            }
            (DaemonNews::GivenUp, DaemonName::Proxy) => {
                tracing::error!(daemon, pid, "still does not answer");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// News of these replies, one a probe: A, S or -.
    fn news(outcomes: &str) -> Vec<(usize, DaemonNews)> {
        let mut now = Instant::now();
        let mut probes = Probes::new(now);
        let mut news = Vec::new();
        for (index, outcome) in outcomes.chars().enumerate() {
            assert!(!probes.is_due(now));
            now = probes.next.unwrap();
            assert!(probes.is_due(now) && !probes.is_due(now), "once");
            assert_eq!(probes.next, None);
            let reply = match outcome {
                'A' => DaemonReply::Answered,
                'S' => DaemonReply::Silent,
                _ => DaemonReply::Away,
            };
            news.extend(probes.replied(reply, now).map(|what| (index, what)));
        }
        news
    }

    #[test]
    fn silence_is_told_once_and_so_is_its_end() {
        assert_eq!(
            news("AASSSSA"),
            [(4, DaemonNews::Hangs), (6, DaemonNews::Back)]
        );
        let given_up = [(2, DaemonNews::Hangs), (7, DaemonNews::GivenUp)];
        assert_eq!(news("SSSSSSSSSS"), given_up);
    }

    #[test]
    fn one_that_is_slow_or_away_does_not_hang() {
        assert!(news("SSASSASSA").is_empty());
        assert!(news("SS-SS-SS-A").is_empty());
        assert_eq!(
            news("SSS-A"),
            [(2, DaemonNews::Hangs)],
            "another process answers"
        );
    }

    #[test]
    fn a_store_that_hangs_is_killed_and_a_proxy_is_not() {
        for (name, killed) in [(DaemonName::Store, true), (DaemonName::Proxy, false)] {
            let now = Instant::now();
            let mut daemon = Daemon::new(name, 7, now);
            let mut out = Vec::new();
            for _ in 0..GIVEN_UP {
                daemon.replied(6, DaemonReply::Silent, now, &mut out);
            }
            assert_eq!(out, [], "another process was silent");
            for _ in 0..GIVEN_UP {
                daemon.replied(7, DaemonReply::Silent, now, &mut out);
            }
            assert_eq!(out.contains(&DaemonOutput::Kill(7)), killed);
        }
    }

    #[test]
    fn a_daemon_that_ended_is_started_again() {
        let now = Instant::now();
        let mut daemon = Daemon::new(DaemonName::Proxy, 7, now);
        daemon.ended(6, "was killed", now);
        assert_eq!(daemon.view().pid, 7, "another process ended");
        daemon.ended(7, "was killed", now);
        assert_eq!(daemon.view().state, "gone");
        let mut out = Vec::new();
        daemon.time(now, &mut out);
        assert_eq!(out, [DaemonOutput::Start]);
        daemon.started(8);
        assert_eq!((daemon.view().pid, daemon.view().restarts), (8, 1));
    }
}
