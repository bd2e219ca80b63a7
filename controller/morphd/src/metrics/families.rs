//! Metrics that are exported. Dashboards and alerts depend on names and labels, so they are only ever added to.

use std::collections::BTreeMap;
use std::time::SystemTime;

use morph_api::management::{Alarm, Step, UpgradeStatus};
use morph_api::store::StatusReply;
use morph_api::supervisor::{Slot, Switch, SwitchesReply};
use morph_openflow::Dpid;

use super::page::Page;
use super::turn_sizes;
use crate::alarms;
use crate::counts::{BOUNDS, Counts};
use crate::machine::daemon::DaemonView;
use crate::machine::query::AppView;

/// Reports of all sources. Metrics of a source that did not answer in time are left out.
#[derive(Debug, Default)]
pub(super) struct Readings {
    /// Alarms that apps have raised.
    pub(super) alarms: Option<Vec<Alarm>>,
    pub(super) apps: Vec<AppView>,
    pub(super) parts: Vec<DaemonView>,
    pub(super) upgrades: Vec<UpgradeStatus>,
    pub(super) counts: Counts,
    pub(super) slots: Option<Vec<Slot>>,
    pub(super) switches: Option<SwitchesReply>,
    pub(super) store: Option<StatusReply>,
}

impl Readings {
    pub(super) fn page(&self) -> String {
        let mut page = Page::default();
        self.parts(&mut page);
        self.apps(&mut page);
        self.alarms(&mut page);
        self.slots(&mut page);
        self.switches(&mut page);
        self.upgrades(&mut page);
        self.handovers(&mut page);
        self.store(&mut page);
        page.text()
    }

    fn parts(&self, page: &mut Page) {
        page.family("morpheus_build_info", "gauge", "The version of morphd.");
        page.sample(
            "morpheus_build_info",
            &[("version", env!("CARGO_PKG_VERSION"))],
            1,
        );
        let up = "morpheus_part_up";
        page.family(
            up,
            "gauge",
            "1 if a daemon of Morpheus runs and answers, 0 if it hangs or is gone.",
        );
        for part in &self.parts {
            let runs = u8::from(part.state == "running");
            page.sample(up, &[("part", part.name)], runs);
        }
        let restarts = "morpheus_part_restarts_total";
        page.family(
            restarts,
            "counter",
            "Deaths of a daemon since morphd's start.",
        );
        for part in &self.parts {
            page.sample(restarts, &[("part", part.name)], part.restarts);
        }
    }

    fn apps(&self, page: &mut Page) {
        let info = "morpheus_app_info";
        page.family(
            info,
            "gauge",
            "Release and status of an app, as in `morphctl apps`.",
        );
        let present = || self.apps.iter().filter(|app| app.present);
        for app in present() {
            let labels = [
                ("app", app.name.as_str()),
                ("release", &app.release),
                ("status", app.status),
            ];
            page.sample(info, &labels, 1);
        }
        type Of = fn(&AppView) -> u64;
        let figures: [(&str, &str, &str, Of); 5] = [
            (
                "morpheus_app_running",
                "gauge",
                "1 if the app has a live instance.",
                |app| u64::from(matches!(app.status, "running" | "upgrading") && app.pid != 0),
            ),
            ("morpheus_app_epoch", "gauge", "Epoch of the app.", |app| {
                app.epoch
            }),
            (
                "morpheus_app_restarts_total",
                "counter",
                "Restarts of the app after crashes, since morphd's start.",
                |app| app.restarts,
            ),
            (
                "morpheus_events_quarantined",
                "gauge",
                "Poison events in quarantine: each killed the app three times.",
                |app| app.quarantined.count,
            ),
            (
                "morpheus_app_trouble",
                "gauge",
                "1 if a crash loop stopped the app or sent it back to its previous release.",
                |app| u64::from(!app.trouble.text.is_empty()),
            ),
        ];
        for (name, kind, help, of) in figures {
            page.family(name, kind, help);
            for app in present() {
                page.sample(name, &[("app", &app.name)], of(app));
            }
        }
    }

