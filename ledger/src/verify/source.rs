//! Reading one file in big pieces.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::Reached;
use crate::disk::{Disk, DiskFile, Open};
use crate::types::Position;

/// Bytes of one read: large enough that the disk streams, small enough to stay in the processor's cache.
const WINDOW_BYTES: usize = 1024 * 1024;
/// The unit in which a disk keeps or loses what was written.
pub(super) const SECTOR: u64 = 512;

/// A file and the piece of it that is in memory.
pub(crate) struct Source<'a> {
    file: Arc<dyn DiskFile>,
    len: u64,
    window: Vec<u8>,
    start: u64,
    segment: Position,
    reached: &'a Reached<'a>,
}

impl<'a> Source<'a> {
    /// Opens the file of the segment that is named by the position `segment`.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: &Path,
        segment: Position,
        reached: &'a Reached<'a>,
    ) -> io::Result<Self> {
        let file = disk.open(path, Open::Read)?;
        let len = file.len()?;
        Ok(Self { file, len, window: Vec::new(), start: 0, segment, reached })
    }

    /// Bytes of the file. A file that a server trims while it is read is as short as it was found.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The bytes from `offset` on: `bytes` of them, or fewer where the file ends.
    pub(crate) fn read(&mut self, offset: u64, bytes: usize) -> io::Result<&[u8]> {
        let end = offset.saturating_add(bytes as u64).min(self.len);
        if offset >= end {
            return Ok(&[]);
        }
        if offset < self.start || end > self.start + self.window.len() as u64 {
            self.fill(offset, bytes)?;
        }
        let from = (offset - self.start) as usize;
        let to = (end.min(self.len) - self.start) as usize;
        Ok(self.window.get(from..to).unwrap_or_default())
    }

    fn fill(&mut self, offset: u64, bytes: usize) -> io::Result<()> {
        let kept = self.keep_from(offset);
        let wanted = (self.len - offset).min(bytes.max(WINDOW_BYTES) as u64) as usize;
        self.window.resize(wanted.max(kept), 0);
        let mut filled = kept;
        while filled < wanted {
            match self.file.read_at(&mut self.window[filled..], offset + filled as u64) {
                Ok(0) => {
                    self.len = offset + filled as u64;
                    break;
                }
                Ok(read) => filled += read,
                Err(e) => {
                    self.window.clear();
                    return Err(e);
                }
            }
        }
        self.window.truncate(filled);
        self.reached.up_to(self.segment, offset + filled as u64);
        Ok(())
    }

    /// Moves the window to `offset`; returns how many of its bytes are already there.
    fn keep_from(&mut self, offset: u64) -> usize {
        let held = self.start + self.window.len() as u64;
        let inside = (self.start..held).contains(&offset);
        let drop = if inside { (offset - self.start) as usize } else { self.window.len() };
        self.window.drain(..drop);
        self.start = offset;
        self.window.len()
    }

    /// The offset of the first byte in `from..to` that is not zero. What lies behind the end counts as zeros.
    pub(super) fn first_nonzero(&mut self, from: u64, to: u64) -> io::Result<Option<u64>> {
        let mut offset = from;
        while offset < to.min(self.len) {
            let want = (to - offset).min(WINDOW_BYTES as u64) as usize;
            let piece = self.read(offset, want)?;
            if let Some(i) = nonzero(piece) {
                return Ok(Some(offset + i as u64));
            }
            if piece.is_empty() {
                break;
            }
            offset += piece.len() as u64;
        }
        Ok(None)
    }

    /// The offset of the last byte from `from` on that is not zero.
    pub(super) fn last_nonzero(&mut self, from: u64) -> io::Result<Option<u64>> {
        let (mut offset, mut last) = (from, None);
        while offset < self.len {
            let piece = self.read(offset, WINDOW_BYTES)?;
            if let Some(i) = piece.iter().rposition(|b| *b != 0) {
                last = Some(offset + i as u64);
            }
            if piece.is_empty() {
                break;
            }
            offset += piece.len() as u64;
        }
        Ok(last)
    }

    /// How many bits are set in `from..to`.
    pub(super) fn bits_set(&mut self, from: u64, to: u64) -> io::Result<u64> {
        let (mut offset, mut set) = (from, 0);
        while offset < to.min(self.len) {
            let piece = self.read(offset, (to - offset).min(WINDOW_BYTES as u64) as usize)?;
            if piece.is_empty() {
                break;
            }
            set += piece.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
            offset += piece.len() as u64;
        }
        Ok(set)
    }

    /// Whether `from..to` holds nothing but zeros; what lies behind the end counts as zeros.
    pub(super) fn zero(&mut self, from: u64, to: u64) -> io::Result<bool> {
        Ok(self.first_nonzero(from, to)?.is_none())
    }
}

/// Where the first byte stands that is not zero: whole sectors at once, since zeros are what most of an open segment
/// is.
fn nonzero(bytes: &[u8]) -> Option<usize> {
    let zeros = |sector: &&[u8]| sector.iter().fold(0, |all, byte| all | byte) == 0;
    let behind = bytes.chunks(SECTOR as usize).take_while(zeros).map(<[u8]>::len).sum();
    bytes.get(behind..)?.iter().position(|byte| *byte != 0).map(|i| behind + i)
}

/// The first multiple of a sector at or behind `offset`.
pub(super) fn sector_up(offset: u64) -> u64 {
    offset.div_ceil(SECTOR).saturating_mul(SECTOR)
}
