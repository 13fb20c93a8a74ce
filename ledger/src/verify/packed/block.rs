//! One block of a packed segment.

use std::cell::RefCell;
use std::io;

use zstd::bulk::Decompressor;

use crate::types::{LedgerUid, Position};
use crate::verify::chain::after;
use crate::verify::frame::{FrameHeader, names};
use crate::verify::source::Source;

/// The bytes of a block before its compressed frames.
pub(in crate::verify) const BLOCK_HEADER_BYTES: u64 = 16;
/// The most bytes of frames that a block holds: one of the largest.
const FRAMES_BYTES_MAX: u32 = 65_556;
/// The most bytes that they have once compressed.
const COMPRESSED_BYTES_MAX: u32 = 66_000;

/// What a block's header claims.
#[derive(Clone, Copy, Debug)]
pub(in crate::verify) struct Claim {
    compressed: u32,
    frames: u32,
    pub(super) entries: u32,
    crc: u32,
}

impl Claim {
    fn read(bytes: &[u8]) -> Option<Self> {
        let field = |i: usize| Some(u32::from_le_bytes(bytes.get(4 * i..4 * i + 4)?.try_into().ok()?));
        let claim = Self { compressed: field(0)?, frames: field(1)?, entries: field(2)?, crc: field(3)? };
        let possible = (1..=COMPRESSED_BYTES_MAX).contains(&claim.compressed)
            && (1..=FRAMES_BYTES_MAX).contains(&claim.frames)
            && claim.entries > 0;
        possible.then_some(claim)
    }

    /// The bytes of the whole block.
    pub(in crate::verify) fn bytes(&self) -> u64 {
        BLOCK_HEADER_BYTES + u64::from(self.compressed)
    }

    /// The frames in a block's bytes, its header included, if these are as written for this place.
    fn frames(&self, block: &[u8], uid: LedgerUid, first: Position) -> Option<Vec<u8>> {
        if self.fits(block, uid, first)? { self.opened(block) } else { None }
    }

    /// Whether a block's bytes are as written for this place.
    fn fits(&self, block: &[u8], uid: LedgerUid, first: Position) -> Option<bool> {
        let (fields, rest) = block.split_at_checked(12)?;
        let compressed = rest.get(4..)?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&uid.0);
        crc.update(&first.0.to_le_bytes());
        crc.update(fields);
        crc.update(compressed);
        Some(compressed.len() == self.compressed as usize && crc.finalize() == self.crc)
    }

    /// What a block's bytes hold, if it is as much as they claim.
    fn opened(&self, block: &[u8]) -> Option<Vec<u8>> {
        let frames = decompressed(block.get(BLOCK_HEADER_BYTES as usize..)?, self.frames as usize)?;
        (frames.len() == self.frames as usize).then_some(frames)
    }
}

/// The bytes of the block that begins here, as far as its header tells; `None` where no block can begin so.
pub(in crate::verify) fn block_bytes(bytes: &[u8]) -> Option<usize> {
    Some(Claim::read(bytes)?.bytes() as usize)
}

/// Blocks, opened one behind the other.
pub(in crate::verify) struct Opened {
    pub(in crate::verify) frames: Vec<u8>,
    /// Position of the first entry and offset in the file, of each block.
    pub(in crate::verify) starts: Vec<(Position, u64)>,
}

/// Opens blocks, of which the first stands at `offset` of the file, if each is as it was written for its place and holds
/// as many frames as it says.
pub(in crate::verify) fn open_all(mut blocks: &[u8], mut offset: u64, uid: LedgerUid) -> Option<Opened> {
    let mut opened = Opened { frames: Vec::with_capacity(3 * blocks.len()), starts: Vec::new() };
    let mut position = None;
    while !blocks.is_empty() {
        let claim = Claim::read(blocks)?;
        let (block, rest) = blocks.split_at_checked(claim.bytes() as usize)?;
        let frames = claim.opened(block)?;
        // What the first entry says of itself is compared with the one before it when its frame is judged.
        let first = match position {
            Some(position) => position,
            None => names(FrameHeader::read(&frames)?.entry(&frames))?.1,
        };
        let sound = claim.fits(block, uid, first)? && count(&frames)? == claim.entries;
        sound.then_some(())?;
        opened.starts.push((first, offset));
        opened.frames.extend(frames);
        position = Some(after(first, u64::from(claim.entries)));
        offset += claim.bytes();
        blocks = rest;
    }
    Some(opened)
}

/// How many frames these are, going by the lengths that they claim; `None` where they are not whole.
fn count(mut frames: &[u8]) -> Option<u32> {
    let mut count = 0;
    while !frames.is_empty() {
        let bytes = usize::try_from(FrameHeader::read(frames)?.frame_bytes()).ok()?;
        frames = frames.get(bytes..)?;
        count += 1;
    }
    Some(count)
}

/// What `compressed` holds, at most `bytes_max` bytes. Each thread keeps its decompressor: to make one takes longer than
/// to use it.
fn decompressed(compressed: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    thread_local! {
        static KEPT: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    }
    KEPT.with_borrow_mut(|kept| {
        if kept.is_none() {
            *kept = Decompressor::new().ok();
        }
        kept.as_mut()?.decompress(compressed, bytes_max).ok()
    })
}

/// What stands where a block is due.
pub(in crate::verify) enum Look {
    /// A block as it was written, and its frames.
    Sound(Claim, Vec<u8>),
    /// What begins as a block can, and is not what was written.
    Broken(Claim),
    /// Nothing like a block.
    Nothing,
}

/// Looks at `offset` for the block whose first entry is that of position `first`.
pub(in crate::verify) fn look(
    source: &mut Source<'_>,
    offset: u64,
    uid: LedgerUid,
    first: Position,
) -> io::Result<Look> {
    let Some(claim) = Claim::read(source.read(offset, BLOCK_HEADER_BYTES as usize)?) else {
        return Ok(Look::Nothing);
    };
    let block = source.read(offset, claim.bytes() as usize)?;
    Ok(claim.frames(block, uid, first).map_or(Look::Broken(claim), |frames| Look::Sound(claim, frames)))
}
