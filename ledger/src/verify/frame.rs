//! One frame: the 20 bytes before an entry, what they promise about it, and the mark behind it.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use crate::entry::{self, BadEntry, HEADER_FIXED_BYTES, Header};
use crate::tree::{self, Hash};
use crate::types::{LedgerUid, Link, Position};

/// The bytes of a frame before its entry.
pub(crate) const FRAME_HEADER_BYTES: u64 = 20;
/// The bytes that a frame has beside its entry.
pub(super) const FRAME_EXTRA_BYTES: u64 = FRAME_HEADER_BYTES + 1;
/// The last byte of a frame.
pub(crate) const END_MARK: u8 = 0xB7;
/// The first two bytes of a frame.
pub(super) const FRAME_MAGIC: [u8; 2] = [0x54, 0x4C];
/// The smallest frame that holds an entry: with an emitter of one letter, and no event.
pub(super) const FRAME_BYTES_MIN: u64 = FRAME_EXTRA_BYTES + HEADER_FIXED_BYTES as u64 + 1;

/// The fields of a frame's header, not yet believed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameHeader {
    raw: [u8; 16],
    /// Bytes of the entry.
    pub(crate) entry_bytes: u16,
    /// Index in its batch, and entries in its batch.
    pub(crate) batch: (u16, u16),
    /// Position less the number of entries that were durable.
    pub(crate) lag: u32,
    entry_crc: u32,
    header_crc: u32,
}

impl FrameHeader {
    /// The header at the start of `bytes`; `None` where no frame begins there.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (raw, rest) = bytes.split_first_chunk::<16>()?;
        let (header_crc, _) = rest.split_first_chunk::<4>()?;
        let entry_bytes = u16::from_le_bytes([raw[2], raw[3]]);
        (raw[..2] == FRAME_MAGIC && entry_bytes > 0).then_some(Self {
            raw: *raw,
            entry_bytes,
            batch: (u16::from_le_bytes([raw[4], raw[5]]), u16::from_le_bytes([raw[6], raw[7]])),
            lag: u32::from_le_bytes([raw[8], raw[9], raw[10], raw[11]]),
            entry_crc: u32::from_le_bytes([raw[12], raw[13], raw[14], raw[15]]),
            header_crc: u32::from_le_bytes(*header_crc),
        })
    }

    /// Whether the header is as it was written, for an entry of this ledger at this position.
    pub(crate) fn sound(&self, uid: LedgerUid, position: Position) -> bool {
        header_crc(uid, position, &self.raw) == self.header_crc
    }

    /// Whether the index is one that its batch has.
    pub(super) fn in_batch(&self) -> bool {
        self.batch.0 < self.batch.1
    }

    /// Bytes of the frame, its entry and end mark included.
    pub(crate) fn frame_bytes(&self) -> u64 {
        FRAME_EXTRA_BYTES + u64::from(self.entry_bytes)
    }

    /// Of the bytes of this frame, those of its entry: as many of them as are there.
    pub(crate) fn entry<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        let behind = frame.get(FRAME_HEADER_BYTES as usize..).unwrap_or_default();
        behind.get(..usize::from(self.entry_bytes)).unwrap_or(behind)
    }

    /// Whether the frame ends as every frame does.
    pub(crate) fn ended(&self, frame: &[u8]) -> bool {
        frame.get(self.frame_bytes() as usize - 1) == Some(&END_MARK)
    }

    /// How many entries were durable when the frame of `position` was written.
    pub(super) fn durable(&self, position: Position) -> Position {
        Position(position.0.saturating_sub(u64::from(self.lag)))
    }

    /// Whether these are the bytes of its entry.
    pub(crate) fn holds(&self, entry: &[u8]) -> bool {
        entry.len() == usize::from(self.entry_bytes) && crc32fast::hash(entry) == self.entry_crc
    }

    /// Whether one flipped bit explains why `entry` does not fit the CRC: no crash flips a bit.
    pub(super) fn one_bit_off(&self, entry: &[u8]) -> bool {
        entry.len() == usize::from(self.entry_bytes)
            && one_bit_syndrome(crc32fast::hash(entry) ^ self.entry_crc, entry.len())
    }
}

