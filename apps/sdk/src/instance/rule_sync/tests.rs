//! The machine with switches that answer when the test says so.

use std::collections::BTreeSet;
use std::time::Duration;

use morph_openflow::rule::{RuleBody, RuleKey};
use morph_openflow::v13::{
    Action, AggregateStats, ErrorMsg, FlowModCommand, FlowStats, Instruction, Match, MultipartBody,
    MultipartReply,
};

use super::*;

mod entries;
mod ranks;
mod slow_reading;
mod verifying;

const NO_ENTRIES: BTreeMap<Dpid, EntrySet> = BTreeMap::new();
const APP: u8 = 7;
const A: Dpid = Dpid(1);
const B: Dpid = Dpid(2);

/// Two switches on channels 1 and 2, and their wanted rules.
struct Bench {
    sync: RuleSync,
    wanted: BTreeMap<Dpid, RuleSet>,
    now: Instant,
    /// Messages for each channel that its switch has not handled.
    wires: BTreeMap<u32, Vec<(u32, Message)>>,
    /// Rules in each switch.
    rules: BTreeMap<u32, RuleSet>,
    synced: Vec<(Dpid, RuleDifference)>,
}

fn key(number: u16) -> RuleKey {
    let match_ = Match::new().in_port(u32::from(number));
    RuleKey::new(10, 1, &match_)
}

fn body(port: u32) -> RuleBody {
    let cookie = Cookie {
        app: APP,
        epoch: 0,
        own: 0,
    };
    RuleBody {
        instructions: [Instruction::ApplyActions(vec![Action::output(port)])].into(),
        cookie: cookie.to_u64(),
        ..RuleBody::default()
    }
}

impl Bench {
    /// Both switches are connected, have no rules, and are unread.
    fn new(changes: usize) -> Self {
        let bytes = 256 << 10;
        Bench::within(RuleWindow { changes, bytes })
    }

    fn within(window: RuleWindow) -> Self {
        Bench::verified(window, VerificationPeriods::OFF)
    }

    fn verified(window: RuleWindow, periods: VerificationPeriods) -> Self {
        let mut bench = Bench {
            sync: RuleSync::new(APP, window, periods),
            wanted: BTreeMap::new(),
            now: Instant::now(),
            wires: BTreeMap::new(),
            rules: BTreeMap::new(),
            synced: Vec::new(),
        };
        bench.sync.connect(A, 1);
        bench.sync.connect(B, 2);
        bench
    }

    /// Both switches are read, and their differences on the way.
    fn read(changes: usize, rules: u16) -> Self {
        let mut bench = Bench::new(changes);
        for dpid in [A, B] {
            for number in 0..rules {
                bench.want(dpid, number, Some(1));
            }
        }
        bench.begin_reading();
        bench.handle(1);
        bench.handle(2);
        bench.turn();
        bench
    }

    /// Wants a rule that sends to this port, or no rule.
    fn want(&mut self, dpid: Dpid, number: u16, port: Option<u32>) {
        let set = self.wanted.entry(dpid).or_default();
        match port {
            Some(port) => set.insert(key(number), body(port)),
            None => set.remove(&key(number)),
        };
        let mut stale = StaleRules::new();
        stale.note(dpid, key(number));
        self.sync.note(stale, &self.wanted, true);
    }

    fn begin_reading(&mut self) {
        for (channel, messages) in self.sync.read(&NO_ENTRIES, true, self.now) {
            for message in messages {
                self.put(channel, &message);
            }
        }
    }

    /// Makes turns as long as there is anything to send. Returns the number of flow-mods sent.
    fn turn(&mut self) -> usize {
        let mut count = 0;
        while self.sync.has_work(self.now) {
            let written = self.sync.write(&self.wanted, &NO_ENTRIES, 3, self.now);
            for (channel, message) in written.messages {
                let (_, message) = self.put(channel, &message);
                count += usize::from(matches!(message, Message::FlowMod(_)));
            }
        }
        self.synced.extend(self.sync.take_synced());
        count
    }

    fn put(&mut self, channel: u32, message: &Bytes) -> (u32, Message) {
        let (header, message) = v13::decode(message).unwrap();
        let wire = self.wires.entry(channel).or_default();
        wire.push((header.xid, message.clone()));
        (header.xid, message)
    }

