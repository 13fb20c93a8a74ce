//! The first 512 bytes of a segment.

use super::source::SECTOR;
use crate::types::{LedgerUid, Link, Position};

/// The bytes of a segment's header: one sector, so that it is written whole or not at all.
pub(super) const SEGMENT_HEADER_BYTES: u64 = SECTOR;
/// The format of a segment whose frames stand one behind the other.
const PLAIN_VERSION: u32 = 1;
/// The format of a packed segment.
pub(super) const PACKED_VERSION: u32 = 2;

/// A segment's header that fits its CRC.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentHeader {
    pub(super) version: u32,
    pub(super) uid: LedgerUid,
    pub(super) first: Position,
    pub(super) link_before: Link,
    pub(super) capacity: u64,
}

impl SegmentHeader {
    /// Reads a header.
    ///
    /// # Errors
    /// Where in the header what is wrong.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, (u64, String)> {
        let Some(bytes) = bytes.first_chunk::<512>() else {
            return Err((bytes.len() as u64, "the file ends within the segment's header".to_owned()));
        };
        if bytes[..8] != *b"TKLSEG01" {
            return Err((0, "no segment's header begins here".to_owned()));
        }
        if crc32fast::hash(&bytes[..508]).to_le_bytes() != bytes[508..] {
            return Err((0, "the segment's header does not fit its CRC".to_owned()));
        }
        Ok(Self {
            version: u32::from_le_bytes(array(bytes, 8)),
            uid: LedgerUid(array(bytes, 12)),
            first: Position(u64::from_le_bytes(array(bytes, 28))),
            link_before: Link(array(bytes, 36)),
            capacity: u64::from_le_bytes(array(bytes, 68)),
        })
    }

    /// What is wrong with a header although it fits its CRC, and where.
    pub(super) fn faults(&self, raw: &[u8], named: Position) -> Vec<(u64, String)> {
        let mut faults = Vec::new();
        if !self.known() {
            faults.push((8, format!("format version {} is not known to this program", self.version)));
        }
        if self.first != named {
            faults.push((28, format!("the header says that the segment begins at position {}", self.first)));
        }
        if self.capacity < SEGMENT_HEADER_BYTES || !self.capacity.is_multiple_of(SECTOR) {
            faults.push((68, format!("a capacity of {} bytes is not a multiple of 512", self.capacity)));
        }
        if let Some(i) = raw.get(76..508).and_then(|rest| rest.iter().position(|b| *b != 0)) {
            faults.push((76 + i as u64, "a reserved byte of the header is not zero".to_owned()));
        }
        faults
    }

    /// Whether frames follow, one behind the other.
    pub(super) fn is_plain(&self) -> bool {
        self.version == PLAIN_VERSION
    }

    /// Whether this program knows the format.
    pub(super) fn known(&self) -> bool {
        [PLAIN_VERSION, PACKED_VERSION].contains(&self.version)
    }
}

/// `N` bytes from `offset` on; zeros where there are not as many.
fn array<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    bytes.get(offset..offset + N).and_then(|b| b.try_into().ok()).unwrap_or([0; N])
}
