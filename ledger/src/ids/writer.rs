//! Writes a run: under a temporary name, front to back, its header last.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::IdsError;
use super::filter::FilterBuilder;
use super::page::{self, PAGE_BYTES, PAGE_RECORDS, Record};
use super::run::{self, Run, damaged};
use super::shelf::{Identity, Shelf, Span};
use crate::disk::{DiskFile, Open};

/// How much is gathered before it is written, in bytes; a multiple of a page.
const BUFFER_BYTES: usize = 64 * PAGE_BYTES;

/// A run as it is being written. Its file goes when it is dropped before it is finished.
pub(super) struct RunWriter {
    shelf: Arc<Shelf>,
    identity: Identity,
    temporary: PathBuf,
    file: Arc<dyn DiskFile>,
    filter: FilterBuilder,
    filter_crc: crc32fast::Hasher,
    /// How much of the filter is written, in words.
    filter_words: usize,
    /// Whole pages that are not written yet, then the one that is being filled.
    buffer: Vec<u8>,
    /// Where the buffer begins in the file.
    offset: u64,
    records: u64,
    /// Whether the file may have the run's name already.
    named: bool,
    finished: bool,
}

impl fmt::Debug for RunWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunWriter").field("span", &self.identity.span).finish_non_exhaustive()
    }
}

impl RunWriter {
    pub(super) fn start(shelf: &Arc<Shelf>, span: Span) -> io::Result<Self> {
        shelf.disk.make_dir(&shelf.dir)?;
        let temporary = shelf.temporary_path(span);
        let file = shelf.disk.open(&temporary, Open::New)?;
        Ok(Self {
            shelf: Arc::clone(shelf),
            identity: shelf.identity(span),
            temporary,
            file,
            filter: FilterBuilder::new(span.entries()),
            filter_crc: crc32fast::Hasher::new(),
            filter_words: 0,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            offset: page::offset(0),
            records: 0,
            named: false,
            finished: false,
        })
    }

    pub(super) fn span(&self) -> Span {
        self.identity.span
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        self.filter.memory_bytes() + self.buffer.capacity() as u64
    }

    /// Takes the next record in order.
    pub(super) fn push(&mut self, record: Record) -> Result<(), IdsError> {
        let bytes = record.encode(&self.identity);
        let bytes = bytes.ok_or_else(|| damaged(&self.identity, "a record does not belong into the run"))?;
        self.buffer.extend_from_slice(&bytes);
        self.filter.push(record.key);
        self.records += 1;
        if self.records.is_multiple_of(PAGE_RECORDS) {
            self.close_page();
        }
        if self.buffer.len() >= BUFFER_BYTES {
            self.write_buffer()?;
        }
        Ok(())
    }

    /// Makes durable what is written, so that no sync ever has much to do.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// Once all records are pushed: writes more of the filter, at most `words_max` words. Returns whether all of it
    /// is written.
    pub(super) fn write_filter(&mut self, words_max: usize) -> io::Result<bool> {
        if self.filter_words == 0 {
            if !self.records.is_multiple_of(PAGE_RECORDS) {
                self.close_page();
            }
            self.write_buffer()?;
        }
        let words: Vec<u64> = self.filter.words().skip(self.filter_words).take(words_max).collect();
        for chunk in words.chunks(BUFFER_BYTES / 8) {
            self.buffer.extend(chunk.iter().flat_map(|word| word.to_le_bytes()));
            self.filter_crc.update(&self.buffer);
            self.write_buffer()?;
        }
        self.filter_words += words.len();
        Ok(words.len() < words_max)
    }

    /// Gives the run its header and its name. From here on it survives.
    pub(super) fn finish(mut self) -> Result<Run, IdsError> {
        let entries = self.identity.span.entries();
        let filter = std::mem::replace(&mut self.filter, FilterBuilder::new(0)).finish();
        let filter = filter.filter(|_| self.records == entries);
        let filter =
            filter.ok_or_else(|| damaged(&self.identity, "its inputs are not what their names say"))?;
        self.file.write_at(&run::header(&self.identity, self.filter_crc.clone().finalize()), 0)?;
        self.file.sync()?;
        let path = self.shelf.path(self.identity.span);
        self.named = true;
        self.shelf.disk.rename(&self.temporary, &path)?;
        self.shelf.disk.sync_dir(&self.shelf.dir)?;
        self.finished = true;
        Ok(Run::new(self.identity, Arc::clone(&self.file), filter))
    }

    fn close_page(&mut self) {
        let number = (self.records - 1) / PAGE_RECORDS;
        self.buffer.resize(self.buffer.len().next_multiple_of(PAGE_BYTES), 0);
        let begin = self.buffer.len() - PAGE_BYTES;
        page::seal(&mut self.buffer[begin..], &self.identity, number);
    }

    fn write_buffer(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.offset)?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl Drop for RunWriter {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // Where this fails the next opening sorts it out. A run left under its name is true, but it could stand in the
        // way of runs that other merges make.
        let _ = self.shelf.disk.remove(&self.temporary);
        if self.named {
            let _ = self.shelf.remove(self.identity.span);
        }
    }
}
