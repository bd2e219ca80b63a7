//! Management's view into the store: rows, keyspaces, configuration.

use morph_api::management::{
    ConfigEntry, ConfigGetReply, ConfigSetReply, StoreGetReply, StoreKeyspace, StoreListReply,
    StoreListRequest, StoreRow,
};
use morph_api::store::{ReadRequest, Reason, Row, RowValue};
use morph_store::{Client, op};
use tonic::Status;

use super::config::{self, Checks};

/// How often a write is tried again when someone else wrote the row meanwhile.
const TRIES: u32 = 5;

pub(super) fn away(error: morph_store::Unavailable) -> Status {
    Status::unavailable(error.to_string())
}

pub(super) async fn get(
    store: &Client,
    app: &str,
    table: &str,
    key: &str,
) -> Result<StoreGetReply, Status> {
    match store.get(app, table, key).await.map_err(away)? {
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
    let status = store.status().await.map_err(away)?;
    let ours = status
        .keyspaces
        .into_iter()
        .filter(|keyspace| request.app.is_empty() || keyspace.app == request.app);
    let keyspaces: Vec<StoreKeyspace> = ours
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
    let reply = reply.await.map_err(away)?;
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

pub(super) async fn rows(store: &Client, app: &str, table: &str) -> Result<Vec<RowValue>, Status> {
    store.list(app, table, "").await.map_err(away)
}

pub(super) async fn config_get(
    store: &Client,
    app: &str,
    tables: &[String],
) -> Result<ConfigGetReply, Status> {
    let mut entries = Vec::new();
    for table in tables {
        for row in rows(store, app, table).await? {
            let key = format!("{table}.{}", row.key);
            entries.push(ConfigEntry {
                key,
                value: row.value.unwrap_or_default(),
            });
        }
    }
    Ok(ConfigGetReply { entries })
}

/// Writes all entries or none, each on the revision that was read.
pub(super) async fn config_set(
    store: &Client,
    app: &str,
    (tables, checks): &(Vec<String>, Checks),
    entries: &[ConfigEntry],
) -> Result<ConfigSetReply, Status> {
    let mut places = Vec::with_capacity(entries.len());
    for entry in entries {
        let place = config::place(&entry.key, app, tables).map_err(Status::invalid_argument)?;
        if !entry.value.is_empty() {
            config::check(&place, &entry.value, checks).map_err(Status::invalid_argument)?;
        }
        if places.iter().any(|(other, _)| *other == place) {
            return Err(Status::invalid_argument(format!(
                "{} is named twice",
                entry.key
            )));
        }
        places.push((place, entry.value.as_str()));
    }
    if places.is_empty() {
        return Err(Status::invalid_argument(
            "nothing to set: name TABLE.KEY=VALUE",
        ));
    }
    for _ in 0..TRIES {
        let (mut expects, mut ops) = (Vec::new(), Vec::new());
        for (place, value) in &places {
            let row = op::row(app, place.table.as_str(), place.key.as_str());
            let found = store
                .get(app, &place.table, &place.key)
                .await
                .map_err(away)?;
            expects.push(op::expect(&row, found.map_or(0, |(_, revision)| revision)));
            ops.push(match value.is_empty() {
                true => op::delete(row),
                false => op::put(row, *value),
            });
        }
        match store.commit(op::shared(expects, ops)).await.map_err(away)? {
            Ok(committed) => {
                return Ok(ConfigSetReply {
                    revision: committed.revision,
                });
            }
            Err(refusal) if refusal.reason == Reason::Conflict => {}
            Err(refusal) => return Err(Status::failed_precondition(refusal.to_string())),
        }
    }
    Err(Status::unavailable(
        "someone else keeps writing these rows; try again",
    ))
}
