//! Packed segments: as good as those they replace, whatever happens meanwhile.

mod faults;
mod flips;
mod hostile;
mod race;

use std::path::PathBuf;

use super::*;
use crate::log::{PackError, PackedSegment};
use crate::types::LedgerUid;

/// A log of at least so many sealed segments and an open one, none packed.
fn hot(sealed: usize) -> (MemoryDisk, SegmentLog, Vec<Record>) {
    let disk = MemoryDisk::new();
    let (log, _) = open_on(disk.clone());
    let records = grow(&log, sealed);
    (disk, log, records)
}

fn grow(log: &SegmentLog, sealed: usize) -> Vec<Record> {
    let mut chain = Chain::after(log.tail());
    let mut records = Vec::new();
    while log.view().sealed.len() < sealed {
        let group = chain.group(&[1, 2, 1, 4], 150);
        log.append(log.tail().next, &group).unwrap();
        records.extend(group);
    }
    records
}

fn pack(log: &SegmentLog) -> Option<PackedSegment> {
    log.pack_next(0, &|| true).unwrap()
}

/// Packs all that can be packed.
fn pack_all(log: &SegmentLog) -> usize {
    std::iter::from_fn(|| pack(log)).count()
}

fn path(first: Position) -> PathBuf {
    Path::new(DIR).join(format!("log/{:020}.seg", first.0))
}

fn leftovers(disk: &MemoryDisk) -> bool {
    disk.paths().iter().any(|path| path.ends_with("pack.tmp"))
}

fn ids_of(log: &SegmentLog, from: u64) -> Vec<(Position, crate::entry::IdKey)> {
    let mut ids = Vec::new();
    log.for_each_id(Position(from), &mut |key, position| ids.push((position, key))).unwrap();
    ids.sort_unstable();
    ids
}

/// All that a log must give of these entries: each of them, from anywhere on, alone and with others, and its id.
fn serves(log: &SegmentLog, records: &[Record]) {
    assert_eq!(log.damage(), vec![]);
    assert_eq!(all(log), records);
    for from in 0..records.len() {
        let at = Position(from as u64);
        assert_eq!(log.read(at, 1).unwrap(), records[from..=from]);
        if from % 7 == 0 {
            assert_eq!(log.read(at, usize::MAX).unwrap(), records[from..]);
            assert_eq!(ids_of(log, from as u64), chain::ids(records)[from..]);
        }
    }
    let backwards: Vec<Position> = (0..records.len() as u64).rev().map(Position).collect();
    let expected: Vec<Record> = records.iter().rev().cloned().collect();
    assert_eq!(log.read_many(&backwards).unwrap(), expected);
}

#[test]
fn the_oldest_sealed_segments_are_packed_and_serve_what_they_served() {
    let (disk, log, mut records) = hot(5);
    let firsts: Vec<Position> = log.view().sealed.iter().map(|s| s.first).collect();
    let before: Vec<usize> = firsts.iter().map(|f| disk.bytes(&path(*f)).unwrap().len()).collect();
    for n in 0..3 {
        assert_eq!((log.waits_for_packing(2), log.waits_for_packing(0)), (3 - n, 5 - n));
        let packed = log.pack_next(2, &|| true).unwrap().unwrap();
        assert_eq!((packed.first, packed.bytes_before), (firsts[n], before[n] as u64));
        assert_eq!(packed.bytes, disk.bytes(&path(firsts[n])).unwrap().len() as u64);
        assert!(packed.bytes < packed.bytes_before, "{packed:?}");
        serves(&log, &records);
    }
    assert_eq!(log.pack_next(2, &|| true).unwrap(), None, "the newest two stay as they are");
    let totals = log.packed();
    assert_eq!((totals.segments, totals.bytes_before), (3, before[..3].iter().sum::<usize>() as u64));
    records.extend(grow(&log, 7));
    assert_eq!((pack_all(&log), log.waits_for_packing(0)), (4, 0));
    serves(&log, &records);
    let (again, repair) = open_on(disk.copy());
    assert_eq!((repair, again.tail(), again.packed()), (None, log.tail(), log.packed()));
    serves(&again, &records);
    check_prefix(&disk, &records, records.len());
}

#[test]
fn the_last_segment_is_never_packed_nor_is_anything_of_a_damaged_log() {
    let (disk, log, _) = hot(3);
    let last = log.view().open.as_ref().unwrap().index.first;
    assert!(pack(&log).is_some());
    let broken = disk.copy();
    broken.flip(&path(last), 40, 1);
    let (damaged, _) = open_on(broken);
    assert_eq!((damaged.damage().len(), pack(&damaged)), (1, None));
    let ended = disk.copy();
    ended.remove(&path(last)).unwrap();
    let (ended, _) = open_on(ended);
    assert_eq!((ended.waits_for_packing(0), pack_all(&ended), ended.packed().segments), (1, 1, 2));
    assert_eq!((pack_all(&log), log.packed().segments), (2, 3));
}

#[test]
fn a_packed_file_holds_the_frames_of_the_one_it_replaced_byte_for_byte() {
    let (disk, log, _) = hot(2);
    let plain = disk.bytes(&path(Position(0))).unwrap();
    pack(&log).unwrap();
    let packed = disk.bytes(&path(Position(0))).unwrap();
    assert_eq!(packed[8..12], 2_u32.to_le_bytes());
    assert_eq!(packed[12..508], plain[12..508], "the header differs in its version alone");
    let (mut at, mut frames) = (512, plain[..512].to_vec());
    while packed[at..at + 8] != *b"TKLFOOT2" {
        let zstd_bytes = u32::from_le_bytes(packed[at..at + 4].try_into().unwrap()) as usize;
        frames.extend(zstd::bulk::decompress(&packed[at + 16..at + 16 + zstd_bytes], 1 << 20).unwrap());
        at += 16 + zstd_bytes;
    }
    assert_eq!(frames, plain[..frames.len()]);
    assert_eq!(frames.len() as u64, log.view().sealed[0].end);
}

