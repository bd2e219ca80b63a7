//! An operator's work beside upgrades: inspect, clean, remove apps and start them again.

use anyhow::{Context, Result, ensure};
use morph_tests::{Lab, Shape, bin, wait_until};
use std::io::{BufRead, BufReader};
use std::time::Duration;

const TOPOLOGY: u8 = 2;
const ROUTER: u8 = 3;
const DEADLINE: Duration = Duration::from_secs(15);

/// Checks that morphctl refuses the command, with this text.
fn refused(lab: &Lab, args: &[&str], text: &str) -> Result<()> {
    let answer = lab.morpheus()?.try_morphctl(args)?;
    ensure!(
        answer.code == 1 && answer.stderr.contains(text),
        "{args:?}: {answer:?}"
    );
    Ok(())
}

/// Number of rules of an app on all switches.
fn rules(lab: &Lab, app: u8) -> Result<usize> {
    Ok(lab.rules(app)?.len())
}

fn wait_rules(lab: &Lab, app: u8, count: usize) -> Result<()> {
    wait_until(&format!("{count} rules of app {app}"), DEADLINE, || {
        Ok((rules(lab, app)? == count).then_some(()))
    })
}

#[test]
fn a_switch_is_cleaned_and_an_app_removed_without_its_rules() -> Result<()> {
    let lab = Lab::with_router(Shape::line(2), "2.0.0")?;
    let morpheus = lab.morpheus()?;
    let switches = morpheus.morphctl(&["switches"])?;
    ensure!(switches["switches"][0]["role"] == "equal", "{switches}");
    // A mistyped name is an error rather than an empty answer, and a value that the app could not use is not stored.
    refused(
        &lab,
        &["flows", "1", "app=ruoter"],
        "there is no app ruoter",
    )?;
    let never = "learning-switch is installed (1.2.0) and was never started";
    refused(&lab, &["app", "stop", "learning-switch"], never)?;
    refused(
        &lab,
        &["config", "set", "app=router", "weights.1/2=heavy"],
        "a whole number",
    )?;
    refused(
        &lab,
        &["config", "set", "app=router", "weights.s1=5"],
        "DPID/PORT",
    )?;

    // All rules of Morpheus go and come back. The foreign rule stays.
    lab.ovs().ofctl(
        "add-flow",
        "s1",
        &["cookie=7,table=200,priority=9,actions=drop"],
    )?;
    lab.wait_ping(1, 2)?;
    let counts = (rules(&lab, TOPOLOGY)?, rules(&lab, ROUTER)?);
    let before = lab.rules(ROUTER)?;
    let cleaned = morpheus.morphctl(&["switch", "clean", "1"])?;
    let rows = cleaned["cleaned"].as_array().context("cleaned")?;
    ensure!(
        rows.len() == 3 && rows.iter().all(|row| row["comes_back"] == true),
        "{cleaned}"
    );
    wait_rules(&lab, TOPOLOGY, counts.0)?;
    wait_rules(&lab, ROUTER, counts.1)?;
    lab.wait_ping(1, 2)?;
    let (touched, _) = morph_tests::touched(&before, &lab.rules(ROUTER)?);
    ensure!(
        !touched.is_empty() && touched.iter().all(|rule| rule.contains("s1")),
        "{touched:?}"
    );
    let flows = morpheus.morphctl(&["flows", "1", "app=foreign"])?;
    ensure!(
        flows["flows"].as_array().map(Vec::len) == Some(1),
        "{flows}"
    );
    refused(
        &lab,
        &["switch", "clean", "77"],
        "no switch 000000000000004d",
    )?;

    // Rules stay when their app is removed. When the app is started again, it adopts them.
    let kept = lab.rules(ROUTER)?;
    morpheus.morphctl(&["app", "remove", "router", "--keep-rules"])?;
    wait_until(
        "a ping fails: the switches bypass the removed app",
        DEADLINE,
        || {
            let failed = lab.ping(1, 2, 100, 1)?.finish()?.received == 0;
            Ok(failed.then_some(()))
        },
    )?;
    ensure!(
        rules(&lab, ROUTER)? == counts.1,
        "rules of the removed app are gone"
    );
    // Rules of an app that was removed do not come back.
    let cleaned = morpheus.morphctl(&["switch", "clean", "2"])?;
    let router = cleaned["cleaned"].as_array().context("cleaned")?.iter();
    let router = router
        .clone()
        .find(|row| row["app"] == "router")
        .context("router")?;
    ensure!(router["comes_back"] == false, "{cleaned}");
    morpheus.morphctl(&["app", "start", "router"])?;
    morpheus.wait_running("router", None)?;
    wait_rules(&lab, ROUTER, counts.1)?;
    lab.wait_ping(1, 2)?;
    let (touched, in_both) = morph_tests::touched(&kept, &lab.rules(ROUTER)?);
    ensure!(
        in_both > 0 && touched.iter().all(|rule| rule.contains("s2")),
        "{touched:?}"
    );
    lab.finish()
}

