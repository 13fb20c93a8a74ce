//! Reading an index: a view of it at one cursor, while it goes on growing.

use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use super::recent::Recent;
use super::run::{OpenPage, Run};
use super::space::Space;
use super::term_of;
use crate::store::StoreError;

/// The runs and what came after them, at one moment.
#[derive(Debug)]
pub(super) struct Levels {
    /// In the order of their positions.
    pub(super) runs: Vec<Arc<Run>>,
    pub(super) recent: Arc<Recent>,
}

/// What writer and readers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) space: Space,
    levels: RwLock<Arc<Levels>>,
}

impl Shared {
    pub(super) fn new(space: Space, levels: Levels) -> Self {
        Self { space, levels: RwLock::new(Arc::new(levels)) }
    }

    pub(super) fn levels(&self) -> Arc<Levels> {
        self.levels.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn publish(&self, levels: Levels) {
        *self.levels.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(levels);
    }
}

/// Hands out views; cheap to clone, and of use on any thread.
#[derive(Clone, Debug)]
pub struct Reader(pub(super) Arc<Shared>);

impl Reader {
    /// The index as it is now.
    #[must_use]
    pub fn view(&self) -> View {
        let levels = self.0.levels();
        let cursor = levels.recent.positions().end;
        View { shared: Arc::clone(&self.0), levels, cursor }
    }
}

/// The index at one cursor. Holding one keeps the pages that it may read from being removed.
#[derive(Clone, Debug)]
pub struct View {
    shared: Arc<Shared>,
    levels: Arc<Levels>,
    cursor: u64,
}

impl View {
    /// Every position before this one is in the view, and none from it on.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// The positions of `(tag, key)` within `range`, ascending, or descending where `reverse`; at most `limit` of them.
    ///
    /// # Errors
    /// [`StoreError::Doubtful`] where anything read on the way is not what was written.
    pub fn postings(
        &self,
        tag: u8,
        key: &[u8],
        range: Range<u64>,
        reverse: bool,
        limit: usize,
    ) -> Result<Vec<u64>, StoreError> {
        let term = term_of(tag, key);
        let range = range.start..range.end.min(self.cursor);
        let mut found = Vec::new();
        if reverse {
            self.levels.recent.collect(&term, &range, reverse, limit, &mut found);
        }
        let count = self.levels.runs.len();
        for nth in 0..count {
            let run = &self.levels.runs[if reverse { count - 1 - nth } else { nth }];
            let covered = &run.record.positions;
            if found.len() < limit && covered.start < range.end && range.start < covered.end {
                run.collect(&self.shared.space, &term, &range, reverse, limit, &mut found)?;
            }
        }
        if !reverse {
            self.levels.recent.collect(&term, &range, reverse, limit, &mut found);
        }
        Ok(found)
    }

    /// The distinct keys under `tag` that begin with `prefix` and lie beyond `after`, ascending; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Doubtful`] where anything read on the way is not what was written.
    pub fn keys(
        &self,
        tag: u8,
        after: Option<&[u8]>,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let wanted = term_of(tag, prefix);
        let mut keys = Vec::new();
        let mut last = match after {
            Some(after) if after >= prefix => term_of(tag, after),
            _ => match self.has(&wanted)? {
                true if limit > 0 => {
                    keys.push(prefix.to_vec());
                    wanted.clone()
                }
                _ => wanted.clone(),
            },
        };
        let mut sources = self.sources();
        while keys.len() < limit {
            let Some(term) = self.next_term(&mut sources, &last)? else { break };
            if !term.starts_with(&wanted) {
                break;
            }
            keys.push(term.get(1..).unwrap_or_default().to_vec());
            last = term.into();
        }
        Ok(keys)
    }

    /// Reads every page of the view: for a scrub in the background.
    ///
    /// # Errors
    /// [`StoreError::Doubtful`] at the first part that is not what was written.
    pub fn check(&self) -> Result<(), StoreError> {
        for run in &self.levels.runs {
            for page in 0..run.pages() {
                run.page(&self.shared.space, page)?;
            }
        }
        Ok(())
    }

    /// Whether the term itself has a position.
    fn has(&self, term: &[u8]) -> Result<bool, StoreError> {
        let Some((&tag, key)) = term.split_first() else { return Ok(false) };
        Ok(!self.postings(tag, key, 0..u64::MAX, false, 1)?.is_empty())
    }

    fn sources(&self) -> Vec<Source<'_>> {
        self.levels.runs.iter().map(|run| Source { run, page: OpenPage::default(), next: None }).collect()
    }

    /// The lowest term beyond `last` in any run or in memory.
    fn next_term(&self, sources: &mut [Source<'_>], last: &[u8]) -> Result<Option<Box<[u8]>>, StoreError> {
        let mut lowest = self.levels.recent.term_after(last, self.cursor);
        for source in sources {
            source.advance(&self.shared.space, last)?;
            if let Some(Some(term)) = &source.next
                && lowest.as_ref().is_none_or(|low| term < low)
            {
                lowest = Some(term.clone());
            }
        }
        Ok(lowest)
    }
}

/// One run in a listing of terms.
#[derive(Debug)]
struct Source<'a> {
    run: &'a Run,
    page: OpenPage,
    /// Its next term, `Some(None)` behind its last; `None` before it was looked for.
    next: Option<Option<Box<[u8]>>>,
}

impl Source<'_> {
    /// Moves to the first term beyond `last`, unless it stands beyond it already.
    fn advance(&mut self, space: &Space, last: &[u8]) -> Result<(), StoreError> {
        let stands = match &self.next {
            None => false,
            Some(None) => true,
            Some(Some(term)) => **term > *last,
        };
        if !stands {
            self.next = Some(self.run.term_after(space, last, &mut self.page)?);
        }
        Ok(())
    }
}
