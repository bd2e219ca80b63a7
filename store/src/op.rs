//! Builders for transactions.
//!
//! ```
//! use morph_store::op;
//!
//! let row = op::row("morpheus", "apps", "router");
//! let transaction = op::shared([op::absent(&row)], [op::put(row, "{}")]);
//! assert_eq!(transaction.ops.len(), 1);
//! ```

use std::time::Duration;

use morph_api::store::op::Op as Kind;
use morph_api::store::{
    AdvanceWatermark, CreateKeyspace, DropKeyspace, Durability, Expect, Fence, GrantLease,
    KeepLease, Op, Put, RevokeLease, Row, Seq, Skip, Swap, Transaction, Turn,
};

/// Names a row of the app's primary, whichever keyspace that is at the moment.
pub fn row(app: impl Into<String>, table: impl Into<String>, key: impl Into<String>) -> Row {
    row_in(app, 0, table, key)
}

/// Names a row of one keyspace.
pub fn row_in(
    app: impl Into<String>,
    keyspace: u32,
    table: impl Into<String>,
    key: impl Into<String>,
) -> Row {
    Row {
        app: app.into(),
        keyspace,
        table: table.into(),
        key: key.into(),
    }
}

/// Expects the row to be at this revision.
pub fn expect(row: &Row, revision: u64) -> Expect {
    Expect {
        row: Some(row.clone()),
        revision,
    }
}

/// Expects the row not to exist.
pub fn absent(row: &Row) -> Expect {
    expect(row, 0)
}

/// Writes a row; the value is a JSON document.
pub fn put(row: Row, value: impl Into<String>) -> Op {
    put_leased(row, value, "")
}

/// Writes a row and binds it to a lease, with which it vanishes.
pub fn put_leased(row: Row, value: impl Into<String>, lease: impl Into<String>) -> Op {
    wrap(Kind::Put(Put {
        row: Some(row),
        value: value.into(),
        lease: lease.into(),
    }))
}

/// Deletes a row. An absent row is no failure.
pub fn delete(row: Row) -> Op {
    wrap(Kind::Delete(row))
}

/// Raises the epoch of a checkpoint for a release. The checkpoint must be at `expect_epoch`.
pub fn fence(
    app: impl Into<String>,
    node: impl Into<String>,
    expect_epoch: u64,
    release: impl Into<String>,
) -> Op {
    wrap(Kind::Fence(Fence {
        app: app.into(),
        node: node.into(),
        expect_epoch,
        release: release.into(),
    }))
}

/// Moves the cursor of a checkpoint. The same transaction must fence the checkpoint first.
pub fn skip(app: impl Into<String>, node: impl Into<String>, from: Seq, to: Seq) -> Op {
    wrap(Kind::Skip(Skip {
        app: app.into(),
        node: node.into(),
        from: Some(from),
        to: Some(to),
    }))
}

/// Creates an app's first keyspace as its primary.
pub fn create_primary(app: impl Into<String>, id: u32, schema: u32) -> Op {
    wrap(Kind::CreateKeyspace(CreateKeyspace {
        app: app.into(),
        id,
        schema,
        primary: true,
        owner: String::new(),
    }))
}

/// Creates an app's shadow, which only `owner` may write.
pub fn create_shadow(app: impl Into<String>, id: u32, schema: u32, owner: impl Into<String>) -> Op {
    wrap(Kind::CreateKeyspace(CreateKeyspace {
        app: app.into(),
        id,
        schema,
        primary: false,
        owner: owner.into(),
    }))
}

/// Drops a shadow and its rows.
pub fn drop_keyspace(app: impl Into<String>, id: u32) -> Op {
    wrap(Kind::DropKeyspace(DropKeyspace {
        app: app.into(),
        id,
    }))
}

/// Declares that the shadow reflects the primary up to a revision. Belongs in the transaction with the shadow's rows.
pub fn watermark(app: impl Into<String>, id: u32, owner: impl Into<String>, watermark: u64) -> Op {
    wrap(Kind::AdvanceWatermark(AdvanceWatermark {
        app: app.into(),
        id,
        owner: owner.into(),
        watermark,
    }))
}

/// Makes the shadow the primary and drops the old primary.
pub fn swap(app: impl Into<String>, primary: u32, shadow: u32) -> Op {
    swap_keeping(app, primary, shadow, "")
}

/// Makes the shadow the primary, and the old primary a shadow that only `keep` may write. If `keep` is empty, the old
/// primary is dropped.
pub fn swap_keeping(
    app: impl Into<String>,
    primary: u32,
    shadow: u32,
    keep: impl Into<String>,
) -> Op {
    wrap(Kind::Swap(Swap {
        app: app.into(),
        primary,
        shadow,
        keep: keep.into(),
    }))
}

/// Grants a lease. Rows bound to it are deleted when nobody renews it for `ttl`.
pub fn grant(lease: impl Into<String>, ttl: Duration) -> Op {
    wrap(Kind::Grant(GrantLease {
        lease: lease.into(),
        ttl_ms: u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX),
    }))
}

/// Renews a lease.
pub fn keep(lease: impl Into<String>) -> Op {
    wrap(Kind::Keep(KeepLease {
        lease: lease.into(),
    }))
}

/// Ends a lease and deletes its rows. A lease that does not exist is no failure.
pub fn revoke(lease: impl Into<String>) -> Op {
    revoke_at(lease, 0)
}

/// Ends a lease unless it was granted, kept or changed after this revision.
pub fn revoke_at(lease: impl Into<String>, revision: u64) -> Op {
    wrap(Kind::Revoke(RevokeLease {
        lease: lease.into(),
        revision,
    }))
}

/// Lets the transaction be acknowledged before it is on disk.
pub fn unsynced(transaction: Transaction) -> Transaction {
    Transaction {
        durability: Durability::Async.into(),
        ..transaction
    }
}

/// Builds a transaction that is no app's turn: records, fences, shadows, configuration.
pub fn shared(
    expect: impl IntoIterator<Item = Expect>,
    ops: impl IntoIterator<Item = Op>,
) -> Transaction {
    Transaction {
        expect: expect.into_iter().collect(),
        ops: ops.into_iter().collect(),
        ..Transaction::default()
    }
}

/// Builds the transaction of an app's turn.
pub fn turn(turn: Turn, ops: impl IntoIterator<Item = Op>) -> Transaction {
    Transaction {
        turn: Some(turn),
        ops: ops.into_iter().collect(),
        ..Transaction::default()
    }
}

fn wrap(kind: Kind) -> Op {
    Op { op: Some(kind) }
}
