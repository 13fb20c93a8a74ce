//! Finding the way again behind bytes that cannot be read, so that every damage is found and not only the first.

use std::io;
use std::ops::RangeInclusive;

use super::chain::after;
use super::footer;
use super::frame::{
    FRAME_BYTES_MIN, FRAME_EXTRA_BYTES, FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader, Look, Positions,
};
use super::source::SECTOR;
use super::walk::{Batch, Walk, range};
use crate::log::GROUP_ENTRIES_MAX;
use crate::types::{LedgerUid, Position};

/// Bytes that are searched at once.
const PIECE_BYTES: usize = 64 * 1024;
/// Fewer bytes that are not zero than any frame's header has, even with a flipped bit: two of the magic, two of the
/// lengths, most of eight of the CRCs.
const NONZERO_BYTES_MIN: usize = 4;

impl Walk<'_> {
    /// Looks for the next frame behind one that cannot be read, and blames what lies between. False where there is
    /// none.
    pub(super) fn resync(&mut self) -> io::Result<bool> {
        let (offset, due) = (self.offset, self.chain.next);
        self.batch = Batch::Unknown;
        match self.next_frame(offset, due)? {
            Some((found, position)) if position == due => {
                self.damage(due, offset, "bytes that belong to no frame");
                self.whole = false;
                self.offset = found;
            }
            Some((found, position)) => {
                self.whole = false;
                self.blame_between(found, position)?;
                self.chain.skip_to(position);
                self.offset = found;
            }
            None => {
                self.blame_rest()?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The next frame behind the unreadable one of position `due` at `offset`, and its position. The length that the
    /// unreadable one claims is tried first; only where it leads nowhere is every byte tried.
    pub(super) fn next_frame(&mut self, offset: u64, due: Position) -> io::Result<Option<(u64, Position)>> {
        if let Some(behind) = self.claimed_end(offset)?
            && self.header_at(behind, after(due, 1))?
        {
            return Ok(Some((behind, after(due, 1))));
        }
        let end = self.search_end()?;
        let mut headers = Headers::of(self.uid, due.0..=after(due, GROUP_ENTRIES_MAX as u64).0);
        self.search(offset + 1, end, |walk, hit| walk.position_at(hit, offset, due, &mut headers))
    }

    /// The next header, behind an unreadable one of position `due` at `offset`, that stands for one of the positions
    /// that can follow in the same group.
    pub(super) fn next_header(&mut self, offset: u64, due: Position) -> io::Result<Option<(u64, Position)>> {
        let end = self.search_end()?;
        let following = after(due, 1).0..=after(due, GROUP_ENTRIES_MAX as u64 - 1).0;
        let mut headers = Headers::of(self.uid, following);
        self.search(offset + 1, end, |walk, hit| {
            let head = FrameHeader::read(walk.source.read(hit, FRAME_HEADER_BYTES as usize)?);
            Ok(head.filter(FrameHeader::in_batch).and_then(|head| headers.position_of(&head)))
        })
    }

    /// Goes through every place before `end` where a frame may begin, until `test` knows the position of one.
    fn search(
        &mut self,
        mut from: u64,
        end: u64,
        mut test: impl FnMut(&mut Self, u64) -> io::Result<Option<Position>>,
    ) -> io::Result<Option<(u64, Position)>> {
        while from < end {
            let bytes = self.source.read(from, PIECE_BYTES)?;
            let hits: Vec<u64> =
                magics(bytes).map(|i| from + i as u64).take_while(|hit| *hit < end).collect();
            let read = bytes.len() as u64;
            for hit in hits {
                if let Some(position) = test(self, hit)? {
                    return Ok(Some((hit, position)));
                }
            }
            // One byte again, in case a magic lies across the border.
            from += if read > 1 { read - 1 } else { PIECE_BYTES as u64 };
        }
        Ok(None)
    }

    /// Where frames can be no more: at the footer, or behind the last byte that is not zero.
    fn search_end(&mut self) -> io::Result<u64> {
        let footer = self.hint.filter(|hint| *hint > self.offset);
        Ok(footer.unwrap_or(self.last_nonzero()?.map_or(0, |last| last + 1)))
    }

    /// The position of the frame at `hit`, if one begins there: the one that its entry names, or else one that as many
    /// bytes behind `due` can have.
    fn position_at(
        &mut self,
        hit: u64,
        offset: u64,
        due: Position,
        headers: &mut Headers,
    ) -> io::Result<Option<Position>> {
        if let Look::Frame(frame) = self.peek_for(hit, None, due)? {
            let possible = self.segment.follower.is_none_or(|follower| frame.position < follower);
            if self.ours(frame.uid) && frame.position >= due && possible {
                return Ok(Some(frame.position));
            }
        }
        let furthest = after(due, (hit - offset) / FRAME_BYTES_MIN + 1);
        let head = FrameHeader::read(self.source.read(hit, FRAME_HEADER_BYTES as usize)?);
        let position = head.and_then(|head| headers.position_of(&head));
        Ok(position.filter(|position| *position <= furthest))
    }

    fn header_at(&mut self, offset: u64, position: Position) -> io::Result<bool> {
        let Some(uid) = self.uid else { return Ok(false) };
        let head = self.source.read(offset, FRAME_HEADER_BYTES as usize)?;
        Ok(FrameHeader::read(head).is_some_and(|header| header.sound(uid, position)))
    }

    /// Where the frame at `offset` ends, if the length that it claims can be true.
    fn claimed_end(&mut self, offset: u64) -> io::Result<Option<u64>> {
        let bytes = self.source.read(offset, 4)?;
        let Some(length) = bytes.get(2..4) else { return Ok(None) };
        let frame = FRAME_EXTRA_BYTES + u64::from(u16::from_le_bytes([length[0], length[1]]));
        Ok((frame >= FRAME_BYTES_MIN).then_some(offset + frame))
    }

    /// Blames the unreadable positions before the frame of `position` at `found`: each by itself where the lengths
    /// that they claim lead there, else all as one.
    fn blame_between(&mut self, found: u64, position: Position) -> io::Result<()> {
        let due = self.chain.next;
        let lost = position.0.saturating_sub(due.0);
        let frames = self.claimed_frames(found)?;
        if frames.len() as u64 == lost && frames.last().map(|last| last.1) == Some(found) {
            self.blame_each(&frames);
        } else {
            self.damage(due, self.offset, format!("{} cannot be read", range(due, position)));
        }
        Ok(())
    }

    fn blame_each(&mut self, frames: &[(u64, u64)]) {
        for (position, (offset, _)) in (self.chain.next.0..).zip(frames) {
            self.damage(Position(position), *offset, "the frame's header does not fit its CRC");
        }
    }

    /// Beginnings and ends of the frames up to `end`, by the lengths that they claim. What is left before `end` may be
    /// padding.
    fn claimed_frames(&mut self, end: u64) -> io::Result<Vec<(u64, u64)>> {
        let (mut frames, mut offset) = (Vec::new(), self.offset);
        while offset.saturating_add(FRAME_BYTES_MIN) <= end
            && let Some(behind) = self.claimed_end(offset)?
        {
            frames.push((offset, behind));
            offset = behind;
        }
        Ok(frames)
    }

    /// No frame follows: blames what is left of the segment, and goes to its footer if it has one.
    fn blame_rest(&mut self) -> io::Result<()> {
        let (offset, due) = (self.offset, self.chain.next);
        let hint = self.hint.filter(|hint| *hint >= offset);
        self.footer = if hint.is_some() { hint } else { footer::search(&mut self.source, offset)? };
        self.whole &= self.footer.is_none();
        let end = self.footer.unwrap_or(self.last_nonzero()?.map_or(offset, |last| last + 1));
        if self.never_begun(offset)? {
            self.blame_nonzero(end)?;
        } else {
            let frames = self.claimed_frames(end)?;
            let fits = frames.last().is_some_and(|(_, behind)| match self.footer {
                Some(footer) => super::source::sector_up(*behind) == footer,
                None => *behind >= end,
            });
            if fits {
                self.blame_each(&frames);
            } else {
                self.damage(due, offset, "no frame can be read here, nor behind it");
            }
            let lost = if fits { frames.len() as u64 } else { 1 };
            self.chain.skip_to(after(due, lost));
            self.whole = false;
        }
        self.offset = end;
        Ok(())
    }

    /// Whether no frame was ever written at `offset`: all but a few bytes of what would be its header are zeros.
    fn never_begun(&mut self, offset: u64) -> io::Result<bool> {
        let header = self.source.read(offset, FRAME_HEADER_BYTES as usize)?;
        Ok(header.iter().filter(|byte| **byte != 0).count() < NONZERO_BYTES_MIN)
    }

    /// Zeros begin where a frame is due: blames each run of other bytes up to `end`, or the zeros themselves where a
    /// footer says that entries were here.
    fn blame_nonzero(&mut self, end: u64) -> io::Result<()> {
        let due = self.chain.next;
        let mut from = self.offset;
        if self.footer.is_some() && self.source.zero(from, end)? {
            self.damage(due, from, "zeros where entries were");
        }
        while let Some(found) = self.source.first_nonzero(from, end)? {
            self.damage(due, found, "a byte that is not zero, where nothing was written");
            from = found + 1;
            while !self.source.zero(from, (from + SECTOR).min(end))? {
                from += SECTOR;
            }
        }
        Ok(())
    }
}

/// The headers that are looked for, made ready when the first place to look at is found.
struct Headers {
    uid: Option<LedgerUid>,
    positions: RangeInclusive<u64>,
    ready: Option<Positions>,
}

impl Headers {
    fn of(uid: Option<LedgerUid>, positions: RangeInclusive<u64>) -> Self {
        Self { uid, positions, ready: None }
    }

    /// The position of a header, if it is sound and looked for.
    fn position_of(&mut self, header: &FrameHeader) -> Option<Position> {
        let uid = self.uid?;
        let ready = self.ready.get_or_insert_with(|| Positions::new(uid, self.positions.clone()));
        ready.of(header)
    }
}

/// Where the two bytes that begin a frame stand.
fn magics(bytes: &[u8]) -> impl Iterator<Item = usize> {
    bytes.windows(2).enumerate().filter(|(_, pair)| *pair == FRAME_MAGIC).map(|(i, _)| i)
}
