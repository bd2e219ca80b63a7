//! An upgrade between releases with equal rules sends nothing to the switches.

use anyhow::{Context, Result, ensure};
use morph_tests::{Bundle, Lab, Shape, pause, wait_until};
use std::fs::{self, File};
use std::process::{Child, Command};
use std::time::Duration;

/// Counters of what the proxy has forwarded for the router.
const COUNTS: [&str; 4] = ["flow_mods", "group_mods", "meter_mods", "packet_outs"];

/// Runs `ovs-ofctl monitor BRIDGE watch:`, an observer that does not depend on Morpheus.
struct Observer {
    child: Child,
    output: std::path::PathBuf,
}

impl Observer {
    fn start(lab: &Lab, bridge: &str) -> Result<Self> {
        let output = lab.dir().join(format!("monitor-{bridge}.out"));
        let file = File::create(&output)?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "ovs-ofctl", "monitor"])
            .args([&lab.ovs().management(bridge), "watch:!initial"])
            .env("OVS_RUNDIR", lab.dir().join("ovs"))
            // Changes are printed on standard error.
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()?;
        Ok(Self { child, output })
    }

    /// Changes of rules that the observer has seen.
    fn changes(&self) -> Result<Vec<String>> {
        let text = fs::read_to_string(&self.output)?;
        Ok(text
            .lines()
            .filter(|line| line.contains("event="))
            .map(str::to_owned)
            .collect())
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn counts(lab: &Lab) -> Result<Vec<u64>> {
    let app = lab.morpheus()?.app("router")?;
    COUNTS
        .iter()
        .map(|key| app[key].as_u64().with_context(|| app.to_string()))
        .collect()
}

#[test]
fn equal_rules_are_not_sent_again() -> Result<()> {
    let shape = Shape {
        protocols: Some("OpenFlow10,OpenFlow13"),
        ..Shape::diamond()
    };
    let lab = Lab::with_router(shape, "1.0.0")?;
    lab.set_static_arp()?;
    let newer = Bundle::copy("router-1.0.0", lab.dir(), "newer")?.set("version", "\"1.0.1\"")?;
    lab.morpheus()?
        .morphctl(&["app", "install", newer.path()?])?;
    let ping = lab.ping_continuously(1, 4, 10)?;
    // Nothing sent for a second: the effects of the first pings are over.
    let before = wait_until(
        "the router sends nothing for a second",
        Duration::from_secs(10),
        || {
            let before = counts(&lab)?;
            pause(Duration::from_secs(1));
            Ok((counts(&lab)? == before).then_some(before))
        },
    )?;
    let observers = lab
        .bridges()
        .iter()
        .map(|b| Observer::start(&lab, b))
        .collect::<Result<Vec<_>>>()?;
    pause(Duration::from_millis(500));

    let status = lab.upgrade_and_commit("router", "1.0.1")?;
    ensure!(status["rules_unchanged"].as_u64() > Some(0), "{status}");
    pause(Duration::from_secs(2));

    ensure!(
        counts(&lab)? == before,
        "{COUNTS:?} were {before:?} and are {:?}",
        counts(&lab)?
    );
    for observer in &observers {
        ensure!(observer.changes()?.is_empty(), "{:?}", observer.changes()?);
    }
    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    // The observer would have seen a change.
    lab.ovs()
        .ofctl("add-flow", "s1", &["table=200,actions=drop"])?;
    wait_until(
        "the observer sees the added rule",
        Duration::from_secs(5),
        || Ok((observers[0].changes()?.len() == 1).then_some(())),
    )?;
    lab.finish()
}
