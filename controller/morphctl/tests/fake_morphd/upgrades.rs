//! Upgrades as they come: every end of the stream, with its exit code.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};

use crate::fake::{Fake, Ran};
use rustix::process::{Pid, Signal, kill_process};

/// A morphctl that is under way.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(fake: &Fake, line: &str) -> Self {
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

    fn end(mut self) -> Ran {
        let out = self.lines.by_ref().map(Result::unwrap).collect();
        let output = self.child.wait_with_output().unwrap();
        Ran {
            code: output.status.code().expect("ended by a signal"),
            out,
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

#[test]
fn a_committed_upgrade_ends_with_0_and_its_figures() {
    let fake = Fake::start();
    let ran = fake.run("upgrade app=router@2.0.0 --probation 5s");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    let lines: Vec<&str> = ran.out.lines().collect();
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
            "events:      3 held, 1 replayed",
            "rules:       0 added, 2 changed, 0 removed, 40 unchanged",
        ]
    );
    assert_eq!(
        fake.asked(),
        "UpgradeRequest { app: \"router\", version: \"2.0.0\", probation_ms: 5000, no_wait: false, also: [], confirm_within_ms: 0, allow_loss: false, deadlines_ms: {} }"
    );
}

#[test]
fn in_json_each_status_is_an_object_of_its_own() {
    let fake = Fake::start();
    let objects = fake.json("upgrade app=router");
    assert_eq!(
        fake.asked(),
        "UpgradeRequest { app: \"router\", version: \"\", probation_ms: 0, no_wait: false, also: [], confirm_within_ms: 0, allow_loss: false, deadlines_ms: {} }"
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
fn several_apps_as_one_end_when_each_has_ended() {
    let fake = Fake::start();
    let ran = fake.run("upgrade app=router@2.0.0 app=topology");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    assert_eq!(ran.out.matches("Committed").count(), 2);
    for app in ["router", "topology"] {
        let said = format!("{app} 2.0.0 is committed");
        assert!(ran.out.contains(&said), "{ran:?}");
    }
    assert!(
        fake.asked()
            .contains("also: [AppRelease { app: \"topology\", version: \"\" }], ")
    );
    let ran = fake.run("upgrade app=crashy app=topology");
    assert_eq!(ran.code, 4, "{ran:?}");
}

#[test]
fn the_wishes_of_an_upgrade_are_handed_on() {
    let fake = Fake::start();
    let line = "upgrade app=router --confirm-within 10m --deadline start=40s --allow-loss";
    assert_eq!(fake.run(line).code, 0);
    let asked = fake.asked();
    let said = "confirm_within_ms: 600000, allow_loss: true, deadlines_ms: {\"start\": 40000} }";
    assert!(
        asked.contains("probation_ms: 0") && asked.ends_with(said),
        "{asked}"
    );
}

#[test]
fn a_plan_is_printed_and_one_that_would_be_refused_ends_with_1() {
    let fake = Fake::start();
    let plans = &fake.json("upgrade app=router --dry-run")[0]["plan"];
    assert_eq!(
        (&plans[0]["keys"], &plans[0]["steps"][0]),
        (&40.into(), &"it starts".into())
    );
    assert!(!fake.asked_ever("UpgradeRequest { app: \"broken\""));
    let ran = fake.run("upgrade app=broken --dry-run");
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.err.contains("no migration") && ran.out.starts_with("APP"),
        "{ran:?}"
    );
}

#[test]
fn upgrades_that_ended_are_listed() {
    let fake = Fake::start();
    let ran = fake.run("upgrades app=router --limit 5");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.out.contains("RolledBack  ana(1000)  operator"),
        "{ran:?}"
    );
    assert_eq!(
        fake.asked(),
        "UpgradesRequest { app: \"router\", limit: 5 }"
    );
    assert_eq!(fake.json("upgrades")[0]["upgrades"][0]["who"], "ana (1000)");
}

