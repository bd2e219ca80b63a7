//! Shadows of apps' states for those that read an older schema: kept as long as somebody does.
//!
//! Looked at from time to time, and always from how things are: whoever reads what, which shadow there is, and whose. A commit
//! leaves the former primary as a shadow of the newcomer; where that is gone, a new shadow is made.

use std::sync::Arc;

use morph_api::store::{Keyspace, Op};
use morph_api::supervisor::{MakeShadow, instruction};
use morph_store::op;

use super::shadows::make_keyspace;
use super::{Managed, Supervisor};
use crate::app::{InstanceId, State};

/// How often a shadow is made again before it is given up: a migration that ends its instance would do so again.
const TRIES: u32 = 3;

/// What is to be done about an app's shadow.
#[derive(Debug, PartialEq, Eq)]
enum Todo {
    Nothing,
    /// Nobody reads these.
    Drop(Vec<u32>),
    Make,
}

impl Supervisor {
    /// The present apps that read another one's tables, as APP@VERSION, and in which schema.
    pub(super) fn readers(&self, app: &str) -> Vec<(String, u32)> {
        let mut readers = Vec::new();
        for (name, managed) in self.apps.iter().filter(|(_, managed)| managed.present()) {
            let upgrade = managed.upgrade.as_ref();
            let to = upgrade.map(|running| &running.to);
            for version in [Some(&managed.row.release), to].into_iter().flatten() {
                let release = self.releases.get(name, version);
                let reads = release.and_then(|release| release.manifest.reads.get(app));
                readers.extend(reads.map(|schema| (format!("{name}@{version}"), *schema)));
            }
        }
        readers
    }

    /// Sees to the shadows that readers need.
    pub(super) fn keep_shadows(&mut self) {
        let records = Arc::clone(&self.records);
        let call = async move { records.status().await.keyspaces };
        self.after(call, |supervisor, keyspaces| {
            let names: Vec<String> = supervisor.apps.keys().cloned().collect();
            for name in names {
                supervisor.keep_shadow(&name, &keyspaces);
            }
        });
    }

    fn keep_shadow(&mut self, app: &str, keyspaces: &[Keyspace]) {
        let Some(managed) = self.apps.get(app) else {
            return;
        };
        let Some(live) = live(managed).cloned() else {
            return;
        };
        let wanted = self.wanted(app, managed);
        match todo(app, wanted, &live, keyspaces) {
            Todo::Nothing => {}
            Todo::Drop(ids) => {
                let drops: Vec<Op> = ids.iter().map(|id| op::drop_keyspace(app, *id)).collect();
                let records = Arc::clone(&self.records);
                let call = async move { records.write(&[], &drops).await };
                self.after(call, |_, result| {
                    if let Err(refusal) = result {
                        tracing::warn!(%refusal, "a shadow is not dropped");
                    }
                });
            }
            Todo::Make => {
                if let Some(schema) = wanted {
                    self.make_kept(app, schema, live);
                }
            }
        }
    }

    /// The schema beside its own in which an app is read, if its release can keep that up.
    fn wanted(&self, app: &str, managed: &Managed) -> Option<u32> {
        let release = self.releases.get(app, &managed.row.release)?;
        let manifest = &release.manifest;
        let mut schemas = self.readers(app).into_iter().map(|(_, schema)| schema);
        schemas.find(|schema| *schema != manifest.schema && manifest.migrates.contains(schema))
    }

    fn make_kept(&mut self, app: &str, schema: u32, live: InstanceId) {
        let Some(managed) = self.apps.get_mut(app) else {
            return;
        };
        let tried = &mut managed.keeping;
        if (tried.0, &tried.1) != (schema, &managed.row.release) {
            *tried = (schema, managed.row.release.clone(), 0);
        }
        if tried.2 == TRIES {
            return;
        }
        tried.2 += 1;
        if tried.2 == TRIES {
            tracing::error!(
                app,
                schema,
                "its shadow is made for the last time: {TRIES} instances did not keep it up"
            );
        }
        let (records, proxy, name) = (
            Arc::clone(&self.records),
            self.proxy.clone(),
            app.to_owned(),
        );
        let call = async move {
            let keyspace = make_keyspace(&records, &name, schema, &live).await?;
            let order = instruction::Instruction::MakeShadow(MakeShadow { keyspace, schema });
            let told = proxy.tell(&name, &live, order).await;
            told.map_err(|status| status.message().to_owned())?;
            Ok((name, live, keyspace))
        };
        self.after(
            call,
            move |supervisor, made: Result<_, String>| match made {
                Ok((app, live, keyspace)) => {
                    supervisor.shadow_begins(&app, &live, keyspace, schema)
                }
                Err(why) => tracing::warn!(why, "a shadow for readers is not made yet"),
            },
        );
    }
}

/// The instance that serves, where no upgrade has a say.
fn live(managed: &Managed) -> Option<&InstanceId> {
    match (&managed.upgrade, managed.machine.state()) {
        (None, State::Running { instance }) => Some(instance),
        _ => None,
    }
}

fn todo(app: &str, wanted: Option<u32>, live: &str, keyspaces: &[Keyspace]) -> Todo {
    let shadows = || {
        keyspaces
            .iter()
            .filter(|keyspace| keyspace.app == app && !keyspace.primary)
    };
    let primary = keyspaces
        .iter()
        .any(|keyspace| keyspace.app == app && keyspace.primary);
    match wanted {
        Some(schema) if shadows().any(|s| s.schema == schema && s.owner == live) => Todo::Nothing,
        Some(_) if primary => Todo::Make,
        Some(_) => Todo::Nothing,
        None if shadows().next().is_none() => Todo::Nothing,
        None => Todo::Drop(shadows().map(|keyspace| keyspace.id).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyspace(id: u32, primary: bool, owner: &str) -> Keyspace {
        Keyspace {
            app: "router".into(),
            id,
            schema: id,
            primary,
            owner: owner.into(),
            ..Keyspace::default()
        }
    }

    #[test]
    fn a_shadow_is_kept_by_the_live_instance_while_it_is_read() {
        let alone = [keyspace(2, true, "")];
        let own = [keyspace(1, false, "live"), keyspace(2, true, "")];
        let orphan = [keyspace(1, false, "dead"), keyspace(2, true, "")];
        for (wanted, keyspaces, expected) in [
            (None, &alone[..], Todo::Nothing),
            (None, &own, Todo::Drop(vec![1])),
            (None, &orphan, Todo::Drop(vec![1])),
            (Some(1), &alone, Todo::Make),
            (Some(1), &own, Todo::Nothing),
            (Some(1), &orphan, Todo::Make),
            (Some(3), &own, Todo::Make),
            (Some(1), &[], Todo::Nothing),
        ] {
            assert_eq!(
                todo("router", wanted, "live", keyspaces),
                expected,
                "{wanted:?} {keyspaces:?}"
            );
        }
    }
}
