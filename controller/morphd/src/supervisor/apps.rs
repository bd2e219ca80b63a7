//! Carries out what the machine of an app asks for: spawn, fence and resume, end.

use std::sync::Arc;
use std::time::Instant;

use morph_api::store::Reason;
use morph_api::supervisor::{Group, ResumeReply, ResumeRequest};

use super::inquest::Finding;
use super::{Feed, Managed, Supervisor};
use crate::app::{Input, InstanceId, Output};
use crate::proxy::Proxy;
use crate::records::{APPS, AppRow, Desired, Fenced, Fencing, Records, Write};
use crate::upgrade::{self, OldIs};

impl Supervisor {
    pub(super) fn feed_app(&mut self, app: &str, input: Input) {
        let Some(managed) = self.apps.get_mut(app) else {
            return;
        };
        let mut out = Vec::new();
        managed.machine.handle(input, Instant::now(), &mut out);
        for output in out {
            self.carry_out_app(app, output);
        }
    }

    fn carry_out_app(&mut self, app: &str, output: Output) {
        match output {
            Output::Spawn => self.spawn_permanent(app),
            Output::Resume(instance) => self.fence_and_resume(app, instance),
            Output::End(instance) => self.end_instance(&instance),
            Output::Yielded(instance) => self.yielded(app, instance),
            Output::GivenUp(deaths) => self.given_up(app, deaths),
            Output::Looping(deaths, wait) => {
                tracing::error!(
                    app,
                    deaths,
                    ?wait,
                    "it keeps dying; it is started again after a wait"
                );
            }
        }
    }

    fn spawn_permanent(&mut self, app: &str) {
        let Some(managed) = self.apps.get(app) else {
            return;
        };
        let version = managed.row.release.clone();
        let input = match self.spawn_instance(app, &version, None, true) {
            Ok(instance) => Input::Spawned(instance),
            Err(why) => {
                tracing::error!(app, release = %version, "{why}");
                if let Some(managed) = self.apps.get_mut(app) {
                    managed.last_end = why;
                }
                Input::SpawnFailed
            }
        };
        self.feed(Feed::App(app.to_owned(), input));
    }

    /// The path of every crash, first start and return of the proxy.
    fn fence_and_resume(&mut self, app: &str, instance: InstanceId) {
        let Some(inquest) = self.inquest(app) else {
            return;
        };
        let Some(managed) = self.apps.get(app) else {
            return;
        };
        let fencing = Fencing {
            app: app.to_owned(),
            node: self.settings.node.clone(),
            release: managed.row.release.to_string(),
            epoch: managed.row.epoch,
            force: true,
            swap: None,
            skip: None,
        };
        let row = AppRow {
            instance: instance.clone(),
            ..managed.row.clone()
        };
        let (records, proxy, name) = (
            Arc::clone(&self.records),
            self.proxy.clone(),
            app.to_owned(),
        );
        let id = instance.clone();
        let call = async move {
            let found = inquest.find(&proxy, &records).await;
            let (fenced, found) = fence(&records, fencing, row, found).await?;
            let resumed = resume(&proxy, &name, &id, fenced, None).await;
            Ok((fenced, found, resumed))
        };
        let name = app.to_owned();
        self.after(call, move |supervisor, result| {
            supervisor.resumed(&name, instance, result)
        });
    }

    fn resumed(
        &mut self,
        app: &str,
        instance: InstanceId,
        result: Result<(Fenced, Finding, Result<ResumeReply, String>), String>,
    ) {
        let input = match result {
            Err(why) => {
                tracing::error!(app, instance, "the fence was refused: {why}");
                Input::ResumeFailed(instance)
            }
            Ok((fenced, finding, resumed)) => {
                self.checkpoint_is(app, &instance, fenced);
                self.found(app, finding);
                self.trials_at(app, fenced.cursor);
                match resumed {
                    Ok(reply) => {
                        let (epoch, queued) = (fenced.epoch, reply.queued);
                        let (replayed, held_us) = (reply.replayed, reply.held_us);
                        tracing::info!(app, instance, epoch, queued, replayed, held_us, "resumed");
                        self.is_live(app, &instance);
                        Input::Resumed(instance)
                    }
                    Err(why) => {
                        tracing::warn!(app, instance, "could not be resumed: {why}");
                        Input::ResumeFailed(instance)
                    }
                }
            }
        };
        self.feed(Feed::App(app.to_owned(), input));
    }

    /// What a fence has made of the app's record.
    pub(super) fn checkpoint_is(&mut self, app: &str, instance: &str, fenced: Fenced) {
        if let Some(managed) = self.apps.get_mut(app) {
            managed.row.epoch = fenced.epoch;
            managed.row.instance = instance.to_owned();
        }
        for other in self.instances.values_mut().filter(|other| other.app == app) {
            other.live = false;
        }
    }

