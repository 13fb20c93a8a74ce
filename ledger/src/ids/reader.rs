//! Reads a run front to back, for a merge.

use std::sync::Arc;

use super::IdsError;
use super::page::{self, PAGE_BYTES, PAGE_RECORDS, Record};
use super::run::{Run, damaged};

/// How many pages are read at once.
const READ_PAGES: u64 = 64;

/// A run and how far it has been read; its buffer is all it holds of it.
#[derive(Debug)]
pub(super) struct RunReader {
    run: Arc<Run>,
    buffer: Vec<u8>,
    /// The number of the next record.
    next: u64,
    /// The next record, if there is one.
    head: Option<Record>,
}

impl RunReader {
    pub(super) fn start(run: Arc<Run>) -> Result<Self, IdsError> {
        let mut reader = Self { run, buffer: Vec::new(), next: 0, head: None };
        reader.advance()?;
        Ok(reader)
    }

    /// The next record, if there is one.
    pub(super) fn head(&self) -> Option<Record> {
        self.head
    }

    /// Goes on to the record behind the head.
    pub(super) fn advance(&mut self) -> Result<(), IdsError> {
        if self.next >= self.run.span().entries() {
            self.head = None;
            return Ok(());
        }
        let number = self.next / PAGE_RECORDS;
        if self.next.is_multiple_of(READ_PAGES * PAGE_RECORDS) {
            self.fill(number)?;
        }
        let begin = (number % READ_PAGES) as usize * PAGE_BYTES;
        let record = self.run.record(self.buffer.get(begin..).unwrap_or_default(), self.next)?;
        if self.head.is_some_and(|before| before >= record) {
            return Err(damaged(self.run.identity(), "it is not sorted"));
        }
        self.head = Some(record);
        self.next += 1;
        Ok(())
    }

    fn fill(&mut self, number: u64) -> Result<(), IdsError> {
        let pages = READ_PAGES.min(page::pages(self.run.span().entries()) - number);
        self.buffer.resize(pages as usize * PAGE_BYTES, 0);
        self.run.read_pages(&mut self.buffer, number)
    }
}
