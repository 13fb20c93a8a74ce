//! Reading a packed segment, block by block.

use std::sync::Arc;

use bytes::Bytes;

use crate::disk::DiskFile;
use crate::entry::{self, Record};
use crate::log::frame::{self, Found, FrameHeader};
use crate::log::read::{continues, read_range};
use crate::log::segment::reported;
use crate::log::view::Sealed;
use crate::log::{Damage, ReadError};
use crate::types::{Link, Position};

use super::{Blocks, Place, at, block, cache};

/// The most that is read from a file at once, unless a single block is larger.
const CHUNK_BYTES_MAX: usize = 128 * 1024;

/// Walks the entries of one packed segment.
pub(crate) struct PackedWalk {
    file: Arc<dyn DiskFile>,
    sealed: Arc<Sealed>,
    /// The entry that comes next.
    pub(crate) position: Position,
    /// The link of the entry before it, where that was read.
    pub(crate) previous: Option<Link>,
    block: Option<Opened>,
    /// How much may be read ahead.
    ahead: usize,
    chunk: Vec<u8>,
    chunk_offset: u64,
}

/// The block that is being read.
struct Opened {
    place: Place,
    frames: Arc<[u8]>,
    /// Where in its frames the next entry stands.
    next: usize,
}

impl PackedWalk {
    /// From `position` on, which the segment has. `bytes_max` is how much the reader wants in all.
    pub(crate) fn new(
        file: Arc<dyn DiskFile>,
        sealed: Arc<Sealed>,
        position: Position,
        bytes_max: usize,
    ) -> Self {
        let ahead = bytes_max.min(CHUNK_BYTES_MAX);
        Self {
            file,
            sealed,
            position,
            previous: None,
            block: None,
            ahead,
            chunk: Vec::new(),
            chunk_offset: 0,
        }
    }

    fn damaged(&self, reason: &str) -> ReadError {
        let place = self.block.as_ref().map(|block| block.place.start);
        self.damaged_at(place.unwrap_or_default(), reason)
    }

    fn damaged_at(&self, offset: u64, reason: &str) -> ReadError {
        let file = reported(&self.sealed.name);
        ReadError::Damaged(Damage { position: self.position, file, offset, reason: reason.to_owned() })
    }

    /// The next entry; `None` if it is larger than `entry_bytes_max`.
    pub(crate) fn record(&mut self, entry_bytes_max: Option<usize>) -> Result<Option<Record>, ReadError> {
        let (frames, next) = self.here()?;
        let (uid, position) = (self.sealed.uid, self.position);
        let bytes = frames.get(next..).unwrap_or_default();
        let Found::Whole(header, entry) = frame::look(bytes, uid, position) else {
            return Err(self.damaged("the entry in this block is not what was written"));
        };
        if entry_bytes_max.is_some_and(|max| entry.len() > max) {
            return Ok(None);
        }
        continues(entry, uid, position, self.previous).map_err(|reason| self.damaged(reason))?;
        let record = Record::new(Bytes::copy_from_slice(entry), entry::link(entry), header.batch);
        self.previous = Some(record.link);
        self.step(&header);
        Ok(Some(record))
    }

    fn step(&mut self, header: &FrameHeader) {
        self.position = self.position.next();
        if let Some(block) = &mut self.block {
            block.next += header.frame_bytes();
        }
    }

    /// The frames of the block that holds the next entry, and where in them it stands.
    fn here(&mut self) -> Result<(Arc<[u8]>, usize), ReadError> {
        let number = self.position.0.saturating_sub(self.sealed.first.0);
        let held = self.block.as_ref().filter(|block| {
            let place = block.place;
            (u64::from(place.first)..u64::from(place.first) + u64::from(place.entries)).contains(&number)
        });
        if let Some(block) = held {
            return Ok((Arc::clone(&block.frames), block.next));
        }
        let (place, frames) = self.load(number)?;
        let next = self.seek(&frames, at(self.sealed.first, place.first), place.start)?;
        self.block = Some(Opened { place, frames: Arc::clone(&frames), next });
        Ok((frames, next))
    }

    /// Where in the frames of a block the next entry stands.
    fn seek(&self, frames: &[u8], first: Position, offset: u64) -> Result<usize, ReadError> {
        let mut next = 0;
        for position in first.0..self.position.0 {
            let frame = frames.get(next..).unwrap_or_default();
            let header = FrameHeader::decode(frame, self.sealed.uid, Position(position));
            let broken = || self.damaged_at(offset, "a frame in this block is not what was written");
            next += header.ok_or_else(broken)?.frame_bytes();
        }
        Ok(next)
    }

    fn blocks(&self) -> Result<&Blocks, ReadError> {
        let missing = || self.damaged_at(0, "the segment is not packed");
        self.sealed.blocks.as_ref().ok_or_else(missing)
    }

    /// The block that holds the entry number `number`, from memory or from the disk.
    fn load(&mut self, number: u64) -> Result<(Place, Arc<[u8]>), ReadError> {
        let blocks = self.blocks()?;
        let missing = || self.damaged_at(0, "the block that holds the entry cannot be found");
        let place = blocks.holding(number).ok_or_else(missing)?;
        let key = (blocks.serial, place.nth);
        // Whoever goes on from block to block needs each only once.
        let first_of_this_read = self.block.is_none();
        if first_of_this_read && let Some(frames) = cache::get(key) {
            return Ok((place, frames));
        }
        let first = at(self.sealed.first, place.first);
        let uid = self.sealed.uid;
        let opened = block::open(self.bytes(&place)?, uid, first);
        let broken =
            || self.damaged_at(place.start, "the block that holds the entry is not what was written");
        let (_, frames) = opened.filter(|(entries, _)| *entries == place.entries).ok_or_else(broken)?;
        let frames: Arc<[u8]> = frames.into();
        if first_of_this_read {
            cache::put(key, &frames);
        }
        Ok((place, frames))
    }

    /// The bytes of a block.
    fn bytes(&mut self, place: &Place) -> Result<&[u8], ReadError> {
        let held = self.chunk_offset + self.chunk.len() as u64;
        if place.start < self.chunk_offset || place.end > held {
            let blocks_end = self.blocks()?.end.1;
            let ahead = (place.start + self.ahead as u64).min(u64::from(blocks_end));
            self.chunk = read_range(self.file.as_ref(), place.start, place.end.max(ahead))?;
            self.chunk_offset = place.start;
        }
        let from = usize::try_from(place.start - self.chunk_offset).unwrap_or(usize::MAX);
        let bytes = usize::try_from(place.end - place.start).unwrap_or(usize::MAX);
        Ok(self.chunk.get(from..from.saturating_add(bytes)).unwrap_or_default())
    }
}
