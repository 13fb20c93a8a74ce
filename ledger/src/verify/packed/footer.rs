//! The footer of a packed segment: as it must be, and as it says it is.

use std::io;

use crate::types::{LedgerUid, Link, Position, Time};
use crate::verify::chain::after;
use crate::verify::footer::Facts;
use crate::verify::source::{SECTOR, Source};

const MAGIC: &[u8; 8] = b"TKLFOOT2";
const MAGIC_BEHIND: &[u8; 8] = b"TKLFOOTE";
pub(in crate::verify) const FIXED_BYTES: usize = 104;
const BEHIND_BYTES: u64 = 16;
/// How many ids are compared at once.
const KEYS_AT_ONCE: usize = 4096;

/// The bytes of the footer of so many blocks and entries that keeps no tree.
pub(in crate::verify) fn bytes_without_tree(blocks: usize, entries: usize) -> u64 {
    (FIXED_BYTES + 8 * blocks + 4 + 8 * entries) as u64 + BEHIND_BYTES
}

/// Whether a footer begins at `offset`.
pub(super) fn begins(source: &mut Source<'_>, offset: u64) -> io::Result<bool> {
    Ok(source.read(offset, 8)? == MAGIC)
}

/// Where a file that ends as a packed segment does says that its footer begins.
pub(super) fn hinted(source: &mut Source<'_>) -> io::Result<Option<u64>> {
    let len = source.len();
    let Some(behind) = len.checked_sub(BEHIND_BYTES) else { return Ok(None) };
    let bytes = source.read(behind, BEHIND_BYTES as usize)?;
    let (Some(size), Some(magic)) = (number::<4>(bytes, 4), bytes.get(8..)) else { return Ok(None) };
    let sealed = magic == MAGIC_BEHIND && size >= FIXED_BYTES as u64 + BEHIND_BYTES;
    Ok(len.checked_sub(size).filter(|start| sealed && *start > SECTOR))
}

/// The footer of a segment with these entries and blocks.
pub(in crate::verify) struct Expected {
    pub(in crate::verify) facts: Facts,
    pub(in crate::verify) uid: LedgerUid,
    /// Number of the first entry and offset, of each block.
    pub(in crate::verify) starts: Vec<(u32, u32)>,
    /// Keys of the event ids, in the entries' order.
    pub(in crate::verify) keys: Vec<u64>,
}

/// A field of a footer: its name, the position that it concerns, and its bytes.
type Field = (&'static str, Position, Vec<u8>);

impl Expected {
    /// Whether the footer at `start` is as it must be, and the file ends behind it.
    pub(in crate::verify) fn stands(&self, source: &mut Source<'_>, start: u64) -> io::Result<bool> {
        let head: Vec<u8> = self.head().into_iter().flat_map(|(_, _, bytes)| bytes).collect();
        let mut footer = Standing { source, at: start, crc: crc32fast::Hasher::new() };
        if !(footer.holds(&head)? && footer.holds_crc()?) {
            return Ok(false);
        }
        for keys in self.keys.chunks(KEYS_AT_ONCE) {
            let bytes: Vec<u8> = keys.iter().flat_map(|key| key.to_le_bytes()).collect();
            if !footer.holds(&bytes)? {
                return Ok(false);
            }
        }
        let whole = |at: u64| u32::try_from(at + BEHIND_BYTES - 4 - start).unwrap_or(u32::MAX);
        Ok(footer.holds_crc()?
            && footer.holds(&whole(footer.at).to_le_bytes())?
            && footer.holds(MAGIC_BEHIND)?
            && footer.at == footer.source.len())
    }

    fn head(&self) -> Vec<Field> {
        let (first, facts) = (self.facts.first, &self.facts);
        let entries = self.keys.len() as u64;
        let last = after(first, entries.saturating_sub(1));
        let blocks = u32::try_from(self.starts.len()).unwrap_or(u32::MAX);
        let mut head: Vec<Field> = vec![
            ("magic", first, MAGIC.to_vec()),
            ("version", first, 2_u32.to_le_bytes().to_vec()),
            ("count of entries", first, entries.to_le_bytes().to_vec()),
            ("first position", first, first.0.to_le_bytes().to_vec()),
            ("link of the last entry", last, facts.link.0.to_vec()),
            ("time recorded of the last entry", last, facts.recorded_at.0.to_le_bytes().to_vec()),
            ("epoch of the last entry", last, facts.epoch.to_le_bytes().to_vec()),
            ("offset behind the last frame", last, facts.end.to_le_bytes().to_vec()),
            ("size of the tree frontier", first, (facts.tree.len() as u32).to_le_bytes().to_vec()),
            ("count of blocks", first, blocks.to_le_bytes().to_vec()),
            ("ledger", first, self.uid.0.to_vec()),
            ("tree frontier", last, facts.tree.clone()),
        ];
        head.extend(self.starts.iter().map(|(number, offset)| {
            let place = [number.to_le_bytes(), offset.to_le_bytes()].concat();
            ("place of a block", after(first, u64::from(*number)), place)
        }));
        head
    }

    fn keys(&self) -> impl Iterator<Item = Field> + '_ {
        let numbered = (0_u64..).zip(&self.keys);
        numbered
            .map(|(number, key)| ("event id", after(self.facts.first, number), key.to_le_bytes().to_vec()))
    }

    /// Every field in the file that is not as it must be: position, offset and why. Where fields differ, that the CRC
    /// over them does too is no damage of its own.
    pub(super) fn differences(
        &self,
        source: &mut Source<'_>,
        start: u64,
    ) -> io::Result<Vec<(Position, u64, String)>> {
        let first = self.facts.first;
        let mut compare = Compare { source, at: start, crc: crc32fast::Hasher::new(), found: Vec::new() };
        compare.part(self.head().into_iter(), ("CRC of its head", first))?;
        compare.part(self.keys(), ("CRC of the event ids", first))?;
        let whole = compare.at + BEHIND_BYTES - 4 - start;
        let whole = u32::try_from(whole).unwrap_or(u32::MAX).to_le_bytes().to_vec();
        compare.field(("length", first, whole))?;
        compare.field(("closing magic", first, MAGIC_BEHIND.to_vec()))?;
        let (end, len) = (compare.at, compare.source.len());
        if len > end {
            compare.found.push((first, end, "the file goes on behind its footer".to_owned()));
        }
        Ok(compare.found)
    }
}

