//! As whom apps run where morphd is root, what they can reach, and how much they may have.

use anyhow::{Context, Result, ensure};
use morph_tests::{Lab, LedgerLab, Process, Shape, wait_until};
use rustix::process::{Pid, getpriority_process, setpriority_process};
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

/// The niceness of what a packet waits for against that of morphd, by name.
fn nicenesses(ledger: &LedgerLab) -> Result<BTreeMap<String, i32>> {
    let processes = ledger.lab().sandbox().processes()?;
    let nice = |process: &Process| getpriority_process(Pid::from_raw(process.pid));
    let of_morphd = processes.iter().find(|process| process.name() == "morphd");
    let of_morphd = nice(of_morphd.context("no morphd")?)?;
    let mut found = BTreeMap::new();
    for process in &processes {
        let name = process.name();
        if name.starts_with("ledger-") || ["morph-stored", "morph-proxy"].contains(&name) {
            found.insert(name.to_owned(), nice(process)? - of_morphd);
        }
    }
    Ok(found)
}

/// Waits until the ledger has these instances and no others; the store, the proxy and the second app always go first.
fn wait_going_first(ledger: &LedgerLab, instances: &[(&str, bool)]) -> Result<()> {
    let always = ["morph-stored", "morph-proxy", "ledger-other"].map(|name| (name, true));
    let wanted: BTreeMap<String, i32> = (always.iter().chain(instances))
        .map(|(name, first)| ((*name).to_owned(), if *first { -5 } else { 0 }))
        .collect();
    let found = wait_until("they take their turns", Duration::from_secs(10), || {
        Ok((nicenesses(ledger)? == wanted).then_some(()))
    });
    found.with_context(|| format!("{:?}, not {wanted:?}", nicenesses(ledger)))
}

/// Begins an upgrade of the ledger that stays in its probation.
fn begin_upgrade(ledger: &LedgerLab, to: &str) -> Result<()> {
    let release = format!("app=ledger@{to}");
    let upgrade = ["upgrade", &release, "--probation", "60s", "--no-wait"];
    ledger.lab().morpheus()?.do_(&upgrade)?;
    Ok(())
}

fn wait_upgraded(ledger: &LedgerLab) -> Result<()> {
    wait_until("it is handed over to", Duration::from_secs(20), || {
        let status = ledger.lab().status("ledger")?;
        Ok((status["step"] == "UPGRADED").then_some(()))
    })
}

#[test]
fn what_a_packet_waits_for_runs_before_morphd_unless_its_app_is_being_upgraded() -> Result<()> {
    let mut ledger = LedgerLab::new(1)?;
    wait_going_first(&ledger, &[("ledger-1", true)])?;
    ledger.lab().process("morphd")?.kill()?;
    ledger.lab_mut().morpheus_mut()?.wait_gone()?;
    let at = ledger.lab().dir().join("ready");
    let plan = format!("morphd.upgrade.ready@{}=stop", at.display());
    let morpheus = ledger.lab_mut().morpheus_mut()?;
    morpheus.set_env("MORPH_FAIL", &plan);
    ledger.start_again()?;

    fs::write(&at, "")?;
    // Looked for before it forks.
    let morphd = ledger.lab().process("morphd")?;
    begin_upgrade(&ledger, "2.0.0")?;
    wait_until("the newcomer is ready", Duration::from_secs(20), || {
        let state = &proc(&morphd, "status", ":")?["State"];
        Ok((state[0] == "T").then_some(()))
    })?;
    wait_going_first(&ledger, &[("ledger-1", false), ("ledger-2", false)])?;
    ledger.lab().morpheus()?.go_on(&morphd);
    wait_upgraded(&ledger)?;
    // From the first look in its probation on.
    let looked_at = [("ledger-1", false), ("ledger-2", true)];
    wait_going_first(&ledger, &looked_at)?;
    let morpheus = ledger.lab().morpheus()?;
    morpheus.do_(&["rollback", "app=ledger"])?;
    wait_going_first(&ledger, &[("ledger-1", true)])?;

    let morphd = ledger.lab().process("morphd")?;
    begin_upgrade(&ledger, "2.0.0")?;
    wait_upgraded(&ledger)?;
    // The next morphd goes on with it, however it finds them.
    morphd.kill()?;
    ledger.lab_mut().morpheus_mut()?.wait_gone()?;
    for (release, niceness) in [("1.0.0", -5), ("2.0.0", 0)] {
        let pid = Pid::from_raw(ledger.instance(release)?.pid);
        setpriority_process(pid, niceness)?;
    }
    ledger.start_again()?;
    wait_going_first(&ledger, &looked_at)?;
    ledger.lab().morpheus()?.do_(&["commit", "app=ledger"])?;
    wait_going_first(&ledger, &[("ledger-2", true)])
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
