//! Spaces for copies of an app's state: made for whoever writes them, and dropped when nobody needs them.

use std::sync::Arc;

use morph_api::store::{Op, Reason, Space};
use morph_store::{Refusal, op};

use super::Supervisor;
use crate::app::InstanceId;
use crate::records::Records;
use crate::upgrade::{Input, Side};

/// A copy of an upgrade that was taken back may come into being, or go, between a look and a write: then both are done again.
const ATTEMPTS: u32 = 4;

impl Supervisor {
    pub(super) fn make_space(&mut self, app: &str, side: Side, schema: u32) {
        let Some(owner) = self.instance_of(app, side) else {
            return self.answer(app, Input::SpaceFailed("its maker is not there".into()));
        };
        let (records, name) = (Arc::clone(&self.records), app.to_owned());
        let maker = owner.clone();
        let call = async move { make_space(&records, &name, schema, &owner).await };
        let name = app.to_owned();
        self.after(call, move |supervisor, result| {
            if supervisor.instance_of(&name, side).as_ref() != Some(&maker) {
                // Its upgrade has ended meanwhile, and another one may have begun.
                if let Ok(space) = result {
                    supervisor.drop_space(&name, space);
                }
                return;
            }
            let input = match result {
                Ok(space) => {
                    supervisor.copy_begins(&name, &maker, space, schema);
                    Input::SpaceMade(space)
                }
                Err(why) => Input::SpaceFailed(why),
            };
            supervisor.feed_upgrade(&name, input);
        });
    }

    pub(super) fn drop_space(&mut self, app: &str, space: u32) {
        let (records, name) = (Arc::clone(&self.records), app.to_owned());
        let call = async move { records.write(&[], &[op::drop_space(name, space)]).await };
        self.after(call, move |_, result| {
            if let Err(refusal) = result {
                tracing::warn!(space, %refusal, "the copy is not dropped");
            }
        });
    }

    /// Drops an app's copies: all of them, or those that one instance made. A new copy takes an old one's place
    /// anyway; this is so that none lies about.
    pub(super) fn drop_copies(&mut self, app: &str, owner: Option<InstanceId>) {
        let (records, name) = (Arc::clone(&self.records), app.to_owned());
        let call = async move {
            let spaces = records.status().await.spaces;
            let copies = spaces
                .into_iter()
                .filter(|space| space.app == name && !space.truth);
            let useless =
                copies.filter(|space| owner.as_ref().is_none_or(|owner| space.owner == *owner));
            let drops: Vec<Op> = useless
                .map(|space| op::drop_space(&name, space.id))
                .collect();
            if drops.is_empty() {
                return Ok(());
            }
            records.write(&[], &drops).await.map(drop)
        };
        self.after(call, |_, result| {
            if let Err(refusal) = result {
                tracing::warn!(%refusal, "a copy is not dropped");
            }
        });
    }
}

/// Makes a copy's space under an id that the app never used, in the place of a copy that nobody needs any longer.
pub(super) async fn make_space(
    records: &Records,
    app: &str,
    schema: u32,
    owner: &str,
) -> Result<u32, String> {
    let mut refused = String::new();
    for _ in 0..ATTEMPTS {
        let status = records.status().await;
        let spaces: Vec<_> = status
            .spaces
            .iter()
            .filter(|space| space.app == app)
            .collect();
        let kept = |space: &&&Space| !space.truth && space.schema == schema && space.owner == owner;
        if let Some(space) = spaces.iter().find(kept) {
            return Ok(space.id);
        }
        let copies = spaces.iter().filter(|space| !space.truth);
        let drops: Vec<Op> = copies.map(|space| op::drop_space(app, space.id)).collect();
        let newest = spaces.iter().map(|space| space.id).max().unwrap_or(0);
        match create(records, &drops, newest + 1, (app, schema, owner)).await {
            Ok(id) => return Ok(id),
            Err(refusal) => refused = refusal.to_string(),
        }
    }
    Err(refused)
}

/// Drops these, and makes a copy's space under the first id from `id` on that was never used.
async fn create(
    records: &Records,
    drops: &[Op],
    mut id: u32,
    (app, schema, owner): (&str, u32, &str),
) -> Result<u32, Refusal> {
    loop {
        let mut ops = drops.to_vec();
        ops.push(op::create_copy(app, id, schema, owner));
        match records.write(&[], &ops).await {
            Ok(_) => return Ok(id),
            // Used before; ids are not used twice.
            Err(refusal) if refusal.reason == Reason::Conflict => id += 1,
            Err(refusal) => return Err(refusal),
        }
    }
}
