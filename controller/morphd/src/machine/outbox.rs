//! What the machine has in hand while it handles one input: the present, what is to be done, calls under way, and inputs of
//! one sub-machine for another.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use morph_api::management::{QuarantinedEvent, Release as ReleaseView, UpgradeStatus};
use semver::Version;

use super::call::{Answer, Call, CallId, Limit, RecordWrite, Sequence};
use super::instances::InstanceId;
use super::lifecycle::LifecycleInput;
use super::poison::EventRow;
use super::record::{AppRow, ReleaseStatus};
use super::request::{Request, RequestError, RequestId};
use super::upgrade::{MemberInput, Order, Side};
use crate::boot::Moment;
use crate::release::Release;
use morph_api::management::Step;

/// The present: each input comes with it.
#[derive(Debug, Clone)]
pub struct Present {
    pub at: Instant,
    pub unix_ms: u64,
    /// Moment of this boot of the machine, where that is known.
    pub moment: Option<Moment>,
}

/// Action for the driver.
#[derive(Debug)]
pub enum NodeOutput {
    /// Make this call, and answer it.
    Call(CallId, Call),
    /// Nobody waits for this call any longer: drop it.
    Abandon(CallId),
    /// Start an instance: answer `InstanceStarted`, or `InstanceEnded` where that fails.
    Spawn(Spawn),
    /// End an instance: told first, then terminated, then killed.
    End(InstanceId),
    /// Kill an instance.
    Kill(InstanceId),
    /// Run an instance before morphd, or beside it.
    Prioritize(InstanceId, bool),
    /// Answer a request.
    Reply(RequestId, Result<Reply, RequestError>),
    /// Tell everybody who follows upgrades. The last one of an upgrade ends it.
    Status(UpgradeStatus),
    /// Something has become true, and nothing that follows has been done: tests stop morphd here.
    Reached(Milestone),
}

/// A point at which tests stop morphd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Milestone {
    Step(Step),
    Suspected,
}

/// An instance to be started.
#[derive(Debug)]
pub struct Spawn {
    pub instance: InstanceId,
    pub release: Box<Release>,
    /// A keyspace to read, in the place of the primary.
    pub keyspace: Option<u32>,
    /// Nobody serves the app meanwhile.
    pub alone: bool,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    Done,
    Staged(ReleaseView),
    /// Id of the removed app, whose rules are to be deleted.
    Removed(u8),
    /// Ids of the upgrades that have begun.
    Begun(Vec<String>),
    /// Last statuses of an upgrade's members, first that of the app that was named.
    Ended(Vec<UpgradeStatus>),
    Event(QuarantinedEvent),
}

