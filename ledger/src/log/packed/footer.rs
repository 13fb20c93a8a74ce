//! The footer of a packed segment: a head that opening a log needs, with a CRC of its own, and the keys of the event
//! ids, which only an index of ids needs.

use std::io;

use crate::disk::DiskFile;
use crate::entry::IdKey;
use crate::log::footer;
use crate::log::index::{End, Index};
use crate::log::read::read_range;
use crate::log::segment::{Fields, HEADER_BYTES, align};
use crate::tree::Frontier;
use crate::types::{LedgerUid, Link, Position, Time};

use super::{Blocks, block};

const MAGIC: &[u8; 8] = b"TKLFOOT2";
const END_MAGIC: &[u8; 8] = b"TKLFOOTE";
const VERSION: u32 = 2;
const FIXED_BYTES: u64 = 104;
const BLOCK_BYTES: u64 = 8;
const KEY_BYTES: u64 = 8;
const CRC_BYTES: u64 = 4;
/// The bytes behind the keys: their CRC, the footer's length, magic.
const TRAILER_BYTES: u64 = 16;

/// What the head of a packed segment's footer says.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) uid: LedgerUid,
    pub(crate) first: Position,
    /// The end of the segment; its offset is that before packing.
    pub(crate) end: End,
    pub(crate) blocks: Blocks,
    /// Where in the file the footer begins.
    pub(crate) start: u64,
    /// The tree over all entries up to the last of the segment, where it says so.
    pub(crate) tree: Option<Frontier>,
}

/// The bytes of a segment before it was packed, when its frames ended at `frames_end`.
fn bytes_before(frames_end: u64, entries: u64, frontier: u64) -> Option<u64> {
    let entries_fit = entries <= u64::from(u32::MAX);
    (entries_fit && frames_end <= u64::from(u32::MAX))
        .then(|| align(frames_end) + footer::footer_bytes(entries, frontier))
}

/// The footer of a segment with these entries, packed into blocks that begin at `starts`; the same entries and blocks
/// always give the same bytes.
pub(super) fn encode(index: &Index, uid: LedgerUid, starts: &[(u32, u32)]) -> Vec<u8> {
    let frontier = footer::frontier(index);
    let mut bytes = Vec::with_capacity(starts.len() * 8 + index.ids.len() * 8 + frontier.len() + 256);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&index.count().to_le_bytes());
    bytes.extend_from_slice(&index.first.0.to_le_bytes());
    bytes.extend_from_slice(&index.end.link.0);
    bytes.extend_from_slice(&index.end.recorded_at.0.to_le_bytes());
    bytes.extend_from_slice(&index.end.epoch.to_le_bytes());
    bytes.extend_from_slice(&index.end.offset.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(frontier.len()).unwrap_or_default().to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(starts.len()).unwrap_or_default().to_le_bytes());
    bytes.extend_from_slice(&uid.0);
    bytes.extend_from_slice(&frontier);
    for (number, offset) in starts {
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&offset.to_le_bytes());
    }
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    let keys = bytes.len();
    for (key, _) in &index.ids {
        bytes.extend_from_slice(&key.0.to_le_bytes());
    }
    let crc = crc32fast::hash(bytes.get(keys..).unwrap_or_default());
    bytes.extend_from_slice(&crc.to_le_bytes());
    let whole = bytes.len() as u64 + TRAILER_BYTES - CRC_BYTES;
    bytes.extend_from_slice(&u32::try_from(whole).unwrap_or_default().to_le_bytes());
    bytes.extend_from_slice(END_MAGIC);
    bytes
}

/// Reads the head of the footer of a file of `file_bytes`, and no more of it. `None` where it has no sound one.
pub(crate) fn head_of(file: &dyn DiskFile, file_bytes: u64) -> io::Result<Option<Head>> {
    let trailer = read_range(file, file_bytes.saturating_sub(TRAILER_BYTES), file_bytes)?;
    let Some(start) = start(&trailer, file_bytes) else { return Ok(None) };
    let fixed = read_range(file, start, (start + FIXED_BYTES).min(file_bytes))?;
    let Some(head_bytes) = head_bytes(&fixed, file_bytes - start) else { return Ok(None) };
    let head = read_range(file, start, start + head_bytes)?;
    Ok(decode(&head, start, file_bytes))
}

