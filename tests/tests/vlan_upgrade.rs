//! Apps of installed networks are upgraded to the releases that know VLANs, under traffic: topology 1.1.0 and router 2.0.0, whose
//! tables know hosts by their hardware address alone. The long form begins with a whole build of that time: its morphd, proxy and
//! store.

use anyhow::{Context, Result, ensure};
use morph_tests::{
    Bundle, LOST_AFTER, Lab, NewFlows, Ping, Rules, Shape, bin, earlier_build, long, touched,
    wait_until,
};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(20);
/// Id of topology in the cookies of its rules.
const TOPOLOGY: u8 = 2;
/// Matches of frames without a VLAN, as Open vSwitch prints them.
const NO_VLAN: &str = "vlan_tci=0x0000/0x0fff";

/// Makes a folder of bundles as a build before VLANs had them: topology 1.1.0 and the router's releases of that time.
fn bundles_before(lab: &Lab) -> Result<PathBuf> {
    let folder = lab.dir().join("before");
    Bundle::copy("topology-2.0.0", &folder, "topology-1.1.0")?
        .set("version", "\"1.1.0\"")?
        .set("schema", "1")?
        .without("migrates")?
        .program(&bin("examples/topology_1")?)?;
    for release in ["router-1.0.0", "router-2.0.0"] {
        Bundle::copy(release, &folder, release)?;
    }
    Ok(folder)
}

/// End of the Morpheus of before.
#[derive(Clone, Copy)]
enum End {
    Stopped,
    Killed,
}

/// Kills morphd and all that it has started.
fn kill(lab: &mut Lab) -> Result<()> {
    for process in lab.processes()? {
        // A process may have ended with another one.
        let _ = process.signal(Signal::KILL);
    }
    lab.morpheus_mut()?.wait_exited()?;
    wait_until("all processes are gone", DEADLINE, || {
        Ok(lab.processes()?.is_empty().then_some(()))
    })
}

/// Network with the releases of before (short form: made of today's sources), in use, whose Morpheus then ended and was started
/// again with the releases of now beside it. Hosts 5 and 6 are on VLAN 10.
fn lab(end: End) -> Result<Lab> {
    let mut lab = Lab::new(Shape::diamond())?;
    let apps = ["--app", "topology", "--app", "router@2.0.0"];
    if long() {
        lab.start_morpheus_of(earlier_build()?, &apps)?;
    } else {
        let before = bundles_before(&lab)?;
        let before = before.to_str().context("a path that is not UTF-8")?;
        lab.start_morpheus(&[&["--bundles", before], &apps[..]].concat())?;
    }
    lab.attach()?;
    lab.morpheus()?.wait_switches(4)?;
    lab.wait_links()?;
    lab.add_vlan_host(5, 2, 10, 5)?;
    lab.add_vlan_host(6, 3, 10, 6)?;
    wait_until("all hosts reach each other", DEADLINE, || {
        let tagged = lab.ping(5, 6, 200, 1)?.finish()?.received == 1;
        Ok((tagged && lab.ping_all()?.is_empty()).then_some(()))
    })?;
    let morpheus = lab.morpheus()?;
    morpheus.morphctl(&["config", "set", "app=router", "weights.1/2=5"])?;
    morpheus.morphctl(&["config", "set", "app=topology", "limits.hosts=777"])?;
    lab.wait_idle()?;
    match end {
        End::Stopped => lab.stop_morpheus()?,
        End::Killed => kill(&mut lab)?,
    }
    lab.start_morpheus(&[])?;
    let morpheus = lab.morpheus()?;
    morpheus.wait_switches(4)?;
    for app in ["topology", "router"] {
        morpheus.wait_running(app, None)?;
    }
    wait_until("the releases of now are staged", DEADLINE, || {
        let list = morpheus.morphctl(&["releases"])?;
        let list = list["releases"].as_array().context("releases")?;
        let staged = |app: &str, version: &str| {
            list.iter()
                .any(|release| release["app"] == app && release["version"] == version)
        };
        Ok((staged("topology", "2.0.0") && staged("router", "3.0.0")).then_some(()))
    })?;
    lab.wait_links()?;
    Ok(lab)
}

/// State that an upgrade has to keep: hosts with their places, links, and what people have set.
#[derive(Debug, PartialEq)]
struct Kept {
    /// Switch and port of each hardware address without a VLAN.
    hosts: BTreeMap<String, Value>,
    links: Value,
    weights: Value,
    limits: Value,
}

fn kept(lab: &Lab) -> Result<Kept> {
    let morpheus = lab.morpheus()?;
    let list = morpheus.morphctl(&["hosts"])?;
    let mut hosts = BTreeMap::new();
    for host in list["hosts"].as_array().context("hosts")? {
        let mac = host["mac"].as_str().context("mac")?;
        // Sources of new flows come and go.
        if mac.starts_with("02:00:00:00:00:") && host["vlan"] == 0 {
            // The address of an echo server is learned with the first flow.
            let ips = host["ips"].as_array().context("ips")?.iter();
            let ips = ips
                .filter_map(Value::as_str)
                .filter(|ip| ip.starts_with("10.0.0."));
            let ips: Vec<&str> = ips.collect();
            let place = serde_json::json!([host["dpid"], host["port"], ips]);
            hosts.insert(mac.to_owned(), place);
        }
    }
    Ok(Kept {
        hosts,
        links: morpheus.morphctl(&["topology"])?,
        weights: morpheus.morphctl(&["config", "get", "app=router"])?,
        limits: morpheus.morphctl(&["config", "get", "app=topology"])?,
    })
}

