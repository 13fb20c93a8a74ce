//! An index of positions by tag and key, kept in a [`ProjectionStore`] that is not trusted.
//!
//! A log-structured merge tree of checked pages: the newest positions are in memory ([`recent`]); a flush sorts them
//! into a *run* of pages ([`run`]); eight runs of a tier are merged into one of the next ([`merge`]). Each run covers
//! a stretch of positions and the stretches follow one another, so the list of a key is the lists of the runs, one
//! behind the other, and a reader of its newest few positions reads a page or two.
//!
//! The manifest carries the check of each run's directory, the directory that of each page: whatever is missing,
//! stale, altered or misplaced is noticed when it is read. A plain `key -> positions` table could not tell a lost key
//! from one that never was.

mod directory;
mod manifest;
mod merge;
mod page;
mod recent;
mod run;
mod space;
mod varint;
mod view;

use std::ops::Range;
use std::sync::Arc;

use manifest::Manifest;
use merge::Merge;
use recent::Recent;
use run::{Run, RunWriter};
use space::Space;
use view::{Levels, Shared};
pub use view::{Reader, View};

use super::{ProjectionStore, StoreError};

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 512;

/// Runs of one tier that are merged into one of the next.
const MERGE_RUNS: usize = 8;
/// Runs of one tier at which a flush waits for their merge.
const TIER_RUNS_MAX: usize = 2 * MERGE_RUNS;
/// Pages that a flush merges at least, in each tier that has something to merge.
const MERGE_PAGES_MIN: usize = 64;

/// How far an index is stored: what the caller checks against the log before it trusts an index it has opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Every position before this one is stored.
    pub cursor: u64,
    /// The link of the entry before the cursor, as given to [`Index::flush`]; zeros at cursor 0.
    pub link: [u8; 32],
}

/// The writer of one index. Readers come from [`Index::reader`].
#[derive(Debug)]
pub struct Index {
    shared: Arc<Shared>,
    mark: Mark,
    next_run: u64,
    merges: Vec<Merge>,
    /// Runs merged away, which views may still read.
    retired: Vec<Arc<Run>>,
    /// Numbers given to runs that are not part of the index: being merged, or given up.
    limbo: Vec<u64>,
}

impl Index {
    /// Opens the index in a namespace; it is empty, at cursor 0, where there is none.
    ///
    /// # Errors
    /// [`StoreError::Doubtful`] where the manifest, or a directory that it names, is missing or not what was written.
    pub fn open(store: Arc<dyn ProjectionStore>, namespace: &str) -> Result<Self, StoreError> {
        let space = Space::new(store, namespace);
        let stored = Manifest::read(&space)?;
        let Some(manifest) = stored else {
            space.remove_all_runs()?;
            return Ok(Self::with(space, Manifest::default(), Vec::new()));
        };
        let runs: Result<Vec<_>, _> =
            manifest.runs.iter().map(|record| Run::open(&space, record.clone()).map(Arc::new)).collect();
        let runs = runs?;
        for &run in manifest.limbo.iter().chain([&manifest.next_run]) {
            space.remove_run(run)?;
        }
        Ok(Self::with(space, manifest, runs))
    }

    fn with(space: Space, manifest: Manifest, runs: Vec<Arc<Run>>) -> Self {
        let recent = Arc::new(Recent::new(manifest.mark.cursor));
        let shared = Arc::new(Shared::new(space, Levels { runs, recent }));
        let Manifest { mark, next_run, .. } = manifest;
        Self { shared, mark, next_run, merges: Vec::new(), retired: Vec::new(), limbo: Vec::new() }
    }

