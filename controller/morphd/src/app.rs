//! One app's supervision while nothing upgrades it: the machine that keeps one instance of one release live.
//!
//! ```text
//!             Start                 spawned, Ready            Resumed
//!  Stopped ---------> Starting ----------------> Resuming --------------> Running
//!     ^                  ^  | Gone                  | Gone, ResumeFailed    | Gone
//!     |                  |  v                       v                       |
//!     |                Waiting <--------------------+-----------------------+
//!     |                  | too often: Looping -- Start --> Starting (perhaps of another release), or Stop
//!     | Stop, from any: Ending -> Gone -> Stopped
//!
//!  Yield, from any: Yielded (an upgrade has the slot) -- Take --> Running or Starting or Waiting
//! ```
//!
//! A crash, a first start and a proxy that came back are the same path: an instance gets ready, the fence raises the
//! epoch, the instance is resumed.

use std::time::{Duration, Instant};

use crate::restarts::Restarts;

/// An instance's id.
pub type InstanceId = String;

/// To get ready, or to attach again after the proxy was away.
const STARTING: Duration = Duration::from_secs(20);
/// Between a failed resume and the next try.
const AGAIN: Duration = Duration::from_millis(200);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The app is to run.
    Start,
    /// It is not to run.
    Stop,
    /// The process asked for runs.
    Spawned(InstanceId),
    /// It could not be started.
    SpawnFailed,
    /// An instance is attached and ready.
    Ready(InstanceId),
    /// Its process ended, or its session.
    Gone(InstanceId),
    /// It is live.
    Resumed(InstanceId),
    /// It is not.
    ResumeFailed(InstanceId),
    /// The proxy, or the sessions with it, went away; the processes run.
    ProxyLost,
    /// The live instance's session broke; its process runs.
    SessionLost,
    /// An upgrade wants the slot.
    Yield,
    /// The upgrade is over: this instance is there, and live or not.
    Take(Option<(InstanceId, bool)>),
    /// The last death counts against an event, not against the app.
    Forgiven,
    /// `next_deadline` has come.
    Time,
}

/// What the driver must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Start an instance: answer `Spawned` or `SpawnFailed`.
    Spawn,
    /// Fence for this instance and resume it: answer `Resumed` or `ResumeFailed`.
    Resume(InstanceId),
    /// End this instance, gently first.
    End(InstanceId),
    /// The upgrade has the slot, and this instance, ready or not.
    Yielded(Option<(InstanceId, bool)>),
    /// It keeps dying: say so. Deaths in a row, and how long it is waited.
    Looping(u32, Duration),
    /// It has died too often: answer `Start` (of another release) or `Stop`. Deaths.
    GivenUp(u32),
}

/// Where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not to run.
    Stopped,
    /// A process gets ready.
    Starting {
        /// None until it is spawned.
        instance: Option<InstanceId>,
        /// Then it is ended.
        until: Instant,
    },
    /// Fence and resume are asked for.
    Resuming {
        /// Whom.
        instance: InstanceId,
    },
    /// It is live.
    Running {
        /// Who.
        instance: InstanceId,
    },
    /// It is ready; the resume is tried again.
    Again {
        /// Whom.
        instance: InstanceId,
        /// When.
        at: Instant,
    },
    /// It died: it is started again then.
    Waiting {
        /// When.
        at: Instant,
    },
    /// It died too often: whoever drives this decides.
    Looping,
    /// To be stopped, and not gone yet.
    Ending {
        /// Who.
        instance: InstanceId,
    },
    /// An upgrade has the slot.
    Yielded,
}

/// The machine.
#[derive(Debug, Clone)]
pub struct App {
    state: State,
    restarts: Restarts,
    /// Its instance has been live.
    worked: bool,
    yield_wanted: bool,
}

impl Default for App {
    fn default() -> Self {
        App {
            state: State::Stopped,
            restarts: Restarts::new(1),
            worked: false,
            yield_wanted: false,
        }
    }
}

