//! Liveness of instances. An instance that hangs keeps its process and perhaps its session, so nothing else tells of it.
//!
//! Every instance is sent a probe twice a second. A live instance that is stopped, or starved of the CPU, for two seconds
//! does not hang; an instance that hangs is found in less than five, with time left to replace it. An instance that loads a
//! large state answers late, and is seen to work.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::instances::{Instance, InstanceId, Instances};

/// Between two probes.
const PERIOD: Duration = Duration::from_millis(500);
/// Probes in a row without an answer, and without any work meanwhile, after which an instance hangs. Probes count, not time:
/// a morphd that was itself stopped for a while has sent none.
const IDLE: u32 = 6;
/// Probes in a row without an answer after which a ready instance hangs, also if it uses the CPU, or waits for it. An
/// instance that is not ready has its start deadline.
const BUSY: u32 = 8;

/// Use of the processors by a process, as the kernel reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuTime {
    /// CPU time of all its threads since the start, in clock ticks of 10 ms.
    pub ticks: u64,
    /// The process runs, or waits for a processor or a disk.
    pub runnable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeStep {
    Nothing,
    Probe,
    Hung,
}

/// Result of sending a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// The probe is on its way to the instance.
    HandedOver,
    /// The proxy has no session with the instance.
    NoSession,
    /// The proxy is away: nothing can be said about the instance.
    Lost,
}

/// Probes of one instance.
#[derive(Debug)]
pub struct Liveness {
    unanswered: u32,
    /// Unanswered probes since the instance was last seen to work.
    idle: u32,
    cpu_time: Option<CpuTime>,
    next: Instant,
}

impl Liveness {
    pub fn new(now: Instant) -> Self {
        Liveness {
            unanswered: 0,
            idle: 0,
            cpu_time: None,
            next: now + PERIOD,
        }
    }

    pub fn next_deadline(&self) -> Instant {
        self.next
    }

    /// The time of the next deadline may have come. `work` is looked up only where it matters.
    pub fn time(
        &mut self,
        now: Instant,
        ready: bool,
        work: impl FnOnce() -> Option<CpuTime>,
    ) -> ProbeStep {
        if now < self.next {
            return ProbeStep::Nothing;
        }
        self.next = now + PERIOD;
        if self.unanswered > 0 {
            self.look(work());
        }
        match self.idle >= IDLE || (ready && self.unanswered >= BUSY) {
            true => ProbeStep::Hung,
            false => ProbeStep::Probe,
        }
    }

    fn look(&mut self, work: Option<CpuTime>) {
        let before = std::mem::replace(&mut self.cpu_time, work);
        let worked =
            matches!((before, work), (Some(before), Some(now)) if now.ticks > before.ticks);
        if worked || work.is_some_and(|now| now.runnable) {
            self.idle = 0;
        }
    }

    /// A probe was sent. A ready instance without a session has just lost it, which is told otherwise.
    pub fn probed(&mut self, outcome: ProbeOutcome, ready: bool) {
        match outcome {
            ProbeOutcome::HandedOver => {}
            ProbeOutcome::NoSession if !ready => {}
            ProbeOutcome::NoSession | ProbeOutcome::Lost => return self.heard(),
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.idle = self.idle.saturating_add(1);
    }

    /// The instance has reported something.
    pub fn heard(&mut self) {
        self.unanswered = 0;
        self.idle = 0;
        self.cpu_time = None;
    }
}

/// Action that is due for an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchOutput {
    /// Send a probe, and say what became of it.
    Probe { app: String, instance: InstanceId },
    /// The instance hangs: in these words.
    Hung(InstanceId, &'static str),
}

/// Probes of all instances.
#[derive(Debug, Default)]
pub struct Watch {
    all: BTreeMap<InstanceId, Liveness>,
}

/// An instance that is not ready yet should come to a session soon, and answers while it gets ready.
fn is_probed(instance: &Instance) -> bool {
    !instance.ending && (instance.attached || !instance.ready)
}

impl Watch {
    /// Begins with instances that are new, and forgets those that are gone.
    pub fn follow(&mut self, instances: &Instances, now: Instant) {
        self.all.retain(|id, _| instances.get(id).is_some());
        for (id, _) in instances.iter() {
            if !self.all.contains_key(id) {
                self.all.insert(id.clone(), Liveness::new(now));
            }
        }
    }

    pub fn next_deadline(&self, instances: &Instances) -> Option<Instant> {
        let probed = self.all.iter().filter(|(id, _)| {
            let instance = instances.get(id);
            instance.is_some_and(is_probed)
        });
        probed.map(|(_, liveness)| liveness.next_deadline()).min()
    }

