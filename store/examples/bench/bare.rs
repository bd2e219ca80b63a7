//! The engine alone, in this process: the same rows, in groups of the same size, each with an fsync.

use std::time::{Duration, Instant};

use redb::{Database, ReadableDatabase, TableDefinition};
use tempfile::TempDir;

use crate::Result;
use crate::load::{ROWS, VALUE};

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

pub(crate) struct Bare {
    database: Database,
    _home: TempDir,
}

fn key(client: usize, n: u64) -> String {
    format!("bench-{client:04}\0\0\0\0\x01hosts\0{n:012x}")
}

impl Bare {
    pub(crate) fn open() -> Result<Bare> {
        let home = TempDir::new()?;
        let database = Database::create(home.path().join("bare.redb"))?;
        let write = database.begin_write()?;
        write
            .open_table(TABLE)?
            .insert(key(0, 0).as_bytes(), VALUE.as_bytes())?;
        write.commit()?;
        Ok(Bare {
            database,
            _home: home,
        })
    }

    /// Returns rows a second in groups of this size.
    pub(crate) fn puts(&self, group: usize, time: Duration) -> Result<f64> {
        let (start, mut n) = (Instant::now(), 0);
        while start.elapsed() < time {
            let write = self.database.begin_write()?;
            let mut table = write.open_table(TABLE)?;
            for client in 0..group {
                table.insert(key(client, n % ROWS).as_bytes(), VALUE.as_bytes())?;
            }
            drop(table);
            write.commit()?;
            n += 1;
        }
        Ok((n * group as u64) as f64 / start.elapsed().as_secs_f64())
    }

    /// Returns reads of one row a second, each in a view of its own.
    pub(crate) fn gets(&self, time: Duration) -> Result<f64> {
        let (start, mut n) = (Instant::now(), 0);
        while start.elapsed() < time {
            let view = self.database.begin_read()?;
            let key = key(n as usize % 64, n % ROWS);
            std::hint::black_box(view.open_table(TABLE)?.get(key.as_bytes())?);
            n += 1;
        }
        Ok(n as f64 / start.elapsed().as_secs_f64())
    }

    /// Writes rows and scans them; returns rows a second of the scan.
    pub(crate) fn range(&self, keys: u64) -> Result<f64> {
        let write = self.database.begin_write()?;
        let mut table = write.open_table(TABLE)?;
        for n in 0..keys {
            table.insert(key(9999, n).as_bytes(), VALUE.as_bytes())?;
        }
        drop(table);
        write.commit()?;
        let start = Instant::now();
        let view = self.database.begin_read()?;
        let (first, last) = (key(9999, 0), key(9999, keys));
        let mut bytes = 0;
        let table = view.open_table(TABLE)?;
        for row in table.range(first.as_bytes()..last.as_bytes())? {
            bytes += row?.1.value().len();
        }
        std::hint::black_box(bytes);
        Ok(keys as f64 / start.elapsed().as_secs_f64())
    }
}
