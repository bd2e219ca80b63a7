//! Morpheus with its state in etcd: upgrades work as with the embedded store, and running apps survive an outage of
//! etcd.

use anyhow::{Context, Result, ensure};
use morph_tests::{Lab, Shape, wait_until};
use rustix::process::Signal;
use std::process::Child;
use std::time::Duration;

const URL: &str = "etcd://127.0.0.1:2379/lab";

/// Starts etcd on its default ports, which are free in the sandbox.
fn start_etcd(lab: &Lab) -> Result<Child> {
    let sandbox = lab.sandbox();
    let data = sandbox.dir().join("etcd");
    let mut command = sandbox.command("setpriv");
    command
        .args(["--pdeathsig", "KILL", "etcd", "--logger", "zap"])
        .args(["--log-level", "error", "--data-dir"])
        .arg(data);
    let etcd = sandbox.daemon("etcd", &mut command)?;
    wait_until("etcd is healthy", Duration::from_secs(20), || {
        let health = sandbox.script("etcdctl --dial-timeout 1s endpoint health");
        Ok(health.is_ok().then_some(()))
    })?;
    Ok(etcd)
}

/// Number of paths that the router has stored.
fn trees(lab: &Lab) -> Result<usize> {
    let list = lab
        .morpheus()?
        .morphctl(&["store", "list", "app=router", "trees"])?;
    Ok(list["store"].as_array().context("store")?.len())
}

/// Term in morphd's records: the number of times that a morphd has taken them over.
fn term(lab: &Lab) -> Result<u64> {
    let all = "etcdctl get --prefix --print-value-only /lab/rows/morpheus/";
    let rows = lab.sandbox().script(all)?;
    let (_, after) = rows
        .split_once(r#""term":"#)
        .context("no record with a term")?;
    let end = after.find(|c: char| !c.is_ascii_digit());
    Ok(after[..end.context("a term without an end")?].parse()?)
}

#[test]
fn a_router_is_upgraded_and_survives_kills_with_its_state_in_etcd() -> Result<()> {
    let mut lab = Lab::new(Shape::single(3))?;
    let mut etcd = start_etcd(&lab)?;
    let flags = ["--app", "topology", "--app", "router@1.0.0", "--store", URL];
    lab.start_morpheus(&flags)?;
    lab.attach()?;
    lab.morpheus()?.wait_switches(1)?;
    lab.morpheus()?.wait_running("router", None)?;
    wait_until(
        "every host reaches every other host",
        Duration::from_secs(20),
        || Ok(lab.ping_all()?.is_empty().then_some(())),
    )?;
    lab.wait_idle()?;
    let stored = lab
        .sandbox()
        .script("etcdctl get --prefix --keys-only /lab/rows/router/1/trees/")?;
    let keys = stored.lines().filter(|line| !line.is_empty()).count();
    ensure!(keys == trees(&lab)? && keys >= 3, "{stored}");

    let ping = lab.ping_continuously(1, 2, 10)?;
    let upgrade = ["upgrade", "app=router@2.0.0", "--probation", "1s"];
    lab.morpheus()?.morphctl(&upgrade)?;
    let app = lab.morpheus()?.wait_running("router", None)?;
    ensure!(app["release"] == "2.0.0", "{app}");
    // Another morphd starts while etcd does not answer. It adopts what runs, and its first record takes the records
    // over.
    let before = term(&lab)?;
    let processes = lab.sandbox().processes()?;
    let stopped = processes.iter().find(|process| process.name() == "etcd");
    let stopped = stopped.context("no etcd")?;
    stopped.signal(Signal::STOP)?;
    lab.process("morphd")?.kill()?;
    lab.morpheus_mut()?.wait_exited()?;
    lab.start_morpheus(&flags)?;
    lab.morpheus()?.wait_running("router", None)?;
    stopped.signal(Signal::CONT)?;
    // Kills of the store daemon and of etcd must not disturb the network.
    lab.process("morph-stored")?.kill()?;
    etcd.kill()?; // setpriv makes it die with its parent
    etcd.wait()?;
    let _again = start_etcd(&lab)?;
    let back = ["upgrade", "app=router@1.0.0", "--probation", "1s"];
    wait_until(
        "an upgrade succeeds after the kills",
        Duration::from_secs(30),
        || Ok((lab.morpheus()?.try_morphctl(&back)?.code == 0).then_some(())),
    )?;
    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    ensure!(
        term(&lab)? == before + 1,
        "term {} after {before}: not taken over exactly once",
        term(&lab)?
    );
    ensure!(
        trees(&lab)? == keys,
        "{} of {keys} trees are stored",
        trees(&lab)?
    );
    lab.finish()
}
