//! A sealed segment's footer. The judge does not believe one: it computes from the entries what the footer must be,
//! and compares byte by byte.

use std::io;

use super::source::{SECTOR, Source};
use super::tree::Subtrees;
use crate::types::{Link, Position, Time};

pub(super) const STRIDE: u64 = 64;
const MAGIC: &[u8; 8] = b"TKLFOOT1";
pub(super) const MAGIC_BEHIND: &[u8; 8] = b"TKLFOOTE";
pub(super) const FIXED_BYTES: usize = 88;
/// Where a footer, packed or not, says how many bytes its tree frontier has, and the most that it can have.
const SIZE_OF_FRONTIER_AT: u64 = 80;
const FRONTIER_BYTES_MAX: u32 = 32 * 64;
const BEHIND_BYTES: usize = 16;
pub(super) const ID_BYTES: usize = 12;
/// No segment has more bytes before its footer.
const CAPACITY_BYTES_MAX: u64 = 1 << 30;
/// No entry takes fewer bytes of a segment: the header of its frame, and its own.
const FRAME_BYTES_MIN: u64 = 64;
/// Fewer equal bytes may be chance.
const ALIKE_BYTES_MIN: usize = 8;

/// What the entries of a segment say that its footer must hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    /// Event id keys with the entry's number in the segment, in the entries' order.
    pub(super) ids: Vec<(u64, u32)>,
    /// Offsets of every 64th frame.
    pub(super) offsets: Vec<u64>,
}

impl Contents {
    /// Notes the entry that is the `number`th of its segment, from 0.
    pub(super) fn note(&mut self, number: u64, offset: u64, key: u64) {
        if number.is_multiple_of(STRIDE) {
            self.offsets.push(offset);
        }
        self.ids.push((key, u32::try_from(number).unwrap_or(u32::MAX)));
    }
}

/// The facts of a footer beside its lists.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) first: Position,
    pub(super) link: Link,
    pub(super) recorded_at: Time,
    pub(super) epoch: u32,
    pub(super) end: u64,
    /// The tree frontier.
    pub(super) tree: Vec<u8>,
}

impl Facts {
    /// The fields of the footer of so many entries, before its lists.
    pub(super) fn fixed(&self, entries: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FIXED_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&1_u32.to_le_bytes());
        bytes.extend_from_slice(&entries.to_le_bytes());
        bytes.extend_from_slice(&self.first.0.to_le_bytes());
        bytes.extend_from_slice(&self.link.0);
        bytes.extend_from_slice(&self.recorded_at.0.to_le_bytes());
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&self.end.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(self.tree.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(&(STRIDE as u32).to_le_bytes());
        bytes.extend_from_slice(&self.tree);
        bytes
    }
}

/// The bytes of the footer of so many entries that keeps no tree.
pub(super) fn bytes_without_tree(entries: u64) -> u64 {
    let lists = 8 * entries.div_ceil(STRIDE) + ID_BYTES as u64 * entries;
    (FIXED_BYTES + BEHIND_BYTES) as u64 + lists
}

/// The tree frontier that a footer must hold: that of the entries. Footers from before there was a tree have none: they
/// say so, and have `without` bytes. Where the tree is not known, it is what stands `at` bytes into the footer.
pub(super) fn frontier(
    source: &mut Source<'_>,
    (start, at): (u64, u64),
    without: u64,
    tree: Option<&Subtrees>,
) -> io::Result<Vec<u8>> {
    let told = source.read(start + SIZE_OF_FRONTIER_AT, 4)?.try_into().map_or(0, u32::from_le_bytes);
    if told == 0 && source.len().saturating_sub(start) == without {
        return Ok(Vec::new());
    }
    if let Some(tree) = tree {
        return Ok(tree.bytes());
    }
    let plausible = told <= FRONTIER_BYTES_MAX && told.is_multiple_of(32);
    Ok(if plausible { source.read(start + at, told as usize)?.to_vec() } else { Vec::new() })
}

/// The footer as it must be.
pub(super) struct Expected {
    pub(super) bytes: Vec<u8>,
    first: Position,
    entries: u64,
    frontier: usize,
    numbers: Vec<u32>,
}

