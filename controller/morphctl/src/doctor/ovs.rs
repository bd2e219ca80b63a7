//! The bridges of Open vSwitch on this machine: the settings of each, and whether it is connected.

use std::collections::BTreeMap;

use super::finding::{Finding, Severity};
use super::morphd::Snapshot;
use super::ovsdb::{self, Row, TableError};
use super::port::DEFAULT_PORTS;

/// Makes the checks; `ports` are those that Morpheus listens on, or is to listen on.
pub(super) async fn check(
    db: Option<&str>,
    ports: &[u16],
    snapshot: &Snapshot,
    findings: &mut Vec<Finding>,
) {
    let tables = async {
        let bridges = ovsdb::list(db, "Bridge").await?;
        let controllers = ovsdb::list(db, "Controller").await?;
        let managers = ovsdb::list(db, "Manager").await?;
        Ok((bridges, controllers, managers))
    };
    match tables.await {
        Ok((bridges, controllers, managers)) => {
            let tables = Tables {
                bridges,
                controllers,
                managers,
            };
            findings.extend(tables.check(ports, snapshot));
        }
        Err(TableError::NotInstalled) => {
            let text = "Open vSwitch is not installed here: only switches elsewhere can attach";
            findings.push(Finding::ok("ovs", text));
        }
        Err(TableError::Failed(reason)) => {
            let text = format!("cannot read the database of Open vSwitch: {reason}");
            let fix = "start it with `systemctl start openvswitch-switch`, or name its database with --ovs-db";
            findings.push(Finding::problem("ovs", Severity::Warning, text, fix));
        }
    }
}

#[derive(Debug, Default)]
struct Tables {
    bridges: Vec<Row>,
    controllers: Vec<Row>,
    managers: Vec<Row>,
}

impl Tables {
    fn check(&self, ports: &[u16], snapshot: &Snapshot) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.bridges.is_empty() {
            findings.push(Finding::ok("ovs", "Open vSwitch runs, and has no bridge"));
        }
        for manager in &self.managers {
            let target = manager.text("target");
            let text = format!("the manager {target} may set other controllers on the bridges");
            let fix = "if that is not wanted: `ovs-vsctl del-manager`";
            findings.push(Finding::problem(
                "ovs manager",
                Severity::Warning,
                text,
                fix,
            ));
        }
        findings.extend(self.duplicate_ids());
        for bridge in &self.bridges {
            findings.extend(self.check_bridge(bridge, ports, snapshot));
        }
        findings
    }

    /// Finds bridges with the same datapath id, of which only one can attach.
    fn duplicate_ids(&self) -> Vec<Finding> {
        let mut by_id: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for bridge in &self.bridges {
            let names = by_id.entry(bridge.text("datapath_id")).or_default();
            names.push(bridge.text("name"));
        }
        let duplicates = by_id
            .iter()
            .filter(|(id, names)| !id.is_empty() && names.len() > 1);
        let finding = |(id, names): (&String, &Vec<String>)| {
            let fix = format!(
                "`ovs-vsctl set bridge {} other_config:datapath-id=`, followed by 16 other hex digits",
                names[1]
            );
            let text = format!("{} have the same datapath id {id}", names.join(" and "));
            Finding::problem("datapath ids", Severity::Trouble, text, fix)
        };
        duplicates.map(finding).collect()
    }

    fn check_bridge(&self, bridge: &Row, ports: &[u16], snapshot: &Snapshot) -> Vec<Finding> {
        let name = bridge.text("name");
        let check = format!("bridge {name}");
        let problem = |severity, text: String, fix: String| {
            Finding::problem(check.clone(), severity, text, fix)
        };
        let set_controller = format!(
            "`ovs-vsctl set-controller {name} tcp:127.0.0.1:{}`",
            ports.first().unwrap_or(&DEFAULT_PORTS[0])
        );
        let ids = bridge.list("controller");
        let controllers: Vec<&Row> = self
            .controllers
            .iter()
            .filter(|row| ids.contains(&row.text("_uuid")))
            .collect();
        if controllers.is_empty() {
            let text = "has no controller".into();
            return vec![problem(Severity::Warning, text, set_controller)];
        }
        let ours: Vec<&&Row> = controllers
            .iter()
            .filter(|row| leads_to(&row.text("target"), ports))
            .collect();
        if ours.is_empty() {
            let targets = controllers.iter().map(|row| row.text("target"));
            let targets: Vec<String> = targets.collect();
            let text = format!(
                "its controller is {}, where Morpheus does not listen",
                targets.join(", ")
            );
            let fix = format!("if it is to attach here: {set_controller}");
            return vec![problem(Severity::Warning, text, fix)];
        }
        let mut findings = Vec::new();
        findings.extend(wrong_protocols(bridge, snapshot).map(|text| {
            let fix = format!("`ovs-vsctl set bridge {name} protocols=OpenFlow13`");
            problem(Severity::Trouble, text, fix)
        }));
        for row in &ours {
            findings.extend(check_channel(bridge, row, &check, snapshot));
        }
        if bridge.text("fail_mode") != "secure" {
            let text = "fail_mode is standalone: after 15 s without a controller it forwards by itself, as a learning switch";
            let fix = format!("`ovs-vsctl set-fail-mode {name} secure`");
            findings.push(problem(Severity::Warning, text.into(), fix));
        }
        if findings.is_empty() {
            let roles: Vec<String> = ours.iter().map(|row| row.text("role")).collect();
            let text = match snapshot.morphd_runs() {
                true => format!("is connected (role {})", roles.join(", ")),
                false => "its settings are correct".into(),
            };
            findings.push(Finding::ok(check.clone(), text));
        }
        findings
    }
}

