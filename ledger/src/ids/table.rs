//! The newest ids, in memory.

use std::collections::BTreeSet;

use super::page::Record;
use super::shelf::Span;
use crate::entry::IdKey;
use crate::types::Position;

/// What an id takes in memory, about: 16 bytes in B-tree nodes that are two thirds full.
pub(super) const ENTRY_MEMORY_BYTES: u64 = 28;

/// The ids of a stretch of positions. Sorted rather than hashed: nobody who chooses ids can make it slow, and it is
/// written to a run as it stands.
#[derive(Debug)]
pub(super) struct Table {
    first: Position,
    next: Position,
    /// Where it is full: a multiple of the unit, so that runs meet where the plan of merges wants them to.
    end: Position,
    ids: BTreeSet<Record>,
}

impl Table {
    /// An empty table up to the next multiple of `unit`.
    pub(super) fn starting_at(first: Position, unit: usize) -> Self {
        let unit = unit.max(1) as u64;
        let end = Position((first.0 / unit + 1).saturating_mul(unit));
        Self { first, next: first, end, ids: BTreeSet::new() }
    }

    pub(super) fn insert(&mut self, key: IdKey) {
        self.ids.insert(Record { key, position: self.next });
        self.next = self.next.next();
    }

    pub(super) fn next(&self) -> Position {
        self.next
    }

    pub(super) fn is_full(&self) -> bool {
        self.next >= self.end
    }

    pub(super) fn entries(&self) -> u64 {
        self.ids.len() as u64
    }

    /// What a full table covers.
    pub(super) fn span(&self) -> Span {
        Span { first: self.first, last: Position(self.next.0.saturating_sub(1)) }
    }

    pub(super) fn find(&self, key: IdKey, found: &mut Vec<Position>) {
        let all = Record { key, position: Position(0) }..=Record { key, position: Position(u64::MAX) };
        found.extend(self.ids.range(all).map(|record| record.position));
    }

    /// Its records in the order of a run.
    pub(super) fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.ids.iter().copied()
    }
}
