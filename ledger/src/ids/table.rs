//! The newest ids, in memory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::page::Record;
use super::shelf::Span;
use crate::entry::IdKey;
use crate::types::Position;

/// What an id takes in memory, about: 17 bytes in a table that is between seven sixteenths and seven eighths full.
pub(super) const ENTRY_MEMORY_BYTES: u64 = 28;

/// The ids of a stretch of positions, sorted only when they are written to a run. Keys are hashed once more, with a
/// secret of this process, so that nobody who chooses ids can make it slow.
#[derive(Debug)]
pub(super) struct Table {
    first: Position,
    next: Position,
    /// Where it is full: a multiple of the unit, so that runs meet where the plan of merges wants them to.
    end: Position,
    ids: HashMap<IdKey, Position>,
    /// The later ids of keys that two ids share, in order: one in 2^64 of all pairs of ids.
    shared: Vec<Record>,
}

impl Table {
    /// An empty table up to the next multiple of `unit`.
    pub(super) fn starting_at(first: Position, unit: usize) -> Self {
        let unit = unit.max(1) as u64;
        let end = Position((first.0 / unit + 1).saturating_mul(unit));
        Self { first, next: first, end, ids: HashMap::new(), shared: Vec::new() }
    }

    pub(super) fn insert(&mut self, key: IdKey) {
        match self.ids.entry(key) {
            Entry::Vacant(place) => {
                place.insert(self.next);
            }
            Entry::Occupied(_) => self.shared.push(Record { key, position: self.next }),
        }
        self.next = self.next.next();
    }

    pub(super) fn next(&self) -> Position {
        self.next
    }

    pub(super) fn is_full(&self) -> bool {
        self.next >= self.end
    }

    pub(super) fn entries(&self) -> u64 {
        (self.ids.len() + self.shared.len()) as u64
    }

    /// What a full table covers.
    pub(super) fn span(&self) -> Span {
        Span { first: self.first, last: Position(self.next.0.saturating_sub(1)) }
    }

    pub(super) fn find(&self, key: IdKey, found: &mut Vec<Position>) {
        if let Some(position) = self.ids.get(&key) {
            found.push(*position);
            found.extend(self.shared.iter().filter(|record| record.key == key).map(|record| record.position));
        }
    }

    /// Its records in the order of a run.
    pub(super) fn records(&self) -> Vec<Record> {
        let first = self.ids.iter().map(|(key, position)| Record { key: *key, position: *position });
        let mut records: Vec<_> = first.chain(self.shared.iter().copied()).collect();
        records.sort_unstable();
        records
    }
}
