//! Tests of the lifecycle.

use super::*;

struct Bench {
    app: Lifecycle,
    now: Instant,
    spawned: u32,
}

impl Bench {
    fn new() -> Self {
        Bench {
            app: Lifecycle::default(),
            now: Instant::now(),
            spawned: 0,
        }
    }

    /// Feeds one input and answers every `Spawn` with the next id.
    fn feed(&mut self, input: LifecycleInput) -> Vec<LifecycleOutput> {
        let mut out = Vec::new();
        self.app.handle(input, self.now, &mut out);
        if out.contains(&LifecycleOutput::Spawn) {
            self.spawned += 1;
            let id = format!("i{}", self.spawned);
            self.app
                .handle(LifecycleInput::Spawned(id), self.now, &mut out);
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
    assert_eq!(b.feed(LifecycleInput::Start), [LifecycleOutput::Spawn]);
    assert_eq!(
        b.feed(LifecycleInput::Ready(id(1))),
        [LifecycleOutput::Resume(id(1))]
    );
    assert_eq!(b.feed(LifecycleInput::Resumed(id(1))), []);
    assert_eq!(b.app.state(), &LifecycleState::Running { instance: id(1) });
}

#[test]
fn a_crash_is_answered_at_once_and_then_ever_later() {
    let mut b = Bench::new();
    b.feed(LifecycleInput::Start);
    let mut waits = Vec::new();
    for n in 1..=5 {
        b.feed(LifecycleInput::Ready(id(n)));
        b.feed(LifecycleInput::Resumed(id(n)));
        b.feed(LifecycleInput::Gone(id(n)));
        waits.push(b.pass().as_millis());
        assert_eq!(b.feed(LifecycleInput::Time), [LifecycleOutput::Spawn]);
    }
    assert_eq!(waits, [0, 100, 200, 400, 800]);
    assert_eq!(b.app.deaths(), 5);
}

/// Lets the app start and die until a crash loop is found; returns the time that took.
fn loops(b: &mut Bench) -> Duration {
    let begun = b.now;
    b.feed(LifecycleInput::Start);
    for _ in 0..50 {
        let id = id(b.spawned);
        b.feed(LifecycleInput::Ready(id.clone()));
        b.feed(LifecycleInput::Resumed(id.clone()));
        let out = b.feed(LifecycleInput::Gone(id));
        if matches!(out[..], [LifecycleOutput::CrashLoop(_)]) {
            return b.now - begun;
        }
        b.pass();
        assert_eq!(b.feed(LifecycleInput::Time), [LifecycleOutput::Spawn]);
    }
    panic!("it is never given up");
}

#[test]
fn a_crash_loop_ends_and_waits_for_a_decision() {
    let mut b = Bench::new();
    assert!(loops(&mut b) > Duration::from_secs(6));
    assert_eq!(
        (b.app.state(), b.app.next_deadline()),
        (&LifecycleState::CrashLoop, None)
    );
    assert_eq!(b.feed(LifecycleInput::Time), []);
    // The earlier release is started; deaths before do not count.
    assert!(loops(&mut b) > Duration::from_secs(6));
    assert_eq!(b.feed(LifecycleInput::Stop), []);
    assert_eq!(b.app.state(), &LifecycleState::Stopped);
    assert_eq!(b.feed(LifecycleInput::Start), [LifecycleOutput::Spawn]);
}

#[test]
fn one_that_loops_can_be_upgraded() {
    let mut b = Bench::new();
    loops(&mut b);
    assert_eq!(
        b.feed(LifecycleInput::Yield),
        [LifecycleOutput::Yielded(None)]
    );
    b.feed(LifecycleInput::Take(Some((id(99), true))));
    b.feed(LifecycleInput::Gone(id(99)));
    assert_eq!(b.pass(), Duration::ZERO, "as after a first death");
}

#[test]
fn deaths_that_are_forgiven_are_no_loop() {
    let mut b = Bench::new();
    b.feed(LifecycleInput::Start);
    for n in 1..100 {
        b.feed(LifecycleInput::Ready(id(n)));
        b.feed(LifecycleInput::Forgiven);
        b.feed(LifecycleInput::Resumed(id(n)));
        b.feed(LifecycleInput::Gone(id(n)));
        b.pass();
        assert_eq!(b.feed(LifecycleInput::Time), [LifecycleOutput::Spawn]);
    }
}

#[test]
fn a_release_that_the_proxy_refuses_is_not_started_again_and_again() {
    let mut b = Bench::new();
    b.feed(LifecycleInput::Start);
    let refused = b.feed(LifecycleInput::Refused(id(1)));
    let end = LifecycleOutput::End(id(1));
    assert_eq!(refused, [end, LifecycleOutput::CrashLoop(1)]);
    assert_eq!(b.feed(LifecycleInput::Gone(id(1))), []);
    assert_eq!(b.app.next_deadline(), None);
}

#[test]
fn a_proxy_that_comes_back_finds_the_same_instance() {
    let mut b = Bench::new();
    b.feed(LifecycleInput::Start);
    b.feed(LifecycleInput::Ready(id(1)));
    b.feed(LifecycleInput::Resumed(id(1)));
    b.feed(LifecycleInput::ProxyLost);
    assert_eq!(
        b.feed(LifecycleInput::Ready(id(1))),
        [LifecycleOutput::Resume(id(1))]
    );
}

#[test]
fn an_instance_whose_session_broke_is_resumed_when_it_has_another_one() {
    let mut b = Bench::new();
    b.feed(LifecycleInput::Start);
    b.feed(LifecycleInput::Ready(id(1)));
    b.feed(LifecycleInput::Resumed(id(1)));
    assert_eq!(b.feed(LifecycleInput::SessionLost), []);
    assert_eq!(
        b.feed(LifecycleInput::Ready(id(1))),
        [LifecycleOutput::Resume(id(1))]
    );
}

#[test]
fn one_that_never_gets_ready_is_ended() {
    let mut b = Bench::new();
    b.feed(LifecycleInput::Start);
    assert_eq!(b.pass(), STARTING);
    assert_eq!(b.feed(LifecycleInput::Time), [LifecycleOutput::End(id(1))]);
    b.feed(LifecycleInput::Gone(id(1)));
    b.pass();
    assert_eq!(b.feed(LifecycleInput::Time), [LifecycleOutput::Spawn]);
}

#[test]
fn a_stop_ends_it_and_nothing_starts_it_again() {
    let mut b = Bench::new();
    b.feed(LifecycleInput::Start);
    assert_eq!(b.feed(LifecycleInput::Stop), [LifecycleOutput::End(id(1))]);
    assert_eq!(b.feed(LifecycleInput::Ready(id(1))), []);
    b.pass();
    let end = LifecycleOutput::End(id(1));
    assert_eq!(b.feed(LifecycleInput::Time), [end], "it does not end");
    b.feed(LifecycleInput::Gone(id(1)));
    assert_eq!(
        (b.app.state(), b.app.next_deadline()),
        (&LifecycleState::Stopped, None)
    );
}

#[test]
fn the_slot_is_yielded_only_between_fence_and_answer() {
    let mut b = Bench::new();
    b.feed(LifecycleInput::Start);
    b.feed(LifecycleInput::Ready(id(1)));
    assert_eq!(b.feed(LifecycleInput::Yield), []);
    assert_eq!(
        b.feed(LifecycleInput::Resumed(id(1))),
        [LifecycleOutput::Yielded(Some((id(1), true)))]
    );
    assert_eq!(b.feed(LifecycleInput::Gone(id(1))), []);
    b.feed(LifecycleInput::Take(Some((id(9), true))));
    assert_eq!(b.app.state(), &LifecycleState::Running { instance: id(9) });
}

#[test]
fn a_failed_resume_is_tried_again() {
    let mut b = Bench::new();
    b.feed(LifecycleInput::Start);
    b.feed(LifecycleInput::Ready(id(1)));
    b.feed(LifecycleInput::ResumeFailed(id(1)));
    assert_eq!(b.pass(), AGAIN);
    assert_eq!(
        b.feed(LifecycleInput::Time),
        [LifecycleOutput::Resume(id(1))]
    );
}