/// Traffic that no upgrade may disturb.
struct Traffic {
    pings: Vec<Ping>,
    flows: NewFlows,
}

impl Traffic {
    fn start(lab: &Lab, first: u64) -> Result<Self> {
        let pairs = [(2, 3), (1, 4), (5, 6)];
        let pings = pairs.map(|(from, to)| lab.ping_continuously(from, to, 2));
        Ok(Traffic {
            pings: pings.into_iter().collect::<Result<_>>()?,
            flows: lab.new_flows(1, 4, 20.0, first, LOST_AFTER)?,
        })
    }

    /// Ends the traffic, and checks that nothing was lost. Returns the number after the last flow.
    fn stop(self, what: &str) -> Result<u64> {
        let flows = self.flows.stop()?;
        ensure!(flows.lost == 0 && flows.sent > 20, "{what}: {flows:?}");
        for ping in self.pings {
            let ping = ping.stop()?;
            ensure!(
                ping.lost.is_empty() && ping.duplicates == 0 && ping.received > 100,
                "{what}: {ping:?}"
            );
        }
        Ok(flows.next)
    }
}

fn upgrade(lab: &Lab, releases: &[&str], more: &[&str]) -> Result<()> {
    let args = [&["upgrade"], releases, &["--probation", "2s"], more].concat();
    let answer = lab.morpheus()?.try_morphctl(&args)?;
    ensure!(answer.code == 0, "{releases:?}: {answer:?}");
    Ok(())
}

/// Rules of both apps.
fn rules(lab: &Lab) -> Result<[Rules; 2]> {
    Ok([lab.rules(TOPOLOGY)?, lab.rules(Lab::ROUTER)?])
}

/// Checks that rules which are wanted before and after were not touched, and returns how many these are.
fn check_rules(before: &[Rules; 2], after: &[Rules; 2]) -> Result<usize> {
    let mut kept = 0;
    for (before, after) in before.iter().zip(after) {
        let (touched, in_both) = touched(before, after);
        ensure!(touched.is_empty(), "{touched:?}");
        kept += in_both;
    }
    Ok(kept)
}

/// Number of rules for packets to a host of this number that match `text`.
fn rules_of(rules: &Rules, host: usize, text: &str) -> usize {
    let mac = format!("dl_dst=02:00:00:00:00:{host:02x}");
    let matches = rules.keys().map(|(_, key)| key.matches.as_str());
    let of_host = matches.filter(|matches| matches.contains(&mac));
    of_host.filter(|matches| matches.contains(text)).count()
}

#[test]
fn installed_networks_are_upgraded_to_vlans_and_back_as_a_group() -> Result<()> {
    let lab = lab(End::Stopped)?;
    let _echo = lab.echo(4)?;
    let connects = lab.ovs().connects();
    let (before, rules_before) = (kept(&lab)?, rules(&lab)?);
    ensure!(before.hosts.len() >= 6, "{before:?}");
    let traffic = Traffic::start(&lab, 0)?;
    upgrade(&lab, &["app=topology@2.0.0", "app=router@3.0.0"], &[])?;
    let next = traffic.stop("to VLANs")?;
    let after = kept(&lab)?;
    ensure!(after == before, "{before:?}\nbecame {after:?}");
    let rules_after = rules(&lab)?;
    let same = check_rules(&rules_before, &rules_after)?;
    ensure!(same > 20, "{same} rules stayed as they were");
    for host in 1..=4 {
        let none = rules_of(&rules_after[1], host, NO_VLAN);
        ensure!(none == 4, "{none} rules to host {host}");
    }
    for host in [5, 6] {
        let tagged = rules_of(&rules_after[1], host, "dl_vlan=10");
        ensure!(tagged == 4, "{tagged} rules to host {host}");
    }
    let traffic = Traffic::start(&lab, next)?;
    let back = ["app=topology@1.1.0", "app=router@2.0.0"];
    upgrade(&lab, &back, &["--allow-loss"])?;
    traffic.stop("back")?;
    let back = kept(&lab)?;
    ensure!(back == before, "{before:?}\nbecame {back:?}");
    check_rules(&rules_after, &rules(&lab)?)?;
    ensure!(lab.ping_all()?.is_empty(), "a host does not reach another");
    ensure!(lab.ovs().connects() == connects, "a switch reconnected");
    lab.finish()
}

#[test]
fn topology_keeps_its_former_schema_up_for_a_router_without_vlans() -> Result<()> {
    let lab = lab(End::Killed)?;
    let _echo = lab.echo(4)?;
    let before = kept(&lab)?;
    let traffic = Traffic::start(&lab, 0)?;
    upgrade(&lab, &["app=topology@2.0.0"], &[])?;
    // The router of before goes on learning of hosts, from the shadow.
    let next = traffic.stop("topology alone")?;
    let traffic = Traffic::start(&lab, next)?;
    upgrade(&lab, &["app=router@3.0.0"], &[])?;
    traffic.stop("the router after it")?;
    let after = kept(&lab)?;
    ensure!(after == before, "{before:?}\nbecame {after:?}");
    wait_until("nobody reads the former schema", DEADLINE, || {
        let list = lab.morpheus()?.morphctl(&["store", "list"])?;
        let mut keyspaces = list["store"].as_array().context("store")?.iter();
        Ok((!keyspaces.any(|keyspace| keyspace["role"] == "shadow")).then_some(()))
    })?;
    lab.finish()
}
