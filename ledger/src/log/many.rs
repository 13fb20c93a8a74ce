//! Reading entries that stand far apart, such as those of one account: each with a read of its own bytes alone.
//!
//! The log remembers the offset of every 64th frame. What lies between is walked over once; after that the sizes of
//! those frames are known, and an entry costs one read of some 300 bytes instead of one of 16 KiB. The sizes are a hint
//! and nothing more: what stands at the offset that follows from them is checked as every other read is, and where it
//! is not the entry that was asked for, the entry is looked for without them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::disk::DiskFile;
use crate::entry::{self, Linker, Record};
use crate::types::Position;

use super::frame::{self, FRAME_HEADER_BYTES, FrameHeader};
use super::index::STRIDE;
use super::read::{continues, read_range};
use super::segments::SegmentLog;
use super::view::Span;
use super::{Damage, ReadError, read_one};

/// Frames whose sizes are remembered together.
const BLOCK_ENTRIES: usize = STRIDE as usize;
/// How many blocks are remembered at most, half of them for being used lately; some 200 bytes each.
const BLOCKS_MAX: usize = 32_768;
/// How much is read at once to learn the sizes of frames.
const LEARN_BYTES: u64 = 24 * 1024;
/// Frames that stand so close to one another are read at once.
const GAP_BYTES: u64 = 2 * 1024;
/// The most that is read at once.
const READ_BYTES_MAX: u64 = 64 * 1024;

/// The sizes of the entries of a block, from its first on.
type Sizes = Arc<[u16]>;

/// Sizes of frames, by where their block begins: its first position and the offset of that.
#[derive(Debug, Default)]
pub(crate) struct FrameSizes(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<(Position, u64), Sizes>,
    old: HashMap<(Position, u64), Sizes>,
}

impl FrameSizes {
    fn get(&self, block: (Position, u64)) -> Option<Sizes> {
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sizes) = generations.young.get(&block) {
            return Some(Arc::clone(sizes));
        }
        let sizes = generations.old.remove(&block)?;
        generations.put(block, Arc::clone(&sizes));
        Some(sizes)
    }

    fn put(&self, block: (Position, u64), sizes: Sizes) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(block, sizes);
    }
}

impl Generations {
    /// What was not used while half of the room filled up is forgotten.
    fn put(&mut self, block: (Position, u64), sizes: Sizes) {
        if self.young.len() >= BLOCKS_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(block, sizes);
    }
}

/// Where one of the entries that are asked for should stand.
struct Place {
    /// Which of those asked for.
    nth: usize,
    position: Position,
    offset: u64,
    frame_bytes: u64,
}

impl Place {
    fn end(&self) -> u64 {
        self.offset + self.frame_bytes
    }
}

/// An entry that was found where it should stand. Links are made of all together, which is several times as fast.
#[derive(Clone)]
struct Found {
    entry: Bytes,
    batch: (u16, u16),
}

/// Places in one file, ascending.
struct InFile {
    file: Arc<dyn DiskFile>,
    span: Span,
    places: Vec<Place>,
}

impl SegmentLog {
    pub(crate) fn read_positions(&self, positions: &[Position]) -> Result<Vec<Record>, ReadError> {
        let mut order: Vec<(Position, usize)> = positions.iter().copied().zip(0..).collect();
        order.sort_unstable();
        let mut found: Vec<Option<Found>> = vec![None; positions.len()];
        for one in self.places(order)? {
            one.read(&mut found)?;
        }
        let entries: Vec<&[u8]> = found.iter().flatten().map(|found| found.entry.as_ref()).collect();
        let mut linker = Linker::default();
        let mut links = linker.links(&entries).iter();
        let records = found.iter().zip(positions).map(|(found, position)| match found {
            Some(Found { entry, batch }) => {
                let link = links.next().copied().unwrap_or_else(|| entry::link(entry));
                Ok(Record::new(entry.clone(), link, *batch))
            }
            // Without a hint of where it stands.
            None => read_one(self, *position),
        });
        records.collect()
    }