    /// Has a switch handle and answer everything on its wire. Returns the commands of the flow-mods.
    fn handle(&mut self, channel: u32) -> Vec<FlowModCommand> {
        let replies = self.replies(channel);
        let commands = replies.iter().filter_map(|(_, _, command)| *command);
        let commands = commands.collect();
        for (xid, reply, _) in replies {
            if let Some(reply) = reply {
                self.answer(channel, xid, &reply);
            }
        }
        commands
    }

    /// Makes turns as long as there is anything to send. Returns the channels whose changes are of a difference, turn by turn.
    fn together(&mut self) -> Vec<Vec<u32>> {
        let mut turns = Vec::new();
        while self.sync.has_work(self.now) {
            let written = self.sync.write(&self.wanted, &NO_ENTRIES, 3, self.now);
            for (channel, message) in &written.messages {
                self.put(*channel, message);
            }
            turns.push(written.together);
        }
        turns
    }

    /// Takes everything on a wire, with the replies, which do not come yet.
    fn replies(&mut self, channel: u32) -> Vec<(u32, Option<Message>, Option<FlowModCommand>)> {
        let rules = self.rules.entry(channel).or_default();
        let wire = self.wires.remove(&channel).unwrap_or_default();
        let handled = wire.into_iter().map(|(xid, message)| match message {
            Message::FlowMod(flow) => {
                let key = RuleKey::new(flow.table_id, flow.priority, &flow.match_);
                match flow.command {
                    FlowModCommand::Add => {
                        let instructions = flow.instructions.into();
                        let body = RuleBody {
                            instructions,
                            cookie: flow.cookie,
                            ..RuleBody::default()
                        };
                        rules.insert(key, body);
                    }
                    _ => {
                        assert!(rules.remove(&key).is_some_and(|b| b.cookie == flow.cookie));
                    }
                }
                (xid, None, Some(flow.command))
            }
            Message::BarrierRequest => (xid, Some(Message::BarrierReply), None),
            Message::MultipartRequest(MultipartRequest::Aggregate(_)) => {
                (xid, Some(aggregate(rules.len())), None)
            }
            _ => (xid, Some(statistics(rules)), None),
        });
        handled.collect()
    }

    fn answer(&mut self, channel: u32, xid: u32, reply: &Message) {
        let message = reply.encode(xid);
        let outcome = self.sync.reply(channel, &message, self.now);
        assert_eq!(outcome, ReplyOutcome::Nothing);
    }

    /// Whether a switch has exactly the rules that are wanted.
    fn is_right(&self, channel: u32, dpid: Dpid) -> bool {
        let none = RuleSet::new();
        let (rules, wanted) = (self.rules.get(&channel), self.wanted.get(&dpid));
        let (rules, wanted) = (rules.unwrap_or(&none), wanted.unwrap_or(&none));
        crate::install::difference(rules, wanted).is_empty()
    }

    fn on_wire(&self, channel: u32) -> usize {
        let is_change = |(_, message): &&(u32, Message)| matches!(message, Message::FlowMod(_));
        let wire = self.wires.get(&channel).into_iter().flatten();
        wire.filter(is_change).count()
    }
}

fn aggregate(rules: usize) -> Message {
    let sum = AggregateStats {
        packet_count: 0,
        byte_count: 0,
        flow_count: rules as u32,
    };
    Message::MultipartReply(MultipartReply {
        more: false,
        body: MultipartBody::Aggregate(sum),
    })
}

fn statistics(rules: &RuleSet) -> Message {
    let stats = rules.iter().map(|(key, body)| FlowStats {
        table_id: key.table,
        duration_sec: 0,
        duration_nsec: 0,
        priority: key.priority,
        idle_timeout: 0,
        hard_timeout: 0,
        flags: 0,
        cookie: body.cookie,
        packet_count: 0,
        byte_count: 0,
        match_: (*key.match_).clone(),
        instructions: body.instructions.to_vec(),
    });
    Message::MultipartReply(MultipartReply {
        more: false,
        body: MultipartBody::Flow(stats.collect()),
    })
}

