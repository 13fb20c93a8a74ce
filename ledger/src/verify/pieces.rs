//! A log, cut into pieces of whole frames, or of whole blocks of packed ones, that can be judged each by itself.
//!
//! Both are only stepped over here, by the lengths that they claim. A length that is not true makes a piece in which
//! some frame or block does not fit its CRC.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::Reached;
use super::frame::{FRAME_EXTRA_BYTES, FRAME_MAGIC};
use super::header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::packed::block::{BLOCK_HEADER_BYTES, block_bytes};
use super::walk::Segment;
use crate::disk::{Disk, DiskFile, Open};

/// Some frames of a segment, or blocks of a packed one, one behind the other.
pub(super) struct Piece {
    /// Which of the segments, counted from 0.
    pub(super) segment: usize,
    pub(super) header: SegmentHeader,
    /// The offset of the first frame or block.
    pub(super) offset: u64,
    /// What was read there; only the first `framed` bytes belong to the piece.
    pub(super) bytes: Vec<u8>,
    pub(super) framed: usize,
    /// Nothing follows in this segment but its end.
    pub(super) last: bool,
}

impl Piece {
    /// The frames or blocks.
    pub(super) fn framed(&self) -> &[u8] {
        self.bytes.get(..self.framed).unwrap_or_default()
    }

    /// The offset behind the last frame or block.
    pub(super) fn behind(&self) -> u64 {
        self.offset + self.framed as u64
    }
}

/// A segment that cannot be cut: a header that is not as it should be, or a file that cannot be read.
pub(super) struct Uncut;

/// Cuts segments, one after the other.
pub(super) struct Pieces<'a> {
    pub(super) disk: &'a dyn Disk,
    /// The ledger's directory.
    pub(super) dir: &'a Path,
    pub(super) segments: &'a [Segment],
    pub(super) reached: &'a Reached<'a>,
    pub(super) piece_bytes: usize,
    /// The segment that is being cut.
    pub(super) segment: usize,
    pub(super) reading: Option<Reading>,
}

/// A segment that is being cut.
pub(super) struct Reading {
    file: Arc<dyn DiskFile>,
    header: SegmentHeader,
    offset: u64,
}

/// Where a piece ends.
enum Cut {
    /// Behind these bytes, and the frame that follows claims to have so many.
    Before { framed: usize, next_bytes: usize },
    /// Behind these bytes, where no frame begins.
    End { framed: usize },
}

impl Pieces<'_> {
    /// The next piece, read into `bytes`; `None` behind the last one.
    pub(super) fn next(&mut self, bytes: Vec<u8>) -> Option<Result<Piece, Uncut>> {
        let segment = self.segments.get(self.segment)?;
        let piece = self.cut(segment, bytes).map_err(|_| Uncut);
        match &piece {
            Ok(piece) if !piece.last => {}
            Ok(_) => (self.segment, self.reading) = (self.segment + 1, None),
            // Whatever follows will be judged when this has been.
            Err(_) => self.segment = self.segments.len(),
        }
        Some(piece)
    }

    fn cut(&mut self, segment: &Segment, mut bytes: Vec<u8>) -> io::Result<Piece> {
        self.reached.goes_on()?;
        let reading = match &mut self.reading {
            Some(reading) => reading,
            None => self.reading.insert(Reading::begin(self.disk, self.dir, segment)?),
        };
        let offset = reading.offset;
        let (framed, last) = reading.frames(&mut bytes, self.piece_bytes)?;
        reading.offset += framed as u64;
        self.reached.up_to(segment.named, reading.offset);
        Ok(Piece { segment: self.segment, header: reading.header, offset, bytes, framed, last })
    }
}

impl Reading {
    fn begin(disk: &dyn Disk, dir: &Path, segment: &Segment) -> io::Result<Self> {
        let file = disk.open(&dir.join(&*segment.file), Open::Read)?;
        let mut raw = [0; SEGMENT_HEADER_BYTES as usize];
        file.read_at(&mut raw, 0)?;
        let header =
            SegmentHeader::read(&raw).ok().filter(|header| header.faults(&raw, segment.named).is_empty());
        let header = header.ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { file, header, offset: SEGMENT_HEADER_BYTES })
    }

    /// Reads as many frames, or blocks, as fit into `wanted` bytes, or one that does not fit; and whether they are the last.
    fn frames(&self, bytes: &mut Vec<u8>, mut wanted: usize) -> io::Result<(usize, bool)> {
        let step = if self.header.is_plain() { frame_step } else { block_step };
        loop {
            bytes.resize(wanted, 0);
            let filled = self.file.read_at(bytes, self.offset)?;
            match cut(bytes.get(..filled).unwrap_or_default(), step) {
                Cut::Before { framed: 0, next_bytes } if filled == wanted => {
                    wanted = next_bytes.max(wanted + 1)
                }
                Cut::Before { framed, .. } => return Ok((framed, filled < wanted)),
                Cut::End { framed } => return Ok((framed, true)),
            }
        }
    }
}

/// How far it is to what comes next.
enum Step {
    /// So many bytes.
    Bytes(usize),
    /// That takes so many bytes to tell.
    Unknown(usize),
    /// Nothing begins here.
    End,
}

/// Steps over whole frames or blocks.
fn cut(bytes: &[u8], step: fn(&[u8]) -> Step) -> Cut {
    let mut framed = 0;
    loop {
        let rest = bytes.get(framed..).unwrap_or_default();
        match step(rest) {
            Step::End => return Cut::End { framed },
            Step::Unknown(next_bytes) => return Cut::Before { framed, next_bytes },
            Step::Bytes(next_bytes) if next_bytes > rest.len() => return Cut::Before { framed, next_bytes },
            Step::Bytes(bytes) => framed += bytes,
        }
    }
}

fn frame_step(rest: &[u8]) -> Step {
    let Some([t, l, low, high]) = rest.first_chunk() else {
        return Step::Unknown(FRAME_EXTRA_BYTES as usize);
    };
    let entry_bytes = u16::from_le_bytes([*low, *high]);
    match [*t, *l] == FRAME_MAGIC && entry_bytes > 0 {
        true => Step::Bytes(FRAME_EXTRA_BYTES as usize + usize::from(entry_bytes)),
        false => Step::End,
    }
}

fn block_step(rest: &[u8]) -> Step {
    match block_bytes(rest) {
        Some(bytes) => Step::Bytes(bytes),
        None if rest.len() < BLOCK_HEADER_BYTES as usize => Step::Unknown(BLOCK_HEADER_BYTES as usize),
        None => Step::End,
    }
}