    /// Where the entries of ascending positions should stand, as far as that can be told.
    fn places(&self, order: Vec<(Position, usize)>) -> Result<Vec<InFile>, ReadError> {
        let mut files: Vec<InFile> = Vec::new();
        for (position, nth) in order {
            let Some(mut span) = self.find(position)? else { return Err(beyond_end(position)) };
            if span.packed.is_none() && files.last().is_none_or(|last| last.span.name != span.name) {
                let Some((now, file)) = self.locate(position)? else { return Err(beyond_end(position)) };
                span = now;
                files.push(InFile { file, span: span.clone(), places: Vec::new() });
            }
            if span.packed.is_some() {
                // The block in which it stands is read as a whole, and kept for the others in it.
                continue;
            }
            let Some(last) = files.last_mut() else { continue };
            let block = span.start;
            let Some(sizes) = self.frame_sizes.get(block).or_else(|| self.learn(last.file.as_ref(), &span))
            else {
                continue;
            };
            last.places.extend(place(nth, position, block, &sizes));
        }
        Ok(files)
    }

    /// Walks over the block in which a span begins. `None` where it can't be read, or not made sense of: whoever reads
    /// the entry itself will find out why.
    fn learn(&self, file: &dyn DiskFile, span: &Span) -> Option<Sizes> {
        let mut sizes = Vec::with_capacity(BLOCK_ENTRIES);
        let (mut position, mut offset) = span.start;
        while sizes.len() < BLOCK_ENTRIES && position < span.end.0 {
            let chunk = read_range(file, offset, (offset + LEARN_BYTES).min(span.end.1)).ok()?;
            let walked = walk(&chunk, span, &mut position, &mut sizes)?;
            offset += walked;
        }
        let sizes: Sizes = sizes.into();
        // The last block of an open segment still grows.
        if sizes.len() == BLOCK_ENTRIES {
            self.frame_sizes.put(span.start, Arc::clone(&sizes));
        }
        Some(sizes)
    }
}

/// Goes over the frames of a chunk, as long as their headers lie in it; how far that is. `None` where there is no frame.
fn walk(chunk: &[u8], span: &Span, position: &mut Position, sizes: &mut Vec<u16>) -> Option<u64> {
    let mut at = 0;
    while sizes.len() < BLOCK_ENTRIES && *position < span.end.0 {
        let Some(rest) = chunk.get(at..).filter(|rest| rest.len() >= FRAME_HEADER_BYTES) else { break };
        let header = FrameHeader::decode(rest, span.uid, *position)?;
        sizes.push(header.entry_bytes);
        *position = position.next();
        at += header.frame_bytes();
    }
    (at > 0).then_some(at as u64)
}

fn place(nth: usize, position: Position, block: (Position, u64), sizes: &[u16]) -> Option<Place> {
    let frame_bytes = |entry_bytes: u16| frame::FRAME_EXTRA_BYTES as u64 + u64::from(entry_bytes);
    let number = usize::try_from(position.0.checked_sub(block.0.0)?).ok()?;
    let (before, from) = sizes.split_at_checked(number)?;
    let offset = block.1 + before.iter().map(|size| frame_bytes(*size)).sum::<u64>();
    Some(Place { nth, position, offset, frame_bytes: frame_bytes(*from.first()?) })
}

impl InFile {
    /// Reads what stands at the places. What is not what it should be stays unread.
    fn read(&self, found: &mut [Option<Found>]) -> Result<(), ReadError> {
        let mut rest = self.places.as_slice();
        while let Some(first) = rest.first() {
            let near = |pair: &[Place]| {
                pair[1].offset <= pair[0].end() + GAP_BYTES && pair[1].end() <= first.offset + READ_BYTES_MAX
            };
            let together = 1 + rest.windows(2).take_while(|pair| near(pair)).count();
            let (now, later) = rest.split_at(together);
            let end = now.last().map_or(first.end(), Place::end);
            let bytes = Bytes::from(read_range(self.file.as_ref(), first.offset, end)?);
            for place in now {
                if let Some(slot) = found.get_mut(place.nth) {
                    *slot = self.found(place, &bytes, first.offset);
                }
            }
            rest = later;
        }
        Ok(())
    }

    /// The entry at a place, checked as every entry is that is read.
    fn found(&self, place: &Place, bytes: &Bytes, bytes_offset: u64) -> Option<Found> {
        let at = usize::try_from(place.offset - bytes_offset).ok()?;
        let (uid, position) = (self.span.uid, place.position);
        let frame::Found::Whole(header, entry) = frame::look(bytes.get(at..)?, uid, position) else {
            return None;
        };
        continues(entry, uid, position, None).ok()?;
        Some(Found { entry: bytes.slice_ref(entry), batch: header.batch })
    }
}

pub(super) fn beyond_end(position: Position) -> ReadError {
    let reason = "the log ends before this position".to_owned();
    ReadError::Damaged(Damage { position, file: String::new(), offset: 0, reason })
}
