//! One app's supervision while nothing upgrades it: the machine that keeps one instance of one release live.
//!
//! ```text
//!             Start                        Ready              Resumed
//!  Stopped ---------> Starting ----------------> Resuming --------------> Running
//!     ^                  ^  | Gone                  | Gone, ResumeFailed    | Gone
//!     |                  |  v                       v                       |
//!     |                Waiting <--------------------+-----------------------+
//!     |                  | too often: CrashLoop -- Start --> Starting (perhaps of another release), or Stop
//!     | Stop, from any: Ending -> Gone -> Stopped
//!
//!  Yield, from any: Yielded (an upgrade has the slot) -- Take --> Running or Starting or Waiting
//! ```
//!
//! A crash, a first start and a proxy that came back are the same path: an instance gets ready, the fence raises the
//! epoch, the instance is resumed.

use std::time::{Duration, Instant};

use super::instances::InstanceId;
use super::restarts::Restarts;

/// Time to get ready, or to attach again after the proxy was away.
const STARTING: Duration = Duration::from_secs(20);
/// Between a failed resume and the next try.
const AGAIN: Duration = Duration::from_millis(200);
/// Time for the end of an instance, which is told, then terminated, then killed.
const ENDING: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LifecycleInput {
    /// The app is to run.
    Start,
    /// The app is not to run.
    Stop,
    /// The instance that was asked for has this id.
    Spawned(InstanceId),
    /// An instance is attached and ready.
    Ready(InstanceId),
    /// The process of an instance ended, or could not be started.
    Gone(InstanceId),
    Resumed(InstanceId),
    ResumeFailed(InstanceId),
    /// The proxy went away, and the sessions with it; the processes run.
    ProxyLost,
    /// The live instance's session broke; its process runs.
    SessionLost,
    /// An upgrade wants the slot.
    Yield,
    /// The upgrade is over: this instance is there, and live or not.
    Take(Option<(InstanceId, bool)>),
    /// The proxy refuses the instance for good: its release cannot run here.
    Refused(InstanceId),
    /// The last death counts against an event, not against the app.
    Forgiven,
    /// The release dies of one event after the other: it is of no use to resume another instance of it.
    GivesWay,
    /// A deadline has passed.
    Time,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LifecycleOutput {
    /// Start an instance: answer `Spawned`.
    Spawn,
    /// Fence for this instance and resume it: answer `Resumed` or `ResumeFailed`.
    Resume(InstanceId),
    /// End this instance, gently first: its end comes as `Gone`.
    End(InstanceId),
    /// The upgrade has the slot, and this instance, ready or not.
    Yielded(Option<(InstanceId, bool)>),
    /// Tell people: so many deaths in a row, and the wait before the next start.
    KeepsDying(u32, Duration),
    /// Decide what is done after so many deaths: answer `Start` (of another release) or `Stop`.
    CrashLoop(u32),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LifecycleState {
    /// Not to run.
    Stopped,
    /// A process gets ready; at `until` it is ended.
    Starting {
        /// None until it has an id.
        instance: Option<InstanceId>,
        until: Instant,
    },
    /// Fence and resume are on their way.
    Resuming {
        instance: InstanceId,
    },
    Running {
        instance: InstanceId,
    },
    /// The instance is ready, and its resume is tried again.
    Retrying {
        instance: InstanceId,
        at: Instant,
    },
    /// The instance died, and the next one is started at this time.
    Waiting {
        at: Instant,
    },
    /// Too many deaths; the decision is on its way.
    CrashLoop,
    /// The instance was told to end, and is not gone yet.
    Ending {
        instance: InstanceId,
        until: Instant,
    },
    /// An upgrade has the slot.
    Yielded,
}

#[derive(Debug, Clone)]
pub struct Lifecycle {
    state: LifecycleState,
    restarts: Restarts,
    /// The instance has been live.
    worked: bool,
    yield_wanted: bool,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Lifecycle {
            state: LifecycleState::Stopped,
            restarts: Restarts::new(1),
            worked: false,
            yield_wanted: false,
        }
    }
}

impl Lifecycle {
    /// Supervision of an instance that was found, live or not.
    pub fn adopted(instance: InstanceId, live: bool, now: Instant) -> Self {
        let mut app = Lifecycle::default();
        app.take(Some((instance, live)), now, &mut Vec::new());
        app
    }

    pub fn state(&self) -> &LifecycleState {
        &self.state
    }

    pub fn deaths(&self) -> u64 {
        self.restarts.total()
    }

    /// The instance, live or not.
    pub fn instance(&self) -> Option<&InstanceId> {
        match &self.state {
            LifecycleState::Starting { instance, .. } => instance.as_ref(),
            LifecycleState::Resuming { instance }
            | LifecycleState::Running { instance }
            | LifecycleState::Retrying { instance, .. }
            | LifecycleState::Ending { instance, .. } => Some(instance),
            LifecycleState::Stopped
            | LifecycleState::Waiting { .. }
            | LifecycleState::CrashLoop
            | LifecycleState::Yielded => None,
        }
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.state {
            LifecycleState::Starting { until: at, .. }
            | LifecycleState::Ending { until: at, .. }
            | LifecycleState::Retrying { at, .. }
            | LifecycleState::Waiting { at } => Some(*at),
            LifecycleState::Stopped
            | LifecycleState::CrashLoop
            | LifecycleState::Resuming { .. }
            | LifecycleState::Running { .. }
            | LifecycleState::Yielded => None,
        }
    }

    pub fn handle(&mut self, input: LifecycleInput, now: Instant, out: &mut Vec<LifecycleOutput>) {
        match input {
            LifecycleInput::Start => self.start(now, out),
            LifecycleInput::Stop => self.stop(now, out),
            LifecycleInput::Spawned(id) => self.spawned(id, out),
            LifecycleInput::Ready(id) => self.ready(id, now, out),
            LifecycleInput::Gone(id) => self.gone(&id, now, out),
            LifecycleInput::Resumed(id) => self.resumed(id, out),
            LifecycleInput::ResumeFailed(id) => self.resume_failed(id, now, out),
            LifecycleInput::ProxyLost | LifecycleInput::SessionLost => self.session_lost(now),
            LifecycleInput::Yield => self.yield_slot(out),
            LifecycleInput::Take(instance) => self.take(instance, now, out),
            LifecycleInput::Refused(id) => self.refused(&id, out),
            LifecycleInput::Forgiven => self.restarts.forgive(),
            LifecycleInput::GivesWay => self.gives_way(out),
            LifecycleInput::Time => self.time(now, out),
        }
    }

    fn start(&mut self, now: Instant, out: &mut Vec<LifecycleOutput>) {
        match self.state {
            LifecycleState::Stopped | LifecycleState::CrashLoop => {
                self.restarts.begin_anew();
                self.spawn(now, out);
            }
            // An instance that is ending was asked to: the next one starts when it is gone.
            LifecycleState::Ending { .. }
            | LifecycleState::Starting { .. }
            | LifecycleState::Resuming { .. }
            | LifecycleState::Running { .. }
            | LifecycleState::Retrying { .. }
            | LifecycleState::Waiting { .. }
            | LifecycleState::Yielded => {}
        }
    }

    fn spawn(&mut self, now: Instant, out: &mut Vec<LifecycleOutput>) {
        let until = now + STARTING;
        self.state = LifecycleState::Starting {
            instance: None,
            until,
        };
        out.push(LifecycleOutput::Spawn);
    }

    fn stop(&mut self, now: Instant, out: &mut Vec<LifecycleOutput>) {
        match &self.state {
            LifecycleState::Yielded | LifecycleState::Ending { .. } => {}
            LifecycleState::Stopped
            | LifecycleState::CrashLoop
            | LifecycleState::Starting { .. }
            | LifecycleState::Resuming { .. }
            | LifecycleState::Running { .. }
            | LifecycleState::Retrying { .. }
            | LifecycleState::Waiting { .. } => match self.instance().cloned() {
                Some(instance) => {
                    out.push(LifecycleOutput::End(instance.clone()));
                    let until = now + ENDING;
                    self.state = LifecycleState::Ending { instance, until };
                }
                None => self.state = LifecycleState::Stopped,
            },
        }
    }

    fn spawned(&mut self, id: InstanceId, out: &mut Vec<LifecycleOutput>) {
        match &mut self.state {
            LifecycleState::Starting {
                instance: instance @ None,
                ..
            } => *instance = Some(id),
            LifecycleState::Starting { .. }
            | LifecycleState::Stopped
            | LifecycleState::Resuming { .. }
            | LifecycleState::Running { .. }
            | LifecycleState::Retrying { .. }
            | LifecycleState::Waiting { .. }
            | LifecycleState::CrashLoop
            | LifecycleState::Ending { .. }
            | LifecycleState::Yielded => out.push(LifecycleOutput::End(id)),
        }
    }

    fn ready(&mut self, id: InstanceId, now: Instant, out: &mut Vec<LifecycleOutput>) {
        let ours = self.instance() == Some(&id);
        match &self.state {
            LifecycleState::Starting { .. } if ours => {
                out.push(LifecycleOutput::Resume(id.clone()));
                self.state = LifecycleState::Resuming { instance: id };
            }
            LifecycleState::Retrying { .. } if ours => {
                self.state = LifecycleState::Retrying {
                    instance: id,
                    at: now,
                }
            }
            LifecycleState::Starting { .. }
            | LifecycleState::Retrying { .. }
            | LifecycleState::Stopped
            | LifecycleState::Resuming { .. }
            | LifecycleState::Running { .. }
            | LifecycleState::Waiting { .. }
            | LifecycleState::CrashLoop
            | LifecycleState::Ending { .. }
            | LifecycleState::Yielded => {}
        }
    }

    fn gone(&mut self, id: &InstanceId, now: Instant, out: &mut Vec<LifecycleOutput>) {
        if self.instance() != Some(id) {
            return;
        }
        match &self.state {
            LifecycleState::Ending { .. } => self.state = LifecycleState::Stopped,
            LifecycleState::Starting { .. }
            | LifecycleState::Resuming { .. }
            | LifecycleState::Running { .. }
            | LifecycleState::Retrying { .. } => {
                self.died(now, out);
                if std::mem::take(&mut self.yield_wanted) {
                    self.give(None, out);
                }
            }
            LifecycleState::Stopped
            | LifecycleState::Waiting { .. }
            | LifecycleState::CrashLoop
            | LifecycleState::Yielded => {}
        }
    }

    fn died(&mut self, now: Instant, out: &mut Vec<LifecycleOutput>) {
        let at = match std::mem::take(&mut self.worked) {
            true => self.restarts.died(now),
            false => self.restarts.died_unborn(now),
        };
        if self.restarts.is_loop() {
            out.push(LifecycleOutput::CrashLoop(self.restarts.in_run()));
            self.state = LifecycleState::CrashLoop;
            return;
        }
        if self.restarts.in_row() >= 3 {
            out.push(LifecycleOutput::KeepsDying(
                self.restarts.in_row(),
                at - now,
            ));
        }
        self.state = LifecycleState::Waiting { at };
    }

    /// Another start of the same release would be refused, too.
    fn refused(&mut self, id: &InstanceId, out: &mut Vec<LifecycleOutput>) {
        if let LifecycleState::Starting { instance, .. } = &self.state
            && instance.as_ref() == Some(id)
            && !self.yield_wanted
        {
            out.push(LifecycleOutput::End(id.clone()));
            out.push(LifecycleOutput::CrashLoop(1));
            self.state = LifecycleState::CrashLoop;
        }
    }

    /// The takeover of the instance ends here: the fence is written, and nobody is resumed.
    fn gives_way(&mut self, out: &mut Vec<LifecycleOutput>) {
        if let LifecycleState::Resuming { instance } = &self.state
            && !self.yield_wanted
        {
            out.push(LifecycleOutput::End(instance.clone()));
            out.push(LifecycleOutput::CrashLoop(self.restarts.in_run()));
            self.state = LifecycleState::CrashLoop;
        }
    }

    fn resumed(&mut self, id: InstanceId, out: &mut Vec<LifecycleOutput>) {
        if !matches!(&self.state, LifecycleState::Resuming { instance } if *instance == id) {
            return;
        }
        self.worked = true;
        if std::mem::take(&mut self.yield_wanted) {
            return self.give(Some((id, true)), out);
        }
        self.state = LifecycleState::Running { instance: id };
    }

    fn resume_failed(&mut self, id: InstanceId, now: Instant, out: &mut Vec<LifecycleOutput>) {
        if !matches!(&self.state, LifecycleState::Resuming { instance } if *instance == id) {
            return;
        }
        if std::mem::take(&mut self.yield_wanted) {
            return self.give(Some((id, true)), out);
        }
        let at = now + AGAIN;
        self.state = LifecycleState::Retrying { instance: id, at };
    }

    fn session_lost(&mut self, now: Instant) {
        match &self.state {
            LifecycleState::Resuming { .. }
            | LifecycleState::Running { .. }
            | LifecycleState::Retrying { .. } => {
                let instance = self.instance().cloned();
                let until = now + STARTING;
                self.state = LifecycleState::Starting { instance, until };
            }
            LifecycleState::Starting { instance, .. } => {
                let instance = instance.clone();
                let until = now + STARTING;
                self.state = LifecycleState::Starting { instance, until };
            }
            LifecycleState::Stopped
            | LifecycleState::Waiting { .. }
            | LifecycleState::CrashLoop
            | LifecycleState::Ending { .. }
            | LifecycleState::Yielded => {}
        }
    }

    fn yield_slot(&mut self, out: &mut Vec<LifecycleOutput>) {
        match &self.state {
            // A fence is under way: nobody may come between it and its answer.
            LifecycleState::Resuming { .. } => self.yield_wanted = true,
            LifecycleState::Running { instance } | LifecycleState::Retrying { instance, .. } => {
                let instance = instance.clone();
                self.give(Some((instance, true)), out);
            }
            LifecycleState::Starting { instance, .. } => {
                let instance = instance.clone().map(|id| (id, false));
                self.give(instance, out);
            }
            LifecycleState::Stopped
            | LifecycleState::Waiting { .. }
            | LifecycleState::CrashLoop
            | LifecycleState::Ending { .. }
            | LifecycleState::Yielded => self.give(None, out),
        }
    }

    fn give(&mut self, instance: Option<(InstanceId, bool)>, out: &mut Vec<LifecycleOutput>) {
        self.state = LifecycleState::Yielded;
        out.push(LifecycleOutput::Yielded(instance));
    }

    fn take(
        &mut self,
        instance: Option<(InstanceId, bool)>,
        now: Instant,
        out: &mut Vec<LifecycleOutput>,
    ) {
        self.restarts.begin_anew();
        self.worked = matches!(instance, Some((_, true)));
        match instance {
            Some((instance, true)) => self.state = LifecycleState::Running { instance },
            Some((instance, false)) => {
                let until = now + STARTING;
                self.state = LifecycleState::Starting {
                    instance: Some(instance),
                    until,
                };
            }
            None => self.spawn(now, out),
        }
    }

    fn time(&mut self, now: Instant, out: &mut Vec<LifecycleOutput>) {
        match &self.state {
            LifecycleState::Waiting { at } if *at <= now => self.spawn(now, out),
            LifecycleState::Retrying { instance, at } if *at <= now => {
                let instance = instance.clone();
                out.push(LifecycleOutput::Resume(instance.clone()));
                self.state = LifecycleState::Resuming { instance };
            }
            LifecycleState::Starting { instance, until } if *until <= now => {
                let instance = instance.clone();
                out.extend(instance.clone().map(LifecycleOutput::End));
                // The end of the instance arrives as `Gone`; if it does not, the instance is ended again.
                let until = now + STARTING;
                self.state = LifecycleState::Starting { instance, until };
            }
            LifecycleState::Ending { instance, until } if *until <= now => {
                let instance = instance.clone();
                out.push(LifecycleOutput::End(instance.clone()));
                let until = now + ENDING;
                self.state = LifecycleState::Ending { instance, until };
            }
            LifecycleState::Waiting { .. }
            | LifecycleState::Retrying { .. }
            | LifecycleState::Starting { .. }
            | LifecycleState::Stopped
            | LifecycleState::CrashLoop
            | LifecycleState::Resuming { .. }
            | LifecycleState::Running { .. }
            | LifecycleState::Ending { .. }
            | LifecycleState::Yielded => {}
        }
    }
}

#[cfg(test)]
mod tests;
