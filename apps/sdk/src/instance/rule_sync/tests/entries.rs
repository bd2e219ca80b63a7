//! Groups and meters beside the rules that use them.

use morph_openflow::entry::{self, EntryBody, EntryKey, EntrySet};
use morph_openflow::v13::{
    Bucket, GroupDesc, MeterBand, MeterConfig, MultipartRequest, group, meter,
};

use super::*;

const GROUP: u32 = (APP as u32) << 24;
const METER: EntryKey = EntryKey::Meter(APP as u32 * 1024 + 5);

/// A switch, what is wanted on it, and all that it was sent, as words.
struct Bench {
    sync: RuleSync,
    wanted: BTreeMap<Dpid, RuleSet>,
    wanted_entries: BTreeMap<Dpid, EntrySet>,
    now: Instant,
    rules: RuleSet,
    entries: EntrySet,
    has_groups: bool,
    sent: Vec<String>,
}

fn group(number: u32) -> EntryKey {
    EntryKey::Group(GROUP | number)
}

/// Group that leads to another one, or to a port.
fn leads_to(action: Action) -> EntryBody {
    EntryBody::Group {
        kind: group::kind::INDIRECT,
        buckets: vec![Bucket::new(vec![action])],
    }
}

fn to_group(number: u32) -> Action {
    Action::Group(GROUP | number)
}

fn rule(number: u16, instructions: Vec<Instruction>) -> (RuleKey, RuleBody) {
    let body = RuleBody {
        instructions: instructions.into(),
        ..body(1)
    };
    (key(number), body)
}

fn uses(number: u16, action: Action) -> (RuleKey, RuleBody) {
    rule(number, vec![Instruction::ApplyActions(vec![action])])
}

impl Bench {
    fn new() -> Self {
        let window = RuleWindow::default();
        let mut sync = RuleSync::new(APP, window, VerificationPeriods::OFF);
        sync.connect(A, 1);
        Bench {
            sync,
            wanted: BTreeMap::new(),
            wanted_entries: BTreeMap::new(),
            now: Instant::now(),
            rules: RuleSet::new(),
            entries: EntrySet::new(),
            has_groups: true,
            sent: Vec::new(),
        }
    }

    /// States what is wanted, and runs until nothing is left to do. Returns what was sent.
    fn want(&mut self, entries: EntrySet, rules: &[(RuleKey, RuleBody)]) -> Vec<String> {
        let rules: RuleSet = rules.iter().cloned().collect();
        let mut stale = StaleRules::new();
        let before = self.wanted.insert(A, rules.clone()).unwrap_or_default();
        let keys = before.keys().chain(rules.keys());
        for key in keys.filter(|key| before.get(key) != rules.get(key)) {
            stale.note(A, key.clone());
        }
        let before = self.wanted_entries.insert(A, entries.clone());
        let before = before.unwrap_or_default();
        let keys = before.keys().chain(entries.keys());
        let changed = keys.filter(|key| before.get(key) != entries.get(key));
        let changed = BTreeMap::from([(A, changed.copied().collect())]);
        self.sync.note_entries(changed, &self.wanted_entries);
        self.sync.note(stale, &self.wanted, true);
        self.run()
    }

    fn run(&mut self) -> Vec<String> {
        loop {
            let asked = self.sync.read(&self.wanted_entries, true, self.now);
            let asked = asked.into_iter().flat_map(|(_, messages)| messages);
            let mut messages: Vec<Bytes> = asked.collect();
            if self.sync.has_work(self.now) {
                let sent = self
                    .sync
                    .write(&self.wanted, &self.wanted_entries, 3, self.now);
                messages.extend(sent.messages.into_iter().map(|(_, message)| message));
            }
            if messages.is_empty() {
                self.sync.take_synced();
                return std::mem::take(&mut self.sent);
            }
            messages.iter().for_each(|message| self.handle(message));
        }
    }

    fn handle(&mut self, message: &Bytes) {
        let (header, message) = v13::decode(message).unwrap();
        let (word, reply) = match message {
            Message::BarrierRequest => ("barrier".into(), Some(Message::BarrierReply)),
            Message::GroupMod(change) => {
                let key = EntryKey::Group(change.group_id);
                let (kind, buckets) = (change.kind, change.buckets);
                self.change(key, change.command, EntryBody::Group { kind, buckets })
            }
            Message::MeterMod(change) => {
                let key = EntryKey::Meter(change.meter_id);
                let (flags, bands) = (change.flags, change.bands);
                self.change(key, change.command, EntryBody::Meter { flags, bands })
            }
            Message::FlowMod(flow) => {
                let key = RuleKey::new(flow.table_id, flow.priority, &flow.match_);
                let port = key.match_.get_in_port().unwrap();
                let body = RuleBody {
                    instructions: flow.instructions.into(),
                    cookie: flow.cookie,
                    ..RuleBody::default()
                };
                let is_there = |key| self.entries.contains_key(&key);
                assert!(entry::used_by(&body.instructions).all(is_there), "{key}");
                match flow.command {
                    FlowModCommand::Add => self.rules.insert(key, body),
                    _ => self.rules.remove(&key),
                };
                (format!("{:?} rule {port}", flow.command), None)
            }
            Message::MultipartRequest(request) => return self.report(header.xid, &request),
            other => panic!("{other:?}"),
        };
        self.sent.push(word);
        if let Some(reply) = reply {
            self.answer(header.xid, &reply);
        }
    }

