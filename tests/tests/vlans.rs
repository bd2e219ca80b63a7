//! VLANs: one hardware address and one IP address on two VLANs are two hosts, and without a VLAN a third one.

use anyhow::{Context, Result, ensure};
use morph_tests::{Lab, Ping, Shape, wait_until};
use serde_json::Value;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(20);
/// Hardware address of host 1, and of the hosts that are like it.
const MAC: &str = "02:00:00:00:00:01";

/// VLAN and switch of each host with this hardware address, by VLAN.
fn places(lab: &Lab, mac: &str) -> Result<Vec<(u64, u64)>> {
    let list = lab.morpheus()?.morphctl(&["hosts"])?;
    let hosts = list["hosts"].as_array().context("hosts")?.iter();
    let of = hosts.filter(|host| host["mac"] == mac);
    let mut places = of
        .map(|host| {
            let dpid = host["dpid"].as_str().context("dpid")?;
            let vlan = host["vlan"].as_u64().context("vlan")?;
            Ok((vlan, u64::from_str_radix(dpid, 16)?))
        })
        .collect::<Result<Vec<_>>>()?;
    places.sort_unstable();
    Ok(places)
}

/// Waits until one host reaches host 1, or one that is like it.
fn wait_reaches(lab: &Lab, from: usize) -> Result<()> {
    wait_until(&format!("host {from} reaches its host 1"), DEADLINE, || {
        let summary = lab.ping(from, 1, 200, 1)?.finish()?;
        Ok((summary.received == 1).then_some(()))
    })
}

/// Number of rules of the router to host 1 on this VLAN.
fn rules_to(lab: &Lab, vlan: &str) -> Result<usize> {
    let rules = lab.rules(Lab::ROUTER)?;
    let texts = rules.keys().map(|(_, key)| format!("{key:?}"));
    Ok(texts
        .filter(|text| text.contains(&format!("dl_dst={MAC}")) && text.contains(vlan))
        .count())
}

#[test]
fn one_address_on_two_vlans_and_without_one_is_three_hosts() -> Result<()> {
    let lab = Lab::with_router(Shape::line(3), "3.0.0")?;
    // Host 1 is at switch 1; on VLAN 10 one with its addresses is at switch 2, on VLAN 20 at switch 3.
    lab.add_vlan_host(11, 2, 10, 1)?;
    lab.add_vlan_host(12, 3, 20, 1)?;
    // Hosts that speak to them, at other switches. The last one tags its frames with a priority alone.
    lab.add_vlan_host(21, 3, 10, 4)?;
    lab.add_vlan_host(22, 1, 20, 4)?;
    lab.add_vlan_host(23, 3, 0, 5)?;
    let speakers = [2, 21, 22, 23];
    for speaker in speakers {
        wait_reaches(&lab, speaker)?;
    }
    let pings = speakers.map(|speaker| lab.ping_continuously(speaker, 1, 2));
    let pings = pings.into_iter().collect::<Result<Vec<Ping>>>()?;
    wait_until("the three hosts are known", DEADLINE, || {
        Ok((places(&lab, MAC)? == [(0, 1), (10, 2), (20, 3)]).then_some(()))
    })?;
    wait_until("the three hosts have rules everywhere", DEADLINE, || {
        let rules = ["vlan_tci=0x0000/0x0fff", "dl_vlan=10", "dl_vlan=20"];
        let counts = rules.map(|vlan| rules_to(&lab, vlan));
        let counts = counts.into_iter().collect::<Result<Vec<usize>>>()?;
        Ok((counts == [3, 3, 3]).then_some(()))
    })?;
    ensure!(places(&lab, "02:00:00:00:00:04")? == [(10, 3), (20, 1)]);
    ensure!(places(&lab, "02:00:00:00:00:05")? == [(0, 3)]);
    // With rules everywhere nothing goes through the apps any more.
    let answered = |lab: &Lab| -> Result<u64> {
        let apps = lab.morpheus()?.morphctl(&["apps"])?;
        let apps = apps["apps"].as_array().context("apps")?;
        let router = apps.iter().find(|app| app["name"] == "router");
        router
            .and_then(|app| app["answered"].as_u64())
            .context("answered")
    };
    let before = answered(&lab)?;
    let more = lab.ping(23, 1, 2, 500)?.finish()?;
    ensure!(more.received == 500 && more.lost.is_empty(), "{more:?}");
    let events = answered(&lab)? - before;
    ensure!(
        events < 100,
        "{events} events for 500 pings of four speakers"
    );
    for (speaker, ping) in speakers.into_iter().zip(pings) {
        let summary = ping.stop()?;
        ensure!(
            summary.lost.is_empty() && summary.duplicates == 0 && summary.received > 100,
            "host {speaker}: {summary:?}"
        );
    }
    let alarms = lab.morpheus()?.morphctl(&["alarms"])?;
    ensure!(alarms["alarms"] == Value::Array(Vec::new()), "{alarms}");
    lab.finish()
}
