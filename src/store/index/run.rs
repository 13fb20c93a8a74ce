//! A run: the positions of a stretch of the log, sorted by term, in checked pages that never change.

use std::ops::Range;

use bytes::Bytes;

use super::directory::Directory;
use super::page::{self, Malformed, PageBuilder};
use super::space::{Part, Space, part_key};
use crate::store::{Change, StoreError};

/// Pages handed to the store in one batch.
const BATCH_PAGES: usize = 64;

/// What the manifest says of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RunRecord {
    /// Its number, never used twice while any of its parts may be left over.
    pub(super) id: u64,
    /// How many merges it has been through.
    pub(super) tier: u8,
    /// The positions that it covers.
    pub(super) positions: Range<u64>,
    /// How many pieces its directory has.
    pub(super) pieces: u32,
    /// The check of all of them.
    pub(super) check: u32,
}

/// A run that can be read.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) record: RunRecord,
    directory: Directory,
}

impl Run {
    /// Reads the directory of a run that the manifest names.
    pub(super) fn open(space: &Space, record: RunRecord) -> Result<Self, StoreError> {
        let mut directory = Directory::default();
        let mut hasher = crc32fast::Hasher::new();
        for number in 0..record.pieces {
            let piece = space.part(record.id, Part::Directory, number)?;
            hasher.update(&space.check_part(record.id, Part::Directory, number, &piece).to_le_bytes());
            directory.decode_piece(&piece).ok_or_else(|| malformed(record.id))?;
        }
        if hasher.finalize() != record.check {
            let reason = format!("the directory of run {} is not what was written", record.id);
            return Err(StoreError::doubtful(reason));
        }
        Ok(Self { record, directory })
    }

    /// How many pages it has.
    pub(super) fn pages(&self) -> usize {
        self.directory.len()
    }

    /// A page, as it was written.
    pub(super) fn page(&self, space: &Space, page: usize) -> Result<Bytes, StoreError> {
        let check = self.directory.check(page).ok_or_else(|| malformed(self.record.id))?;
        let number = u32::try_from(page).map_err(|_| malformed(self.record.id))?;
        space.checked_part(self.record.id, Part::Page, number, check)
    }

    /// Adds the positions of `term` within `range` to `found`, the last first where `reverse`, until it holds `limit`.
    pub(super) fn collect(
        &self,
        space: &Space,
        term: &[u8],
        range: &Range<u64>,
        reverse: bool,
        limit: usize,
        found: &mut Vec<u64>,
    ) -> Result<(), StoreError> {
        let base = self.record.positions.start;
        let (start, end) = (range.start.saturating_sub(base), range.end.saturating_sub(base));
        let mut pages = self.directory.pages_for(term, start, end);
        while found.len() < limit {
            let Some(number) = (if reverse { pages.next_back() } else { pages.next() }) else { break };
            let page = self.page(space, number)?;
            let positions =
                page::positions_of(&page, term, base).map_err(|Malformed| malformed(self.record.id))?;
            take_within(&positions, range, reverse, limit, found);
        }
        Ok(())
    }

    /// The first term beyond `after` (or not before it, where `or_equal`). `terms` keeps the page last looked at.
    pub(super) fn term_after(
        &self,
        space: &Space,
        after: &[u8],
        terms: &mut OpenPage,
    ) -> Result<Option<Box<[u8]>>, StoreError> {
        let next_page = self.directory.pages_through(after);
        if let Some(page) = next_page.checked_sub(1) {
            if terms.number != Some(page) {
                let bytes = self.page(space, page)?;
                terms.terms = page::terms(&bytes).map_err(|Malformed| malformed(self.record.id))?;
                terms.number = Some(page);
            }
            let inside = terms.terms.partition_point(|term| **term <= *after);
            if let Some(term) = terms.terms.get(inside) {
                return Ok(Some(term.clone()));
            }
        }
        Ok((next_page < self.pages()).then(|| self.directory.term(next_page).into()))
    }
}

/// The terms of the page of a run that was read last, so that a listing reads each page once.
#[derive(Debug, Default)]
pub(super) struct OpenPage {
    number: Option<usize>,
    terms: Vec<Box<[u8]>>,
}

/// Adds those of ascending `positions` that lie within `range`, until `found` holds `limit`.
pub(super) fn take_within(
    positions: &[u64],
    range: &Range<u64>,
    reverse: bool,
    limit: usize,
    found: &mut Vec<u64>,
) {
    let first = positions.partition_point(|&p| p < range.start);
    let last = positions.partition_point(|&p| p < range.end).max(first);
    let within = positions[first..last].iter().copied();
    let room = limit.saturating_sub(found.len());
    match reverse {
        true => found.extend(within.rev().take(room)),
        false => found.extend(within.take(room)),
    }
}

pub(super) fn malformed(run: u64) -> StoreError {
    StoreError::doubtful(format!("run {run} holds bytes that make no sense"))
}

/// Writes a run: positions come sorted by term, then by position.
#[derive(Debug)]
pub(super) struct RunWriter {
    record: RunRecord,
    directory: Directory,
    builder: PageBuilder,
    /// What the page being built begins with.
    head: (Vec<u8>, u64),
    batch: Vec<Change>,
}

impl RunWriter {
    pub(super) fn new(id: u64, tier: u8, positions: Range<u64>) -> Self {
        let record = RunRecord { id, tier, positions, pieces: 0, check: 0 };
        Self {
            record,
            directory: Directory::default(),
            builder: PageBuilder::default(),
            head: (Vec::new(), 0),
            batch: Vec::new(),
        }
    }

    /// The number of the run.
    pub(super) fn id(&self) -> u64 {
        self.record.id
    }

    /// How many pages are complete.
    pub(super) fn pages(&self) -> usize {
        self.directory.len()
    }

    /// Adds the next position.
    pub(super) fn push(&mut self, space: &Space, term: &[u8], position: u64) -> Result<(), StoreError> {
        let position = position.saturating_sub(self.record.positions.start);
        if self.builder.is_full() {
            self.close_page(space)?;
        }
        if self.builder.is_empty() {
            self.head.0.clear();
            self.head.0.extend_from_slice(term);
            self.head.1 = position;
        }
        self.builder.push(term, position);
        Ok(())
    }

    /// Writes what is left, and the directory. The run counts once a manifest names it.
    pub(super) fn finish(mut self, space: &Space) -> Result<Run, StoreError> {
        if !self.builder.is_empty() {
            self.close_page(space)?;
        }
        let mut hasher = crc32fast::Hasher::new();
        for piece in self.directory.encode() {
            let (id, number) = (self.record.id, self.record.pieces);
            hasher.update(&space.check_part(id, Part::Directory, number, &piece).to_le_bytes());
            self.batch.push((part_key(id, Part::Directory, number), Some(piece)));
            self.record.pieces += 1;
        }
        self.record.check = hasher.finalize();
        space.write_parts(self.batch)?;
        Ok(Run { record: self.record, directory: self.directory })
    }

    fn close_page(&mut self, space: &Space) -> Result<(), StoreError> {
        let page = self.builder.finish();
        let number = u32::try_from(self.directory.len()).map_err(|_| malformed(self.record.id))?;
        let check = space.check_part(self.record.id, Part::Page, number, &page);
        self.directory.push(&self.head.0, self.head.1, check);
        self.batch.push((part_key(self.record.id, Part::Page, number), Some(page)));
        if self.batch.len() >= BATCH_PAGES {
            space.write_parts(std::mem::take(&mut self.batch))?;
        }
        Ok(())
    }
}
