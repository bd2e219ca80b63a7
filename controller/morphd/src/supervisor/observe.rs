//! What the proxy says: who is attached, who is live, and what instances report through it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use morph_api::supervisor::{Observation, Report, observation, report};
use prost::Message;
use tokio::sync::mpsc;

use super::{Event, Feed, Supervisor};
use crate::app::{self, State};
use crate::proxy::Proxy;
use crate::upgrade::{self, Difference, Side};

/// Between two tries while the proxy is away.
const AGAIN: Duration = Duration::from_millis(20);

/// The observer's words.
pub enum Observed {
    /// All that is so now.
    Snapshot(Snapshot),
    /// Something that happened since.
    Observation(Observation),
    /// The stream ended.
    Lost,
}

/// What is so when an observer begins.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Differs after every start of the proxy.
    pub incarnation: u64,
    /// Instances with a session.
    pub attached: BTreeSet<String>,
    /// The live instance of each app.
    pub live: BTreeMap<String, String>,
    /// Reports that came with it, in order.
    pub said: Vec<Observation>,
    /// Connected datapaths.
    pub switches: BTreeSet<u64>,
}

impl Snapshot {
    /// Takes in one observation; true once the snapshot is whole.
    fn take(&mut self, observation: Observation) -> bool {
        match &observation.what {
            Some(observation::What::Attached(attached)) => {
                self.attached.insert(attached.instance.clone());
            }
            Some(observation::What::Resumed(resumed)) => {
                self.live
                    .insert(resumed.app.clone(), resumed.instance.clone());
            }
            Some(observation::What::InstanceReport(_)) => self.said.push(observation),
            Some(observation::What::Switch(switch)) => {
                self.switches.insert(switch.dpid);
            }
            Some(observation::What::Synced(synced)) => {
                self.incarnation = synced.incarnation;
                return true;
            }
            Some(
                observation::What::Detached(_)
                | observation::What::HoldExpired(_)
                | observation::What::SessionRefused(_),
            )
            | None => {}
        }
        false
    }
}