    /// Every position before this one is indexed, in the store or in memory.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.shared.levels().recent.positions().end
    }

    /// How far the index is stored.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// What readers use.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader(Arc::clone(&self.shared))
    }

    /// The index as it is now.
    #[must_use]
    pub fn view(&self) -> View {
        self.reader().view()
    }

    /// Indexes the next position under its keys, in memory; readers see it at once.
    ///
    /// # Errors
    /// [`StoreError::Misuse`] where `position` is not the cursor or a key is longer than [`KEY_BYTES_MAX`].
    pub fn add<K: AsRef<[u8]>>(&mut self, position: u64, keys: &[(u8, K)]) -> Result<(), StoreError> {
        let levels = self.shared.levels();
        if position != levels.recent.positions().end || position == u64::MAX {
            return Err(StoreError::Misuse("positions are indexed one after the other, without a gap"));
        }
        if keys.iter().any(|(_, key)| key.as_ref().len() > KEY_BYTES_MAX) {
            return Err(StoreError::Misuse("a key of the index is at most 512 bytes"));
        }
        levels.recent.add(position, keys);
        Ok(())
    }

    /// The positions of `(tag, key)` now: see [`View::postings`].
    ///
    /// # Errors
    /// As [`View::postings`].
    pub fn postings(
        &self,
        tag: u8,
        key: &[u8],
        range: Range<u64>,
        reverse: bool,
        limit: usize,
    ) -> Result<Vec<u64>, StoreError> {
        self.view().postings(tag, key, range, reverse, limit)
    }

    /// The distinct keys under `tag` now: see [`View::keys`].
    ///
    /// # Errors
    /// As [`View::keys`].
    pub fn keys(
        &self,
        tag: u8,
        after: Option<&[u8]>,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        self.view().keys(tag, after, prefix, limit)
    }

    /// Writes what is in memory as a run, goes on with merges, and makes a manifest of it. `link` is that of the entry
    /// before the cursor. Readers are not held up.
    ///
    /// # Errors
    /// [`StoreError::Doubtful`]: throw the index away. [`StoreError::Unavailable`]: nothing is lost, try again later.
    pub fn flush(&mut self, link: [u8; 32]) -> Result<(), StoreError> {
        let before = self.shared.levels();
        // After a failure it is unknown how much of a half-done merge reached the store: all of them begin anew.
        let next = self.write_and_merge(&before, link).inspect_err(|_| self.merges.clear());
        let (runs, mark) = next?;
        self.mark = mark;
        self.limbo.retain(|&id| !runs.iter().any(|run| run.record.id == id));
        self.retired.extend(merged_away(&before.runs, &runs));
        let recent = Arc::new(Recent::new(mark.cursor));
        self.shared.publish(Levels { runs, recent });
        drop(before);
        self.clear_away()
    }

    /// The runs as they stand after this flush, and stored so.
    fn write_and_merge(
        &mut self,
        before: &Levels,
        link: [u8; 32],
    ) -> Result<(Vec<Arc<Run>>, Mark), StoreError> {
        let mut runs = before.runs.clone();
        let mut budget = MERGE_PAGES_MIN;
        if !before.recent.positions().is_empty() {
            let id = self.new_run();
            let run = write_run(&self.shared.space, id, &before.recent)?;
            budget = budget.max(2 * run.pages());
            runs.push(Arc::new(run));
        }
        self.go_on_merging(&mut runs, budget)?;
        self.begin_merges(&runs);
        let mark = self.write_manifest(link, &before.runs, &runs)?;
        Ok((runs, mark))
    }

    /// Takes every merge a step further; a finished one takes the place of its inputs.
    fn go_on_merging(&mut self, runs: &mut Vec<Arc<Run>>, budget: usize) -> Result<(), StoreError> {
        for nth in (0..self.merges.len()).rev() {
            let merge = &mut self.merges[nth];
            let tier = runs.iter().find(|run| merge.takes(run)).map(|run| run.record.tier);
            let crowd = runs.iter().filter(|run| Some(run.record.tier) == tier).count();
            let pages = if crowd >= TIER_RUNS_MAX { usize::MAX } else { budget };
            if !merge.step(&self.shared.space, pages)? {
                continue;
            }
            let merge = self.merges.remove(nth);
            let at = runs.iter().position(|run| merge.takes(run)).unwrap_or(runs.len());
            runs.retain(|run| !merge.takes(run));
            let merged = merge.finish(&self.shared.space)?;
            runs.insert(at, Arc::new(merged));
        }
        Ok(())
    }

    /// Begins a merge in each tier that is full and has none.
    fn begin_merges(&mut self, runs: &[Arc<Run>]) {
        let mut at = 0;
        while let Some(first) = runs.get(at) {
            let tier = first.record.tier;
            let same = runs[at..].iter().take_while(|run| run.record.tier == tier).count();
            let busy = runs[at..at + same].iter().any(|run| self.merges.iter().any(|merge| merge.takes(run)));
            if same >= MERGE_RUNS && !busy {
                let id = self.new_run();
                let inputs = runs[at..at + MERGE_RUNS].to_vec();
                self.merges.push(Merge::new(inputs, id, tier.saturating_add(1)));
            }
            at += same;
        }
    }

    fn write_manifest(
        &self,
        link: [u8; 32],
        before: &[Arc<Run>],
        runs: &[Arc<Run>],
    ) -> Result<Mark, StoreError> {
        let mark = Mark { cursor: runs.last().map_or(0, |run| run.record.positions.end), link };
        let gone = merged_away(before, runs).chain(self.retired.iter().cloned()).map(|run| run.record.id);
        let begun = self.limbo.iter().copied().filter(|&id| !runs.iter().any(|run| run.record.id == id));
        let limbo = begun.chain(gone).collect();
        let records = runs.iter().map(|run| run.record.clone()).collect();
        Manifest { mark, next_run: self.next_run, limbo, runs: records }.write(&self.shared.space)?;
        Ok(mark)
    }

    /// Removes the parts of runs that neither the index nor a merge nor a view needs.
    fn clear_away(&mut self) -> Result<(), StoreError> {
        let (merges, space) = (&self.merges, &self.shared.space);
        while let Some(nth) = self.limbo.iter().position(|&id| !merges.iter().any(|merge| merge.id() == id)) {
            space.remove_run(self.limbo[nth])?;
            self.limbo.swap_remove(nth);
        }
        while let Some(nth) = self.retired.iter().position(|run| Arc::strong_count(run) == 1) {
            space.remove_run(self.retired[nth].record.id)?;
            self.retired.swap_remove(nth);
        }
        Ok(())
    }

    fn new_run(&mut self) -> u64 {
        let id = self.next_run;
        self.next_run += 1;
        self.limbo.push(id);
        id
    }
}

/// The runs that were there `before` and are not any more.
fn merged_away<'a>(before: &'a [Arc<Run>], runs: &'a [Arc<Run>]) -> impl Iterator<Item = Arc<Run>> + 'a {
    before.iter().filter(|old| !runs.iter().any(|run| Arc::ptr_eq(run, old))).cloned()
}

fn write_run(space: &Space, id: u64, recent: &Recent) -> Result<Run, StoreError> {
    let mut writer = RunWriter::new(id, 0, recent.positions());
    recent.for_each(|term, positions| {
        positions.iter().try_for_each(|&position| writer.push(space, term, position))
    })?;
    writer.finish(space)
}

/// A tag and a key as they are sorted.
fn term_of(tag: u8, key: &[u8]) -> Vec<u8> {
    let mut term = Vec::with_capacity(1 + key.len());
    put_term(&mut term, tag, key);
    term
}

/// As [`term_of`], in place of what `term` holds.
fn put_term(term: &mut Vec<u8>, tag: u8, key: &[u8]) {
    term.clear();
    term.push(tag);
    term.extend_from_slice(key);
}

#[cfg(test)]
#[path = "tests/mod.rs"]
mod tests;