impl App {
    /// One whose instance was found, live or not.
    pub fn adopted(instance: InstanceId, live: bool, now: Instant) -> Self {
        let mut app = App::default();
        app.take(Some((instance, live)), now, &mut Vec::new());
        app
    }

    /// Where it stands.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Deaths since the beginning.
    pub fn deaths(&self) -> u64 {
        self.restarts.total()
    }

    /// Its instance, live or not.
    pub fn instance(&self) -> Option<&InstanceId> {
        match &self.state {
            State::Starting { instance, .. } => instance.as_ref(),
            State::Resuming { instance }
            | State::Running { instance }
            | State::Again { instance, .. }
            | State::Ending { instance } => Some(instance),
            State::Stopped | State::Waiting { .. } | State::Looping | State::Yielded => None,
        }
    }

    /// When it wants `Input::Time`.
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Starting { until: at, .. } | State::Again { at, .. } | State::Waiting { at } => {
                Some(*at)
            }
            State::Stopped
            | State::Looping
            | State::Resuming { .. }
            | State::Running { .. }
            | State::Ending { .. }
            | State::Yielded => None,
        }
    }

    /// One thing that happened; `out` takes what is to be done about it.
    pub fn handle(&mut self, input: Input, now: Instant, out: &mut Vec<Output>) {
        match input {
            Input::Start => self.start(now, out),
            Input::Stop => self.stop(out),
            Input::Spawned(id) => self.spawned(id, out),
            Input::SpawnFailed => self.died(now, out),
            Input::Ready(id) => self.ready(id, now, out),
            Input::Gone(id) => self.gone(&id, now, out),
            Input::Resumed(id) => self.resumed(id, out),
            Input::ResumeFailed(id) => self.resume_failed(id, now, out),
            Input::ProxyLost | Input::SessionLost => self.session_lost(now),
            Input::Yield => self.yield_slot(out),
            Input::Take(instance) => self.take(instance, now, out),
            Input::Forgiven => self.restarts.forgive(),
            Input::Time => self.time(now, out),
        }
    }

    fn start(&mut self, now: Instant, out: &mut Vec<Output>) {
        match self.state {
            State::Stopped | State::Looping => {
                self.restarts.begin_anew();
                self.spawn(now, out);
            }
            // An instance that is ending was asked to: the next one starts when it is gone.
            State::Ending { .. }
            | State::Starting { .. }
            | State::Resuming { .. }
            | State::Running { .. }
            | State::Again { .. }
            | State::Waiting { .. }
            | State::Yielded => {}
        }
    }

    fn spawn(&mut self, now: Instant, out: &mut Vec<Output>) {
        let until = now + STARTING;
        self.state = State::Starting {
            instance: None,
            until,
        };
        out.push(Output::Spawn);
    }

    fn stop(&mut self, out: &mut Vec<Output>) {
        match &self.state {
            State::Yielded | State::Ending { .. } => {}
            State::Stopped
            | State::Looping
            | State::Starting { .. }
            | State::Resuming { .. }
            | State::Running { .. }
            | State::Again { .. }
            | State::Waiting { .. } => match self.instance().cloned() {
                Some(instance) => {
                    out.push(Output::End(instance.clone()));
                    self.state = State::Ending { instance };
                }
                None => self.state = State::Stopped,
            },
        }
    }

    fn spawned(&mut self, id: InstanceId, out: &mut Vec<Output>) {
        match &mut self.state {
            State::Starting {
                instance: instance @ None,
                ..
            } => *instance = Some(id),
            State::Starting { .. }
            | State::Stopped
            | State::Resuming { .. }
            | State::Running { .. }
            | State::Again { .. }
            | State::Waiting { .. }
            | State::Looping
            | State::Ending { .. }
            | State::Yielded => out.push(Output::End(id)),
        }
    }

    fn ready(&mut self, id: InstanceId, now: Instant, out: &mut Vec<Output>) {
        let ours = self.instance() == Some(&id);
        match &self.state {
            State::Starting { .. } if ours => {
                out.push(Output::Resume(id.clone()));
                self.state = State::Resuming { instance: id };
            }
            State::Again { .. } if ours => {
                self.state = State::Again {
                    instance: id,
                    at: now,
                }
            }
            State::Starting { .. }
            | State::Again { .. }
            | State::Stopped
            | State::Resuming { .. }
            | State::Running { .. }
            | State::Waiting { .. }
            | State::Looping
            | State::Ending { .. }
            | State::Yielded => {}
        }
    }

    fn gone(&mut self, id: &InstanceId, now: Instant, out: &mut Vec<Output>) {
        if self.instance() != Some(id) {
            return;
        }
        match &self.state {
            State::Ending { .. } => self.state = State::Stopped,
            State::Starting { .. }
            | State::Resuming { .. }
            | State::Running { .. }
            | State::Again { .. } => {
                self.died(now, out);
                if std::mem::take(&mut self.yield_wanted) {
                    self.give(None, out);
                }
            }
            State::Stopped | State::Waiting { .. } | State::Looping | State::Yielded => {}
        }
    }

    fn died(&mut self, now: Instant, out: &mut Vec<Output>) {
        let at = match std::mem::take(&mut self.worked) {
            true => self.restarts.died(now),
            false => self.restarts.died_unborn(now),
        };
        if self.restarts.is_loop() {
            out.push(Output::GivenUp(self.restarts.in_run()));
            self.state = State::Looping;
            return;
        }
        if self.restarts.in_row() >= 3 {
            out.push(Output::Looping(self.restarts.in_row(), at - now));
        }
        self.state = State::Waiting { at };
    }

    fn resumed(&mut self, id: InstanceId, out: &mut Vec<Output>) {
        if !matches!(&self.state, State::Resuming { instance } if *instance == id) {
            return;
        }
        self.worked = true;
        if std::mem::take(&mut self.yield_wanted) {
            return self.give(Some((id, true)), out);
        }
        self.state = State::Running { instance: id };
    }

    fn resume_failed(&mut self, id: InstanceId, now: Instant, out: &mut Vec<Output>) {
        if !matches!(&self.state, State::Resuming { instance } if *instance == id) {
            return;
        }
        if std::mem::take(&mut self.yield_wanted) {
            return self.give(Some((id, true)), out);
        }
        let at = now + AGAIN;
        self.state = State::Again { instance: id, at };
    }

    fn session_lost(&mut self, now: Instant) {
        match &self.state {
            State::Resuming { .. } | State::Running { .. } | State::Again { .. } => {
                let instance = self.instance().cloned();
                let until = now + STARTING;
                self.state = State::Starting { instance, until };
            }
            State::Starting { instance, .. } => {
                let instance = instance.clone();
                let until = now + STARTING;
                self.state = State::Starting { instance, until };
            }
            State::Stopped
            | State::Waiting { .. }
            | State::Looping
            | State::Ending { .. }
            | State::Yielded => {}
        }
    }

    fn yield_slot(&mut self, out: &mut Vec<Output>) {
        match &self.state {
            // A fence is under way: nobody may come between it and its answer.
            State::Resuming { .. } => self.yield_wanted = true,
            State::Running { instance } | State::Again { instance, .. } => {
                let instance = instance.clone();
                self.give(Some((instance, true)), out);
            }
            State::Starting { instance, .. } => {
                let instance = instance.clone().map(|id| (id, false));
                self.give(instance, out);
            }
            State::Stopped
            | State::Waiting { .. }
            | State::Looping
            | State::Ending { .. }
            | State::Yielded => self.give(None, out),
        }
    }

    fn give(&mut self, instance: Option<(InstanceId, bool)>, out: &mut Vec<Output>) {
        self.state = State::Yielded;
        out.push(Output::Yielded(instance));
    }

    fn take(&mut self, instance: Option<(InstanceId, bool)>, now: Instant, out: &mut Vec<Output>) {
        self.restarts.begin_anew();
        self.worked = matches!(instance, Some((_, true)));
        match instance {
            Some((instance, true)) => self.state = State::Running { instance },
            Some((instance, false)) => {
                let until = now + STARTING;
                self.state = State::Starting {
                    instance: Some(instance),
                    until,
                };
            }
            None => self.spawn(now, out),
        }
    }

    fn time(&mut self, now: Instant, out: &mut Vec<Output>) {
        match &self.state {
            State::Waiting { at } if *at <= now => self.spawn(now, out),
            State::Again { instance, at } if *at <= now => {
                let instance = instance.clone();
                out.push(Output::Resume(instance.clone()));
                self.state = State::Resuming { instance };
            }
            State::Starting { instance, until } if *until <= now => {
                let instance = instance.clone();
                out.extend(instance.clone().map(Output::End));
                // Its end comes as `Gone`; should that not come either, it is asked for again.
                let until = now + STARTING;
                self.state = State::Starting { instance, until };
            }
            State::Waiting { .. }
            | State::Again { .. }
            | State::Starting { .. }
            | State::Stopped
            | State::Looping
            | State::Resuming { .. }
            | State::Running { .. }
            | State::Ending { .. }
            | State::Yielded => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        app: App,
        now: Instant,
        spawned: u32,
    }

    impl Bench {
        fn new() -> Self {
            Bench {
                app: App::default(),
                now: Instant::now(),
                spawned: 0,
            }
        }

        /// Feeds one input and answers every `Spawn` with the next id.
        fn feed(&mut self, input: Input) -> Vec<Output> {
            let mut out = Vec::new();
            self.app.handle(input, self.now, &mut out);
            if out.contains(&Output::Spawn) {
                self.spawned += 1;
                let id = format!("i{}", self.spawned);
                self.app.handle(Input::Spawned(id), self.now, &mut out);
            }
            out
        }

        fn pass(&mut self) -> Duration {
            let deadline = self.app.next_deadline().unwrap();
            let wait = deadline.saturating_duration_since(self.now);
            self.now = self.now.max(deadline);
            wait
        }
    }

    fn id(n: u32) -> InstanceId {
        format!("i{n}")
    }

    #[test]
    fn a_start_is_spawn_ready_resume() {
        let mut b = Bench::new();
        assert_eq!(b.feed(Input::Start), [Output::Spawn]);
        assert_eq!(b.feed(Input::Ready(id(1))), [Output::Resume(id(1))]);
        assert_eq!(b.feed(Input::Resumed(id(1))), []);
        assert_eq!(b.app.state(), &State::Running { instance: id(1) });
    }

    #[test]
    fn a_crash_is_answered_at_once_and_then_ever_later() {
        let mut b = Bench::new();
        b.feed(Input::Start);
        let mut waits = Vec::new();
        for n in 1..=5 {
            b.feed(Input::Ready(id(n)));
            b.feed(Input::Resumed(id(n)));
            b.feed(Input::Gone(id(n)));
            waits.push(b.pass().as_millis());
            assert_eq!(b.feed(Input::Time), [Output::Spawn]);
        }
        assert_eq!(waits, [0, 100, 200, 400, 800]);
        assert_eq!(b.app.deaths(), 5);
    }

    /// It starts and dies until it is given up; how long that took.
    fn loops(b: &mut Bench) -> Duration {
        let begun = b.now;
        b.feed(Input::Start);
        for _ in 0..50 {
            let id = id(b.spawned);
            b.feed(Input::Ready(id.clone()));
            b.feed(Input::Resumed(id.clone()));
            let out = b.feed(Input::Gone(id));
            if matches!(out[..], [Output::GivenUp(_)]) {
                return b.now - begun;
            }
            b.pass();
            assert_eq!(b.feed(Input::Time), [Output::Spawn]);
        }
        panic!("it is never given up");
    }

    #[test]
    fn a_crash_loop_ends_and_waits_for_a_decision() {
        let mut b = Bench::new();
        assert!(loops(&mut b) > Duration::from_secs(6));
        assert_eq!(
            (b.app.state(), b.app.next_deadline()),
            (&State::Looping, None)
        );
        assert_eq!(b.feed(Input::Time), []);
        // Of the former release; what was before does not count.
        assert!(loops(&mut b) > Duration::from_secs(6));
        assert_eq!(b.feed(Input::Stop), []);
        assert_eq!(b.app.state(), &State::Stopped);
        assert_eq!(b.feed(Input::Start), [Output::Spawn]);
    }

    #[test]
    fn one_that_loops_can_be_upgraded() {
        let mut b = Bench::new();
        loops(&mut b);
        assert_eq!(b.feed(Input::Yield), [Output::Yielded(None)]);
        b.feed(Input::Take(Some((id(99), true))));
        b.feed(Input::Gone(id(99)));
        assert_eq!(b.pass(), Duration::ZERO, "as after a first death");
    }

    #[test]
    fn deaths_that_are_forgiven_are_no_loop() {
        let mut b = Bench::new();
        b.feed(Input::Start);
        for n in 1..100 {
            b.feed(Input::Ready(id(n)));
            b.feed(Input::Forgiven);
            b.feed(Input::Resumed(id(n)));
            b.feed(Input::Gone(id(n)));
            b.pass();
            assert_eq!(b.feed(Input::Time), [Output::Spawn]);
        }
    }

    #[test]
    fn a_proxy_that_comes_back_finds_the_same_instance() {
        let mut b = Bench::new();
        b.feed(Input::Start);
        b.feed(Input::Ready(id(1)));
        b.feed(Input::Resumed(id(1)));
        b.feed(Input::ProxyLost);
        assert_eq!(b.feed(Input::Ready(id(1))), [Output::Resume(id(1))]);
    }

    #[test]
    fn an_instance_whose_session_broke_is_resumed_when_it_has_another_one() {
        let mut b = Bench::new();
        b.feed(Input::Start);
        b.feed(Input::Ready(id(1)));
        b.feed(Input::Resumed(id(1)));
        assert_eq!(b.feed(Input::SessionLost), []);
        assert_eq!(b.feed(Input::Ready(id(1))), [Output::Resume(id(1))]);
    }

    #[test]
    fn one_that_never_gets_ready_is_ended() {
        let mut b = Bench::new();
        b.feed(Input::Start);
        assert_eq!(b.pass(), STARTING);
        assert_eq!(b.feed(Input::Time), [Output::End(id(1))]);
        b.feed(Input::Gone(id(1)));
        b.pass();
        assert_eq!(b.feed(Input::Time), [Output::Spawn]);
    }

    #[test]
    fn a_stop_ends_it_and_nothing_starts_it_again() {
        let mut b = Bench::new();
        b.feed(Input::Start);
        assert_eq!(b.feed(Input::Stop), [Output::End(id(1))]);
        assert_eq!(b.feed(Input::Ready(id(1))), []);
        b.feed(Input::Gone(id(1)));
        assert_eq!(
            (b.app.state(), b.app.next_deadline()),
            (&State::Stopped, None)
        );
    }

    #[test]
    fn the_slot_is_yielded_only_between_fence_and_answer() {
        let mut b = Bench::new();
        b.feed(Input::Start);
        b.feed(Input::Ready(id(1)));
        assert_eq!(b.feed(Input::Yield), []);
        assert_eq!(
            b.feed(Input::Resumed(id(1))),
            [Output::Yielded(Some((id(1), true)))]
        );
        assert_eq!(b.feed(Input::Gone(id(1))), []);
        b.feed(Input::Take(Some((id(9), true))));
        assert_eq!(b.app.state(), &State::Running { instance: id(9) });
    }

    #[test]
    fn a_failed_resume_is_tried_again() {
        let mut b = Bench::new();
        b.feed(Input::Start);
        b.feed(Input::Ready(id(1)));
        b.feed(Input::ResumeFailed(id(1)));
        assert_eq!(b.pass(), AGAIN);
        assert_eq!(b.feed(Input::Time), [Output::Resume(id(1))]);
    }
}