    fn change(
        &mut self,
        key: EntryKey,
        command: u16,
        body: EntryBody,
    ) -> (String, Option<Message>) {
        let used = self.rules.values();
        let mut used = used.flat_map(|body| entry::used_by(&body.instructions));
        let is_used = used.any(|used| used == key);
        let word = match command {
            group::command::ADD => {
                assert!(self.entries.insert(key, body).is_none(), "{key} is there");
                "add"
            }
            group::command::MODIFY => {
                assert!(self.entries.insert(key, body).is_some(), "{key} is missing");
                "modify"
            }
            _ => {
                assert!(!is_used, "{key} is in use");
                assert!(self.entries.remove(&key).is_some(), "{key} is missing");
                "delete"
            }
        };
        let name = match key {
            EntryKey::Group(id) => format!("{word} group {}", id - GROUP),
            EntryKey::Meter(_) => format!("{word} meter"),
        };
        (name, None)
    }

    fn report(&mut self, xid: u32, request: &MultipartRequest) {
        let body = match request {
            MultipartRequest::Flow(_) => return self.answer(xid, &statistics(&self.rules)),
            MultipartRequest::GroupDesc if !self.has_groups => {
                let refused = ErrorMsg {
                    kind: v13::error::kind::BAD_REQUEST,
                    code: v13::error::code::bad_request::BAD_MULTIPART,
                    data: Bytes::new(),
                };
                return self.answer(xid, &Message::Error(refused));
            }
            MultipartRequest::GroupDesc => {
                let groups = self.entries.iter().filter_map(|entry| match entry {
                    (EntryKey::Group(group_id), EntryBody::Group { kind, buckets }) => {
                        Some(GroupDesc {
                            kind: *kind,
                            group_id: *group_id,
                            buckets: buckets.clone(),
                        })
                    }
                    _ => None,
                });
                MultipartBody::GroupDesc(groups.collect())
            }
            MultipartRequest::MeterConfig { .. } => {
                let meters = self.entries.iter().filter_map(|entry| match entry {
                    (EntryKey::Meter(meter_id), EntryBody::Meter { flags, bands }) => {
                        Some(MeterConfig {
                            flags: *flags,
                            meter_id: *meter_id,
                            bands: bands.clone(),
                        })
                    }
                    _ => None,
                });
                MultipartBody::MeterConfig(meters.collect())
            }
            other => panic!("{other:?}"),
        };
        self.sent.push(format!("ask {}", request.kind()));
        let more = false;
        self.answer(xid, &Message::MultipartReply(MultipartReply { more, body }));
    }

    fn answer(&mut self, xid: u32, reply: &Message) {
        let outcome = self.sync.reply(1, &reply.encode(xid), self.now);
        assert_eq!(outcome, ReplyOutcome::Nothing);
    }

    /// Whether the switch has what is wanted, and the SDK knows.
    fn is_right(&self) -> bool {
        let rules = crate::install::difference(&self.rules, &self.wanted[&A]);
        self.entries == self.wanted_entries[&A] && rules.is_empty() && self.sync.all_in_step()
    }
}

/// Messages that were sent, without questions and barriers at the end.
fn changes(mut sent: Vec<String>) -> Vec<String> {
    while sent.last().is_some_and(|last| last == "barrier") {
        sent.pop();
    }
    let is_first = |word: &String| word.starts_with("ask") || word == "barrier";
    sent.into_iter().skip_while(is_first).collect()
}

#[test]
fn an_app_without_groups_and_meters_asks_for_none() {
    let mut bench = Bench::new();
    let sent = bench.want(EntrySet::new(), &[uses(1, Action::output(1))]);
    assert!(!sent.iter().any(|word| word.starts_with("ask")), "{sent:?}");
    assert!(bench.is_right());
}

