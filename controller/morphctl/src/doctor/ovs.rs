//! The bridges of Open vSwitch on this machine: how each is set, and whether it is there.

use std::collections::BTreeMap;

use super::morphd::Seen;
use super::ovsdb::{self, Row, Unread};
use super::{Finding, PORTS, State};

/// `ports`: where Morpheus listens, or is to.
pub(super) async fn look(db: Option<&str>, ports: &[u16], seen: &Seen, found: &mut Vec<Finding>) {
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
            found.extend(tables.judge(ports, seen));
        }
        Err(Unread::NotInstalled) => {
            let said = "Open vSwitch is not installed here: only switches elsewhere can attach";
            found.push(Finding::ok("ovs", said));
        }
        Err(Unread::Failed(why)) => {
            let mend = "start it: `systemctl start openvswitch-switch`, or name its database with --ovs-db";
            found.push(Finding::bad("ovs", State::Warning, why, mend));
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
    fn judge(&self, ports: &[u16], seen: &Seen) -> Vec<Finding> {
        let mut found = Vec::new();
        if self.bridges.is_empty() {
            found.push(Finding::ok("ovs", "Open vSwitch runs, and has no bridge"));
        }
        for manager in &self.managers {
            let target = manager.text("target");
            let said = format!("the manager {target} may set other controllers on the bridges");
            let mend = "where that is not wanted: `ovs-vsctl del-manager`";
            found.push(Finding::bad("ovs manager", State::Warning, said, mend));
        }
        found.extend(self.clashes());
        for bridge in &self.bridges {
            found.extend(self.bridge(bridge, ports, seen));
        }
        found
    }

    /// Two bridges with one datapath id: only one of them can attach.
    fn clashes(&self) -> Vec<Finding> {
        let mut by_id: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for bridge in &self.bridges {
            let names = by_id.entry(bridge.text("datapath_id")).or_default();
            names.push(bridge.text("name"));
        }
        let clashes = by_id
            .iter()
            .filter(|(id, names)| !id.is_empty() && names.len() > 1);
        let finding = |(id, names): (&String, &Vec<String>)| {
            let mend = format!(
                "`ovs-vsctl set bridge {} other_config:datapath-id=` and 16 other hex digits",
                names[1]
            );
            let said = format!("{} have the same datapath id {id}", names.join(" and "));
            Finding::bad("datapath ids", State::Trouble, said, mend)
        };
        clashes.map(finding).collect()
    }

    fn bridge(&self, bridge: &Row, ports: &[u16], seen: &Seen) -> Vec<Finding> {
        let name = bridge.text("name");
        let check = format!("bridge {name}");
        let bad =
            |state, said: String, mend: String| Finding::bad(check.clone(), state, said, mend);
        let set = format!(
            "`ovs-vsctl set-controller {name} tcp:127.0.0.1:{}`",
            ports.first().unwrap_or(&PORTS[0])
        );
        let ids = bridge.list("controller");
        let its: Vec<&Row> = self
            .controllers
            .iter()
            .filter(|row| ids.contains(&row.text("_uuid")))
            .collect();
        if its.is_empty() {
            return vec![bad(State::Warning, "has no controller".into(), set)];
        }
        let ours: Vec<&&Row> = its
            .iter()
            .filter(|row| leads_to(&row.text("target"), ports))
            .collect();
        if ours.is_empty() {
            let targets: Vec<String> = its.iter().map(|row| row.text("target")).collect();
            let said = format!(
                "its controller is {}, where Morpheus does not listen",
                targets.join(", ")
            );
            return vec![bad(
                State::Warning,
                said,
                format!("if it is to attach here: {set}"),
            )];
        }
        let mut found = Vec::new();
        found.extend(protocols(bridge, seen).map(|said| {
            bad(
                State::Trouble,
                said,
                format!("`ovs-vsctl set bridge {name} protocols=OpenFlow13`"),
            )
        }));
        for row in &ours {
            found.extend(self.channel(bridge, row, &check, seen));
        }
        if bridge.text("fail_mode") != "secure" {
            let said = "fail_mode is standalone: without a controller for 15 s it becomes a learning switch of its own";
            found.push(bad(
                State::Warning,
                said.into(),
                format!("`ovs-vsctl set-fail-mode {name} secure`"),
            ));
        }
        if found.is_empty() {
            let roles: Vec<String> = ours.iter().map(|row| row.text("role")).collect();
            let said = match seen.is_there() {
                true => format!("connected (role {})", roles.join(", ")),
                false => "is set as it should be".into(),
            };
            found.push(Finding::ok(check.clone(), said));
        }
        found
    }

    /// Whether the channel is up, where there is somebody to connect to.
    fn channel(&self, bridge: &Row, row: &Row, check: &str, seen: &Seen) -> Option<Finding> {
        if !seen.is_there() || row.is("is_connected") {
            return None;
        }
        let target = row.text("target");
        let id = bridge.text("datapath_id");
        let twin = seen.switches.iter().find(|switch| switch.dpid == id);
        let (said, mend) = match twin {
            Some(twin) => (
                format!(
                    "is not connected to {target}: {id} is connected from {}",
                    twin.remote
                ),
                "give one of the two another datapath id".to_owned(),
            ),
            None => {
                let error = row.entry("status", "last_error");
                let error = error.map_or_else(String::new, |error| format!(": {error}"));
                (
                    format!("is not connected to {target}{error}"),
                    "it tries again within 8 s; then see `morphctl logs app=morph-proxy`"
                        .to_owned(),
                )
            }
        };
        Some(Finding::bad(check, State::Trouble, said, mend))
    }
}

