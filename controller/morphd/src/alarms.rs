//! Alarms: conditions that last until something is done about them. Apps raise theirs in their state; Morpheus's own follow from
//! what morphd and the proxy know.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use morph_api::alarm::{AlarmRow, TABLE};
use morph_api::management::Alarm;
use morph_api::store::RowValue;
use morph_api::supervisor::{RefusedSwitch, Slot, Switch, SwitchesReply};
use morph_openflow::Dpid;
use morph_store::{Client, Unavailable};

use crate::machine::query::AppView;

/// Reads what the present apps have raised. Alarms of a removed app wait in its state.
pub async fn of_apps(store: &Client, apps: &[AppView]) -> Result<Vec<Alarm>, Unavailable> {
    let mut alarms = Vec::new();
    for app in apps.iter().filter(|app| app.present) {
        let rows = store.list(&app.name, TABLE, "").await?;
        alarms.extend(rows.iter().filter_map(|row| of_row(&app.name, row)));
    }
    Ok(alarms)
}

/// Reads the row of an alarm; `None` if it is malformed.
fn of_row(app: &str, row: &RowValue) -> Option<Alarm> {
    let row: AlarmRow = serde_json::from_str(row.value.as_deref()?).ok()?;
    Some(Alarm {
        app: app.to_owned(),
        kind: row.kind,
        dpid: row.switch.unwrap_or_default(),
        port: row.port.unwrap_or_default(),
        host: row.host.unwrap_or_default(),
        text: row.text,
        mend: row.mend,
        since_unix_ms: row.since,
    })
}

/// Lists Morpheus's own alarms.
pub fn own(
    apps: &[AppView],
    slots: &[Slot],
    switches: &SwitchesReply,
    now: SystemTime,
) -> Vec<Alarm> {
    let present = apps.iter().filter(|app| app.present);
    let of_apps = present
        .clone()
        .flat_map(|app| [crash_loop(app), quarantine(app), untested(app)]);
    let overloads = slots.iter().map(|slot| overload(slot, now));
    let slaves = switches.switches.iter().map(slave);
    let few = switches
        .refused
        .iter()
        .map(|refused| few_tables(refused, now));
    let singles = of_apps.chain(overloads).chain(slaves).flatten();
    let of_apps = present.flat_map(|app| app.warnings.vanishing.iter().map(|at| (&*app.name, at)));
    let of_apps = of_apps.map(|(name, at)| vanishing(name, at.dpid, at.lasts_ms, now));
    let of_pipeline = switches.switches.iter().filter_map(|switch| {
        let lasts_ms = switch.vanishing_ms?;
        Some(vanishing(morph_api::RECORDS, switch.dpid, lasts_ms, now))
    });
    let vanishing = of_apps.chain(of_pipeline);
    singles.chain(few).chain(vanishing).collect()
}

fn crash_loop(app: &AppView) -> Option<Alarm> {
    let name = &app.name;
    (!app.trouble.text.is_empty()).then(|| Alarm {
        app: name.clone(),
        kind: "crash-loop".into(),
        text: app.trouble.text.clone(),
        mend: format!(
            "see `morphctl logs app={name}`; upgrade to a release that works, or start this one again"
        ),
        since_unix_ms: app.trouble.since_unix_ms,
        ..Alarm::default()
    })
}

fn untested(app: &AppView) -> Option<Alarm> {
    let name = &app.name;
    app.warnings.untested.as_ref().map(|trouble| Alarm {
        app: name.clone(),
        kind: "untested".into(),
        text: trouble.text.clone(),
        mend: format!(
            "have it handle events, for example by new traffic, and see `morphctl apps`; or go back with `morphctl upgrade app={name}@VERSION`"
        ),
        since_unix_ms: trouble.since_unix_ms,
        ..Alarm::default()
    })
}

fn quarantine(app: &AppView) -> Option<Alarm> {
    let (name, events) = (&app.name, app.quarantined);
    (events.count != 0).then(|| Alarm {
        app: name.clone(),
        kind: "quarantine".into(),
        text: format!("events that killed it are in quarantine: {}", events.count),
        mend: format!(
            "see `morphctl events quarantined app={name}`; retry each after an upgrade, or drop it"
        ),
        since_unix_ms: events.since_unix_ms,
        ..Alarm::default()
    })
}

fn overload(slot: &Slot, now: SystemTime) -> Option<Alarm> {
    let flood = slot.flood?;
    // A proxy of an older version does not tell how long it lasts.
    let lasts = Some(flood.lasts_ms).filter(|ms| *ms != 0);
    Some(Alarm {
        app: slot.app.clone(),
        kind: "overload".into(),
        dpid: Dpid(flood.dpid).to_string(),
        text: "it gets more events than it answers, and some are dropped, most of this switch"
            .into(),
        mend: "find what floods the switch: see `morphctl apps` and `morphctl ports`".into(),
        since_unix_ms: lasts.map_or(0, |ms| began(ms, now)),
        ..Alarm::default()
    })
}

fn vanishing(app: &str, dpid: u64, lasts_ms: u64, now: SystemTime) -> Alarm {
    Alarm {
        app: app.to_owned(),
        kind: "vanishing-rules".into(),
        dpid: Dpid(dpid).to_string(),
        text: "rules vanish or change there again and again, without Morpheus, and are mended each time"
            .into(),
        mend: morph_api::verification::MEND.into(),
        since_unix_ms: began(lasts_ms, now),
        ..Alarm::default()
    }
}

