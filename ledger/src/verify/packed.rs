//! A packed segment, read from its first byte to its last. It was whole and durable before it had its name, so no crash
//! tears it: whatever is not as it was written is damage.
//!
//! The frames in its blocks are judged as all frames are. What is wrong with one is reported at the block's offset.

use std::io;
use std::sync::Arc;

use super::chain::{Place, after};
use super::footer::{Facts, frontier};
use super::frame::{self, Frame, FrameHeader};
use super::header::{PACKED_VERSION, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::source::Source;
use super::walk::{Batch, Walk, known};
use crate::types::{LedgerUid, Position};

pub(super) mod block;
mod footer;

use block::Look;
use footer::Claim;
pub(super) use footer::{Expected, FIXED_BYTES, bytes_without_tree};

/// Whether this is a packed segment. Where its header cannot tell, its end does.
pub(crate) fn is_packed(source: &mut Source<'_>) -> io::Result<bool> {
    match SegmentHeader::read(source.read(0, SEGMENT_HEADER_BYTES as usize)?) {
        Ok(header) => Ok(header.version == PACKED_VERSION),
        Err(_) => match footer::hinted(source)? {
            Some(start) => footer::begins(source, start),
            None => Ok(false),
        },
    }
}

/// The first frame of a packed segment whose first position is `first`, and the ledger that its footer names.
pub(super) fn first_frame(
    source: &mut Source<'_>,
    first: Position,
) -> io::Result<(Option<Box<Frame>>, Option<LedgerUid>)> {
    let told = match footer::hinted(source)? {
        Some(start) => Claim::read(source, start)?.map(|claim| claim.uid),
        None => None,
    };
    let header = SegmentHeader::read(source.read(0, SEGMENT_HEADER_BYTES as usize)?);
    let Some(uid) = header.map(|header| header.uid).ok().or(told) else { return Ok((None, told)) };
    let Look::Sound(_, frames) = block::look(source, SEGMENT_HEADER_BYTES, uid, first)? else {
        return Ok((None, told));
    };
    Ok((next_frame(&frames, Some(uid), first), told))
}

/// The frame at the start of `frames`, if it is that of a position.
fn next_frame(frames: &[u8], uid: Option<LedgerUid>, position: Position) -> Option<Box<Frame>> {
    let bytes = FrameHeader::read(frames)?.frame_bytes();
    match frame::look(frames.get(..usize::try_from(bytes).ok()?)?, uid, position) {
        frame::Look::Frame(frame) if frame.position == position => Some(frame),
        _ => None,
    }
}

/// Finds the frame of a position in a packed segment, and the offset of the block that holds it, by what the blocks say
/// of themselves.
pub(crate) fn find_frame(
    source: &mut Source<'_>,
    first: Position,
    position: Position,
) -> io::Result<Option<(u64, Vec<u8>)>> {
    let (_, told) = first_frame(source, first)?;
    let header = SegmentHeader::read(source.read(0, SEGMENT_HEADER_BYTES as usize)?);
    let Some(uid) = header.map(|header| header.uid).ok().or(told) else { return Ok(None) };
    let (mut offset, mut at) = (SEGMENT_HEADER_BYTES, first);
    loop {
        let look = block::look(source, offset, uid, at)?;
        let (Look::Sound(claim, _) | Look::Broken(claim)) = &look else { return Ok(None) };
        let next = after(at, u64::from(claim.entries));
        if position < next {
            let Look::Sound(_, frames) = look else { return Ok(None) };
            return Ok(frame_in(&frames, at, position).map(|frame| (offset, frame)));
        }
        (offset, at) = (offset + claim.bytes(), next);
    }
}

/// The frame of a position, among frames of which the first is that of `first`.
fn frame_in(frames: &[u8], first: Position, position: Position) -> Option<Vec<u8>> {
    let mut rest = frames;
    for _ in first.0..position.0 {
        rest = rest.get(usize::try_from(FrameHeader::read(rest)?.frame_bytes()).ok()?..)?;
    }
    Some(rest.get(..usize::try_from(FrameHeader::read(rest)?.frame_bytes()).ok()?)?.to_vec())
}

/// What is known of a packed segment while it is read.
#[derive(Default)]
struct Packed {
    starts: Vec<(u32, u32)>,
    /// The bytes of the frames.
    framed: u64,
    /// What the footer says, where that fits its CRC, and where it begins.
    claim: Option<Claim>,
    footer: Option<u64>,
}

impl Walk<'_> {
    /// Judges the blocks of a packed segment and its footer; its header has been.
    pub(super) fn packed(&mut self) -> io::Result<()> {
        let footer = footer::hinted(&mut self.source)?;
        let claim = match footer {
            Some(start) => Claim::read(&mut self.source, start)?,
            None => None,
        };
        let mut packed = Packed { claim, footer, ..Packed::default() };
        while !self.at_packed_end(&packed)? {
            let before = self.findings.listed.len();
            let goes_on = self.block(&mut packed)?;
            self.report_at_block(before);
            let Some(next) = goes_on else { break };
            self.offset = next;
        }
        self.close_packed(packed)
    }

    fn at_packed_end(&mut self, packed: &Packed) -> io::Result<bool> {
        let told = packed.footer == Some(self.offset) || self.offset >= self.source.len();
        Ok(told || footer::begins(&mut self.source, self.offset)?)
    }

    /// Judges the block that is due. Where the next one stands; `None` where nobody can tell.
    fn block(&mut self, packed: &mut Packed) -> io::Result<Option<u64>> {
        let (first, offset) = (self.chain.next, self.offset);
        let uid = self.uid.unwrap_or_default();
        match block::look(&mut self.source, offset, uid, first)? {
            Look::Sound(claim, frames) => {
                packed.starts.push((number(first, self.first), u32::try_from(offset).unwrap_or(u32::MAX)));
                packed.framed += frames.len() as u64;
                self.block_frames(&frames, after(first, u64::from(claim.entries)));
                Ok(Some(offset + claim.bytes()))
            }
            look => {
                self.damage(first, offset, "the block that begins here is not what was written");
                self.whole = false;
                self.batch = Batch::Unknown;
                self.behind_broken(packed, &look)
            }
        }
    }

    /// Judges the frames of a block, which must be those of the positions up to `end`.
    fn block_frames(&mut self, frames: &[u8], end: Position) {
        let mut rest = frames;
        while self.chain.next < end {
            let Some(frame) = next_frame(rest, self.uid, self.chain.next) else { break };
            rest = rest.get(frame.header.frame_bytes() as usize..).unwrap_or_default();
            self.entry(&frame);
            self.step_batch(&frame.header);
            let place = Place { file: Arc::clone(&self.segment.file), offset: self.offset };
            self.take(&frame, place);
        }
        if self.chain.next < end || !rest.is_empty() {
            let reason = "a frame in this block is not what was written";
            self.damage(self.chain.next, self.offset, reason);
            self.whole = false;
            self.batch = Batch::Unknown;
            self.chain.skip_to(end);
        }
    }

    /// Where it goes on behind a block that is not what was written: where the footer says or, where that is not
    /// believed, where the block says, if what stands there proves it.
    fn behind_broken(&mut self, packed: &Packed, look: &Look) -> io::Result<Option<u64>> {
        if let (Some(claim), Some(start)) = (&packed.claim, packed.footer) {
            let later = claim.starts.iter().find(|(_, offset)| u64::from(*offset) > self.offset);
            let (number, next) = later.map_or((claim.entries, start), |(n, o)| (u64::from(*n), (*o).into()));
            self.chain.skip_to(after(self.first, number).max(self.chain.next));
            return Ok(Some(next));
        }
        if let Look::Broken(claim) = look {
            let (next, position) =
                (self.offset + claim.bytes(), after(self.chain.next, u64::from(claim.entries)));
            let uid = self.uid.unwrap_or_default();
            let proven = footer::begins(&mut self.source, next)?
                || matches!(block::look(&mut self.source, next, uid, position)?, Look::Sound(..));
            if proven {
                self.chain.skip_to(position);
                return Ok(Some(next));
            }
        }
        let lost = after(self.chain.next, 1);
        self.chain.skip_to(self.segment.follower.map_or(lost, |follower| follower.max(self.chain.next)));
        Ok(None)
    }

    /// An entry has no offset of its own in a packed file: the findings since `before` are those of this block.
    fn report_at_block(&mut self, before: usize) {
        for finding in self.findings.listed.iter_mut().skip(before) {
            if *finding.damage.file == *self.segment.file {
                finding.damage.offset = finding.damage.offset.min(self.offset);
            }
        }
    }

    fn close_packed(&mut self, packed: Packed) -> io::Result<()> {
        let offset = self.offset;
        self.footer = Some(offset);
        self.close_batch()?;
        if self.whole && !packed.starts.is_empty() {
            return self.compare_packed(packed, offset);
        }
        if packed.starts.is_empty() && self.whole {
            self.damage(self.first, offset, "the segment holds no block");
        }
        match (packed.claim, packed.footer) {
            (Some(claim), Some(start)) => self.question_packed(&claim, start),
            _ => {
                self.damage(self.first, offset, "the footer does not fit its CRC");
                Ok(())
            }
        }
    }

    /// Every entry was read: the footer must be what they say.
    fn compare_packed(&mut self, packed: Packed, start: u64) -> io::Result<()> {
        let without = footer::bytes_without_tree(packed.starts.len(), self.contents.ids.len());
        let place = (start, footer::FIXED_BYTES as u64);
        let tree = frontier(&mut self.source, place, without, self.chain.tree.as_ref())?;
        let facts = Facts {
            first: self.first,
            link: known(self.chain.link),
            recorded_at: self.chain.recorded_at,
            epoch: self.chain.epoch,
            end: SEGMENT_HEADER_BYTES + packed.framed,
            tree,
        };
        let keys = self.contents.ids.iter().map(|(key, _)| *key).collect();
        let expected = Expected { facts, uid: self.uid.unwrap_or_default(), starts: packed.starts, keys };
        for (position, offset, reason) in expected.differences(&mut self.source, start)? {
            self.damage(position, offset, reason);
        }
        Ok(())
    }

    /// Not every entry could be read: asks the footer what it knows.
    fn question_packed(&mut self, claim: &Claim, start: u64) -> io::Result<()> {
        let end = after(claim.first, claim.entries);
        if claim.first != self.first {
            self.damage(self.first, start + 20, "the footer's first position is not the segment's");
        }
        self.question_end(end, claim.link, start);
        for (key, number) in std::mem::take(&mut self.contents.ids) {
            if claim.key(&mut self.source, u64::from(number))? != Some(key) {
                let position = after(self.first, u64::from(number));
                self.damage(position, start, "the footer does not list the entry's event id");
            }
        }
        self.take_claim(claim.link, claim.recorded_at, claim.epoch, end);
        Ok(())
    }
}

/// The number of a position in its segment.
fn number(position: Position, first: Position) -> u32 {
    u32::try_from(position.0.saturating_sub(first.0)).unwrap_or(u32::MAX)
}
