//! What the proxy says: who is attached, who is live, and what instances report through it.

use std::collections::{BTreeMap, BTreeSet};

use morph_api::supervisor::{
    Configuration, Observation, Report, RuleDifference, observation, report,
};
use prost::Message;

use super::call::Call;
use super::lifecycle::{LifecycleInput, LifecycleState};
use super::outbox::{PipelineChange, Purpose, Signal};
use super::processes;
use super::query::configuration;
use super::shadows;
use super::state::State;
use super::upgrade::{
    HealthReport, MemberInput, RuleCounts, ShadowInput, Side, StandingFaults, rule_loss,
};
use super::upgrading;

/// State of the proxy when an observer begins.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Snapshot {
    /// Differs after every start of the proxy.
    pub incarnation: u64,
    /// Instances with a session.
    pub attached: BTreeSet<String>,
    /// The live instance of each app.
    pub live: BTreeMap<String, String>,
    /// Reports that came with it, in order.
    pub reports: Vec<Observation>,
    /// Connected datapaths, with their numbers of tables.
    pub switches: BTreeMap<u64, u32>,
}

impl Snapshot {
    /// Takes in one observation; true once the snapshot is whole.
    pub fn take(&mut self, observation: Observation) -> bool {
        match &observation.what {
            Some(observation::What::Attached(attached)) => {
                self.attached.insert(attached.instance.clone());
            }
            Some(observation::What::Resumed(resumed)) => {
                let (app, instance) = (resumed.app.clone(), resumed.instance.clone());
                self.live.insert(app, instance);
            }
            Some(observation::What::InstanceReport(_)) => self.reports.push(observation),
            Some(observation::What::Switch(switch)) => {
                self.switches.insert(switch.dpid, switch.tables);
            }
            Some(observation::What::Synced(synced)) => {
                self.incarnation = synced.incarnation;
                return true;
            }
            Some(
                observation::What::Detached(_)
                | observation::What::HoldExpired(_)
                | observation::What::SessionRefused(_)
                | observation::What::Settled(_),
            )
            | None => {}
        }
        false
    }
}

/// News from the observer of the proxy.
#[derive(Debug)]
pub enum Observed {
    Snapshot(Snapshot),
    /// Something that happened since the snapshot.
    Observation(Observation),
    /// The stream of observations ended.
    Lost,
}

pub(super) fn observed(state: &mut State, observed: Observed) {
    match observed {
        Observed::Snapshot(snapshot) => proxy_is_back(state, snapshot),
        Observed::Observation(observation) => self::observation(state, observation),
        Observed::Lost => {
            tracing::warn!("morph-proxy tells nothing any longer: it has ended, or is about to")
        }
    }
}

/// Takes over who is attached and who is live.
pub(super) fn see(state: &mut State, snapshot: &Snapshot) {
    state.proxy.incarnation = Some(snapshot.incarnation);
    state.proxy.switches = snapshot.switches.clone();
    for (id, instance) in state.instances.iter_mut() {
        instance.attached = snapshot.attached.contains(id);
        instance.live = snapshot.live.get(&instance.app) == Some(id);
    }
}

/// The proxy speaks again: it is the same one, or another without any session.
fn proxy_is_back(state: &mut State, snapshot: Snapshot) {
    let another = state.proxy.incarnation != Some(snapshot.incarnation);
    see(state, &snapshot);
    tracing::info!(
        incarnation = snapshot.incarnation,
        another,
        "morph-proxy speaks"
    );
    configure(state, PipelineChange::Refresh);
    if another {
        let apps: Vec<String> = state.apps.keys().cloned().collect();
        for app in apps {
            state.outbox.member(&app, MemberInput::ProxyLost);
            state.outbox.lifecycle(&app, LifecycleInput::ProxyLost);
        }
    } else {
        catch_up(state, &snapshot);
    }
    for report in snapshot.reports {
        observation(state, report);
    }
    for id in snapshot.attached {
        processes::offer(state, &id);
    }
}

/// Tells the proxy which apps are present.
pub(super) fn configure(state: &mut State, change: PipelineChange) {
    let (serial, apps_confirm) = state.number_configuration();
    let configuration = Configuration {
        serial,
        apps_confirm,
        ..configuration(state)
    };
    let call = Call::Configure(configuration);
    state.outbox.call(call, Purpose::Pipeline(change));
}

/// Looks for ends of sessions that were missed: the proxy is the same.
fn catch_up(state: &mut State, snapshot: &Snapshot) {
    let apps = state.apps.values();
    let running = apps.filter_map(|app| match app.lifecycle.state() {
        LifecycleState::Running { instance } => Some(instance.clone()),
        _ => None,
    });
    let lost: Vec<String> = running
        .filter(|id| !snapshot.attached.contains(id))
        .collect();
    for id in lost {
        processes::session_ended(state, &id, "while the proxy was not observed".into());
    }
}

