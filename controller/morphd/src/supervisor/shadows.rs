//! Keyspaces for shadows of an app's state: made for whoever writes them, and dropped when nobody needs them.

use std::sync::Arc;

use morph_api::store::{Keyspace, Op, Reason};
use morph_store::{Refusal, op};

use super::Supervisor;
use crate::app::InstanceId;
use crate::records::Records;
use crate::upgrade::{Input, Side};

/// A shadow of an upgrade that was taken back may come into being, or go, between a look and a write: then both are done again.
const ATTEMPTS: u32 = 4;

impl Supervisor {
    pub(super) fn make_keyspace(&mut self, app: &str, side: Side, schema: u32) {
        let Some(owner) = self.instance_of(app, side) else {
            return self.answer(app, Input::KeyspaceFailed("its maker is not there".into()));
        };
        let (records, name) = (Arc::clone(&self.records), app.to_owned());
        let maker = owner.clone();
        let call = async move { make_keyspace(&records, &name, schema, &owner).await };
        let name = app.to_owned();
        self.after(call, move |supervisor, result| {
            if supervisor.instance_of(&name, side).as_ref() != Some(&maker) {
                // Its upgrade has ended meanwhile, and another one may have begun.
                if let Ok(keyspace) = result {
                    supervisor.drop_keyspace(&name, keyspace);
                }
                return;
            }
            let input = match result {
                Ok(keyspace) => {
                    supervisor.shadow_begins(&name, &maker, keyspace, schema);
                    Input::KeyspaceMade(keyspace)
                }
                Err(why) => Input::KeyspaceFailed(why),
            };
            supervisor.feed_upgrade(&name, input);
        });
    }

    pub(super) fn drop_keyspace(&mut self, app: &str, keyspace: u32) {
        let (records, name) = (Arc::clone(&self.records), app.to_owned());
        let call = async move {
            records
                .write(&[], &[op::drop_keyspace(name, keyspace)])
                .await
        };
        self.after(call, move |_, result| {
            if let Err(refusal) = result {
                tracing::warn!(keyspace, %refusal, "the shadow is not dropped");
            }
        });
    }

    /// Drops an app's shadows: all of them, or those that one instance made. A new shadow takes an old one's place
    /// anyway; this is so that none lies about.
    pub(super) fn drop_shadows(&mut self, app: &str, owner: Option<InstanceId>) {
        let (records, name) = (Arc::clone(&self.records), app.to_owned());
        let call = async move {
            let keyspaces = records.status().await.keyspaces;
            let shadows = keyspaces
                .into_iter()
                .filter(|keyspace| keyspace.app == name && !keyspace.primary);
            let useless = shadows
                .filter(|keyspace| owner.as_ref().is_none_or(|owner| keyspace.owner == *owner));
            let drops: Vec<Op> = useless
                .map(|keyspace| op::drop_keyspace(&name, keyspace.id))
                .collect();
            if drops.is_empty() {
                return Ok(());
            }
            records.write(&[], &drops).await.map(drop)
        };
        self.after(call, |_, result| {
            if let Err(refusal) = result {
                tracing::warn!(%refusal, "a shadow is not dropped");
            }
        });
    }
}

/// Makes a shadow's keyspace under an id that the app never used, in the place of a shadow that nobody needs any longer.
pub(super) async fn make_keyspace(
    records: &Records,
    app: &str,
    schema: u32,
    owner: &str,
) -> Result<u32, String> {
    let mut refused = String::new();
    for _ in 0..ATTEMPTS {
        let status = records.status().await;
        let keyspaces: Vec<_> = status
            .keyspaces
            .iter()
            .filter(|keyspace| keyspace.app == app)
            .collect();
        let kept = |keyspace: &&&Keyspace| {
            !keyspace.primary && keyspace.schema == schema && keyspace.owner == owner
        };
        if let Some(keyspace) = keyspaces.iter().find(kept) {
            return Ok(keyspace.id);
        }
        let shadows = keyspaces.iter().filter(|keyspace| !keyspace.primary);
        let drops: Vec<Op> = shadows
            .map(|keyspace| op::drop_keyspace(app, keyspace.id))
            .collect();
        let newest = keyspaces
            .iter()
            .map(|keyspace| keyspace.id)
            .max()
            .unwrap_or(0);
        match create(records, &drops, newest + 1, (app, schema, owner)).await {
            Ok(id) => return Ok(id),
            Err(refusal) => refused = refusal.to_string(),
        }
    }
    Err(refused)
}

/// Drops these, and makes a shadow's keyspace under the first id from `id` on that was never used.
async fn create(
    records: &Records,
    drops: &[Op],
    mut id: u32,
    (app, schema, owner): (&str, u32, &str),
) -> Result<u32, Refusal> {
    loop {
        let mut ops = drops.to_vec();
        ops.push(op::create_shadow(app, id, schema, owner));
        match records.write(&[], &ops).await {
            Ok(_) => return Ok(id),
            // Used before; ids are not used twice.
            Err(refusal) if refusal.reason == Reason::Conflict => id += 1,
            Err(refusal) => return Err(refusal),
        }
    }
}
