//! Mark of the event that an app instance is handling, in its lock file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use super::LONGEST;
use crate::store::Seq;

/// Length of the mark: incarnation and number, of eight bytes each, big endian.
const LENGTH: usize = 16;

/// Marks in a lock file which event the holder is handling: a write to a page of the file that is mapped into memory, since each event
/// is marked. The default marks nothing.
#[derive(Debug, Clone, Default)]
pub struct EventMark(Option<Arc<Page>>);

#[derive(Debug)]
struct Page {
    map: MmapRaw,
    /// Keeps the lock, so that nobody else makes the file shorter than the mapped part.
    _file: Arc<File>,
}

impl EventMark {
    /// Maps the mark of a lock file that the calling process holds; no event is marked then.
    pub(super) fn map(file: &Arc<File>) -> io::Result<EventMark> {
        // A file with a hole there could not be written where the disk is full.
        file.write_all_at(&[0; LENGTH], LONGEST)?;
        let mut options = MmapOptions::new();
        let map = options.offset(LONGEST).len(LENGTH).map_raw(&**file)?;
        Ok(EventMark(Some(Arc::new(Page {
            map,
            _file: Arc::clone(file),
        }))))
    }

    /// Names the event, [`Seq::ZERO`] for none.
    pub fn set(&self, event: Seq) {
        if let Some(page) = &self.0 {
            page.store(event);
        }
    }
}

impl Page {
    #[allow(unsafe_code)]
    fn store(&self, event: Seq) {
        let at = self.map.as_mut_ptr().cast::<u64>();
        // SAFETY: the mapping is writable, 16 bytes long, begins at a page, and lives as long as `self`. Nothing in this process
        // refers to it but these atomics. The file stays as long as it is: see `_file`.
        let [incarnation, n] = unsafe { [AtomicU64::from_ptr(at), AtomicU64::from_ptr(at.add(1))] };
        incarnation.store(event.incarnation.to_be(), Ordering::Relaxed);
        n.store(event.n.to_be(), Ordering::Relaxed);
    }
}

/// Reads the instance that wrote a lock file and the event that it was handling, [`Seq::ZERO`] for none. Absent where nothing
/// was ever marked.
pub fn marked_event(path: &Path) -> Option<(String, Seq)> {
    let mut file = File::open(path).ok()?;
    let (mut incarnation, mut n) = ([0; 8], [0; 8]);
    file.read_exact_at(&mut incarnation, LONGEST).ok()?;
    file.read_exact_at(&mut n, LONGEST + 8).ok()?;
    let event = Seq {
        incarnation: u64::from_be_bytes(incarnation),
        n: u64::from_be_bytes(n),
    };
    Some((super::read(&mut file)?.instance, event))
}
