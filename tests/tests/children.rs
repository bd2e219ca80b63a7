//! As whom apps run where morphd is root, what they can reach, and how much they may have.

use anyhow::{Context, Result, ensure};
use morph_tests::{Lab, LedgerLab, Process, Shape, wait_until};
use rustix::process::{Pid, getpriority_process};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// The group of all; app 9 is user 60709.
const GROUP: u32 = 60_700;
const LEDGER: u32 = GROUP + 9;
/// Somebody else.
const STRANGER: u32 = 4711;

/// A table of /proc/PID: its lines by their first words.
fn proc(process: &Process, file: &str, gap: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let text = fs::read_to_string(format!("/proc/{}/{file}", process.pid))?;
    let lines = text.lines().filter_map(|line| line.split_once(gap));
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    Ok(lines
        .map(|(name, rest)| (name.to_owned(), words(rest)))
        .collect())
}

/// Which of these shell commands succeed for a user of the apps' group or of none.
fn succeed<'a>(lab: &Lab, uid: u32, gid: u32, commands: &[&'a str]) -> Result<Vec<&'a str>> {
    let mut done = Vec::new();
    for command in commands {
        let (user, group) = (format!("--reuid={uid}"), format!("--regid={gid}"));
        let mut setpriv = lab.sandbox().command("setpriv");
        setpriv.args([&user, &group, "--clear-groups", "--inh-caps=-all"]);
        let there = format!("cd {} && {{ {command}; }}", lab.dir().display());
        setpriv.args(["sh", "-c", &there]);
        if setpriv.output().context("setpriv")?.status.success() {
            done.push(*command);
        }
    }
    Ok(done)
}

/// What a packet waits for, and whether it runs before morphd.
fn go_before_morphd(ledger: &LedgerLab) -> Result<BTreeMap<String, bool>> {
    let processes = ledger.lab().sandbox().processes()?;
    let nice = |process: &Process| getpriority_process(Pid::from_raw(process.pid));
    let of_morphd = processes.iter().find(|process| process.name() == "morphd");
    let of_morphd = nice(of_morphd.context("no morphd")?)?;
    let mut found = BTreeMap::new();
    for process in &processes {
        if ["morph-stored", "morph-proxy", "ledger-1"].contains(&process.name()) {
            found.insert(process.name().to_owned(), nice(process)? < of_morphd);
        }
    }
    Ok(found)
}

#[test]
fn what_a_packet_waits_for_runs_before_morphd() -> Result<()> {
    let ledger = LedgerLab::new(1)?;
    wait_until("all run before morphd", Duration::from_secs(10), || {
        let found = go_before_morphd(&ledger)?;
        Ok((found.len() == 3 && found.values().all(|first| *first)).then_some(()))
    })
}

#[test]
fn an_app_of_a_root_morphd_is_a_user_of_its_own_and_reaches_only_its_sockets() -> Result<()> {
    let mut ledger = LedgerLab::new(1)?;
    let instance = ledger.instance("1.0.0")?;
    let status = proc(&instance, "status", ":")?;
    let all = |id: u32| vec![id.to_string(); 4];
    ensure!(status["Uid"] == all(LEDGER), "{status:?}");
    ensure!(status["Gid"] == all(GROUP), "{status:?}");
    ensure!(status["Groups"].is_empty(), "{status:?}");
    ensure!(status["CapEff"] == ["0000000000000000"], "{status:?}");
    ensure!(status["NoNewPrivs"] == ["1"], "{status:?}");
    let limits = proc(&instance, "limits", "  ")?;
    for (limit, most) in [
        ("Max open files", "1024"),
        ("Max processes", "256"),
        ("Max core file size", "0"),
    ] {
        ensure!(limits[limit][..2] == [most, most], "{limit}: {limits:?}");
    }

    let tries = [
        "cat state/store/* >/dev/null",
        "ls state/store state",
        "cat state/log/ledger.log",
        "echo x >> state/log/other.log",
        "test -e state/log/other.log",
        "touch run/instances/ledger-1",
        "rm -f run/store.sock && test ! -e run/store.sock",
        "test -w run/api.sock",
        "test -w run/proxy.sock",
        "test -w run/store.sock",
        "test -w run/sessions.sock",
    ];
    let lab = ledger.lab();
    let done = succeed(lab, LEDGER, GROUP, &tries)?;
    ensure!(done == tries[9..], "an app can: {done:?}");
    let done = succeed(lab, STRANGER, STRANGER, &tries)?;
    ensure!(done.is_empty(), "a stranger can: {done:?}");
    ensure!(
        succeed(lab, 0, 0, &["cat state/log/ledger.log"])?.len() == 1,
        "the tries themselves are wrong"
    );

    // The next morphd takes it over as it is, and so do parts that are started again.
    lab.process("morphd")?.kill()?;
    ledger.lab_mut().morpheus_mut()?.wait_gone()?;
    ledger.lab().process("morph-stored")?.kill()?;
    ledger.start_again()?;
    let morpheus = ledger.lab().morpheus()?;
    let app = morpheus.wait_running("ledger", None)?;
    ensure!(app["pid"] == instance.inner, "{app}");
    ledger.lab().upgrade_for_good("ledger", "2.0.0")?;
    let uid = proc(&ledger.instance("2.0.0")?, "status", ":")?["Uid"].clone();
    ensure!(uid == all(LEDGER), "{uid:?}");
    ledger.finish()
}

#[test]
fn where_it_is_switched_off_apps_run_as_morphd_does() -> Result<()> {
    let mut lab = Lab::new(Shape::none())?;
    let file = lab.dir().join("morphd.toml");
    fs::write(&file, "[children]\nusers = \"morphd\"\n")?;
    let file = file.to_str().context("a path that is no text")?.to_owned();
    lab.start_morpheus(&["--config", &file, "--app", "learning-switch"])?;
    lab.morpheus()?.wait_running("learning-switch", None)?;
    let status = proc(&lab.process("learning-switch")?, "status", ":")?;
    ensure!(status["Uid"] == vec!["0"; 4], "{status:?}");
    let done = succeed(&lab, LEDGER, GROUP, &["test -w run/store.sock"])?;
    ensure!(done.is_empty(), "an app's user can: {done:?}");
    lab.finish()
}
