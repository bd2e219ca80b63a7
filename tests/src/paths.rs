//! The router on a lab: its stored paths, and its upgrades.

use crate::lab::Lab;
use crate::shape::Shape;
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Paths by destination: on each switch the port.
pub type Paths = BTreeMap<String, BTreeMap<String, u64>>;

/// What the hosts' MAC addresses begin with.
const HOSTS: &str = "02:";

/// How long an upgrade may take to its probation.
const UPGRADE: Duration = Duration::from_secs(20);

impl Lab {
    /// The id of the router, in the cookies of its rules.
    pub const ROUTER: u8 = 3;

    /// A network with topology and this release of the router, whose links are all found and whose
    /// hosts all reach each other.
    ///
    /// # Errors
    /// When it does not come to that.
    pub fn with_router(shape: Shape, version: &str) -> Result<Self> {
        let release = format!("router@{version}");
        let lab = Self::with_morpheus(shape, &["--app", "topology", "--app", &release])?;
        lab.morpheus()?.wait_running("topology", None)?;
        lab.morpheus()?.wait_running("router", None)?;
        lab.wait_links()?;
        wait_until("all hosts reach each other", UPGRADE, || {
            Ok(lab.ping_all()?.is_empty().then_some(()))
        })?;
        lab.wait_at_rest()?;
        Ok(lab)
    }

    /// Waits until there is a path from every switch to every host, and no event waits: hosts reach
    /// each other before, by the router's own hand.
    ///
    /// # Errors
    /// When it does not come to that.
    pub fn wait_at_rest(&self) -> Result<()> {
        let (hosts, switches) = (self.shape().hosts.len(), self.shape().switches);
        wait_until("the network is at rest", Duration::from_secs(20), || {
            let paths = self.paths()?;
            let whole = paths.values().filter(|path| path.len() == switches).count();
            let apps = self.morpheus()?.do_(&["apps"])?;
            let mut apps = apps["apps"].as_array().context("apps")?.iter();
            Ok((whole >= hosts && apps.all(|app| app["backlog"] == 0)).then_some(()))
        })
    }

    /// Waits until topology knows every link, in both directions.
    ///
    /// # Errors
    /// When it does not find them.
    pub fn wait_links(&self) -> Result<()> {
        let links = 2 * self.shape().links.len();
        wait_until(&format!("{links} links"), Duration::from_secs(20), || {
            let answer = self.morpheus()?.do_(&["topology"])?;
            let found = answer["topology"].as_array().context("topology")?;
            Ok((found.len() == links).then_some(()))
        })
    }

    /// The stored paths to the hosts, whichever release stores them. Not those to the sources of
    /// new flows, of which there may be more than one answer holds.
    ///
    /// # Errors
    /// When they cannot be read.
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
            let answer = self.morpheus()?.do_(&list)?;
            ensure!(answer["more"] != true, "not all rows were given");
            for row in answer["store"].as_array().context("store")? {
                read_row(row, &mut paths).with_context(|| row.to_string())?;
            }
        }
        Ok(paths)
    }

    /// Waits until the stored paths are others.
    ///
    /// # Errors
    /// When they stay.
    pub fn wait_moved(&self, before: &Paths) -> Result<()> {
        wait_until("a path moves", Duration::from_secs(10), || {
            let now = self.paths()?;
            let moved = before.iter().any(|(key, path)| now.get(key) != Some(path));
            Ok(moved.then_some(()))
        })
    }

    /// Upgrades an app as far as its probation; gives the status.
    ///
    /// # Errors
    /// When it is refused, or rolled back.
    pub fn upgrade(&self, app: &str, version: &str) -> Result<Value> {
        let release = format!("app={app}@{version}");
        let morpheus = self.morpheus()?;
        morpheus.do_(&["upgrade", &release, "--probation", "60s", "--no-wait"])?;
        wait_until(&format!("{release} is in probation"), UPGRADE, || {
            let status = self.status(app)?;
            let step = status["step"].as_str().context("step")?;
            ensure!(!step.starts_with("ROLL"), "{status}");
            Ok((step == "UPGRADED").then(|| status.clone()))
        })
    }

    /// Upgrades an app and ends the probation at once; gives the last status.
    ///
    /// # Errors
    /// When it is refused, or rolled back.
    pub fn upgrade_for_good(&self, app: &str, version: &str) -> Result<Value> {
        self.upgrade(app, version)?;
        let answer = self.morpheus()?.do_(&["commit", &format!("app={app}")])?;
        let status = answer["upgrades"][0].clone();
        ensure!(status["step"] == "COMMITTED", "{status}");
        Ok(status)
    }

    /// Where the last upgrade of an app stands.
    ///
    /// # Errors
    /// When there was none.
    pub fn status(&self, app: &str) -> Result<Value> {
        let answer = self.morpheus()?.do_(&["status", &format!("app={app}")])?;
        let last = answer["upgrades"].as_array().and_then(|list| list.last());
        last.cloned()
            .with_context(|| format!("no upgrade in {answer}"))
    }
}

/// A row of the router's tables, in either schema.
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
            let (destination, dpid) = key.split_once('/').context("key")?;
            let port = row["value"]["port"].as_u64().context("port")?;
            let tree = paths.entry(destination.to_owned()).or_default();
            tree.insert(dpid.to_owned(), port);
        }
        _ => {}
    }
    Ok(())
}
