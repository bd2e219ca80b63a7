//! Metrics, also during an upgrade and while a process hangs.

use anyhow::{Context, Result, ensure};
use morph_tests::{Lab, METRICS, Metrics, Shape, long, wait_until};
use rustix::process::Signal;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(40);
/// Calls that are made while the proxy hangs; HTTP/2 by itself closes a connection after 20.
const GIVEN_UP: usize = 40;
const FLAGS: [&str; 6] = [
    "--app",
    "topology",
    "--app",
    "router@1.0.0",
    "--metrics",
    METRICS,
];

fn wait_value(lab: &Lab, sample: &str, wanted: f64) -> Result<()> {
    wait_until(&format!("{sample} is {wanted}"), DEADLINE, || {
        Ok((Metrics::read(lab)?.value(sample) == Some(wanted)).then_some(()))
    })
}

#[test]
fn metrics_are_read_during_an_upgrade_and_do_not_hinder_it() -> Result<()> {
    let lab = Lab::with_morpheus(Shape::line(2), &FLAGS)?;
    let morpheus = lab.morpheus()?;
    morpheus.wait_running("router", None)?;
    wait_value(&lab, "morpheus_switches_connected", 2.0)?;
    wait_value(&lab, "morpheus_app_running{app=\"router\"}", 1.0)?;
    // Clients that connect and never send a request, more than are served at once.
    const IDLE: &str = "import socket, time; s = [socket.create_connection(('127.0.0.1', 9099)) for _ in range(12)]; time.sleep(60)";
    let mut idle = lab.sandbox().command("/usr/bin/python3");
    let mut idle = lab.sandbox().daemon("idle", idle.args(["-c", IDLE]))?;
    let upgrade = morpheus.spawn_morphctl(&["upgrade", "app=router@2.0.0", "--probation", "3s"])?;
    let step =
        "morpheus_upgrade_step{app=\"router\",from=\"1.0.0\",to=\"2.0.0\",step=\"UPGRADED\"}";
    wait_value(&lab, step, 1.0)?;
    let output = upgrade.wait_with_output()?;
    ensure!(output.status.success(), "{output:?}");
    let page = Metrics::read(&lab)?;
    let text = page.text();
    ensure!(
        page.value(step).is_none(),
        "the step stays after the end of the upgrade: {text}"
    );
    for (sample, wanted) in [
        (
            "morpheus_upgrades_total{app=\"router\",outcome=\"committed\"}",
            1.0,
        ),
        ("morpheus_handover_seconds_count{app=\"router\"}", 1.0),
        (
            "morpheus_handover_seconds_bucket{app=\"router\",le=\"+Inf\"}",
            1.0,
        ),
        ("morpheus_part_up{part=\"morph-proxy\"}", 1.0),
        ("morpheus_part_up{part=\"morph-stored\"}", 1.0),
        ("morpheus_events_lost_total{app=\"router\"}", 0.0),
        (
            "morpheus_app_info{app=\"router\",release=\"2.0.0\",status=\"running\"}",
            1.0,
        ),
    ] {
        ensure!(page.value(sample) == Some(wanted), "{sample}: {text}");
    }
    let stdout = String::from_utf8(output.stdout)?;
    let last = stdout.lines().last().context("no status")?;
    let last: serde_json::Value = serde_json::from_str(last)?;
    let took = last["upgrades"][0]["handover_us"]
        .as_f64()
        .context("handover_us")?
        / 1e6;
    let sum = page
        .value("morpheus_handover_seconds_sum{app=\"router\"}")
        .context("sum")?;
    ensure!(
        (took - sum).abs() < 1e-6,
        "morphctl reports {took} s, the metrics {sum} s"
    );
    idle.kill()?;
    idle.wait()?;
    lab.finish()
}

#[test]
fn a_hanging_proxy_is_reported_and_left_alone() -> Result<()> {
    let lab = Lab::with_morpheus(Shape::single(1), &FLAGS)?;
    let morpheus = lab.morpheus()?;
    morpheus.wait_running("router", None)?;
    let proxy = lab.process("morph-proxy")?;
    proxy.signal(Signal::STOP)?;
    let wait_reported = |wanted: bool| {
        wait_until(
            &format!("the hanging proxy is reported: {wanted}"),
            DEADLINE,
            || {
                let answer = morpheus.try_morphctl(&["status"])?;
                let reported = answer.stderr.contains("morph-proxy (pid")
                    && answer.stderr.contains("does not answer");
                Ok((answer.code == 0 && reported == wanted).then_some(()))
            },
        )
    };
    let reported = wait_reported(true);
    // Calls that wait for the proxy, and are given up, do not count against it later.
    std::thread::scope(|scope| {
        for _ in 0..GIVEN_UP {
            scope.spawn(|| morpheus.try_morphctl(&["status"]));
        }
    });
    let up = Metrics::read(&lab).map(|page| page.value("morpheus_part_up{part=\"morph-proxy\"}"));
    proxy.signal(Signal::CONT)?;
    reported?;
    ensure!(up? == Some(0.0), "the metrics say that the proxy is up");
    wait_reported(false)?;
    ensure!(
        lab.process("morph-proxy")?.inner == proxy.inner,
        "the proxy was replaced"
    );
    let log = lab.sandbox().log("morphd");
    ensure!(
        log.contains("does not answer: switches and apps wait"),
        "{log}"
    );
    ensure!(log.contains("answers again"), "{log}");
    wait_value(&lab, "morpheus_part_up{part=\"morph-proxy\"}", 1.0)?;
    lab.finish()
}

#[test]
fn a_hanging_store_daemon_is_replaced_and_the_apps_continue() -> Result<()> {
    if !long() {
        println!("skipped: it waits for half a minute; run `make test-long`");
        return Ok(());
    }
    let lab = Lab::with_router(Shape::line(2), "2.0.0")?;
    let morpheus = lab.morpheus()?;
    let store = lab.process("morph-stored")?;
    store.signal(Signal::STOP)?;
    wait_until("another store daemon runs", DEADLINE, || {
        let another = lab.process("morph-stored").ok();
        Ok(another
            .filter(|process| process.inner != store.inner)
            .map(drop))
    })?;
    morpheus.wait_running("router", None)?;
    morpheus.morphctl(&["config", "set", "app=router", "weights.1/2=7"])?;
    lab.wait_ping(1, 2)?;
    let restarts = morpheus.app("router")?["restarts"].clone();
    ensure!(restarts == 0, "the router was restarted: {restarts}");
    lab.finish()
}
