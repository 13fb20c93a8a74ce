//! One flipped bit, anywhere in a packed file.

use super::*;
use crate::log::ReadError;

/// A log of which one segment is packed, and what that holds: its file, and of each block the first entry, that of the
/// next block, and where it stands.
struct Packed {
    disk: MemoryDisk,
    records: Vec<Record>,
    first: u64,
    next: u64,
    bytes: Vec<u8>,
    blocks: Vec<(u64, u64, usize, usize)>,
    /// Where the footer begins, and the keys of the event ids in it.
    footer: usize,
    keys: usize,
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

fn packed(segment: usize) -> Packed {
    let (disk, log, records) = hot(4);
    for _ in 0..=segment {
        pack(&log).unwrap();
    }
    let (first, next) = (log.view().sealed[segment].first, log.view().sealed[segment].next.0);
    let bytes = disk.bytes(&path(first)).unwrap();
    let (mut at, mut position, mut blocks) = (512, first.0, Vec::new());
    while bytes[at..at + 8] != *b"TKLFOOT2" {
        let (end, behind) = (at + 16 + number(&bytes, at), position + number(&bytes, at + 8) as u64);
        blocks.push((position, behind, at, end));
        (at, position) = (end, behind);
    }
    let keys = at + 104 + number(&bytes, at + 80) + 8 * blocks.len() + 4;
    assert_eq!((position, keys + 8 * (next - first.0) as usize + 16), (next, bytes.len()));
    Packed { disk, records, first: first.0, next, bytes, blocks, footer: at, keys }
}

impl Packed {
    fn path(&self) -> PathBuf {
        path(Position(self.first))
    }

    /// Opens the log with one bit flipped. Nothing is taken for a tear, and nothing is written.
    fn with_flip(&self, bit: usize, check: impl FnOnce(&SegmentLog)) {
        let disk = self.disk.copy();
        disk.flip(&self.path(), bit / 8, 1 << (bit % 8));
        let (paths, before) = (disk.paths(), disk.bytes(&self.path()));
        let (log, repair) = open_on(disk.clone());
        assert_eq!(repair, None, "bit {bit}");
        check(&log);
        assert_eq!((disk.paths(), disk.bytes(&self.path())), (paths, before), "bit {bit}");
    }

    /// Whether an entry is served as it was written; whatever else is said of it must be that it is damaged.
    fn is_served(&self, log: &SegmentLog, position: u64) -> bool {
        match log.read(Position(position), 1) {
            Ok(read) => {
                assert_eq!(read, self.records[position as usize..=position as usize]);
                true
            }
            Err(ReadError::Damaged(damage)) => {
                assert_eq!(damage.position, Position(position));
                assert!(self.path().ends_with(&damage.file), "{damage}");
                false
            }
            Err(e) => panic!("{e}"),
        }
    }
}

#[test]
fn a_flipped_bit_in_a_block_fails_the_reads_of_its_entries_at_its_place_and_of_no_other() {
    let packed = packed(1);
    assert!(packed.blocks.len() >= 3);
    for (first, next, start, end) in packed.blocks.clone() {
        for bit in start * 8..end * 8 {
            packed.with_flip(bit, |log| {
                assert_eq!(log.damage(), vec![], "a block is looked at when it is read");
                for position in [first, next - 1] {
                    let Err(ReadError::Damaged(damage)) = log.read(Position(position), 1) else {
                        panic!("bit {bit} went unnoticed");
                    };
                    assert_eq!((damage.position.0, damage.offset), (position, start as u64));
                    assert!(packed.path().ends_with(&damage.file));
                }
                if bit % 23 == 0 {
                    for position in 0..packed.records.len() as u64 {
                        assert_eq!(packed.is_served(log, position), !(first..next).contains(&position));
                    }
                    assert_eq!(log.read(Position(0), usize::MAX).unwrap(), packed.records[..first as usize]);
                    assert_eq!(ids_of(log, 0), chain::ids(&packed.records));
                }
            });
        }
    }
}

#[test]
fn a_flipped_bit_in_the_header_or_in_what_opening_reads_of_the_footer_is_found_then_and_all_is_served() {
    let packed = packed(1);
    let head = packed.footer * 8..packed.keys * 8;
    let trailer = (packed.bytes.len() - 12) * 8..packed.bytes.len() * 8;
    for bit in (0..512 * 8).chain(head).chain(trailer) {
        packed.with_flip(bit, |log| {
            let damage = log.damage();
            assert_eq!(damage.len(), 1, "bit {bit}: {damage:?}");
            assert_eq!(damage[0].position, Position(packed.first));
            assert!(packed.path().ends_with(&damage[0].file));
            assert_eq!(damage[0].offset == 0, bit < 512 * 8);
            assert_eq!(log.tail().next.0, packed.records.len() as u64);
            assert_eq!(log.read(Position(0), usize::MAX).unwrap(), packed.records);
            assert_eq!(ids_of(log, 0), chain::ids(&packed.records));
        });
    }
}

#[test]
fn a_flipped_bit_in_the_keys_of_ids_is_made_good_from_the_entries() {
    let packed = packed(1);
    for bit in packed.keys * 8..(packed.bytes.len() - 12) * 8 {
        packed.with_flip(bit, |log| {
            assert_eq!(log.damage(), vec![]);
            assert_eq!(ids_of(log, packed.first), chain::ids(&packed.records)[packed.first as usize..]);
        });
    }
}

#[test]
fn without_footer_and_with_a_broken_block_all_other_blocks_are_served() {
    let packed = packed(1);
    let footer = packed.bytes.len() - 1;
    for (first, next, start, end) in packed.blocks.clone() {
        for byte in [start, start + 9, start + 14, (start + end) / 2, end - 1] {
            let disk = packed.disk.copy();
            disk.flip(&packed.path(), footer, 1);
            disk.flip(&packed.path(), byte, 4);
            let (log, repair) = open_on(disk);
            let lost_its_length = byte < start + 12;
            // Without its last entry the segment does not lead over to the next one either.
            let found = 1 + usize::from(lost_its_length || next == packed.next);
            assert_eq!((log.damage().len(), repair), (found, None));
            for position in 0..packed.records.len() as u64 {
                let broken = first..if lost_its_length || next == packed.next { packed.next } else { next };
                assert_eq!(
                    packed.is_served(&log, position),
                    !broken.contains(&position),
                    "{byte}: {position}"
                );
            }
        }
    }
}
