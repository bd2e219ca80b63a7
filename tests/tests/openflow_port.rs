//! What comes to the OpenFlow port and is no switch, or a bad one: it is refused with a word about why, and nobody
//! else notices.

use anyhow::{Result, ensure};
use morph_tests::{Lab, Peer, Shape, wait_until};
use std::time::Duration;

/// A switch that says nothing is given up after this time at the latest.
const GIVEN_UP: Duration = Duration::from_secs(15);

/// Runs `fault` on a network that is in use; then the log has to say each of `words` in one line, and not a ping may
/// be lost.
fn unnoticed(words: &[&str], fault: impl FnOnce(&Lab) -> Result<()>) -> Result<()> {
    let lab = Lab::with_morpheus(Shape::single(2), &["--app", "learning-switch"])?;
    lab.wait_ping(1, 2)?;
    let ping = lab.ping_on(1, 2, 1)?;
    fault(&lab)?;
    wait_until(
        &format!("a line with {words:?}"),
        Duration::from_secs(5),
        || {
            let said = logs(&lab)
                .lines()
                .any(|line| words.iter().all(|word| line.contains(word)));
            Ok(said.then_some(()))
        },
    )?;
    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    let switches = lab.morpheus()?.wait_switches(1)?;
    ensure!(switches["switches"][0]["disconnects"] == 0, "{switches}");
    lab.finish()
}

/// What morphd and all that it has started have said.
fn logs(lab: &Lab) -> String {
    lab.logs().into_iter().map(|(_, text)| text).collect()
}

#[test]
fn a_line_of_text() -> Result<()> {
    unnoticed(&["closed", "a line of text", "GET"], |lab| {
        let mut peer = Peer::connect(lab.sandbox())?;
        peer.send(b"A\r\n")?;
        drop(peer);
        let mut peer = Peer::connect(lab.sandbox())?;
        peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        peer.wait_closed(GIVEN_UP)
    })
}

#[test]
fn a_length_that_is_too_small() -> Result<()> {
    unnoticed(&["closed", "length 7"], |lab| {
        let mut peer = Peer::connect(lab.sandbox())?;
        peer.send(&[4, 0, 0, 7, 0, 0, 0, 1, 4, 0, 0, 8, 0, 0, 0, 2])?;
        peer.wait_closed(GIVEN_UP)
    })
}

#[test]
fn a_switch_that_stops_in_the_middle_of_a_message() -> Result<()> {
    unnoticed(&["closed", "no hello"], |lab| {
        let mut peer = Peer::connect(lab.sandbox())?;
        peer.send(&[4, 0, 255, 255, 0, 0, 0, 1, 0, 1])?;
        peer.wait_closed(GIVEN_UP)
    })
}

#[test]
fn a_second_switch_with_a_known_datapath_id() -> Result<()> {
    unnoticed(&["closed", "0000000000000001", "another id"], |lab| {
        let mut peer = Peer::connect(lab.sandbox())?;
        peer.introduce(1, GIVEN_UP)?;
        peer.wait_closed(GIVEN_UP)
    })
}
