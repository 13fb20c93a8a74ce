//! A block: some frames, compressed, behind a header of 16 bytes that tells how to go on without any index.

use std::io;
use std::sync::{Mutex, PoisonError};

use zstd::bulk::{Compressor, Decompressor};

use crate::entry::ENTRY_BYTES_MAX;
use crate::log::frame::FRAME_EXTRA_BYTES;
use crate::log::segment::Fields;
use crate::types::{LedgerUid, Position};

/// The bytes before the compressed frames.
pub(super) const HEADER_BYTES: usize = 16;
/// No block is begun anew for a frame with which it stays within so many bytes: few enough that one entry is read
/// quickly, enough that frames share what they have in common.
pub(super) const FRAMES_BYTES: usize = 4096;
/// The most bytes that the frames of a block have: those of the largest frame.
pub(super) const FRAMES_BYTES_MAX: usize = ENTRY_BYTES_MAX + FRAME_EXTRA_BYTES;
/// The most bytes that they have once compressed: what does not become smaller grows a little.
pub(super) const ZSTD_BYTES_MAX: usize = 66_000;
/// Higher levels gain next to nothing on blocks so small, and take twice the time and more: see ADR 0008.
const LEVEL: i32 = 3;
/// How many decompressors are kept for the next reader; each takes some 100 kB.
const SPARE_MAX: usize = 8;

/// What a block says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockHeader {
    /// Bytes of the compressed frames.
    pub(super) zstd_bytes: u32,
    /// Bytes of the frames.
    pub(super) frames_bytes: u32,
    /// How many frames.
    pub(super) entries: u32,
    crc: u32,
}

impl BlockHeader {
    /// Reads a header, not yet believed; `None` where no block can have it.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let header = Self {
            zstd_bytes: fields.u32()?,
            frames_bytes: fields.u32()?,
            entries: fields.u32()?,
            crc: fields.u32()?,
        };
        let within = |value: u32, max: usize| value > 0 && value as usize <= max;
        let sound = within(header.zstd_bytes, ZSTD_BYTES_MAX)
            && within(header.frames_bytes, FRAMES_BYTES_MAX)
            && within(header.entries, header.frames_bytes as usize / FRAME_EXTRA_BYTES);
        sound.then_some(header)
    }

    /// The bytes of the whole block.
    pub(super) fn block_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.zstd_bytes)
    }

    fn fields(&self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[0..4].copy_from_slice(&self.zstd_bytes.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.frames_bytes.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.entries.to_le_bytes());
        bytes
    }

    fn crc_of(&self, uid: LedgerUid, first: Position, zstd: &[u8]) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&uid.0);
        crc.update(&first.0.to_le_bytes());
        crc.update(&self.fields());
        crc.update(zstd);
        crc.finalize()
    }
}

/// Compresses frames into blocks.
pub(super) struct BlockWriter(Compressor<'static>);

impl BlockWriter {
    pub(super) fn new() -> io::Result<Self> {
        Compressor::new(LEVEL).map(Self)
    }

    /// Appends to `out` the block of these frames, the first of which is that of position `first`.
    pub(super) fn write(
        &mut self,
        out: &mut Vec<u8>,
        uid: LedgerUid,
        first: Position,
        entries: u32,
        frames: &[u8],
    ) -> io::Result<()> {
        let zstd = self.0.compress(frames)?;
        let bytes = |n: usize| u32::try_from(n).map_err(|_| io::ErrorKind::InvalidData);
        let (zstd_bytes, frames_bytes) = (bytes(zstd.len())?, bytes(frames.len())?);
        let mut header = BlockHeader { zstd_bytes, frames_bytes, entries, crc: 0 };
        header.crc = header.crc_of(uid, first, &zstd);
        out.extend_from_slice(&header.fields());
        out.extend_from_slice(&header.crc.to_le_bytes());
        out.extend_from_slice(&zstd);
        Ok(())
    }
}

/// The frames of the block that `bytes` are, the first of which is that of position `first`; with how many they are.
/// `None` where it is not what was written.
pub(super) fn open(bytes: &[u8], uid: LedgerUid, first: Position) -> Option<(u32, Vec<u8>)> {
    let (raw, zstd) = bytes.split_at_checked(HEADER_BYTES)?;
    let header = BlockHeader::read(raw)?;
    let sound = zstd.len() == header.zstd_bytes as usize && header.crc == header.crc_of(uid, first, zstd);
    let frames = sound.then(|| decompress(zstd, header.frames_bytes as usize))??;
    (frames.len() == header.frames_bytes as usize).then_some((header.entries, frames))
}

/// Never more than `bytes_max` bytes, whatever `zstd` claims.
fn decompress(zstd: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    static SPARE: Mutex<Vec<Decompressor<'static>>> = Mutex::new(Vec::new());
    let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut decompressor = spare.map_or_else(Decompressor::new, Ok).ok()?;
    let frames = decompressor.decompress(zstd, bytes_max).ok();
    let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
    if spare.len() < SPARE_MAX {
        spare.push(decompressor);
    }
    frames
}
