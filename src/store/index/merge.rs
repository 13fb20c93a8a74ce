//! Merging neighbouring runs into one, a few pages at a time, while readers go on with the old ones.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::page::{self, Malformed, for_each_position};
use super::run::{Run, RunWriter, malformed};
use super::space::Space;
use crate::store::StoreError;

/// A merge under way.
#[derive(Debug)]
pub(super) struct Merge {
    inputs: Vec<Input>,
    /// Whether the first groups of the inputs were read.
    begun: bool,
    output: RunWriter,
}

impl Merge {
    /// Begins to merge `runs`, neighbours in the order of their positions, into run `id`.
    pub(super) fn new(runs: Vec<Arc<Run>>, id: u64, tier: u8) -> Self {
        let start = runs.first().map_or(0, |run| run.record.positions.start);
        let end = runs.last().map_or(start, |run| run.record.positions.end);
        let inputs = runs.into_iter().map(Input::new).collect();
        Self { inputs, begun: false, output: RunWriter::new(id, tier, start..end) }
    }

    /// The number of the run being written.
    pub(super) fn id(&self) -> u64 {
        self.output.id()
    }

    /// Whether `run` is one of those being merged.
    pub(super) fn takes(&self, run: &Run) -> bool {
        self.inputs.iter().any(|input| input.run.record.id == run.record.id)
    }

    /// Writes about `pages` pages; true once nothing is left to merge.
    pub(super) fn step(&mut self, space: &Space, pages: usize) -> Result<bool, StoreError> {
        if !self.begun {
            self.inputs.iter_mut().try_for_each(|input| input.advance(space))?;
            self.begun = true;
        }
        let target = self.output.pages().saturating_add(pages);
        while self.output.pages() < target {
            if !self.move_group(space)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Completes the run, after [`Merge::step`] said that nothing is left.
    pub(super) fn finish(self, space: &Space) -> Result<Run, StoreError> {
        self.output.finish(space)
    }

    /// Moves the next group: the lowest term, and of the inputs that hold it the first. The inputs are neighbours, so
    /// the positions of a term come in their order.
    fn move_group(&mut self, space: &Space) -> Result<bool, StoreError> {
        let there = self.inputs.iter_mut().filter(|input| input.group.is_some());
        let Some(input) = there.min_by(|a, b| a.term.cmp(&b.term)) else { return Ok(false) };
        let (page, group) = (input.page.clone(), input.group.take().unwrap_or_default());
        let packed = page.get(group).unwrap_or_default();
        let (output, term, run) = (&mut self.output, &input.term, input.run.record.id);
        for_each_position(packed, input.run.record.positions.start, |position| {
            output.push(space, term, position).map_err(Failed::Store)
        })
        .map_err(|failed| failed.of_run(run))?;
        input.advance(space)?;
        Ok(true)
    }
}

/// Why a group could not be moved.
enum Failed {
    Malformed,
    Store(StoreError),
}

impl From<Malformed> for Failed {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl Failed {
    fn of_run(self, run: u64) -> StoreError {
        match self {
            Self::Malformed => malformed(run),
            Self::Store(error) => error,
        }
    }
}

/// One run being read through.
#[derive(Debug)]
struct Input {
    run: Arc<Run>,
    next_page: usize,
    page: Bytes,
    /// How much of the page was read.
    at: usize,
    /// The term of the next group.
    term: Vec<u8>,
    /// Where in the page the packed positions of the next group stand; `None` behind the last one.
    group: Option<Range<usize>>,
}

impl Input {
    fn new(run: Arc<Run>) -> Self {
        Self { run, next_page: 0, page: Bytes::new(), at: 0, term: Vec::new(), group: None }
    }

    /// Goes on to the next group, on the next page where this one is used up.
    fn advance(&mut self, space: &Space) -> Result<(), StoreError> {
        if self.at == self.page.len() {
            self.group = None;
            if self.next_page >= self.run.pages() {
                return Ok(());
            }
            self.page = self.run.page(space, self.next_page)?;
            self.next_page += 1;
            self.at = 0;
            self.term.clear();
        }
        let read = page::next_group(&self.page, &mut self.at, &mut self.term);
        self.group = Some(read.map_err(|Malformed| malformed(self.run.record.id))?);
        Ok(())
    }
}
