//! What is known of the entries of one segment while it is open: enough to find them, to write its footer, and to
//! forget the newest of them again.

use crate::entry::{Header, IdKey};
use crate::tree::{self, Frontier};
use crate::types::{Link, Position, Time};

use super::segment::HEADER_BYTES;

/// Every so many entries the offset of a frame is remembered.
pub(crate) const STRIDE: u64 = 64;

/// The entries of an open segment, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) first: Position,
    pub(crate) end: End,
    /// Positions and the offsets of their frames: every [`STRIDE`]th, and the first behind a gap.
    pub(crate) strides: Vec<(Position, u64)>,
    /// The key of each entry's event id and the entry's number in the segment.
    pub(crate) ids: Vec<(IdKey, u32)>,
    /// The tree over all entries of the log up to the last one here; `None` where some of them are not known.
    pub(crate) tree: Option<Frontier>,
}

/// The end of what an index holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// The position behind the last entry.
    pub(crate) next: Position,
    /// The offset behind the last frame.
    pub(crate) offset: u64,
    pub(crate) link: Link,
    pub(crate) recorded_at: Time,
    pub(crate) epoch: u32,
}

/// A place to which an index can be taken back.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub(crate) end: End,
    strides: usize,
    ids: usize,
    tree: Option<Frontier>,
}

impl Index {
    /// No entries yet; `before` is the end of the segment before, `tree` that of all entries before.
    pub(crate) fn new(before: End, tree: Option<Frontier>) -> Self {
        let end = End { offset: HEADER_BYTES, ..before };
        let tree = tree.filter(|tree| tree.size() == before.next.0);
        Self { first: before.next, end, strides: Vec::new(), ids: Vec::new(), tree }
    }

    /// How many entries.
    pub(crate) fn count(&self) -> u64 {
        self.end.next.0 - self.first.0
    }

    /// Adds an entry whose frame stands at `offset`. Entries that a gap swallowed are counted, but have no id here.
    pub(crate) fn push(&mut self, header: &Header, key: IdKey, link: Link, offset: u64, frame_bytes: usize) {
        let number = header.position.0 - self.first.0;
        if number.is_multiple_of(STRIDE) || offset != self.end.offset {
            self.strides.push((header.position, offset));
        }
        self.ids.push((key, u32::try_from(number).unwrap_or(u32::MAX)));
        self.end = End {
            next: header.position.next(),
            offset: offset + frame_bytes as u64,
            link,
            recorded_at: header.recorded_at,
            epoch: header.epoch,
        };
    }

    /// Adds the same entry to the tree, by the bytes of it.
    pub(crate) fn grow(&mut self, entry: &[u8]) {
        match &mut self.tree {
            // Behind a gap nobody knows what the tree was.
            Some(tree) if tree.size() + 1 == self.end.next.0 => tree.push(tree::leaf(entry)),
            tree => *tree = None,
        }
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { end: self.end, strides: self.strides.len(), ids: self.ids.len(), tree: self.tree.clone() }
    }

    pub(crate) fn back_to(&mut self, mark: &Mark) {
        self.end = mark.end;
        self.strides.truncate(mark.strides);
        self.ids.truncate(mark.ids);
        self.tree.clone_from(&mark.tree);
    }
}
