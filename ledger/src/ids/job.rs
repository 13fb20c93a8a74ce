//! Work that is done without holding the index.

use std::sync::Arc;

use super::IdsError;
use super::merge::{Merge, Step};
use super::run::Run;
use super::shelf::Shelf;
use super::table::Table;
use super::writer::RunWriter;

/// A bounded piece of work: see [`super::IdIndex::next_job`].
#[derive(Debug)]
#[must_use = "a job does nothing until it is run"]
pub struct Job {
    pub(super) ticket: Arc<()>,
    pub(super) generation: u64,
    pub(super) shelf: Arc<Shelf>,
    pub(super) work: Work,
}

#[derive(Debug)]
pub(super) enum Work {
    /// Write a full table to a run.
    Flush(Arc<Table>),
    /// Begin a merge, and do its first slice of so many records.
    Merge(Vec<Arc<Run>>, usize),
    /// Do the next slice of a merge.
    Resume(Box<Merge>, usize),
    /// Remove the files of runs that a merge has replaced.
    Sweep(Vec<Arc<Run>>),
}

/// What a job has done, on its way back to the index: see [`super::IdIndex::install`].
#[derive(Debug)]
#[must_use = "the index does not know of it until it is installed"]
pub struct Done {
    /// Held for as long as the index must not give out another job.
    _ticket: Arc<()>,
    pub(super) generation: u64,
    pub(super) outcome: Outcome,
}

#[derive(Debug)]
pub(super) enum Outcome {
    Flushed(Run),
    Paused(Box<Merge>),
    Merged { run: Run, inputs: Vec<Arc<Run>> },
    Swept,
}

impl Job {
    /// Does the work; what is written is durable when it returns.
    ///
    /// # Errors
    /// [`IdsError::Io`] where the disk fails: nothing is lost, the index hands the work out again.
    /// [`IdsError::Damaged`] where a run is not what was written: the index is to be reset.
    pub fn run(self) -> Result<Done, IdsError> {
        let outcome = match self.work {
            Work::Flush(table) => flush(&self.shelf, &table)?,
            Work::Merge(inputs, slice) => begin(&self.shelf, inputs, slice)?,
            Work::Resume(merge, slice) => merge.step(slice)?.into(),
            Work::Sweep(runs) => sweep(&self.shelf, runs)?,
        };
        Ok(Done { _ticket: self.ticket, generation: self.generation, outcome })
    }
}

impl Outcome {
    /// Leaves aside what was done for an index that has been reset since.
    pub(super) fn discard(self, shelf: &Shelf) {
        if let Self::Flushed(run) | Self::Merged { run, .. } = self {
            // Where this fails the run stays until the next opening: it says what the log says.
            let _ = shelf.remove(run.span());
        }
    }
}

impl From<Step> for Outcome {
    fn from(step: Step) -> Self {
        match step {
            Step::Paused(merge) => Self::Paused(Box::new(merge)),
            Step::Finished(run, inputs) => Self::Merged { run, inputs },
        }
    }
}

fn flush(shelf: &Arc<Shelf>, table: &Table) -> Result<Outcome, IdsError> {
    let mut writer = RunWriter::start(shelf, table.span())?;
    for record in table.records() {
        writer.push(record)?;
    }
    writer.write_filter(usize::MAX)?;
    Ok(Outcome::Flushed(writer.finish()?))
}

fn begin(shelf: &Arc<Shelf>, inputs: Vec<Arc<Run>>, slice: usize) -> Result<Outcome, IdsError> {
    match Merge::start(shelf, inputs)? {
        Some(merge) => Ok(merge.step(slice)?.into()),
        None => Ok(Outcome::Swept),
    }
}

/// Removes and closes files, which for large ones takes its time.
fn sweep(shelf: &Shelf, runs: Vec<Arc<Run>>) -> Result<Outcome, IdsError> {
    for run in runs {
        shelf.remove(run.span())?;
    }
    Ok(Outcome::Swept)
}
