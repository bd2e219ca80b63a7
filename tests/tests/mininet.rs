//! Mininet as people run it, against a morphd as people start it.

use anyhow::{Context, Result, ensure};
use morph_tests::{Lab, Shape, repository};

/// Runs `mn` in the lab's namespaces, with its private Open vSwitch; gives all that it printed.
///
/// Mininet's shells hang, rarely, before it has come to its switches; then it is run once more.
fn mn(lab: &Lab, args: &[&str]) -> Result<String> {
    let said = mn_once(lab, args)?;
    if said.contains("*** Starting controller") {
        return Ok(said);
    }
    eprintln!("once more, after: {said}");
    mn_once(lab, args)
}

fn mn_once(lab: &Lab, args: &[&str]) -> Result<String> {
    let mut command = lab.sandbox().command("timeout");
    for name in ["OVS_RUNDIR", "OVS_DBDIR", "OVS_SYSCONFDIR", "OVS_LOGDIR"] {
        command.env(name, lab.dir().join("ovs"));
    }
    // Its scripts want Debian's Python, not one that is first in the path by chance.
    command
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let output = command
        .args(["60", "mn"])
        .args(args)
        .output()
        .context("mn (mininet)")?;
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    Ok(format!("{out}{err}"))
}

/// All pings of `--test pingall` were answered. Mininet rounds, and takes no exit code from loss.
fn all_received(said: &str, pings: usize) -> bool {
    said.contains(&format!("({pings}/{pings} received)"))
}

fn ping_all(topology: &str, switch: &str, pings: usize) -> Result<()> {
    let mut lab = Lab::new(Shape::single(0))?;
    lab.start_morpheus(&[])?;
    let said = mn(
        &lab,
        &[
            "--controller",
            "remote",
            "--switch",
            switch,
            "--topo",
            topology,
            "--test",
            "pingall",
        ],
    )?;
    ensure!(all_received(&said, pings), "{said}");
    lab.finish()
}

#[test]
fn a_tree_as_open_vswitch_comes() -> Result<()> {
    ping_all("tree,2,3", "ovs,datapath=user", 72)
}

#[test]
fn a_tree_on_openflow_1_3_only() -> Result<()> {
    ping_all("tree,2,3", "ovs,datapath=user,protocols=OpenFlow13", 72)
}

#[test]
fn a_torus() -> Result<()> {
    ping_all("torus,3,3", "ovs,datapath=user", 72)
}

#[test]
fn the_controller_class_starts_a_morphd_and_ends_it() -> Result<()> {
    let lab = Lab::new(Shape::single(0))?;
    let custom = repository().join("mininet/morpheus.py");
    let custom = custom.to_str().context("a path that is no text")?;
    let said = mn(
        &lab,
        &[
            "--custom",
            custom,
            "--controller",
            "morpheus",
            "--switch",
            "ovs,datapath=user",
            "--topo",
            "ring,4",
            "--test",
            "pingall",
        ],
    )?;
    ensure!(all_received(&said, 12), "{said}");
    ensure!(lab.processes()?.is_empty(), "{:?}", lab.processes()?);
    lab.finish()
}
