//! Merging neighbouring runs into one, a few pages at a time, while readers go on with the old ones.

use std::sync::Arc;

use super::page::{Groups, Malformed, unpack};
use super::run::{Run, RunWriter, malformed};
use super::space::Space;
use crate::store::StoreError;

/// A merge under way.
#[derive(Debug)]
pub(super) struct Merge {
    inputs: Vec<Input>,
    output: RunWriter,
}

impl Merge {
    /// Begins to merge `runs`, neighbours in the order of their positions, into run `id`.
    pub(super) fn new(runs: Vec<Arc<Run>>, id: u64, tier: u8) -> Self {
        let start = runs.first().map_or(0, |run| run.record.positions.start);
        let end = runs.last().map_or(start, |run| run.record.positions.end);
        let inputs = runs.into_iter().map(Input::new).collect();
        Self { inputs, output: RunWriter::new(id, tier, start..end) }
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
        for input in &mut self.inputs {
            input.fill(space)?;
        }
        let Some(input) =
            self.inputs.iter_mut().filter(|i| i.at < i.groups.len()).min_by(|a, b| a.term().cmp(&b.term()))
        else {
            return Ok(false);
        };
        let (term, positions) = std::mem::take(&mut input.groups[input.at]);
        input.at += 1;
        for position in positions {
            self.output.push(space, &term, position)?;
        }
        Ok(true)
    }
}

/// A term and its positions in one page.
type Group = (Box<[u8]>, Vec<u64>);

/// One run being read through.
#[derive(Debug)]
struct Input {
    run: Arc<Run>,
    next_page: usize,
    groups: Vec<Group>,
    at: usize,
}

impl Input {
    fn new(run: Arc<Run>) -> Self {
        Self { run, next_page: 0, groups: Vec::new(), at: 0 }
    }

    /// The term of the next group; `None` at the end.
    fn term(&self) -> Option<&[u8]> {
        self.groups.get(self.at).map(|(term, _)| &**term)
    }

    /// Reads the next page where the last one is used up.
    fn fill(&mut self, space: &Space) -> Result<(), StoreError> {
        if self.at < self.groups.len() || self.next_page >= self.run.pages() {
            return Ok(());
        }
        let page = self.run.page(space, self.next_page)?;
        let read = read_groups(&page, self.run.record.positions.start);
        self.groups = read.map_err(|Malformed| malformed(self.run.record.id))?;
        self.next_page += 1;
        self.at = 0;
        Ok(())
    }
}

fn read_groups(page: &[u8], base: u64) -> Result<Vec<Group>, Malformed> {
    let mut groups = Groups::new(page);
    let mut read = Vec::new();
    while let Some((term, packed)) = groups.next()? {
        read.push((term.into(), unpack(packed, base)?));
    }
    Ok(read)
}
