//! The index of event ids: which positions may hold the event with this key, for ever.
//!
//! The newest ids are in memory; the rest stand in immutable sorted runs (`ids/FIRST-LAST.run`, drawn in
//! `docs/format.md`), which follow one another from position 0 without gaps. A run is asked through its filter,
//! which is in memory and answers "certainly not" or names the very records to read: a new id costs a look at a
//! handful of filters and hardly ever touches the disk.
//!
//! The index is disposable: every fact in it can be read from the log again. So it repairs nothing: what fails a
//! check is thrown away, and the caller feeds those positions anew. What it must never do is to say "not there" of an
//! id that is; therefore every byte it goes by was checked when it was read.
//!
//! Long work is handed out as a [`Job`], which runs without holding the index:
//!
//! ```text
//! lock index:   job = index.next_job()
//! no lock:      done = job.run()?
//! lock index:   index.install(done)
//! ```

mod damage;
mod filter;
mod job;
mod merge;
mod page;
mod plan;
mod reader;
mod run;
mod shelf;
mod table;
mod writer;

#[cfg(test)]
mod test_disk;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

pub use damage::IdsError;
pub use job::{Done, Job};

use crate::disk::Disk;
use crate::entry::IdKey;
use crate::types::{LedgerUid, Position};
use job::{Outcome, Work};
use merge::Merge;
use run::Run;
use shelf::Shelf;
use table::Table;

/// How an index is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdOptions {
    /// The ledger whose ids these are. Runs of another ledger are thrown away.
    pub uid: LedgerUid,
    /// How many of the newest ids are gathered in memory before they are written to a run; 1 to 4 Mi.
    pub memtable_entries_max: usize,
    /// How many records one job merges before it gives way to more urgent work; at least 1.
    pub merge_slice_entries_max: usize,
}

impl IdOptions {
    /// What suits a ledger of up to some hundred million events.
    #[must_use]
    pub fn new(uid: LedgerUid) -> Self {
        Self { uid, memtable_entries_max: 128 * 1024, merge_slice_entries_max: 1024 * 1024 }
    }
}

/// The size of an index, and what its look-ups have cost since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdStats {
    /// Ids in the index.
    pub entries: u64,
    /// Of these, ids that are in memory only.
    pub memtable_entries: u64,
    /// Runs on disk; as many filters are asked for a new id.
    pub runs: u64,
    /// Bytes in memory, of filters (those of paused merges included, that of a job that is out not) and of the newest
    /// ids; the latter an estimate.
    pub memory_bytes: u64,
    /// Ids looked up.
    pub look_ups: u64,
    /// Questions to filters.
    pub filter_questions: u64,
    /// Pages read from disk.
    pub disk_reads: u64,
}

#[derive(Debug, Default)]
struct Cost {
    look_ups: AtomicU64,
    filter_questions: AtomicU64,
    disk_reads: AtomicU64,
}

/// The index of one ledger's event ids. It has one owner; look-ups share it by reference.
#[derive(Debug)]
pub struct IdIndex {
    shelf: Arc<Shelf>,
    options: IdOptions,
    /// What is on disk: contiguous from position 0, oldest first.
    runs: Vec<Arc<Run>>,
    /// Full tables that wait to be written, oldest first; they continue the runs.
    full: VecDeque<Arc<Table>>,
    /// The table that takes new ids; it continues the full ones.
    newest: Table,
    /// Merges that have given way to other work.
    paused: Vec<Merge>,
    /// Inputs of finished merges, whose files are to be removed.
    superseded: Vec<Arc<Run>>,
    /// Alive while a job, or what it has done, is out of the house. A job that fails or is dropped so frees its place.
    job_out: Weak<()>,
    /// How often the index was thrown away: what an older job has done is not for this index.
    generation: u64,
    cost: Cost,
}

