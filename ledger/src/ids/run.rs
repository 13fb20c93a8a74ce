//! A run on disk, opened: its filter in memory, its pages read one at a time.

use std::fmt;
use std::sync::Arc;

use super::IdsError;
use super::filter::{self, Filter};
use super::page::{self, PAGE_BYTES, PAGE_RECORDS, Record};
use super::shelf::{Identity, Span};
use crate::disk::DiskFile;
use crate::entry::IdKey;
use crate::types::Position;

const MAGIC: &[u8; 8] = b"TKLIDS01";
const VERSION: u32 = 1;
/// The number that a header takes in the CRC of its page, which no page of records has.
const HEADER_NUMBER: u64 = u64::MAX;
/// How much of a filter is read at once, in bytes; a multiple of 8.
const FILTER_CHUNK_BYTES: u64 = 1024 * 1024;

/// The header's page: written last, so it also says that everything behind it is there.
pub(super) fn header(identity: &Identity, filter_crc: u32) -> Vec<u8> {
    let mut header = Vec::with_capacity(PAGE_BYTES);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&identity.uid.0);
    header.extend_from_slice(&identity.span.first.0.to_le_bytes());
    header.extend_from_slice(&identity.span.entries().to_le_bytes());
    header.extend_from_slice(&filter::REMAINDER_BITS.to_le_bytes());
    header.extend_from_slice(&filter_crc.to_le_bytes());
    header.resize(PAGE_BYTES, 0);
    page::seal(&mut header, identity, HEADER_NUMBER);
    header
}

/// Where the filter begins.
pub(super) fn filter_offset(entries: u64) -> u64 {
    page::offset(page::pages(entries))
}

/// An immutable sorted run.
pub(super) struct Run {
    identity: Identity,
    file: Arc<dyn DiskFile>,
    filter: Filter,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("span", &self.identity.span).finish_non_exhaustive()
    }
}

impl Run {
    /// A run that was just written and is durable.
    pub(super) fn new(identity: Identity, file: Arc<dyn DiskFile>, filter: Filter) -> Self {
        Self { identity, file, filter }
    }

    /// Opens a run and checks everything but its pages, which are checked whenever they are read.
    pub(super) fn load(file: Arc<dyn DiskFile>, identity: Identity) -> Result<Self, IdsError> {
        let filter_crc = read_header(&*file, &identity)?;
        let entries = identity.span.entries();
        let (remainders, buckets) = filter::words(entries);
        let filter_bytes = 8 * (remainders + buckets) as u64;
        if file.len()? != filter_offset(entries) + filter_bytes {
            return Err(damaged(&identity, "its length is not what its header says"));
        }
        let mut words = read_filter(&*file, &identity, filter_bytes, filter_crc)?;
        let buckets = words.split_off(remainders);
        let filter = Filter::new(entries, words, buckets);
        let filter = filter.ok_or_else(|| damaged(&identity, "its filter contradicts itself"))?;
        Ok(Self { identity, file, filter })
    }

    pub(super) fn span(&self) -> Span {
        self.identity.span
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        self.filter.memory_bytes()
    }

    /// Adds the positions with this key, ascending, and counts the pages read for it.
    pub(super) fn find(
        &self,
        key: IdKey,
        found: &mut Vec<Position>,
        reads: &mut u64,
    ) -> Result<(), IdsError> {
        let mut at_hand = None;
        let mut bytes = [0; PAGE_BYTES];
        for index in self.filter.matches(key) {
            let number = index / PAGE_RECORDS;
            if at_hand != Some(number) {
                *reads += 1;
                self.read_pages(&mut bytes, number)?;
                at_hand = Some(number);
            }
            let record = self.record(&bytes, index)?;
            self.agrees(record.key, key)?;
            if record.key == key {
                found.push(record.position);
            }
        }
        Ok(())
    }

    /// Reads and checks whole pages from `number` on.
    pub(super) fn read_pages(&self, bytes: &mut [u8], number: u64) -> Result<(), IdsError> {
        if self.file.read_at(bytes, page::offset(number))? != bytes.len() {
            return Err(damaged(&self.identity, "it ends within a page"));
        }
        for (number, page) in (number..).zip(bytes.chunks_exact(PAGE_BYTES)) {
            if !page::is_sound(page, &self.identity, number) {
                return Err(damaged(&self.identity, "a page fails its check"));
            }
        }
        Ok(())
    }

    /// The record number `index` of the run, out of its page.
    pub(super) fn record(&self, page: &[u8], index: u64) -> Result<Record, IdsError> {
        let record = Record::decode(page, (index % PAGE_RECORDS) as usize, &self.identity);
        record.ok_or_else(|| damaged(&self.identity, "a record points out of its run"))
    }

    /// Filter and pages were written from the same keys: where the filter names a record, both have the same place.
    fn agrees(&self, record: IdKey, asked: IdKey) -> Result<(), IdsError> {
        let entries = self.identity.span.entries();
        if filter::place(record, entries) == filter::place(asked, entries) {
            Ok(())
        } else {
            Err(damaged(&self.identity, "a page contradicts the filter"))
        }
    }
}

pub(super) fn damaged(identity: &Identity, reason: &'static str) -> IdsError {
    IdsError::Damaged { file: identity.span.file_name(), reason }
}

/// Checks the header against the one that this program would have written, and returns the filter's CRC.
fn read_header(file: &dyn DiskFile, identity: &Identity) -> Result<u32, IdsError> {
    const FILTER_CRC: std::ops::Range<usize> = 48..52;
    let mut bytes = vec![0; PAGE_BYTES];
    file.read_at(&mut bytes, 0)?;
    let filter_crc = <[u8; 4]>::try_from(&bytes[FILTER_CRC]).map(u32::from_le_bytes).unwrap_or_default();
    if bytes == header(identity, filter_crc) {
        Ok(filter_crc)
    } else {
        Err(damaged(identity, "its header is not that of a run of this ledger and this version"))
    }
}

fn read_filter(file: &dyn DiskFile, identity: &Identity, bytes: u64, crc: u32) -> Result<Vec<u64>, IdsError> {
    let begin = filter_offset(identity.span.entries());
    let mut words = Vec::with_capacity((bytes / 8) as usize);
    let mut hasher = crc32fast::Hasher::new();
    let mut chunk = vec![0; FILTER_CHUNK_BYTES.min(bytes) as usize];
    let mut read = 0;
    while read < bytes {
        chunk.truncate((bytes - read) as usize);
        if file.read_at(&mut chunk, begin + read)? != chunk.len() {
            return Err(damaged(identity, "it ends within its filter"));
        }
        hasher.update(&chunk);
        words.extend(chunk.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)));
        read += chunk.len() as u64;
    }
    if hasher.finalize() == crc { Ok(words) } else { Err(damaged(identity, "its filter fails its check")) }
}
