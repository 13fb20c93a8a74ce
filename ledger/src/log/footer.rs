//! The footer that seals a segment. `docs/format.md` draws it.

use crate::entry::IdKey;
use crate::tree::Frontier;
use crate::types::{Link, Position, Time};

use super::index::{End, Index, STRIDE};
use super::segment::{Fields, HEADER_BYTES, SECTOR_BYTES, align};

const MAGIC: &[u8; 8] = b"TKLFOOT1";
const END_MAGIC: &[u8; 8] = b"TKLFOOTE";
const VERSION: u32 = 1;
const FIXED_BYTES: u64 = 88;
pub(crate) const ID_BYTES: u64 = 12;
/// The bytes behind the ids: CRC, length, magic.
pub(crate) const TRAILER_BYTES: u64 = 16;

/// The bytes of the footer of a segment of so many entries, with a tree frontier of so many bytes.
pub(crate) fn footer_bytes(entries: u64, frontier: u64) -> u64 {
    FIXED_BYTES + frontier + 8 * entries.div_ceil(STRIDE) + ID_BYTES * entries + TRAILER_BYTES
}

/// The bytes of the frontier of a tree of so many leaves.
pub(crate) fn frontier_bytes(size: u64) -> u64 {
    32 * u64::from(size.count_ones())
}

/// The bytes of the frontier in the footer of these entries: none where the tree is not known.
pub(crate) fn frontier(index: &Index) -> Vec<u8> {
    index.tree.as_ref().map(Frontier::to_bytes).unwrap_or_default()
}

/// What a footer says, without its ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) first: Position,
    pub(crate) end: End,
    pub(crate) strides: Vec<(Position, u64)>,
    /// The tree over all entries up to the last of the segment, where it says so.
    pub(crate) tree: Option<Frontier>,
}

/// The footer of the entries of a segment; the same entries always give the same bytes.
pub(crate) fn encode(index: &Index) -> Vec<u8> {
    let frontier = frontier(index);
    let bytes = footer_bytes(index.count(), frontier.len() as u64);
    let mut footer = Vec::with_capacity(usize::try_from(bytes).unwrap_or_default());
    footer.extend_from_slice(MAGIC);
    footer.extend_from_slice(&VERSION.to_le_bytes());
    footer.extend_from_slice(&index.count().to_le_bytes());
    footer.extend_from_slice(&index.first.0.to_le_bytes());
    footer.extend_from_slice(&index.end.link.0);
    footer.extend_from_slice(&index.end.recorded_at.0.to_le_bytes());
    footer.extend_from_slice(&index.end.epoch.to_le_bytes());
    footer.extend_from_slice(&index.end.offset.to_le_bytes());
    footer.extend_from_slice(&u32::try_from(frontier.len()).unwrap_or_default().to_le_bytes());
    footer.extend_from_slice(&u32::try_from(STRIDE).unwrap_or_default().to_le_bytes());
    footer.extend_from_slice(&frontier);
    for (_, offset) in &index.strides {
        footer.extend_from_slice(&offset.to_le_bytes());
    }
    let mut ids = index.ids.clone();
    ids.sort_unstable();
    for (key, number) in ids {
        footer.extend_from_slice(&key.0.to_le_bytes());
        footer.extend_from_slice(&number.to_le_bytes());
    }
    let crc = crc32fast::hash(&footer);
    footer.extend_from_slice(&crc.to_le_bytes());
    footer.extend_from_slice(&u32::try_from(bytes).unwrap_or_default().to_le_bytes());
    footer.extend_from_slice(END_MAGIC);
    footer
}

/// From the last 16 bytes of a file of `file_bytes`: where its footer begins. `None` where it has none.
pub(crate) fn start(trailer: &[u8], file_bytes: u64) -> Option<u64> {
    let mut fields = Fields(trailer);
    let _crc = fields.u32()?;
    let bytes = u64::from(fields.u32()?);
    if fields.take::<8>()? != END_MAGIC {
        return None;
    }
    let start = file_bytes.checked_sub(bytes)?;
    (start >= HEADER_BYTES && start == align(start)).then_some(start)
}