    pub(super) fn is_live(&mut self, app: &str, instance: &str) {
        for (id, other) in self
            .instances
            .iter_mut()
            .filter(|(_, other)| other.app == app)
        {
            other.live = id == instance;
        }
    }

    /// The slot is the upgrade's now; it wanted it to hold it.
    fn yielded(&mut self, app: &str, instance: Option<(InstanceId, bool)>) {
        let id = instance.map(|(id, _)| id);
        let old = match id.as_ref().and_then(|id| self.instances.get(id)) {
            None => OldIs::Absent,
            Some(instance) if instance.attached && instance.ready => OldIs::Ready,
            Some(_) => OldIs::Starting,
        };
        match self
            .apps
            .get_mut(app)
            .and_then(|managed| managed.upgrade.as_mut())
        {
            Some(running) => running.old = id,
            // The upgrade is over already; the app looks after itself again.
            None => {
                let back = id
                    .filter(|id| self.instances.contains_key(id))
                    .map(|id| (id, false));
                return self.take_back(app, back);
            }
        }
        self.feed_upgrade(app, upgrade::Input::Yielded(old));
        self.hold(app);
    }

    /// The app's own supervision goes on with this instance, live or not.
    pub(super) fn take_back(&mut self, app: &str, instance: Option<(InstanceId, bool)>) {
        let id = instance.as_ref().map(|(id, _)| id.clone());
        self.feed(Feed::App(app.to_owned(), Input::Take(instance)));
        if let Some(id) = id {
            self.tell_ready(&id);
        }
    }

    /// Writes an app's record beside everything else, and then `then`.
    pub(super) fn write_app(
        &mut self,
        app: &str,
        row: AppRow,
        then: impl FnOnce(&mut Supervisor, Result<(), String>) + Send + 'static,
    ) {
        let (records, write) = (Arc::clone(&self.records), Write::new(APPS, app, &row));
        let name = app.to_owned();
        let call = async move { records.write(&[write], &[]).await };
        self.after(call, move |supervisor, result| match result {
            Ok(_) => {
                if let Some(managed) = supervisor.apps.get_mut(&name) {
                    managed.row.release = row.release;
                    managed.row.desired = row.desired;
                    managed.row.former = row.former;
                    managed.row.trouble = row.trouble;
                }
                then(supervisor, Ok(()));
            }
            Err(refusal) => then(supervisor, Err(refusal.to_string())),
        });
    }
}

impl Managed {
    pub(super) fn new(row: AppRow) -> Self {
        Managed {
            row,
            machine: crate::app::App::default(),
            upgrade: None,
            last: None,
            death: None,
            last_end: String::new(),
            migration: None,
            keeping: (0, semver::Version::new(0, 0, 0), 0),
            order: Arc::default(),
            writes: 0,
        }
    }

    /// It takes part in the pipeline.
    pub(super) fn present(&self) -> bool {
        self.row.desired != Desired::Removed
    }
}

/// The fence, with what was found of the death before it.
async fn fence(
    records: &Records,
    fencing: Fencing,
    row: AppRow,
    mut found: Finding,
) -> Result<(Fenced, Finding), String> {
    loop {
        let fencing = Fencing {
            skip: found.skip(),
            ..fencing.clone()
        };
        let writes = |epochs: &[u64]| {
            let row = |epoch: &u64| AppRow {
                epoch: *epoch,
                suspicion: found.suspicion.clone(),
                ..row.clone()
            };
            let write = |epoch| Write::new(APPS, fencing.app.as_str(), &row(epoch));
            let apps = epochs.iter().map(write);
            apps.chain(found.write()).collect()
        };
        let fenced = records.fence(vec![fencing.clone()], writes).await;
        match fenced {
            Ok(fenced) => {
                let fenced = fenced.first().copied().ok_or("no checkpoint was fenced")?;
                return Ok((fenced, found));
            }
            // The event was applied after all, between the look at the checkpoint and the fence.
            Err(refusal) if refusal.reason == Reason::Conflict && found.skip().is_some() => {
                tracing::warn!(app = fencing.app, %refusal, "the event is not set aside");
                found.acquit();
            }
            Err(refusal) => return Err(refusal.to_string()),
        }
    }
}

/// Makes an instance live under a fence.
pub(super) async fn resume(
    proxy: &Proxy,
    app: &str,
    instance: &str,
    fenced: Fenced,
    group: Option<Group>,
) -> Result<ResumeReply, String> {
    let request = ResumeRequest {
        app: app.to_owned(),
        instance: instance.to_owned(),
        epoch: fenced.epoch,
        cursor: Some(fenced.cursor),
        turn: fenced.turn,
        revision: fenced.revision,
        group,
    };
    proxy
        .resume(request)
        .await
        .map_err(|status| status.message().to_owned())
}