/// Purpose of a call: it says what the answer is for.
#[derive(Debug, Clone)]
pub enum Purpose {
    /// The record of a step of an upgrade.
    Step {
        app: String,
        step: Step,
    },
    /// The last record of a member that has gone back.
    RolledBack {
        app: String,
    },
    /// The commit of an upgrade.
    Commit {
        apps: Vec<String>,
    },
    /// The fence of an upgrade, and who it lets in.
    Fence {
        side: Side,
        members: Vec<(String, InstanceId, ReleaseStatus)>,
    },
    /// The keyspace of an upgrade's shadow.
    Keyspace {
        app: String,
        side: Side,
        maker: InstanceId,
        schema: u32,
    },
    Hold {
        app: String,
    },
    Resume {
        app: String,
        instance: InstanceId,
    },
    Sample {
        app: String,
    },
    Order {
        app: String,
        side: Side,
        instance: InstanceId,
        order: Order,
    },
    /// A step of a takeover.
    Suspect {
        app: String,
    },
    Cursor {
        app: String,
    },
    TakeoverFence {
        app: String,
    },
    TakeoverResume {
        app: String,
    },
    /// The record of an app that is to change, by a request or after a crash loop.
    App(Box<AppChange>),
    /// The pipeline, after such a change.
    Pipeline(PipelineChange),
    /// The records of the apps' tables.
    Tables,
    /// The record of a staged release.
    Stage {
        request: Option<RequestId>,
        release: Box<Release>,
    },
    /// The record of a quarantined event, which it changes to this.
    Event {
        id: String,
        row: Option<Box<EventRow>>,
        request: Option<RequestId>,
    },
    /// A step of the retry of a quarantined event.
    Retry {
        id: String,
        row: Box<EventRow>,
        step: RetryStep,
        request: Option<RequestId>,
    },
    /// Cursors of the apps whose events are tried again.
    RetryCursors,
    /// Keyspaces, for the shadows that readers need.
    ReaderShadows,
    /// The keyspace of such a shadow.
    ReaderKeyspace {
        app: String,
        maker: InstanceId,
        schema: u32,
    },
    /// Nothing depends on it; a failure is logged in these words.
    Log(&'static str),
}

/// A change of an app's record, and what follows.
#[derive(Debug, Clone)]
pub struct AppChange {
    pub app: String,
    pub row: AppRow,
    /// The release that is permanent from then on.
    pub permanent: Option<Release>,
    /// The release that was permanent, where it is another one.
    pub displaced: Option<Version>,
    /// Quarantined events that the next release tries again.
    pub passed_on: Vec<(String, EventRow)>,
    pub then: AppChangeKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppChangeKind {
    Start(RequestId),
    Stop(RequestId),
    Remove(RequestId),
    CrashLoop,
}

/// A change of the pipeline, and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PipelineChange {
    Refresh,
    Start { app: String, request: RequestId },
    Remove { app: String },
}

/// Steps of a retry: whatever dies between them, the retry can be done again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryStep {
    /// The record says that it is tried.
    Announce,
    /// The proxy queues it.
    Queue,
    /// The record says where.
    Place,
    /// The record says that it is not tried after all.
    Withdraw,
}

/// An input of one sub-machine for another.
#[derive(Debug)]
pub enum Signal {
    Lifecycle(String, LifecycleInput),
    Member(String, MemberInput),
    /// The proxy has carried out the configuration with this number.
    Settled(u64),
    /// Request that waited for room in the pipeline.
    Request(RequestId, Request),
}

#[derive(Debug, Clone)]
struct Pending {
    purpose: Purpose,
    limit: Limit,
    name: &'static str,
    deadline: Instant,
}

/// A call that waits for earlier ones.
#[derive(Debug, Clone)]
struct QueuedCall {
    sequences: Vec<Sequence>,
    request: Call,
    purpose: Purpose,
    call: Option<CallId>,
}

#[derive(Debug)]
pub struct Outbox {
    pub present: Present,
    pub out: Vec<NodeOutput>,
    signals: VecDeque<Signal>,
    calls: BTreeMap<CallId, Pending>,
    last_call: u64,
    queue: Vec<QueuedCall>,
}

impl Clone for Outbox {
    /// Between two inputs nothing is to be done and no signal waits.
    fn clone(&self) -> Self {
        Outbox {
            present: self.present.clone(),
            out: Vec::new(),
            signals: VecDeque::new(),
            calls: self.calls.clone(),
            last_call: self.last_call,
            queue: self.queue.clone(),
        }
    }
}

impl Outbox {
    pub fn new(present: Present) -> Self {
        Outbox {
            present,
            out: Vec::new(),
            signals: VecDeque::new(),
            calls: BTreeMap::new(),
            last_call: 0,
            queue: Vec::new(),
        }
    }

    pub fn put(&mut self, output: NodeOutput) {
        self.out.push(output);
    }

    pub fn reply(&mut self, request: RequestId, result: Result<Reply, RequestError>) {
        self.out.push(NodeOutput::Reply(request, result));
    }

    pub fn signal(&mut self, signal: Signal) {
        self.signals.push_back(signal);
    }

    pub fn lifecycle(&mut self, app: &str, input: LifecycleInput) {
        self.signals
            .push_back(Signal::Lifecycle(app.to_owned(), input));
    }

