//! Whether the frames of a piece are sound: each by itself, and each as the one before it requires. What they require
//! of the piece before, and of the one behind, is compared when the pieces are joined.
//!
//! This says only yes or no, so it looks at bytes where they lie and keeps nothing of them.

use super::chain::after;
use super::footer::STRIDE;
use super::frame::{FrameHeader, names};
use super::header::SegmentHeader;
use super::packed::block::open_all;
use super::pieces::Piece;
use super::sought::{Marks, Sought};
use super::tree::Subtrees;
use crate::entry::{ENTRY_VERSION, HEADER_FIXED_BYTES, IdKey, Linker};
use crate::tree::leaves;
use crate::types::{Emitter, LedgerUid, Link, Position, Time};

/// What an entry requires of those before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Requires {
    pub(super) position: Position,
    pub(super) previous: Link,
    pub(super) recorded_at: Time,
    pub(super) epoch: u32,
    /// Index and size of its batch.
    pub(super) batch: (u16, u16),
}

/// What the entries so far give the next one to continue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gives {
    pub(super) next: Position,
    pub(super) link: Link,
    pub(super) recorded_at: Time,
    pub(super) epoch: u32,
    /// Index and size of the batch of the last entry, where that is not the last of its batch.
    pub(super) inside: Option<(u16, u16)>,
}

impl Gives {
    /// Whether an entry may stand here.
    pub(super) fn fits(&self, entry: &Requires) -> bool {
        let (index, count) = entry.batch;
        let in_order = match self.inside {
            None => index == 0,
            Some((before, of)) => u32::from(index) == u32::from(before) + 1 && count == of,
        };
        entry.position == self.next
            && entry.previous == self.link
            && entry.recorded_at >= self.recorded_at
            && entry.epoch >= self.epoch
            && in_order
    }

    fn behind(entry: &Requires, link: Link) -> Self {
        let (index, count) = entry.batch;
        let complete = u32::from(index) + 1 >= u32::from(count);
        Self {
            next: after(entry.position, 1),
            link,
            recorded_at: entry.recorded_at,
            epoch: entry.epoch,
            inside: (!complete).then_some(entry.batch),
        }
    }
}

/// A piece, all of whose frames are sound.
#[derive(Debug)]
pub(super) struct Stretch {
    /// What its first entry requires.
    pub(super) requires: Requires,
    /// What its last entry gives.
    pub(super) gives: Gives,
    /// The offset of its last frame, or of the block of it.
    pub(super) last: u64,
    /// The keys of its event ids, in order.
    pub(super) keys: Vec<u64>,
    /// The offsets of its frames that a footer lists.
    pub(super) offsets: Vec<u64>,
    /// Of packed frames, what a footer lists of their blocks: position of the first entry, and offset.
    pub(super) starts: Vec<(Position, u64)>,
    /// The bytes of its frames.
    pub(super) framed: u64,
    /// The tree over its entries.
    pub(super) tree: Subtrees,
    /// What was found in it that is looked for.
    pub(super) marks: Marks,
}

/// Judges pieces, and keeps what it needs for the next one.
pub(super) struct Judge<'a> {
    sought: &'a Sought,
    linker: Linker,
    /// The emitter of the last entry, which most entries share with the one before.
    emitter: Option<Emitter>,
    /// How many entries the last piece had: the next one has about as many.
    entries: usize,
}

/// The frames of a piece, each of which is sound by itself.
struct Frames<'a> {
    entries: Vec<&'a [u8]>,
    requires: Vec<Requires>,
    keys: Vec<u64>,
    offsets: Vec<u64>,
    /// The offset of the last frame.
    last: u64,
}

impl Frames<'_> {
    fn of_about(entries: usize) -> Self {
        Self {
            entries: Vec::with_capacity(entries),
            requires: Vec::with_capacity(entries),
            keys: Vec::with_capacity(entries),
            offsets: Vec::new(),
            last: 0,
        }
    }
}

impl<'s> Judge<'s> {
    pub(super) fn new(sought: &'s Sought) -> Self {
        Self { sought, linker: Linker::default(), emitter: None, entries: 0 }
    }

