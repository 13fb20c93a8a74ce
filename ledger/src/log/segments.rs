//! The embedded engine: a log in segment files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use crate::disk::Disk;
use crate::entry::{IdKey, Record};
use crate::tree::Frontier;
use crate::types::Position;

use super::many::FrameSizes;
use super::open::{self, OpenError};
use super::prepare::Next;
use super::repair::{Left, Repair, Right};
use super::view::{Handles, View};
use super::write::Writer;
use super::{AppendError, Damage, LogStore, ReadError, Tail};

/// How a log in segment files is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentOptions {
    /// Bytes of the first segment. Rounded up to a multiple of 512.
    pub first_segment_bytes: u64,
    /// Each segment is four times as large as the one before, up to so many bytes. One that must hold a larger group is
    /// as large as that.
    pub segment_bytes_max: u64,
    /// The size of the newest checkpoint that is known of this log: no repair cuts anything before it.
    pub protected_through: Position,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self {
            first_segment_bytes: 1024 * 1024,
            segment_bytes_max: 64 * 1024 * 1024,
            protected_through: Position(0),
        }
    }
}

/// A log in segment files under `ledger_dir/log/`. See `docs/format.md`.
///
/// Entries become visible once they are durable, a group at a time. One thread appends, any number read.
pub struct SegmentLog {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) ledger_dir: PathBuf,
    pub(crate) options: SegmentOptions,
    pub(crate) view: RwLock<View>,
    pub(crate) handles: Handles,
    pub(crate) frame_sizes: FrameSizes,
    pub(crate) writer: Mutex<Writer>,
    pub(crate) next: Mutex<Next>,
    /// Held while a segment is packed: those that are not fit for it, by their first positions.
    pub(crate) packing: Mutex<Vec<Position>>,
}

/// A log as it was found on the disk. It can be read, but what it ends with may be in the system's cache alone, and it takes
/// no appends.
pub struct FoundLog {
    log: SegmentLog,
    left: Left,
}

impl FoundLog {
    /// Reads the log of a ledger, and writes nothing: to see whether it is the right one.
    ///
    /// # Errors
    /// As [`SegmentLog::open`].
    pub fn find(disk: Arc<dyn Disk>, ledger_dir: &Path, options: SegmentOptions) -> Result<Self, OpenError> {
        let found = open::find(disk.as_ref(), ledger_dir, &options)?;
        let log = SegmentLog {
            disk,
            ledger_dir: ledger_dir.to_owned(),
            options,
            view: RwLock::new(found.view),
            handles: Handles::default(),
            frame_sizes: FrameSizes::default(),
            writer: Mutex::new(Writer::new(None, Some("it was not put right yet".to_owned()))),
            next: Mutex::new(Next::new(found.capacity_last)),
            packing: Mutex::default(),
        };
        Ok(Self { log, left: found.left })
    }

    /// The log, to be read.
    #[must_use]
    pub fn log(&self) -> &SegmentLog {
        &self.log
    }

    /// Makes what was found durable, and repairs what a crash left half done. Of a damaged log nothing is written.
    ///
    /// # Errors
    /// [`OpenError::Io`] where the disk fails.
    pub fn put_right(self) -> Result<(SegmentLog, Option<Repair>), OpenError> {
        let Self { mut log, left } = self;
        let Right { file, repair } = left.put_right(log.disk.as_ref(), &log.ledger_dir)?;
        let stopped = log.damage().first().map(ToString::to_string);
        log.writer = Mutex::new(Writer::new(file, stopped));
        Ok((log, repair))
    }
}

impl SegmentLog {
    /// Opens the log of a ledger, and repairs what a crash left half done. An absent or empty directory is an empty
    /// log; nothing is created before the first append.
    ///
    /// A damaged log opens too: it serves what is sound, refuses to append, and [`SegmentLog::damage`] names the
    /// places. The caller holds the lock on the data directory.
    ///
    /// # Errors
    /// [`OpenError`] where the disk fails, or a newer program wrote the log.
    pub fn open(
        disk: Arc<dyn Disk>,
        ledger_dir: &Path,
        options: SegmentOptions,
    ) -> Result<(Self, Option<Repair>), OpenError> {
        FoundLog::find(disk, ledger_dir, options)?.put_right()
    }

    /// Where the log was found damaged when it was opened; empty where it is sound. Damage inside sealed segments shows
    /// only when it is read.
    #[must_use]
    pub fn damage(&self) -> Vec<Damage> {
        self.view().damage.clone()
    }

    /// Calls `f` with the key of every event id from a position on, and the position of its entry, in no particular
    /// order within a segment.
    ///
    /// # Errors
    /// See [`ReadError`]; some keys may have been passed on before.
    pub fn for_each_id(&self, from: Position, f: &mut dyn FnMut(IdKey, Position)) -> Result<(), ReadError> {
        self.each_id(from, f)
    }

    /// Whether it is time to call [`SegmentLog::prepare_next`]: the open segment is more than half full, and no next
    /// one is ready.
    #[must_use]
    pub fn wants_next(&self) -> bool {
        let half_full = self.view().open.as_ref().is_some_and(|o| o.index.end.offset > o.capacity / 2);
        half_full && self.next.try_lock().is_ok_and(|next| !next.is_ready())
    }

    /// Prepares the next segment ahead of its use, so that no append waits for it; returns at once where it is ready.
    /// Appends and reads go on meanwhile.
    ///
    /// # Errors
    /// As the disk says. Nothing is lost: the next call, or the append that needs the segment, tries anew.
    pub fn prepare_next(&self) -> io::Result<()> {
        self.prepare_ahead()
    }

    pub(crate) fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogStore for SegmentLog {
    fn tail(&self) -> Tail {
        self.view().tail
    }

    fn append(&self, expected: Position, group: &[Record]) -> Result<Tail, AppendError> {
        self.write_group(expected, group)
    }

    fn read(&self, from: Position, bytes_max: usize) -> Result<Vec<Record>, ReadError> {
        self.read_entries(from, bytes_max)
    }

    fn read_many(&self, positions: &[Position]) -> Result<Vec<Record>, ReadError> {
        self.read_positions(positions)
    }

    fn frontiers(&self) -> Vec<Frontier> {
        let view = self.view();
        let open = view.open.as_ref().and_then(|open| open.index.tree.as_ref());
        view.sealed.iter().filter_map(|sealed| sealed.tree.as_ref()).chain(open).cloned().collect()
    }
}
