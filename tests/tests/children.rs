//! Users, permissions, limits and priorities of the processes that a root morphd starts.

use anyhow::{Context, Result, ensure};
use morph_tests::{Lab, LedgerLab, Process, Shape, wait_until};
use rustix::process::{Pid, getpriority_process, setpriority_process};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Group of all apps. The user of app 9 is 60709.
const GROUP: u32 = 60_700;
const LEDGER: u32 = GROUP + 9;
/// User id of no app.
const OTHER_USER: u32 = 4711;

/// Reads a table in /proc/PID: words of each line by what stands before `gap`.
fn read_proc(process: &Process, file: &str, gap: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let text = fs::read_to_string(format!("/proc/{}/{file}", process.pid))?;
    let lines = text.lines().filter_map(|line| line.split_once(gap));
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    Ok(lines
        .map(|(name, rest)| (name.to_owned(), words(rest)))
        .collect())
}

/// Returns those of the shell commands that succeed for this user and group.
fn successful<'a>(lab: &Lab, uid: u32, gid: u32, commands: &[&'a str]) -> Result<Vec<&'a str>> {
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

/// Niceness of the processes on the packet path, relative to morphd's, by name.
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

/// Waits until the ledger has these instances and no others, with or without raised priority. Store, proxy and the
/// second app always have it.
fn wait_priorities(ledger: &LedgerLab, instances: &[(&str, bool)]) -> Result<()> {
    let always = ["morph-stored", "morph-proxy", "ledger-other"].map(|name| (name, true));
    let wanted: BTreeMap<String, i32> = (always.iter().chain(instances))
        .map(|(name, first)| ((*name).to_owned(), if *first { -5 } else { 0 }))
        .collect();
    let found = wait_until(
        "all priorities are as expected",
        Duration::from_secs(10),
        || Ok((nicenesses(ledger)? == wanted).then_some(())),
    );
    found.with_context(|| format!("nicenesses are {:?}, not {wanted:?}", nicenesses(ledger)))
}

/// Starts an upgrade of the ledger with a long probation.
fn begin_upgrade(ledger: &LedgerLab, to: &str) -> Result<()> {
    let release = format!("app=ledger@{to}");
    let upgrade = ["upgrade", &release, "--probation", "60s", "--no-wait"];
    ledger.lab().morpheus()?.morphctl(&upgrade)?;
    Ok(())
}

fn wait_upgraded(ledger: &LedgerLab) -> Result<()> {
    wait_until("the target is live", Duration::from_secs(20), || {
        let status = ledger.lab().status("ledger")?;
        Ok((status["step"] == "UPGRADED").then_some(()))
    })
}

#[test]
fn the_packet_path_has_priority_over_morphd_except_for_an_app_in_an_upgrade() -> Result<()> {
    let mut ledger = LedgerLab::new(1)?;
    wait_priorities(&ledger, &[("ledger-1", true)])?;
    ledger.lab().process("morphd")?.kill()?;
    ledger.lab_mut().morpheus_mut()?.wait_exited()?;
    let at = ledger.lab().dir().join("ready");
    let plan = format!("morphd.upgrade.ready@{}=stop", at.display());
    let morpheus = ledger.lab_mut().morpheus_mut()?;
    morpheus.set_env("MORPH_FAIL", &plan);
    ledger.start_morphd()?;

    fs::write(&at, "")?;
    // Look for morphd before it forks: a child has the same name.
    let morphd = ledger.lab().process("morphd")?;
    begin_upgrade(&ledger, "2.0.0")?;
    wait_until(
        "the target is ready and morphd stopped",
        Duration::from_secs(20),
        || {
            let state = &read_proc(&morphd, "status", ":")?["State"];
            Ok((state[0] == "T").then_some(()))
        },
    )?;
    wait_priorities(&ledger, &[("ledger-1", false), ("ledger-2", false)])?;
    ledger.lab().morpheus()?.continue_stopped(&morphd);
    wait_upgraded(&ledger)?;
    // The target gets its priority at the first liveness probe of its probation.
    let in_probation = [("ledger-1", false), ("ledger-2", true)];
    wait_priorities(&ledger, &in_probation)?;
    let morpheus = ledger.lab().morpheus()?;
    morpheus.morphctl(&["rollback", "app=ledger"])?;
    wait_priorities(&ledger, &[("ledger-1", true)])?;

    let morphd = ledger.lab().process("morphd")?;
    begin_upgrade(&ledger, "2.0.0")?;
    wait_upgraded(&ledger)?;
    // The next morphd sets the priorities anew, whatever it finds.
    morphd.kill()?;
    ledger.lab_mut().morpheus_mut()?.wait_exited()?;
    for (release, niceness) in [("1.0.0", -5), ("2.0.0", 0)] {
        let pid = Pid::from_raw(ledger.instance(release)?.pid);
        setpriority_process(pid, niceness)?;
    }
    ledger.start_morphd()?;
    wait_priorities(&ledger, &in_probation)?;
    ledger
        .lab()
        .morpheus()?
        .morphctl(&["commit", "app=ledger"])?;
    wait_priorities(&ledger, &[("ledger-2", true)])
}