    /// Actions that are due now; `work` looks up the CPU time of an instance.
    pub fn time(
        &mut self,
        instances: &Instances,
        now: Instant,
        work: impl Fn(&str) -> Option<CpuTime>,
    ) -> Vec<WatchOutput> {
        let mut out = Vec::new();
        for (id, liveness) in &mut self.all {
            let Some(instance) = instances.get(id).filter(|i| is_probed(i)) else {
                continue;
            };
            match liveness.time(now, instance.ready, || work(id)) {
                ProbeStep::Nothing => {}
                ProbeStep::Probe => out.push(WatchOutput::Probe {
                    app: instance.app.clone(),
                    instance: id.clone(),
                }),
                ProbeStep::Hung => {
                    let why = match instance.ready {
                        true => "does not answer any longer",
                        false => "is not ready, and does not answer",
                    };
                    out.push(WatchOutput::Hung(id.clone(), why));
                }
            }
        }
        out
    }

    pub fn probed(&mut self, id: &str, outcome: ProbeOutcome, instances: &Instances) {
        let ready = instances.get(id).is_some_and(|instance| instance.ready);
        if let Some(liveness) = self.all.get_mut(id) {
            liveness.probed(outcome, ready);
        }
    }

    pub fn heard(&mut self, id: &str) {
        if let Some(liveness) = self.all.get_mut(id) {
            liveness.heard();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uses no CPU, and waits for nothing that others have.
    const ASLEEP: Option<CpuTime> = Some(CpuTime {
        ticks: 7,
        runnable: false,
    });

    /// One after the other, each with a probe; when it was found to hang.
    fn run(
        probes: u32,
        ready: bool,
        work: impl Fn(u32) -> Option<CpuTime>,
        mut ask: impl FnMut(u32, &mut Liveness),
    ) -> Option<Duration> {
        let start = Instant::now();
        let mut liveness = Liveness::new(start);
        let hung = (1..=probes).find(|n| {
            let now = start + PERIOD * *n;
            let early = liveness.time(now - Duration::from_millis(1), ready, || work(*n));
            assert_eq!(early, ProbeStep::Nothing);
            let step = liveness.time(now, ready, || work(*n));
            if step == ProbeStep::Probe {
                ask(*n, &mut liveness);
            }
            step == ProbeStep::Hung
        });
        hung.map(|n| PERIOD * n)
    }

    fn silent(ready: bool) -> impl FnMut(u32, &mut Liveness) {
        move |_, liveness| liveness.probed(ProbeOutcome::HandedOver, ready)
    }

    #[test]
    fn one_that_is_silent_and_idle_hangs_after_three_seconds() {
        // The first probe may come half a second after it has begun to hang.
        let found = Some(PERIOD * (IDLE + 1));
        for ready in [true, false] {
            assert_eq!(run(30, ready, |_| ASLEEP, silent(ready)), found);
            assert_eq!(run(30, ready, |_| None, silent(ready)), found);
        }
        assert!(found <= Some(Duration::from_millis(3500)));
    }

    #[test]
    fn one_that_is_busy_has_longer_and_at_its_start_until_its_deadline() {
        let computes = |n| {
            Some(CpuTime {
                ticks: u64::from(n),
                runnable: false,
            })
        };
        let starved = |_| {
            Some(CpuTime {
                ticks: 7,
                runnable: true,
            })
        };
        let found = Some(PERIOD * (BUSY + 1));
        assert_eq!(run(60, true, computes, silent(true)), found);
        assert_eq!(run(60, true, starved, silent(true)), found);
        assert_eq!(run(60, false, computes, silent(false)), None);
        assert_eq!(run(60, false, starved, silent(false)), None);
        assert!(found <= Some(Duration::from_millis(4500)));
    }

    #[test]
    fn one_that_is_stopped_for_two_seconds_does_not_hang() {
        // In two seconds there are five probes at most.
        let stopped = |n, liveness: &mut Liveness| {
            liveness.probed(ProbeOutcome::HandedOver, true);
            if n % 5 == 0 {
                liveness.heard();
            }
        };
        assert_eq!(run(60, true, |_| ASLEEP, stopped), None);
    }

    #[test]
    fn one_that_never_comes_to_a_session_hangs_and_one_that_lost_it_does_not() {
        let without = |ready| {
            move |_, liveness: &mut Liveness| liveness.probed(ProbeOutcome::NoSession, ready)
        };
        let found = Some(PERIOD * (IDLE + 1));
        assert_eq!(run(60, false, |_| ASLEEP, without(false)), found);
        assert_eq!(run(60, true, |_| ASLEEP, without(true)), None);
    }

    #[test]
    fn where_it_cannot_be_asked_nothing_is_known() {
        let sometimes = |n, liveness: &mut Liveness| match n % IDLE {
            0 => liveness.probed(ProbeOutcome::Lost, true),
            _ => liveness.probed(ProbeOutcome::HandedOver, true),
        };
        assert_eq!(run(60, true, |_| ASLEEP, sometimes), None);
    }

    #[test]
    fn a_morphd_that_stood_still_asks_once() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start);
        let later = start + PERIOD * 60;
        assert_eq!(liveness.time(later, true, || ASLEEP), ProbeStep::Probe);
        assert_eq!(liveness.time(later, true, || ASLEEP), ProbeStep::Nothing);
    }
}
