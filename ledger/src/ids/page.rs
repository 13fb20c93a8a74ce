//! Records, and the pages of 4 KiB in which a run keeps them.

use super::shelf::Identity;
use crate::entry::IdKey;
use crate::types::Position;

/// The bytes of a page, and of a run's header.
pub(super) const PAGE_BYTES: usize = 4096;
/// The bytes of a record: its key, and its position less the run's first.
pub(super) const RECORD_BYTES: usize = 12;
/// The records of a page; the last page may have fewer.
pub(super) const PAGE_RECORDS: u64 = 340;
/// Where a page's (and the header's) own CRC stands.
const CRC_OFFSET: usize = PAGE_BYTES - 4;

/// One id: runs are sorted by key, then position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Record {
    pub(super) key: IdKey,
    pub(super) position: Position,
}

impl Record {
    /// Its bytes in the run `identity`; `None` where it does not belong there.
    pub(super) fn encode(self, identity: &Identity) -> Option<[u8; RECORD_BYTES]> {
        let offset = self.position.0.checked_sub(identity.span.first.0)?;
        let offset = u32::try_from(offset).ok()?;
        let mut bytes = [0; RECORD_BYTES];
        bytes[..8].copy_from_slice(&self.key.0.to_le_bytes());
        bytes[8..].copy_from_slice(&offset.to_le_bytes());
        Some(bytes)
    }

    /// The record in slot `slot` of a checked page; `None` where it points out of its run.
    pub(super) fn decode(page: &[u8], slot: usize, identity: &Identity) -> Option<Self> {
        let (key, rest) = page.get(slot * RECORD_BYTES..)?.split_first_chunk::<8>()?;
        let (offset, _) = rest.split_first_chunk::<4>()?;
        let position = Position(identity.span.first.0 + u64::from(u32::from_le_bytes(*offset)));
        let inside = position <= identity.span.last;
        inside.then_some(Self { key: IdKey(u64::from_le_bytes(*key)), position })
    }
}

/// The pages that hold `entries` records.
pub(super) fn pages(entries: u64) -> u64 {
    entries.div_ceil(PAGE_RECORDS)
}

/// Where page `number` begins in its file: behind the header.
pub(super) fn offset(number: u64) -> u64 {
    (number + 1) * PAGE_BYTES as u64
}

/// Writes the CRC into a page of [`PAGE_BYTES`].
pub(super) fn seal(page: &mut [u8], identity: &Identity, number: u64) {
    let crc = crc(page, identity, number);
    page[CRC_OFFSET..].copy_from_slice(&crc.to_le_bytes());
}

/// Whether a page is the one that was written here.
pub(super) fn is_sound(page: &[u8], identity: &Identity, number: u64) -> bool {
    page.len() == PAGE_BYTES && page[CRC_OFFSET..] == crc(page, identity, number).to_le_bytes()
}

/// Over the page and over where it belongs, so that a page that strayed from another place is no page of this one.
fn crc(page: &[u8], identity: &Identity, number: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&identity.uid.0);
    hasher.update(&identity.span.first.0.to_le_bytes());
    hasher.update(&identity.span.last.0.to_le_bytes());
    hasher.update(&number.to_le_bytes());
    hasher.update(&page[..CRC_OFFSET]);
    hasher.finalize()
}