impl Expected {
    pub(super) fn of(mut contents: Contents, facts: &Facts) -> Self {
        let entries = contents.ids.len() as u64;
        contents.ids.sort_unstable();
        let mut bytes = Vec::with_capacity(
            FIXED_BYTES
                + facts.tree.len()
                + 8 * contents.offsets.len()
                + ID_BYTES * contents.ids.len()
                + BEHIND_BYTES,
        );
        bytes.extend_from_slice(&facts.fixed(entries));
        for offset in &contents.offsets {
            bytes.extend_from_slice(&offset.to_le_bytes());
        }
        for (key, number) in &contents.ids {
            bytes.extend_from_slice(&key.to_le_bytes());
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        let whole = u32::try_from(bytes.len() + 12).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&whole.to_le_bytes());
        bytes.extend_from_slice(MAGIC_BEHIND);
        let numbers = contents.ids.iter().map(|id| id.1).collect();
        Self { bytes, first: facts.first, entries, frontier: facts.tree.len(), numbers }
    }

    /// Whether a footer was written at `start`, whatever became of it: at least half of what some sector of it must
    /// hold stands there, and at least eight bytes.
    pub(super) fn resembles(&self, source: &mut Source<'_>, start: u64) -> io::Result<bool> {
        for (i, expected) in self.bytes.chunks(SECTOR as usize).enumerate() {
            let actual = source.read(start + i as u64 * SECTOR, expected.len())?;
            let pairs = expected.iter().zip(actual).filter(|(e, _)| **e != 0);
            let (equal, all) = pairs.fold((0, 0), |(n, all), (e, a)| (n + usize::from(e == a), all + 1));
            if equal >= ALIKE_BYTES_MIN && equal * 2 >= all {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether each sector of the footer in the file is either as it must be or, not having reached the disk, zeros.
    /// A sector in which the file ends early is as it must be as far as it goes. Behind it nothing stands.
    pub(super) fn torn(&self, source: &mut Source<'_>, start: u64) -> io::Result<bool> {
        for (i, expected) in self.bytes.chunks(SECTOR as usize).enumerate() {
            let actual = source.read(start + i as u64 * SECTOR, expected.len())?;
            let equal = actual == &expected[..actual.len()];
            if !equal && actual.iter().any(|b| *b != 0) {
                return Ok(false);
            }
        }
        source.zero(start + self.bytes.len() as u64, u64::MAX)
    }

    /// Every field that is not as it must be: the position and offset it concerns, and its name.
    pub(super) fn differences(
        &self,
        source: &mut Source<'_>,
        start: u64,
    ) -> io::Result<Vec<(Position, u64, String)>> {
        let mut differences = Vec::new();
        let mut at = 0;
        for (name, position, bytes) in self.fields() {
            let expected = self.bytes.get(at..at + bytes).unwrap_or_default();
            let actual = source.read(start + at as u64, bytes)?;
            if actual != expected {
                let same = expected.iter().zip(actual).take_while(|(e, a)| e == a).count();
                let reason = format!("the footer's {name} is not what the entries say");
                differences.push((position, start + (at + same) as u64, reason));
            }
            at += bytes;
        }
        if differences.len() > 1 && Claim::read(source, start)?.is_some() {
            // Computed anew over what was changed: no damage of its own.
            differences.retain(|difference| difference.1 < start + self.crc_at() as u64);
        }
        Ok(differences)
    }

    /// Where in the footer its CRC stands.
    fn crc_at(&self) -> usize {
        self.bytes.len().saturating_sub(BEHIND_BYTES)
    }

    /// The fields in their order: name, the position that each concerns, bytes.
    fn fields(&self) -> impl Iterator<Item = (&'static str, Position, usize)> {
        let (first, entries) = (self.first, self.entries);
        let at = move |number: u64| Position(first.0.saturating_add(number));
        let last = at(entries.saturating_sub(1));
        let fixed = [
            ("magic", first, 8),
            ("version", first, 4),
            ("count of entries", first, 8),
            ("first position", first, 8),
            ("link of the last entry", last, 32),
            ("time recorded of the last entry", last, 8),
            ("epoch of the last entry", last, 4),
            ("offset behind the last frame", last, 8),
            ("size of the tree frontier", first, 4),
            ("stride", first, 4),
            ("tree frontier", last, self.frontier),
        ];
        let offsets =
            (0..entries.div_ceil(STRIDE)).map(move |i| ("offset of a frame", at(i * STRIDE), 8_usize));
        let numbers = self.numbers.iter();
        let ids = numbers.map(move |number| ("event id", at(u64::from(*number)), ID_BYTES));
        let behind = [("CRC", first, 4), ("length", first, 4), ("closing magic", first, 8)];
        fixed.into_iter().chain(offsets).chain(ids).chain(behind)
    }
}

/// Where a file that ends as a sealed segment does says that its footer begins. Only a hint: an event may hold
/// anything, also what looks like a footer.
pub(super) fn hinted(source: &mut Source<'_>) -> io::Result<Option<u64>> {
    let len = source.len();
    let Some(behind) = len.checked_sub(BEHIND_BYTES as u64) else { return Ok(None) };
    let bytes = source.read(behind, BEHIND_BYTES)?;
    let (Some(size), Some(magic)) = (bytes.get(4..8), bytes.get(8..16)) else { return Ok(None) };
    let size = u64::from(u32::from_le_bytes([size[0], size[1], size[2], size[3]]));
    let start = len.saturating_sub(size);
    let aligned = magic == MAGIC_BEHIND && size >= (FIXED_BYTES + BEHIND_BYTES) as u64;
    let plausible = aligned && start >= SECTOR && start.is_multiple_of(SECTOR);
    Ok((plausible && source.read(start, 8)? == MAGIC).then_some(start))
}

/// The first sector from `from` on that begins like a footer.
pub(super) fn search(source: &mut Source<'_>, from: u64) -> io::Result<Option<u64>> {
    let mut start = super::source::sector_up(from);
    while start < source.len() {
        if source.read(start, 8)? == MAGIC {
            return Ok(Some(start));
        }
        start += SECTOR;
    }
    Ok(None)
}

/// What a footer says, where the entries before it cannot all be read.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) entries: u64,
    pub(super) first: Position,
    pub(super) link: Link,
    pub(super) recorded_at: Time,
    pub(super) epoch: u32,
    ids: Vec<(u64, u32)>,
    /// Offset behind the last frame.
    pub(super) end: u64,
}

impl Claim {
    /// Reads the footer from `start` to the end of the file; `None` where it does not fit its own CRC or layout. A file
    /// may claim to be of any length, so no more is read than a footer of the entries that have room before it can have.
    pub(super) fn read(source: &mut Source<'_>, start: u64) -> io::Result<Option<Self>> {
        let size = source.len().saturating_sub(start);
        let entries = start.min(CAPACITY_BYTES_MAX) / FRAME_BYTES_MIN;
        let room = bytes_without_tree(entries) + u64::from(FRONTIER_BYTES_MAX);
        let Some(size) = usize::try_from(size).ok().filter(|_| size <= room) else { return Ok(None) };
        Ok(Self::parse(source.read(start, size)?))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (body, behind) = bytes.split_at_checked(bytes.len().checked_sub(BEHIND_BYTES)?)?;
        let crc = crc32fast::hash(body);
        let sound = behind.get(..4)? == crc.to_le_bytes() && body.get(..8)? == MAGIC;
        let frontier = u32::from_le_bytes(body.get(80..84)?.try_into().ok()?);
        let lists = body.get(FIXED_BYTES..)?.get(usize::try_from(frontier).ok()?..)?;
        let number = |at: usize| Some(u64::from_le_bytes(body.get(at..at + 8)?.try_into().ok()?));
        let entries = number(12)?;
        let offsets = usize::try_from(entries.div_ceil(STRIDE)).ok()?.checked_mul(8)?;
        let ids = lists.get(offsets..)?;
        let fits = usize::try_from(entries).ok()?.checked_mul(ID_BYTES)? == ids.len();
        (sound && fits).then_some(())?;
        Some(Self {
            entries,
            first: Position(number(20)?),
            link: Link(body.get(28..60)?.try_into().ok()?),
            recorded_at: Time(i64::from_le_bytes(body.get(60..68)?.try_into().ok()?)),
            epoch: u32::from_le_bytes(body.get(68..72)?.try_into().ok()?),
            ids: ids.chunks_exact(ID_BYTES).filter_map(id).collect(),
            end: number(72)?,
        })
    }

    /// Whether the footer lists this entry.
    pub(super) fn lists(&self, key: u64, number: u32) -> bool {
        self.ids.binary_search(&(key, number)).is_ok()
    }
}

fn id(bytes: &[u8]) -> Option<(u64, u32)> {
    let (key, number) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*key), u32::from_le_bytes(number.try_into().ok()?)))
}
