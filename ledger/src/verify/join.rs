//! Joins judged pieces in the order of the log: each must continue the one before, and the end of each segment must be
//! what its entries say. What is not joined is left to the walk.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::Reached;
use super::chain::{Chain, Place};
use super::footer::{self, Facts, frontier};
use super::header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::packed::{self, Expected};
use super::pieces::{Piece, Uncut};
use super::seal;
use super::sought::{Noted, Sought};
use super::sound::{self, Gives, Stretch};
use super::source::{Source, sector_up};
use super::tree::Subtrees;
use super::walk::{Segment, known};
use crate::disk::Disk;
use crate::types::Position;

/// What a thread found out about a piece.
pub(super) struct Judged {
    segment: usize,
    header: SegmentHeader,
    /// `None` where the piece is empty.
    stretch: Option<Stretch>,
    /// The offset behind the piece.
    behind: u64,
    last: bool,
}

impl Judged {
    /// Judges a piece; `None` where it is not sound, or could not be cut.
    pub(super) fn of(piece: Result<&Piece, &Uncut>, judge: &mut sound::Judge<'_>) -> Option<Self> {
        let piece = piece.ok()?;
        let stretch = match piece.framed {
            0 => None,
            _ => Some(judge.judge(piece)?),
        };
        let (segment, header) = (piece.segment, piece.header);
        Some(Self { segment, header, stretch, behind: piece.behind(), last: piece.last })
    }
}

/// The log so far.
pub(super) struct Join<'a> {
    pub(super) disk: &'a dyn Disk,
    /// The ledger's directory.
    pub(super) dir: &'a Path,
    pub(super) segments: &'a [Segment],
    pub(super) reached: &'a Reached<'a>,
    /// The chain behind the segments that are accepted.
    pub(super) chain: Chain,
    /// How many segments are accepted.
    pub(super) accepted: usize,
    begun: Option<Begun>,
    /// Emptied for each segment, but not given back.
    keys: Vec<u64>,
    offsets: Vec<u64>,
    starts: Vec<(u32, u32)>,
    sought: &'a Sought,
    /// What was found in the segments that are accepted.
    pub(super) noted: Noted,
}

/// A segment of which some pieces have been joined.
struct Begun {
    header: SegmentHeader,
    gives: Gives,
    /// The offset of the last frame, or of its block.
    last: Option<u64>,
    /// The bytes of the frames.
    framed: u64,
    tree: Option<Subtrees>,
    noted: Noted,
}

impl<'a> Join<'a> {
    pub(super) fn new(
        disk: &'a dyn Disk,
        dir: &'a Path,
        segments: &'a [Segment],
        reached: &'a Reached<'a>,
        chain: Chain,
        sought: &'a Sought,
    ) -> Self {
        let (keys, offsets, starts) = (Vec::new(), Vec::new(), Vec::new());
        let noted = Noted::default();
        Self {
            disk,
            dir,
            segments,
            reached,
            chain,
            accepted: 0,
            begun: None,
            keys,
            offsets,
            starts,
            sought,
            noted,
        }
    }

    /// Takes the next piece; `None` where it is not accepted. Then no other is taken.
    pub(super) fn take(&mut self, piece: Judged) -> Option<()> {
        let mut begun = match self.begun.take() {
            Some(begun) => begun,
            None => self.begin(piece.header)?,
        };
        if let Some(stretch) = piece.stretch {
            begun.gives.fits(&stretch.requires).then_some(())?;
            (begun.gives, begun.last) = (stretch.gives, Some(stretch.last));
            self.keys.extend(stretch.keys);
            self.offsets.extend(stretch.offsets);
            let first = begun.header.first;
            self.starts.extend(stretch.starts.iter().map(|start| listed(first, *start)));
            begun.framed += stretch.framed;
            self.sought.join(begun.tree.as_mut(), &stretch.tree, stretch.marks, &mut begun.noted);
        }
        if !piece.last {
            self.begun = Some(begun);
            return Some(());
        }
        let segment = self.segments.get(piece.segment)?;
        let complete = begun.gives.inside.is_none();
        let ended = complete && self.ended(segment, &begun, piece.behind).unwrap_or(false);
        ended.then(|| self.accept(segment, begun))
    }