impl IdIndex {
    /// Opens the index in `dir`, which is made if it does not exist. Whatever is doubtful (a failed check, a run
    /// behind a gap, a newer format, another ledger's run, a leftover) is removed and not trusted: see
    /// [`IdIndex::covered`].
    ///
    /// # Errors
    /// As the disk says, where it cannot list, open or remove. Bytes that cannot be read are doubtful, no error.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: IdOptions) -> io::Result<Self> {
        let shelf = Arc::new(Shelf::new(disk, dir, options.uid));
        shelf.tidy()?;
        let runs: Vec<_> = shelf.take_stock()?.into_iter().map(Arc::new).collect();
        let covered = runs.last().map_or(Position(0), |run| run.span().last.next());
        let options = IdOptions {
            memtable_entries_max: options.memtable_entries_max.clamp(1, plan::UNIT_ENTRIES_MAX),
            merge_slice_entries_max: options.merge_slice_entries_max.max(1),
            ..options
        };
        Ok(Self {
            newest: Table::starting_at(covered, options.memtable_entries_max),
            shelf,
            options,
            runs,
            full: VecDeque::new(),
            paused: Vec::new(),
            superseded: Vec::new(),
            job_out: Weak::new(),
            generation: 0,
            cost: Cost::default(),
        })
    }

    /// Every position below this is in the index; the caller feeds the rest from the log, in order. Where the log
    /// ends before it (the log was replaced or cut), the index is not that log's: [`IdIndex::reset`] it.
    #[must_use]
    pub fn covered(&self) -> Position {
        self.newest.next()
    }

    /// Remembers, in memory, that the event at `position` has this key. Only durable entries belong here.
    ///
    /// # Panics
    /// If `position` is not [`IdIndex::covered`]: going on would make the index say "not there" of an id that is.
    pub fn insert(&mut self, key: IdKey, position: Position) {
        assert_eq!(position, self.covered(), "ids are fed in the order of the log");
        self.newest.insert(key);
        if self.newest.is_full() {
            let next = Table::starting_at(self.newest.next(), self.options.memtable_entries_max);
            self.full.push_back(Arc::new(std::mem::replace(&mut self.newest, next)));
        }
    }

    /// All positions whose event has this key, ascending: normally none or one. Two ids may share a key; the entry
    /// itself decides.
    ///
    /// # Errors
    /// [`IdsError::Damaged`] where bytes are not what was written: the caller calls [`IdIndex::reset`] and feeds the
    /// log anew. [`IdsError::Io`] where the disk cannot be read.
    pub fn candidates(&self, key: IdKey) -> Result<Vec<Position>, IdsError> {
        let mut found = Vec::new();
        let mut pages = 0;
        let searched = self.runs.iter().try_for_each(|run| run.find(key, &mut found, &mut pages));
        self.cost.look_ups.fetch_add(1, Ordering::Relaxed);
        self.cost.filter_questions.fetch_add(self.runs.len() as u64, Ordering::Relaxed);
        self.cost.disk_reads.fetch_add(pages, Ordering::Relaxed);
        searched?;
        for table in &self.full {
            table.find(key, &mut found);
        }
        self.newest.find(key, &mut found);
        Ok(found)
    }

    /// Throws the whole index away, in memory and on disk.
    ///
    /// # Errors
    /// As the disk says, where files cannot be removed; in memory the index is empty all the same, and stays usable.
    pub fn reset(&mut self) -> io::Result<()> {
        self.generation += 1;
        self.runs.clear();
        self.full.clear();
        self.paused.clear();
        self.superseded.clear();
        self.newest = Table::starting_at(Position(0), self.options.memtable_entries_max);
        self.shelf.clear()
    }

    /// The most urgent work, if there is any and no job is out. Each is bounded: a table to write, a slice of a
    /// merge, files to remove.
    ///
    /// A job that fails, or is dropped, changes nothing: look-ups go on from memory and from the old runs, and the
    /// work is handed out again. How long to wait after a failure is the caller's choice.
    pub fn next_job(&mut self) -> Option<Job> {
        if self.job_out.strong_count() > 0 {
            return None;
        }
        let work = self.next_work()?;
        let ticket = Arc::new(());
        self.job_out = Arc::downgrade(&ticket);
        Some(Job { ticket, generation: self.generation, shelf: Arc::clone(&self.shelf), work })
    }

    /// Takes in what a job has done. It touches no disk. What was done for an index since reset is left aside.
    pub fn install(&mut self, done: Done) {
        if done.generation != self.generation {
            return done.outcome.discard(&self.shelf);
        }
        match done.outcome {
            Outcome::Flushed(run) => {
                self.full.retain(|table| table.span() != run.span());
                self.runs.push(Arc::new(run));
            }
            Outcome::Paused(merge) => self.paused.push(*merge),
            Outcome::Merged { run, inputs } => self.replace(&inputs, run),
            Outcome::Swept => {}
        }
    }

    /// Does one job here and now, for a caller that needs no concurrency. Returns whether it found work, and so
    /// should be called again.
    ///
    /// # Errors
    /// See [`Job::run`].
    pub fn maintain(&mut self) -> Result<bool, IdsError> {
        let Some(job) = self.next_job() else { return Ok(false) };
        let done = job.run()?;
        self.install(done);
        Ok(true)
    }

    /// Sizes and costs.
    pub fn stats(&self) -> IdStats {
        let tables = self.full.iter().map(|t| t.entries()).sum::<u64>() + self.newest.entries();
        let filters = self.runs.iter().chain(&self.superseded).map(|run| run.memory_bytes()).sum::<u64>();
        let merges = self.paused.iter().map(Merge::memory_bytes).sum::<u64>();
        IdStats {
            entries: self.covered().0,
            memtable_entries: tables,
            runs: self.runs.len() as u64,
            memory_bytes: filters + merges + tables * table::ENTRY_MEMORY_BYTES,
            look_ups: self.cost.look_ups.load(Ordering::Relaxed),
            filter_questions: self.cost.filter_questions.load(Ordering::Relaxed),
            disk_reads: self.cost.disk_reads.load(Ordering::Relaxed),
        }
    }

    /// Removing comes first as it frees memory; then tables, so that memory stays bounded while a long merge goes
    /// on; then the merge that is done soonest.
    fn next_work(&mut self) -> Option<Work> {
        if !self.superseded.is_empty() {
            return Some(Work::Sweep(std::mem::take(&mut self.superseded)));
        }
        if let Some(table) = self.full.front() {
            return Some(Work::Flush(Arc::clone(table)));
        }
        let slice = self.options.merge_slice_entries_max;
        let fresh = self.runs_to_merge();
        let soonest = (0..self.paused.len()).min_by_key(|&i| self.paused[i].entries_left());
        match (fresh, soonest) {
            (Some(inputs), Some(i)) if merge::entries(&inputs) >= self.paused[i].entries_left() => {
                Some(Work::Resume(Box::new(self.paused.swap_remove(i)), slice))
            }
            (Some(inputs), _) => Some(Work::Merge(inputs, slice)),
            (None, Some(i)) => Some(Work::Resume(Box::new(self.paused.swap_remove(i)), slice)),
            (None, None) => None,
        }
    }

    fn runs_to_merge(&self) -> Option<Vec<Arc<Run>>> {
        let spans: Vec<_> = self.runs.iter().map(|run| run.span()).collect();
        let busy: Vec<_> = self.paused.iter().map(Merge::span).collect();
        let group = plan::next_merge(&spans, &busy, self.options.memtable_entries_max as u64)?;
        Some(self.runs[group].to_vec())
    }

    fn replace(&mut self, inputs: &[Arc<Run>], run: Run) {
        let first = self.runs.partition_point(|r| r.span().first < run.span().first);
        let old = self.runs.splice(first..first + inputs.len(), [Arc::new(run)]);
        self.superseded.extend(old);
    }
}
