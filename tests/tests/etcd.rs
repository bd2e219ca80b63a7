//! Morpheus with its state in etcd: an upgrade as with the embedded store, and what is in use outlives etcd's absence.

use anyhow::{Context, Result, ensure};
use morph_tests::{Lab, Shape, wait_until};
use rustix::process::Signal;
use std::process::Child;
use std::time::Duration;

const URL: &str = "etcd://127.0.0.1:2379/lab";

/// In the sandbox, whose ports are all free.
fn start_etcd(lab: &Lab) -> Result<Child> {
    let sandbox = lab.sandbox();
    let data = sandbox.dir().join("etcd");
    let mut command = sandbox.command("setpriv");
    command
        .args(["--pdeathsig", "KILL", "etcd", "--logger", "zap"])
        .args(["--log-level", "error", "--data-dir"])
        .arg(data);
    let etcd = sandbox.daemon("etcd", &mut command)?;
    wait_until("etcd is well", Duration::from_secs(20), || {
        let health = sandbox.script("etcdctl --dial-timeout 1s endpoint health");
        Ok(health.is_ok().then_some(()))
    })?;
    Ok(etcd)
}

/// What the router has stored.
fn trees(lab: &Lab) -> Result<usize> {
    let list = lab
        .morpheus()?
        .do_(&["store", "list", "app=router", "trees"])?;
    Ok(list["store"].as_array().context("store")?.len())
}

/// How often a morphd has taken the records over.
fn term(lab: &Lab) -> Result<u64> {
    let all = "etcdctl get --prefix --print-value-only /lab/rows/morpheus/";
    let rows = lab.sandbox().script(all)?;
    let (_, after) = rows.split_once(r#""term":"#).context("no row of it")?;
    let end = after.find(|c: char| !c.is_ascii_digit());
    Ok(after[..end.context("no end")?].parse()?)
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
        "all hosts reach each other",
        Duration::from_secs(20),
        || Ok(lab.ping_all()?.is_empty().then_some(())),
    )?;
    lab.wait_at_rest()?;
    let stored = lab
        .sandbox()
        .script("etcdctl get --prefix --keys-only /lab/rows/router/1/trees/")?;
    let keys = stored.lines().filter(|line| !line.is_empty()).count();
    ensure!(keys == trees(&lab)? && keys >= 3, "{stored}");

    let ping = lab.ping_on(1, 2, 10)?;
    let upgrade = ["upgrade", "app=router@2.0.0", "--probation", "1s"];
    lab.morpheus()?.do_(&upgrade)?;
    let app = lab.morpheus()?.wait_running("router", None)?;
    ensure!(app["release"] == "2.0.0", "{app}");
    // Another morphd begins while etcd takes nothing: it looks after what runs, and its first record makes the records its own.
    let before = term(&lab)?;
    let processes = lab.sandbox().processes()?;
    let stopped = processes.iter().find(|process| process.name() == "etcd");
    let stopped = stopped.context("no etcd")?;
    stopped.signal(Signal::STOP)?;
    lab.process("morphd")?.kill()?;
    lab.morpheus_mut()?.wait_gone()?;
    lab.start_morpheus(&flags)?;
    lab.morpheus()?.wait_running("router", None)?;
    stopped.signal(Signal::CONT)?;
    // The daemon and etcd are killed, and the network does not notice.
    lab.process("morph-stored")?.kill()?;
    etcd.kill()?; // it dies with its parent
    etcd.wait()?;
    let _again = start_etcd(&lab)?;
    let back = ["upgrade", "app=router@1.0.0", "--probation", "1s"];
    wait_until(
        "an upgrade after the kills",
        Duration::from_secs(30),
        || Ok((lab.morpheus()?.ask(&back)?.code == 0).then_some(())),
    )?;
    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    ensure!(term(&lab)? == before + 1, "{} after {before}", term(&lab)?);
    ensure!(trees(&lab)? == keys, "{} of {keys} trees", trees(&lab)?);
    lab.finish()
}