#[test]
fn a_switch_that_is_gone_for_good_is_forgotten() -> Result<()> {
    let lab = Lab::with_router(Shape::line(3), "2.0.0")?;
    let morpheus = lab.morpheus()?;
    lab.wait_ping(1, 3)?;
    morpheus.morphctl(&[
        "config",
        "set",
        "app=router",
        "weights.3/1=5",
        "weights.2/1=5",
    ])?;
    morpheus.morphctl(&["config", "set", "app=topology", "edges.3/9=true"])?;
    let why = "switch 0000000000000003 is connected, so it would be known again at once";
    refused(&lab, &["switch", "forget", "3"], why)?;
    lab.ovs().vsctl(&["del-br", "s3"])?;
    wait_until("switch 3 is gone", DEADLINE, || {
        let switches = morpheus.morphctl(&["switches"])?;
        Ok((switches["switches"].as_array().map(Vec::len) == Some(2)).then_some(()))
    })?;
    let is_stored = || -> Result<bool> {
        let mut rows = String::new();
        for app in ["app=topology", "app=router"] {
            rows += &morpheus.morphctl(&["store", "list", app])?.to_string();
        }
        Ok(rows.contains("0000000000000003"))
    };
    ensure!(is_stored()?, "a switch that is away keeps its place");
    let told = morpheus.morphctl(&["switch", "forget", "3"])?;
    ensure!(
        told["forgotten"].as_array().map(Vec::len) == Some(2),
        "{told}"
    );
    wait_until("nothing is stored about switch 3", DEADLINE, || {
        Ok((!is_stored()?).then_some(()))
    })?;
    let weights = morpheus.morphctl(&["config", "get", "app=router", "weights"])?;
    ensure!(
        weights.to_string().contains("weights.0000000000000002/1"),
        "{weights}"
    );
    lab.wait_ping(1, 2)?;
    // A switch that was never seen is forgotten at no cost.
    morpheus.morphctl(&["switch", "forget", "77"])?;
    lab.finish()
}

#[test]
fn a_followed_log_continues_with_the_next_instance() -> Result<()> {
    let lab = Lab::with_morpheus(Shape::single(2), &["--app", "learning-switch"])?;
    let morpheus = lab.morpheus()?;
    let first = morpheus.wait_running("learning-switch", None)?;
    let mut child =
        morpheus.spawn_morphctl(&["logs", "app=learning-switch", "--tail", "1", "--follow"])?;
    let out = child.stdout.take().context("stdout")?;
    // One line is read at a time; the bound only has to hold what a log prints meanwhile.
    let (sender, lines) = std::sync::mpsc::sync_channel(64);
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines.recv_timeout(DEADLINE).context("the last line")?;
    let pid = u32::try_from(first["pid"].as_u64().context("pid")?)?;
    lab.process("learning-switch")?.kill()?;
    let second = morpheus.wait_running("learning-switch", Some(pid))?;
    let epoch = second["epoch"].as_u64().context("epoch")?;
    let text = format!("epoch {epoch}");
    loop {
        let line = lines
            .recv_timeout(DEADLINE)
            .with_context(|| format!("{text:?} is missing"))?;
        if line.contains(&text) {
            break;
        }
    }
    child.kill()?;
    child.wait()?;
    lab.finish()
}

/// State of a check, its finding, and its remedy.
type Check = (String, String, String);

