//! Plan, confirmation and history of an upgrade, and the page that promises its behaviour.

use anyhow::{Context, Result, ensure};
use morph_tests::{Lab, Shape, repository, wait_until};
use std::path::Path;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(15);

#[test]
fn an_unconfirmed_upgrade_is_rolled_back_also_by_another_morphd() -> Result<()> {
    let mut lab = Lab::with_router(Shape::diamond(), "1.0.0")?;
    let epoch = lab.morpheus()?.app("router")?["epoch"].clone();
    let plan = lab
        .morpheus()?
        .morphctl(&["upgrade", "app=router@2.0.0", "--dry-run"])?;
    let plan = plan["plan"][0].clone();
    ensure!(
        plan["mode"] == "online" && plan["switches"].as_array().map(Vec::len) == Some(4),
        "{plan}"
    );
    ensure!(
        plan["keys"].as_u64() > Some(0) && plan["rules"].as_u64() > Some(0),
        "{plan}"
    );
    ensure!(plan["refused"] == "", "{plan}");
    let refused = lab
        .morpheus()?
        .try_morphctl(&["upgrade", "app=router@9.0.0", "--dry-run"])?;
    ensure!(
        refused.code == 1 && refused.stderr.contains("9.0.0"),
        "{refused:?}"
    );
    ensure!(
        lab.morpheus()?.app("router")?["epoch"] == epoch,
        "the dry run changed the epoch"
    );

    let args = [
        "upgrade",
        "app=router@2.0.0",
        "--confirm-within",
        "6s",
        "--no-wait",
    ];
    lab.morpheus()?.morphctl(&args)?;
    let wait_step = |lab: &Lab, step: &str| {
        wait_until(step, DEADLINE, || {
            let status = lab.status("router")?;
            Ok((status["step"] == step).then_some(status))
        })
    };
    wait_step(&lab, "UPGRADED")?;
    lab.process("morphd")?.kill()?;
    lab.morpheus_mut()?.wait_exited()?;
    lab.start_morpheus(&[])?;
    let status = wait_step(&lab, "ROLLED_BACK")?;
    ensure!(status["by"] == "confirmation", "{status}");
    lab.morpheus()?.wait_running("router", None)?;
    lab.morpheus()?.morphctl(&[
        "upgrade",
        "app=router@2.0.0",
        "--confirm-within",
        "60s",
        "--no-wait",
    ])?;
    wait_step(&lab, "UPGRADED")?;
    lab.morpheus()?.morphctl(&["commit", "app=router"])?;

    let past = lab.morpheus()?.morphctl(&["upgrades", "app=router"])?;
    let past = past["upgrades"].as_array().context("upgrades")?;
    let ends: Vec<_> = past.iter().map(|row| (&row["step"], &row["by"])).collect();
    ensure!(past.len() == 2, "{past:?}");
    ensure!(
        ends[0].1 == "confirmation" && ends[1].0 == "COMMITTED",
        "{past:?}"
    );
    ensure!(past[0]["who"] == "root (0)", "{past:?}");
    ensure!(past[1]["handover_us"].as_u64() > Some(0), "{past:?}");

    // An upgrade that is reported as committed is over: the next one can start at once.
    for version in ["1.0.0", "2.0.0", "1.0.0", "2.0.0"] {
        let release = format!("app=router@{version}");
        let args = ["upgrade", &release, "--probation", "100ms", "--no-wait"];
        lab.morpheus()?.morphctl(&args)?;
        wait_until("the upgrade is committed", DEADLINE, || {
            let status = lab.status("router")?;
            let there = status["step"] == "COMMITTED" && status["to"] == version;
            Ok(there.then_some(()))
        })?;
    }
    lab.finish()
}

#[test]
fn each_test_that_docs_upgrade_names_exists() -> Result<()> {
    let page = std::fs::read_to_string(repository().join("docs/upgrade.md"))?;
    let promises = page
        .lines()
        .filter(|line| line.starts_with("| ") && line.ends_with("` |"));
    let names: Vec<&str> = promises
        .filter_map(|line| line.rsplit('`').nth(1))
        .filter(|name| name.contains('_'))
        .collect();
    ensure!(
        names.len() >= 15,
        "the table of tests was not found: {names:?}"
    );
    let mut sources = String::new();
    for folder in ["controller", "tests/tests"] {
        read_rust(&repository().join(folder), &mut sources)?;
    }
    for name in names {
        let forms = ["#[test]\nfn", "#[tokio::test]\nasync fn"];
        let is_there = |form| sources.contains(&format!("{form} {name}("));
        ensure!(
            forms.iter().any(is_there),
            "docs/upgrade.md names a test that does not exist: {name}"
        );
    }
    Ok(())
}

fn read_rust(folder: &Path, sources: &mut String) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_rust(&path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path)?;
            let lines = text.lines().map(str::trim_start);
            sources.push_str(&lines.collect::<Vec<_>>().join("\n"));
        }
    }
    Ok(())
}
