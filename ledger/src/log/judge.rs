//! Torn tail or damage: what the bytes behind the last sound entry of an open segment are.
//!
//! A crash leaves any subset of the sectors of the one group in flight, each as it was before (zeros) or as it was
//! written. So a tear shows: some sector that a failing frame lies in is zero from the first failing byte on. Whatever
//! else fails was changed after it was written.

use crate::types::{LedgerUid, Position};

use super::frame::{self, FRAME_HEADER_BYTES, Found, FrameHeader};
use super::segment::SECTOR_BYTES;
use super::{GROUP_BYTES_MAX, GROUP_ENTRIES_MAX};

/// What the doubtful bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Zeros only.
    Nothing,
    /// A group that a crash cut short: its first byte is the first doubtful one, its end is given.
    Torn { end: usize },
    /// Something that no crash leaves behind.
    Damaged(String),
}

/// The doubtful bytes of a file and what is known about them.
pub(crate) struct Doubt<'a> {
    /// The file, with zeros where it ends before its capacity.
    pub(crate) bytes: &'a [u8],
    /// How many of the bytes the file really has; fewer where it ends early.
    pub(crate) present: usize,
    pub(crate) uid: LedgerUid,
    /// Where the first frame fails.
    pub(crate) offset: usize,
    /// Which frame that is.
    pub(crate) position: Position,
}

impl Doubt<'_> {
    /// Judges.
    pub(crate) fn verdict(&self) -> Verdict {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        let Some(last) = rest.iter().rposition(|b| *b != 0) else { return Verdict::Nothing };
        if last >= GROUP_BYTES_MAX {
            return Verdict::Damaged(
                "bytes that are not zero stand further behind than one write reaches".into(),
            );
        }
        // Whatever is written has a frame's first or last byte in every part of it, with several bits set.
        if rest.iter().map(|b| b.count_ones()).sum::<u32>() < 2 {
            return Verdict::Damaged("a single bit is set behind the last entry".into());
        }
        let end = self.offset + last + 1;
        match self.walk(end) {
            Ok(()) => Verdict::Torn { end },
            Err(reason) => Verdict::Damaged(reason),
        }
    }

    /// Goes through the frames of the doubtful stretch, by their lengths where their headers are sound, by searching
    /// for the next sound header where not.
    fn walk(&self, end: usize) -> Result<(), String> {
        let (mut at, mut position) = (self.offset, self.position);
        while at < end {
            match frame::look(&self.bytes[at..], self.uid, position) {
                Found::Whole(header, _) => {
                    self.check_lag(&header, position)?;
                    (at, position) = (at + header.frame_bytes(), position.next());
                }
                Found::Body(header) => {
                    self.check_lag(&header, position)?;
                    self.check_body(&header, at, position)?;
                    (at, position) = (at + header.frame_bytes(), position.next());
                }
                Found::Nothing => match self.behind_lost_header(at, position)? {
                    Some(found) => (at, position) = found,
                    None => return Ok(()),
                },
            }
        }
        Ok(())
    }

    /// A later frame knows what was durable when it was written.
    fn check_lag(&self, header: &FrameHeader, position: Position) -> Result<(), String> {
        if header.durable(position) > self.position.0 {
            return Err(format!("the entry was durable when position {position} was written"));
        }
        Ok(())
    }

    fn check_body(&self, header: &FrameHeader, at: usize, position: Position) -> Result<(), String> {
        let end = at + header.frame_bytes();
        let entry_end = end - 1;
        let entry = self.bytes.get(at + FRAME_HEADER_BYTES..entry_end).unwrap_or_default();
        let syndrome = crc32fast::hash(entry) ^ header.entry_crc;
        // With a sound entry it is the end mark alone that fails.
        let suspect = if syndrome == 0 { entry_end..end } else { at..end };
        if !self.unwritten(suspect.start, suspect.end) {
            return Err(format!("the entry at position {position} is not what was written"));
        }
        if syndrome != 0 && !self.ends_early(end) && is_one_bit(syndrome, entry.len()) {
            return Err(format!("one bit of the entry at position {position} was changed"));
        }
        Ok(())
    }

    fn behind_lost_header(&self, at: usize, position: Position) -> Result<Option<(usize, Position)>, String> {
        if !self.unwritten(at, at + FRAME_HEADER_BYTES) {
            return Err(format!("the frame of position {position} is not what was written"));
        }
        let later = position.0 + 1..position.0 + GROUP_ENTRIES_MAX as u64;
        Ok(frame::search(self.bytes, at + 1, self.uid, later))
    }

    fn ends_early(&self, end: usize) -> bool {
        self.present < self.bytes.len() && end > self.present
    }

    /// Whether part of this stretch never reached the disk: the file ends before it does, or one of its sectors is
    /// zero from the first doubtful byte on. (It is not enough that the stretch itself is zero there: what shares the
    /// sector was written with it.)
    fn unwritten(&self, start: usize, end: usize) -> bool {
        let sectors = start / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES;
        self.ends_early(end)
            || sectors.into_iter().any(|sector| {
                let from = (sector * SECTOR_BYTES).max(self.offset);
                let part = self.bytes.get(from..self.bytes.len().min((sector + 1) * SECTOR_BYTES));
                part.is_some_and(|p| !p.is_empty() && p.iter().all(|b| *b == 0))
            })
    }
}

/// Whether one flipped bit of an entry of so many bytes changes its CRC by `syndrome`. An event may hold a whole
/// sector of zeros by nature; this tells a flipped bit in it from a tear.
fn is_one_bit(syndrome: u32, entry_bytes: usize) -> bool {
    const REVERSED_POLYNOMIAL: u32 = 0xEDB8_8320;
    // The change that a flip of the last byte's highest bit makes; every earlier bit's is one step further.
    let mut change = REVERSED_POLYNOMIAL;
    for _ in 0..entry_bytes * 8 {
        if change == syndrome {
            return true;
        }
        change = (change >> 1) ^ if change & 1 == 1 { REVERSED_POLYNOMIAL } else { 0 };
    }
    false
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
