//! The newest positions, in memory until they are flushed.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use super::run::take_within;

type Lists = BTreeMap<Box<[u8]>, Vec<u64>>;

/// Positions by term, from the last flush on. Readers share it with the writer: each passes over what lies at or
/// beyond the cursor of its view, so it needs no copy.
#[derive(Debug)]
pub(super) struct Recent {
    first: u64,
    cursor: AtomicU64,
    lists: RwLock<Lists>,
}

impl Recent {
    /// Empty, beginning at `first`.
    pub(super) fn new(first: u64) -> Self {
        Self { first, cursor: AtomicU64::new(first), lists: RwLock::default() }
    }

    /// The positions held.
    pub(super) fn positions(&self) -> Range<u64> {
        self.first..self.cursor.load(Ordering::Acquire)
    }

    /// Adds the terms of the next position.
    pub(super) fn add(&self, position: u64, terms: impl Iterator<Item = Box<[u8]>>) {
        let mut lists = self.lists.write().unwrap_or_else(PoisonError::into_inner);
        for term in terms {
            let list = lists.entry(term).or_default();
            if list.last() != Some(&position) {
                list.push(position);
            }
        }
        self.cursor.store(position + 1, Ordering::Release);
    }

    /// All lists, for a flush.
    pub(super) fn lists(&self) -> RwLockReadGuard<'_, Lists> {
        self.lists.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`super::run::Run::collect`].
    pub(super) fn collect(
        &self,
        term: &[u8],
        range: &Range<u64>,
        reverse: bool,
        limit: usize,
        found: &mut Vec<u64>,
    ) {
        if let Some(positions) = self.lists().get(term) {
            take_within(positions, range, reverse, limit, found);
        }
    }

    /// The first term beyond `after` that has a position before `cursor`.
    pub(super) fn term_after(&self, after: &[u8], cursor: u64) -> Option<Box<[u8]>> {
        let lists = self.lists();
        let mut beyond = lists.range::<[u8], _>((Bound::Excluded(after), Bound::Unbounded));
        let known = beyond.find(|(_, positions)| positions.first().is_some_and(|&p| p < cursor));
        known.map(|(term, _)| term.clone())
    }
}