#[test]
fn no_wait_returns_after_the_first_status() {
    let fake = Fake::start();
    let ran = fake.run("upgrade app=endless --no-wait");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("Staged") && ran.out.contains("morphctl status --follow app=endless"));
    assert_eq!(fake.json("upgrade app=endless --no-wait").len(), 1);
}

#[test]
fn a_rolled_back_upgrade_ends_with_4() {
    let fake = Fake::start();
    let ran = fake.run("upgrade app=crashy");
    assert_eq!(ran.code, 4);
    let said = "crashy was rolled back to 1.0.0 (by crash): 2.0.0 panicked\n";
    assert_eq!(ran.err, format!("morphctl: {said}"));
    assert!(
        ran.out.contains(said) && ran.out.ends_with("and back:    2.000 ms\n"),
        "{ran:?}"
    );
    let ran = fake.run("upgrade app=broken");
    assert_eq!(ran.code, 4);
    assert!(ran.out.ends_with("hand-over:   none\n"), "{ran:?}");
    let ran = fake.run("--output json upgrade app=crashy");
    assert_eq!((ran.code, ran.out.lines().count()), (4, 8));
}

#[test]
fn a_stream_that_ends_early_leaves_the_outcome_open() {
    let fake = Fake::start();
    let ran = fake.run("upgrade app=cut");
    assert_eq!(ran.code, 5);
    assert!(
        ran.err.contains("morphctl status --follow app=cut"),
        "{ran:?}"
    );
}

#[test]
fn a_morphd_that_dies_meanwhile_leaves_the_outcome_open() {
    let fake = Fake::start();
    let mut upgrade = Running::start(&fake, "upgrade app=endless");
    let mut commit = Running::start(&fake, "commit app=endless");
    let mut follow = Running::start(&fake, "status --follow");
    assert!(upgrade.line().ends_with("Staged"));
    assert!(follow.line().ends_with("Committed"));
    while !fake.asked_ever("CommitRequest") {
        std::thread::yield_now();
    }
    drop(fake);
    let ran = upgrade.end();
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(
        ran.err.contains("lost morphd") && ran.err.contains("goes on in morphd"),
        "{ran:?}"
    );
    assert_eq!(commit.lines.next().map(Result::unwrap), None);
    let ran = commit.end();
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.err.contains("may have been done or not"), "{ran:?}");
    // Following only looks.
    assert_eq!(follow.end().code, 3);
}

#[test]
fn ctrl_c_detaches() {
    let fake = Fake::start();
    let mut upgrade = Running::start(&fake, "upgrade app=endless");
    upgrade.line();
    upgrade.ctrl_c();
    let ran = upgrade.end();
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(
        ran.err
            .starts_with("morphctl: interrupted: the outcome is open. The upgrade goes on"),
        "{ran:?}"
    );
    let mut follow = Running::start(&fake, "status --follow");
    follow.line();
    follow.ctrl_c();
    assert_eq!(follow.end().code, 0);
}

#[test]
fn an_upgrade_that_nobody_reads_is_still_waited_for() {
    let fake = Fake::start();
    let mut upgrade = Running::start(&fake, "upgrade app=crashy");
    let stdout = std::mem::replace(&mut upgrade.lines, closed());
    drop(stdout);
    assert_eq!(upgrade.end().code, 4);
}

/// The end of a pipe that nobody writes to.
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
fn commit_and_rollback_say_what_came_of_it() {
    let fake = Fake::start();
    let ran = fake.run("commit app=router");
    assert_eq!(ran.code, 0);
    assert!(
        ran.out.contains("router 2.0.0 is committed (by operator)"),
        "{ran:?}"
    );
    let ran = fake.run("commit app=crashy");
    assert_eq!(ran.code, 4, "{ran:?}");
    let ran = fake.run("rollback app=router");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(
        ran.out
            .contains("router was rolled back to 1.0.0 (by operator)"),
        "{ran:?}"
    );
    assert_eq!(
        fake.json("rollback app=router")[0]["upgrades"][0]["step"],
        "ROLLED_BACK"
    );
}
