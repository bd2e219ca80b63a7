//! Schema changes between real processes: what is reported, and broken migrations, which harm only their own upgrade.

use anyhow::{Context, Result, ensure};
use morph_tests::{Bundle, CtlOutput, Lab, Shape, bin, bundle_dir, long, wait_until};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Exit code of morphctl.
const ROLLED_BACK: i32 = 4;
/// Memory limit in MiB for a migration that allocates without bound.
const MEMORY: &str = "256";

/// Installs a release with a broken migration and upgrades to it; returns morphctl's output.
fn upgrade_to_defect(lab: &Lab, defect: &str) -> Result<CtlOutput> {
    let version = format!("2.0.0-{defect}");
    let bundle = Bundle::copy("router-2.0.0", lab.dir(), defect)?
        .set("version", &format!("\"{version}\""))?
        .set("memory_mib", MEMORY)?
        .program(&bin("examples/migrates_badly")?)?;
    lab.morpheus()?
        .morphctl(&["app", "install", bundle.path()?])?;
    let release = format!("app=router@{version}");
    lab.morpheus()?
        .try_morphctl(&["upgrade", &release, "--probation", "20s"])
}

fn trees(lab: &Lab) -> Result<Value> {
    lab.morpheus()?
        .morphctl(&["store", "list", "app=router", "trees"])
        .map(|list| {
            let rows = list["store"].as_array().cloned().unwrap_or_default();
            let row = |row: &Value| serde_json::json!([row["key"], row["value"]]);
            rows.iter().map(row).collect()
        })
}

/// Upgrades with broken migrations on a network in use: no ping is lost, and state and old instance stay.
fn harm_nothing(defects: &[(&str, &str)]) -> Result<()> {
    let lab = Lab::with_router(Shape::single(3), "1.0.0")?;
    let before = trees(&lab)?;
    let pid = lab.morpheus()?.app("router")?["pid"].clone();
    let ping = lab.ping_continuously(1, 2, 2)?;
    for (defect, word) in defects {
        let began = Instant::now();
        let answer = upgrade_to_defect(&lab, defect)?;
        eprintln!("{defect}: {:.1} s", began.elapsed().as_secs_f32());
        ensure!(answer.code == ROLLED_BACK, "{defect}: {answer:?}");
        let text = format!("{} {}", answer.stdout, answer.stderr);
        ensure!(
            text.contains(word),
            "{defect}: {word:?} is missing in {answer:?}"
        );
        let app = lab.morpheus()?.wait_running("router", None)?;
        ensure!(
            app["release"] == "1.0.0" && app["pid"] == pid,
            "{defect}: {app}"
        );
        ensure!(trees(&lab)? == before, "{defect}: the state has changed");
        // The shadow that the upgrade had begun is removed.
        wait_until("the shadow is dropped", Duration::from_secs(5), || {
            let list = lab.morpheus()?.morphctl(&["store", "list"])?;
            let keyspaces = list["store"].as_array().context("store")?;
            let shadows = keyspaces
                .iter()
                .filter(|k| k["app"] == "router" && k["role"] == "shadow")
                .count();
            Ok((shadows == 0).then_some(()))
        })?;
    }
    let summary = ping.stop()?;
    ensure!(summary.lost.is_empty(), "{summary:?}");
    lab.finish()
}

#[test]
fn a_migration_that_panics_loops_or_eats_memory_harms_only_its_own_upgrade() -> Result<()> {
    harm_nothing(&[
        ("up-panics", "panicked"),
        ("up-eats", "signal 6"),
        ("down-loops", "answer"),
        ("down-eats", "signal 6"),
    ])
}

/// The target is busy and not ready yet, so it has the whole `start` deadline before its silence counts.
#[test]
fn a_target_that_never_loads_its_view_is_ended() -> Result<()> {
    if !long() {
        return Ok(());
    }
    harm_nothing(&[("up-loops", "ready")])
}

#[test]
fn a_schema_change_reports_its_shadow_and_a_lossless_rollback() -> Result<()> {
    let lab = Lab::with_router(Shape::single(3), "1.0.0")?;
    let morpheus = lab.morpheus()?;
    let bundle = bundle_dir("router-2.0.0")?;
    let bundle = bundle.to_str().context("a path that is not UTF-8")?;
    morpheus.morphctl(&["app", "install", bundle])?;
    for (version, from, to) in [("2.0.0", 1, 2), ("1.0.0", 2, 1)] {
        let release = format!("app=router@{version}");
        let upgraded = morpheus.morphctl(&["upgrade", &release, "--probation", "1s"])?;
        let list = morpheus.morphctl(&["store", "migrations", "app=router"])?;
        let shadow = list["migrations"][0].clone();
        let schemas = (&shadow["to_schema"], &shadow["status"], &shadow["complete"]);
        ensure!(
            schemas == (&to.into(), &"swapped".into(), &true.into()),
            "{shadow}"
        );
        ensure!(
            shadow["lossy"] == 0 && shadow["groups"] == shadow["groups_total"],
            "{shadow}"
        );
        ensure!(shadow["groups"].as_u64() > Some(2), "from {from}: {shadow}");
        let status = morpheus.morphctl(&["status", "app=router"])?;
        let status = &status["upgrades"][0];
        ensure!(
            status["groups_checked"] == shadow["groups"],
            "{upgraded} {status}"
        );
    }
    let old = bundle_dir("router-1.0.0")?;
    let old = old.to_str().context("a path that is not UTF-8")?;
    let diff = morpheus.morphctl(&["schema", "diff", old, bundle])?;
    let change = |table: &str| {
        let list = diff["schema"].as_array().into_iter().flatten();
        let mut found = list.filter(|change| change["table"] == table);
        found.next().map(|change| change["change"].clone())
    };
    let changes = ["trees", "hops", "weights"].map(change);
    let expected = ["removed", "added", "same"].map(|word| Some(word.into()));
    ensure!(changes == expected, "{diff}");
    lab.finish()
}