#[test]
fn a_switch_gets_a_window_of_changes_and_more_as_it_confirms_them() {
    let mut bench = Bench::read(8, 20);
    assert_eq!((bench.on_wire(1), bench.on_wire(2)), (8, 8));
    // Room comes back by quarters: each pair of changes has a barrier behind it.
    let replies = bench.replies(1);
    let barriers = replies.iter().filter_map(|(xid, reply, _)| {
        let is_barrier = matches!(reply, Some(Message::BarrierReply));
        is_barrier.then_some(*xid)
    });
    let barriers: Vec<u32> = barriers.collect();
    assert_eq!(barriers.len(), 4);
    bench.answer(1, barriers[0], &Message::BarrierReply);
    assert_eq!(bench.turn(), 2);
    // A later reply confirms all before it, and an earlier or unknown one nothing.
    bench.answer(1, barriers[2], &Message::BarrierReply);
    bench.answer(1, barriers[1], &Message::BarrierReply);
    bench.answer(1, 99, &Message::BarrierReply);
    assert_eq!(bench.turn(), 4);
    // The other switch answers nothing meanwhile, and is held to its window.
    while !bench.handle(1).is_empty() {
        bench.turn();
    }
    assert!(bench.is_right(1, A));
    assert_eq!(bench.on_wire(2), 8);
    assert!(bench.rules.get(&2).is_none_or(RuleSet::is_empty));
}

#[test]
fn bytes_are_limited_too() {
    let mut bench = Bench::within(RuleWindow {
        changes: usize::MAX,
        bytes: 1000,
    });
    bench.begin_reading();
    bench.handle(1);
    for number in 0..100 {
        bench.want(A, number, Some(1));
    }
    bench.turn();
    let one = bench.wires[&1][0].1.encode(0).len();
    assert_eq!(bench.on_wire(1), 1000_usize.div_ceil(one));
    while !bench.handle(1).is_empty() {
        bench.turn();
    }
    assert!(bench.is_right(1, A));
}

#[test]
fn a_rule_that_changes_while_it_waits_is_sent_once_as_it_is_wanted_then() {
    let mut bench = Bench::read(4, 4);
    let mut sent = bench.on_wire(1);
    for port in 2..102 {
        bench.want(A, 2, Some(port));
        bench.want(A, 9, (port % 2 == 0).then_some(port));
        sent += bench.turn();
    }
    // The window is full, and so nothing of that has left.
    assert_eq!(sent, 4);
    while !bench.handle(1).is_empty() {
        sent += bench.turn();
    }
    assert!(bench.is_right(1, A));
    assert_eq!(sent, 5, "rule 9 is not wanted in the end");
}

#[test]
fn additions_that_come_late_go_before_deletions_that_wait() {
    use FlowModCommand::{Add, DeleteStrict};
    let mut bench = Bench::read(1, 3);
    while !bench.handle(1).is_empty() {
        bench.turn();
    }
    for number in 0..3 {
        bench.want(A, number, None);
    }
    bench.turn();
    bench.want(A, 7, Some(1));
    bench.want(A, 1, Some(5));
    let mut commands = Vec::new();
    loop {
        let some = bench.handle(1);
        if some.is_empty() {
            break;
        }
        commands.extend(some);
        bench.turn();
    }
    assert_eq!(commands, [DeleteStrict, Add, Add, DeleteStrict]);
    assert!(bench.is_right(1, A));
}

#[test]
fn a_switch_is_in_step_once_it_has_confirmed_what_its_reading_made_necessary() {
    let mut bench = Bench::read(4, 6);
    assert!(bench.synced.is_empty() && !bench.sync.all_in_step());
    bench.handle(1);
    bench.turn();
    assert!(bench.synced.is_empty(), "two rules wait for their barrier");
    // A later change has no part in that.
    bench.want(A, 3, Some(9));
    bench.handle(1);
    assert_eq!(bench.turn(), 1);
    let added = RuleDifference {
        added: 6,
        ..RuleDifference::default()
    };
    assert_eq!(bench.synced, [(A, added)]);
    assert!(
        !bench.sync.all_in_step(),
        "the other one has answered nothing"
    );
    while !bench.handle(2).is_empty() {
        bench.turn();
    }
    assert_eq!(bench.synced, [(A, added), (B, added)]);
    assert!(bench.sync.all_in_step());
}

