//! Changes of the schema with real processes: what they tell, and migrations that misbehave and harm nothing but their own
//! upgrade.

use anyhow::{Context, Result, ensure};
use morph_tests::{Answer, Bundle, Lab, Shape, bin, bundles, wait_until};
use serde_json::Value;
use std::time::{Duration, Instant};

/// morphctl's exit code.
const ROLLED_BACK: i32 = 4;
/// For an instance that uses too much of it.
const MEMORY: &str = "256";

/// Installs and tries a release whose migration misbehaves; what morphctl said.
fn try_defect(lab: &Lab, defect: &str) -> Result<Answer> {
    let version = format!("2.0.0-{defect}");
    let bundle = Bundle::copy("router-2.0.0", lab.dir(), defect)?
        .set("version", &format!("\"{version}\""))?
        .set("memory_mib", MEMORY)?
        .program(&bin("examples/migrates_badly")?)?;
    lab.morpheus()?.do_(&["app", "install", bundle.path()?])?;
    let release = format!("app=router@{version}");
    lab.morpheus()?
        .ask(&["upgrade", &release, "--probation", "20s"])
}

fn trees(lab: &Lab) -> Result<Value> {
    lab.morpheus()?
        .do_(&["store", "list", "app=router", "trees"])
        .map(|list| {
            let rows = list["store"].as_array().cloned().unwrap_or_default();
            let row = |row: &Value| serde_json::json!([row["key"], row["value"]]);
            rows.iter().map(row).collect()
        })
}

