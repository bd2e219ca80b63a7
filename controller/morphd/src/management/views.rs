//! Messages of the management API, made of what the proxy and the supervisor report.

use std::collections::BTreeMap;

use morph_api::cookie::Cookie;
use morph_api::management::{
    App, CleanedRules, Flow, Part, PipelineApp, PipelineReply, Port, Switch,
};
use morph_api::supervisor;
use morph_openflow::Dpid;

use crate::machine::daemon::DaemonView;
use crate::machine::pipeline::Phase;
use crate::machine::query::{AppView, PipelineView};

/// `OFPPC_PORT_DOWN` (OpenFlow 1.3.5, section 7.2.1).
const PORT_DOWN: u32 = 1;
/// `OFPPS_LINK_DOWN` (same section).
const LINK_DOWN: u32 = 1;
/// `OFPPS_BLOCKED` (same section).
const BLOCKED: u32 = 2;

pub(super) fn app(view: AppView, slot: Option<&supervisor::Slot>) -> App {
    let slot = slot.cloned().unwrap_or_default();
    let flood = slot.flood.unwrap_or_default();
    App {
        name: view.name,
        id: u32::from(view.id),
        release: view.release,
        status: view.status.to_owned(),
        epoch: view.epoch,
        pid: view.pid,
        backlog: slot.backlog,
        rate: slot.rate,
        restarts: view.restarts,
        lost: slot.lost,
        events: slot.events,
        flow_mods: slot.flow_mods,
        group_mods: slot.group_mods,
        meter_mods: slot.meter_mods,
        packet_outs: slot.packet_outs,
        packet_outs_dropped: slot.packet_outs_dropped,
        instance: view.instance,
        quarantined: view.quarantined.count,
        trouble: view.trouble.text,
        answered: slot.answered_total,
        too_old: slot.too_old,
        delay_p50_us: slot.delay_p50_us,
        delay_p99_us: slot.delay_p99_us,
        target_delay_us: slot.target_delay_us,
        flooding: slot
            .flood
            .map_or_else(String::new, |_| Dpid(flood.dpid).to_string()),
        flooding_percent: flood.percent,
    }
}

pub(super) fn switch(switch: supervisor::Switch) -> Switch {
    Switch {
        dpid: Dpid(switch.dpid).to_string(),
        remote: switch.remote,
        openflow: version(switch.version),
        tables: switch.tables,
        ports: switch.ports,
        manufacturer: switch.manufacturer,
        software: switch.software,
        description: switch.description,
        connected_ms: switch.connected_ms,
        disconnects: switch.disconnects,
        messages_in: switch.messages_in,
        messages_out: switch.messages_out,
        errors: switch.errors,
        role: switch.role,
        refuses: switch.refuses,
    }
}

/// Name of a wire version: 1 is OpenFlow 1.0, and 4 is 1.3.
fn version(wire: u32) -> String {
    match wire.checked_sub(1) {
        Some(minor) => format!("1.{minor}"),
        None => "?".into(),
    }
}

pub(super) fn port(row: supervisor::PortRow) -> Port {
    let port = row.port.unwrap_or_default();
    let state = if port.config & PORT_DOWN != 0 || port.state & LINK_DOWN != 0 {
        "down"
    } else if port.state & BLOCKED != 0 {
        "blocked"
    } else {
        "up"
    };
    let octets: Vec<String> = port
        .hw_addr
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect();
    Port {
        number: port.number,
        name: port.name,
        hw_addr: octets.join(":"),
        state: state.to_owned(),
        rx_packets: row.rx_packets,
        tx_packets: row.tx_packets,
        rx_bytes: row.rx_bytes,
        tx_bytes: row.tx_bytes,
        rx_dropped: row.rx_dropped,
        tx_dropped: row.tx_dropped,
        rx_errors: row.rx_errors,
        tx_errors: row.tx_errors,
    }
}

pub(super) fn part(view: DaemonView) -> Part {
    Part {
        name: view.name.to_owned(),
        pid: view.pid,
        state: view.state.to_owned(),
        restarts: view.restarts,
    }
}

/// Tells whether this names an owner of rules that is not an installed app.
pub(super) fn is_other_owner(name: &str) -> bool {
    name == "foreign" || name == morph_api::RECORDS || name.starts_with("app ")
}

