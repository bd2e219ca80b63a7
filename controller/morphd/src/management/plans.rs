//! Plan of an upgrade, completed by what the store and the switches hold.

use morph_api::management::PlannedUpgrade;
use morph_store::Client;
use tonic::Status;

use crate::proxy::Proxy;

/// Adds the number of keys and rules and the switches that the upgrade concerns.
pub(super) async fn complete(
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
    // A switch that disconnects meanwhile counts as one without rules.
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
