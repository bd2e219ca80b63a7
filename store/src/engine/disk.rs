//! File access of the engine, with fail points in front of the real disk.

use std::fs::OpenOptions;
use std::io;
use std::ops::Bound;
use std::path::Path;

use morph_api::fail::{self, InjectedFailure};
use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

#[derive(Debug)]
pub(super) struct Disk(FileBackend);

impl Disk {
    pub(super) fn open(path: &Path) -> Result<Disk, DatabaseError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        Ok(Disk(FileBackend::new(file)?))
    }
}

/// Turns a fail point into an error of the disk.
fn point(name: &str) -> io::Result<()> {
    fail::point(name).map_err(|failed: InjectedFailure| io::Error::other(failed))
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        point("store.disk.resize")?;
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        point("store.disk.sync")?;
        self.0.sync_data()?;
        point("store.disk.synced")
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        point("store.disk.write")?;
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.0.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.query_lock_range(start, end)
    }
}
