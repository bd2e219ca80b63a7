//! The present apps: what the proxy makes the pipeline of.

use morph_api::manifest::Manifest;
use morph_api::supervisor::{Configuration, PresentApp};

use super::Supervisor;

impl Supervisor {
    /// Manifests of the apps that take part, beside `besides`.
    pub(super) fn present(&self, besides: &str) -> Vec<&Manifest> {
        let present = self
            .apps
            .iter()
            .filter(|(name, managed)| managed.present() && *name != besides);
        present
            .filter_map(|(name, managed)| self.releases.get(name, &managed.row.release))
            .map(|release| &release.manifest)
            .collect()
    }

    pub(super) fn configuration(&self) -> Configuration {
        let apps = self.present("").into_iter().map(|manifest| PresentApp {
            name: manifest.name.clone(),
            id: u32::from(manifest.id),
            first_table: u32::from(manifest.tables[0]),
            last_table: u32::from(manifest.tables[1]),
        });
        Configuration {
            apps: apps.collect(),
        }
    }

    /// Tells the proxy which apps there are.
    pub(super) fn configure(&self) {
        let (proxy, configuration) = (self.proxy.clone(), self.configuration());
        self.after(
            async move { proxy.configure(configuration).await },
            |_, result| {
                if let Err(status) = result {
                    tracing::error!(
                        error = status.message(),
                        "the proxy does not take the present apps"
                    );
                }
            },
        );
    }
}
