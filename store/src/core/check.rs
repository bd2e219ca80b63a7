//! Checks of a transaction that need no state: limits and form.

use morph_api::store::op::Op as Kind;
use morph_api::store::{Op, Refused, Row, Transaction};
use prost::Message;
use serde::de::IgnoredAny;

use super::refuse::{invalid, too_large};
use crate::limits;

type CheckResult = Result<(), Box<Refused>>;

pub(super) fn check(transaction: &Transaction) -> CheckResult {
    let size = transaction.encoded_len();
    if size > limits::TRANSACTION {
        let most = limits::TRANSACTION;
        return Err(too_large(format!(
            "a transaction of {size} bytes; at most {most} are allowed"
        )));
    }
    let count = transaction.ops.len() + transaction.expect.len();
    if count > limits::OPS {
        let most = limits::OPS;
        return Err(too_large(format!(
            "a transaction of {count} operations and expectations; at most {most} are allowed"
        )));
    }
    if let Some(turn) = &transaction.turn {
        name("turn.app", &turn.app)?;
        name("turn.node", &turn.node)?;
    }
    for expect in &transaction.expect {
        row("expect", expect.row.as_ref())?;
    }
    transaction.ops.iter().try_for_each(op)
}

fn op(op: &Op) -> CheckResult {
    match &op.op {
        None => Err(invalid("an operation without content")),
        Some(Kind::Put(put)) => {
            row("put", put.row.as_ref())?;
            if !put.lease.is_empty() {
                name("put.lease", &put.lease)?;
            }
            value(put.row.as_ref(), &put.value)
        }
        Some(Kind::Delete(delete)) => row("delete", Some(delete)),
        Some(Kind::Fence(fence)) => {
            name("fence.app", &fence.app)?;
            name("fence.node", &fence.node)?;
            name("fence.release", &fence.release)
        }
        Some(Kind::Skip(skip)) => {
            name("skip.app", &skip.app)?;
            name("skip.node", &skip.node)
        }
        Some(Kind::CreateKeyspace(create)) => {
            name("create_keyspace.app", &create.app)?;
            match (create.primary, create.owner.is_empty()) {
                (true, true) => Ok(()),
                (true, false) => Err(invalid("create_keyspace.owner: a primary has none")),
                (false, _) => name("create_keyspace.owner", &create.owner),
            }
        }
        Some(Kind::DropKeyspace(drop)) => name("drop_keyspace.app", &drop.app),
        Some(Kind::AdvanceWatermark(watermark)) => {
            name("watermark.app", &watermark.app)?;
            name("watermark.owner", &watermark.owner)
        }
        Some(Kind::Swap(swap)) => name("swap.app", &swap.app),
        Some(Kind::Grant(grant)) => {
            let (ttl, allowed) = (grant.ttl_ms, limits::TTL_MS);
            if !allowed.contains(&ttl) {
                let (least, most) = (allowed.start(), allowed.end());
                return Err(invalid(format!(
                    "grant.ttl_ms: {ttl}; {least} to {most} are allowed"
                )));
            }
            name("grant.lease", &grant.lease)
        }
        Some(Kind::Keep(keep)) => name("keep.lease", &keep.lease),
        Some(Kind::Revoke(revoke)) => name("revoke.lease", &revoke.lease),
    }
}

fn row(what: &str, row: Option<&Row>) -> CheckResult {
    let row = row.ok_or_else(|| invalid(format!("{what}: no row")))?;
    name(what, &row.app)?;
    for (part, text) in [("table", &row.table), ("key", &row.key)] {
        if text.is_empty() || text.contains('\0') {
            return Err(invalid(format!(
                "{what}: {part} {text:?} is empty or contains a zero byte"
            )));
        }
    }
    let size = row.table.len() + row.key.len();
    if size > limits::KEY {
        let most = limits::KEY;
        return Err(too_large(format!(
            "{what}: a table and key of {size} bytes; at most {most} are allowed"
        )));
    }
    Ok(())
}

fn value(row: Option<&Row>, value: &str) -> CheckResult {
    let at = || row.map_or(String::new(), |row| format!("{}/{}", row.table, row.key));
    if value.len() > limits::VALUE {
        let (size, most) = (value.len(), limits::VALUE);
        return Err(too_large(format!(
            "{}: a value of {size} bytes; at most {most} are allowed",
            at()
        )));
    }
    match serde_json::from_str::<IgnoredAny>(value) {
        Ok(IgnoredAny) => Ok(()),
        Err(error) => Err(invalid(format!(
            "{}: the value is no JSON document: {error}",
            at()
        ))),
    }
}

fn name(what: &str, name: &str) -> CheckResult {
    if name.is_empty() || name.contains('\0') {
        return Err(invalid(format!(
            "{what}: the name {name:?} is empty or contains a zero byte"
        )));
    }
    if name.len() > limits::NAME {
        let (size, most) = (name.len(), limits::NAME);
        return Err(too_large(format!(
            "{what}: a name of {size} bytes; at most {most} are allowed"
        )));
    }
    Ok(())
}
