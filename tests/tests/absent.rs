//! Packets at the place of an app that is absent: stopped, removed, or without rules in a switch.
//!
//! The ledger is the firewall here: it takes what comes by the first port, and passes on the rest.

use anyhow::{Result, ensure};
use morph_tests::{Bundle, LOST_AFTER, Lab, NewFlows, Ping, Shape, bin, repository};

/// Milliseconds between two pings, and between two new flows.
const PING: u32 = 10;
const FLOW: f64 = 100.0;
/// Pings of a host that the firewall shuts out, during one step.
const FORBIDDEN: u32 = 200;

fn install_ledger(lab: &Lab, version: &str, absent: &str) -> Result<()> {
    let manifest = repository().join("apps/ledger/bundles/1.0.0/app.toml");
    let program = bin("examples/ledger-1")?;
    let name = format!("ledger-{version}");
    let bundle = Bundle::assemble(&manifest, &program, lab.dir(), &name)?;
    let bundle = bundle.set("version", &format!("\"{version}\""))?;
    let bundle = bundle.set("absent", &format!("\"{absent}\""))?;
    lab.morpheus()?
        .morphctl(&["app", "install", bundle.path()?])?;
    Ok(())
}

/// A network with learning-switch, before which the ledger comes.
fn lab() -> Result<Lab> {
    let lab = Lab::with_morpheus(Shape::single(3), &["--app", "topology"])?;
    let morpheus = lab.morpheus()?;
    morpheus.wait_running("topology", None)?;
    let behind = Bundle::copy("learning-switch-1.2.0", lab.dir(), "behind")?
        .set("version", "\"1.2.1\"")?
        .set("after", "[\"ledger\"]")?;
    morpheus.morphctl(&["app", "install", behind.path()?])?;
    morpheus.morphctl(&["app", "start", "learning-switch@1.2.1"])?;
    morpheus.wait_running("learning-switch", None)?;
    lab.set_static_arp()?;
    lab.wait_ping(1, 3)?;
    lab.wait_ping(2, 3)?;
    Ok(lab)
}

/// Traffic that the firewall lets pass.
struct Traffic {
    ping: Ping,
    flows: NewFlows,
}

impl Traffic {
    fn start(lab: &Lab, first: u64) -> Result<Self> {
        Ok(Traffic {
            ping: lab.ping_continuously(2, 3, PING)?,
            flows: lab.new_flows(2, 3, FLOW, first, LOST_AFTER)?,
        })
    }

    /// Returns the number of the next flow.
    fn lost_nothing(self, lab: &Lab) -> Result<u64> {
        // However short the step was, there is traffic after it.
        lab.ping(2, 3, PING, 20)?.finish()?;
        let (flows, ping) = (self.flows.stop()?, self.ping.stop()?);
        ensure!(
            ping.lost.is_empty() && ping.duplicates == 0 && ping.received > 10,
            "{ping:?}"
        );
        ensure!(flows.lost == 0 && flows.ok > 0, "{flows:?}");
        Ok(flows.next)
    }
}

/// Does something while the first host pings the third one. Returns the number of answers.
fn passed(lab: &Lab, step: impl FnOnce() -> Result<()>) -> Result<u64> {
    let ping = lab.ping(1, 3, PING, FORBIDDEN)?;
    step()?;
    Ok(ping.finish()?.received)
}

/// Has the switch come back without any rule.
fn reconnect_empty(lab: &Lab) -> Result<()> {
    lab.ovs().vsctl(&["del-controller", "s1"])?;
    lab.ovs().ofctl("del-flows", "s1", &[])?;
    lab.attach()?;
    lab.morpheus()?.wait_switches(1)?;
    Ok(())
}

#[test]
fn a_firewall_that_drops_while_it_is_absent_lets_nothing_pass_and_loses_nothing_else() -> Result<()>
{
    let lab = lab()?;
    let morpheus = lab.morpheus()?;
    install_ledger(&lab, "1.0.0", "drop")?;
    let _echo = lab.echo(3)?;

    let traffic = Traffic::start(&lab, 0)?;
    morpheus.morphctl(&["app", "start", "ledger"])?;
    morpheus.wait_running("ledger", None)?;
    lab.wait_no_ping(1, 3)?;
    let received = passed(&lab, || {
        morpheus.morphctl(&["app", "stop", "ledger"])?;
        morpheus.morphctl(&["app", "start", "ledger"])?;
        morpheus.wait_running("ledger", None)?;
        Ok(())
    })?;
    ensure!(
        received == 0,
        "{received} passed a firewall that was stopped"
    );
    let next = traffic.lost_nothing(&lab)?;

    let refused = morpheus.try_morphctl(&["app", "remove", "ledger"])?;
    ensure!(
        refused.code == 1 && refused.stderr.contains("app remove ledger --bypass"),
        "{refused:?}"
    );

    // Stopped, and the switch has lost its rules.
    morpheus.morphctl(&["app", "stop", "ledger"])?;
    let received = passed(&lab, || {
        reconnect_empty(&lab)?;
        let allowed = lab.ping(2, 3, PING, 20)?.finish()?;
        ensure!(
            allowed.received == 0,
            "{allowed:?} passed a switch without rules"
        );
        morpheus.morphctl(&["app", "start", "ledger"])?;
        lab.wait_ping(2, 3)
    })?;
    ensure!(
        received == 0,
        "{received} passed a switch that came back without rules"
    );

    let traffic = Traffic::start(&lab, next)?;
    morpheus.morphctl(&["app", "remove", "ledger", "--bypass"])?;
    lab.wait_ping(1, 3)?;
    traffic.lost_nothing(&lab)?;
    lab.finish()
}

#[test]
fn an_app_that_is_bypassed_while_it_is_absent_costs_no_packet() -> Result<()> {
    let lab = lab()?;
    let morpheus = lab.morpheus()?;
    install_ledger(&lab, "1.0.0", "bypass")?;
    let _echo = lab.echo(3)?;
    let traffic = Traffic::start(&lab, 0)?;
    morpheus.morphctl(&["app", "start", "ledger"])?;
    lab.wait_no_ping(1, 3)?;
    morpheus.morphctl(&["app", "stop", "ledger"])?;
    let next = traffic.lost_nothing(&lab)?;

    reconnect_empty(&lab)?;
    lab.wait_ping(1, 3)?;
    lab.wait_ping(2, 3)?;
    let traffic = Traffic::start(&lab, next)?;
    morpheus.morphctl(&["app", "start", "ledger"])?;
    lab.wait_no_ping(1, 3)?;
    morpheus.morphctl(&["app", "remove", "ledger"])?;
    lab.wait_ping(1, 3)?;
    traffic.lost_nothing(&lab)?;
    lab.finish()
}
