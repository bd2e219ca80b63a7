//! Upgrades: every end of the stream of statuses, with its exit code.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};

use crate::fake::{FakeMorphd, RunResult};
use rustix::process::{Pid, Signal, kill_process};

/// Process of morphctl that has not ended.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(fake: &FakeMorphd, line: &str) -> Self {
        let mut child = fake
            .command(line)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    fn ctrl_c(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
    }

    fn end(mut self) -> RunResult {
        let out = self.lines.by_ref().map(Result::unwrap).collect();
        let output = self.child.wait_with_output().unwrap();
        RunResult {
            code: output.status.code().expect("ended by a signal"),
            out,
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

#[test]
fn a_committed_upgrade_ends_with_0_and_its_figures() {
    let fake = FakeMorphd::start();
    let result = fake.run("upgrade app=router@2.0.0 --probation 5s");
    assert_eq!((result.code, result.err.as_str()), (0, ""), "{result:?}");
    let lines: Vec<&str> = result.out.lines().collect();
    let first = "2023-11-14T22:13:20.001Z    +0.001 s  router 1.0.0 -> 2.0.0  Staged";
    assert_eq!(lines[0], first);
    let steps = [
        "Staged",
        "Starting",
        "Ready",
        "Quiescing",
        "Resuming",
        "Upgraded",
        "Committed",
    ];
    for (line, step) in lines.iter().zip(steps) {
        assert!(line.ends_with(step), "{line}");
    }
    assert_eq!(
        lines[steps.len()..],
        [
            "router 2.0.0 is committed (by probation)",
            "hand-over:   4.210 ms",
            "events:      3 held, 1 replayed, 0 handled in the probation",
            "rules:       0 added, 2 changed, 0 removed, 40 unchanged",
        ]
    );
    assert_eq!(
        fake.last_request(),
        "UpgradeRequest { app: \"router\", version: \"2.0.0\", probation_ms: 5000, no_wait: false, also: [], confirm_within_ms: 0, allow_loss: false, deadlines_ms: {}, min_events: None, allow_rule_loss: false }"
    );
}

#[test]
fn each_status_is_a_json_object_on_its_own_line() {
    let fake = FakeMorphd::start();
    let objects = fake.json("upgrade app=router");
    assert_eq!(
        fake.last_request(),
        "UpgradeRequest { app: \"router\", version: \"\", probation_ms: 0, no_wait: false, also: [], confirm_within_ms: 0, allow_loss: false, deadlines_ms: {}, min_events: None, allow_rule_loss: false }"
    );
    assert_eq!(objects.len(), 7);
    assert!(
        objects
            .iter()
            .all(|object| object["upgrades"].as_array().map(Vec::len) == Some(1))
    );
    let last = &objects[6]["upgrades"][0];
    assert_eq!(
        (&last["step"], &last["by"]),
        (&"COMMITTED".into(), &"probation".into())
    );
    assert_eq!(
        (&last["rules_unchanged"], &last["events_held"]),
        (&40.into(), &3.into())
    );
}

#[test]
fn a_group_upgrade_ends_when_each_app_has_ended() {
    let fake = FakeMorphd::start();
    let result = fake.run("upgrade app=router@2.0.0 app=topology");
    assert_eq!((result.code, result.err.as_str()), (0, ""), "{result:?}");
    assert_eq!(result.out.matches("Committed").count(), 2);
    for app in ["router", "topology"] {
        let expected = format!("{app} 2.0.0 is committed");
        assert!(result.out.contains(&expected), "{result:?}");
    }
    assert!(
        fake.last_request()
            .contains("also: [AppRelease { app: \"topology\", version: \"\" }], ")
    );
    let result = fake.run("upgrade app=crashy app=topology");
    assert_eq!(result.code, 4, "{result:?}");
}

#[test]
fn the_options_of_an_upgrade_are_passed_on() {
    let fake = FakeMorphd::start();
    let line =
        "upgrade app=router --confirm-within 10m --deadline start=40s --allow-loss --min-events 5";
    assert_eq!(fake.run(line).code, 0);
    let request = fake.last_request();
    let expected = "confirm_within_ms: 600000, allow_loss: true, deadlines_ms: {\"start\": 40000}, min_events: Some(5), allow_rule_loss: false }";
    assert!(
        request.contains("probation_ms: 0") && request.ends_with(expected),
        "{request}"
    );
}

#[test]
fn a_plan_is_printed_and_ends_with_1_if_it_would_be_refused() {
    let fake = FakeMorphd::start();
    let plans = &fake.json("upgrade app=router --dry-run")[0]["plan"];
    assert_eq!(
        (&plans[0]["keys"], &plans[0]["steps"][0]),
        (&40.into(), &"it starts".into())
    );
    assert!(!fake.has_request("UpgradeRequest { app: \"broken\""));
    let result = fake.run("upgrade app=broken --dry-run");
    assert_eq!(result.code, 1, "{result:?}");
    assert!(
        result.err.contains("no migration") && result.out.starts_with("APP"),
        "{result:?}"
    );
}

#[test]
fn ended_upgrades_are_listed() {
    let fake = FakeMorphd::start();
    let result = fake.run("upgrades app=router --limit 5");
    assert_eq!(result.code, 0, "{result:?}");
    assert!(
        result.out.contains("RolledBack  ana(1000)  operator"),
        "{result:?}"
    );
    assert_eq!(
        fake.last_request(),
        "UpgradesRequest { app: \"router\", limit: 5 }"
    );
    assert_eq!(fake.json("upgrades")[0]["upgrades"][0]["who"], "ana (1000)");
}

#[test]
fn no_wait_returns_after_the_first_status() {
    let fake = FakeMorphd::start();
    let result = fake.run("upgrade app=endless --no-wait");
    assert_eq!(result.code, 0, "{result:?}");
    assert!(
        result.out.contains("Staged")
            && result.out.contains("morphctl status --follow app=endless")
    );
    assert_eq!(fake.json("upgrade app=endless --no-wait").len(), 1);
}

#[test]
fn a_rolled_back_upgrade_ends_with_4() {
    let fake = FakeMorphd::start();
    let result = fake.run("upgrade app=crashy");
    assert_eq!(result.code, 4);
    let outcome = "crashy was rolled back to 1.0.0 (by crash): 2.0.0 panicked\n";
    assert_eq!(result.err, format!("morphctl: {outcome}"));
    assert!(
        result.out.contains(outcome) && result.out.ends_with("and back:    2.000 ms\n"),
        "{result:?}"
    );
    let result = fake.run("upgrade app=broken");
    assert_eq!(result.code, 4);
    assert!(result.out.ends_with("hand-over:   none\n"), "{result:?}");
    let result = fake.run("--output json upgrade app=crashy");
    assert_eq!((result.code, result.out.lines().count()), (4, 8));
}

#[test]
fn after_a_stream_that_ends_early_the_outcome_is_unknown() {
    let fake = FakeMorphd::start();
    let result = fake.run("upgrade app=cut");
    assert_eq!(result.code, 5);
    assert!(
        result.err.contains("morphctl status --follow app=cut"),
        "{result:?}"
    );
}

#[test]
fn after_the_death_of_morphd_the_outcome_is_unknown() {
    let fake = FakeMorphd::start();
    let mut upgrade = Running::start(&fake, "upgrade app=endless");
    let mut commit = Running::start(&fake, "commit app=endless");
    let mut follow = Running::start(&fake, "status --follow");
    assert!(upgrade.line().ends_with("Staged"));
    assert!(follow.line().ends_with("Committed"));
    while !fake.has_request("CommitRequest") {
        std::thread::yield_now();
    }
    drop(fake);
    let result = upgrade.end();
    assert_eq!(result.code, 5, "{result:?}");
    assert!(
        result.err.contains("lost the connection to morphd")
            && result.err.contains("continues in morphd"),
        "{result:?}"
    );
    assert_eq!(commit.lines.next().map(Result::unwrap), None);
    let result = commit.end();
    assert_eq!(result.code, 5, "{result:?}");
    assert!(
        result.err.contains("may or may not have been carried out"),
        "{result:?}"
    );
    // Following changes nothing.
    assert_eq!(follow.end().code, 3);
}

#[test]
fn ctrl_c_detaches() {
    let fake = FakeMorphd::start();
    let mut upgrade = Running::start(&fake, "upgrade app=endless");
    upgrade.line();
    upgrade.ctrl_c();
    let result = upgrade.end();
    assert_eq!(result.code, 5, "{result:?}");
    assert!(
        result
            .err
            .starts_with("morphctl: interrupted: outcome unknown. The upgrade continues"),
        "{result:?}"
    );
    let mut follow = Running::start(&fake, "status --follow");
    follow.line();
    follow.ctrl_c();
    assert_eq!(follow.end().code, 0);
}

#[test]
fn an_upgrade_is_awaited_even_if_nobody_reads_the_output() {
    let fake = FakeMorphd::start();
    let mut upgrade = Running::start(&fake, "upgrade app=crashy");
    let stdout = std::mem::replace(&mut upgrade.lines, closed());
    drop(stdout);
    assert_eq!(upgrade.end().code, 4);
}

/// Makes the reading end of a pipe that nobody writes to.
fn closed() -> Lines<BufReader<ChildStdout>> {
    let mut child = std::process::Command::new("true")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    child.wait().unwrap();
    lines
}

#[test]
fn commit_and_rollback_print_their_outcome() {
    let fake = FakeMorphd::start();
    let result = fake.run("commit app=router");
    assert_eq!(result.code, 0);
    assert!(
        result
            .out
            .contains("router 2.0.0 is committed (by operator)"),
        "{result:?}"
    );
    let result = fake.run("commit app=crashy");
    assert_eq!(result.code, 4, "{result:?}");
    let result = fake.run("rollback app=router");
    assert_eq!((result.code, result.err.as_str()), (0, ""));
    assert!(
        result
            .out
            .contains("router was rolled back to 1.0.0 (by operator)"),
        "{result:?}"
    );
    assert_eq!(
        fake.json("rollback app=router")[0]["upgrades"][0]["step"],
        "ROLLED_BACK"
    );
}
