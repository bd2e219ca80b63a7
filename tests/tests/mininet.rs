//! Mininet as people run it, against a morphd as people start it.

use anyhow::{Context, Result, ensure};
use morph_tests::{Lab, Shape, long, repository};

/// Runs `mn` in the lab's namespaces, with its private Open vSwitch; returns everything that it printed.
///
/// Mininet's shells sometimes hang before the switches are set up. It is run once more then.
fn mn(lab: &Lab, args: &[&str]) -> Result<String> {
    let output = mn_once(lab, args)?;
    if output.contains("*** Starting controller") {
        return Ok(output);
    }
    eprintln!("mn hung and is run once more; its output: {output}");
    mn_once(lab, args)
}

fn mn_once(lab: &Lab, args: &[&str]) -> Result<String> {
    let mut command = lab.sandbox().command("timeout");
    for name in ["OVS_RUNDIR", "OVS_DBDIR", "OVS_SYSCONFDIR", "OVS_LOGDIR"] {
        command.env(name, lab.dir().join("ovs"));
    }
    // Mininet's scripts need Debian's Python, not another one that comes first in PATH.
    command
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let output = command
        .args(["60", "mn"])
        .args(args)
        .output()
        .context("cannot run mn (package mininet)")?;
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    Ok(format!("{out}{err}"))
}

/// Whether all pings of `--test pingall` were answered. Mininet rounds the loss, and its exit code does not depend on
/// it.
fn all_received(output: &str, pings: usize) -> bool {
    output.contains(&format!("({pings}/{pings} received)"))
}

fn ping_all(topology: &str, switch: &str, pings: usize) -> Result<()> {
    let mut lab = Lab::new(Shape::single(0))?;
    lab.start_morpheus(&[])?;
    let output = mn(
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
    ensure!(all_received(&output, pings), "{output}");
    lab.finish()
}

/// Runs one of the checks of `mininet/checks.py` on a topology.
fn check(topology: &str, check: &str) -> Result<()> {
    let mut lab = Lab::new(Shape::single(0))?;
    lab.start_morpheus(&[])?;
    let files = ["morpheus", "checks"].map(|name| {
        let file = repository().join(format!("mininet/{name}.py"));
        file.display().to_string()
    });
    let custom = files.join(",");
    let output = mn(
        &lab,
        &[
            "--custom",
            &custom,
            "--controller",
            "remote",
            "--switch",
            "ovs,datapath=user,protocols=OpenFlow13",
            "--topo",
            topology,
            "--test",
            check,
        ],
    )?;
    ensure!(output.contains("Checks: passed"), "{topology}: {output}");
    lab.finish()
}

#[test]
fn a_ring_with_a_plain_bridge_inside_serves_all_whatever_link_fails() -> Result<()> {
    check("plain,4", "links")
}

#[test]
fn a_fat_tree_delivers_one_copy_of_each_broadcast() -> Result<()> {
    check("fattree,4", if long() { "links" } else { "broadcasts" })
}

#[test]
fn other_topologies_serve_all_whatever_link_fails() -> Result<()> {
    let topologies: &[_] = match long() {
        true => &["tree,2,3", "torus,3,3", "linear,4", "line,5", "diamond"],
        false => &["diamond"],
    };
    topologies
        .iter()
        .try_for_each(|topology| check(topology, "links"))
}

#[test]
fn a_tree_with_default_open_vswitch() -> Result<()> {
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
    let custom = custom.to_str().context("a path that is not UTF-8")?;
    let output = mn(
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
    ensure!(all_received(&output, 12), "{output}");
    ensure!(lab.processes()?.is_empty(), "{:?}", lab.processes()?);
    lab.finish()
}
