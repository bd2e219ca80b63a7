//! The bundles that are found beside morphd, and the first apps on an empty store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{anyhow, bail};
use morph_store::op;

use super::requests::{release_write, staged};
use super::start::as_permanent;
use super::{Managed, Supervisor};
use crate::bundle::{self, Bundle};
use crate::config::AppRef;
use crate::records::{APPS, AppRow, Desired, Write};
use crate::release::{self, Release};

impl Supervisor {
    /// Stages the bundles beside morphd. One that cannot be used is a warning: the others can.
    pub(super) async fn install_found(&mut self) -> anyhow::Result<()> {
        for folder in bundle::folders_in(&self.settings.bundles) {
            if let Some(release) = self.copy(folder).await {
                self.records.write(&[release_write(&release)], &[]).await?;
                self.staged(release);
            }
        }
        Ok(())
    }

    /// The same, one after the other, while everything else runs.
    pub(super) fn install_later(&self, mut folders: Vec<PathBuf>) {
        let Some(folder) = folders.pop() else {
            return;
        };
        let (copy, records) = (self.copy(folder), Arc::clone(&self.records));
        let call = async move {
            let release = copy.await?;
            match records.write(&[release_write(&release)], &[]).await {
                Ok(_) => Some(release),
                Err(refusal) => {
                    tracing::error!(%refusal, "the record of a release was refused");
                    None
                }
            }
        };
        self.after(call, move |supervisor, release| {
            if let Some(release) = release {
                supervisor.staged(release);
            }
            supervisor.install_later(folders);
        });
    }

    fn staged(&mut self, release: Release) {
        let (app, version) = (&release.manifest.name, &release.manifest.version);
        tracing::info!(app, %version, digest = release.row.digest, "staged");
        self.releases.insert(release);
    }

    /// Copies a bundle unless it is known.
    fn copy(&self, folder: PathBuf) -> impl Future<Output = Option<Release>> + Send + use<> {
        let (bundles, known) = (
            self.settings.state_dir.join("bundles"),
            self.known_digests(),
        );
        let work =
            tokio::task::spawn_blocking(move || install_unless_known(&folder, &bundles, &known));
        async move {
            match work.await {
                Ok(Ok(release)) => release,
                Ok(Err(why)) => {
                    tracing::warn!("{why}");
                    None
                }
                Err(_) => None,
            }
        }
    }

    fn known_digests(&self) -> BTreeMap<(String, semver::Version), String> {
        let all = self.releases.iter();
        all.map(|r| {
            (
                (r.manifest.name.clone(), r.manifest.version.clone()),
                r.row.digest.clone(),
            )
        })
        .collect()
    }

    pub(super) async fn choose_first_apps(&mut self) -> anyhow::Result<()> {
        let named = self.settings.apps.clone();
        let default = ["topology", "router"].map(|name| AppRef {
            name: name.into(),
            version: None,
        });
        for app in if named.is_empty() {
            default.to_vec()
        } else {
            named.clone()
        } {
            let release = match &app.version {
                Some(version) => self.releases.get(&app.name, version),
                None => self.releases.newest(&app.name),
            };
            let Some(release) = release.cloned() else {
                let place = self.settings.bundles.display();
                let versions = self.releases.versions(&app.name);
                if named.is_empty() {
                    tracing::warn!(
                        app = app.name,
                        "no bundle of it in {place}; `morphctl app install PATH` brings one"
                    );
                    continue;
                }
                bail!(
                    "--app {app}: there is no such release; of {} there are: {versions} (in {place})",
                    app.name
                );
            };
            if self.apps.contains_key(&app.name) {
                bail!("--app {app}: {} is named twice", app.name);
            }
            let mut together = self.present("");
            together.push(&release.manifest);
            release::check_coexistence(&together).map_err(|why| anyhow!("--app {app}: {why}"))?;
            self.write_first(&release).await?;
        }
        Ok(())
    }

    /// The app's record, its release as permanent and its first keyspace, at once.
    async fn write_first(&mut self, release: &Release) -> anyhow::Result<()> {
        let manifest = &release.manifest;
        let row = AppRow {
            id: manifest.id,
            release: manifest.version.clone(),
            desired: Desired::Running,
            instance: String::new(),
            epoch: 0,
            former: None,
            trouble: None,
            suspicion: None,
        };
        let permanent = as_permanent(release);
        let writes = [
            Write::new(APPS, &manifest.name, &row),
            release_write(&permanent),
        ];
        let keyspace = op::create_primary(&manifest.name, 1, manifest.schema);
        self.records.write(&writes, &[keyspace]).await?;
        let name = manifest.name.clone();
        self.releases.insert(permanent);
        self.apps.insert(name, Managed::new(row));
        Ok(())
    }
}

type Known = BTreeMap<(String, semver::Version), String>;

fn install_unless_known(
    folder: &Path,
    bundles: &Path,
    known: &Known,
) -> Result<Option<Release>, String> {
    let bundle =
        Bundle::examine(folder).map_err(|error| format!("this bundle is not used: {error}"))?;
    let (name, version) = (&bundle.manifest.name, &bundle.manifest.version);
    match known.get(&(name.clone(), version.clone())) {
        Some(digest) if *digest == bundle.digest => Ok(None),
        Some(digest) => Err(format!(
            "{}: {name}@{version} is known with another digest ({}): the known one is used",
            folder.display(),
            &digest[..12.min(digest.len())]
        )),
        None => {
            let installed = bundle.install(bundles).map_err(|error| error.to_string())?;
            Ok(Some(staged(bundle, installed)))
        }
    }
}