#[test]
fn a_switch_without_a_difference_is_in_step_at_once() {
    let mut bench = Bench::read(100, 0);
    assert!(bench.wires.is_empty());
    assert_eq!(bench.synced.len(), 2);
    assert!(bench.sync.all_in_step());
    // Few changes ask for no barrier: nothing waits for it.
    bench.want(A, 1, Some(1));
    assert_eq!(bench.turn(), 1);
    assert_eq!(bench.wires[&1].len(), 1);
}

#[test]
fn a_lost_channel_takes_its_window_along() {
    let mut bench = Bench::read(4, 10);
    assert_eq!(bench.on_wire(1), 4);
    // Two changes have arrived before the channel is lost.
    bench.wires.entry(1).or_default().truncate(4);
    let late = bench.replies(1);
    bench.rules = BTreeMap::from([(3, bench.rules[&1].clone())]);
    assert!(bench.sync.disconnect(A, 1));
    bench.sync.connect(A, 3);
    bench.begin_reading();
    for (xid, reply, _) in late {
        // The old channel's replies come to nothing.
        bench.answer(1, xid, &reply.unwrap_or(Message::BarrierReply));
    }
    assert!(!bench.handle(3).contains(&FlowModCommand::Add));
    bench.turn();
    assert_eq!(bench.on_wire(3), 4, "a whole window");
    while !bench.handle(3).is_empty() {
        bench.turn();
    }
    assert!(bench.is_right(3, A));
    let (dpid, difference) = bench.synced[0];
    assert_eq!((dpid, difference.unchanged > 0), (A, true));
}

/// As after an upgrade or a crash: others may have written meanwhile, and what they sent arrives before the reading.
#[test]
fn after_a_resume_the_switch_is_read_and_no_earlier_barrier_counts() {
    let mut bench = Bench::read(4, 6);
    let before = bench.replies(1);
    bench.sync.mark_all_unread();
    bench.want(A, 0, Some(8));
    assert_eq!(bench.turn(), 0, "nothing is sent before the reading");
    bench.begin_reading();
    for (xid, reply, _) in before {
        if let Some(reply) = reply {
            bench.answer(1, xid, &reply);
        }
    }
    assert!(bench.synced.is_empty());
    bench.handle(1);
    // Four rules had arrived, one of them is to be replaced.
    assert_eq!(bench.turn(), 3);
    bench.handle(1);
    bench.turn();
    let (dpid, difference) = bench.synced[0];
    let RuleDifference { added, changed, .. } = difference;
    assert_eq!((dpid, added, changed, difference.unchanged), (A, 2, 1, 3));
    assert!(bench.is_right(1, A));
}

#[test]
fn a_barrier_without_an_answer_is_sent_again_and_delays_its_switch_only() {
    let second = Duration::from_secs(1);
    let mut bench = Bench::read(4, 10);
    // The switch handles everything, and its replies are lost.
    bench.replies(1);
    bench.now += 4 * second;
    assert_eq!((bench.turn(), bench.wires.contains_key(&1)), (0, false));
    bench.now += second;
    assert_eq!(bench.sync.ask_again_at(), Some(bench.now));
    assert_eq!(bench.turn(), 0, "still not confirmed");
    assert_eq!(bench.wires[&1].len(), 1, "one barrier");
    assert_eq!(bench.sync.ask_again_at(), Some(bench.now + 5 * second));
    // The reply to a later barrier confirms everything before it.
    bench.handle(1);
    assert_eq!(bench.turn(), 4);
    assert_eq!(bench.on_wire(1), 4);
}

#[test]
fn a_refused_barrier_is_an_answer() {
    let mut bench = Bench::read(4, 6);
    for (xid, reply, _) in bench.replies(1) {
        if reply.is_some() {
            let error = Message::Error(ErrorMsg {
                kind: 1,
                code: 1,
                data: Bytes::new(),
            });
            let outcome = bench.sync.reply(1, &error.encode(xid), bench.now);
            assert!(matches!(outcome, ReplyOutcome::Error(A, _)));
        }
    }
    assert_eq!(bench.turn(), 2);
}

