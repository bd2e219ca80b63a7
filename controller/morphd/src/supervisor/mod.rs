//! The driver: carries out what the machines ask for and feeds them what happens. It holds no decisions of its own
//! about when an instance starts, resumes or gives way; those stand in [`crate::app`] and [`crate::upgrade`].
//!
//! ```text
//!  management (gRPC) --Request--+                        +--> store: records, fences, swaps
//!  proxy: Observe --------------+--> inbox --> Supervisor +--> proxy: Hold, Resume, Tell, Configure
//!  pidfds ----------------------+      ^          |       +--> processes: spawn, signal
//!  answers of calls ------------+      |          |
//!                                      +----------+  every call is a task; what it brings comes back as an event
//! ```
//!
//! One task owns all state and never waits for a call.

mod apps;
mod first;
pub(crate) mod history;
mod inquest;
mod instances;
mod keeping;
mod looping;
mod migrations;
mod observe;
mod parts;
mod planning;
mod present;
mod quarantine;
mod record;
mod recover;
mod requests;
mod shadows;
mod start;
mod statuses;
mod stop;
mod together;
mod upgrades;
mod upgrading;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use morph_api::management::{Migration, UpgradeStatus};
use morph_store::Client;
use tokio::sync::mpsc;

use crate::app::{self, App, InstanceId};
use crate::children::AppUsers;
use crate::config::Settings;
use crate::counts::Counts;
use crate::process::Ending;
use crate::proxy::Proxy;
use crate::records::{AppRow, Records, UpgradeRow};
use crate::release::Releases;
use crate::suspicion::Death;
use crate::upgrade;
use morph_api::lock::Lock;

use instances::Instance;
pub use observe::Observed;
use parts::Part;
pub use parts::{PartName, PartView};
use quarantine::Aside;
pub use requests::{AppView, Asked, Figures, Last, Reply, Request};
pub use start::start;
use upgrades::Running;

/// Between two looks at the sizes of the logs, and at the shadows that readers need.
const LOGS: Duration = Duration::from_secs(5);
/// Events under way to the supervisor. It drains them without waiting for anything, so this is only a burst; a sender
/// that finds it full waits.
const INBOX: usize = 1024;

/// Something to be done with the supervisor once a call has been answered.
type Then = Box<dyn FnOnce(&mut Supervisor) + Send>;

/// What happened.
pub enum Event {
    /// Someone asks for something.
    Asked(Box<Request>),
    /// The proxy says something.
    Observed(Observed),
    /// A part of Morpheus ended.
    PartEnded(PartName, u32, Ending),
    /// An instance's process ended.
    InstanceEnded(InstanceId, Ending),
    /// A call was answered.
    Then(Then),
}

/// What one machine has for another, or for itself: fed before the next event.
#[derive(Debug)]
enum Feed {
    App(String, app::Input),
    Upgrade(String, upgrade::Input),
}

/// How the supervisor was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// End all in order.
    All,
    /// End morphd alone.
    Alone,
}

/// An app that is known: running, stopped or removed.
pub(crate) struct Managed {
    row: AppRow,
    machine: App,
    upgrade: Option<Running>,
    last: Option<UpgradeRow>,
    /// The last death of an instance that may have been live, until it is judged.
    death: Option<Death>,
    /// How its last instance ended.
    last_end: String,
    /// The last shadow of its state in another schema, as far as its maker has told.
    migration: Option<Migration>,
    /// For readers: in which schema a shadow was made, by which release, and how often.
    keeping: (u32, semver::Version, u32),
    /// The writes of one app keep their order; the number is that of the newest one written.
    order: Arc<tokio::sync::Mutex<u64>>,
    writes: u64,
}

/// All that morphd knows and has in hand.
pub struct Supervisor {
    settings: Arc<Settings>,
    /// As whom instances run; none: as morphd does.
    owners: Option<AppUsers>,
    store: Client,
    records: Arc<Records>,
    proxy: Proxy,
    inbox: mpsc::Receiver<Event>,
    post: mpsc::Sender<Event>,
    releases: Releases,
    apps: BTreeMap<String, Managed>,
    instances: BTreeMap<InstanceId, Instance>,
    /// Upgrades of several apps as one, by the group's id.
    together: BTreeMap<String, upgrade::Together>,
    /// Events that were set aside.
    aside: Aside,
    store_part: Part,
    proxy_part: Part,
    /// The proxy's incarnation, as it was last observed.
    incarnation: Option<u64>,
    feeds: VecDeque<Feed>,
    followers: Vec<(Option<String>, mpsc::Sender<UpgradeStatus>)>,
    counts: Counts,
    last_id: u64,
    bound_logs_at: Instant,
    /// Held for as long as this morphd lives.
    _lock: Lock,
}

