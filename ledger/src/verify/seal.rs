//! Whether the footer of a segment is, byte by byte, what its entries say, without building it and without sorting.

use std::io;

use super::footer::{Facts, ID_BYTES, MAGIC_BEHIND};
use super::source::Source;

/// How much of a footer is looked at at once.
const IDS_AT_ONCE: usize = 4096;

/// Whether the footer of these entries stands at `start`, and the file ends where it ends. `keys` are those of the
/// event ids in the entries' order.
///
/// # Errors
/// Where the file cannot be read.
pub(super) fn stands(
    source: &mut Source<'_>,
    start: u64,
    facts: &Facts,
    keys: &[u64],
    offsets: &[u64],
) -> io::Result<bool> {
    let mut footer = Footer { source, start, at: start, crc: crc32fast::Hasher::new() };
    Ok(footer.holds(&facts.fixed(keys.len() as u64))?
        && footer.offsets(offsets)?
        && footer.ids(keys)?
        && footer.ends()?)
}

/// A footer that is read from its beginning to its end.
struct Footer<'s, 'a> {
    source: &'s mut Source<'a>,
    start: u64,
    at: u64,
    crc: crc32fast::Hasher,
}

impl Footer<'_, '_> {
    fn next(&mut self, bytes: usize) -> io::Result<&[u8]> {
        let read = self.source.read(self.at, bytes)?;
        self.crc.update(read);
        self.at += read.len() as u64;
        Ok(read)
    }

    fn holds(&mut self, expected: &[u8]) -> io::Result<bool> {
        Ok(self.next(expected.len())? == expected)
    }

    fn offsets(&mut self, offsets: &[u64]) -> io::Result<bool> {
        for offset in offsets {
            if !self.holds(&offset.to_le_bytes())? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// As many ids as there are entries, no two of them alike, each that of the entry whose number it names, and in
    /// order: that is the list that sorting the entries' ids gives, and no other. Where the file ends among them, what
    /// follows is not there either.
    fn ids(&mut self, keys: &[u64]) -> io::Result<bool> {
        let mut before = None;
        for piece in keys.chunks(IDS_AT_ONCE) {
            let ids = self.next(piece.len() * ID_BYTES)?;
            for id in ids.chunks_exact(ID_BYTES).map(id) {
                let named = usize::try_from(id.1).ok().and_then(|number| keys.get(number));
                if named != Some(&id.0) || before >= Some(id) {
                    return Ok(false);
                }
                before = Some(id);
            }
        }
        Ok(true)
    }

    fn ends(&mut self) -> io::Result<bool> {
        let mut expected = self.crc.clone().finalize().to_le_bytes().to_vec();
        let whole = self.at - self.start + 16;
        expected.extend(u32::try_from(whole).unwrap_or(u32::MAX).to_le_bytes());
        expected.extend(MAGIC_BEHIND);
        Ok(self.holds(&expected)? && self.at == self.source.len())
    }
}

fn id(bytes: &[u8]) -> (u64, u32) {
    let (key, number) = bytes.split_at(8);
    let number = number.try_into().map_or(u32::MAX, u32::from_le_bytes);
    (key.try_into().map_or(0, u64::from_le_bytes), number)
}