/// Time in milliseconds at which something began that lasts so long.
fn began(lasts_ms: u64, now: SystemTime) -> u64 {
    let began = now.checked_sub(Duration::from_millis(lasts_ms));
    let began = began.and_then(|began| began.duration_since(UNIX_EPOCH).ok());
    began.map_or(0, |began| began.as_millis() as u64)
}

fn few_tables(refused: &RefusedSwitch, now: SystemTime) -> Alarm {
    let RefusedSwitch { remote, reason, .. } = refused;
    Alarm {
        app: morph_api::RECORDS.into(),
        kind: "few-tables".into(),
        dpid: Dpid(refused.dpid).to_string(),
        text: format!("the switch at {remote} is refused: it {reason}"),
        mend: "remove an app (`morphctl app remove`), or use a switch with more tables; one that speaks OpenFlow 1.0 has more where \
               its bridge has protocols=OpenFlow13"
            .into(),
        since_unix_ms: began(refused.lasts_ms, now),
        ..Alarm::default()
    }
}

fn slave(switch: &Switch) -> Option<Alarm> {
    (switch.role == "slave").then(|| Alarm {
        app: morph_api::RECORDS.into(),
        kind: "slave".into(),
        dpid: Dpid(switch.dpid).to_string(),
        text: "Morpheus has the role of slave: it writes nothing there, and apps do not see the switch".into(),
        mend: "take the role of master from the other controller, or start morphd with --role master"
            .into(),
        ..Alarm::default()
    })
}

/// Sorts by app, kind and time.
pub fn sort(alarms: &mut [Alarm]) {
    alarms.sort_by(|a, b| {
        let key = |alarm: &Alarm| (alarm.app.clone(), alarm.kind.clone(), alarm.since_unix_ms);
        key(a).cmp(&key(b))
    });
}

#[cfg(test)]
mod tests {
    use morph_api::supervisor::{Flood, Vanishing};

    use super::*;
    use crate::machine::query::{QuarantinedEvents, Trouble, Warnings};

    fn app(name: &str) -> AppView {
        AppView {
            name: name.into(),
            id: 3,
            release: "1.0.0".into(),
            status: "running",
            epoch: 1,
            pid: 7,
            instance: "1".into(),
            restarts: 0,
            present: true,
            quarantined: QuarantinedEvents::default(),
            trouble: Trouble::default(),
            warnings: Warnings::default(),
        }
    }

    #[test]
    fn each_condition_of_morpheus_is_an_alarm_while_it_lasts() {
        let slot = |app: &str, flood| Slot {
            app: app.into(),
            flood,
            ..Slot::default()
        };
        let switch = |dpid, role: &str| Switch {
            dpid,
            role: role.into(),
            ..Switch::default()
        };
        let now = UNIX_EPOCH + Duration::from_secs(100);
        let reply = |switch| SwitchesReply {
            switches: vec![switch],
            refused: Vec::new(),
        };
        let equal = reply(switch(1, "equal"));
        let well = own(&[app("a")], &[slot("a", None)], &equal, now);
        assert_eq!(well, []);
        let ill = AppView {
            quarantined: QuarantinedEvents {
                count: 2,
                since_unix_ms: 7,
            },
            trouble: Trouble {
                text: "2.0.0 kept dying".into(),
                since_unix_ms: 9,
            },
            warnings: Warnings {
                untested: None,
                vanishing: vec![Vanishing {
                    dpid: 0x2b,
                    lasts_ms: 2500,
                }],
            },
            ..app("b")
        };
        let removed = AppView {
            present: false,
            ..ill.clone()
        };
        let flood = Flood {
            dpid: 0x2a,
            percent: 90,
            lasts_ms: 1500,
        };
        let slots = [slot("a", Some(flood))];
        let fought = Switch {
            vanishing_ms: Some(500),
            ..switch(2, "equal")
        };
        let mut switches = reply(switch(1, "slave"));
        switches.refused.push(RefusedSwitch {
            dpid: 2,
            remote: "10.0.0.2:1".into(),
            reason: "has 2 tables".into(),
            lasts_ms: 3000,
        });
        switches.switches.push(fought);
        let mut found = own(&[ill, removed], &slots, &switches, now);
        sort(&mut found);
        let found: Vec<_> = found
            .iter()
            .map(|alarm| (&*alarm.app, &*alarm.kind, &*alarm.dpid, alarm.since_unix_ms))
            .collect();
        assert_eq!(
            found,
            [
                ("a", "overload", "000000000000002a", 98_500),
                ("b", "crash-loop", "", 9),
                ("b", "quarantine", "", 7),
                ("b", "vanishing-rules", "000000000000002b", 97_500),
                ("morpheus", "few-tables", "0000000000000002", 97_000),
                ("morpheus", "slave", "0000000000000001", 0),
                ("morpheus", "vanishing-rules", "0000000000000002", 99_500),
            ]
        );
    }

    #[test]
    fn a_row_is_read_and_a_malformed_one_is_left_out() {
        let row = |value: &str| RowValue {
            value: Some(value.into()),
            ..RowValue::default()
        };
        let text = r#"{"kind":"k","switch":"01","port":3,"text":"t","mend":"m","since":5,"new":1}"#;
        let alarm = of_row("a", &row(text)).unwrap();
        assert_eq!((&*alarm.dpid, alarm.port, &*alarm.host), ("01", 3, ""));
        assert_eq!((alarm.since_unix_ms, &*alarm.mend), (5, "m"));
        assert_eq!(of_row("a", &row("{}")), None);
    }
}