/// Deleted rules of one app, and whether a running instance will install them again.
pub(super) fn cleaned(rules: &supervisor::CleanedApp, apps: &[AppView]) -> CleanedRules {
    let known = apps.iter().find(|app| u32::from(app.id) == rules.id);
    CleanedRules {
        app: match (rules.id, known) {
            (0, _) => morph_api::RECORDS.to_owned(),
            (_, Some(app)) => app.name.clone(),
            (id, None) => format!("app {id}"),
        },
        rules: rules.rules,
        comes_back: rules.id == 0 || known.is_some_and(|app| app.present && app.pid != 0),
    }
}

/// A rule with the name of the app that its cookie belongs to.
pub(super) fn flow(flow: supervisor::Flow, names: &BTreeMap<u8, String>) -> Flow {
    let (app, epoch) = match Cookie::from_u64(flow.cookie) {
        None => ("foreign".to_owned(), 0),
        Some(Cookie { app: 0, epoch, .. }) => (morph_api::RECORDS.to_owned(), u32::from(epoch)),
        Some(Cookie { app, epoch, .. }) => {
            let name = names.get(&app).cloned();
            (
                name.unwrap_or_else(|| format!("app {app}")),
                u32::from(epoch),
            )
        }
    };
    Flow {
        app,
        table: flow.table,
        priority: flow.priority,
        cookie: format!("{:#018x}", flow.cookie),
        r#match: flow.r#match,
        instructions: flow.instructions,
        idle_timeout: flow.idle_timeout,
        hard_timeout: flow.hard_timeout,
        packets: flow.packets,
        bytes: flow.bytes,
        duration_s: f64::from(flow.duration_sec) + f64::from(flow.duration_nsec) / 1e9,
        epoch,
    }
}

/// Order of the apps, and their tables.
pub(super) fn pipeline(view: PipelineView) -> PipelineReply {
    let apps = view.apps.into_iter().map(|app| PipelineApp {
        app: app.name,
        first_table: app.range.first.into(),
        tables: app.range.count.into(),
        exit_table: app.range.exit().into(),
        needs: app.needs,
        second_table: app.range.second.map_or(0, u32::from),
        after: app.after,
    });
    let phase = view.phase.map(|phase| match phase {
        Phase::Copying => "copying",
        Phase::Flipping => "flipping",
        Phase::Deleting => "deleting",
        Phase::Bypassing => "bypassing",
    });
    let (dpid, tables) = view.smallest.unwrap_or_default();
    PipelineReply {
        apps: apps.collect(),
        phase: phase.unwrap_or_default().to_owned(),
        smallest_dpid: if tables == 0 {
            String::new()
        } else {
            Dpid(dpid).to_string()
        },
        smallest_tables: tables,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_named_by_their_cookies() {
        let names = BTreeMap::from([(3, "router".to_owned())]);
        let of = |app, epoch| Cookie { app, epoch, own: 1 }.to_u64();
        for (cookie, app, epoch) in [
            (of(3, 7), "router", 7),
            (of(0, 0), "morpheus", 0),
            (of(9, 1), "app 9", 1),
            (0, "foreign", 0),
            (u64::MAX, "foreign", 0),
        ] {
            let shown = flow(
                supervisor::Flow {
                    cookie,
                    ..Default::default()
                },
                &names,
            );
            assert_eq!((shown.app.as_str(), shown.epoch), (app, epoch));
        }
        let shown = flow(
            supervisor::Flow {
                cookie: of(3, 7),
                ..Default::default()
            },
            &names,
        );
        assert_eq!(shown.cookie, "0x4d03000700000001");
    }

    #[test]
    fn a_port_is_up_down_or_blocked() {
        let state = |config, state| {
            let port = morph_api::session::Port {
                config,
                state,
                hw_addr: vec![1, 2].into(),
                ..Default::default()
            };
            port_state(port)
        };
        fn port_state(inner: morph_api::session::Port) -> String {
            port(supervisor::PortRow {
                port: Some(inner),
                ..Default::default()
            })
            .state
        }
        assert_eq!(
            [state(0, 4), state(1, 4), state(0, 1), state(0, 2)],
            ["up", "down", "down", "blocked"]
        );
        assert_eq!(version(4), "1.3");
    }
}
