//! Copies of apps' states for those that read an older schema: kept as long as somebody does.
//!
//! Looked at from time to time, and always from how things are: whoever reads what, which copy there is, and whose. A commit
//! leaves the former truth as a copy of the newcomer; where that is gone, a new copy is made.

use std::sync::Arc;

use morph_api::store::{Op, Space};
use morph_api::supervisor::{MakeCopy, instruction};
use morph_store::op;

use super::copies::make_space;
use super::{Managed, Supervisor};
use crate::app::{InstanceId, State};

/// How often a copy is made again before it is given up: a migration that ends its instance would do so again.
const TRIES: u32 = 3;

/// What is to be done about an app's copy.
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

    /// Sees to the copies that readers need.
    pub(super) fn keep_copies(&mut self) {
        let records = Arc::clone(&self.records);
        let call = async move { records.status().await.spaces };
        self.after(call, |supervisor, spaces| {
            let names: Vec<String> = supervisor.apps.keys().cloned().collect();
            for name in names {
                supervisor.keep_copy(&name, &spaces);
            }
        });
    }

    fn keep_copy(&mut self, app: &str, spaces: &[Space]) {
        let Some(managed) = self.apps.get(app) else {
            return;
        };
        let Some(live) = live(managed).cloned() else {
            return;
        };
        let wanted = self.wanted(app, managed);
        match todo(app, wanted, &live, spaces) {
            Todo::Nothing => {}
            Todo::Drop(ids) => {
                let drops: Vec<Op> = ids.iter().map(|id| op::drop_space(app, *id)).collect();
                let records = Arc::clone(&self.records);
                let call = async move { records.write(&[], &drops).await };
                self.after(call, |_, result| {
                    if let Err(refusal) = result {
                        tracing::warn!(%refusal, "a copy is not dropped");
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
                "its copy is made for the last time: {TRIES} instances did not keep it up"
            );
        }
        let (records, proxy, name) = (
            Arc::clone(&self.records),
            self.proxy.clone(),
            app.to_owned(),
        );
        let call = async move {
            let space = make_space(&records, &name, schema, &live).await?;
            let order = instruction::Instruction::MakeCopy(MakeCopy { space, schema });
            let told = proxy.tell(&name, &live, order).await;
            told.map_err(|status| status.message().to_owned())?;
            Ok((name, live, space))
        };
        self.after(
            call,
            move |supervisor, made: Result<_, String>| match made {
                Ok((app, live, space)) => supervisor.copy_begins(&app, &live, space, schema),
                Err(why) => tracing::warn!(why, "a copy for readers is not made yet"),
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

fn todo(app: &str, wanted: Option<u32>, live: &str, spaces: &[Space]) -> Todo {
    let copies = || {
        spaces
            .iter()
            .filter(|space| space.app == app && !space.truth)
    };
    let truth = spaces.iter().any(|space| space.app == app && space.truth);
    match wanted {
        Some(schema) if copies().any(|s| s.schema == schema && s.owner == live) => Todo::Nothing,
        Some(_) if truth => Todo::Make,
        Some(_) => Todo::Nothing,
        None if copies().next().is_none() => Todo::Nothing,
        None => Todo::Drop(copies().map(|space| space.id).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(id: u32, truth: bool, owner: &str) -> Space {
        Space {
            app: "router".into(),
            id,
            schema: id,
            truth,
            owner: owner.into(),
            ..Space::default()
        }
    }

    #[test]
    fn a_copy_is_kept_by_the_live_instance_while_it_is_read() {
        let alone = [space(2, true, "")];
        let own = [space(1, false, "live"), space(2, true, "")];
        let orphan = [space(1, false, "dead"), space(2, true, "")];
        for (wanted, spaces, expected) in [
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
                todo("router", wanted, "live", spaces),
                expected,
                "{wanted:?} {spaces:?}"
            );
        }
    }
}