    pub fn member(&mut self, app: &str, input: MemberInput) {
        self.signals
            .push_back(Signal::Member(app.to_owned(), input));
    }

    pub fn next_signal(&mut self) -> Option<Signal> {
        self.signals.pop_front()
    }

    /// Makes a call, after those that it must not overtake.
    pub fn call(&mut self, call: Call, purpose: Purpose) {
        match call.sequence() {
            Some(sequence) => self.call_in_order(vec![sequence], call, purpose),
            None => {
                let limit = call.limit();
                self.call_within(limit, call, purpose);
            }
        }
    }

    pub fn call_within(&mut self, limit: Limit, call: Call, purpose: Purpose) -> CallId {
        self.last_call += 1;
        let id = CallId(self.last_call);
        let (Limit::GiveUp(time) | Limit::Remind(time)) = limit;
        let pending = Pending {
            purpose,
            limit,
            name: call.name(),
            deadline: self.present.at + time,
        };
        self.calls.insert(id, pending);
        self.out.push(NodeOutput::Call(id, call));
        id
    }

    /// Ends a call; none: it was given up before.
    pub fn answered(&mut self, id: CallId) -> Option<Purpose> {
        let pending = self.calls.remove(&id)?;
        self.queued_answered(id);
        Some(pending.purpose)
    }

    /// Whether a call is under way whose purpose is this.
    pub fn awaits(&self, is: impl Fn(&Purpose) -> bool) -> bool {
        self.calls.values().any(|pending| is(&pending.purpose))
    }

    /// A call that has to be given up now. Of calls that are waited for as long as it takes people are told.
    pub fn overdue(&mut self) -> Option<(CallId, Answer)> {
        let now = self.present.at;
        for (id, pending) in &mut self.calls {
            if pending.deadline > now {
                continue;
            }
            match pending.limit {
                Limit::GiveUp(limit) => {
                    let id = *id;
                    self.out.push(NodeOutput::Abandon(id));
                    return Some((id, Answer::Overdue(limit)));
                }
                Limit::Remind(time) => {
                    let (what, purpose) = (pending.name, &pending.purpose);
                    tracing::warn!(
                        ?purpose,
                        "no answer for {} s: {what} is waited for",
                        time.as_secs()
                    );
                    pending.deadline = now + time;
                }
            }
        }
        None
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.calls.values().map(|pending| pending.deadline).min()
    }

    /// Writes after all earlier writes of these apps. A write of one app that waits is replaced by a later one: its answer
    /// never comes.
    pub fn write_in_order(&mut self, apps: Vec<String>, write: RecordWrite, purpose: Purpose) {
        let sequences: Vec<Sequence> = apps.into_iter().map(Sequence::Records).collect();
        if sequences.len() == 1 {
            self.queue
                .retain(|queued| queued.call.is_some() || queued.sequences != sequences);
        }
        self.call_in_order(sequences, Call::Write(write), purpose);
    }

    fn call_in_order(&mut self, sequences: Vec<Sequence>, request: Call, purpose: Purpose) {
        self.queue.push(QueuedCall {
            sequences,
            request,
            purpose,
            call: None,
        });
        self.start_queued();
    }

    fn queued_answered(&mut self, id: CallId) {
        self.queue.retain(|queued| queued.call != Some(id));
        self.start_queued();
    }