    fn alarms(&self, page: &mut Page) {
        let Some(of_apps) = &self.alarms else {
            return;
        };
        let slots = self.slots.as_deref().unwrap_or_default();
        let switches = self.switches.clone().unwrap_or_default();
        let own = alarms::own(&self.apps, slots, &switches, SystemTime::now());
        let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for alarm in of_apps.iter().chain(&own) {
            *counts.entry((&alarm.app, &alarm.kind)).or_default() += 1;
        }
        let name = "morpheus_alarms";
        page.family(
            name,
            "gauge",
            "Alarms of a kind, as in `morphctl alarms`; without a sample there is none.",
        );
        for ((app, kind), count) in counts {
            page.sample(name, &[("app", app), ("kind", kind)], count);
        }
    }

    fn slots(&self, page: &mut Page) {
        let Some(slots) = &self.slots else {
            return;
        };
        type Of = fn(&Slot) -> u64;
        let figures: [(&str, &str, &str, Of); 11] = [
            (
                "morpheus_slot_held",
                "gauge",
                "1 while the proxy holds the app's events for a hand-over.",
                |s| u64::from(s.held),
            ),
            (
                "morpheus_backlog_events",
                "gauge",
                "Events that the app has not yet applied durably.",
                |s| s.backlog,
            ),
            (
                "morpheus_backlog_bytes",
                "gauge",
                "Size of the events in the backlog, in bytes.",
                |s| s.backlog_bytes,
            ),
            (
                "morpheus_events_total",
                "counter",
                "Events for the app, since the proxy's start.",
                |s| s.events,
            ),
            (
                "morpheus_events_lost_total",
                "counter",
                "Events that were dropped, because they had waited for too long or the backlog was full.",
                |s| s.lost,
            ),
            (
                "morpheus_events_too_old_total",
                "counter",
                "Packet-ins that were dropped because they had waited for too long.",
                |s| s.too_old,
            ),
            (
                "morpheus_events_answered_total",
                "counter",
                "Events that the app has answered, since the proxy's start.",
                |s| s.answered_total,
            ),
            (
                "morpheus_overloaded",
                "gauge",
                "1 if the app lost events within the last seconds.",
                |s| u64::from(s.flood.is_some()),
            ),
            (
                "morpheus_events_replayed_total",
                "counter",
                "Events that were delivered again to another instance.",
                |s| s.replayed,
            ),
            (
                "morpheus_turns_rejected_total",
                "counter",
                "Turns that the proxy rejected.",
                |s| s.rejected,
            ),
            (
                "morpheus_packet_outs_dropped_total",
                "counter",
                "Packet-outs that were dropped because too much waited for their switch.",
                |s| s.packet_outs_dropped,
            ),
        ];
        for (name, kind, help, of) in figures {
            page.family(name, kind, help);
            for slot in slots {
                page.sample(name, &[("app", &slot.app)], of(slot));
            }
        }
        turn_sizes::add(page, slots);
        self.delays(slots, page);
        let commands = "morpheus_commands_total";
        page.family(
            commands,
            "counter",
            "Commands forwarded to switches, since the proxy's start.",
        );
        for slot in slots {
            for (kind, count) in [
                ("flow_mod", slot.flow_mods),
                ("group_mod", slot.group_mods),
                ("meter_mod", slot.meter_mods),
                ("packet_out", slot.packet_outs),
            ] {
                page.sample(commands, &[("app", &slot.app), ("kind", kind)], count);
            }
        }
    }

    fn delays(&self, slots: &[Slot], page: &mut Page) {
        let seconds = |us: u64| us as f64 / 1e6;
        let delay = "morpheus_event_delay_seconds";
        page.family(
            delay,
            "gauge",
            "Time from the arrival of an event to its delivery, over the last five seconds.",
        );
        for slot in slots {
            for (quantile, us) in [("0.5", slot.delay_p50_us), ("0.99", slot.delay_p99_us)] {
                let labels = [("app", slot.app.as_str()), ("quantile", quantile)];
                page.sample(delay, &labels, seconds(us));
            }
        }
        let target = "morpheus_event_delay_target_seconds";
        page.family(
            target,
            "gauge",
            "Time after which a packet-in that waits is dropped; 0: never.",
        );
        for slot in slots {
            let labels = [("app", slot.app.as_str())];
            page.sample(target, &labels, seconds(slot.target_delay_us));
        }
        let flooding = "morpheus_flooding_switch_ratio";
        page.family(
            flooding,
            "gauge",
            "Switch that lost most events of an overloaded app, and its part of the packet-ins that wait.",
        );
        for (slot, flood) in slots.iter().filter_map(|slot| Some((slot, slot.flood?))) {
            let dpid = Dpid(flood.dpid).to_string();
            let labels = [("app", slot.app.as_str()), ("dpid", &dpid)];
            page.sample(flooding, &labels, f64::from(flood.percent) / 100.0);
        }
    }

