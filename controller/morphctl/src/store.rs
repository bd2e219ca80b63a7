//! `morphctl store`: rows, keyspaces and the state of the store. Backups are in `backup.rs`.

use morph_api::management::{
    StoreChange, StoreCheckRequest, StoreListReply, StoreListRequest, StoreStatsRequest,
};

use crate::backup;
use crate::client::{Client, incomplete, next, open, read};
use crate::command::StoreCall;
use crate::failure::Failure;
use crate::follow::follow;
use crate::print::{Output, printable};

pub(crate) async fn run(
    call: StoreCall,
    client: &mut Client,
    out: &mut Output,
) -> Result<(), Failure> {
    match call {
        StoreCall::Get(request) => {
            let reply = read(client.store_get(request)).await?;
            out.list("store", &[reply.row.ok_or_else(|| incomplete("the row"))?])
        }
        StoreCall::List(request) => {
            let of_all_apps = request.app.is_empty();
            let reply = list(request, client).await?;
            match of_all_apps {
                true => out.list("store", &reply.keyspaces),
                false => out.page("store", &reply.rows, reply.more),
            }
        }
        StoreCall::Migrations(request) => {
            let reply = read(client.store_migrations(request)).await?;
            out.list("migrations", &reply.migrations)
        }
        StoreCall::Stats => {
            let reply = read(client.store_stats(StoreStatsRequest {})).await?;
            let stats = reply.stats.ok_or_else(|| incomplete("the figures"))?;
            out.list("stats", &[stats])
        }
        StoreCall::Watch(request) => {
            let probe = client.clone();
            let stream = open(&probe, client.store_watch(request)).await?;
            let print =
                |out: &mut Output, change: &StoreChange| out.item("changes", change, &line(change));
            follow(&probe, out, stream, print).await
        }
        StoreCall::Backup(file) => backup::back_up(&file, client, out).await,
        StoreCall::Check => check(client, out).await,
    }
}

/// Collects as many rows as the request's limit says, page by page, because an answer is bounded in size.
async fn list(
    mut request: StoreListRequest,
    client: &mut Client,
) -> Result<StoreListReply, Failure> {
    let limit = request.limit as usize;
    let mut whole = read(client.store_list(request.clone())).await?;
    while whole.more && whole.rows.len() < limit {
        let Some(last) = whole.rows.last() else {
            break;
        };
        request.after_table.clone_from(&last.table);
        request.after_key.clone_from(&last.key);
        // Fits: it is less than `limit`, which came from a u32.
        request.limit = (limit - whole.rows.len()) as u32;
        let page = read(client.store_list(request.clone())).await?;
        whole.more = page.more && !page.rows.is_empty();
        whole.rows.extend(page.rows);
    }
    Ok(whole)
}

fn line(change: &StoreChange) -> String {
    let (table, key) = (printable(&change.table), printable(&change.key));
    let value = match change.deleted {
        true => "deleted".into(),
        false => printable(&change.value),
    };
    format!("{} {table} {key} {value}", change.revision)
}

/// Prints all findings of a check; any finding is a failure.
async fn check(client: &mut Client, out: &mut Output) -> Result<(), Failure> {
    let probe = client.clone();
    let mut stream = open(&probe, client.store_check(StoreCheckRequest {})).await?;
    let mut findings = Vec::new();
    let rows = loop {
        let Some(progress) = next(&probe, &mut stream).await? else {
            return Err(incomplete("the end of the check"));
        };
        findings.extend(progress.findings);
        if progress.done {
            break progress.rows;
        }
    };
    out.list("findings", &findings)?;
    let orphaned = findings.iter().filter(|found| found.orphaned).count();
    match findings.len() - orphaned {
        0 if orphaned == 0 => out.note(&format!("{rows} rows checked, no errors found.\n")),
        0 => Err(Failure::Refused(format!(
            "the store is sound, but rows belong to no table of the release that runs (tables: {orphaned}, rows checked: {rows})"
        ))),
        count => Err(Failure::Refused(format!(
            "the store is damaged (errors: {count}, rows checked: {rows}); \
             to restore a backup, see `morphctl store restore --help`"
        ))),
    }
}