/// Checks that the channel is up, if morphd runs.
fn check_channel(bridge: &Row, row: &Row, check: &str, snapshot: &Snapshot) -> Option<Finding> {
    if !snapshot.morphd_runs() || row.is("is_connected") {
        return None;
    }
    let target = row.text("target");
    let id = bridge.text("datapath_id");
    let twin = snapshot.switches.iter().find(|switch| switch.dpid == id);
    let (text, fix) = match twin {
        Some(twin) => (
            format!(
                "is not connected to {target}, because a switch with its datapath id {id} is connected from {}",
                twin.remote
            ),
            "give one of the two another datapath id",
        ),
        None => {
            let error = row.entry("status", "last_error");
            let error = error.map_or_else(String::new, |error| format!(": {error}"));
            (
                format!("is not connected to {target}{error}"),
                "wait 8 s for its next attempt; then see `morphctl logs app=morph-proxy`",
            )
        }
    };
    Some(Finding::problem(check, Severity::Trouble, text, fix))
}

/// Describes a problem with the OpenFlow versions that a bridge may speak. A bridge without a setting speaks all.
fn wrong_protocols(bridge: &Row, snapshot: &Snapshot) -> Option<String> {
    let spoken = bridge.list("protocols");
    let speaks = |version: &str| spoken.is_empty() || spoken.iter().any(|p| p == version);
    if speaks("OpenFlow13") {
        return None;
    }
    if !speaks("OpenFlow10") {
        return Some(format!(
            "speaks {} only, and Morpheus speaks OpenFlow13 and OpenFlow10",
            spoken.join(", ")
        ));
    }
    let names: Vec<&str> = snapshot.apps.iter().map(|app| app.name.as_str()).collect();
    (names.len() > 1).then(|| {
        format!(
            "speaks OpenFlow10 only, whose single table has room for one app, but several are present: {}",
            names.join(", ")
        )
    })
}