    fn switches(&self, page: &mut Page) {
        let Some(SwitchesReply { switches, .. }) = &self.switches else {
            return;
        };
        page.family(
            "morpheus_switches_connected",
            "gauge",
            "Number of switches with an OpenFlow channel.",
        );
        page.sample("morpheus_switches_connected", &[], switches.len());
        let info = "morpheus_switch_info";
        page.family(
            info,
            "gauge",
            "OpenFlow wire version and Morpheus's role at the switch, as in `morphctl switches`.",
        );
        for switch in switches {
            let (dpid, version) = (Dpid(switch.dpid).to_string(), switch.version.to_string());
            let labels = [
                ("dpid", dpid.as_str()),
                ("wire_version", &version),
                ("role", &switch.role),
            ];
            page.sample(info, &labels, 1);
        }
        type Of = fn(&Switch) -> f64;
        let figures: [(&str, &str, &str, Of); 5] = [
            (
                "morpheus_switch_connected_seconds",
                "gauge",
                "Time since the switch connected.",
                |s| s.connected_ms as f64 / 1e3,
            ),
            (
                "morpheus_switch_disconnects_total",
                "counter",
                "Disconnects of the switch, since the proxy's start.",
                |s| s.disconnects as f64,
            ),
            (
                "morpheus_switch_messages_in_total",
                "counter",
                "Messages from the switch, on its present channel.",
                |s| s.messages_in as f64,
            ),
            (
                "morpheus_switch_messages_out_total",
                "counter",
                "Messages to the switch, on its present channel.",
                |s| s.messages_out as f64,
            ),
            (
                "morpheus_switch_errors_total",
                "counter",
                "Error messages from the switch, on its present channel.",
                |s| s.errors as f64,
            ),
        ];
        for (name, kind, help, of) in figures {
            page.family(name, kind, help);
            for switch in switches {
                page.sample(
                    name,
                    &[("dpid", &Dpid(switch.dpid).to_string())],
                    of(switch),
                );
            }
        }
    }

    fn upgrades(&self, page: &mut Page) {
        let step = "morpheus_upgrade_step";
        page.family(step, "gauge", "Step of an upgrade in progress.");
        for status in &self.upgrades {
            let ended = matches!(
                status.step(),
                Step::Committed | Step::RolledBack | Step::Unspecified
            );
            if !ended {
                let labels = [
                    ("app", status.app.as_str()),
                    ("from", &status.from),
                    ("to", &status.to),
                    ("step", status.step().as_str_name()),
                ];
                page.sample(step, &labels, 1);
            }
        }
        let upgrades = "morpheus_upgrades_total";
        page.family(
            upgrades,
            "counter",
            "Upgrades that have ended, since morphd's start.",
        );
        for (app, count) in &self.counts.0 {
            page.sample(
                upgrades,
                &[("app", app), ("outcome", "committed")],
                count.committed,
            );
            page.sample(
                upgrades,
                &[("app", app), ("outcome", "rolled_back")],
                count.rolled_back,
            );
        }
        let events = "morpheus_upgrade_events_total";
        page.family(
            events,
            "counter",
            "Events held during hand-overs, and how many of them were replayed, since morphd's start.",
        );
        for (app, count) in &self.counts.0 {
            page.sample(events, &[("app", app), ("kind", "held")], count.held);
            page.sample(
                events,
                &[("app", app), ("kind", "replayed")],
                count.replayed,
            );
        }
    }

    fn handovers(&self, page: &mut Page) {
        let name = "morpheus_handover_seconds";
        page.family(
            name,
            "histogram",
            "Time from the hold of an app's events to the resume with the other instance.",
        );
        for (app, count) in &self.counts.0 {
            let histogram = &count.handovers;
            let mut below = 0;
            for (bound, bucket) in BOUNDS.iter().zip(histogram.buckets) {
                below += bucket;
                let labels = [("app", app.as_str()), ("le", &bound.to_string())];
                page.sample(&format!("{name}_bucket"), &labels, below);
            }
            let all = [("app", app.as_str()), ("le", "+Inf")];
            page.sample(&format!("{name}_bucket"), &all, histogram.count);
            page.sample(&format!("{name}_sum"), &[("app", app)], histogram.sum);
            page.sample(&format!("{name}_count"), &[("app", app)], histogram.count);
        }
    }