#[test]
fn a_rule_that_cannot_be_decoded_costs_no_other_rule() {
    let mut bench = Bench::new(100);
    for number in 0..4 {
        bench.want(A, number, Some(1));
    }
    bench.begin_reading();
    let rules: RuleSet = (0..3).map(|number| (key(number), body(1))).collect();
    bench.rules.insert(1, rules.clone());
    for (xid, reply, _) in bench.replies(1) {
        let Some(reply @ Message::MultipartReply(_)) = reply else {
            bench.answer(1, xid, &Message::BarrierReply);
            continue;
        };
        let mut frame = reply.encode(xid).to_vec();
        // Type of the match of the second of three rules, which are equally long.
        let length = (frame.len() - 16) / 3;
        frame[16 + length + 49] = 9;
        let outcome = bench.sync.reply(1, &frame.into(), bench.now);
        assert_eq!(outcome, ReplyOutcome::Nothing);
    }
    // The rule that was left out is taken for missing.
    assert_eq!(bench.turn(), 2);
    bench.handle(1);
    assert!(bench.is_right(1, A));
}

#[test]
fn a_turn_is_no_larger_than_the_proxy_takes() {
    let mut bench = Bench::new(1000);
    let count = 40_u32;
    for channel in 3..=count {
        bench.sync.connect(Dpid(channel.into()), channel);
    }
    // Long rules: some 6 KB each.
    let actions = |port| (0..400).map(|_| Action::output(port)).collect();
    for channel in 1..=count {
        let set = (0..60).map(|number| {
            let instructions = [Instruction::ApplyActions(actions(channel))].into();
            let body = RuleBody {
                instructions,
                ..body(1)
            };
            (key(number), body)
        });
        let set = set.collect();
        bench.wanted.insert(Dpid(channel.into()), set);
    }
    bench.begin_reading();
    for channel in 1..=count {
        bench.handle(channel);
    }
    let mut turns = Vec::new();
    while bench.sync.has_work(bench.now) {
        let commands = bench
            .sync
            .write(&bench.wanted, &NO_ENTRIES, 3, bench.now)
            .messages;
        turns.push(commands.iter().map(|(_, m)| m.len()).sum::<usize>());
    }
    assert!(turns.len() > 1, "{turns:?}");
    assert!(
        turns.iter().all(|bytes| *bytes < TURN + (64 << 10)),
        "{turns:?}"
    );
}

#[test]
fn a_turn_looks_at_switches_with_something_to_do_however_many_there_are() {
    for count in [3, 1000] {
        let mut sync = RuleSync::new(APP, RuleWindow::default(), VerificationPeriods::OFF);
        for n in 1..=count {
            sync.connect(Dpid(n.into()), n);
        }
        for switch in sync.by_dpid.values_mut() {
            switch.state = ReadState::Read {
                read: RuleSet::new(),
                removed: BTreeSet::new(),
            };
        }
        let now = Instant::now();
        let mut wanted = BTreeMap::new();
        assert!(sync.write(&wanted, &NO_ENTRIES, 1, now).messages.is_empty());
        assert_eq!(sync.take_synced().len(), count as usize);
        sync.write(&wanted, &NO_ENTRIES, 1, now);
        assert!(sync.unsettled.is_empty());
        let key = key(1);
        wanted.insert(Dpid(2), RuleSet::from([(key.clone(), body(1))]));
        let mut stale = StaleRules::new();
        stale.note(Dpid(2), key);
        sync.note(stale, &wanted, false);
        assert_eq!(sync.unsettled.len(), 1);
        assert!(sync.has_work(now));
        assert_eq!(sync.write(&wanted, &NO_ENTRIES, 1, now).messages.len(), 1);
        assert!(sync.unsettled.is_empty());
    }
}

#[test]
fn the_changes_of_a_difference_go_together_until_all_are_sent() {
    let mut bench = Bench::new(4);
    for number in 0..6 {
        bench.want(A, number, Some(1));
    }
    bench.begin_reading();
    bench.handle(1);
    bench.handle(2);
    // Switch B has its rules.
    assert_eq!(bench.together(), [[1]]);
    // A change that an event makes meanwhile goes with the rest.
    bench.want(A, 7, Some(1));
    bench.want(B, 7, Some(1));
    bench.handle(1);
    assert_eq!(bench.together(), [[1]]);
    bench.handle(1);
    bench.handle(2);
    assert!(bench.is_right(1, A) && bench.is_right(2, B));
    bench.want(A, 8, Some(1));
    assert_eq!(bench.together(), [[0; 0]]);
}