#[test]
fn groups_come_before_the_rules_that_use_them_and_go_behind_them() {
    let mut bench = Bench::new();
    let bands = vec![MeterBand::Drop {
        rate: 100,
        burst_size: 0,
    }];
    let flags = meter::flag::KBPS;
    let entries = EntrySet::from([
        (METER, EntryBody::Meter { flags, bands }),
        (group(1), leads_to(to_group(2))),
        (group(2), leads_to(Action::output(1))),
    ]);
    let EntryKey::Meter(meter) = METER else {
        unreachable!()
    };
    let actions = Instruction::ApplyActions(vec![to_group(1)]);
    let rules = [rule(1, vec![Instruction::Meter(meter), actions])];
    let sent = changes(bench.want(entries.clone(), &rules));
    let expected = [
        "add meter",
        "add group 2",
        "barrier",
        "add group 1",
        "barrier",
        "Add rule 1",
    ];
    assert_eq!(sent, expected);
    assert!(bench.is_right());

    // A group that changes is not deleted to be added again, and its rules are not touched.
    let mut changed = entries.clone();
    changed.insert(group(2), leads_to(Action::output(9)));
    assert_eq!(changes(bench.want(changed, &rules)), ["modify group 2"]);

    let sent = changes(bench.want(EntrySet::new(), &[]));
    let expected = [
        "DeleteStrict rule 1",
        "barrier",
        "delete meter",
        "delete group 1",
        "barrier",
        "delete group 2",
    ];
    assert_eq!(sent, expected);
    assert!(bench.is_right());
}

#[test]
fn another_instance_finds_them_and_changes_nothing() {
    let mut bench = Bench::new();
    let entries = EntrySet::from([(group(1), leads_to(Action::output(1)))]);
    let rules = [uses(1, to_group(1))];
    bench.want(entries, &rules);
    bench.sync.mark_all_unread();
    assert_eq!(changes(bench.run()), Vec::<String>::new());
    assert!(bench.is_right());
    // A group that an earlier release has left is deleted.
    bench.entries.insert(group(7), leads_to(Action::output(1)));
    let foreign = EntryKey::Group((u32::from(APP) + 1) << 24);
    bench.entries.insert(foreign, leads_to(Action::output(1)));
    bench.sync.mark_all_unread();
    assert_eq!(changes(bench.run()), ["delete group 7"]);
    assert!(bench.entries.contains_key(&foreign));
}

#[test]
fn a_rule_moves_from_one_group_to_another_without_a_gap() {
    let mut bench = Bench::new();
    let one = |number| EntrySet::from([(group(number), leads_to(Action::output(1)))]);
    bench.want(one(1), &[uses(1, to_group(1))]);
    let sent = changes(bench.want(one(2), &[uses(1, to_group(2))]));
    assert_eq!(
        sent,
        [
            "add group 2",
            "barrier",
            "Add rule 1",
            "barrier",
            "delete group 1"
        ]
    );
    assert!(bench.is_right());
}

#[test]
fn a_group_that_vanished_is_added_before_the_rules_that_went_with_it() {
    let mut bench = Bench::new();
    let entries = EntrySet::from([(group(1), leads_to(Action::output(1)))]);
    bench.want(entries, &[uses(1, to_group(1))]);
    bench.entries.clear();
    bench.rules.clear();
    bench.sync.note_removed(A, &key(1), bench.now);
    let sent = changes(bench.run());
    assert_eq!(sent, ["add group 1", "barrier", "Add rule 1"]);
    assert!(bench.is_right());
}

#[test]
fn a_switch_without_groups_gets_the_other_rules() {
    let mut bench = Bench::new();
    bench.has_groups = false;
    let entries = EntrySet::from([(group(1), leads_to(Action::output(1)))]);
    let rules = [uses(1, to_group(1)), uses(2, Action::output(1))];
    let sent = changes(bench.want(entries, &rules));
    assert_eq!(sent, ["Add rule 2"]);
    assert!(bench.sync.all_in_step());
}

#[test]
fn what_refers_to_a_group_that_nobody_states_waits_for_it() {
    let mut bench = Bench::new();
    let one = (group(1), leads_to(to_group(2)));
    let rules = [uses(1, to_group(1)), uses(2, Action::output(1))];
    let sent = changes(bench.want(EntrySet::from([one.clone()]), &rules));
    assert_eq!(sent, ["Add rule 2"]);
    let two = (group(2), leads_to(Action::output(1)));
    let sent = changes(bench.want(EntrySet::from([one, two]), &rules));
    assert_eq!(
        sent,
        [
            "add group 2",
            "barrier",
            "add group 1",
            "barrier",
            "Add rule 1"
        ]
    );
    assert!(bench.is_right());
}

#[test]
fn a_refused_group_holds_up_no_other_one_and_is_sent_again() {
    let mut bench = Bench::new();
    let mut entries = EntrySet::from([(group(1), leads_to(Action::output(1)))]);
    bench.want(entries.clone(), &[]);
    bench.entries.clear();
    let refused = ErrorMsg {
        kind: v13::error::kind::BAD_REQUEST,
        code: 0,
        data: Bytes::new(),
    };
    let refused = Message::Error(refused).encode(ENTRY_MOD);
    let outcome = bench.sync.reply(1, &refused, bench.now);
    assert!(matches!(outcome, ReplyOutcome::RuleFailed(A, _)));
    entries.insert(group(2), leads_to(Action::output(1)));
    assert_eq!(changes(bench.want(entries, &[])), ["add group 2"]);
    bench.now = bench.sync.next_deadline(true).unwrap();
    assert_eq!(changes(bench.run()), ["add group 1"]);
    assert_eq!(bench.sync.next_deadline(true), None);
}
