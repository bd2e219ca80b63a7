//! `morphctl upgrade`, `commit` and `rollback`.

use morph_api::management::{
    CommitRequest, PlannedUpgrade, RollbackRequest, Step, UpgradeRequest, UpgradeStatus,
};

use crate::client::{Client, change, incomplete, read, wait};
use crate::failure::{Effect, Failure};
use crate::print::status::{line, outcome, summary};
use crate::print::{Output, UPGRADES, printable};

/// Prints each status as it becomes true. Ends when the upgrade of each app has ended; with `no_wait` after the first status.
pub(crate) async fn run(
    request: UpgradeRequest,
    client: &mut Client,
    out: &mut Output,
) -> Result<(), Failure> {
    let (app, no_wait) = (request.app.clone(), request.no_wait);
    let app_count = 1 + request.also.len();
    let probe = client.clone();
    let mut stream = match wait(&probe, client.upgrade(request)).await {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => return Err(Failure::of_status(&status, Effect::Changes)),
        Err(interruption) => return Err(detached(&app, interruption.reason())),
    };
    let mut has_begun = false;
    let mut ends = Vec::new();
    while ends.len() < app_count {
        let status = match wait(&probe, stream.message()).await {
            Ok(Ok(Some(status))) => status,
            Ok(Ok(None)) => return Err(detached(&app, "morphd ended the stream")),
            // A refusal before the first status means that nothing changed.
            Ok(Err(status)) if !has_begun => {
                return Err(Failure::of_status(&status, Effect::Changes));
            }
            Ok(Err(status)) => {
                let reason = Failure::of_status(&status, Effect::Reads).to_string();
                return Err(detached(&app, &reason));
            }
            Err(interruption) => return Err(detached(&app, interruption.reason())),
        };
        has_begun = true;
        out.item(UPGRADES, &status, &line(&status))?;
        match status.step() {
            Step::Committed | Step::RolledBack => ends.push(status),
            _ if no_wait => return out.note(&format!("{}\n", continues(&app))),
            _ => {}
        }
    }
    // All summaries are printed, then the first failure counts: apps of a group upgrade end alike.
    let results: Vec<_> = ends.iter().map(|end| print_end(out, end)).collect();
    results.into_iter().collect()
}

/// Prints what an upgrade would do; fails if it would be refused.
pub(crate) async fn plan(
    request: UpgradeRequest,
    client: &mut Client,
    out: &mut Output,
) -> Result<(), Failure> {
    let plans: Vec<PlannedUpgrade> = read(client.plan(request)).await?.upgrades;
    out.list("plan", &plans)?;
    let refusals = plans.iter().map(|plan| plan.refused.as_str());
    let refusals: Vec<&str> = refusals.filter(|reason| !reason.is_empty()).collect();
    match refusals.is_empty() {
        true => Ok(()),
        false => Err(Failure::Refused(
            printable(&refusals.join("; ")).into_owned(),
        )),
    }
}

pub(crate) async fn commit(
    request: CommitRequest,
    client: &mut Client,
    out: &mut Output,
) -> Result<(), Failure> {
    let probe = client.clone();
    let reply = change(&probe, client.commit(request)).await?;
    let status = reply.status.ok_or_else(|| incomplete("the status"))?;
    out.item(UPGRADES, &status, &line(&status))?;
    print_end(out, &status)
}

pub(crate) async fn roll_back(
    request: RollbackRequest,
    client: &mut Client,
    out: &mut Output,
) -> Result<(), Failure> {
    let probe = client.clone();
    let reply = change(&probe, client.rollback(request)).await?;
    let status = reply.status.ok_or_else(|| incomplete("the status"))?;
    out.item(UPGRADES, &status, &line(&status))?;
    out.note(&summary(&status))?;
    match status.step() {
        Step::RolledBack => Ok(()),
        Step::Committed => Err(Failure::Refused(outcome(&status))),
        _ => Err(Failure::Unknown(outcome(&status))),
    }
}

/// Prints the summary of an upgrade that was to be committed.
fn print_end(out: &mut Output, status: &UpgradeStatus) -> Result<(), Failure> {
    out.note(&summary(status))?;
    match status.step() {
        Step::Committed => Ok(()),
        Step::RollingBack | Step::RolledBack => Err(Failure::RolledBack(outcome(status))),
        _ => Err(Failure::Unknown(outcome(status))),
    }
}

/// Failure of a command that no longer sees its upgrade, which continues in morphd.
fn detached(app: &str, reason: &str) -> Failure {
    Failure::Unknown(format!("{reason}: outcome unknown. {}", continues(app)))
}

fn continues(app: &str) -> String {
    format!(
        "The upgrade continues in morphd. Follow it with `morphctl status --follow app={app}`; \
         end it with `morphctl commit app={app}` or `morphctl rollback app={app}`."
    )
}