#[test]
fn entries_that_do_not_compress_and_the_largest_are_packed_too() {
    let disk = MemoryDisk::new();
    let (log, _) = open_on(disk.clone());
    let mut tail = log.tail();
    tail.uid = LedgerUid([9; 16]);
    let mut records = Vec::new();
    let mut noise = 1_u64;
    for event_bytes in [65_400, 0, 10, 65_400, 4_000, 4_200, 0, 65_400, 1] {
        let event: Vec<u8> = (0..event_bytes)
            .map(|_| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (noise >> 56) as u8
            })
            .collect();
        let header = crate::entry::Header {
            uid: tail.uid,
            position: tail.next,
            epoch: 0,
            previous: tail.link,
            recorded_at: tail.recorded_at,
            event_id: uuid::Uuid::from_u128(u128::from(tail.next.0)),
            emitter: "e".parse().unwrap(),
        };
        let entry = bytes::Bytes::from(crate::entry::encode(&header, &event).unwrap());
        let link = crate::entry::link(&entry);
        let record = Record::new(entry, link, (0, 1));
        tail = log.append(tail.next, std::slice::from_ref(&record)).unwrap();
        records.push(record);
    }
    assert!(log.view().sealed.len() > 2);
    assert_eq!(pack_all(&log), log.view().sealed.len());
    serves(&log, &records);
    serves(&open_on(disk).0, &records);
}

#[test]
fn what_is_not_what_was_written_is_not_packed_and_all_else_is() {
    let (disk, log, _) = hot(4);
    drop(log);
    let second = open_on(disk.copy()).0.view().sealed[1].first;
    let bytes = disk.bytes(&path(second)).unwrap();
    let footer = open_on(disk.copy()).0.view().sealed[1].footer.unwrap() as usize;
    for bit in (0..bytes.len() * 8).step_by(101) {
        let disk = disk.copy();
        let (log, _) = open_on(disk.clone());
        disk.flip(&path(second), bit / 8, 1 << (bit % 8));
        assert_eq!(pack(&log).unwrap().first, Position(0));
        let Err(PackError::Damaged(damage)) = log.pack_next(0, &|| true) else { panic!("bit {bit}") };
        assert!(path(second).ends_with(&damage.file));
        let offset = damage.offset as usize;
        assert!(
            offset <= bit / 8 && (bit / 8 < offset + 700 || offset >= footer - 512),
            "bit {bit}: {damage}"
        );
        assert!(!leftovers(&disk));
        let mut expected = bytes.clone();
        expected[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(disk.bytes(&path(second)).unwrap(), expected, "it is left as it is");
        assert!(pack(&log).unwrap().first > second, "the others are packed");
        assert!(pack(&log).unwrap().first > second);
        assert_eq!((pack(&log), log.waits_for_packing(0)), (None, 1), "it is not tried again");
    }
}

#[test]
fn an_entry_that_was_forged_with_its_crcs_is_not_packed_since_the_next_one_does_not_carry_its_link() {
    let (disk, log, records) = hot(2);
    let (position, frame) = (5, 512 + records[..5].iter().map(|r| r.entry.len() + 21).sum::<usize>());
    let mut bytes = disk.bytes(&path(Position(0))).unwrap();
    let entry = frame + 20..frame + 20 + records[position].entry.len();
    bytes[entry.end - 12] ^= 1;
    let crc = crc32fast::hash(&bytes[entry]).to_le_bytes();
    bytes[frame + 12..frame + 16].copy_from_slice(&crc);
    let uid = LedgerUid([0xA7; 16]);
    let covered = [&uid.0[..], &(position as u64).to_le_bytes(), &bytes[frame..frame + 16]].concat();
    bytes[frame + 16..frame + 20].copy_from_slice(&crc32fast::hash(&covered).to_le_bytes());
    disk.put(&path(Position(0)), &bytes);
    drop(log);
    let (log, _) = open_on(disk.clone());
    assert_eq!(log.damage(), vec![], "a sealed segment is taken by its footer");
    let Err(PackError::Damaged(damage)) = log.pack_next(0, &|| true) else { panic!("it was packed") };
    assert_eq!((damage.position.0, damage.reason.contains("link")), (position as u64 + 1, true), "{damage}");
    assert_eq!(disk.bytes(&path(Position(0))).unwrap(), bytes);
}

#[test]
fn packing_stops_when_it_is_told_to_and_can_be_taken_up_again() {
    let (disk, log, records) = hot(2);
    assert_eq!(log.pack_next(0, &|| false).unwrap(), None);
    assert!(!leftovers(&disk));
    assert!(pack(&log).is_some());
    serves(&log, &records);
}

#[test]
fn what_is_left_of_packing_is_removed_at_the_next_start() {
    let (disk, log, records) = hot(2);
    drop(log);
    disk.put(&Path::new(DIR).join("log/pack.tmp"), b"anything");
    let (log, repair) = open_on(disk.clone());
    assert_eq!((repair, leftovers(&disk)), (None, false));
    serves(&log, &records);
}
