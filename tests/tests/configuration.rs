//! Configuration of an app before its first start: set, loaded from a file, defaults, checks, keys.

use anyhow::{Context, Result, ensure};
use morph_tests::{Bundle, Lab, Shape, bin, bundle_dir, repository};
use serde_json::{Value, json};
use std::path::Path;

/// A ledger with tables that are configured.
fn bundle(lab: &Lab, name: &str, version: &str) -> Result<Bundle> {
    let manifest = repository().join("apps/ledger/bundles/1.0.0/app.toml");
    let program = bin("examples/ledger-1")?;
    Bundle::assemble(&manifest, &program, lab.dir(), version)?
        .set("name", &format!("\"{name}\""))?
        .set("version", &format!("\"{version}\""))?
        .set(
            "config",
            "[\"flows\", \"networks\", \"switches\", \"modes\"]",
        )?
        .set("checks.flows", "{ value = \"integer\" }")?
        .set(
            "checks.networks",
            "{ key = \"text\", value = \"list\", of = \"integer\", min = 1 }",
        )?
        .set("checks.switches", "{ key = \"dpid\", value = \"bool\" }")?
        .set(
            "checks.modes",
            "{ value = \"text\", values = [\"strict\", \"loose\"] }",
        )?
        .set("defaults.modes.\"10/8\"", "\"strict\"")?
        .set("defaults.modes.other", "\"loose\"")
}

fn install(lab: &Lab, bundle: &Bundle) -> Result<()> {
    lab.morpheus()?
        .morphctl(&["app", "install", "--unchecked", bundle.path()?])?;
    Ok(())
}

/// Entries of the app's configuration by key.
fn entries(lab: &Lab, app: &str, key: &[&str]) -> Result<Value> {
    let app = format!("app={app}");
    let answer = lab
        .morpheus()?
        .morphctl(&[&["config", "get", &app], key].concat())?;
    let entries = answer["config"].as_array().context("config")?.iter();
    let pairs = entries.map(|entry| {
        let key = entry["key"].as_str().unwrap_or_default().to_owned();
        (key, entry["value"].clone())
    });
    Ok(Value::Object(pairs.collect()))
}

#[test]
fn an_app_is_configured_before_its_first_start_and_keys_stay_as_they_are_written() -> Result<()> {
    let mut lab = Lab::new(Shape::none())?;
    let bundles = bundle_dir("learning-switch-1.2.0")?;
    let bundles = bundles
        .parent()
        .and_then(Path::to_str)
        .context("a path that is not UTF-8")?;
    lab.start_morpheus(&["--bundles", bundles, "--app", "learning-switch"])?;
    let morpheus = lab.morpheus()?;
    let set = |entry: &str| morpheus.try_morphctl(&["config", "set", "app=books", entry]);
    install(&lab, &bundle(&lab, "books", "1.0.0")?)?;
    for (entry, why) in [
        (
            "networks.10/8=[1, 0]",
            "element 2 of the list: 0 is not a whole number from 1 on",
        ),
        ("networks.10/8=1", "1 is not a list"),
        ("modes.x=lose", "is not one of \"strict\", \"loose\""),
        ("switches.s1=true", "the key is not a datapath id"),
        ("colours.x=1", "it has: flows, networks, switches, modes"),
    ] {
        let answer = set(entry)?;
        ensure!(
            answer.code == 1 && answer.stderr.contains(why),
            "{entry}: {answer:?}"
        );
    }
    ensure!(
        entries(&lab, "books", &[])? == json!({}),
        "a refused entry was written"
    );
    for entry in [
        "networks.10/8=[1, 2]",
        "switches.1=true",
        "modes.other=strict",
    ] {
        let answer = set(entry)?;
        ensure!(answer.code == 0, "{entry}: {answer:?}");
    }
    // Only a key that is a datapath id has another form; the defaults leave the operator's value alone.
    let configured = json!({
        "networks.10/8": [1, 2], "switches.0000000000000001": true, "modes.10/8": "strict", "modes.other": "strict",
    });
    ensure!(
        entries(&lab, "books", &[])? == configured,
        "{:?}",
        entries(&lab, "books", &[])?
    );
    let one = json!({"networks.10/8": [1, 2]});
    ensure!(entries(&lab, "books", &["networks.10/8"])? == one);
    let one = json!({"switches.0000000000000001": true});
    ensure!(entries(&lab, "books", &["switches.0x1"])? == one);
    let row = morpheus.morphctl(&["store", "get", "app=books", "networks", "10/8"])?;
    ensure!(row["store"][0]["value"] == json!([1, 2]), "{row}");

    // A file, at the start. Where the start is refused nothing is written.
    let file = lab.dir().join("books.toml");
    std::fs::write(
        &file,
        "[networks]\n\"172.16/12\" = [7]\n[flows]\nrest = 5\n",
    )?;
    let file = file.to_str().context("a path that is not UTF-8")?;
    let refused = ["app", "start", "books@9.9.9", "--config", file];
    ensure!(morpheus.try_morphctl(&refused)?.code == 1);
    ensure!(entries(&lab, "books", &[])? == configured);
    let bad = lab.dir().join("bad.json");
    std::fs::write(&bad, r#"{"networks": {"172.16/12": [0]}}"#)?;
    let bad = bad.to_str().context("a path that is not UTF-8")?;
    let refused = morpheus.try_morphctl(&["app", "start", "books", "--config", bad])?;
    ensure!(
        refused.code == 1 && refused.stderr.contains("networks.172.16/12: element 1"),
        "{refused:?}"
    );
    morpheus.morphctl(&["app", "start", "books", "--config", file])?;
    morpheus.wait_running("books", None)?;
    let mut started = configured;
    started["networks.172.16/12"] = json!([7]);
    started["flows.rest"] = json!(5);
    ensure!(
        entries(&lab, "books", &[])? == started,
        "{:?}",
        entries(&lab, "books", &[])?
    );

    // A deleted entry stays deleted, also over another start.
    morpheus.morphctl(&["config", "delete", "app=books", "modes.10/8", "switches.1"])?;
    morpheus.morphctl(&["app", "stop", "books"])?;
    morpheus.morphctl(&["app", "start", "books"])?;
    for key in ["modes.10/8", "switches.0000000000000001"] {
        started.as_object_mut().context("an object")?.remove(key);
    }
    ensure!(
        entries(&lab, "books", &[])? == started,
        "{:?}",
        entries(&lab, "books", &[])?
    );

    // Without a word from an operator the defaults are there at the first start.
    let more = bundle(&lab, "more", "1.0.1")?.set("id", "10")?;
    install(&lab, &more)?;
    morpheus.morphctl(&["app", "start", "more"])?;
    let defaults = json!({"modes.10/8": "strict", "modes.other": "loose"});
    ensure!(
        entries(&lab, "more", &[])? == defaults,
        "{:?}",
        entries(&lab, "more", &[])?
    );
    lab.finish()
}
