//! What comes in streams: the statuses of upgrades, and logs.

use std::io::Write;
use std::time::Duration;

use morph_api::management::{
    AppRelease, AppsRequest, LogLine, LogsRequest, StatusRequest, Step, UpgradeRequest,
    UpgradeStatus, VersionRequest,
};
use tonic::Streaming;

use crate::argument::Release;
use crate::call::{Client, Gone, incomplete, waited};
use crate::failure::{Effect, Failure};
use crate::print::status::{line, outcome, summary};
use crate::print::{Output, plain};

/// Lines that morphd is asked for where `--tail` says nothing; its own default is the same.
const TAIL: u32 = 200;
/// The noun of upgrades in JSON.
const UPGRADES: &str = "upgrades";

/// How an upgrade is wanted.
pub(crate) struct Wish {
    pub(crate) probation: Option<Duration>,
    pub(crate) confirm_within: Option<Duration>,
    pub(crate) deadlines: Vec<(String, Duration)>,
    pub(crate) allow_loss: bool,
    pub(crate) no_wait: bool,
}

/// `upgrade`: each status as it comes; ends with the upgrade, or after its first status with `no_wait`.
pub(crate) async fn upgrade(
    client: &mut Client,
    out: &mut Output,
    releases: Vec<Release>,
    wish: Wish,
) -> Result<(), Failure> {
    let no_wait = wish.no_wait;
    let (app, count) = (
        releases.first().map(|r| r.app.clone()).unwrap_or_default(),
        releases.len(),
    );
    let request = request(releases, wish);
    let lives = client.clone();
    let opened = waited(&lives, client.upgrade(request)).await;
    let mut stream = match opened {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => return Err(Failure::of_status(&status, Effect::Changes)),
        Err(gone) => return Err(detached(&app, gone.why())),
    };
    let mut begun = false;
    let mut ended = Vec::new();
    loop {
        let status = match waited(&lives, stream.message()).await {
            Ok(Ok(Some(status))) => status,
            Ok(Ok(None)) => return Err(detached(&app, "morphd ended the stream")),
            // Refused before the first status: nothing changed. Later: who knows.
            Ok(Err(status)) if !begun => return Err(Failure::of_status(&status, Effect::Changes)),
            Ok(Err(status)) => {
                let why = Failure::of_status(&status, Effect::Reads).to_string();
                return Err(detached(&app, &why));
            }
            Err(gone) => return Err(detached(&app, gone.why())),
        };
        begun = true;
        out.item(UPGRADES, &status, &line(&status))?;
        match status.step() {
            Step::Committed | Step::RolledBack => ended.push(status),
            _ if no_wait => return out.text(&format!("{}\n", goes_on(&app))),
            _ => {}
        }
        if ended.len() == count {
            return all_committed_or_not(out, &ended);
        }
    }
}

/// What is asked of morphd.
pub(crate) fn request(releases: Vec<Release>, wish: Wish) -> UpgradeRequest {
    let mut releases = releases.into_iter().map(|release| AppRelease {
        app: release.app,
        version: release.version.map(|v| v.to_string()).unwrap_or_default(),
    });
    // The parser takes no less than one.
    let AppRelease { app, version } = releases.next().unwrap_or_default();
    // The parser allows no more than fits; 0 is the API's default.
    let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    UpgradeRequest {
        app,
        version,
        probation_ms: wish.probation.map_or(0, ms),
        no_wait: wish.no_wait,
        also: releases.collect(),
        confirm_within_ms: wish.confirm_within.map_or(0, ms),
        allow_loss: wish.allow_loss,
        deadlines_ms: wish
            .deadlines
            .into_iter()
            .map(|(name, time)| (name, ms(time)))
            .collect(),
    }
}

/// The ends of all that were upgraded as one; they are alike.
fn all_committed_or_not(out: &mut Output, ended: &[UpgradeStatus]) -> Result<(), Failure> {
    let each: Vec<_> = ended
        .iter()
        .map(|status| committed_or_not(out, status))
        .collect();
    each.into_iter().collect()
}

/// The upgrade is somebody else's now.
fn detached(app: &str, why: &str) -> Failure {
    Failure::Unknown(format!("{why}: the outcome is open. {}", goes_on(app)))
}

fn goes_on(app: &str) -> String {
    format!(
        "The upgrade goes on in morphd; follow it with `morphctl status --follow app={app}`, \
         end it with `morphctl commit app={app}` or `morphctl rollback app={app}`."
    )
}

/// `commit`: what the upgrade became.
pub(crate) fn committed(out: &mut Output, status: Option<UpgradeStatus>) -> Result<(), Failure> {
    let status = status.ok_or_else(|| incomplete("the status"))?;
    out.item(UPGRADES, &status, &line(&status))?;
    committed_or_not(out, &status)
}

fn committed_or_not(out: &mut Output, status: &UpgradeStatus) -> Result<(), Failure> {
    out.text(&summary(status))?;
    match status.step() {
        Step::Committed => Ok(()),
        Step::RollingBack | Step::RolledBack => Err(Failure::RolledBack(outcome(status))),
        _ => Err(Failure::Unknown(outcome(status))),
    }
}

/// `rollback`: what the upgrade became.
pub(crate) fn taken_back(out: &mut Output, status: Option<UpgradeStatus>) -> Result<(), Failure> {
    let status = status.ok_or_else(|| incomplete("the status"))?;
    out.item(UPGRADES, &status, &line(&status))?;
    out.text(&summary(&status))?;
    match status.step() {
        Step::RolledBack => Ok(()),
        Step::Committed => Err(Failure::Refused(outcome(&status))),
        _ => Err(Failure::Unknown(outcome(&status))),
    }
}

