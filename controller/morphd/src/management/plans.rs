//! What is asked of an upgrade, and what it would find.

use std::time::Duration;

use morph_api::management::{PlannedUpgrade, UpgradeRequest};
use morph_store::Client;
use tonic::{Request, Status};

use super::peer;
use super::service::version;
use crate::proxy::Proxy;
use crate::supervisor::Asked;

/// The request as the supervisor takes it.
pub(super) fn asked(call: Request<UpgradeRequest>) -> Result<Asked, Status> {
    let who = peer::name(&call);
    let UpgradeRequest {
        app,
        version: text,
        probation_ms,
        no_wait: _,
        also,
        confirm_within_ms,
        allow_loss,
        deadlines_ms,
    } = call.into_inner();
    let mut releases = vec![(app, version(&text)?)];
    for other in also {
        releases.push((other.app, version(&other.version)?));
    }
    let confirm = confirm_within_ms != 0;
    if confirm && probation_ms != 0 {
        return Err(Status::invalid_argument(
            "a probation that ends in the commit, and a time at whose end it goes back: name one of them",
        ));
    }
    let probation_ms = probation_ms.max(confirm_within_ms);
    let deadline = |(name, ms): (String, u32)| (name, Duration::from_millis(ms.into()));
    Ok(Asked {
        releases,
        probation: (probation_ms != 0).then(|| Duration::from_millis(probation_ms.into())),
        confirm,
        allow_loss,
        deadlines: deadlines_ms.into_iter().map(deadline).collect(),
        who,
    })
}

/// Adds what store and switches say.
pub(super) async fn look(
    plan: &mut PlannedUpgrade,
    store: &Client,
    proxy: &Proxy,
) -> Result<(), Status> {
    let status = store.status().await;
    let status = status.map_err(|away| Status::unavailable(away.to_string()))?;
    let primary = status
        .keyspaces
        .iter()
        .find(|keyspace| keyspace.app == plan.app && keyspace.primary);
    plan.keys = primary.map_or(0, |keyspace| keyspace.keys);
    let switches = proxy.switches().await?.switches;
    plan.switches = switches
        .iter()
        .map(|switch| format!("{:016x}", switch.dpid))
        .collect();
    let slots = proxy.slots().await?.slots;
    let Some(tables) = plan.tables.split_once('-') else {
        return Ok(());
    };
    let (Ok(first), Ok(last)) = (tables.0.parse::<u32>(), tables.1.parse::<u32>()) else {
        return Ok(());
    };
    // A switch that goes away meanwhile has no rules to count.
    if slots.iter().any(|slot| slot.app == plan.app) {
        for switch in &switches {
            let flows = proxy.flows(switch.dpid).await.unwrap_or_default().flows;
            let own = flows
                .iter()
                .filter(|flow| (first..last).contains(&flow.table));
            plan.rules += own.count() as u64;
        }
    }
    Ok(())
}