/// From the last 16 bytes of a file: where its footer begins.
fn start(trailer: &[u8], file_bytes: u64) -> Option<u64> {
    let mut fields = Fields(trailer);
    let _crc = fields.u32()?;
    let bytes = u64::from(fields.u32()?);
    (fields.take::<8>()? == END_MAGIC).then_some(())?;
    file_bytes.checked_sub(bytes).filter(|start| *start > HEADER_BYTES)
}

/// The bytes of the head by what it says itself, if the whole footer has the `bytes` that follow from that.
fn head_bytes(fixed: &[u8], bytes: u64) -> Option<u64> {
    let mut fields = Fields(fixed);
    (fields.take::<8>()? == MAGIC && fields.u32()? == VERSION).then_some(())?;
    let entries = fields.u64()?;
    let mut fields = Fields(fixed.get(80..)?);
    let (frontier, blocks) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
    let head = FIXED_BYTES + frontier + BLOCK_BYTES * blocks + CRC_BYTES;
    let keys = entries.checked_mul(KEY_BYTES)?;
    (head.checked_add(keys)?.checked_add(TRAILER_BYTES)? == bytes).then_some(head)
}

fn decode(head: &[u8], start: u64, file_bytes: u64) -> Option<Head> {
    let (body, crc) = head.split_last_chunk::<4>()?;
    (crc32fast::hash(body).to_le_bytes() == *crc).then_some(())?;
    let mut fields = Fields(body.get(12..)?);
    let entries = fields.u64()?;
    let first = Position(fields.u64()?);
    let end = End {
        next: Position(first.0.checked_add(entries)?),
        link: Link(*fields.take()?),
        recorded_at: Time(i64::from_le_bytes(*fields.take()?)),
        epoch: fields.u32()?,
        offset: fields.u64()?,
    };
    let frontier = usize::try_from(fields.u32()?).ok()?;
    let _blocks = fields.u32()?;
    let uid = LedgerUid(*fields.take()?);
    let (frontier, starts_bytes) = fields.0.split_at_checked(frontier)?;
    let tree = footer::decode_frontier(end.next, frontier)?;
    let starts = starts(starts_bytes)?;
    let behind = (u32::try_from(entries).ok()?, u32::try_from(start).ok()?);
    in_order(&starts, behind).then_some(())?;
    let blocks =
        Blocks::new(starts, behind, file_bytes, bytes_before(end.offset, entries, frontier.len() as u64)?);
    Some(Head { uid, first, end, blocks, start, tree })
}

fn starts(bytes: &[u8]) -> Option<Vec<(u32, u32)>> {
    let number = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?));
    bytes.chunks(BLOCK_BYTES as usize).map(|b| Some((number(b.get(..4)?)?, number(b.get(4..)?)?))).collect()
}

/// Whether the first block begins where blocks begin, each further one behind the one before, and none is larger than
/// a block can be.
fn in_order(starts: &[(u32, u32)], behind: (u32, u32)) -> bool {
    let follows = |one: (u32, u32), next: (u32, u32)| {
        let bytes = u64::from(next.1).saturating_sub(u64::from(one.1));
        let most = (block::HEADER_BYTES + block::ZSTD_BYTES_MAX) as u64;
        one.0 < next.0 && bytes > block::HEADER_BYTES as u64 && bytes <= most
    };
    starts.first() == Some(&(0, HEADER_BYTES as u32))
        && starts.windows(2).all(|pair| follows(pair[0], pair[1]))
        && starts.last().is_some_and(|last| follows(*last, behind))
}

/// The keys of the event ids of a packed segment, in the order of its entries; `None` where they are not what was
/// written.
pub(crate) fn keys_of(file: &dyn DiskFile, footer: u64, file_bytes: u64) -> io::Result<Option<Vec<IdKey>>> {
    let fixed = read_range(file, footer, (footer + FIXED_BYTES).min(file_bytes))?;
    let Some(head_bytes) = head_bytes(&fixed, file_bytes.saturating_sub(footer)) else { return Ok(None) };
    let bytes = read_range(file, footer + head_bytes, file_bytes)?;
    Ok(keys(&bytes))
}

fn keys(bytes: &[u8]) -> Option<Vec<IdKey>> {
    let (keys, trailer) = bytes.split_at_checked(bytes.len().checked_sub(TRAILER_BYTES as usize)?)?;
    (Fields(trailer).u32()? == crc32fast::hash(keys)).then_some(())?;
    let key = |bytes: &[u8]| Some(IdKey(u64::from_le_bytes(bytes.try_into().ok()?)));
    keys.chunks(KEY_BYTES as usize).map(key).collect()
}