/// `status`: what is known now.
pub(crate) async fn status(
    client: &mut Client,
    out: &mut Output,
    app: String,
) -> Result<(), Failure> {
    let mut stream = open_statuses(client, app, false).await?;
    let mut statuses = Vec::new();
    while let Some(status) = next(client, &mut stream).await? {
        statuses.push(status);
    }
    out.list(UPGRADES, &statuses)?;
    say_parts(client).await;
    say_apps(client).await;
    Ok(())
}

/// What every app needs and does not answer: no upgrade gets far without it.
async fn say_parts(client: &mut Client) {
    let Ok(Ok(reply)) = waited(&client.clone(), client.version(VersionRequest {})).await else {
        return;
    };
    for part in reply.into_inner().parts {
        let said = match part.state.as_str() {
            "hung" => "does not answer",
            "gone" => "has ended, and is started again",
            _ => continue,
        };
        let (name, pid) = (plain(&part.name), part.pid);
        // Nobody reads a message that cannot be written.
        let _ = writeln!(
            std::io::stderr(),
            "morphctl: {name} (pid {pid}) {said}: see `morphctl logs app={name}`"
        );
    }
}

/// Apps that kept dying, or died of events.
async fn say_apps(client: &mut Client) {
    let Ok(Ok(reply)) = waited(&client.clone(), client.apps(AppsRequest {})).await else {
        return;
    };
    for app in reply.into_inner().apps {
        let name = plain(&app.name);
        // Nobody reads a message that cannot be written.
        if !app.trouble.is_empty() {
            let _ = writeln!(
                std::io::stderr(),
                "morphctl: {name} {}: see `morphctl logs app={name}`",
                plain(&app.trouble)
            );
        }
        if app.quarantined != 0 {
            let count = app.quarantined;
            let _ = writeln!(
                std::io::stderr(),
                "morphctl: {name} died of {count} events, which are set aside: see `morphctl events quarantined app={name}`"
            );
        }
    }
}

/// `status --follow`: what is known now and what comes, until Ctrl-C or nobody reads it any more.
pub(crate) async fn statuses(
    client: &mut Client,
    out: &mut Output,
    app: String,
) -> Result<(), Failure> {
    let mut stream = open_statuses(client, app, true).await?;
    loop {
        let status = match waited(client, stream.message()).await {
            Ok(Ok(Some(status))) => status,
            Ok(Ok(None)) => return Err(Failure::Unreachable("morphd ended the stream".into())),
            Ok(Err(status)) => return Err(Failure::of_status(&status, Effect::Reads)),
            Err(Gone::Interrupted) => return Ok(()),
            Err(gone) => return Err(Failure::Unreachable(gone.why().into())),
        };
        out.item(UPGRADES, &status, &line(&status))?;
        if out.nobody_reads() {
            return Ok(());
        }
    }
}

async fn open_statuses(
    client: &mut Client,
    app: String,
    follow: bool,
) -> Result<Streaming<UpgradeStatus>, Failure> {
    let lives = client.clone();
    match waited(&lives, client.status(StatusRequest { app, follow })).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Failure::of_status(&status, Effect::Reads)),
        Err(gone) => Err(Failure::Unreachable(gone.why().into())),
    }
}

/// `logs`: line by line; in JSON all in one list, which morphd bounds.
pub(crate) async fn logs(
    client: &mut Client,
    out: &mut Output,
    app: String,
    tail: Option<u32>,
) -> Result<(), Failure> {
    let mut stream = open_logs(client, app, tail, false).await?;
    let mut lines = Vec::new();
    while let Some(line) = next(client, &mut stream).await? {
        lines.push(line);
    }
    out.lines("logs", &lines)
}

/// `logs --follow`: what is there and what comes, until Ctrl-C or nobody reads it any more.
pub(crate) async fn later_logs(
    client: &mut Client,
    out: &mut Output,
    app: String,
    tail: Option<u32>,
) -> Result<(), Failure> {
    let mut stream = open_logs(client, app, tail, true).await?;
    loop {
        let line = match waited(client, stream.message()).await {
            Ok(Ok(Some(line))) => line,
            Ok(Ok(None)) => return Err(Failure::Unreachable("morphd ended the stream".into())),
            Ok(Err(status)) => return Err(Failure::of_status(&status, Effect::Reads)),
            Err(Gone::Interrupted) => return Ok(()),
            Err(gone) => return Err(Failure::Unreachable(gone.why().into())),
        };
        out.lines("logs", std::slice::from_ref(&line))?;
        if out.nobody_reads() {
            return Ok(());
        }
    }
}

async fn open_logs(
    client: &mut Client,
    app: String,
    tail: Option<u32>,
    follow: bool,
) -> Result<Streaming<LogLine>, Failure> {
    let lives = client.clone();
    let tail = tail.unwrap_or(TAIL);
    let request = LogsRequest { app, tail, follow };
    match waited(&lives, client.logs(request)).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Failure::of_status(&status, Effect::Reads)),
        Err(gone) => Err(Failure::Unreachable(gone.why().into())),
    }
}

/// The next message of a stream that has an end.
pub(crate) async fn next<T>(
    client: &Client,
    stream: &mut Streaming<T>,
) -> Result<Option<T>, Failure> {
    match waited(client, stream.message()).await {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(status)) => Err(Failure::of_status(&status, Effect::Reads)),
        Err(gone) => Err(Failure::Unreachable(gone.why().into())),
    }
}
