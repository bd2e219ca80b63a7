//! `morphctl status`: the running upgrades, each app's last one, and, on standard error, what is wrong with Morpheus.

use std::io::Write;

use morph_api::management::{AppsRequest, StatusRequest, UpgradeStatus, VersionRequest};

use crate::client::{Client, next, open, wait};
use crate::failure::Failure;
use crate::follow::follow;
use crate::print::status::line;
use crate::print::{Output, UPGRADES, printable};

pub(crate) async fn run(
    request: StatusRequest,
    client: &mut Client,
    out: &mut Output,
) -> Result<(), Failure> {
    let probe = client.clone();
    let follows = request.follow;
    let mut stream = open(&probe, client.status(request)).await?;
    if follows {
        let print =
            |out: &mut Output, status: &UpgradeStatus| out.item(UPGRADES, status, &line(status));
        return follow(&probe, out, stream, print).await;
    }
    let mut statuses = Vec::new();
    while let Some(status) = next(&probe, &mut stream).await? {
        statuses.push(status);
    }
    out.list(UPGRADES, &statuses)?;
    warn_of_parts(client).await;
    warn_of_apps(client).await;
    Ok(())
}

/// Warns of morph-proxy and morph-stored if they hang or have ended: no upgrade gets far without them.
async fn warn_of_parts(client: &mut Client) {
    let Ok(Ok(reply)) = wait(&client.clone(), client.version(VersionRequest {})).await else {
        return;
    };
    for part in reply.into_inner().parts {
        let problem = match part.state.as_str() {
            "hung" => "does not answer",
            "gone" => "has ended and is being restarted",
            _ => continue,
        };
        let (name, pid) = (printable(&part.name), part.pid);
        warn(&format!(
            "{name} (pid {pid}) {problem}: see `morphctl logs app={name}`"
        ));
    }
}

/// Warns of apps in a crash loop or overloaded, and of events in quarantine.
async fn warn_of_apps(client: &mut Client) {
    let Ok(Ok(reply)) = wait(&client.clone(), client.apps(AppsRequest {})).await else {
        return;
    };
    for app in reply.into_inner().apps {
        let name = printable(&app.name);
        if !app.trouble.is_empty() {
            let trouble = printable(&app.trouble);
            warn(&format!("{name} {trouble}: see `morphctl logs app={name}`"));
        }
        if !app.flooding.is_empty() {
            let switch = printable(&app.flooding);
            warn(&format!(
                "{name} is overloaded, and most events that were dropped are of switch {switch}: see `morphctl apps`"
            ));
        }
        if app.quarantined != 0 {
            let count = app.quarantined;
            warn(&format!(
                "{count} events that killed {name} are in quarantine: see `morphctl events quarantined app={name}`"
            ));
        }
    }
}

fn warn(text: &str) {
    // If stderr is closed, there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "morphctl: {text}");
}
