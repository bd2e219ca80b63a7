//! Rows and keyspaces of apps, read from the store.

use morph_api::management::{
    StoreGetReply, StoreKeyspace, StoreListReply, StoreListRequest, StoreRow,
};
use morph_api::store::{ReadRequest, Row, RowValue};
use morph_store::Client;
use tonic::Status;

/// Converts the failure of a call to the store.
pub(super) fn unavailable(error: morph_store::Unavailable) -> Status {
    Status::unavailable(error.to_string())
}

pub(super) async fn get(
    store: &Client,
    app: &str,
    table: &str,
    key: &str,
) -> Result<StoreGetReply, Status> {
    match store.get(app, table, key).await.map_err(unavailable)? {
        Some((value, revision)) => Ok(StoreGetReply {
            row: Some(StoreRow {
                table: table.to_owned(),
                key: key.to_owned(),
                value,
                revision,
            }),
        }),
        None => Err(Status::not_found(format!("{app} has no row {table}/{key}"))),
    }
}

pub(super) async fn list(
    store: &Client,
    request: StoreListRequest,
) -> Result<StoreListReply, Status> {
    let status = store.status().await.map_err(unavailable)?;
    let selected = status
        .keyspaces
        .into_iter()
        .filter(|keyspace| request.app.is_empty() || keyspace.app == request.app);
    let keyspaces: Vec<StoreKeyspace> = selected
        .map(|keyspace| StoreKeyspace {
            role: if keyspace.primary {
                "primary"
            } else {
                "shadow"
            }
            .to_owned(),
            app: keyspace.app,
            id: keyspace.id,
            schema: keyspace.schema,
            watermark: keyspace.watermark,
            modified: keyspace.modified,
            keys: keyspace.keys,
            owner: keyspace.owner,
        })
        .collect();
    if request.app.is_empty() {
        return Ok(StoreListReply {
            keyspaces,
            ..Default::default()
        });
    }
    if keyspaces.is_empty() {
        return Err(Status::not_found(format!(
            "{} has no state in the store",
            request.app
        )));
    }
    let reply = store.read(ReadRequest {
        row: Some(Row {
            app: request.app,
            keyspace: 0,
            table: request.table,
            key: request.prefix,
        }),
        prefix: true,
        limit: request.limit,
        after_table: request.after_table,
        after_key: request.after_key,
    });
    let reply = reply.await.map_err(unavailable)?;
    let rows = reply.rows.into_iter().map(|row| StoreRow {
        table: row.table,
        key: row.key,
        value: row.value.unwrap_or_default(),
        revision: row.revision,
    });
    Ok(StoreListReply {
        rows: rows.collect(),
        more: reply.more,
        keyspaces,
    })
}

/// All rows of a table.
pub(super) async fn table(store: &Client, app: &str, table: &str) -> Result<Vec<RowValue>, Status> {
    store.list(app, table, "").await.map_err(unavailable)
}
