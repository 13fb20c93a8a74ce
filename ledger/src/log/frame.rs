//! A frame: one entry as it stands in a segment file. `docs/format.md` draws it.

use std::collections::HashMap;

use crate::types::{LedgerUid, Position};

/// The bytes before the entry.
pub(crate) const FRAME_HEADER_BYTES: usize = 20;
/// The bytes that a frame has beside its entry: header and end mark.
pub(crate) const FRAME_EXTRA_BYTES: usize = FRAME_HEADER_BYTES + 1;
/// The last byte of every frame. It and the first have several bits set, so that neither the first nor the last part
/// of a frame in a sector is zero by nature: a part that *is* zero was never written.
pub(crate) const END_MARK: u8 = 0xB7;
/// The first two bytes of every frame.
pub(crate) const MAGIC: [u8; 2] = *b"TL";

/// What a frame says about its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Bytes of the entry, at least 1.
    pub(crate) entry_bytes: u16,
    /// Index in its batch, and how many entries the batch has.
    pub(crate) batch: (u16, u16),
    /// Its position less the number of entries that were durable when it was written.
    pub(crate) lag: u32,
    /// CRC of the entry.
    pub(crate) entry_crc: u32,
}

fn header_crc(uid: LedgerUid, position: Position, first_16: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&uid.0);
    crc.update(&position.0.to_le_bytes());
    crc.update(first_16);
    crc.finalize()
}

impl FrameHeader {
    /// Its 20 bytes.
    pub(crate) fn encode(&self, uid: LedgerUid, position: Position) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[0..2].copy_from_slice(&MAGIC);
        bytes[2..4].copy_from_slice(&self.entry_bytes.to_le_bytes());
        bytes[4..6].copy_from_slice(&self.batch.0.to_le_bytes());
        bytes[6..8].copy_from_slice(&self.batch.1.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.lag.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.entry_crc.to_le_bytes());
        let crc = header_crc(uid, position, &bytes[..16]);
        bytes[16..20].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header; `None` where `bytes` do not begin with a sound one for this position of this ledger.
    pub(crate) fn decode(bytes: &[u8], uid: LedgerUid, position: Position) -> Option<Self> {
        let bytes: &[u8; FRAME_HEADER_BYTES] = bytes.first_chunk()?;
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let whole = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if bytes[..2] != MAGIC || header_crc(uid, position, &bytes[..16]) != whole(16) {
            return None;
        }
        let header =
            Self { entry_bytes: half(2), batch: (half(4), half(6)), lag: whole(8), entry_crc: whole(12) };
        (header.entry_bytes > 0 && header.batch.0 < header.batch.1).then_some(header)
    }

    /// The bytes of the whole frame.
    pub(crate) fn frame_bytes(&self) -> usize {
        FRAME_EXTRA_BYTES + usize::from(self.entry_bytes)
    }

    /// How many entries were durable when the frame of `position` was written.
    pub(crate) fn durable(&self, position: Position) -> u64 {
        position.0.saturating_sub(u64::from(self.lag))
    }
}

/// Appends the frame of an entry to `buffer`.
pub(crate) fn encode(
    buffer: &mut Vec<u8>,
    uid: LedgerUid,
    position: Position,
    header: &FrameHeader,
    entry: &[u8],
) {
    buffer.extend_from_slice(&header.encode(uid, position));
    buffer.extend_from_slice(entry);
    buffer.push(END_MARK);
}

/// What stands where a frame should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A sound frame and its entry.
    Whole(FrameHeader, &'a [u8]),
    /// A sound header, but the entry or the end mark is not what was written.
    Body(FrameHeader),
    /// No sound header.
    Nothing,
}

/// Looks at the beginning of `bytes` for the frame of a position.
pub(crate) fn look(bytes: &[u8], uid: LedgerUid, position: Position) -> Found<'_> {
    let Some(header) = FrameHeader::decode(bytes, uid, position) else { return Found::Nothing };
    let Some((entry, [END_MARK])) = bytes
        .get(FRAME_HEADER_BYTES..header.frame_bytes())
        .and_then(|body| body.split_at_checked(usize::from(header.entry_bytes)))
    else {
        return Found::Body(header);
    };
    if crc32fast::hash(entry) == header.entry_crc { Found::Whole(header, entry) } else { Found::Body(header) }
}

