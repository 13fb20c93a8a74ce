//! The entries of a log as they stand in its files, one after the other: for whoever makes something of all of them without
//! the server, or beside it. Takes no lock. Each frame is held against its CRCs; whether they are the entries that were
//! written is for the reader to find out, from a root that was signed.

use std::io;
use std::path::Path;

use super::frame::{FRAME_HEADER_BYTES, FrameHeader};
use super::header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::packed::block::{self, Look};
use super::source::Source;
use super::walk::{Segment, range};
use super::{Meter, Progress, Reached, names};
use crate::disk::Disk;
use crate::log::Damage;
use crate::types::{LedgerUid, Position};

/// Why not all of the entries could be read.
#[derive(Debug, thiserror::Error)]
pub enum NotRead {
    /// The bytes of an entry are not what was written.
    #[error("{0}")]
    Damaged(Damage),
    /// The log ends earlier.
    #[error("the log ends at position {0}")]
    Ends(Position),
    /// The operating system refused.
    #[error("the log can't be read: {0}")]
    Io(#[from] io::Error),
}

/// Gives the entries of the ledger in `ledger_dir`, from the first up to but not including that at `end`.
///
/// # Errors
/// [`NotRead`], and what `each` says.
pub fn each_entry<E: From<NotRead>>(
    disk: &dyn Disk,
    ledger_dir: &Path,
    end: Position,
    progress: &dyn Progress,
    each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let segments = names::segments(disk, ledger_dir).map_err(NotRead::Io)?;
    let meter = Meter::new(progress);
    meter.expect(super::log_bytes(disk, ledger_dir));
    let reached = Reached::new(&meter);
    let mut reading = Reading { next: Position(0), end, each };
    for segment in segments.iter().take_while(|segment| segment.named < end) {
        if segment.named != reading.next {
            let due = reading.next.min(segment.named)..reading.next.max(segment.named);
            let reason = format!("no segment, or more than one, holds {}", range(due.start, due.end));
            return Err(damaged(segment, due.start, 0, &reason).into());
        }
        let path = ledger_dir.join(&*segment.file);
        let source = Source::open(disk, &path, segment.named, &reached).map_err(NotRead::Io)?;
        reading.segment(source, segment)?;
    }
    match reading.next < end {
        true => Err(NotRead::Ends(reading.next).into()),
        false => Ok(()),
    }
}

fn damaged(segment: &Segment, position: Position, offset: u64, reason: &str) -> NotRead {
    NotRead::Damaged(Damage { position, file: segment.file.to_string(), offset, reason: reason.to_owned() })
}

struct Reading<F> {
    next: Position,
    end: Position,
    each: F,
}

impl<F> Reading<F> {
    fn segment<E: From<NotRead>>(&mut self, mut source: Source<'_>, segment: &Segment) -> Result<(), E>
    where
        F: FnMut(&[u8]) -> Result<(), E>,
    {
        let raw = source.read(0, SEGMENT_HEADER_BYTES as usize).map_err(NotRead::Io)?;
        let header = SegmentHeader::read(raw)
            .map_err(|(offset, reason)| damaged(segment, segment.named, offset, &reason))?;
        if !header.known() || header.first != segment.named {
            let reason = "the segment's header is not one that this program knows, or of another segment";
            return Err(damaged(segment, segment.named, 8, reason).into());
        }
        let end = segment.follower.map_or(self.end, |follower| follower.min(self.end));
        match header.is_plain() {
            true => self.plain(&mut source, segment, header.uid, end),
            false => self.packed(&mut source, segment, header.uid, end),
        }
    }

    fn plain<E: From<NotRead>>(
        &mut self,
        source: &mut Source<'_>,
        segment: &Segment,
        uid: LedgerUid,
        end: Position,
    ) -> Result<(), E>
    where
        F: FnMut(&[u8]) -> Result<(), E>,
    {
        let mut offset = SEGMENT_HEADER_BYTES;
        while self.next < end {
            let head = source.read(offset, FRAME_HEADER_BYTES as usize).map_err(NotRead::Io)?;
            let Some(header) = FrameHeader::read(head) else {
                return self.no_frame(source, segment, offset);
            };
            let frame = source.read(offset, header.frame_bytes() as usize).map_err(NotRead::Io)?;
            let Some(entry) = entry(&header, frame, uid, self.next) else {
                let reason = "the frame that begins here is not what was written";
                return Err(damaged(segment, self.next, offset, reason).into());
            };
            (self.each)(entry)?;
            self.next = self.next.next();
            offset += header.frame_bytes();
        }
        Ok(())
    }

    /// The log may end where nothing but zeros is left.
    fn no_frame<E: From<NotRead>>(
        &self,
        source: &mut Source<'_>,
        segment: &Segment,
        offset: u64,
    ) -> Result<(), E> {
        let open = segment.follower.is_none() && source.zero(offset, u64::MAX).map_err(NotRead::Io)?;
        if open {
            return Err(NotRead::Ends(self.next).into());
        }
        let until = segment.follower.unwrap_or(self.next).max(self.next.next());
        Err(damaged(segment, self.next, offset, &format!("{} missing", range(self.next, until))).into())
    }

    fn packed<E: From<NotRead>>(
        &mut self,
        source: &mut Source<'_>,
        segment: &Segment,
        uid: LedgerUid,
        end: Position,
    ) -> Result<(), E>
    where
        F: FnMut(&[u8]) -> Result<(), E>,
    {
        let mut offset = SEGMENT_HEADER_BYTES;
        while self.next < end {
            let look = block::look(source, offset, uid, self.next).map_err(NotRead::Io)?;
            let Look::Sound(claim, frames) = look else {
                let reason = "the block that begins here is not what was written";
                return Err(damaged(segment, self.next, offset, reason).into());
            };
            let mut rest = frames.as_slice();
            while self.next < end && !rest.is_empty() {
                let header = FrameHeader::read(rest);
                let found = header.and_then(|header| Some((header, entry(&header, rest, uid, self.next)?)));
                let Some((header, entry)) = found else {
                    let reason = "a frame in this block is not what was written";
                    return Err(damaged(segment, self.next, offset, reason).into());
                };
                (self.each)(entry)?;
                self.next = self.next.next();
                rest = rest.get(header.frame_bytes() as usize..).unwrap_or_default();
            }
            offset += claim.bytes();
        }
        Ok(())
    }
}

/// The entry of the frame at the start of `bytes`, if that is as it was written for this place.
fn entry<'a>(header: &FrameHeader, bytes: &'a [u8], uid: LedgerUid, position: Position) -> Option<&'a [u8]> {
    let frame = bytes.get(..header.frame_bytes() as usize)?;
    let entry = header.entry(frame);
    let sound = header.sound(uid, position) && header.holds(entry) && header.ended(frame);
    sound.then_some(entry)
}
