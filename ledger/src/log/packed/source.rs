//! The segment that is to be packed, read once more from its first byte to its last: nothing is packed that is not
//! what was written.

use std::sync::Arc;

use crate::disk::DiskFile;
use crate::entry::{self, Header, IdKey};
use crate::log::frame::{self, FRAME_HEADER_BYTES, Found, FrameHeader};
use crate::log::index::{End, Index};
use crate::log::read::read_range;
use crate::log::segment::{Form, HEADER_BYTES, SegmentHeader, align, reported};
use crate::log::view::Sealed;
use crate::log::{Damage, footer};
use crate::tree::Frontier;
use crate::types::{Position, Time};

use super::PackError;

/// How much is read at once.
const CHUNK_BYTES: u64 = 256 * 1024;

/// A sealed segment that is not packed, being read.
pub(super) struct Source {
    pub(super) header: SegmentHeader,
    /// The entries that were read so far.
    pub(super) index: Index,
    file: Arc<dyn DiskFile>,
    file_bytes: u64,
    sealed: Arc<Sealed>,
    /// Behind the last frame.
    end: u64,
    last_batch: (u16, u16),
    chunk: Vec<u8>,
    chunk_offset: u64,
}

/// One entry of it.
pub(super) struct Entry<'a> {
    pub(super) position: Position,
    pub(super) frame: &'a [u8],
}

impl Source {
    /// Reads and checks the header. `end` is where the frames end, `tree` that of the entries before the segment.
    pub(super) fn new(
        file: Arc<dyn DiskFile>,
        sealed: Arc<Sealed>,
        end: u64,
        tree: Option<Frontier>,
    ) -> Result<Self, PackError> {
        let file_bytes = file.len()?;
        let raw = read_range(file.as_ref(), 0, HEADER_BYTES)?;
        let damage = |reason| damage(&sealed, sealed.first, 0, reason);
        let header = SegmentHeader::decode(&raw)
            .map_err(|_| damage("the segment's header is not what was written"))?;
        if header.first != sealed.first || header.uid != sealed.uid || header.form != Form::Plain {
            return Err(damage("the segment's header is not the one with which it was opened"));
        }
        let before = End {
            next: sealed.first,
            offset: HEADER_BYTES,
            link: header.previous,
            recorded_at: Time::default(),
            epoch: 0,
        };
        Ok(Self {
            header,
            index: Index::new(before, tree),
            file,
            file_bytes,
            sealed,
            end,
            last_batch: (0, 1),
            chunk: Vec::new(),
            chunk_offset: 0,
        })
    }

    /// The file, for reports.
    pub(super) fn name(&self) -> String {
        reported(&self.sealed.name)
    }

    /// Whether a packed file begins with the header that it should have.
    pub(super) fn has_header(&self, packed: &dyn DiskFile) -> std::io::Result<bool> {
        let header = SegmentHeader { form: Form::Packed, ..self.header };
        Ok(read_range(packed, 0, HEADER_BYTES)? == header.encode())
    }

    fn damaged(&self, offset: u64, reason: &str) -> PackError {
        damage(&self.sealed, self.index.end.next, offset, reason)
    }

    /// The next entry; `None` behind the last.
    pub(super) fn next(&mut self) -> Result<Option<Entry<'_>>, PackError> {
        let End { next: position, offset, .. } = self.index.end;
        if offset >= self.end {
            return Ok(None);
        }
        self.fill(offset, FRAME_HEADER_BYTES as u64)?;
        let uid = self.header.uid;
        let broken = || damage(&self.sealed, position, offset, "the frame is not what was written");
        let bytes = FrameHeader::decode(self.here(offset), uid, position).ok_or_else(broken)?.frame_bytes();
        self.fill(offset, bytes as u64)?;
        let at = usize::try_from(offset - self.chunk_offset).unwrap_or(usize::MAX);
        let frame = self.chunk.get(at..at.saturating_add(bytes)).unwrap_or_default();
        let Found::Whole(header, entry) = frame::look(frame, uid, position) else {
            return Err(self.damaged(offset, "the entry is not what was written"));
        };
        let decoded = self.continues(&header, entry).map_err(|reason| self.damaged(offset, reason))?;
        let key = IdKey::of(&decoded.emitter, &decoded.event_id);
        self.index.push(&decoded, key, entry::link(entry), offset, bytes);
        self.index.grow(entry);
        self.last_batch = header.batch;
        Ok(Some(Entry { position, frame: self.chunk.get(at..at + bytes).unwrap_or_default() }))
    }

    fn continues(&self, frame: &FrameHeader, entry: &[u8]) -> Result<Header, &'static str> {
        let (header, _) = entry::decode(entry).map_err(|_| "the entry's header cannot be read")?;
        if header.uid != self.header.uid || header.position != self.index.end.next {
            return Err("the entry belongs elsewhere");
        }
        if header.previous != self.index.end.link {
            return Err("the entry does not carry the link of the one before");
        }
        let (index, count) = self.last_batch;
        let expected = if index + 1 < count { (index + 1, count) } else { (0, frame.batch.1) };
        if frame.batch == expected { Ok(header) } else { Err("the entry's place in its batch is wrong") }
    }

    fn here(&self, offset: u64) -> &[u8] {
        let at = usize::try_from(offset.saturating_sub(self.chunk_offset)).unwrap_or(usize::MAX);
        self.chunk.get(at..).unwrap_or_default()
    }

    /// Holds the bytes from `offset` on, at least so many of them where the frames go on for as long.
    fn fill(&mut self, offset: u64, bytes: u64) -> Result<(), PackError> {
        let held = self.chunk_offset + self.chunk.len() as u64;
        if offset < self.chunk_offset || (offset + bytes).min(self.end) > held {
            let end = (offset + bytes.max(CHUNK_BYTES)).min(self.end);
            self.chunk = read_range(self.file.as_ref(), offset, end)?;
            self.chunk_offset = offset;
        }
        Ok(())
    }

    /// Checks, once all entries were read, that the segment ends as it should, and with the footer that they give it.
    pub(super) fn close(&self) -> Result<(), PackError> {
        let end = self.index.end;
        let whole = end.next == self.sealed.next && end.offset == self.end;
        if !whole || self.last_batch.0 + 1 != self.last_batch.1 {
            return Err(self.damaged(end.offset, "the segment does not end where its footer says"));
        }
        let start = align(end.offset);
        let padding = read_range(self.file.as_ref(), end.offset, start)?;
        if let Some(at) = padding.iter().position(|b| *b != 0) {
            return Err(self.damaged(end.offset + at as u64, "a byte before the footer is not zero"));
        }
        if read_range(self.file.as_ref(), start, self.file_bytes)? != footer::encode(&self.index) {
            return Err(self.damaged(start, "the segment's footer is not what was written"));
        }
        Ok(())
    }
}

fn damage(sealed: &Sealed, position: Position, offset: u64, reason: &str) -> PackError {
    let file = reported(&sealed.name);
    PackError::Damaged(Damage { position, file, offset, reason: reason.to_owned() })
}