    /// Judges the frames of a piece, of which there is at least one; `None` where anything is not as it should be.
    pub(super) fn judge(&mut self, piece: &Piece) -> Option<Stretch> {
        if piece.header.is_plain() {
            return self.stretch(piece.framed(), piece.offset, &piece.header);
        }
        let opened = open_all(piece.framed(), piece.offset, piece.header.uid)?;
        let last = opened.starts.last()?.1;
        let stretch = self.stretch(&opened.frames, last, &piece.header)?;
        Some(Stretch { last, offsets: Vec::new(), starts: opened.starts, ..stretch })
    }

    fn stretch(&mut self, framed: &[u8], offset: u64, header: &SegmentHeader) -> Option<Stretch> {
        let frames = self.frames(framed, offset, header)?;
        let links = self.linker.links(&frames.entries);
        let first = frames.requires.first()?;
        let mut gives = Gives::behind(first, *links.first()?);
        for (requires, link) in frames.requires.iter().zip(links).skip(1) {
            gives.fits(requires).then_some(())?;
            gives = Gives::behind(requires, *link);
        }
        let (tree, marks) = self.sought.stretch(first.position, leaves(&frames.entries));
        let Frames { keys, offsets, last, .. } = frames;
        let (starts, framed) = (Vec::new(), framed.len() as u64);
        Some(Stretch { requires: *first, gives, last, keys, offsets, starts, framed, tree, marks })
    }

    fn frames<'a>(
        &mut self,
        mut bytes: &'a [u8],
        mut at: u64,
        segment: &SegmentHeader,
    ) -> Option<Frames<'a>> {
        let mut position = names(FrameHeader::read(bytes)?.entry(bytes))?.1;
        let mut frames = Frames::of_about(self.entries + self.entries / 16);
        while !bytes.is_empty() {
            let header = FrameHeader::read(bytes)?;
            let (frame, rest) = bytes.split_at_checked(header.frame_bytes() as usize)?;
            let entry = sound_entry(&header, frame, segment.uid, position)?;
            let (requires, key) = self.entry(entry, segment.uid, header.batch)?;
            frames.entries.push(entry);
            frames.requires.push(requires);
            frames.keys.push(key.0);
            if position.0.wrapping_sub(segment.first.0).is_multiple_of(STRIDE) {
                frames.offsets.push(at);
            }
            frames.last = at;
            at += header.frame_bytes();
            position = after(position, 1);
            bytes = rest;
        }
        self.entries = frames.entries.len();
        Some(frames)
    }

    /// What an entry requires, and its key; `None` where it is no entry of this ledger that this program can read.
    fn entry(&mut self, entry: &[u8], uid: LedgerUid, batch: (u16, u16)) -> Option<(Requires, IdKey)> {
        let (fixed, rest) = entry.split_first_chunk::<HEADER_FIXED_BYTES>()?;
        let mut fields = Fields(fixed);
        let ours = fields.take()? == [ENTRY_VERSION] && fields.take()? == uid.0;
        let position = Position(u64::from_le_bytes(fields.take()?));
        let epoch = u32::from_le_bytes(fields.take()?);
        let previous = Link(fields.take()?);
        let recorded_at = Time(i64::from_le_bytes(fields.take()?));
        let event_id = uuid::Uuid::from_bytes(fields.take()?);
        let [emitter_bytes] = fields.take()?;
        let emitter = self.emitter(rest.get(..usize::from(emitter_bytes))?)?;
        let key = IdKey::of(emitter, &event_id);
        ours.then_some((Requires { position, previous, recorded_at, epoch, batch }, key))
    }

    fn emitter(&mut self, name: &[u8]) -> Option<&Emitter> {
        if self.emitter.as_ref().is_none_or(|emitter| emitter.as_str().as_bytes() != name) {
            self.emitter = Some(std::str::from_utf8(name).ok()?.parse().ok()?);
        }
        self.emitter.as_ref()
    }
}

/// The entry of a frame that is as it was written for this position.
fn sound_entry<'a>(
    header: &FrameHeader,
    frame: &'a [u8],
    uid: LedgerUid,
    position: Position,
) -> Option<&'a [u8]> {
    let entry = header.entry(frame);
    let as_written = header.sound(uid, position) && header.holds(entry) && header.ended(frame);
    let plausible = header.in_batch() && u64::from(header.lag) <= position.0;
    (as_written && plausible).then_some(entry)
}

/// Takes fields of fixed size off the front of bytes.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }
}