/// Tells whether a controller's target (`tcp:HOST[:PORT]`) has a port of Morpheus.
fn leads_to(target: &str, ports: &[u16]) -> bool {
    let Some(rest) = target.strip_prefix("tcp:") else {
        return false;
    };
    let port = match rest.rsplit_once(':') {
        // A colon within an IPv6 address does not begin a port.
        Some((_, port)) if !port.contains(']') => port.parse().ok(),
        Some(_) | None => Some(DEFAULT_PORTS[0]),
    };
    port.is_some_and(|port| ports.contains(&port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<Row> {
        ovsdb::read(text).unwrap()
    }

    /// Makes tables from bridges (name, id, fail mode, protocols, controller) and controllers (id, target, connected or not).
    fn tables(
        bridges: &[(&str, &str, &str, &str, &str)],
        controllers: &[(&str, &str, bool)],
    ) -> Tables {
        let bridge = |(name, id, fail, protocols, controller): &(&str, &str, &str, &str, &str)| {
            let set = |text: &str| {
                let quoted: Vec<String> =
                    text.split_whitespace().map(|w| format!("{w:?}")).collect();
                format!("[\"set\", [{}]]", quoted.join(","))
            };
            format!(
                "[{name:?}, {id:?}, {}, {}, {}]",
                set(fail),
                set(protocols),
                set(controller)
            )
        };
        let bridges: Vec<String> = bridges.iter().map(bridge).collect();
        let headings = r#"["name", "datapath_id", "fail_mode", "protocols", "controller"]"#;
        let bridges = rows(&format!(
            "{{\"headings\": {headings}, \"data\": [{}]}}",
            bridges.join(",")
        ));
        let controller = |(id, target, up): &(&str, &str, bool)| {
            format!(
                "[[\"uuid\", {id:?}], {target:?}, {up}, \"other\", [\"map\", [[\"last_error\", \"Connection refused\"]]]]"
            )
        };
        let controllers: Vec<String> = controllers.iter().map(controller).collect();
        let headings = r#"["_uuid", "target", "is_connected", "role", "status"]"#;
        let controllers = rows(&format!(
            "{{\"headings\": {headings}, \"data\": [{}]}}",
            controllers.join(",")
        ));
        Tables {
            bridges,
            controllers,
            managers: Vec::new(),
        }
    }

    #[test]
    fn each_wrong_setting_of_a_bridge_is_found_with_its_fix() {
        let here = [("c", "tcp:127.0.0.1:6653", false)];
        for (bridge, controllers, severity, text) in [
            (
                ("b", "01", "secure", "", "c"),
                &here[..],
                Severity::Ok,
                "settings are correct",
            ),
            (
                ("b", "01", "", "", "c"),
                &here,
                Severity::Warning,
                "fail_mode is standalone",
            ),
            (
                ("b", "01", "secure", "OpenFlow11", "c"),
                &here,
                Severity::Trouble,
                "speaks OpenFlow11 only",
            ),
            (
                ("b", "01", "secure", "OpenFlow10", "c"),
                &here,
                Severity::Ok,
                "settings are correct",
            ),
            (
                ("b", "01", "secure", "", ""),
                &here,
                Severity::Warning,
                "has no controller",
            ),
            (
                ("b", "01", "secure", "", "c"),
                &[("c", "tcp:10.0.0.9:6640", true)],
                Severity::Warning,
                "does not listen",
            ),
            (
                ("b", "01", "secure", "", "c"),
                &[("c", "ssl:127.0.0.1:6653", true)],
                Severity::Warning,
                "does not listen",
            ),
        ] {
            let found = tables(&[bridge], controllers).check(&[6653], &Snapshot::default());
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(
                found[0].text.contains(text) && found[0].severity == severity,
                "{found:?}"
            );
            let has_fix = found[0].fix.contains("ovs-vsctl") || severity == Severity::Ok;
            assert!(has_fix, "{found:?}");
        }
    }

    #[test]
    fn bridges_with_the_same_datapath_id_are_trouble() {
        let bridges = [
            ("a", "01", "secure", "", "c"),
            ("b", "01", "secure", "", "c"),
        ];
        let found =
            tables(&bridges, &[("c", "tcp:127.0.0.1", true)]).check(&[6653], &Snapshot::default());
        assert!(
            found[0]
                .text
                .contains("a and b have the same datapath id 01"),
            "{found:?}"
        );
        assert_eq!(found[0].severity, Severity::Trouble);
    }

    #[test]
    fn a_target_leads_here_if_its_port_does() {
        for (target, here) in [
            ("tcp:127.0.0.1:6653", true),
            ("tcp:127.0.0.1", true),
            ("tcp:[::1]:6653", true),
            ("tcp:[::1]", true),
            ("tcp:127.0.0.1:6654", false),
            ("ptcp:6653", false),
            ("unix:/x", false),
        ] {
            assert_eq!(leads_to(target, &[6653]), here, "{target}");
        }
    }
}
