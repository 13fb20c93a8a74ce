//! Packed segments: sealed ones, compressed. `docs/format.md` draws them, ADR 0008 says why they are as they are.
//!
//! A packed segment holds the frames of the segment that it replaces, byte for byte, in blocks of a few kilobytes that
//! are compressed one by one. So whatever is checked of a frame and of the chain is checked of a packed one too, and
//! one entry costs the reading of one block.

mod block;
mod cache;
mod footer;
mod pack;
mod salvage;
mod source;
mod walk;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::types::Position;

pub(crate) use footer::{Head, head_of, keys_of};
pub use pack::{PackError, PackedSegment};
pub(crate) use salvage::salvage;
pub(crate) use walk::PackedWalk;

/// The segment that is being packed.
pub(crate) const PACK_NAME: &str = "pack.tmp";

/// How much of a log is packed, and what that saves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackedTotals {
    /// Packed segments.
    pub segments: u64,
    /// Bytes that they take on the disk.
    pub bytes: u64,
    /// Bytes that they took before.
    pub bytes_before: u64,
}

/// Where in its file a packed segment's blocks stand.
#[derive(Debug)]
pub(crate) struct Blocks {
    /// Tells the blocks of one segment from those of all others that this process has opened.
    serial: u64,
    /// Of each block the number of its first entry, and its offset.
    starts: Box<[(u32, u32)]>,
    /// The number behind the last entry, and the offset behind the last block.
    end: (u32, u32),
    /// Bytes of the file, and of the one that it replaced.
    pub(crate) file_bytes: u64,
    pub(crate) bytes_before: u64,
}

/// One block of a packed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Which block.
    nth: usize,
    /// The number of its first entry in the segment, and how many it has.
    first: u32,
    entries: u32,
    /// Where it stands in the file.
    start: u64,
    end: u64,
}

impl Blocks {
    fn new(starts: Vec<(u32, u32)>, end: (u32, u32), file_bytes: u64, bytes_before: u64) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        Self { serial, starts: starts.into(), end, file_bytes, bytes_before }
    }

    /// The block number `nth`.
    fn get(&self, nth: usize) -> Option<Place> {
        let (first, start) = *self.starts.get(nth)?;
        let (next, end) = self.starts.get(nth + 1).copied().unwrap_or(self.end);
        let entries = next.checked_sub(first)?;
        Some(Place { nth, first, entries, start: u64::from(start), end: u64::from(end) })
    }

    /// The block that holds the entry number `number`.
    fn holding(&self, number: u64) -> Option<Place> {
        let behind = self.starts.partition_point(|(first, _)| u64::from(*first) <= number);
        self.get(behind.checked_sub(1)?).filter(|_| number < u64::from(self.end.0))
    }
}

/// The position of the entry number `number` of a segment.
fn at(first: Position, number: u32) -> Position {
    Position(first.0.saturating_add(u64::from(number)))
}
