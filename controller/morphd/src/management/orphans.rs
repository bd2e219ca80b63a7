//! Rows of apps that nobody reads any more: of tables that the running release does not have.

use morph_api::management::StoreFinding;
use morph_api::store::{ReadRequest, Row, StatusReply};
use morph_store::Client;
use tonic::Status;

use super::rows::{table, unavailable};
use crate::machine::query::LiveTables;

/// Finds the rows in an app's primary keyspace that belong to no table of its running release.
pub(super) async fn find(
    store: &Client,
    status: &StatusReply,
    live: &LiveTables,
) -> Result<Vec<StoreFinding>, Status> {
    let mut keyspaces = status.keyspaces.iter();
    let is_its = keyspaces.any(|k| k.primary && k.app == live.app && k.schema == live.schema);
    let mut findings = Vec::new();
    let mut after = String::new();
    while let Some(name) = next_table(store, &live.app, &after)
        .await?
        .filter(|_| is_its)
    {
        // Sorts behind all rows of that table, and before any other name.
        after = format!("{name}\u{1}");
        // Tables that begin so are the SDK's own, in every schema version.
        if name.starts_with('_') || live.tables.contains(&name) {
            continue;
        }
        let rows = table(store, &live.app, &name).await?.len();
        findings.push(orphaned(live, &name, rows));
    }
    Ok(findings)
}

fn orphaned(live: &LiveTables, table: &str, rows: usize) -> StoreFinding {
    let LiveTables { app, version, .. } = live;
    StoreFinding {
        place: format!("table {table} of app {app}"),
        message: format!(
            "{app}@{version}, the release that runs, has no such table: nobody reads its {rows} rows, which an earlier release has \
             written. Go back to a release that has the table, or upgrade to one of a higher schema whose migration maps or drops it"
        ),
        orphaned: true,
    }
}

/// Name of the first table with rows behind `after`.
async fn next_table(store: &Client, app: &str, after: &str) -> Result<Option<String>, Status> {
    let request = ReadRequest {
        row: Some(Row {
            app: app.to_owned(),
            ..Row::default()
        }),
        prefix: true,
        limit: 1,
        after_table: after.to_owned(),
        after_key: String::new(),
    };
    let reply = store.read(request).await.map_err(unavailable)?;
    Ok(reply.rows.into_iter().next().map(|row| row.table))
}