/// What is wrong with the versions that a bridge may speak; all, where none is named.
fn protocols(bridge: &Row, seen: &Seen) -> Option<String> {
    let spoken = bridge.list("protocols");
    let speaks = |version: &str| spoken.is_empty() || spoken.iter().any(|p| p == version);
    if speaks("OpenFlow13") {
        return None;
    }
    if !speaks("OpenFlow10") {
        return Some(format!(
            "speaks {} only, and Morpheus OpenFlow13 and OpenFlow10",
            spoken.join(", ")
        ));
    }
    let names: Vec<&str> = seen.apps.iter().map(|app| app.name.as_str()).collect();
    (names.len() > 1).then(|| {
        format!(
            "speaks OpenFlow10, whose one table has room for one app, and present are {}",
            names.join(", ")
        )
    })
}

/// Whether a controller's target (`tcp:HOST[:PORT]`) is a port of Morpheus.
fn leads_to(target: &str, ports: &[u16]) -> bool {
    let Some(rest) = target.strip_prefix("tcp:") else {
        return false;
    };
    let port = match rest.rsplit_once(':') {
        // Not within an IPv6 address.
        Some((_, port)) if !port.contains(']') => port.parse().ok(),
        Some(_) | None => Some(PORTS[0]),
    };
    port.is_some_and(|port| ports.contains(&port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<Row> {
        ovsdb::read(text).unwrap()
    }

    /// Bridges by name, id, fail mode, protocols and controller; controllers by id, target and whether it is connected.
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
    fn each_wrong_setting_of_a_bridge_is_told_with_its_mend() {
        let here = [("c", "tcp:127.0.0.1:6653", false)];
        for (bridge, controllers, state, said) in [
            (
                ("b", "01", "secure", "", "c"),
                &here[..],
                State::Ok,
                "as it should be",
            ),
            (
                ("b", "01", "", "", "c"),
                &here,
                State::Warning,
                "fail_mode is standalone",
            ),
            (
                ("b", "01", "secure", "OpenFlow11", "c"),
                &here,
                State::Trouble,
                "speaks OpenFlow11 only",
            ),
            (
                ("b", "01", "secure", "OpenFlow10", "c"),
                &here,
                State::Ok,
                "as it should be",
            ),
            (
                ("b", "01", "secure", "", ""),
                &here,
                State::Warning,
                "has no controller",
            ),
            (
                ("b", "01", "secure", "", "c"),
                &[("c", "tcp:10.0.0.9:6640", true)],
                State::Warning,
                "does not listen",
            ),
            (
                ("b", "01", "secure", "", "c"),
                &[("c", "ssl:127.0.0.1:6653", true)],
                State::Warning,
                "does not listen",
            ),
        ] {
            let found = tables(&[bridge], controllers).judge(&[6653], &Seen::default());
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(
                found[0].found.contains(said) && found[0].state == state,
                "{found:?}"
            );
            let mended = found[0].mend.contains("ovs-vsctl") || state == State::Ok;
            assert!(mended, "{found:?}");
        }
    }

    #[test]
    fn a_datapath_id_that_two_bridges_have_is_trouble() {
        let bridges = [
            ("a", "01", "secure", "", "c"),
            ("b", "01", "secure", "", "c"),
        ];
        let found =
            tables(&bridges, &[("c", "tcp:127.0.0.1", true)]).judge(&[6653], &Seen::default());
        assert!(
            found[0]
                .found
                .contains("a and b have the same datapath id 01"),
            "{found:?}"
        );
        assert_eq!(found[0].state, State::Trouble);
    }

    #[test]
    fn targets_lead_here_by_their_port() {
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