/// Observes the proxy for as long as anybody listens, whatever happens to the proxy.
pub(super) async fn observe(proxy: Proxy, post: mpsc::Sender<Event>) {
    while !post.is_closed() {
        if let Ok(stream) = proxy.observe().await
            && pass_on(stream, &post).await
            && post.send(Event::Observed(Observed::Lost)).await.is_err()
        {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Passes on a stream until it ends; says whether it came as far as a snapshot.
async fn pass_on(mut stream: tonic::Streaming<Observation>, post: &mpsc::Sender<Event>) -> bool {
    let mut snapshot = Some(Snapshot::default());
    while let Ok(Some(observation)) = stream.message().await {
        let whole = match &mut snapshot {
            None => None,
            Some(growing) => match growing.take(observation.clone()) {
                true => snapshot.take(),
                false => continue,
            },
        };
        let event = whole.map_or(Observed::Observation(observation), Observed::Snapshot);
        if post.send(Event::Observed(event)).await.is_err() {
            break;
        }
    }
    snapshot.is_none()
}

impl Supervisor {
    pub(super) fn observed(&mut self, observed: Observed) {
        match observed {
            Observed::Snapshot(snapshot) => self.proxy_is_back(snapshot),
            Observed::Observation(observation) => self.observation(observation),
            Observed::Lost => tracing::warn!("the proxy does not speak any longer"),
        }
    }

    /// The proxy speaks again: it is the same one, or another without any session.
    fn proxy_is_back(&mut self, snapshot: Snapshot) {
        let another = self.incarnation != Some(snapshot.incarnation);
        self.incarnation = Some(snapshot.incarnation);
        self.see(&snapshot);
        tracing::info!(
            incarnation = snapshot.incarnation,
            another,
            "the proxy speaks"
        );
        self.configure();
        if another {
            for name in self.apps.keys() {
                self.feeds
                    .push_back(Feed::Upgrade(name.clone(), upgrade::Input::ProxyLost));
                self.feeds
                    .push_back(Feed::App(name.clone(), app::Input::ProxyLost));
            }
        } else {
            self.catch_up(&snapshot);
        }
        for observation in snapshot.said {
            self.observation(observation);
        }
        let attached: Vec<String> = snapshot.attached.into_iter().collect();
        for id in attached {
            self.tell_ready(&id);
        }
    }

    /// Takes over who is attached and who is live.
    pub(super) fn see(&mut self, snapshot: &Snapshot) {
        for (id, instance) in &mut self.instances {
            instance.attached = snapshot.attached.contains(id);
            instance.live = snapshot.live.get(&instance.app) == Some(id);
        }
    }

    /// The same proxy, but something may have been missed: sessions that ended.
    fn catch_up(&mut self, snapshot: &Snapshot) {
        let running = self
            .apps
            .values()
            .filter_map(|managed| match managed.machine.state() {
                State::Running { instance } => Some(instance.clone()),
                _ => None,
            });
        let lost: Vec<String> = running
            .filter(|id| !snapshot.attached.contains(id))
            .collect();
        for id in lost {
            self.session_ended(&id, "while the proxy was not observed".into());
        }
    }

    fn observation(&mut self, observation: Observation) {
        match observation.what {
            Some(observation::What::Attached(attached)) => {
                match self.instances.get_mut(&attached.instance) {
                    Some(instance) => instance.attached = true,
                    None => {
                        let (app, instance, pid) = (attached.app, attached.instance, attached.pid);
                        tracing::warn!(app, instance, pid, "attached, and not started by morphd");
                        return;
                    }
                }
                tracing::info!(app = attached.app, instance = attached.instance, "attached");
                self.tell_again(&attached.app, &attached.instance);
                self.tell_ready(&attached.instance);
            }
            Some(observation::What::Detached(detached)) => {
                self.session_ended(&detached.instance, detached.reason);
            }
            Some(observation::What::InstanceReport(said)) => match Report::decode(said.report) {
                Ok(Report {
                    report: Some(report),
                }) => self.report(&said.app, &said.instance, report),
                Ok(Report { report: None }) => {}
                Err(error) => {
                    tracing::warn!(app = said.app, instance = said.instance, %error, "unreadable report")
                }
            },
            Some(observation::What::Switch(switch)) => {
                let dpid = format!("{:016x}", switch.dpid);
                let word = if switch.up {
                    "connected"
                } else {
                    "disconnected"
                };
                tracing::info!(
                    dpid,
                    remote = switch.remote,
                    reason = switch.reason,
                    "switch {word}"
                );
            }
            Some(observation::What::HoldExpired(expired)) => {
                self.hold_expired(&expired.app, expired.epoch, &expired.instance)
            }
            Some(observation::What::SessionRefused(refused)) => {
                let (app, instance) = (refused.app, refused.instance);
                tracing::error!(app, instance, "{}", refused.message);
            }
            Some(observation::What::Resumed(_) | observation::What::Synced(_)) | None => {}
        }
    }

    fn hold_expired(&mut self, app: &str, epoch: u64, instance: &str) {
        tracing::warn!(
            app,
            epoch,
            instance,
            "a hold lasted too long, and the proxy ended it"
        );
        for (id, other) in self
            .instances
            .iter_mut()
            .filter(|(_, other)| other.app == app)
        {
            other.live = id == instance;
        }
        if let Some(managed) = self.apps.get_mut(app) {
            managed.row.epoch = managed.row.epoch.max(epoch);
        }
        let side = self.side_of(app, instance);
        self.feed(Feed::Upgrade(
            app.to_owned(),
            upgrade::Input::HoldExpired(side),
        ));
    }

    fn report(&mut self, app: &str, id: &str, report: report::Report) {
        let side = self.side_of(app, id);
        if let Some(instance) = self.instances.get_mut(id) {
            instance.pulse.heard();
        }
        let input = match report {
            report::Report::Ready(ready) => {
                if let Some(instance) = self.instances.get_mut(id) {
                    let difference = ready.difference.unwrap_or_default();
                    instance.ready = true;
                    instance.said = format!(
                        "{} rows; rules: {} to add, {} to change, {} to remove, {} unchanged",
                        ready.rows,
                        difference.added,
                        difference.changed,
                        difference.removed,
                        difference.unchanged
                    );
                }
                return self.tell_ready(id);
            }
            report::Report::Failed(failed) => {
                tracing::warn!(
                    app,
                    instance = id,
                    message = failed.message,
                    "an instance cannot go on"
                );
                side.map(|side| upgrade::Input::Failed(side, failed.message))
            }
            report::Report::Pong(_) => (side == Some(Side::New)).then_some(upgrade::Input::Pong),
            report::Report::Shadow(shadow) if shadow.error.is_empty() => {
                self.shadow_goes_on(app, id, &shadow);
                let (keyspace, complete, lossy) = (shadow.keyspace, shadow.complete, shadow.lossy);
                side.map(|_| upgrade::Input::ShadowGrew {
                    keyspace,
                    complete,
                    lossy,
                })
            }
            report::Report::Shadow(shadow) => {
                self.shadow_goes_on(app, id, &shadow);
                let (keyspace, why) = (shadow.keyspace, shadow.error);
                side.map(|_| upgrade::Input::ShadowFailed { keyspace, why })
            }
            report::Report::Flushed(_) => side.map(|_| upgrade::Input::Flushed),
            report::Report::Rules(rules) => side.map(|side| {
                let difference = rules.difference.unwrap_or_default();
                let difference = Difference {
                    added: difference.added,
                    changed: difference.changed,
                    removed: difference.removed,
                    unchanged: difference.unchanged,
                };
                upgrade::Input::Rules {
                    side,
                    difference,
                    last: rules.last,
                }
            }),
            report::Report::Health(health) => {
                (side == Some(Side::New)).then_some(upgrade::Input::Health {
                    events: health.events,
                    errors: health.errors,
                    refused_rules: health.rule_failures,
                    unhealthy: Some(health.unhealthy).filter(|why| !why.is_empty()),
                })
            }
        };
        if let Some(input) = input {
            self.feed(Feed::Upgrade(app.to_owned(), input));
        }
    }
}