/// Reads a footer that stands at offset `start`: what it says, and the bytes of its ids. `None` where it is not what
/// was written.
pub(crate) fn decode(footer: &[u8], start: u64) -> Option<(Footer, &[u8])> {
    let (body, trailer) = footer.split_at_checked(footer.len().checked_sub(TRAILER_BYTES as usize)?)?;
    let mut fields = Fields(trailer);
    let crc_is_right = fields.u32()? == crc32fast::hash(body);
    let length_is_right = u64::from(fields.u32()?) == footer.len() as u64;
    if !crc_is_right || !length_is_right || fields.take::<8>()? != END_MAGIC {
        return None;
    }
    let mut fields = Fields(body);
    if fields.take::<8>()? != MAGIC || fields.u32()? != VERSION {
        return None;
    }
    let count = fields.u64()?;
    let first = Position(fields.u64()?);
    let end = End {
        next: Position(first.0.checked_add(count)?),
        link: Link(*fields.take()?),
        recorded_at: Time(i64::from_le_bytes(*fields.take()?)),
        epoch: fields.u32()?,
        offset: fields.u64()?,
    };
    let frontier_bytes = usize::try_from(fields.u32()?).ok()?;
    let stride = u64::from(fields.u32()?);
    let (frontier, rest) = fields.0.split_at_checked(frontier_bytes)?;
    let tree = decode_frontier(end.next, frontier)?;
    if stride == 0 || count == 0 || align(end.offset) != start {
        return None;
    }
    let (offsets, ids) =
        rest.split_at_checked(usize::try_from(count.div_ceil(stride).checked_mul(8)?).ok()?)?;
    if ids.len() as u64 != count.checked_mul(ID_BYTES)? {
        return None;
    }
    let strides = strides(offsets, first, stride, end.offset)?;
    Some((Footer { first, end, strides, tree }, ids))
}

/// The tree of the entries before `next`, by the bytes of a footer: not known where these are none. `None` where they are
/// no frontier of so many leaves.
#[expect(clippy::option_option, reason = "a footer is wrong, or does not know, or does")]
pub(crate) fn decode_frontier(next: Position, bytes: &[u8]) -> Option<Option<Frontier>> {
    if bytes.is_empty() {
        return Some(None);
    }
    Frontier::from_bytes(next.0, bytes).map(Some)
}

fn strides(offsets: &[u8], first: Position, stride: u64, end: u64) -> Option<Vec<(Position, u64)>> {
    let mut strides = Vec::with_capacity(offsets.len() / 8);
    let mut least = HEADER_BYTES;
    for (number, offset) in offsets.chunks_exact(8).enumerate() {
        let offset = u64::from_le_bytes(offset.try_into().ok()?);
        if offset < least || offset >= end {
            return None;
        }
        least = offset + 1;
        strides.push((Position(first.0 + number as u64 * stride), offset));
    }
    Some(strides)
}

/// The ids of a footer: keys and the numbers of their entries, by key.
pub(crate) fn ids(bytes: &[u8]) -> impl Iterator<Item = (IdKey, u32)> + '_ {
    bytes.chunks_exact(ID_BYTES as usize).filter_map(|id| {
        let mut fields = Fields(id);
        Some((IdKey(fields.u64()?), fields.u32()?))
    })
}

/// What stands where the footer of an open segment would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sealing {
    /// No footer.
    NotBegun,
    /// The whole footer, whatever the length of the file.
    Done,
    /// Part of the footer; its other sectors are zero.
    Torn,
    /// A footer that was changed.
    Damaged,
}

/// Compares what stands behind the frames of `index` with the footer that they would have. `bytes` is the file, with
/// zeros behind the `present` bytes that it has.
pub(crate) fn sealing(index: &Index, bytes: &[u8], present: usize) -> Sealing {
    let offset = |o: u64| usize::try_from(o).unwrap_or(usize::MAX).min(bytes.len());
    let start = offset(align(index.end.offset));
    let padding = &bytes[offset(index.end.offset)..start];
    let region = &bytes[start..];
    if index.count() == 0 || !is_zero(padding) || is_zero(region) {
        return Sealing::NotBegun;
    }
    let expected = encode(index);
    let sectors = expected.chunks(SECTOR_BYTES).zip(region.chunks(SECTOR_BYTES)).enumerate();
    let (mut alike, mut changed) = (false, !is_zero(region.get(expected.len()..).unwrap_or_default()));
    for (number, (expected, actual)) in sectors {
        let there = present.saturating_sub(start + number * SECTOR_BYTES).min(expected.len());
        let (expected, actual) = (&expected[..there], &actual[..there.min(actual.len())]);
        alike |= resembles(expected, actual);
        changed |= expected != actual && !is_zero(actual);
    }
    let whole = region.starts_with(&expected) && present >= start + expected.len();
    match (alike, changed) {
        (_, false) if whole => Sealing::Done,
        (_, false) => Sealing::Torn,
        (true, true) => Sealing::Damaged,
        (false, true) => Sealing::NotBegun,
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| *b == 0)
}

/// Whether this was this sector of a footer once, and not part of a frame.
fn resembles(expected: &[u8], actual: &[u8]) -> bool {
    let told = expected.iter().zip(actual).filter(|(e, _)| **e != 0);
    let (same, all) = told.fold((0, 0), |(same, all), (e, a)| (same + usize::from(e == a), all + 1));
    same >= 8 && same * 2 >= all
}

#[cfg(test)]
#[path = "footer_tests.rs"]
mod tests;
