//! The router in a lab: its stored paths, and its upgrades.

use crate::lab::Lab;
use crate::shape::Shape;
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Output port on each switch (by datapath id) for each destination (by MAC address).
pub type Paths = BTreeMap<String, BTreeMap<String, u64>>;

/// Prefix of the hosts' MAC addresses.
const HOSTS: &str = "02:";

/// Time that an upgrade may take until its probation begins.
const UPGRADE: Duration = Duration::from_secs(20);

impl Lab {
    /// Id of the router in the cookies of its rules.
    pub const ROUTER: u8 = 3;

    /// Builds a network with topology and this release of the router, and waits until all links are found and all
    /// hosts reach each other.
    pub fn with_router(shape: Shape, version: &str) -> Result<Self> {
        let release = format!("router@{version}");
        let lab = Self::with_morpheus(shape, &["--app", "topology", "--app", &release])?;
        lab.morpheus()?.wait_running("topology", None)?;
        lab.morpheus()?.wait_running("router", None)?;
        lab.wait_links()?;
        wait_until("all hosts reach each other", UPGRADE, || {
            Ok(lab.ping_all()?.is_empty().then_some(()))
        })?;
        lab.wait_idle()?;
        Ok(lab)
    }

    /// Waits until there is a path from every switch to every host and no event waits. Hosts reach each other
    /// earlier, while the router still forwards packets itself.
    pub fn wait_idle(&self) -> Result<()> {
        let (hosts, switches) = (self.shape().hosts.len(), self.shape().switches);
        wait_until("the network is at rest", Duration::from_secs(20), || {
            let paths = self.paths()?;
            let whole = paths.values().filter(|path| path.len() == switches).count();
            let apps = self.morpheus()?.morphctl(&["apps"])?;
            let mut apps = apps["apps"].as_array().context("apps")?.iter();
            Ok((whole >= hosts && apps.all(|app| app["backlog"] == 0)).then_some(()))
        })
    }

    /// Waits until topology knows every link, in both directions.
    pub fn wait_links(&self) -> Result<()> {
        let links = 2 * self.shape().links.len();
        wait_until(
            &format!("topology knows {links} link directions"),
            Duration::from_secs(20),
            || {
                let answer = self.morpheus()?.morphctl(&["topology"])?;
                let found = answer["topology"].as_array().context("topology")?;
                Ok((found.len() == links).then_some(()))
            },
        )
    }

    /// Stored paths to the hosts, in any schema. Paths to the sources of new flows are left out: there may be more
    /// than one reply holds.
    pub fn paths(&self) -> Result<Paths> {
        let mut paths = Paths::new();
        for table in ["trees", "hops"] {
            let list = [
                "store",
                "list",
                "app=router",
                table,
                HOSTS,
                "--limit",
                "10000",
            ];
            let answer = self.morpheus()?.morphctl(&list)?;
            ensure!(
                answer["more"] != true,
                "more than 10000 rows in table {table}"
            );
            for row in answer["store"].as_array().context("store")? {
                read_row(row, &mut paths).with_context(|| row.to_string())?;
            }
        }
        Ok(paths)
    }

    /// Waits until the stored paths differ from `before`.
    pub fn wait_paths_changed(&self, before: &Paths) -> Result<()> {
        wait_until("the stored paths change", Duration::from_secs(10), || {
            let now = self.paths()?;
            let changed = before.iter().any(|(key, path)| now.get(key) != Some(path));
            Ok(changed.then_some(()))
        })
    }

    /// Upgrades an app and waits until the probation begins; returns the status.
    pub fn upgrade(&self, app: &str, version: &str) -> Result<Value> {
        let release = format!("app={app}@{version}");
        let morpheus = self.morpheus()?;
        morpheus.morphctl(&["upgrade", &release, "--probation", "60s", "--no-wait"])?;
        wait_until(&format!("{release} is in probation"), UPGRADE, || {
            let status = self.status(app)?;
            let step = status["step"].as_str().context("step")?;
            ensure!(!step.starts_with("ROLL"), "{status}");
            Ok((step == "UPGRADED").then(|| status.clone()))
        })
    }

    /// Upgrades an app and commits at once; returns the last status.
    pub fn upgrade_and_commit(&self, app: &str, version: &str) -> Result<Value> {
        self.upgrade(app, version)?;
        let answer = self
            .morpheus()?
            .morphctl(&["commit", &format!("app={app}")])?;
        let status = answer["upgrades"][0].clone();
        ensure!(status["step"] == "COMMITTED", "{status}");
        Ok(status)
    }

    /// Status of an app's last upgrade.
    pub fn status(&self, app: &str) -> Result<Value> {
        let answer = self
            .morpheus()?
            .morphctl(&["status", &format!("app={app}")])?;
        let last = answer["upgrades"].as_array().and_then(|list| list.last());
        last.cloned()
            .with_context(|| format!("no upgrade in {answer}"))
    }
}

/// Reads a row of the router's tables, in any schema.
fn read_row(row: &Value, paths: &mut Paths) -> Result<()> {
    let key = row["key"].as_str().context("key")?;
    match row["table"].as_str() {
        Some("trees") => {
            let mut tree = BTreeMap::new();
            for (dpid, port) in row["value"].as_object().context("tree")? {
                tree.insert(dpid.clone(), port.as_u64().context("port")?);
            }
            paths.insert(key.to_owned(), tree);
        }
        Some("hops") => {
            let (destination, dpid) = key.rsplit_once('/').context("key")?;
            // Schema 3 has the VLAN behind the address.
            let destination = destination.trim_end_matches("/none");
            let port = row["value"]["port"].as_u64().context("port")?;
            let tree = paths.entry(destination.to_owned()).or_default();
            tree.insert(dpid.to_owned(), port);
        }
        _ => {}
    }
    Ok(())
}
