//! The two releases of each app.

use std::path::{Path, PathBuf};

use morph_api::manifest::Manifest;
use morph_sdk::machine::Chain;
use morphd::machine::record::{ReleaseRow, ReleaseStatus};
use morphd::release::Release;
use semver::Version;

use crate::scribe::Placing;
use crate::setup::{Schemas, Setup};

/// The older release, and the newer one.
pub(crate) const RELEASES: [&str; 2] = ["1.0.0", "2.0.0"];

/// The release that is permanent when a run begins.
pub(crate) fn first(setup: &Setup) -> Version {
    let [older, newer] = RELEASES.map(version);
    match setup.schemas {
        Schemas::Same | Schemas::Newer => older,
        Schemas::Older => newer,
    }
}

/// The release that is not this one.
pub(crate) fn other(release: &Version) -> Version {
    let [older, newer] = RELEASES.map(version);
    if *release == older { newer } else { older }
}

fn version(text: &str) -> Version {
    text.parse().unwrap_or(Version::new(0, 0, 0))
}

/// Schema version of a release.
pub(crate) fn schema(release: &Version, setup: &Setup) -> u32 {
    match setup.migrates() && *release == version(RELEASES[1]) {
        true => 2,
        false => 1,
    }
}

/// Number of rules that a release wants on the switch.
pub(crate) fn rules(release: &Version, setup: &Setup) -> u8 {
    let newer = *release == version(RELEASES[1]);
    match setup.rules {
        0 => 0,
        added => 1 + u8::from(newer) * added,
    }
}

/// Migrations that a release brings.
pub(crate) fn chain(release: &Version, setup: &Setup) -> Chain {
    match schema(release, setup) {
        2 => Chain::of::<Placing>(2),
        own => Chain::none(own),
    }
}

pub(crate) fn manifest(app: &str, release: &Version, setup: &Setup) -> Option<Manifest> {
    let number = if app == "a" { 1 } else { 2 };
    let durability = if setup.lazy { "async" } else { "sync" };
    let schema = schema(release, setup);
    let migrates = if schema == 2 { "migrates = [1]\n" } else { "" };
    let text = format!(
        "name = \"{app}\"\nversion = \"{release}\"\nid = {number}\nexec = \"scribe\"\nschema = {schema}\n{migrates}\
         tables = [{}, {}]\ndurability = \"{durability}\"\n",
        10 * number,
        10 * number + 2,
    );
    Manifest::parse(Path::new("app.toml"), &text).ok()
}

/// All releases, as morphd finds them in its records. Their statuses decide nothing here.
pub(crate) fn all(setup: &Setup) -> Vec<Release> {
    let mut all = Vec::new();
    for app in setup.apps() {
        for release in RELEASES.map(version) {
            let status = match release == first(setup) {
                true => ReleaseStatus::Permanent,
                false => ReleaseStatus::Staged,
            };
            let row = ReleaseRow {
                status,
                digest: String::new(),
                schema: schema(&release, setup),
                installed_unix_ms: 0,
                folder: String::new(),
                description: None,
                live: Some(true),
            };
            let manifest = manifest(&app, &release, setup);
            all.extend(manifest.map(|manifest| Release {
                row,
                manifest,
                folder: PathBuf::new(),
            }));
        }
    }
    all
}