#[test]
fn an_app_of_a_root_morphd_has_its_own_user_and_reaches_only_its_sockets() -> Result<()> {
    let mut ledger = LedgerLab::new(1)?;
    let instance = ledger.instance("1.0.0")?;
    let status = read_proc(&instance, "status", ":")?;
    let all = |id: u32| vec![id.to_string(); 4];
    ensure!(status["Uid"] == all(LEDGER), "{status:?}");
    ensure!(status["Gid"] == all(GROUP), "{status:?}");
    ensure!(status["Groups"].is_empty(), "{status:?}");
    ensure!(status["CapEff"] == ["0000000000000000"], "{status:?}");
    ensure!(status["NoNewPrivs"] == ["1"], "{status:?}");
    let limits = read_proc(&instance, "limits", "  ")?;
    for (limit, most) in [
        ("Max open files", "1024"),
        ("Max processes", "256"),
        ("Max core file size", "0"),
    ] {
        ensure!(limits[limit][..2] == [most, most], "{limit}: {limits:?}");
    }

    let attempts = [
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
    let done = successful(lab, LEDGER, GROUP, &attempts)?;
    ensure!(done == attempts[9..], "an app can do {done:?}");
    let done = successful(lab, OTHER_USER, OTHER_USER, &attempts)?;
    ensure!(done.is_empty(), "another user can do {done:?}");
    ensure!(
        successful(lab, 0, 0, &["cat state/log/ledger.log"])?.len() == 1,
        "root cannot read the log: the commands are wrong"
    );

    // The next morphd adopts the instance as it is, and restarted processes have access too.
    lab.process("morphd")?.kill()?;
    ledger.lab_mut().morpheus_mut()?.wait_exited()?;
    ledger.lab().process("morph-stored")?.kill()?;
    ledger.start_morphd()?;
    let morpheus = ledger.lab().morpheus()?;
    let app = morpheus.wait_running("ledger", None)?;
    ensure!(app["pid"] == instance.inner, "{app}");
    ledger.lab().upgrade_and_commit("ledger", "2.0.0")?;
    let uid = read_proc(&ledger.instance("2.0.0")?, "status", ":")?["Uid"].clone();
    ensure!(uid == all(LEDGER), "{uid:?}");
    ledger.finish()
}

#[test]
fn without_isolation_apps_run_as_the_user_of_morphd() -> Result<()> {
    let mut lab = Lab::new(Shape::none())?;
    let file = lab.dir().join("morphd.toml");
    fs::write(&file, "[children]\nusers = \"morphd\"\n")?;
    let file = file
        .to_str()
        .context("a path that is not UTF-8")?
        .to_owned();
    lab.start_morpheus(&["--config", &file, "--app", "learning-switch"])?;
    lab.morpheus()?.wait_running("learning-switch", None)?;
    let status = read_proc(&lab.process("learning-switch")?, "status", ":")?;
    ensure!(status["Uid"] == vec!["0"; 4], "{status:?}");
    let done = successful(&lab, LEDGER, GROUP, &["test -w run/store.sock"])?;
    ensure!(done.is_empty(), "an app's user can do {done:?}");
    lab.finish()
}
