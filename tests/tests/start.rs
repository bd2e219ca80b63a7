//! A morphd that cannot start says why and exits; one that runs is not disturbed.

use anyhow::{Result, ensure};
use morph_tests::{Lab, Shape, bin, wait_until};
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

/// Runs `fault` on a network in use. No ping may be lost.
fn undisturbed(fault: impl FnOnce(&Lab) -> Result<()>) -> Result<()> {
    let lab = Lab::with_morpheus(Shape::single(2), &["--app", "learning-switch"])?;
    lab.wait_ping(1, 2)?;
    let ping = lab.ping_continuously(1, 2, 1)?;
    fault(&lab)?;
    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    lab.finish()
}

/// Checks that the command exits with an error whose text contains these words.
fn fails(lab: &Lab, command: &mut Command, words: &[&str]) -> Result<()> {
    let log = format!(
        "failing-{}",
        words[0].replace(|c: char| !c.is_alphanumeric(), "")
    );
    let mut child = lab.sandbox().daemon(&log, command)?;
    let status = wait_until("the process ends", Duration::from_secs(10), || {
        Ok(child.try_wait()?)
    })?;
    let text = lab.sandbox().log(&log);
    ensure!(!status.success(), "{status}: {text}");
    for word in words {
        ensure!(text.contains(word), "{word:?} is missing: {text}");
    }
    Ok(())
}

/// Command for a morphd with state and run directories of this name.
fn morphd(lab: &Lab, name: &str) -> Result<Command> {
    let mut command = lab.sandbox().command(bin("morphd")?);
    for kind in ["state", "run"] {
        let dir = lab.dir().join(format!("{name}-{kind}"));
        command.arg(format!("--{kind}-dir")).arg(dir);
    }
    Ok(command)
}

#[test]
fn a_port_in_use_is_named() -> Result<()> {
    undisturbed(|lab| {
        fails(lab, &mut morphd(lab, "other")?, &["6653", "in use"])?;
        wait_until("all its processes end", Duration::from_secs(10), || {
            let dir = lab.dir().join("other-run");
            let has_dir = |args: &[String]| {
                args.iter()
                    .any(|arg| arg.starts_with(&*dir.to_string_lossy()))
            };
            let left = lab.processes()?.iter().filter(|p| has_dir(&p.args)).count();
            Ok((left == 0).then_some(()))
        })
    })
}

#[test]
fn a_run_directory_in_use_is_named_with_its_owner() -> Result<()> {
    undisturbed(|lab| {
        let mut command = lab.morpheus()?.command(lab.sandbox(), &[])?;
        let pid = lab.process("morphd")?.inner.to_string();
        fails(lab, &mut command, &["already runs", &pid])
    })
}

#[test]
fn a_state_directory_without_permission_is_named() -> Result<()> {
    undisturbed(|lab| {
        // Root without the capabilities that override permissions, and a directory of another user.
        let dir = lab.dir().join("forbidden-state");
        let dir = dir.to_string_lossy();
        lab.sandbox()
            .script(&format!("mkdir -m 700 {dir}; chown 65534:65534 {dir}"))?;
        let mut command = lab.sandbox().command("setpriv");
        command.args([
            "--bounding-set",
            "-dac_override,-dac_read_search,-fowner",
            "--",
        ]);
        command.arg(bin("morphd")?).args(["--state-dir", &dir]);
        command
            .arg("--run-dir")
            .arg(lab.dir().join("forbidden-run"));
        fails(lab, &mut command, &[&dir, "denied"])
    })
}

#[test]
fn a_second_port_in_use_is_a_warning() -> Result<()> {
    let mut lab = Lab::new(Shape::single(2))?;
    let taken = lab
        .sandbox()
        .inside(|| Ok(TcpListener::bind("0.0.0.0:6633")?))?;
    lab.start_morpheus(&["--app", "learning-switch"])?;
    lab.attach()?;
    lab.wait_ping(1, 2)?;
    let logs = lab.logs();
    let warned = logs.iter().any(|(_, text)| {
        text.lines()
            .any(|line| line.contains("WARN") && line.contains("6633"))
    });
    ensure!(warned, "no warning: {logs:?}");
    drop(taken);
    lab.finish()
}
