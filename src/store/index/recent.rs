//! The newest positions, in memory until they are flushed.

use std::collections::{BTreeSet, HashMap};
use std::ops::{Bound, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::put_term;
use super::run::take_within;

/// Positions by term: found by hash, since most events stand under terms that are there already, and listed in order.
#[derive(Debug, Default)]
struct Lists {
    by_term: HashMap<Arc<[u8]>, Vec<u64>>,
    terms: BTreeSet<Arc<[u8]>>,
    /// A term being looked up.
    scratch: Vec<u8>,
}

impl Lists {
    fn push(&mut self, tag: u8, key: &[u8], position: u64) {
        put_term(&mut self.scratch, tag, key);
        match self.by_term.get_mut(self.scratch.as_slice()) {
            Some(list) if list.last() == Some(&position) => {}
            Some(list) => list.push(position),
            None => {
                let term: Arc<[u8]> = self.scratch.as_slice().into();
                self.terms.insert(Arc::clone(&term));
                self.by_term.insert(term, vec![position]);
            }
        }
    }
}

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

    /// Adds the next position under tags and keys.
    pub(super) fn add<K: AsRef<[u8]>>(&self, position: u64, keys: &[(u8, K)]) {
        let mut lists = self.lists.write().unwrap_or_else(PoisonError::into_inner);
        keys.iter().for_each(|(tag, key)| lists.push(*tag, key.as_ref(), position));
        self.cursor.store(position + 1, Ordering::Release);
    }

    fn lists(&self) -> RwLockReadGuard<'_, Lists> {
        self.lists.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `each` with every term and its positions, in order, until it fails.
    pub(super) fn for_each<E>(&self, mut each: impl FnMut(&[u8], &[u64]) -> Result<(), E>) -> Result<(), E> {
        let lists = self.lists();
        let known = lists.terms.iter().filter_map(|term| Some((term, lists.by_term.get(term)?)));
        known.into_iter().try_for_each(|(term, positions)| each(term, positions))
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
        if let Some(positions) = self.lists().by_term.get(term) {
            take_within(positions, range, reverse, limit, found);
        }
    }

    /// The first term beyond `after` that has a position before `cursor`.
    pub(super) fn term_after(&self, after: &[u8], cursor: u64) -> Option<Box<[u8]>> {
        let lists = self.lists();
        let mut beyond = lists.terms.range::<[u8], _>((Bound::Excluded(after), Bound::Unbounded));
        let is_known = |term: &[u8]| lists.by_term.get(term).and_then(|list| list.first()) < Some(&cursor);
        beyond.find(|term| is_known(term)).map(|term| term.as_ref().into())
    }
}
