//! Torn tail or damage.
//!
//! A crash leaves any subset of the sectors that were written and not yet synced, each new or old, and old means
//! zeros, as the file was written ahead. So what fails at the end of the open segment is the trace of a crash only if
//!
//! 1. no sound frame header behind it says by its lag that the failing position was durable,
//! 2. it is no longer than what can be in flight at once,
//! 3. each failing frame misses a sector: zeros from its first byte in the sector to the sector's end, or a file that
//!    ends early; and one flipped bit does not explain it.
//!
//! Everything else is damage.

use std::io;

use super::frame::{FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader, Look};
use super::source::SECTOR;
use super::walk::{Torn, Walk};
use crate::log::{GROUP_BYTES_MAX, GROUP_ENTRIES_MAX};
use crate::types::Position;

/// The most bytes that one crash can leave doubtful: a group, and its frames' headers.
const IN_FLIGHT_BYTES_MAX: u64 = GROUP_BYTES_MAX as u64 + GROUP_ENTRIES_MAX as u64 * FRAME_HEADER_BYTES;
/// A sector that reached the disk begins with a piece of an entry; none begins with so many zeros that no byte of it
/// shows.
const SECTOR_START_BYTES: u64 = 16;

impl Walk<'_> {
    /// Whether what begins here is a torn tail; if so, goes back to where a repair would cut.
    pub(super) fn tail_is_torn(&mut self) -> io::Result<bool> {
        let sealed = self.segment.follower.is_some() || self.hint.is_some_and(|hint| hint >= self.offset);
        let Some(last) = self.last_nonzero()? else { return Ok(false) };
        let (chain, offset) = self.cut();
        let bytes = last + 1 - offset;
        if sealed || bytes > IN_FLIGHT_BYTES_MAX || !self.crash_explains(chain.next, last)? {
            return Ok(false);
        }
        self.doubt();
        self.torn = Some(Torn { from: chain.next, bytes });
        (self.chain, self.offset) = (chain, offset);
        Ok(true)
    }

    /// Whether a crash explains everything from here to the byte `last`, the positions from `cut` on being lost.
    fn crash_explains(&mut self, cut: Position, last: u64) -> io::Result<bool> {
        let (mut offset, mut due) = (self.offset, self.chain.next);
        while offset <= last {
            let header = match self.peek_for(offset, self.uid, due)? {
                Look::Frame(frame) if frame.position == due => frame.header,
                Look::Frame(_) => return Ok(false),
                Look::Header(header) if self.entry_lost(offset, &header)? => header,
                Look::Header(_) => return Ok(false),
                Look::Nothing if !self.header_lost(offset)? => return Ok(false),
                Look::Nothing => match self.next_frame(offset, due)? {
                    Some((_, position)) if position == due => return Ok(false),
                    Some((found, position)) => {
                        (offset, due) = (found, position);
                        continue;
                    }
                    None => return self.rest_lost(offset, last),
                },
            };
            if says_durable(&header, due, cut) {
                return Ok(false);
            }
            offset += header.frame_bytes();
            due = super::chain::after(due, 1);
        }
        Ok(true)
    }

    /// Whether the file ends before the capacity in its header, and before `end`.
    fn ends_before(&self, end: u64) -> bool {
        self.capacity.is_some_and(|capacity| self.source.len() < capacity) && end > self.source.len()
    }

    fn entry_lost(&mut self, offset: u64, header: &FrameHeader) -> io::Result<bool> {
        let end = offset + header.frame_bytes();
        if !self.sector_lost(offset, end)? {
            return Ok(false);
        }
        let bytes = self.source.read(offset, header.frame_bytes() as usize)?;
        Ok(!header.one_bit_off(bytes.get(FRAME_HEADER_BYTES as usize..).unwrap_or_default()))
    }

    /// A header that cannot be read has lost a sector itself; what is left of it begins as every frame does.
    fn header_lost(&mut self, offset: u64) -> io::Result<bool> {
        let border = (offset / SECTOR + 1) * SECTOR;
        let first_part = self.source.read(offset, (border - offset).min(FRAME_HEADER_BYTES) as usize)?;
        let begun = first_part.iter().zip(FRAME_MAGIC).all(|(byte, magic)| *byte == magic);
        let nothing = first_part.iter().all(|byte| *byte == 0);
        Ok((begun || nothing) && self.sector_lost(offset, offset + FRAME_HEADER_BYTES)?)
    }

    /// Whether some sector between `offset` and `end` is zero from there to its end, or lies behind the file's.
    fn sector_lost(&mut self, offset: u64, end: u64) -> io::Result<bool> {
        if self.ends_before(end) {
            return Ok(true);
        }
        let mut from = offset;
        while from < end {
            let border = (from / SECTOR + 1) * SECTOR;
            if self.source.zero(from, border)? {
                return Ok(true);
            }
            from = border;
        }
        Ok(false)
    }

    /// Whether what lies behind a lost header, with no further frame to be found, can be sectors of entries: more than
    /// one byte, and each sector written from its beginning.
    fn rest_lost(&mut self, offset: u64, last: u64) -> io::Result<bool> {
        let mut sector = (offset / SECTOR + 1) * SECTOR;
        let mut written = 0;
        let begin = sector;
        while sector <= last {
            let bytes = self.source.read(sector, SECTOR as usize)?;
            let nonzero = bytes.iter().filter(|byte| **byte != 0).count();
            if nonzero > 0 && bytes.iter().take(SECTOR_START_BYTES as usize).all(|byte| *byte == 0) {
                return Ok(false);
            }
            written += nonzero;
            sector += SECTOR;
        }
        Ok(begin > last || written > 1)
    }
}

/// Whether a frame was written when the position `cut` was already durable.
fn says_durable(header: &FrameHeader, position: Position, cut: Position) -> bool {
    position.0.saturating_sub(u64::from(header.lag)) > cut.0
}