/// Searches `bytes` from `start` on, at every offset, for a frame of one of these positions: a sound one, or one whose
/// header at least is sound.
pub(crate) fn search(
    bytes: &[u8],
    start: usize,
    uid: LedgerUid,
    positions: std::ops::Range<u64>,
) -> Option<(usize, Position)> {
    let sought = Sought::new(uid, positions);
    let mut at = start;
    while let Some(found) = bytes.get(at..)?.windows(2).position(|pair| pair == MAGIC) {
        at += found;
        if let Some(position) = sought.at(&bytes[at..]) {
            return Some((at, position));
        }
        at += 1;
    }
    None
}

/// Frame headers that are looked for. A header does not tell its position, but its CRC does: CRCs are linear, so each
/// position changes that of position 0 in its own way. Trying them one by one would let an event full of magic bytes
/// hold up a start.
struct Sought {
    uid: LedgerUid,
    by_change: HashMap<u32, u64>,
}

impl Sought {
    fn new(uid: LedgerUid, positions: std::ops::Range<u64>) -> Self {
        let crc = |position| header_crc(uid, Position(position), &[0; 16]);
        let by_change = positions.map(|p| (crc(p) ^ crc(0), p)).collect();
        Self { uid, by_change }
    }

    fn at(&self, bytes: &[u8]) -> Option<Position> {
        let (fields, rest) = bytes.split_first_chunk::<16>()?;
        let crc = u32::from_le_bytes(*rest.first_chunk()?);
        let change = crc ^ header_crc(self.uid, Position(0), fields);
        let position = Position(*self.by_change.get(&change)?);
        FrameHeader::decode(bytes, self.uid, position).map(|_| position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: LedgerUid = LedgerUid([7; 16]);

    fn frame(position: u64, entry: &[u8]) -> Vec<u8> {
        let header = FrameHeader {
            entry_bytes: u16::try_from(entry.len()).unwrap(),
            batch: (1, 3),
            lag: 4,
            entry_crc: crc32fast::hash(entry),
        };
        let mut bytes = Vec::new();
        encode(&mut bytes, UID, Position(position), &header, entry);
        bytes
    }

    #[test]
    fn a_frame_reads_back_as_it_was_written_and_only_at_its_place() {
        let bytes = frame(9, b"an entry");
        let Found::Whole(header, entry) = look(&bytes, UID, Position(9)) else { panic!("not found") };
        assert_eq!((header.batch, header.durable(Position(9)), entry), ((1, 3), 5, &b"an entry"[..]));
        assert_eq!(look(&bytes, UID, Position(10)), Found::Nothing);
        assert_eq!(look(&bytes, LedgerUid([8; 16]), Position(9)), Found::Nothing);
    }

    #[test]
    fn no_flipped_bit_leaves_a_frame_whole() {
        let bytes = frame(9, b"an entry");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            match look(&flipped, UID, Position(9)) {
                Found::Whole(..) => panic!("bit {bit} went unnoticed"),
                Found::Body(_) => assert!(bit >= 20 * 8),
                Found::Nothing => assert!(bit < 20 * 8),
            }
        }
    }

    #[test]
    fn bytes_full_of_magic_do_not_hold_up_a_search() {
        let bytes = b"TL".repeat(500_000);
        let start = std::time::Instant::now();
        assert_eq!(search(&bytes, 0, UID, 1..8192), None);
        assert!(start.elapsed() < std::time::Duration::from_secs(20));
    }

    #[test]
    fn a_frame_is_found_at_any_offset_even_with_a_broken_entry() {
        let mut bytes = b"TLTLT".to_vec();
        bytes.extend(frame(70, &[1; 100]));
        assert_eq!(search(&bytes, 0, UID, 60..80), Some((5, Position(70))));
        assert_eq!(search(&bytes, 6, UID, 60..80), None);
        assert_eq!(search(&bytes, 0, UID, 60..70), None);
        assert_eq!(search(&bytes, 500, UID, 60..70), None);
    }
}