/// Upgrades that misbehave, one after the other, in a network in use: it keeps its pings, its state and its old instance.
fn harm_nothing(defects: &[(&str, &str)]) -> Result<()> {
    let lab = Lab::with_router(Shape::single(3), "1.0.0")?;
    let before = trees(&lab)?;
    let pid = lab.morpheus()?.app("router")?["pid"].clone();
    let ping = lab.ping_on(1, 2, 2)?;
    for (defect, word) in defects {
        let began = Instant::now();
        let answer = try_defect(&lab, defect)?;
        eprintln!("{defect}: {:.1} s", began.elapsed().as_secs_f32());
        ensure!(answer.code == ROLLED_BACK, "{defect}: {answer:?}");
        let said = format!("{} {}", answer.out, answer.err);
        ensure!(said.contains(word), "{defect}: no {word:?} in {answer:?}");
        let app = lab.morpheus()?.wait_running("router", None)?;
        ensure!(
            app["release"] == "1.0.0" && app["pid"] == pid,
            "{defect}: {app}"
        );
        ensure!(trees(&lab)? == before, "{defect}: the state is another");
        // What it had begun is gone.
        wait_until("its shadow is dropped", Duration::from_secs(5), || {
            let list = lab.morpheus()?.do_(&["store", "list"])?;
            let keyspaces = list["store"].as_array().context("store")?;
            let shadows = keyspaces.iter().filter(|s| s["role"] == "shadow").count();
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

/// Nobody is asked before it is ready, so this one has the whole time to get there.
#[test]
fn a_newcomer_that_never_gets_its_view_is_given_up() -> Result<()> {
    if std::env::var_os("MORPH_LONG").is_none() {
        return Ok(());
    }
    harm_nothing(&[("up-loops", "ready")])
}

#[test]
fn a_change_of_the_schema_tells_its_shadow_and_that_a_way_back_loses_nothing() -> Result<()> {
    let lab = Lab::with_router(Shape::single(3), "1.0.0")?;
    let morpheus = lab.morpheus()?;
    let bundle = bundles("router-2.0.0")?;
    let bundle = bundle.to_str().context("a path that is no text")?;
    morpheus.do_(&["app", "install", bundle])?;
    for (version, from, to) in [("2.0.0", 1, 2), ("1.0.0", 2, 1)] {
        let release = format!("app=router@{version}");
        let upgraded = morpheus.do_(&["upgrade", &release, "--probation", "1s"])?;
        let list = morpheus.do_(&["store", "migrations", "app=router"])?;
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
        let status = morpheus.do_(&["status", "app=router"])?;
        let status = &status["upgrades"][0];
        ensure!(
            status["groups_checked"] == shadow["groups"],
            "{upgraded} {status}"
        );
    }
    let old = bundles("router-1.0.0")?;
    let old = old.to_str().context("a path that is no text")?;
    let diff = morpheus.do_(&["schema", "diff", old, bundle])?;
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

/// The router's shadow in schema 1, once it is whole and up to date; in another keyspace than `not`.
fn kept(lab: &Lab, not: &Value) -> Result<Value> {
    let mut last = Value::Null;
    let found = wait_until("a shadow is kept", Duration::from_secs(20), || {
        let list = lab
            .morpheus()?
            .do_(&["store", "migrations", "app=router"])?;
        last = list["migrations"][0].clone();
        let follows = last["status"] == "following" && last["lag"] == 0;
        let is = follows && last["to_schema"] == 1 && last["keyspace"] != *not;
        Ok(is.then(|| last.clone()))
    });
    found.with_context(|| format!("the last that was seen: {last}"))
}

/// The reader of schema 1 sees as many hops as the router has in schema 2.
fn sees_all(lab: &Lab) -> Result<()> {
    let rows = |app: &str, table: &str| {
        let list = lab.morpheus()?.do_(&["store", "list", app, table])?;
        anyhow::Ok(list["store"].as_array().cloned().unwrap_or_default())
    };
    wait_until("the reader sees all", Duration::from_secs(10), || {
        let trees = rows("app=reader", "seen")?;
        let ports = trees
            .iter()
            .filter_map(|row| Some(row["value"].as_object()?.len()));
        let hops = rows("app=router", "hops")?.len();
        Ok((hops > 0 && ports.sum::<usize>() == hops).then_some(()))
    })
}

#[test]
fn a_shadow_is_kept_while_the_former_schema_is_read() -> Result<()> {
    let lab = Lab::with_router(Shape::single(3), "1.0.0")?;
    let morpheus = lab.morpheus()?;
    let reader = Bundle::copy("learning-switch-1.0.0", lab.dir(), "reader")?
        .set("name", "\"reader\"")?
        .set("id", "9")?
        .set("tables", "[40, 41]")?
        .set("forwards", "false")?
        .set("reads", "{ router = 1 }")?
        .program(&bin("examples/reads_trees")?)?;
    morpheus.do_(&["app", "install", reader.path()?])?;
    morpheus.do_(&["app", "start", "reader"])?;
    morpheus.wait_running("reader", None)?;
    let bundle = bundles("router-2.0.0")?;
    let bundle = bundle.to_str().context("a path that is no text")?;
    morpheus.do_(&["app", "install", bundle])?;
    morpheus.do_(&["upgrade", "app=router@2.0.0", "--probation", "1s"])?;
    let shadow = kept(&lab, &Value::Null)?;
    ensure!(
        shadow["readers"] == serde_json::json!(["reader@1.0.0"]),
        "{shadow}"
    );
    sees_all(&lab)?;
    // One that could not keep it up is refused, with the name of the reader.
    let bare = Bundle::copy("router-2.0.0", lab.dir(), "bare")?
        .set("version", "\"2.1.0\"")?
        .without("migrates")?;
    morpheus.do_(&["app", "install", bare.path()?])?;
    let answer = morpheus.ask(&["upgrade", "app=router@2.1.0"])?;
    ensure!(
        answer.code == 1 && answer.err.contains("upgrade reader first"),
        "{answer:?}"
    );
    // Its keeper dies: another one makes it anew.
    let pid = morpheus.app("router")?["pid"].as_u64().context("pid")?;
    let processes = lab.processes()?;
    let router = processes
        .iter()
        .find(|p| u64::from(p.inner) == pid || p.name() == "router-2");
    router
        .context("no router")?
        .signal(rustix::process::Signal::KILL)?;
    kept(&lab, &shadow["keyspace"])?;
    sees_all(&lab)?;
    // Without a reader it goes.
    morpheus.do_(&["app", "remove", "reader"])?;
    wait_until("the shadow is dropped", Duration::from_secs(20), || {
        let list = morpheus.do_(&["store", "list"])?;
        let keyspaces = list["store"].as_array().context("store")?;
        Ok((!keyspaces.iter().any(|s| s["role"] == "shadow")).then_some(()))
    })?;
    lab.finish()
}
