//! The header of a segment file, and the names of files. `docs/format.md` draws them.

use std::path::{Path, PathBuf};

use crate::types::{LedgerUid, Link, Position};

/// The unit in which a disk writes all or nothing, and to which the parts of a segment are aligned.
pub(crate) const SECTOR_BYTES: usize = 512;
/// The bytes of a segment's header; frames follow.
pub(crate) const HEADER_BYTES: u64 = 512;
/// The newest format that this program reads and writes.
pub(crate) const FORMAT_VERSION: u32 = 2;
/// The segment that is being prepared ahead of use.
pub(crate) const NEXT_NAME: &str = "next.tmp";
/// The directory of what repairs cut off.
pub(crate) const TORN_NAME: &str = "torn";
/// The largest segment.
pub(crate) const CAPACITY_BYTES_MAX: u64 = 1 << 30;
const MAGIC: &[u8; 8] = b"TKLSEG01";

/// The next multiple of a sector.
pub(crate) fn align(bytes: u64) -> u64 {
    bytes.next_multiple_of(SECTOR_BYTES as u64)
}

/// In which form a segment holds its entries; its number is the format version of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Frame behind frame.
    Plain = 1,
    /// Frames in compressed blocks.
    Packed = 2,
}

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) form: Form,
    pub(crate) uid: LedgerUid,
    pub(crate) first: Position,
    /// The link of the entry before the first.
    pub(crate) previous: Link,
    /// Bytes of the file while it is open, a multiple of 512.
    pub(crate) capacity: u64,
}

/// Bytes that are no header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// A newer program wrote it.
    Newer(u32),
    /// It is not what was written.
    Damaged,
}

impl SegmentHeader {
    /// Its 512 bytes.
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut bytes = [0; HEADER_BYTES as usize];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&(self.form as u32).to_le_bytes());
        bytes[12..28].copy_from_slice(&self.uid.0);
        bytes[28..36].copy_from_slice(&self.first.0.to_le_bytes());
        bytes[36..68].copy_from_slice(&self.previous.0);
        bytes[68..76].copy_from_slice(&self.capacity.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..508]);
        bytes[508..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let bytes: &[u8; HEADER_BYTES as usize] = bytes.first_chunk().ok_or(BadHeader::Damaged)?;
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or(BadHeader::Damaged)?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err(BadHeader::Damaged);
        }
        let mut fields = Fields(body);
        if fields.take::<8>() != Some(MAGIC) {
            return Err(BadHeader::Damaged);
        }
        let version = fields.u32().ok_or(BadHeader::Damaged)?;
        let form = match version {
            1 => Form::Plain,
            2 => Form::Packed,
            newer if newer > FORMAT_VERSION => return Err(BadHeader::Newer(newer)),
            _ => return Err(BadHeader::Damaged),
        };
        fields.header(form).ok_or(BadHeader::Damaged)
    }
}

/// Reads fields of fixed size off the front of bytes.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn take<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(field)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(|b| u32::from_le_bytes(*b))
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(|b| u64::from_le_bytes(*b))
    }

    fn header(&mut self, form: Form) -> Option<SegmentHeader> {
        let uid = LedgerUid(*self.take()?);
        let first = Position(self.u64()?);
        let previous = Link(*self.take()?);
        let capacity = self.u64()?;
        let capacity_is_sound =
            (HEADER_BYTES..=CAPACITY_BYTES_MAX).contains(&capacity) && capacity == align(capacity);
        let sound = capacity_is_sound && first.0 < u64::MAX / 2;
        let rest_is_zero = self.0.iter().all(|b| *b == 0);
        (sound && rest_is_zero).then_some(SegmentHeader { form, uid, first, previous, capacity })
    }
}

/// The name of the segment that begins at a position.
pub(crate) fn file_name(first: Position) -> String {
    format!("{:020}.seg", first.0)
}

/// The position in the name of a segment; `None` where it is no such name.
pub(crate) fn position_in(name: &str) -> Option<Position> {
    let digits = name.strip_suffix(".seg")?;
    let position = Position(digits.parse().ok()?);
    (digits.len() == 20 && file_name(position) == name).then_some(position)
}

/// The directory of the segments.
pub(crate) fn log_dir(ledger_dir: &Path) -> PathBuf {
    ledger_dir.join("log")
}

/// How a file of the log is named in reports: relative to the ledger's directory.
pub(crate) fn reported(name: &str) -> String {
    format!("log/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            form: Form::Plain,
            uid: LedgerUid([1; 16]),
            first: Position(77),
            previous: Link([2; 32]),
            capacity: 16_384,
        }
    }

    #[test]
    fn a_header_reads_back_and_no_flipped_bit_goes_unnoticed() {
        let bytes = header().encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header()));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&flipped), Err(BadHeader::Damaged), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let mut bytes = header().encode();
        bytes[8] = 3;
        let crc = crc32fast::hash(&bytes[..508]);
        bytes[508..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(BadHeader::Newer(3)));
    }

    #[test]
    fn names_of_segments_carry_their_position_in_twenty_digits() {
        assert_eq!(position_in("00000000000000000042.seg"), Some(Position(42)));
        for other in ["42.seg", "0000000000000000000x.seg", "+0000000000000000042.seg", "next.tmp"] {
            assert_eq!(position_in(other), None);
        }
    }
}
