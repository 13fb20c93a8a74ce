//! A merge of neighbouring runs into one, in slices.

use std::sync::Arc;

use super::IdsError;
use super::page::Record;
use super::reader::RunReader;
use super::run::Run;
use super::shelf::{Shelf, Span};
use super::writer::RunWriter;

/// How many ids are in these runs.
pub(super) fn entries(runs: &[Arc<Run>]) -> u64 {
    runs.iter().map(|run| run.span().entries()).sum()
}

/// A merge under way.
#[derive(Debug)]
pub(super) struct Merge {
    inputs: Vec<Arc<Run>>,
    readers: Vec<RunReader>,
    writer: RunWriter,
    entries_left: u64,
}

/// How far a slice has brought a merge.
pub(super) enum Step {
    /// There is more to do.
    Paused(Merge),
    /// The new run stands beside its inputs.
    Finished(Run, Vec<Arc<Run>>),
}

impl Merge {
    /// Begins a merge of neighbours, oldest first; `None` where there are none.
    pub(super) fn start(shelf: &Arc<Shelf>, inputs: Vec<Arc<Run>>) -> Result<Option<Self>, IdsError> {
        let (Some(oldest), Some(newest)) = (inputs.first(), inputs.last()) else { return Ok(None) };
        let span = Span { first: oldest.span().first, last: newest.span().last };
        let writer = RunWriter::start(shelf, span)?;
        let readers = inputs.iter().cloned().map(RunReader::start).collect::<Result<_, _>>()?;
        Ok(Some(Self { entries_left: span.entries(), inputs, readers, writer }))
    }

    pub(super) fn span(&self) -> Span {
        self.writer.span()
    }

    pub(super) fn entries_left(&self) -> u64 {
        self.entries_left
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        self.writer.memory_bytes()
    }

    /// Does a slice of at most `entries_max` records; once all are written, of as many words of the filter.
    pub(super) fn step(mut self, entries_max: usize) -> Result<Step, IdsError> {
        if self.entries_left > 0 {
            self.copy(entries_max)?;
        } else if self.writer.write_filter(entries_max)? {
            return Ok(Step::Finished(self.writer.finish()?, self.inputs));
        }
        self.writer.sync()?;
        Ok(Step::Paused(self))
    }

    fn copy(&mut self, entries_max: usize) -> Result<(), IdsError> {
        for _ in 0..entries_max {
            let Some(record) = self.next()? else {
                self.entries_left = 0;
                return Ok(());
            };
            self.writer.push(record)?;
            self.entries_left = self.entries_left.saturating_sub(1);
        }
        Ok(())
    }

    /// The least of the readers' heads.
    fn next(&mut self) -> Result<Option<Record>, IdsError> {
        let mut least: Option<(Record, usize)> = None;
        for (i, reader) in self.readers.iter().enumerate() {
            if let Some(head) = reader.head()
                && least.is_none_or(|(record, _)| head < record)
            {
                least = Some((head, i));
            }
        }
        let Some((record, i)) = least else { return Ok(None) };
        self.readers[i].advance()?;
        Ok(Some(record))
    }
}