/// Waits until the router's shadow in schema 1 is complete and current, in a keyspace other than `not`.
fn wait_shadow(lab: &Lab, not: &Value) -> Result<Value> {
    let mut last = Value::Null;
    let found = wait_until(
        "the shadow is complete and current",
        Duration::from_secs(20),
        || {
            let list = lab
                .morpheus()?
                .morphctl(&["store", "migrations", "app=router"])?;
            last = list["migrations"][0].clone();
            let current = last["status"] == "following" && last["lag"] == 0;
            let found = current && last["to_schema"] == 1 && last["keyspace"] != *not;
            Ok(found.then(|| last.clone()))
        },
    );
    found.with_context(|| format!("last migration: {last}"))
}

/// Waits until the reader of schema 1 sees as many hops as the router has in schema 2.
fn wait_reader(lab: &Lab) -> Result<()> {
    let rows = |app: &str, table: &str| {
        let list = lab.morpheus()?.morphctl(&["store", "list", app, table])?;
        anyhow::Ok(list["store"].as_array().cloned().unwrap_or_default())
    };
    wait_until("the reader sees all hops", Duration::from_secs(10), || {
        let trees = rows("app=reader", "seen")?;
        let ports = trees
            .iter()
            .filter_map(|row| Some(row["value"].as_object()?.len()));
        let hops = rows("app=router", "hops")?.len();
        Ok((hops > 0 && ports.sum::<usize>() == hops).then_some(()))
    })
}

#[test]
fn a_shadow_is_kept_while_its_schema_is_read() -> Result<()> {
    let lab = Lab::with_router(Shape::single(3), "1.0.0")?;
    let morpheus = lab.morpheus()?;
    let reader = Bundle::copy("learning-switch-1.2.0", lab.dir(), "reader")?
        .set("name", "\"reader\"")?
        .set("version", "\"1.0.0\"")?
        .set("schema", "1")?
        .without("migrates")?
        .set("id", "9")?
        .set("tables", "[40, 41]")?
        .set("forwards", "false")?
        .set("reads", "{ router = 1 }")?
        .program(&bin("examples/reads_trees")?)?;
    morpheus.morphctl(&["app", "install", reader.path()?])?;
    morpheus.morphctl(&["app", "start", "reader"])?;
    morpheus.wait_running("reader", None)?;
    let bundle = bundle_dir("router-2.0.0")?;
    let bundle = bundle.to_str().context("a path that is not UTF-8")?;
    morpheus.morphctl(&["app", "install", bundle])?;
    morpheus.morphctl(&["upgrade", "app=router@2.0.0", "--probation", "1s"])?;
    let shadow = wait_shadow(&lab, &Value::Null)?;
    ensure!(
        shadow["readers"] == serde_json::json!(["reader@1.0.0"]),
        "{shadow}"
    );
    wait_reader(&lab)?;
    // A release that could not keep the shadow is refused, with the name of the reader.
    let bare = Bundle::copy("router-2.0.0", lab.dir(), "bare")?
        .set("version", "\"2.1.0\"")?
        .without("migrates")?;
    morpheus.morphctl(&["app", "install", "--unchecked", bare.path()?])?;
    let answer = morpheus.try_morphctl(&["upgrade", "app=router@2.1.0"])?;
    ensure!(
        answer.code == 1 && answer.stderr.contains("upgrade reader first"),
        "{answer:?}"
    );
    // The instance that keeps the shadow dies; the next one makes another.
    let pid = morpheus.app("router")?["pid"].as_u64().context("pid")?;
    let processes = lab.processes()?;
    let router = processes
        .iter()
        .find(|p| u64::from(p.inner) == pid || p.name() == "router-2");
    router
        .context("no process of the router")?
        .signal(rustix::process::Signal::KILL)?;
    wait_shadow(&lab, &shadow["keyspace"])?;
    wait_reader(&lab)?;
    // Without a reader the shadow is dropped.
    morpheus.morphctl(&["app", "remove", "reader"])?;
    wait_until("the shadow is dropped", Duration::from_secs(20), || {
        let list = morpheus.morphctl(&["store", "list"])?;
        let keyspaces = list["store"].as_array().context("store")?;
        Ok((!keyspaces
            .iter()
            .any(|k| k["app"] == "router" && k["role"] == "shadow"))
        .then_some(()))
    })?;
    lab.finish()
}
