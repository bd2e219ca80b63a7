//! Arguments of calls, checked and converted.

use std::str::FromStr;
use std::time::Duration;

use morph_api::management::UpgradeRequest;
use morph_openflow::Dpid;
use semver::Version;
use tonic::{Request, Status};

use super::peer;
use crate::machine::request;

/// Parses a version; an empty text stands for none.
pub(super) fn version(text: &str) -> Result<Option<Version>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = text.parse();
    parsed
        .map(Some)
        .map_err(|error| Status::invalid_argument(format!("{text:?} is not a version: {error}")))
}

/// Checks the name of an app, which becomes part of file paths and must not lead out of their folder.
pub(super) fn app_name(name: &str) -> Result<&str, Status> {
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    match plain {
        true => Ok(name),
        false => Err(Status::invalid_argument(format!(
            "{name:?} is not the name of an app: only letters, digits and hyphens are allowed"
        ))),
    }
}

pub(super) fn dpid(text: &str) -> Result<u64, Status> {
    Dpid::from_str(text)
        .map(|dpid| dpid.0)
        .map_err(|error| Status::invalid_argument(error.to_string()))
}

/// Reads the arguments of an upgrade.
pub(super) fn upgrade(call: Request<UpgradeRequest>) -> Result<request::UpgradeRequest, Status> {
    let who = peer::user_name(&call);
    let UpgradeRequest {
        app,
        version: text,
        probation_ms,
        no_wait: _,
        also,
        confirm_within_ms,
        allow_loss,
        deadlines_ms,
        min_events,
        allow_rule_loss,
    } = call.into_inner();
    let mut releases = vec![(app, version(&text)?)];
    for other in also {
        releases.push((other.app, version(&other.version)?));
    }
    let confirm = confirm_within_ms != 0;
    if confirm && probation_ms != 0 {
        return Err(Status::invalid_argument(
            "probation_ms and confirm_within_ms exclude each other: the first commits at its end, the second rolls back; set one of them",
        ));
    }
    let probation_ms = probation_ms.max(confirm_within_ms);
    let deadline = |(name, ms): (String, u32)| (name, Duration::from_millis(ms.into()));
    Ok(request::UpgradeRequest {
        releases,
        probation: (probation_ms != 0).then(|| Duration::from_millis(probation_ms.into())),
        confirm,
        allow_loss,
        allow_rule_loss,
        min_events,
        deadlines: deadlines_ms.into_iter().map(deadline).collect(),
        who,
    })
}