impl Supervisor {
    /// Where requests and events go.
    pub fn post(&self) -> mpsc::Sender<Event> {
        self.post.clone()
    }

    /// Whose `api.sock` is, where the run directory would hand it to the apps' group: morphd's own.
    pub fn api_group(&self) -> Option<u32> {
        let own = self.owners.is_some();
        own.then(|| rustix::process::getegid().as_raw())
    }

    /// For management's own questions.
    pub fn clients(&self) -> (Client, Proxy, Arc<Settings>) {
        (
            self.store.clone(),
            self.proxy.clone(),
            Arc::clone(&self.settings),
        )
    }

    /// Runs until `shutdown` says how to end, and then ends so.
    ///
    /// # Errors
    /// When nothing that it records lands any longer ([`Records::lost`]); all else carries on.
    pub async fn run(mut self, shutdown: impl Future<Output = Shutdown>) -> anyhow::Result<()> {
        tokio::pin!(shutdown);
        let records = Arc::clone(&self.records);
        let lost = records.lost();
        tokio::pin!(lost);
        let how = loop {
            self.feed_all();
            let deadline = self.next_deadline();
            tokio::select! {
                how = &mut shutdown => break how,
                why = &mut lost => bail!("morphd ends alone, all else carries on: {why}"),
                // The supervisor holds a sender itself, so the inbox never ends.
                Some(event) = self.inbox.recv() => self.on(event),
                () = tokio::time::sleep_until(deadline.into()) => self.on_time(),
            }
        };
        match how {
            Shutdown::Alone => tracing::info!("morphd ends alone; all else carries on"),
            Shutdown::All => self.stop_all().await,
        }
        Ok(())
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Asked(request) => self.asked(*request),
            Event::Observed(observed) => self.observed(observed),
            Event::PartEnded(part, pid, ending) => self.part_ended(part, pid, ending),
            Event::InstanceEnded(instance, ending) => self.instance_ended(&instance, ending),
            Event::Then(then) => then(self),
        }
    }

    fn feed_all(&mut self) {
        while let Some(feed) = self.feeds.pop_front() {
            match feed {
                Feed::App(app, input) => self.feed_app(&app, input),
                Feed::Upgrade(app, input) => self.feed_upgrade(&app, input),
            }
        }
    }

    fn next_deadline(&self) -> Instant {
        let machines = self.apps.values().flat_map(|managed| {
            let upgrade = managed
                .upgrade
                .as_ref()
                .and_then(|running| running.machine.next_deadline());
            [managed.machine.next_deadline(), upgrade]
        });
        let parts = [
            self.store_part.start_at(),
            self.proxy_part.start_at(),
            self.next_pulse(),
            self.store_part.answers.next_deadline(),
            self.proxy_part.answers.next_deadline(),
            self.aside.next_look(),
        ];
        let first = machines.chain(parts).flatten().min();
        first.map_or(self.bound_logs_at, |at| at.min(self.bound_logs_at))
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        if self.bound_logs_at <= now {
            self.bound_logs_at = now + LOGS;
            crate::log::rotate_all(&self.settings.state_dir.join("log"));
            self.keep_shadows();
        }
        self.restart_due_parts(now);
        self.feel_pulses(now);
        self.ask_parts(now);
        self.look_at_trials(now);
        for (name, managed) in &self.apps {
            if managed.machine.next_deadline().is_some_and(|at| at <= now) {
                self.feeds
                    .push_back(Feed::App(name.clone(), app::Input::Time));
            }
            let upgrade = managed.upgrade.as_ref();
            if upgrade
                .and_then(|running| running.machine.next_deadline())
                .is_some_and(|at| at <= now)
            {
                self.feeds
                    .push_back(Feed::Upgrade(name.clone(), upgrade::Input::Time));
            }
        }
    }

    /// Runs a call beside everything else, and then `then` with its answer.
    fn after<T: Send + 'static>(
        &self,
        call: impl Future<Output = T> + Send + 'static,
        then: impl FnOnce(&mut Supervisor, T) + Send + 'static,
    ) {
        let post = self.post.clone();
        tokio::spawn(async move {
            let answer = call.await;
            // Refused only when the supervisor has ended, and then nobody waits for it.
            let _ = post
                .send(Event::Then(Box::new(move |supervisor| {
                    then(supervisor, answer)
                })))
                .await;
        });
    }

    fn feed(&mut self, feed: Feed) {
        self.feeds.push_back(feed);
    }
}

/// Milliseconds since 1970.
fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
