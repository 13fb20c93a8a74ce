//! The log: where entries live, and the seam behind which its engines stand.

#[cfg(test)]
mod contract;
mod footer;
mod frame;
mod group;
mod index;
mod judge;
mod many;
mod memory;
mod open;
mod packed;
mod prepare;
mod read;
mod repair;
mod segment;
mod segments;
mod survey;
#[cfg(test)]
mod tests;
mod view;
mod write;

use crate::entry::{Header, Record};
use crate::tree::Frontier;
use crate::types::{LedgerUid, Link, Position, Time};

pub use memory::MemoryLog;
pub use open::OpenError;
pub use packed::{PackError, PackedSegment, PackedTotals};
pub use repair::Repair;
pub use segments::{FoundLog, SegmentLog, SegmentOptions};

/// The end of a log: everything before it is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// The position that the next entry will have; also how many entries there are.
    pub next: Position,
    /// The link of the last entry; zeros while there is none.
    pub link: Link,
    /// When the last entry was recorded.
    pub recorded_at: Time,
    /// The ledger's identity; zeros while there is no entry.
    pub uid: LedgerUid,
    /// The epoch of the last entry.
    pub epoch: u32,
}

/// The bytes that a frame has beside its entry, before and behind it: see `docs/format.md`. With them an entry counts
/// towards [`GROUP_BYTES_MAX`].
pub const FRAME_BYTES: usize = frame::FRAME_EXTRA_BYTES;

impl Tail {
    /// The end behind an entry.
    pub(crate) fn after(header: &Header, link: Link) -> Self {
        Self {
            next: header.position.next(),
            link,
            recorded_at: header.recorded_at,
            uid: header.uid,
            epoch: header.epoch,
        }
    }
}

/// The most entries of one group, and of one atomic batch.
pub const GROUP_ENTRIES_MAX: usize = 8_192;
/// The most bytes (entries and their frames) of one group, which is also the most that can be in flight.
pub const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Why an append did not happen, or may not have happened.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The caller's view of the tail is not the log's. Nothing was written.
    #[error("the log ends at {actual}, not at {expected}")]
    Moved {
        /// What the caller expected.
        expected: Position,
        /// Where the log ends.
        actual: Position,
    },
    /// No room could be prepared. Nothing was written; the same call may succeed later.
    #[error("no room for new entries: {0}")]
    Full(#[source] std::io::Error),
    /// A write or a sync failed: nobody knows what is on the disk. The log takes no more appends until it is opened
    /// anew.
    #[error("a write to the log failed, its outcome is unknown: {0}")]
    Unknown(#[source] std::io::Error),
    /// An earlier append failed with [`AppendError::Unknown`], or the log is damaged.
    #[error("the log takes no appends: {0}")]
    Stopped(String),
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes at this position are not what was written.
    #[error("{0}")]
    Damaged(Damage),
    /// The operating system refused.
    #[error("the log cannot be read: {0}")]
    Io(#[from] std::io::Error),
}

/// A place where the log is not what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("damage at position {position}, {file} offset {offset}: {reason}")]
pub struct Damage {
    /// The first position that it affects.
    pub position: Position,
    /// The file, relative to the ledger's directory.
    pub file: String,
    /// The offset in that file, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub reason: String,
}

/// One ledger's log. One writer, many readers; an implementation is shared by reference.
///
/// Contract: entries are visible to `read` and `tail` only once durable; a batch becomes visible whole; after an
/// `Unknown` failure every later append fails with `Stopped`, while reads go on.
pub trait LogStore: Send + Sync + 'static {
    /// The durable end.
    fn tail(&self) -> Tail;
    /// Appends a group (whole batches; at most [`GROUP_ENTRIES_MAX`] and [`GROUP_BYTES_MAX`]) at `expected`, and
    /// returns once it is durable.
    ///
    /// # Errors
    /// See [`AppendError`].
    fn append(&self, expected: Position, group: &[Record]) -> Result<Tail, AppendError>;
    /// Entries from `from` on, in order: at least one where there is one, then as many as fit in `bytes_max`.
    ///
    /// # Errors
    /// See [`ReadError`]. Entries before a damaged one are returned first; the call that starts at it fails.
    fn read(&self, from: Position, bytes_max: usize) -> Result<Vec<Record>, ReadError>;
    /// The entries at these positions, in the order in which they are asked for. Each is checked as [`LogStore::read`]
    /// checks it.
    ///
    /// # Errors
    /// See [`ReadError`]: where any of them can't be read, or the log ends before it.
    fn read_many(&self, positions: &[Position]) -> Result<Vec<Record>, ReadError> {
        positions.iter().map(|position| read_one(self, *position)).collect()
    }
    /// The trees over the first so many entries that are known without reading these, the smallest first.
    fn frontiers(&self) -> Vec<Frontier> {
        Vec::new()
    }
}

fn read_one(log: &(impl LogStore + ?Sized), position: Position) -> Result<Record, ReadError> {
    log.read(position, 1)?.into_iter().next().ok_or_else(|| many::beyond_end(position))
}
