//! Every guarantee in the README names tests that exist.
#![allow(clippy::unwrap_used, reason = "a test ends there")]

use std::collections::BTreeSet;
use std::path::Path;

/// Collects the names of all tests in a folder.
fn tests(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests(&path, names);
        } else if path.extension().is_some_and(|of| of == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
                let name = line
                    .strip_prefix("async ")
                    .unwrap_or(line)
                    .strip_prefix("fn ");
                if let Some((name, _)) = name.and_then(|rest| rest.split_once('('))
                    && std::mem::take(&mut is_test)
                {
                    names.insert(name.to_owned());
                }
            }
        }
    }
}

/// Finds words that look like names of tests.
fn named(text: &str) -> Vec<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_name = |part: &&str| {
        part.matches('_').count() >= 3 && part.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    quoted.filter(is_name).collect()
}

#[test]
fn every_guarantee_names_tests_that_exist() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(home.join("README.md")).unwrap();
    let (_, rest) = readme.split_once("## What it guarantees").unwrap();
    let guarantees = rest.split("\n## ").next().unwrap();
    let mut there = BTreeSet::new();
    tests(&home.join("tests"), &mut there);
    tests(&home.join("src"), &mut there);
    let mut count = 0;
    for guarantee in guarantees.split("\n- ").skip(1) {
        let guarantee = guarantee.split("\n\n").next().unwrap();
        let names = named(guarantee);
        assert!(!names.is_empty(), "no test is named for: {guarantee}");
        for name in names {
            assert!(there.contains(name), "there is no test {name}");
        }
        count += 1;
    }
    assert!(count > 12, "{count} guarantees");
}