/// A footer in a file, of which it is only asked whether it is as it must be.
struct Standing<'s, 'a> {
    source: &'s mut Source<'a>,
    at: u64,
    crc: crc32fast::Hasher,
}

impl Standing<'_, '_> {
    fn holds(&mut self, expected: &[u8]) -> io::Result<bool> {
        let holds = self.source.read(self.at, expected.len())? == expected;
        self.crc.update(expected);
        self.at += expected.len() as u64;
        Ok(holds)
    }

    /// Whether the CRC of what was compared since the last one stands here.
    fn holds_crc(&mut self) -> io::Result<bool> {
        let crc = std::mem::take(&mut self.crc).finalize();
        let holds = self.holds(&crc.to_le_bytes())?;
        self.crc = crc32fast::Hasher::new();
        Ok(holds)
    }
}

/// A footer in a file, being compared.
struct Compare<'s, 'a> {
    source: &'s mut Source<'a>,
    at: u64,
    crc: crc32fast::Hasher,
    found: Vec<(Position, u64, String)>,
}

impl Compare<'_, '_> {
    fn field(&mut self, (name, position, expected): Field) -> io::Result<()> {
        let actual = self.source.read(self.at, expected.len())?;
        if actual != expected {
            let same = expected.iter().zip(actual).take_while(|(e, a)| e == a).count();
            let reason = format!("the footer's {name} is not what the entries say");
            self.found.push((position, self.at + same as u64, reason));
        }
        self.crc.update(&expected);
        self.at += expected.len() as u64;
        Ok(())
    }

    /// Fields, and the CRC over them.
    fn part(
        &mut self,
        fields: impl Iterator<Item = Field>,
        (name, first): (&'static str, Position),
    ) -> io::Result<()> {
        let before = self.found.len();
        for field in fields {
            self.field(field)?;
        }
        let crc = std::mem::take(&mut self.crc).finalize();
        let differ = self.found.len();
        self.field((name, first, crc.to_le_bytes().to_vec()))?;
        if differ > before {
            self.found.truncate(differ);
        }
        self.crc = crc32fast::Hasher::new();
        Ok(())
    }
}

/// What a footer says, where the entries before it cannot all be read.
pub(super) struct Claim {
    pub(super) uid: LedgerUid,
    pub(super) entries: u64,
    pub(super) first: Position,
    pub(super) link: Link,
    pub(super) recorded_at: Time,
    pub(super) epoch: u32,
    pub(super) starts: Vec<(u32, u32)>,
    /// Where its event ids begin.
    keys: u64,
}

impl Claim {
    /// Reads the head of the footer at `start`; `None` where it does not fit its CRC or its layout.
    pub(super) fn read(source: &mut Source<'_>, start: u64) -> io::Result<Option<Self>> {
        let fixed = source.read(start, FIXED_BYTES)?.to_vec();
        let Some(bytes) = head_bytes(&fixed, source.len().saturating_sub(start)) else { return Ok(None) };
        let claim = Self::parse(source.read(start, bytes)?);
        Ok(claim.map(|claim| Self { keys: start + bytes as u64, ..claim }))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        (crc32fast::hash(body).to_le_bytes() == *crc).then_some(())?;
        let frontier = usize::try_from(number::<4>(body, 80)?).ok()?;
        let places = body.get(FIXED_BYTES..)?.get(frontier..)?.chunks_exact(8);
        let start = |b: &[u8]| Some((number::<4>(b, 0)? as u32, number::<4>(b, 4)? as u32));
        Some(Self {
            uid: LedgerUid(body.get(88..104)?.try_into().ok()?),
            entries: number::<8>(body, 12)?,
            first: Position(number::<8>(body, 20)?),
            link: Link(body.get(28..60)?.try_into().ok()?),
            recorded_at: Time(i64::from_le_bytes(body.get(60..68)?.try_into().ok()?)),
            epoch: number::<4>(body, 68)? as u32,
            starts: places.map(start).collect::<Option<_>>()?,
            keys: 0,
        })
    }

    /// The key that the footer lists for the entry of this number.
    pub(super) fn key(&self, source: &mut Source<'_>, entry: u64) -> io::Result<Option<u64>> {
        Ok(number::<8>(source.read(self.keys.saturating_add(entry.saturating_mul(8)), 8)?, 0))
    }
}

/// The bytes of a head, if the file has `there` bytes from it on and that fits.
fn head_bytes(fixed: &[u8], there: u64) -> Option<usize> {
    (fixed.get(..8)? == MAGIC).then_some(())?;
    let (frontier, blocks) = (number::<4>(fixed, 80)?, number::<4>(fixed, 84)?);
    let bytes = FIXED_BYTES as u64 + frontier + 8 * blocks + 4;
    (bytes <= there).then(|| usize::try_from(bytes).ok())?
}

/// The `N` bytes at `at` as an integer.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let mut wide = [0; 8];
    wide.get_mut(..N)?.copy_from_slice(bytes.get(at..at + N)?);
    Some(u64::from_le_bytes(wide))
}
