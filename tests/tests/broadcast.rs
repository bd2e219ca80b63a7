//! Broadcasts in the switches: one copy at each host, no packet-in for each, and no loop while links fail and come back.

use anyhow::{Result, ensure};
use morph_tests::{
    Lab, Links, METRICS, Metrics, Shape, StreamFaults, long, pause, result, wait_until,
};
use std::time::{Duration, Instant};

/// Time for which each host sends a frame a millisecond.
const SENDS: Duration = Duration::from_millis(500);
/// Longest gap of a planned change, in frames of a millisecond each.
const GAP: u32 = 50;

fn rounds() -> usize {
    if long() { 50 } else { 2 }
}

fn lab(shape: Shape) -> Result<Lab> {
    let apps = ["--app", "topology", "--app", "router@2.0.0"];
    let lab = Lab::with_morpheus(shape, &[&apps[..], &["--metrics", METRICS]].concat())?;
    for app in ["topology", "router"] {
        lab.morpheus()?.wait_running(app, None)?;
    }
    lab.wait_links()?;
    wait_until(
        "all hosts reach each other",
        Duration::from_secs(20),
        || Ok(lab.ping_all()?.is_empty().then_some(())),
    )?;
    lab.wait_idle()?;
    Ok(lab)
}

fn events(lab: &Lab) -> Result<[u64; 2]> {
    let metrics = Metrics::read(lab)?;
    let of = |app: &str| Ok::<_, anyhow::Error>(metrics.turn_sizes(app)?.events());
    Ok([of("topology")?, of("router")?])
}

#[test]
fn each_host_gets_one_copy_and_the_controller_none() -> Result<()> {
    let lab = lab(Shape::torus(3, 3).with(Links::Veth))?;
    let hosts = 1..=lab.shape().hosts.len();
    // In the corner and in the middle, or each.
    let senders: Vec<usize> = if long() {
        hosts.clone().collect()
    } else {
        vec![1, 5]
    };
    let (before, began) = (events(&lab)?, Instant::now());
    let mut sent = 0;
    for from in senders {
        let others = hosts.clone().filter(|host| *host != from);
        let counters = others.map(|host| Ok((host, lab.counter(host)?)));
        let counters = counters.collect::<Result<Vec<_>>>()?;
        let stream = lab.stream(from, None)?;
        pause(SENDS);
        let count = stream.stop()?;
        sent += count;
        lab.let_copies_arrive(from)?;
        for (host, counter) in counters {
            let faults = StreamFaults::of(count, &counter.finish()?);
            let one_each = faults.lost.is_empty() && faults.doubled.is_empty();
            ensure!(one_each, "at h{host} of what h{from} sent: {faults:?}");
        }
    }
    let (after, lasted) = (events(&lab)?, began.elapsed());
    let [topology, router] = [after[0] - before[0], after[1] - before[1]];
    // A probe a second by each end of a link, and another kind by each host port.
    let probes = (lab.shape().links.len() as u64 * 2 + 9) * (lasted.as_secs() + 2);
    eprintln!(
        "{sent} broadcasts; events: topology {topology}, router {router}; probes: up to {probes}"
    );
    ensure!(router < 50, "router handled {router} events");
    ensure!(topology < probes + 50, "topology handled {topology} events");
    result(
        "broadcast/packet-ins of router for broadcasts",
        format!("{router} for {sent}"),
        "under 50",
    );
    lab.finish()
}

#[test]
fn a_link_that_fails_and_comes_back_doubles_no_broadcast() -> Result<()> {
    let lab = lab(Shape::ring(4).with(Links::Veth))?;
    let link = lab.link_between(1, 2)?;
    let mut longest = [0, 0];
    for _ in 0..rounds() {
        for (up, longest) in [false, true].into_iter().zip(&mut longest) {
            let counters = (2..=4)
                .map(|host| lab.counter(host))
                .collect::<Result<Vec<_>>>()?;
            let stream = lab.stream(1, None)?;
            pause(SENDS);
            lab.link(link, up)?;
            wait_tree(&lab, up)?;
            pause(SENDS);
            let sent = stream.stop()?;
            lab.let_copies_arrive(1)?;
            for counter in counters {
                let faults = StreamFaults::of(sent, &counter.finish()?);
                ensure!(faults.doubled.is_empty(), "up: {up}, {faults:?}");
                *longest = faults.longest_gap.max(*longest);
            }
        }
    }
    let [fails, returns] = longest;
    result(
        "broadcast/gap where a link fails",
        format!("{fails} ms"),
        "",
    );
    result(
        "broadcast/gap where a link comes back",
        format!("{returns} ms"),
        "under 50 ms",
    );
    ensure!(returns < GAP, "a gap of {returns} ms");
    lab.finish()
}

/// Waits until the switches have the tree that goes by the first link, or the one without it.
fn wait_tree(lab: &Lab, up: bool) -> Result<()> {
    // The link between s3 and s4 is the last of the tree's order.
    wait_until("the tree has changed", Duration::from_secs(20), || {
        let rules = lab.rules(Lab::ROUTER)?;
        let accepts = rules
            .keys()
            .filter(|(bridge, key)| bridge == "s3" && key.priority == 95);
        Ok((accepts.count() == if up { 1 } else { 2 }).then_some(()))
    })
}