    /// The segment must begin where the one before ended.
    fn begin(&mut self, header: SegmentHeader) -> Option<Begun> {
        let chain = &self.chain;
        let ours = chain.uid.is_none_or(|uid| uid == header.uid);
        let continues = header.first == chain.next && Some(header.link_before) == chain.link;
        self.keys.clear();
        self.offsets.clear();
        self.starts.clear();
        let gives = Gives {
            next: chain.next,
            link: header.link_before,
            recorded_at: chain.recorded_at,
            epoch: chain.epoch,
            inside: None,
        };
        let tree = chain.tree.clone();
        (ours && continues).then_some(Begun {
            header,
            gives,
            last: None,
            framed: 0,
            tree,
            noted: Noted::default(),
        })
    }

    /// Whether the segment ends behind its last frame as it should: sealed, or with zeros up to its capacity.
    fn ended(&self, segment: &Segment, begun: &Begun, behind: u64) -> io::Result<bool> {
        let path = self.dir.join(&*segment.file);
        let mut source = Source::open(self.disk, &path, segment.named, self.reached)?;
        if !begun.header.is_plain() {
            return self.packed_ended(&mut source, begun, behind);
        }
        if segment.follower.is_none()
            && source.len() == begun.header.capacity
            && source.zero(behind, u64::MAX)?
        {
            return Ok(true);
        }
        let start = sector_up(behind);
        let without = footer::bytes_without_tree(self.keys.len() as u64);
        let place = (start, footer::FIXED_BYTES as u64);
        let facts = Facts {
            first: begun.header.first,
            link: begun.gives.link,
            recorded_at: begun.gives.recorded_at,
            epoch: begun.gives.epoch,
            end: behind,
            tree: frontier(&mut source, place, without, begun.tree.as_ref())?,
        };
        Ok(begun.last.is_some()
            && source.zero(behind, start)?
            && seal::stands(&mut source, start, &facts, &self.keys, &self.offsets)?)
    }

    /// Whether the footer of a packed segment stands behind its last block, as its entries and blocks say.
    fn packed_ended(&self, source: &mut Source<'_>, begun: &Begun, behind: u64) -> io::Result<bool> {
        let without = packed::bytes_without_tree(self.starts.len(), self.keys.len());
        let place = (behind, packed::FIXED_BYTES as u64);
        let facts = Facts {
            first: begun.header.first,
            link: begun.gives.link,
            recorded_at: begun.gives.recorded_at,
            epoch: begun.gives.epoch,
            end: SEGMENT_HEADER_BYTES + begun.framed,
            tree: frontier(source, place, without, begun.tree.as_ref())?,
        };
        let uid = begun.header.uid;
        let expected = Expected { facts, uid, starts: self.starts.clone(), keys: self.keys.clone() };
        Ok(begun.last.is_some() && expected.stands(source, behind)?)
    }

    fn accept(&mut self, segment: &Segment, begun: Begun) {
        let chain = &mut self.chain;
        chain.uid = Some(begun.header.uid);
        if let Some(offset) = begun.last {
            chain.next = begun.gives.next;
            chain.link = Some(begun.gives.link);
            chain.head = known(chain.link);
            chain.recorded_at = begun.gives.recorded_at;
            chain.epoch = begun.gives.epoch;
            chain.tree = begun.tree;
            chain.place = Some(Place { file: Arc::clone(&segment.file), offset });
        }
        self.noted.extend(begun.noted);
        self.accepted += 1;
    }
}

/// A block as a footer lists it: the number of its first entry, and its offset.
fn listed(segment_first: Position, (first, offset): (Position, u64)) -> (u32, u32) {
    let number = first.0.saturating_sub(segment_first.0);
    (u32::try_from(number).unwrap_or(u32::MAX), u32::try_from(offset).unwrap_or(u32::MAX))
}
