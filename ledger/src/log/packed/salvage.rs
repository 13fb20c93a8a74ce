//! A packed segment without a sound footer: its blocks say enough to go from one to the next.

use std::io;

use crate::disk::DiskFile;
use crate::entry;
use crate::log::frame::{self, Found};
use crate::log::index::End;
use crate::log::read::read_range;
use crate::log::segment::HEADER_BYTES;
use crate::types::{LedgerUid, Position};

use super::Blocks;
use super::block::{self, BlockHeader};

/// Goes through the blocks of a file of `file_bytes` and gives where they stand, and the end of the last entry that
/// can be read. `before` is the end of what stands before the segment.
pub(crate) fn salvage(
    file: &dyn DiskFile,
    file_bytes: u64,
    uid: LedgerUid,
    before: End,
) -> io::Result<(Blocks, End)> {
    let mut found = Salvage { file, uid, first: before.next, starts: Vec::new(), end: before };
    found.end.offset = HEADER_BYTES;
    let mut behind = (0, HEADER_BYTES as u32);
    while let Some(next) = found.block(behind)? {
        behind = next;
    }
    Ok((Blocks::new(found.starts, behind, file_bytes, file_bytes), found.end))
}

struct Salvage<'a> {
    file: &'a dyn DiskFile,
    uid: LedgerUid,
    first: Position,
    starts: Vec<(u32, u32)>,
    end: End,
}

impl Salvage<'_> {
    /// Takes in the block that stands at an offset and begins with the entry of a number, and tells where the next one
    /// would be. One that is not sound is passed over by its own word, if a sound one stands there: that proves it.
    fn block(&mut self, here: (u32, u32)) -> io::Result<Option<(u32, u32)>> {
        let Some((header, entries)) = self.look(here)? else { return Ok(None) };
        let Some(next) = behind(here, &header) else { return Ok(None) };
        if let Some(frames) = entries {
            self.starts.push(here);
            self.take(here.0, header.entries, &frames);
            return Ok(Some(next));
        }
        let proven = matches!(self.look(next)?, Some((_, Some(_))));
        if proven {
            self.starts.push(here);
        }
        Ok(proven.then_some(next))
    }

    /// The header of the block at a place, if it can be one, and its frames, if they are sound.
    fn look(&self, (number, offset): (u32, u32)) -> io::Result<Option<(BlockHeader, Option<Vec<u8>>)>> {
        let offset = u64::from(offset);
        let raw = read_range(self.file, offset, offset + block::HEADER_BYTES as u64)?;
        let Some(header) = BlockHeader::read(&raw) else { return Ok(None) };
        let bytes = read_range(self.file, offset, offset + header.block_bytes())?;
        let opened = block::open(&bytes, self.uid, super::at(self.first, number));
        Ok(Some((header, opened.map(|(_, frames)| frames))))
    }

    /// Remembers the last entry of a sound block.
    fn take(&mut self, number: u32, entries: u32, frames: &[u8]) {
        let mut rest = frames;
        for n in 0..entries {
            let position = super::at(self.first, number.saturating_add(n));
            let Found::Whole(header, bytes) = frame::look(rest, self.uid, position) else { return };
            rest = rest.get(header.frame_bytes()..).unwrap_or_default();
            if n + 1 == entries
                && let Ok((entry, _)) = entry::decode(bytes)
            {
                self.end = End {
                    next: position.next(),
                    offset: self.end.offset,
                    link: entry::link(bytes),
                    recorded_at: entry.recorded_at,
                    epoch: entry.epoch,
                };
            }
        }
    }
}

fn behind((number, offset): (u32, u32), header: &BlockHeader) -> Option<(u32, u32)> {
    let bytes = u32::try_from(header.block_bytes()).ok()?;
    Some((number.checked_add(header.entries)?, offset.checked_add(bytes)?))
}
