//! Going through the frames of one segment, from its first.

use std::io;

use crate::disk::DiskFile;
use crate::entry::{self, Header, IdKey};
use crate::tree::Frontier;
use crate::types::{LedgerUid, Position};

use super::frame::{self, Found, FrameHeader};
use super::index::{End, Index, Mark};
use super::read::read_range;

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
pub(crate) fn survey(bytes: &[u8], uid: LedgerUid, before: End, tree: Option<Frontier>) -> Survey {
    let mut survey =
        Survey { index: Index::new(before, tree), open_batch: None, foreign: None, last_batch: (0, 1) };
    survey.go_on(bytes, 0, uid);
    survey
}

/// How much of a sound segment is read at a time: more than the largest frame.
const PIECE_BYTES: u64 = 1024 * 1024;

/// As [`survey`], of the file of a segment behind whose last frame nothing but zeros stand: read in pieces, so that a
/// start needs no memory for the whole of it. `None` where it ends in any other way, and must be looked at as a whole.
pub(crate) fn survey_sound(
    file: &dyn DiskFile,
    file_bytes: u64,
    uid: LedgerUid,
    before: End,
    tree: Option<Frontier>,
) -> io::Result<Option<Survey>> {
    let mut survey = survey(&[], uid, before, tree);
    loop {
        let start = survey.index.end.offset;
        let piece = read_range(file, start, file_bytes.min(start.saturating_add(PIECE_BYTES)))?;
        survey.go_on(&piece, start, uid);
        if survey.foreign.is_some() {
            return Ok(None);
        }
        if survey.index.end.offset == start {
            let ended = survey.open_batch.is_none() && only_zeros(file, start, file_bytes)?;
            return Ok(ended.then_some(survey));
        }
    }
}

fn only_zeros(file: &dyn DiskFile, start: u64, end: u64) -> io::Result<bool> {
    let mut at = start;
    while at < end {
        let piece = read_range(file, at, end.min(at.saturating_add(PIECE_BYTES)))?;
        if piece.is_empty() || piece.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += piece.len() as u64;
    }
    Ok(true)
}

impl Survey {
    /// Goes on in `bytes`, which stand at `start` in the file.
    fn go_on(&mut self, bytes: &[u8], start: u64, uid: LedgerUid) {
        loop {
            let end = self.index.end;
            let at = end.offset.checked_sub(start).and_then(|at| usize::try_from(at).ok());
            let here = at.and_then(|at| bytes.get(at..)).unwrap_or_default();
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
        let began = self.open_batch.take().unwrap_or_else(|| self.index.mark());
        let key = IdKey::of(&header.emitter, &header.event_id);
        self.index.push(header, key, entry::link(entry), offset, frame.frame_bytes());
        self.index.grow(entry);
        self.open_batch = (index + 1 < count).then_some(began);
        self.last_batch = frame.batch;
    }

    /// Goes on behind damage: every later sound frame before position `limit` is added, however large the gap, so
    /// that what is sound can still be served.
    pub(crate) fn salvage(mut self, bytes: &[u8], uid: LedgerUid, limit: Position) -> Index {
        let mut sound = self.open_batch.clone().unwrap_or_else(|| self.index.mark());
        while let Some((offset, position)) = self.next_sound(bytes, uid, limit) {
            self.resume(bytes, uid, offset, position);
            self.go_on(bytes, 0, uid);
            sound = self.open_batch.clone().unwrap_or_else(|| self.index.mark());
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
