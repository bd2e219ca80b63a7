//! `docs/tutorial.md`, walked by its own text: its files are built, and both releases run.

use anyhow::{Context, Result, ensure};
use morph_tests::{Lab, Shape, bin, repository, wait_until};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(20);
/// Address of the lab's first host, which is kept out.
const HOST: &str = "02:00:00:00:00:01";

/// A block of the tutorial that is a file, or a change of one.
struct Block {
    kind: String,
    path: String,
    text: String,
}

fn blocks() -> Result<Vec<Block>> {
    let text = fs::read_to_string(repository().join("docs/tutorial.md"))?;
    let fences: Vec<&str> = text.split("```").collect();
    let mut blocks = Vec::new();
    for fence in fences.iter().skip(1).step_by(2) {
        let (head, text) = fence.split_once('\n').context("a block without a head")?;
        if let Some((kind, path)) = head.split_once(' ') {
            blocks.push(Block {
                kind: kind.to_owned(),
                path: path.to_owned(),
                text: text.to_owned(),
            });
        }
    }
    Ok(blocks)
}

/// Applies a change, whose parts are lines to replace and the lines in their place.
fn change(file: &Path, diff: &str) -> Result<()> {
    let mut text = fs::read_to_string(file)?;
    let mut lines = diff.lines().peekable();
    while lines.peek().is_some() {
        let mut part = |sign: char| {
            let mut part = String::new();
            while let Some(line) = lines.next_if(|line| line.starts_with(sign)) {
                part += &line[1..];
                part.push('\n');
            }
            part
        };
        let (before, after) = (part('-'), part('+'));
        ensure!(
            !before.is_empty() && text.matches(&before).count() == 1,
            "the tutorial changes lines that are not there once: {before}"
        );
        text = text.replace(&before, &after);
    }
    fs::write(file, text)?;
    Ok(())
}

/// The crate of the tutorial, as far as its text has come.
struct Crate {
    dir: PathBuf,
    target: PathBuf,
}

impl Crate {
    fn write(&self, block: &Block) -> Result<()> {
        let file = self.dir.join(&block.path);
        fs::create_dir_all(file.parent().context("no folder")?)?;
        if block.kind == "diff" {
            return change(&file, &block.text);
        }
        let here = repository().display().to_string();
        fs::write(file, block.text.replace("../morpheus", &here))?;
        Ok(())
    }

    fn cargo(&self, args: &[&str]) -> Result<()> {
        let output = Command::new("cargo")
            .args(args)
            .arg("--offline")
            .current_dir(&self.dir)
            .env("CARGO_TARGET_DIR", &self.target)
            .output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cargo {args:?}: {errors}");
        Ok(())
    }

    /// Builds the release and tests it. Returns its bundle.
    fn bundle(&self) -> Result<String> {
        self.cargo(&["build"])?;
        self.cargo(&["test"])?;
        let bundle = self.dir.join("bundle");
        fs::create_dir_all(&bundle)?;
        fs::copy(self.dir.join("app.toml"), bundle.join("app.toml"))?;
        let program = self.target.join("debug/blocklist");
        fs::copy(program, bundle.join("blocklist"))?;
        Ok(bundle.display().to_string())
    }
}

fn attempts(lab: &Lab) -> Result<Value> {
    let list = ["store", "list", "app=blocklist", "attempts"];
    let rows = lab.morpheus()?.morphctl(&list)?;
    Ok(rows["store"][0]["value"].clone())
}

#[test]
fn the_app_of_the_tutorial_is_built_and_upgraded_with_its_migration() -> Result<()> {
    let lab = Lab::with_morpheus(Shape::single(3), &["--app", "learning-switch"])?;
    let morpheus = lab.morpheus()?;
    morpheus.wait_running("learning-switch", None)?;
    let own = Crate {
        dir: lab.dir().join("tutorial"),
        // Kept between runs: what the app depends on is built once.
        target: bin("morphd")?
            .ancestors()
            .nth(2)
            .context("no target folder")?
            .join("tutorial"),
    };
    fs::create_dir_all(&own.dir)?;
    fs::copy(repository().join("Cargo.lock"), own.dir.join("Cargo.lock"))?;
    let blocks = blocks()?;
    let second = blocks.iter().rposition(|block| block.path == "app.toml");
    let second = second.context("no second manifest")?;
    for block in &blocks[..second] {
        own.write(block)?;
    }
    morpheus.morphctl(&["app", "install", &own.bundle()?])?;
    morpheus.morphctl(&["app", "start", "blocklist"])?;
    morpheus.wait_running("blocklist", None)?;
    morpheus.morphctl(&[
        "pipeline",
        "move",
        "app=blocklist",
        "before=learning-switch",
    ])?;
    lab.wait_ping(1, 2)?;
    let setting = format!("blocked.{HOST}=\"seen in the cellar\"");
    morpheus.morphctl(&["config", "set", "app=blocklist", &setting])?;
    wait_until("the host is kept out", DEADLINE, || {
        let summary = lab.ping(1, 2, 50, 4)?.finish()?;
        Ok((summary.received == 0).then_some(()))
    })?;
    wait_until("its attempt is counted", DEADLINE, || {
        Ok((attempts(&lab)? == 1).then_some(()))
    })?;
    lab.wait_ping(2, 3)?;
    for block in &blocks[second..] {
        own.write(block)?;
    }
    morpheus.morphctl(&["app", "install", &own.bundle()?])?;
    for _ in 0..2 {
        lab.upgrade("blocklist", "2.0.0")?;
        let blocked = lab.ping(1, 2, 50, 4)?.finish()?;
        ensure!(blocked.received == 0, "{blocked:?}");
        morpheus.morphctl(&["rollback", "app=blocklist"])?;
        ensure!(attempts(&lab)?.is_u64(), "{}", attempts(&lab)?);
    }
    lab.upgrade_and_commit("blocklist", "2.0.0")?;
    let counted = attempts(&lab)?;
    ensure!(counted["number"].as_u64() >= Some(1), "{counted}");
    let other = lab.ping(2, 3, 50, 10)?.finish()?;
    ensure!(other.lost.is_empty(), "{other:?}");
    lab.finish()
}