    fn store(&self, page: &mut Page) {
        let Some(store) = &self.store else {
            return;
        };
        page.family(
            "morpheus_store_revision",
            "counter",
            "Revision of the last transaction.",
        );
        page.sample("morpheus_store_revision", &[], store.revision);
        let trouble = "morpheus_store_trouble";
        page.family(
            trouble,
            "gauge",
            "1 while the store cannot write, for example because its etcd is unreachable.",
        );
        page.sample(trouble, &[], u8::from(!store.trouble.is_empty()));
        let keys = "morpheus_store_keys";
        page.family(keys, "gauge", "Number of rows in a keyspace.");
        for keyspace in &store.keyspaces {
            let (id, schema) = (keyspace.id.to_string(), keyspace.schema.to_string());
            let role = if keyspace.primary {
                "primary"
            } else {
                "shadow"
            };
            let labels = [
                ("app", keyspace.app.as_str()),
                ("keyspace", &id),
                ("schema", &schema),
                ("role", role),
            ];
            page.sample(keys, &labels, keyspace.keys);
        }
    }
}

#[cfg(test)]
mod tests {
    use morph_api::supervisor::Flood;

    use super::*;

    fn alarm(kind: &str) -> Alarm {
        Alarm {
            app: "router".into(),
            kind: kind.into(),
            ..Alarm::default()
        }
    }

    #[test]
    fn a_histogram_adds_up_and_every_sample_has_its_family() {
        let mut readings = Readings {
            slots: Some(vec![Slot {
                app: "router".into(),
                lost: 3,
                answered_total: 8,
                delay_p99_us: 250_000,
                flood: Some(Flood {
                    dpid: 0x2a,
                    percent: 94,
                    lasts_ms: 0,
                }),
                ..Slot::default()
            }]),
            switches: Some(SwitchesReply {
                switches: vec![Switch {
                    dpid: 0x2a,
                    role: "equal".into(),
                    ..Switch::default()
                }],
                ..SwitchesReply::default()
            }),
            store: Some(StatusReply::default()),
            alarms: Some(vec![alarm("host-limit"), alarm("flap"), alarm("flap")]),
            ..Readings::default()
        };
        for handover_us in [900, 4_000, 60_000_000] {
            readings.counts.ended(&UpgradeStatus {
                app: "router".into(),
                step: Step::Committed.into(),
                handover_us,
                ..UpgradeStatus::default()
            });
        }
        let page = readings.page();
        for line in [
            "morpheus_events_lost_total{app=\"router\"} 3",
            "morpheus_events_answered_total{app=\"router\"} 8",
            "morpheus_overloaded{app=\"router\"} 1",
            "morpheus_alarms{app=\"router\",kind=\"flap\"} 2",
            "morpheus_alarms{app=\"router\",kind=\"host-limit\"} 1",
            "morpheus_alarms{app=\"router\",kind=\"overload\"} 1",
            "morpheus_event_delay_seconds{app=\"router\",quantile=\"0.99\"} 0.25",
            "morpheus_flooding_switch_ratio{app=\"router\",dpid=\"000000000000002a\"} 0.94",
            "morpheus_switch_info{dpid=\"000000000000002a\",wire_version=\"0\",role=\"equal\"} 1",
            "morpheus_handover_seconds_bucket{app=\"router\",le=\"0.001\"} 1",
            "morpheus_handover_seconds_bucket{app=\"router\",le=\"10\"} 2",
            "morpheus_handover_seconds_bucket{app=\"router\",le=\"+Inf\"} 3",
            "morpheus_handover_seconds_count{app=\"router\"} 3",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}:\n{page}");
        }
        let mut family = "";
        for line in page.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(of) => family = of.split(' ').next().unwrap(),
                None => assert!(line.starts_with('#') || line.starts_with(family), "{line}"),
            }
        }
    }

    #[test]
    fn a_source_that_did_not_answer_has_no_metrics() {
        let page = Readings::default().page();
        assert!(
            page.contains("morpheus_build_info") && !page.contains("morpheus_switches_connected")
        );
    }
}
