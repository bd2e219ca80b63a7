//! Switches that refuse requests which OpenFlow demands: they are used without what these ask for. What each of many messages is
//! refused for is logged once.

use anyhow::{Context, Result, ensure};
use morph_fake_switch::RequestKind;
use morph_openflow::MessageType;
use morph_openflow::v13::multipart_kind;
use morph_tests::{Lab, Shape, Switches, wait_until};
use std::time::Duration;

const APP: &str = "learning-switch";
/// Tables of learning-switch: by source, and by destination.
const TABLES: [u8; 2] = [1, 2];
const DEADLINE: Duration = Duration::from_secs(30);

/// Requests that each switch refuses, by datapath id from 1, with morphctl's names for them.
const REFUSED: [(RequestKind, &str); 6] = [
    (
        RequestKind::Message(MessageType::BARRIER_REQUEST),
        "barrier",
    ),
    (RequestKind::Message(MessageType::ECHO_REQUEST), "echo"),
    (RequestKind::Message(MessageType::ROLE_REQUEST), "role"),
    (RequestKind::Message(MessageType::SET_CONFIG), "set-config"),
    (
        RequestKind::Multipart(multipart_kind::PORT_DESC),
        "port-desc",
    ),
    (RequestKind::Multipart(multipart_kind::DESC), "desc"),
];

#[test]
fn hosts_of_a_switch_that_refuses_requests_get_their_rules() -> Result<()> {
    let mut lab = Lab::new(Shape::none())?;
    lab.start_morpheus(&["--app", APP])?;
    lab.morpheus()?.wait_running(APP, None)?;
    let refuse = |dpid: u64, datapath: &mut morph_fake_switch::Datapath| {
        let refused = usize::try_from(dpid - 1)
            .ok()
            .and_then(|at| REFUSED.get(at));
        let kinds = refused.map(|(kind, _)| *kind);
        datapath.refuse(kinds.as_slice());
    };
    let switches = Switches::start_with(lab.sandbox(), REFUSED.len(), refuse)?;
    switches.wait_punting(1)?;
    for (dpid, (_, name)) in (1..).zip(REFUSED) {
        switches.burst(dpid, 1, 1, None);
        let what = format!("the switch that refuses {name} requests has the rules of a host");
        wait_until(&what, DEADLINE, || {
            let rules = TABLES.map(|table| switches.rules(dpid, table).len());
            Ok((rules == [2, 2]).then_some(()))
        })?;
    }
    // Longer than a switch may be silent before it is probed: the refusal of an echo request shows that it lives.
    let listed = wait_until("all refusals are listed", DEADLINE, || {
        let listed = lab.morpheus()?.morphctl(&["switches"])?;
        let listed = listed["switches"].as_array().context("switches")?.clone();
        let refused = |(listed, name): (&serde_json::Value, &str)| listed["refuses"][0] == name;
        let names = REFUSED.iter().map(|(_, name)| *name);
        let all = listed.len() == REFUSED.len() && listed.iter().zip(names).all(refused);
        Ok(all.then_some(listed))
    })?;
    ensure!(
        listed.iter().all(|switch| switch["disconnects"] == 0),
        "{listed:?}"
    );
    switches.check_no_disconnects()?;
    switches.stop()?;
    lab.finish()
}

#[test]
fn a_switch_that_refuses_each_packet_out_has_one_line_in_each_log() -> Result<()> {
    const PACKETS: u64 = 300;
    let mut lab = Lab::new(Shape::none())?;
    lab.start_morpheus(&["--app", APP])?;
    lab.morpheus()?.wait_running(APP, None)?;
    let switches = Switches::start(lab.sandbox(), 1)?;
    switches.wait_punting(1)?;
    switches.refuse(1, &[RequestKind::Message(MessageType::PACKET_OUT)]);
    switches.burst(1, 1, PACKETS, None);
    wait_until("all packet-outs are refused", DEADLINE, || {
        let listed = lab.morpheus()?.morphctl(&["switches"])?;
        let errors = listed["switches"][0]["errors"].as_u64();
        Ok((errors == Some(PACKETS)).then_some(()))
    })?;
    let logs = lab.logs();
    let lines = logs.iter().flat_map(|(_, text)| text.lines());
    let lines: Vec<&str> = lines
        .filter(|line| line.contains("reported an error"))
        .collect();
    // A line of the proxy, and a line of the app.
    ensure!(lines.len() == 2, "{} lines: {lines:#?}", lines.len());
    ensure!(
        lines
            .iter()
            .all(|line| line.contains("packet-out to port FLOOD")),
        "{lines:?}"
    );
    switches.stop()?;
    lab.finish()
}
