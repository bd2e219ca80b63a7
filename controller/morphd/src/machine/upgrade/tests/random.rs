//! Any interleaving of inputs, in a world that carries out what the machine asks for, well or badly.

use proptest::prelude::*;

use super::*;

/// A world that carries out what the machine asks for, well or badly, early or late.
struct World {
    group: Group,
    now: Instant,
    /// AnswerTimes under way.
    pending: Vec<MemberInput>,
    source_alive: bool,
    target_alive: bool,
    yielded: bool,
    /// The side that the last fence let in, and the one that was resumed under it.
    let_in: Side,
    live: Option<Side>,
    ended: Vec<Step>,
    keyspaces: u32,
}

impl World {
    fn new(mode: Mode) -> Self {
        let mut out = Vec::new();
        let group = group_of_one(plan(mode), &mut out);
        let mut world = World {
            group,
            now: Instant::now(),
            pending: Vec::new(),
            source_alive: true,
            target_alive: false,
            yielded: false,
            let_in: Side::Source,
            live: Some(Side::Source),
            ended: Vec::new(),
            keyspaces: 1,
        };
        world.carry_out(out, true);
        world
    }

    fn feed(&mut self, input: MemberInput, well: bool) {
        let mut out = Vec::new();
        self.group.handle(APP, input, self.now, &mut out);
        self.carry_out(out, well);
    }

    fn kill(&mut self, side: Side, well: bool) {
        let alive = match side {
            Side::Source => &mut self.source_alive,
            Side::Target => &mut self.target_alive,
        };
        if std::mem::take(alive) {
            if self.live == Some(side) {
                self.live = None;
            }
            self.feed(gone(side), well);
        }
    }

    fn state(&self) -> MemberState {
        self.group.member(APP).unwrap().state()
    }

    fn carry_out(&mut self, out: Vec<GroupOutput>, well: bool) {
        for output in out {
            let answer = match output {
                GroupOutput::Member(_, output) => self.carry_out_member(output, well),
                GroupOutput::Fence(side, _) if well => {
                    self.let_in = side;
                    self.live = None;
                    Some(MemberInput::Fenced)
                }
                GroupOutput::Fence(..) => Some(MemberInput::FenceRefused("stale".into())),
                GroupOutput::Commit(swaps) if !well && swaps[0].1.is_some() => {
                    Some(MemberInput::EndRefused("not current".into()))
                }
                GroupOutput::Commit(_) => Some(MemberInput::Ended),
            };
            self.pending.extend(answer);
        }
    }

    fn carry_out_member(&mut self, output: MemberOutput, well: bool) -> Option<MemberInput> {
        match output {
            MemberOutput::Record(step) => Some(MemberInput::Recorded(step)),
            MemberOutput::Publish(step, _) => {
                if matches!(step, Step::Committed | Step::RolledBack) {
                    self.ended.push(step);
                }
                None
            }
            MemberOutput::MakeKeyspace(..) if !well => Some(make_failed("no".into())),
            MemberOutput::MakeKeyspace(..) => {
                self.keyspaces += 1;
                Some(made(self.keyspaces))
            }
            MemberOutput::DropKeyspace(_) => None,
            MemberOutput::Spawn(side, _) => self.spawn(side, well),
            MemberOutput::Instruct(_, _) if !well => None,
            MemberOutput::Instruct(_, Order::Ping) => Some(MemberInput::Pong),
            MemberOutput::Instruct(_, Order::MakeShadow { keyspace, .. }) => Some(whole(keyspace)),
            MemberOutput::Instruct(_, Order::Flush) => Some(flushed()),
            MemberOutput::Instruct(_, Order::StopShadow | Order::Go) => None,
            MemberOutput::End(side) => Some(gone(side)),
            MemberOutput::Hold => Some(self.hold(well)),
            MemberOutput::FenceForSource => panic!("it comes as a fence of the group"),
            MemberOutput::Resume(side) => {
                let alive = match side {
                    Side::Source => self.source_alive,
                    Side::Target => self.target_alive,
                };
                if !(well && alive) {
                    return Some(MemberInput::ResumeFailed("gone".into()));
                }
                assert_eq!(self.let_in, side, "resumed without a fence");
                self.live = Some(side);
                Some(MemberInput::Resumed(Resumption::default()))
            }
            MemberOutput::Sample => Some(MemberInput::Load(None)),
            MemberOutput::RecordRolledBack(Some(_)) if !well => {
                Some(MemberInput::EndRefused("not current".into()))
            }
            MemberOutput::RecordRolledBack(_) => Some(MemberInput::Ended),
        }
    }

