//! A host that forges probes of links: other hosts stay where they are, an alarm names its port, and an edge port believes none.

use anyhow::{Context, Result, ensure};
use morph_openflow::lldp::Probe;
use morph_openflow::{Dpid, MacAddr};
use morph_tests::{Bundle, Lab, Links, Shape, wait_until};
use serde_json::Value;
use std::str::FromStr;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(40);

/// Sends a frame, given as hexadecimal digits, so many times in a second.
const SEND: &str = "import socket, sys, time\n\
    frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n\
    frames.bind(('eth0', 0))\n\
    for _ in range(10 * int(sys.argv[2])):\n    \
        frames.send(bytes.fromhex(sys.argv[1]))\n    \
        time.sleep(0.1)\n";

/// Row of a host, as `morphctl hosts` lists it.
fn host(lab: &Lab, number: usize) -> Result<Value> {
    let address = format!("10.0.0.{number}");
    let list = lab.morpheus()?.morphctl(&["hosts"])?;
    let hosts = list["hosts"].as_array().context("hosts")?;
    let has = |host: &&Value| {
        host["ips"]
            .as_array()
            .is_some_and(|ips| ips.contains(&address.as_str().into()))
    };
    hosts
        .iter()
        .find(has)
        .cloned()
        .with_context(|| format!("{address} in {list}"))
}

fn links(lab: &Lab) -> Result<Value> {
    let links = lab.morpheus()?.morphctl(&["topology"])?;
    Ok(links["topology"].clone())
}

fn alarms(lab: &Lab) -> Result<Vec<Value>> {
    let alarms = lab
        .morpheus()?
        .morphctl(&["alarms", "--kind", "forged-probe"])?;
    Ok(alarms["alarms"].as_array().cloned().unwrap_or_default())
}

/// Has host 1 send the probe that a release without secrets sent by the port of host 2, for so many seconds.
fn forge(lab: &Lab, seconds: u32) -> Result<()> {
    let victim = host(lab, 2)?;
    let probe = Probe {
        dpid: Dpid::from_str(victim["dpid"].as_str().context("dpid")?)?,
        port: u32::try_from(victim["port"].as_u64().context("port")?)?,
        sent_ms: 1_700_000_000_000,
        tag: None,
    };
    let frame = probe.frame(MacAddr([2, 0, 0, 0, 0, 0x99]));
    let digits: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut send = lab.sandbox().host_command("h1", "/usr/bin/python3");
    let sent = send
        .args(["-c", SEND, &digits, &seconds.to_string()])
        .status()?;
    ensure!(sent.success(), "the sender: {sent}");
    Ok(())
}

#[test]
fn a_host_that_forges_probes_cuts_off_no_other() -> Result<()> {
    let lab = Lab::with_router(Shape::line(2).with(Links::Veth), "2.0.0")?;
    lab.wait_ping(1, 2)?;
    let (known, victim, attacker) = (links(&lab)?, host(&lab, 2)?, host(&lab, 1)?);
    let ping = lab.ping_continuously(1, 2, 10)?;
    // An instance raises no such alarm in its first seconds.
    wait_until("an alarm", DEADLINE, || {
        forge(&lab, 1)?;
        Ok((alarms(&lab)?.len() == 1).then_some(()))
    })?;
    let alarm = &alarms(&lab)?[0];
    ensure!(
        alarm["dpid"] == attacker["dpid"] && alarm["port"] == attacker["port"],
        "{alarm}"
    );
    forge(&lab, 3)?;
    let port = format!(
        "edges.{}/{}=true",
        attacker["dpid"].as_str().context("dpid")?,
        attacker["port"]
    );
    lab.morpheus()?
        .morphctl(&["config", "set", "app=topology", &port])?;
    forge(&lab, 2)?;
    ensure!(alarms(&lab)?.len() == 1, "{:?}", alarms(&lab)?);
    // The secret, the links and the edge port outlive an upgrade.
    let bundle = Bundle::copy("topology-2.0.0", lab.dir(), "newer")?.set("version", "\"2.0.1\"")?;
    lab.morpheus()?
        .morphctl(&["app", "install", bundle.path()?])?;
    lab.morpheus()?
        .morphctl(&["upgrade", "app=topology@2.0.1", "--probation", "500ms"])?;
    forge(&lab, 5)?;
    ensure!(links(&lab)? == known, "{}", links(&lab)?);
    ensure!(host(&lab, 2)? == victim && host(&lab, 1)? == attacker);
    let summary = ping.stop()?;
    ensure!(
        summary.lost.is_empty() && summary.duplicates == 0,
        "{summary:?}"
    );
    wait_until("no alarm", DEADLINE, || {
        Ok(alarms(&lab)?.is_empty().then_some(()))
    })?;
    lab.finish()
}
