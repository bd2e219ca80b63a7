//! Rules to one destination that move from tree to tree: where packets go meanwhile.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const SWITCHES: u64 = 7;
/// Port of the destination, at the root of each tree. Other ports have the number of the switch behind them.
const HOME: u32 = 100;

/// Next hop of each switch in the tree; none at the root.
type Tree = BTreeMap<u64, Option<u64>>;

fn depth(tree: &Tree, mut at: u64) -> u16 {
    let mut depth = 0;
    while let Some(Some(next)) = tree.get(&at) {
        (at, depth) = (*next, depth + 1);
    }
    depth
}

/// Network whose switches answer when the test says so.
struct Net {
    bench: Bench,
    tree: Tree,
    /// Switches that were in all trees since the last one that was reached whole.
    served: BTreeSet<u64>,
    /// Answers that have not arrived, by channel.
    answers: BTreeMap<u32, VecDeque<(u32, Message)>>,
}

impl Net {
    /// All switches are read, and have no rules.
    fn new() -> Self {
        let mut bench = Bench::new(4);
        for n in 3..=SWITCHES {
            bench.sync.connect(Dpid(n), n as u32);
        }
        bench.begin_reading();
        let mut net = Net {
            bench,
            tree: Tree::new(),
            served: BTreeSet::new(),
            answers: BTreeMap::new(),
        };
        net.settle();
        net
    }

    /// Wants the rules of another tree.
    fn want(&mut self, tree: Tree) {
        let mut stale = StaleRules::new();
        let stages = stale.orders.entry(0).or_default();
        for at in self.tree.keys().filter(|at| !tree.contains_key(at)) {
            stages.insert((Dpid(*at), key(0)), Stage::Last);
            self.bench.wanted.entry(Dpid(*at)).or_default().clear();
        }
        for (at, next) in &tree {
            let rank = Stage::Rank(depth(&tree, *at));
            stages.insert((Dpid(*at), key(0)), rank);
            let port = next.map_or(HOME, |next| next as u32);
            let wanted = self.bench.wanted.entry(Dpid(*at)).or_default();
            wanted.insert(key(0), body(port));
        }
        let all = self.tree.keys().chain(tree.keys());
        for at in all.filter(|at| self.tree.get(at) != tree.get(at)) {
            stale.note(Dpid(*at), key(0));
        }
        self.bench.sync.note(stale, &self.bench.wanted, true);
        self.served.retain(|at| tree.contains_key(at));
        self.tree = tree;
        self.bench.turn();
    }

    /// Has a switch carry out what it was sent.
    fn carry_out(&mut self, at: u64) {
        let replies = self.bench.replies(at as u32);
        let answers = self.answers.entry(at as u32).or_default();
        answers.extend(
            replies
                .into_iter()
                .filter_map(|(xid, reply, _)| Some((xid, reply?))),
        );
    }

    /// Delivers the next answer of a switch.
    fn answer(&mut self, at: u64) -> bool {
        let answers = self.answers.entry(at as u32).or_default();
        let Some((xid, reply)) = answers.pop_front() else {
            return false;
        };
        self.bench.answer(at as u32, xid, &reply);
        self.bench.turn();
        true
    }

    /// Lets all that is under way come to its end.
    fn settle(&mut self) {
        self.bench.turn();
        loop {
            let mut moved = false;
            for at in 1..=SWITCHES {
                self.carry_out(at);
                while self.answer(at) {
                    moved = true;
                }
            }
            if !moved {
                self.served = (1..=SWITCHES).collect();
                return;
            }
        }
    }

    fn port(&self, at: u64) -> Option<u32> {
        let body = self.bench.rules.get(&(at as u32))?.get(&key(0))?;
        match &body.instructions[..] {
            [Instruction::ApplyActions(actions)] => match actions[..] {
                [Action::Output { port, .. }] => Some(port),
                _ => None,
            },
            _ => None,
        }
    }