/// Runs `morphctl doctor` in the lab's network; returns its exit code and the checks that are not ok.
fn doctor(lab: &Lab) -> Result<(i32, Vec<Check>)> {
    let endpoint = lab.dir().join("run/api.sock");
    let db = lab.dir().join("ovs/db.sock");
    let mut command = lab.sandbox().command(bin("morphctl")?);
    command
        .arg("--endpoint")
        .arg(format!("unix:{}", endpoint.display()));
    command.args(["--output", "json", "doctor", "--ovs-db"]);
    command.arg(format!("unix:{}", db.display()));
    let output = command.output()?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let json: serde_json::Value =
        serde_json::from_str(&stdout).with_context(|| format!("{output:?}"))?;
    let text =
        |check: &serde_json::Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
    let checks = json["checks"].as_array().context("checks")?.iter();
    let checks = checks.filter(|check| check["state"] != "ok");
    let checks = checks.map(|check| {
        (
            text(check, "state"),
            text(check, "found"),
            text(check, "mend"),
        )
    });
    Ok((output.status.code().context("code")?, checks.collect()))
}

/// Listens on the OpenFlow port while a file exists.
const LISTENER: &str = "
import os, socket, sys, time
listener = socket.socket()
listener.bind(('0.0.0.0', 6653))
listener.listen()
while os.path.exists(sys.argv[1]):
    time.sleep(0.1)
";

/// Waits until the doctor reports this finding with this remedy.
fn wait_finding(lab: &Lab, state: &str, finding: &str, remedy: &str) -> Result<()> {
    let mut last = None;
    let found = wait_until(&format!("the doctor finds {finding:?}"), DEADLINE, || {
        let (code, checks) = doctor(lab)?;
        let is = |(s, found, mend): &Check| {
            s == state && found.contains(finding) && mend.contains(remedy)
        };
        let found = checks.iter().any(is) && (code == 1 || state != "trouble");
        last = Some((code, checks));
        Ok(found.then_some(()))
    });
    found.with_context(|| format!("last report: {last:?}"))
}

#[test]
fn the_doctor_finds_what_stops_a_switch_and_names_the_remedy() -> Result<()> {
    let mut lab = Lab::new(Shape::line(2))?;
    // Before Morpheus starts, a foreign controller holds the port.
    let file = lab.dir().join("listener");
    std::fs::write(&file, "")?;
    let mut python = lab.sandbox().command("/usr/bin/python3");
    python.args(["-c", LISTENER]).arg(&file);
    let mut listener = lab.sandbox().daemon("listener", &mut python)?;
    wait_finding(&lab, "trouble", "python3 (pid", "--openflow")?;
    wait_finding(&lab, "trouble", "cannot reach morphd", "start morphd")?;
    wait_finding(
        &lab,
        "warning",
        "has no controller",
        "ovs-vsctl set-controller s1",
    )?;
    std::fs::remove_file(&file)?;
    listener.wait()?;
    lab.start_morpheus(&["--app", "learning-switch"])?;
    lab.attach()?;
    lab.morpheus()?.wait_switches(2)?;
    lab.morpheus()?.wait_running("learning-switch", None)?;
    for bridge in ["s1", "s2"] {
        lab.ovs().vsctl(&["set-fail-mode", bridge, "secure"])?;
    }
    wait_until("the doctor finds no fault", DEADLINE, || {
        let (code, checks) = doctor(&lab)?;
        Ok((code == 0 && checks.is_empty()).then_some(()))
    })
    .with_context(|| format!("{:?}", doctor(&lab)))?;
    lab.ovs().vsctl(&["set-fail-mode", "s1", "standalone"])?;
    wait_finding(
        &lab,
        "warning",
        "fail_mode is standalone",
        "set-fail-mode s1 secure",
    )?;
    lab.ovs()
        .vsctl(&["set", "bridge", "s2", "protocols=OpenFlow11"])?;
    wait_finding(
        &lab,
        "trouble",
        "speaks OpenFlow11 only",
        "protocols=OpenFlow13",
    )?;
    wait_finding(
        &lab,
        "trouble",
        "was refused: speaks OpenFlow 1.1 only",
        "protocols=OpenFlow13",
    )?;
    lab.ovs().vsctl(&[
        "set",
        "bridge",
        "s2",
        "protocols=OpenFlow13",
        "other_config:datapath-id=0000000000000001",
    ])?;
    wait_finding(
        &lab,
        "trouble",
        "have the same datapath id",
        "other_config:datapath-id=",
    )?;
    lab.finish()
}