    fn start_queued(&mut self) {
        for at in 0..self.queue.len() {
            let (before, from) = self.queue.split_at(at);
            let Some(queued) = from.first() else { return };
            let waits = |sequence| before.iter().any(|q| q.sequences.contains(sequence));
            if queued.call.is_some() || queued.sequences.iter().any(waits) {
                continue;
            }
            let (request, purpose) = (queued.request.clone(), queued.purpose.clone());
            let id = self.call_within(request.limit(), request, purpose);
            self.queue[at].call = Some(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn outbox() -> Outbox {
        Outbox::new(Present {
            at: Instant::now(),
            unix_ms: 0,
            moment: None,
        })
    }

    fn step(app: &str, step: Step) -> Purpose {
        Purpose::Step {
            app: app.into(),
            step,
        }
    }

    /// Calls that were begun since the last look.
    fn begun(outbox: &mut Outbox) -> Vec<CallId> {
        let out = std::mem::take(&mut outbox.out);
        let calls = out.into_iter().filter_map(|output| match output {
            NodeOutput::Call(id, _) => Some(id),
            _ => None,
        });
        calls.collect()
    }

    fn write(outbox: &mut Outbox, apps: &[&str], at: Step) {
        let purpose = step(apps[0], at);
        let apps = apps.iter().map(|app| (*app).to_owned()).collect();
        outbox.write_in_order(apps, RecordWrite::default(), purpose);
    }

    #[test]
    fn writes_of_one_app_keep_their_order_and_the_latest_counts() {
        let mut outbox = outbox();
        write(&mut outbox, &["router"], Step::Staged);
        write(&mut outbox, &["router"], Step::Starting);
        write(&mut outbox, &["router"], Step::RollingBack);
        write(&mut outbox, &["topology"], Step::Staged);
        let first = begun(&mut outbox);
        assert_eq!(first.len(), 2, "one of each app");
        assert!(outbox.answered(first[0]).is_some());
        let next = begun(&mut outbox);
        let [next] = next[..] else {
            panic!("{next:?}");
        };
        let Some(Purpose::Step { step, .. }) = outbox.answered(next) else {
            panic!("no step");
        };
        assert_eq!(step, Step::RollingBack, "the one between is replaced");
        assert_eq!(begun(&mut outbox), []);
    }

    #[test]
    fn a_write_of_several_apps_waits_for_each_of_them() {
        let mut outbox = outbox();
        write(&mut outbox, &["router"], Step::Upgraded);
        write(&mut outbox, &["topology"], Step::Upgraded);
        write(&mut outbox, &["router", "topology"], Step::Committed);
        write(&mut outbox, &["router"], Step::RollingBack);
        let first = begun(&mut outbox);
        assert_eq!(first.len(), 2);
        outbox.answered(first[0]);
        assert_eq!(begun(&mut outbox), [], "the other one is on its way");
        outbox.answered(first[1]);
        let joint = begun(&mut outbox);
        assert_eq!(joint.len(), 1, "the last write waits for the joint one");
        outbox.answered(joint[0]);
        assert_eq!(begun(&mut outbox).len(), 1);
    }

    #[test]
    fn a_call_is_given_up_at_its_limit_and_a_late_answer_is_nobodys() {
        let mut outbox = outbox();
        let call = Call::Suspect {
            app: "router".into(),
            instance: "a".into(),
            handling: None,
        };
        let limit = Limit::GiveUp(Duration::from_secs(1));
        let app = || "router".to_owned();
        let id = outbox.call_within(limit, call, Purpose::Suspect { app: app() });
        assert!(outbox.overdue().is_none());
        outbox.present.at += Duration::from_secs(1);
        let (overdue, answer) = outbox.overdue().unwrap();
        assert_eq!(overdue, id);
        assert_eq!(answer, Answer::Overdue(Duration::from_secs(1)));
        assert!(outbox.answered(id).is_some());
        assert!(outbox.answered(id).is_none(), "the late answer");
        let abandoned = |output: &NodeOutput| matches!(output, NodeOutput::Abandon(_));
        assert!(outbox.out.iter().any(abandoned));
    }

    #[test]
    fn a_call_that_is_waited_for_has_a_deadline_and_is_never_given_up() {
        let mut outbox = outbox();
        let id = outbox.call_within(
            Call::ReadStore.limit(),
            Call::ReadStore,
            Purpose::RetryCursors,
        );
        for _ in 0..3 {
            let at = outbox.next_deadline().unwrap();
            outbox.present.at = at;
            assert!(outbox.overdue().is_none());
        }
        assert!(outbox.answered(id).is_some());
        assert_eq!(outbox.next_deadline(), None);
    }
}