fn header_crc(uid: LedgerUid, position: Position, raw: &[u8; 16]) -> u32 {
    let mut covered = [0; 40];
    covered[..16].copy_from_slice(&uid.0);
    covered[16..24].copy_from_slice(&position.0.to_le_bytes());
    covered[24..].copy_from_slice(raw);
    crc32fast::hash(&covered)
}

/// Tells for which of many positions a header was written. CRCs are linear, so that each position makes its own
/// difference to the CRC of position 0, whatever the header holds; to try one position after the other would take
/// hours where someone filled an event with the beginnings of frames.
pub(super) struct Positions {
    uid: LedgerUid,
    by_difference: HashMap<u32, Position>,
}

impl Positions {
    pub(super) fn new(uid: LedgerUid, positions: RangeInclusive<u64>) -> Self {
        let crc = |position| header_crc(uid, Position(position), &[0; 16]);
        let by_difference = positions.map(|p| (crc(p) ^ crc(0), Position(p))).collect();
        Self { uid, by_difference }
    }

    /// The one of the positions for which this header was written; `None` for a header that is not sound.
    pub(super) fn of(&self, header: &FrameHeader) -> Option<Position> {
        let difference = header.header_crc ^ header_crc(self.uid, Position(0), &header.raw);
        self.by_difference.get(&difference).copied()
    }
}

/// Whether `syndrome` is the difference that one flipped bit makes to the CRC of `bytes` bytes. CRCs are linear, so
/// the difference depends only on how far from the end the bit is: start with the last byte and go backwards.
fn one_bit_syndrome(syndrome: u32, bytes: usize) -> bool {
    let mut flips: [u32; 8] = std::array::from_fn(|bit| shift_byte(1 << bit));
    for _ in 0..bytes {
        if flips.contains(&syndrome) {
            return true;
        }
        flips = flips.map(shift_byte);
    }
    false
}

/// The CRC's register after eight more zero bits (polynomial of IEEE 802.3, reflected).
fn shift_byte(register: u32) -> u32 {
    (0..8).fold(register, |r, _| if r & 1 == 1 { (r >> 1) ^ 0xEDB8_8320 } else { r >> 1 })
}

/// A frame whose header and entry both fit their CRCs, for the ledger and position that the entry itself names.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) header: FrameHeader,
    pub(super) uid: LedgerUid,
    pub(super) position: Position,
    pub(super) entry: Result<Header, BadEntry>,
    pub(super) link: Link,
    /// Its hash in the tree, recomputed.
    pub(super) leaf: Hash,
}

/// What stands at an offset.
#[derive(Debug)]
pub(super) enum Look {
    /// A frame, as it was written.
    Frame(Box<Frame>),
    /// A header as it was written for the position that was looked for; its entry or its end mark is not.
    Header(FrameHeader),
    /// Nothing that can be believed.
    Nothing,
}

/// Looks at `bytes`, which reach to the end of the frame that they claim to be, for the frame of `position`.
pub(super) fn look(bytes: &[u8], uid: Option<LedgerUid>, position: Position) -> Look {
    let Some(header) = FrameHeader::read(bytes) else { return Look::Nothing };
    let entry = header.entry(bytes);
    let expected = uid.is_some_and(|uid| header.sound(uid, position));
    let named = || names(entry).filter(|(uid, position)| header.sound(*uid, *position));
    let believed = if expected { uid.map(|uid| (uid, position)) } else { named() };
    let whole = header.holds(entry) && header.ended(bytes);
    match (believed, Some(entry).filter(|_| whole)) {
        (Some((uid, position)), Some(bytes)) => Look::Frame(Box::new(Frame {
            header,
            uid,
            position,
            entry: entry::decode(bytes).map(|(header, _)| header),
            link: entry::link(bytes),
            leaf: tree::leaf(bytes),
        })),
        _ if expected => Look::Header(header),
        _ => Look::Nothing,
    }
}

/// The ledger and position that an entry names.
pub(crate) fn names(entry: &[u8]) -> Option<(LedgerUid, Position)> {
    let uid = entry.get(1..17)?.try_into().ok()?;
    let position = entry.get(17..25)?.try_into().ok()?;
    Some((LedgerUid(uid), Position(u64::from_le_bytes(position))))
}
