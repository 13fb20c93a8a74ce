//! Going through the frames of one segment, from its first.

use crate::entry::{self, Header, IdKey};
use crate::types::{LedgerUid, Position};

use super::frame::{self, Found, FrameHeader};
use super::index::{End, Index, Mark};

/// What a survey of a segment found.
pub(crate) struct Survey {
    /// The sound entries, up to the first that fails.
    pub(crate) index: Index,
    /// Where the batch began that the last of them belongs to, while it is incomplete.
    pub(crate) open_batch: Option<Mark>,
    /// Why the next frame cannot belong to this log although it is whole; `None` where there is no whole frame.
    pub(crate) foreign: Option<&'static str>,
    last_batch: (u16, u16),
}

/// Reads the frames of a segment from its first on, hashes each, and stops at the first that fails.
pub(crate) fn survey(bytes: &[u8], uid: LedgerUid, before: End) -> Survey {
    let mut survey =
        Survey { index: Index::new(before), open_batch: None, foreign: None, last_batch: (0, 1) };
    survey.go_on(bytes, uid);
    survey
}

impl Survey {
    fn go_on(&mut self, bytes: &[u8], uid: LedgerUid) {
        loop {
            let end = self.index.end;
            let here = usize::try_from(end.offset).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
            let Found::Whole(frame, entry) = frame::look(here, uid, end.next) else { return };
            match self.continues(&frame, entry, uid) {
                Ok(header) => self.add(&frame, &header, entry, end.offset),
                Err(reason) => {
                    self.foreign = Some(reason);
                    return;
                }
            }
        }
    }

    fn continues(&self, frame: &FrameHeader, entry: &[u8], uid: LedgerUid) -> Result<Header, &'static str> {
        let (header, _) = entry::decode(entry).map_err(|_| "the entry's header cannot be read")?;
        if header.uid != uid || header.position != self.index.end.next {
            return Err("the entry belongs elsewhere");
        }
        if header.previous != self.index.end.link {
            return Err("the entry does not carry the link of the one before");
        }
        let (index, count) = frame.batch;
        let expected = if self.open_batch.is_some() {
            index == self.last_batch.0 + 1 && count == self.last_batch.1
        } else {
            index == 0
        };
        if expected { Ok(header) } else { Err("the entry's place in its batch is wrong") }
    }

    fn add(&mut self, frame: &FrameHeader, header: &Header, entry: &[u8], offset: u64) {
        let (index, count) = frame.batch;
        let began = self.open_batch.unwrap_or_else(|| self.index.mark());
        let key = IdKey::of(&header.emitter, &header.event_id);
        self.index.push(header, key, entry::link(entry), offset, frame.frame_bytes());
        self.open_batch = (index + 1 < count).then_some(began);
        self.last_batch = frame.batch;
    }

    /// Goes on behind damage: every later sound frame before position `limit` is added, however large the gap, so
    /// that what is sound can still be served.
    pub(crate) fn salvage(mut self, bytes: &[u8], uid: LedgerUid, limit: Position) -> Index {
        let mut sound = self.open_batch.unwrap_or_else(|| self.index.mark());
        while let Some((offset, position)) = self.next_sound(bytes, uid, limit) {
            self.resume(bytes, uid, offset, position);
            self.go_on(bytes, uid);
            sound = self.open_batch.unwrap_or_else(|| self.index.mark());
        }
        self.index.back_to(&sound);
        self.index
    }

    fn next_sound(&self, bytes: &[u8], uid: LedgerUid, limit: Position) -> Option<(usize, Position)> {
        let mut at = usize::try_from(self.index.end.offset).ok()?;
        loop {
            // Only whole frames are wanted, and those tell their own position.
            at += bytes.get(at..)?.windows(2).position(|pair| pair == frame::MAGIC)?;
            let told = bytes.get(at + frame::FRAME_HEADER_BYTES + 17..).and_then(|b| b.first_chunk());
            let position = Position(u64::from_le_bytes(*told?));
            let plausible = (self.index.end.next..limit).contains(&position);
            if plausible && matches!(frame::look(&bytes[at..], uid, position), Found::Whole(..)) {
                return Some((at, position));
            }
            at += 1;
        }
    }

    fn resume(&mut self, bytes: &[u8], uid: LedgerUid, offset: usize, position: Position) {
        let Found::Whole(frame, entry) = frame::look(&bytes[offset..], uid, position) else { return };
        let next = frame.frame_bytes();
        match entry::decode(entry) {
            Ok((header, _)) if header.position == position => {
                self.open_batch = None;
                self.add(&frame, &header, entry, offset as u64);
            }
            // Counted and stepped over: it cannot be served.
            _ => {
                self.index.end.next = position.next();
                self.index.end.offset = (offset + next) as u64;
            }
        }
    }
}
