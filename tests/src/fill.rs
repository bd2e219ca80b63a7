//! Bulk rows, so that a test can make an app's state large.

use crate::Morpheus;
use anyhow::{Result, ensure};
use morph_api::store::op::Op as Kind;
use morph_api::store::store_client::StoreClient;
use morph_api::store::{Expect, Op, Put, Row, Transaction, commit_reply};
use std::ops::Range;

/// Rows in one transaction. Each row also takes an expectation.
const BATCH: usize = 2_000;

impl Morpheus {
    /// Writes `count` new rows into the primary keyspace of an app. `row` gives key and value of the nth.
    pub fn fill(
        &self,
        app: &str,
        table: &str,
        count: u64,
        row: impl Fn(u64) -> (String, String),
    ) -> Result<()> {
        let socket = self.run_dir().join("store.sock");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let mut store = StoreClient::new(morph_api::unix::connect_lazy(socket));
            for from in (0..count).step_by(BATCH) {
                let rows = from..(from + BATCH as u64).min(count);
                let rows = transaction(app, table, rows, &row);
                let reply = store.commit(rows).await?.into_inner();
                let stored = matches!(reply.result, Some(commit_reply::Result::Committed(_)));
                ensure!(stored, "the store refused rows of {app}: {reply:?}");
            }
            Ok(())
        })
    }
}

fn transaction(
    app: &str,
    table: &str,
    rows: Range<u64>,
    row: impl Fn(u64) -> (String, String),
) -> Transaction {
    let mut transaction = Transaction::default();
    for (key, value) in rows.map(row) {
        let row = Some(Row {
            app: app.into(),
            keyspace: 0,
            table: table.into(),
            key,
        });
        let put = Put {
            row: row.clone(),
            value,
            ..Put::default()
        };
        // Revision 0 expects that the row does not exist.
        transaction.expect.push(Expect { row, revision: 0 });
        transaction.ops.push(Op {
            op: Some(Kind::Put(put)),
        });
    }
    transaction
}