    /// Follows a packet from each switch that paths are promised to, and returns the way of the first one that does not arrive.
    fn lost(&self) -> Option<Vec<u64>> {
        let has_rule = |at: &&u64| self.port(**at).is_some();
        let starts = self.served.iter().filter(has_rule);
        starts.map(|start| self.way(*start)).find_map(Result::err)
    }

    fn way(&self, start: u64) -> Result<(), Vec<u64>> {
        let mut way = vec![start];
        while way.len() as u64 <= SWITCHES {
            match way.last().and_then(|at| self.port(*at)) {
                Some(HOME) => return Ok(()),
                Some(next) => way.push(u64::from(next)),
                None => return Err(way),
            }
        }
        Err(way)
    }

    fn is_right(&self) -> bool {
        (1..=SWITCHES).all(|at| self.bench.is_right(at as u32, Dpid(at)))
    }
}

#[derive(Debug, Clone)]
enum Step {
    Want(Tree),
    CarryOut(u64),
    Answer(u64),
}

/// Trees of some of the switches, the first of a random order being the root.
fn any_tree() -> impl Strategy<Value = Tree> {
    let order = Just((1..=SWITCHES).collect::<Vec<_>>()).prop_shuffle();
    let parents = prop::collection::vec(any::<prop::sample::Index>(), SWITCHES as usize);
    (order, parents, 2..=SWITCHES as usize).prop_map(|(order, parents, size)| {
        let at = |n: usize| order[n];
        let next = |n: usize| (n > 0).then(|| at(parents[n].index(n)));
        (0..size).map(|n| (at(n), next(n))).collect()
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => any_tree().prop_map(Step::Want),
        4 => (1..=SWITCHES).prop_map(Step::CarryOut),
        4 => (1..=SWITCHES).prop_map(Step::Answer),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Trees change at any time, and switches carry out and confirm changes in any order.
    #[test]
    fn a_packet_arrives_whatever_trees_follow_each_other(
        first in any_tree(),
        steps in prop::collection::vec(any_step(), 1..150),
    ) {
        let mut net = Net::new();
        net.want(first);
        net.settle();
        prop_assert!(net.is_right());
        for step in steps {
            match step {
                Step::Want(tree) => net.want(tree),
                Step::CarryOut(at) => net.carry_out(at),
                Step::Answer(at) => drop(net.answer(at)),
            }
            prop_assert_eq!(net.lost(), None);
        }
        net.settle();
        prop_assert_eq!(net.lost(), None);
        prop_assert!(net.is_right());
        prop_assert!(!net.bench.sync.has_work(net.bench.now));
        prop_assert_eq!(net.bench.sync.ask_again_at(), None);
    }
}

/// Two trees of three switches in a row, with the destination at one end and at the other.
fn reversed() -> (Net, Tree) {
    let mut net = Net::new();
    net.want(Tree::from([(1, None), (2, Some(1)), (3, Some(2))]));
    net.settle();
    (net, Tree::from([(3, None), (2, Some(3)), (1, Some(2))]))
}

#[test]
fn a_rank_is_sent_once_the_ranks_before_it_are_confirmed() {
    let (mut net, tree) = reversed();
    net.want(tree);
    let on_wire = |net: &Net| (1..=3).map(|n| net.bench.on_wire(n)).collect::<Vec<_>>();
    assert_eq!(on_wire(&net), [0, 0, 1]);
    net.carry_out(3);
    net.bench.turn();
    assert_eq!(on_wire(&net), [0, 0, 0], "carried out, and not confirmed");
    net.answer(3);
    assert_eq!(on_wire(&net), [0, 1, 0]);
    net.carry_out(2);
    net.answer(2);
    assert_eq!(on_wire(&net), [1, 0, 0]);
    net.settle();
    assert!(net.is_right());
}

#[test]
fn a_switch_that_confirms_nothing_holds_up_its_group_for_a_second_and_others_not_at_all() {
    let (mut net, tree) = reversed();
    net.want(tree);
    // A rule of another group on the way of the switch that is silent.
    net.bench.want(Dpid(1), 5, Some(1));
    let mut other = StaleRules::new();
    other.note(Dpid(2), key(6));
    other
        .orders
        .insert(1, BTreeMap::from([((Dpid(2), key(6)), Stage::Rank(9))]));
    net.bench
        .wanted
        .entry(Dpid(2))
        .or_default()
        .insert(key(6), body(1));
    net.bench.sync.note(other, &net.bench.wanted, true);
    net.bench.turn();
    assert_eq!((net.bench.on_wire(1), net.bench.on_wire(2)), (1, 1));
    net.bench.now += Duration::from_millis(999);
    net.bench.turn();
    assert_eq!((net.bench.on_wire(1), net.bench.on_wire(2)), (1, 1));
    let due = net.bench.now + Duration::from_millis(1);
    assert_eq!(net.bench.sync.ask_again_at(), Some(due));
    net.bench.now = due;
    net.bench.turn();
    assert_eq!((net.bench.on_wire(1), net.bench.on_wire(2)), (1, 2));
    net.settle();
    assert!(net.is_right());
}

#[test]
fn a_switch_that_goes_away_or_is_read_anew_is_not_waited_for() {
    for gone in [true, false] {
        let (mut net, tree) = reversed();
        net.want(tree);
        match gone {
            true => assert!(net.bench.sync.disconnect(Dpid(3), 3)),
            false => net.bench.sync.mark_unread(Some(Dpid(3))),
        }
        net.bench.turn();
        assert_eq!(net.bench.on_wire(2), 1);
        net.carry_out(2);
        net.answer(2);
        assert_eq!(net.bench.on_wire(1), 1);
    }
}

/// A rule of switch A is wanted no more, and deleted at this stage; a rule of switch B is wanted, with rank 1.
fn replaced(deletion: Stage) -> Net {
    let mut net = Net::new();
    net.bench.want(A, 1, Some(1));
    net.settle();
    net.bench.wanted.entry(A).or_default().clear();
    let of_b = net.bench.wanted.entry(B).or_default();
    of_b.insert(key(2), body(1));
    let mut stale = StaleRules::new();
    stale.note(A, key(1));
    stale.note(B, key(2));
    let stages = [((A, key(1)), deletion), ((B, key(2)), Stage::Rank(1))];
    stale.orders.insert(0, BTreeMap::from(stages));
    net.bench.sync.note(stale, &net.bench.wanted, true);
    net.bench.turn();
    net
}

fn on_both_wires(net: &Net) -> [usize; 2] {
    [1, 2].map(|channel| net.bench.on_wire(channel))
}

#[test]
fn deletions_come_last_unless_they_have_a_rank() {
    let mut net = replaced(Stage::Last);
    assert_eq!(on_both_wires(&net), [0, 1]);
    net.settle();
    assert!(net.is_right());
}

#[test]
fn nothing_follows_deletions_with_a_rank_before_they_are_in_effect() {
    let mut net = replaced(Stage::Removal(0));
    assert_eq!(on_both_wires(&net), [1, 0]);
    for _ in 0..10 {
        net.bench.now += Duration::from_secs(1);
        net.bench.turn();
        assert_eq!(net.bench.on_wire(2), 0, "A is silent");
    }
    net.carry_out(1);
    while net.answer(1) {}
    assert_eq!(
        net.bench.on_wire(2),
        0,
        "confirmed, and perhaps not in effect"
    );
    let due = net.bench.now + Duration::from_millis(20);
    assert_eq!(net.bench.sync.ask_again_at(), Some(due));
    net.bench.now = due;
    net.bench.turn();
    assert_eq!(net.bench.on_wire(2), 1);
    net.settle();
    assert!(net.is_right());
    assert!(!net.bench.sync.has_work(net.bench.now));
}
