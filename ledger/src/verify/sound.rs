//! Whether the frames of a piece are sound: each by itself, and each as the one before it requires. What they require
//! of the piece before, and of the one behind, is compared when the pieces are joined.
//!
//! This says only yes or no, so it looks at bytes where they lie and keeps nothing of them.

use super::chain::after;
use super::footer::STRIDE;
use super::frame::{FrameHeader, names};
use super::pieces::Piece;
use crate::entry::{self, ENTRY_VERSION, HEADER_FIXED_BYTES, IdKey};
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
    /// The offset of its last frame.
    pub(super) last: u64,
    /// The keys of its event ids, in order.
    pub(super) keys: Vec<u64>,
    /// The offsets of its frames that a footer lists.
    pub(super) offsets: Vec<u64>,
}

/// Judges the frames of a piece, of which there is at least one; `None` where anything is not as it should be.
pub(super) fn judge(piece: &Piece) -> Option<Stretch> {
    let mut frames = piece.frames();
    let first = names(FrameHeader::read(frames)?.entry(frames))?.1;
    let mut reading = Reading { uid: piece.header.uid, emitter: None };
    let mut stretch: Option<Stretch> = None;
    let mut at = piece.offset;
    let mut position = first;
    while !frames.is_empty() {
        let header = FrameHeader::read(frames)?;
        let (frame, rest) = frames.split_at_checked(header.frame_bytes() as usize)?;
        let entry = header.entry(frame);
        let sound = header.sound(piece.header.uid, position) && header.holds(entry) && header.ended(frame);
        let plausible = header.in_batch() && u64::from(header.lag) <= position.0;
        let (requires, key) = reading.entry(entry, header.batch).filter(|_| sound && plausible)?;
        let gives = Gives::behind(&requires, entry::link(entry));
        let stretch = match &mut stretch {
            Some(stretch) if stretch.gives.fits(&requires) => stretch,
            Some(_) => return None,
            none => none.insert(Stretch { requires, gives, last: at, keys: Vec::new(), offsets: Vec::new() }),
        };
        (stretch.gives, stretch.last) = (gives, at);
        stretch.keys.push(key.0);
        if position.0.wrapping_sub(piece.header.first.0).is_multiple_of(STRIDE) {
            stretch.offsets.push(at);
        }
        at += header.frame_bytes();
        position = after(position, 1);
        frames = rest;
    }
    stretch
}

/// Reads entries. Most have the emitter of the one before.
struct Reading {
    uid: LedgerUid,
    emitter: Option<Emitter>,
}

impl Reading {
    /// What an entry requires, and its key; `None` where it is no entry of this ledger that this program can read.
    fn entry(&mut self, entry: &[u8], batch: (u16, u16)) -> Option<(Requires, IdKey)> {
        let (fixed, rest) = entry.split_first_chunk::<HEADER_FIXED_BYTES>()?;
        let mut fields = Fields(fixed);
        let ours = fields.take()? == [ENTRY_VERSION] && fields.take()? == self.uid.0;
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

/// Takes fields of fixed size off the front of bytes.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }
}