fn observation(state: &mut State, observation: Observation) {
    match observation.what {
        Some(observation::What::Attached(attached)) => {
            let (app, instance) = (attached.app, attached.instance);
            match state.instances.get_mut(&instance) {
                Some(known) => known.attached = true,
                None => {
                    let pid = attached.pid;
                    tracing::warn!(
                        app,
                        instance,
                        pid,
                        "attached, and was not started by morphd"
                    );
                    return;
                }
            }
            tracing::info!(app, instance, "attached");
            upgrading::instruct_again(state, &app, &instance);
            processes::offer(state, &instance);
        }
        Some(observation::What::Detached(detached)) => {
            processes::session_ended(state, &detached.instance, detached.reason);
        }
        Some(observation::What::InstanceReport(said)) => match Report::decode(said.report) {
            Ok(Report {
                report: Some(report),
            }) => self::report(state, &said.app, &said.instance, report),
            Ok(Report { report: None }) => {}
            Err(error) => {
                let (app, instance) = (said.app, said.instance);
                tracing::warn!(app, instance, %error, "a report of an instance cannot be read");
            }
        },
        Some(observation::What::Settled(settled)) => {
            state.outbox.signal(Signal::Settled(settled.serial));
        }
        Some(observation::What::Switch(switch)) => {
            match switch.up {
                true => state.proxy.switches.insert(switch.dpid, switch.tables),
                false => state.proxy.switches.remove(&switch.dpid),
            };
            let dpid = format!("{:016x}", switch.dpid);
            let (remote, reason) = (switch.remote, switch.reason);
            let word = if switch.up {
                "connected"
            } else {
                "disconnected"
            };
            tracing::info!(dpid, remote, reason, "switch {word}");
        }
        Some(observation::What::HoldExpired(expired)) => {
            hold_expired(state, &expired.app, expired.epoch, &expired.instance);
        }
        Some(observation::What::SessionRefused(refused)) => {
            let (app, instance) = (refused.app, refused.instance);
            session_refused(state, &app, &instance, refused.message);
        }
        Some(observation::What::Resumed(_) | observation::What::Synced(_)) | None => {}
    }
}

/// The proxy refuses an instance for good: it speaks another protocol.
fn session_refused(state: &mut State, app: &str, instance: &str, message: String) {
    tracing::error!(app, instance, "the proxy refuses the instance: {message}");
    if let Some(side) = state.side_of(app, instance) {
        let failed = MemberInput::Failed(side, message.clone());
        state.outbox.member(app, failed);
    }
    if let Some(known) = state.apps.get_mut(app) {
        known.last_end = message;
    }
    let refused = LifecycleInput::Refused(instance.to_owned());
    state.outbox.lifecycle(app, refused);
}

fn hold_expired(state: &mut State, app: &str, epoch: u64, instance: &str) {
    tracing::warn!(
        app,
        epoch,
        instance,
        "a hold lasted too long, and the proxy ended it"
    );
    state.instances.set_live(app, Some(instance));
    if let Some(known) = state.apps.get_mut(app) {
        known.row.epoch = known.row.epoch.max(epoch);
    }
    let side = state.side_of(app, instance);
    state.outbox.member(app, MemberInput::HoldExpired(side));
}

fn report(state: &mut State, app: &str, id: &str, report: report::Report) {
    let side = state.side_of(app, id);
    let target = side == Some(Side::Target);
    let input = match report {
        report::Report::Ready(ready) => {
            if let Some(instance) = state.instances.get_mut(id) {
                instance.ready = true;
                instance.rule_loss = rule_loss::judge(&ready.losses);
                instance.summary = summary(ready.rows, ready.difference.unwrap_or_default());
            }
            return processes::offer(state, id);
        }
        report::Report::Failed(failed) => {
            let message = failed.message;
            tracing::warn!(app, instance = id, message, "an instance cannot go on");
            side.map(|side| MemberInput::Failed(side, message))
        }
        report::Report::Pong(_) => target.then_some(MemberInput::Pong),
        report::Report::Shadow(progress) => {
            let input = shadows::reported(state, app, id, &progress);
            side.map(|_| MemberInput::Shadow(input))
        }
        report::Report::Flushed(_) => side.map(|_| MemberInput::Shadow(ShadowInput::Flushed)),
        report::Report::Rules(rules) => side.map(|side| MemberInput::Rules {
            side,
            counts: counts(rules.difference.unwrap_or_default()),
            last: rules.last,
        }),
        report::Report::Health(health) => {
            let now = state.now();
            let mut has_events = false;
            if let Some(instance) = state.instances.get_mut(id) {
                instance.vanishing = health.vanishing;
                let before = std::mem::replace(&mut instance.events_reported, health.events);
                has_events = health.events > before;
            }
            let faults = StandingFaults {
                rules_left_out: health.rules_left_out,
                rules_disputed: health.rules_disputed,
                alarms_left_out: health.alarms_left_out,
            };
            let known = state.apps.get_mut(app);
            let faults_before = known.and_then(|known| match target {
                true => known.faults,
                false => {
                    if has_events {
                        known.last_events_at = Some(now);
                    }
                    known.faults.replace(faults)
                }
            });
            target.then_some(MemberInput::Health(HealthReport {
                events: health.events,
                errors: health.errors,
                failures: health.failures,
                refused_rules: health.rule_failures,
                faults,
                faults_before,
                unhealthy: Some(health.unhealthy).filter(|why| !why.is_empty()),
            }))
        }
    };
    if let Some(input) = input {
        state.outbox.member(app, input);
    }
}

fn counts(difference: RuleDifference) -> RuleCounts {
    RuleCounts {
        added: difference.added,
        changed: difference.changed,
        removed: difference.removed,
        unchanged: difference.unchanged,
    }
}

fn summary(rows: u64, rules: RuleDifference) -> String {
    let RuleDifference {
        added,
        changed,
        removed,
        unchanged,
    } = rules;
    format!(
        "{rows} rows; rules: {added} to add, {changed} to change, {removed} to remove, {unchanged} unchanged"
    )
}
