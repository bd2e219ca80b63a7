//! Paths that move under traffic of a frame each millisecond: none is lost, none comes twice, and none goes round.

use anyhow::{Context, Result, ensure};
use morph_tests::{Lab, Links, Shape, StreamFaults, long, pause, result};
use std::time::Duration;

/// Time between two moves.
const BETWEEN: Duration = Duration::from_millis(300);

/// Number of times that each path moves.
fn moves() -> usize {
    if long() { 200 } else { 10 }
}

/// Delays of the switches' channels in milliseconds: each repeats from the first one.
const DELAYS: [u32; 5] = [0, 40, 5, 25, 15];

/// Moves the paths to a host, by weights of the ports that lead there at two of the switches in turn, under streams between
/// these hosts.
fn move_paths(
    lab: &Lab,
    what: &str,
    to: usize,
    at: [usize; 2],
    streams: &[(usize, usize)],
) -> Result<()> {
    let delays = DELAYS.into_iter().cycle().take(lab.bridges().len());
    let _relay = lab.delay_channels(&delays.collect::<Vec<_>>())?;
    let started = streams.iter().map(|(from, to)| {
        let counter = lab.counter(*to)?;
        Ok((counter, lab.stream(*from, Some(*to))?))
    });
    let started = started.collect::<Result<Vec<_>>>()?;
    let before = lab.received()?;
    pause(BETWEEN);
    for round in 0..moves() {
        let dpid = format!("{:016x}", at[round % 2]);
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
        // A weight that falls moves no path to this host.
        set("")?;
        pause(BETWEEN);
    }
    let mut all = 0;
    for (counter, stream) in started {
        let sent = stream.stop()?;
        all += u64::from(sent);
        lab.let_copies_arrive(to)?;
        let faults = StreamFaults::of(sent, &counter.finish()?);
        eprintln!("{what}: {faults:?}");
        ensure!(
            sent as usize > 300 * moves(),
            "only {sent} frames were sent"
        );
        ensure!(faults.lost.is_empty(), "lost: {faults:?}");
        ensure!(faults.doubled.is_empty(), "doubled: {faults:?}");
    }
    // No way is longer than there are switches. A frame that goes round for the milliseconds by which switches differ passes a
    // thousand of them.
    let passed = lab.received()?.saturating_sub(before);
    let most = all * lab.bridges().len() as u64;
    eprintln!("{what}: {all} frames passed {passed} switches");
    ensure!(
        passed <= most,
        "frames went round: {passed} switches passed, at most {most} expected"
    );
    result(&format!("path_moves/{what}, moves"), moves(), "");
    Ok(())
}

/// Where the way from s3 or s5 to h4 is the longer one, it leads back over the switches that sent by them.
#[test]
fn paths_on_a_ring_move_without_loss() -> Result<()> {
    let lab = Lab::with_router(Shape::ring(6).with(Links::Veth), "2.0.0")?;
    move_paths(&lab, "ring", 4, [3, 5], &[(2, 4)])?;
    lab.finish()
}

/// Hosts h15 and h16 are at s20, below s17 and s18; h13 is at s19 beside it, and h1 is in another pod.
#[test]
fn paths_in_a_fat_tree_move_without_loss() -> Result<()> {
    let lab = Lab::with_router(Shape::fat_tree().with(Links::Veth), "2.0.0")?;
    move_paths(&lab, "fat tree", 16, [17, 18], &[(1, 16), (13, 15)])?;
    lab.finish()
}
