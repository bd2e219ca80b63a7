//! Connections to the OpenFlow port that are no switches, or broken ones: closed with a reason in the log, and nobody
//! else is disturbed.

use anyhow::{Result, ensure};
use morph_tests::{Lab, Peer, Shape, wait_until};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::time::Duration;

/// Longest time until a silent connection is closed.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Runs `fault` on a network in use. Then a line of the log must contain all `words`, and no ping may be lost.
fn undisturbed(words: &[&str], fault: impl FnOnce(&Lab) -> Result<()>) -> Result<()> {
    let lab = Lab::with_morpheus(Shape::single(2), &["--app", "learning-switch"])?;
    lab.wait_ping(1, 2)?;
    let ping = lab.ping_continuously(1, 2, 1)?;
    fault(&lab)?;
    wait_until(
        &format!("a log line contains {words:?}"),
        Duration::from_secs(5),
        || {
            let logged = logs(&lab)
                .lines()
                .any(|line| words.iter().all(|word| line.contains(word)));
            Ok(logged.then_some(()))
        },
    )?;
    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    let switches = lab.morpheus()?.wait_switches(1)?;
    ensure!(switches["switches"][0]["disconnects"] == 0, "{switches}");
    lab.finish()
}

/// Logs of morphd and of everything that it has started.
fn logs(lab: &Lab) -> String {
    lab.logs().into_iter().map(|(_, text)| text).collect()
}

#[test]
fn a_line_of_text_is_refused() -> Result<()> {
    undisturbed(&["closed", "a line of text", "GET"], |lab| {
        let mut peer = Peer::connect(lab.sandbox())?;
        peer.send(b"A\r\n")?;
        drop(peer);
        let mut peer = Peer::connect(lab.sandbox())?;
        peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        peer.wait_closed(TIMEOUT)
    })
}

#[test]
fn a_length_that_is_too_small_is_refused() -> Result<()> {
    undisturbed(&["closed", "length 7"], |lab| {
        let mut peer = Peer::connect(lab.sandbox())?;
        peer.send(&[4, 0, 0, 7, 0, 0, 0, 1, 4, 0, 0, 8, 0, 0, 0, 2])?;
        peer.wait_closed(TIMEOUT)
    })
}

#[test]
fn a_switch_that_stops_within_a_message_is_disconnected() -> Result<()> {
    undisturbed(&["closed", "no hello"], |lab| {
        let mut peer = Peer::connect(lab.sandbox())?;
        peer.send(&[4, 0, 255, 255, 0, 0, 0, 1, 0, 1])?;
        peer.wait_closed(TIMEOUT)
    })
}

#[test]
fn a_second_switch_with_a_known_datapath_id_is_refused() -> Result<()> {
    undisturbed(&["closed", "0000000000000001", "another id"], |lab| {
        let mut peer = Peer::connect(lab.sandbox())?;
        peer.introduce(1, TIMEOUT)?;
        peer.wait_closed(TIMEOUT)
    })
}

#[test]
fn the_proxy_raises_its_limit_of_open_files() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(1024);
    // Inherited by morphd, and by what it starts.
    setrlimit(Resource::Nofile, limit)?;
    let mut lab = Lab::new(Shape::none())?;
    lab.start_morpheus(&[])?;
    let limits = wait_until("the proxy listens", Duration::from_secs(20), || {
        let Ok(proxy) = lab.process("morph-proxy") else {
            return Ok(None);
        };
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", proxy.pid))?;
        Ok(logs(&lab)
            .contains("listening for switches")
            .then_some(limits))
    })?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let numbers: Vec<&str> = line
        .unwrap_or_default()
        .split_whitespace()
        .skip(3)
        .take(2)
        .collect();
    ensure!(
        numbers.len() == 2 && numbers[0] == numbers[1] && numbers[0] != "1024",
        "{limits}"
    );
    lab.finish()
}
