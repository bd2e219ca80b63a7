//! Paths that move under traffic of a frame each millisecond: none is lost, and none comes twice.

use anyhow::{Context, Result, ensure};
use morph_tests::{Lab, Links, Shape, StreamFaults, long, pause, result};
use std::time::Duration;

/// Time between two moves.
const BETWEEN: Duration = Duration::from_millis(300);

/// Number of times that each path moves.
fn moves() -> usize {
    if long() { 100 } else { 10 }
}

/// Moves the paths between two hosts forth and back, by weights of the ports that they use at these switches.
fn move_paths(lab: &Lab, what: &str, ends: [(usize, usize); 2]) -> Result<()> {
    let [(one, at_one), (two, at_two)] = ends;
    let counters = [lab.counter(two)?, lab.counter(one)?];
    let streams = [lab.stream(one, Some(two))?, lab.stream(two, Some(one))?];
    pause(BETWEEN);
    for _ in 0..moves() {
        for (from, to) in [(at_one, two), (at_two, one)] {
            let dpid = format!("{from:016x}");
            let before = lab.paths()?;
            let path = before.get(&format!("02:00:00:00:00:{to:02x}"));
            let port = path.and_then(|path| path.get(&dpid)).context("no path")?;
            let set = |weight: &str| {
                let weight = format!("weights.{dpid}/{port}={weight}");
                lab.morpheus()?
                    .morphctl(&["config", "set", "app=router", &weight])
            };
            set("50")?;
            lab.wait_paths_changed(&before)?;
            // A weight that falls moves no path.
            set("")?;
            pause(BETWEEN);
        }
    }
    let sent: Vec<u32> = streams
        .into_iter()
        .map(|s| s.stop())
        .collect::<Result<_>>()?;
    lab.let_copies_arrive(one)?;
    for (sent, counter) in sent.into_iter().zip(counters) {
        let faults = StreamFaults::of(sent, &counter.finish()?);
        eprintln!("{what}: {faults:?}");
        ensure!(
            sent as usize > 300 * moves(),
            "only {sent} frames were sent"
        );
        ensure!(faults.lost.is_empty(), "lost: {faults:?}");
        ensure!(faults.doubled.is_empty(), "doubled: {faults:?}");
    }
    result(&format!("path_moves/{what}, moves"), 2 * moves(), "");
    Ok(())
}

#[test]
fn paths_on_a_ring_move_without_loss() -> Result<()> {
    let lab = Lab::with_router(Shape::ring(6).with(Links::Veth), "2.0.0")?;
    move_paths(&lab, "ring", [(1, 1), (4, 4)])?;
    lab.finish()
}

#[test]
fn paths_in_a_fat_tree_move_without_loss() -> Result<()> {
    let lab = Lab::with_router(Shape::fat_tree().with(Links::Veth), "2.0.0")?;
    move_paths(&lab, "fat tree", [(1, 7), (16, 20)])?;
    lab.finish()
}