    fn hold(&mut self, well: bool) -> MemberInput {
        if !std::mem::replace(&mut self.yielded, true) {
            let source = match self.source_alive {
                true => SourceState::Ready,
                false => SourceState::Absent,
            };
            self.feed(MemberInput::Yielded(source), well);
        }
        let outcome = match self.live {
            Some(_) => HoldOutcome::Quiesced,
            None => HoldOutcome::Gone,
        };
        match well {
            true => MemberInput::Held(outcome),
            false => MemberInput::HoldFailed("away".into()),
        }
    }

    fn spawn(&mut self, side: Side, well: bool) -> Option<MemberInput> {
        let alive = match side {
            Side::Source => &mut self.source_alive,
            Side::Target => &mut self.target_alive,
        };
        assert!(
            !*alive || side == Side::Target,
            "two instances of the old release"
        );
        // One that exits at once was alive as well.
        *alive = true;
        Some(if well { ready(side) } else { gone(side) })
    }

    /// One step, as a byte says.
    fn step(&mut self, byte: u8) {
        let well = byte & 0x80 == 0;
        match byte & 0x0f {
            0 => self.kill(Side::Target, well),
            1 if self.yielded => self.kill(Side::Source, well),
            2 => self.feed(MemberInput::Rollback, well),
            3 => self.feed(MemberInput::Commit, well),
            4 => self.feed(MemberInput::Failed(Side::Target, "failed".into()), well),
            5 => self.feed(MemberInput::ProxyLost, well),
            6 | 7 => self.pass(well),
            _ => self.answer(usize::from(byte >> 4 & 7), well),
        }
    }

    fn pass(&mut self, well: bool) {
        if let Some(deadline) = self.group.next_deadline() {
            self.now = self.now.max(deadline);
            self.feed(MemberInput::Time, well);
        }
    }

    fn answer(&mut self, which: usize, well: bool) {
        if self.pending.is_empty() {
            return self.pass(well);
        }
        // AnswerTimes of one operation keep their order; others may overtake each other.
        let input = self.pending.remove(which % self.pending.len().min(2));
        match input {
            MemberInput::Gone(side, _) => self.kill(side, well),
            MemberInput::Ready(Side::Source, _) if !self.source_alive => {}
            MemberInput::Ready(Side::Target, _) if !self.target_alive => {}
            other => self.feed(other, well),
        }
    }
}

fn modes() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Plain), Just(Mode::Online), Just(Mode::Backfill)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn it_always_ends_with_one_release(mode in modes(), bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut world = World::new(mode);
        for byte in bytes {
            world.step(byte);
        }
        // From here on nothing goes wrong: it has to end.
        for _ in 0..500 {
            if world.group.ended() {
                break;
            }
            if world.pending.is_empty() && world.state() == MemberState::Back(Back::Settling) {
                world.feed(in_step(Side::Source), true);
            }
            if world.yielded && !world.source_alive && world.group.next_deadline().is_none() && world.pending.is_empty() {
                panic!("nobody starts the old release: {:?}", world.group);
            }
            // An instance that the proxy lost attaches again.
            if world.pending.is_empty() && world.source_alive && world.yielded {
                world.feed(ready(Side::Source), true);
            }
            world.answer(0, true);
        }
        prop_assert!(world.group.ended(), "{:?}", world.group);
        prop_assert_eq!(world.ended.len(), 1);
        match world.state() {
            MemberState::Committed => {
                prop_assert_eq!(world.let_in, Side::Target);
                prop_assert_ne!(world.live, Some(Side::Source));
            }
            _ => {
                prop_assert_eq!(world.let_in, Side::Source);
                prop_assert_ne!(world.live, Some(Side::Target));
            }
        }
    }
}
