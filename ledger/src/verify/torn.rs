//! Torn tail or damage.
//!
//! A crash leaves any subset of the sectors that were written and not yet synced, each new or old, and old means
//! zeros, as the file was written ahead. So what fails at the end of the open segment is the trace of a crash only if
//!
//! 1. it is no longer than what can be in flight at once, and more than a single bit,
//! 2. no sound frame header in it says by its lag that the first failing position was durable,
//! 3. each failing frame misses a sector: zeros from the first failing byte on, or a file that ends early; and one
//!    flipped bit of its entry does not explain it.
//!
//! Everything else is damage.

use std::io;
use std::ops::Range;

use super::chain::after;
use super::frame::{FRAME_HEADER_BYTES, FrameHeader, Look};
use super::source::SECTOR;
use super::walk::{Torn, Walk};
use crate::log::GROUP_BYTES_MAX;
use crate::types::Position;

impl Walk<'_> {
    /// Whether what begins here is a torn tail; if so, goes back to where a repair would cut.
    pub(super) fn tail_is_torn(&mut self) -> io::Result<bool> {
        let sealed = self.segment.follower.is_some() || self.hint.is_some_and(|hint| hint >= self.offset);
        let Some(last) = self.last_nonzero()? else { return Ok(false) };
        if sealed || last - self.offset >= GROUP_BYTES_MAX as u64 {
            return Ok(false);
        }
        if self.source.bits_set(self.offset, last + 1)? < 2 || !self.crash_explains(last)? {
            return Ok(false);
        }
        let (chain, offset) = self.cut();
        self.doubt();
        self.torn = Some(Torn { from: chain.next, bytes: last + 1 - offset });
        (self.chain, self.offset) = (chain, offset);
        Ok(true)
    }

    /// Whether a crash explains everything from here to the byte `last`.
    fn crash_explains(&mut self, last: u64) -> io::Result<bool> {
        let (mut offset, mut due) = (self.offset, self.chain.next);
        while offset <= last {
            let header = match self.peek_for(offset, self.uid, due)? {
                Look::Frame(frame) if frame.position == due && frame.header.in_batch() => frame.header,
                Look::Header(header) if header.in_batch() => match self.entry_lost(offset, &header)? {
                    true => header,
                    false => return Ok(false),
                },
                _ => match self.behind_lost_header(offset, due)? {
                    Behind::Damaged => return Ok(false),
                    Behind::End => return Ok(true),
                    Behind::Header(found, position) => {
                        (offset, due) = (found, position);
                        continue;
                    }
                },
            };
            if header.durable(due) > self.chain.next {
                return Ok(false);
            }
            (offset, due) = (offset + header.frame_bytes(), after(due, 1));
        }
        Ok(true)
    }

    /// Whether the part that makes a frame fail was never written: its end mark if its entry is right, else anything.
    fn entry_lost(&mut self, offset: u64, header: &FrameHeader) -> io::Result<bool> {
        let end = offset + header.frame_bytes();
        let frame = self.source.read(offset, header.frame_bytes() as usize)?;
        let entry = header.entry(frame);
        let (right, flipped) = (header.holds(entry), header.one_bit_off(entry));
        if !right && flipped && !self.ends_before(end) {
            return Ok(false);
        }
        self.unwritten(if right { end - 1..end } else { offset..end })
    }

    fn behind_lost_header(&mut self, offset: u64, due: Position) -> io::Result<Behind> {
        if !self.unwritten(offset..offset + FRAME_HEADER_BYTES)? {
            return Ok(Behind::Damaged);
        }
        let found = self.next_header(offset, due)?;
        Ok(found.map_or(Behind::End, |(found, position)| Behind::Header(found, position)))
    }

    /// Whether the file ends before the capacity in its header, and before `end`.
    fn ends_before(&self, end: u64) -> bool {
        self.capacity.is_some_and(|capacity| self.source.len() < capacity) && end > self.source.len()
    }

    /// Whether some part of these bytes never reached the disk: the file ends before they do, or a sector that they
    /// lie in is zero from the first failing byte on, or from its start where that lies before. It is not enough that
    /// the bytes themselves are zero in a sector: what shares it was written with them.
    fn unwritten(&mut self, bytes: Range<u64>) -> io::Result<bool> {
        if self.ends_before(bytes.end) {
            return Ok(true);
        }
        let file = self.source.len().max(self.capacity.unwrap_or(0));
        for sector in bytes.start / SECTOR..bytes.end.min(file).div_ceil(SECTOR) {
            let start = (sector * SECTOR).max(self.offset);
            if self.source.zero(start, (sector + 1) * SECTOR)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// What stands behind a frame whose header cannot be read.
enum Behind {
    /// It does not matter: the header was written and then changed.
    Damaged,
    /// No further header.
    End,
    /// A sound header, at this offset, for this position.
    Header(u64, Position),
}
