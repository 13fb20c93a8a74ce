//! What opening finds beside entries.

use super::*;
use crate::log::{AppendError, OpenError, ReadError};

fn path(name: &str) -> std::path::PathBuf {
    Path::new(DIR).join("log").join(name)
}

const FIRST: &str = "00000000000000000000.seg";

fn log_of_groups(groups: usize) -> (MemoryDisk, Vec<Record>) {
    let disk = MemoryDisk::new();
    let (log, _) = open_on(disk.clone());
    let mut chain = Chain::new();
    let mut records = Vec::new();
    for _ in 0..groups {
        let group = chain.group(&[1, 2], 100);
        log.append(log.tail().next, &group).unwrap();
        records.extend(group);
    }
    (disk, records)
}

fn refuses(disk: &MemoryDisk) -> crate::log::Damage {
    let (log, repair) = open_on(disk.clone());
    assert_eq!(repair, None);
    let group = Chain::after(log.tail()).group(&[1], 10);
    assert!(matches!(log.append(log.tail().next, &group), Err(AppendError::Stopped(_))));
    log.damage().remove(0)
}

#[test]
fn an_absent_log_is_empty_and_nothing_is_made_before_the_first_append() {
    let disk = crate::disk::testing::FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let (log, repair) = open_on(disk.clone());
    assert_eq!((log.tail(), repair), (crate::log::Tail::default(), None));
    assert_eq!(log.read(Position(0), 100).unwrap(), vec![]);
    log.append(Position(0), &[]).unwrap();
    assert_eq!(disk.calls(), vec![]);
}

#[test]
fn an_unknown_file_is_named_and_stops_appends_but_not_reads() {
    let (disk, records) = log_of_groups(3);
    disk.put(&path("notes.txt"), b"hello");
    assert_eq!(refuses(&disk).file, "log/notes.txt");
    assert_eq!(all(&open_on(disk).0), records);
}

/// A repair here would be the last thing to happen to what is evidence there.
#[test]
fn a_torn_end_is_left_alone_where_anything_else_is_damaged() {
    let (memory, records) = log_of_groups(3);
    let bytes = memory.bytes(&path(FIRST)).unwrap();
    memory.put(&path(FIRST), &bytes[..bytes.len() - 1024]);
    memory.put(&path("next.tmp"), b"garbage");
    let sound = memory.copy();
    assert!(open_on(sound).1.is_some(), "it is torn");
    memory.put(&path("notes.txt"), b"hello");
    let disk = crate::disk::testing::FaultyDisk::new(Arc::new(memory));
    let (log, repair) = open_on(disk.clone());
    assert_eq!((log.damage().len(), repair, disk.calls()), (1, None, vec![]));
    assert_eq!(all(&log), records);
}

#[test]
fn a_leftover_of_preparing_is_removed() {
    let (disk, records) = log_of_groups(3);
    disk.put(&path("next.tmp"), b"garbage");
    let (log, repair) = open_on(disk.clone());
    assert_eq!((repair, log.damage(), disk.bytes(&path("next.tmp"))), (None, vec![], None));
    drop(log);
    check_prefix(&disk, &records, records.len());
}

/// A segment gets its name after its header is durable: no crash leaves one that is blank, but a disk that lost it may.
#[test]
fn a_last_segment_that_is_blank_is_damage() {
    let (disk, _) = log_of_groups(3);
    for blank in [vec![], vec![0; 100], vec![0; 16_384]] {
        let copy = disk.copy();
        copy.put(&path(FIRST), &blank);
        assert_eq!(refuses(&copy).position, Position(0));
    }
}

#[test]
fn a_missing_segment_is_damage_at_the_first_missing_position() {
    let (disk, records) = log_of_groups(40);
    let (log, _) = open_on(disk.clone());
    let (name, first, next) = {
        let view = log.view();
        let second = &view.sealed[1];
        (second.name.clone(), second.first, second.next)
    };
    disk.remove(&path(&name)).unwrap();
    let damage = refuses(&disk);
    assert_eq!(damage.position, first);
    let (log, _) = open_on(disk.clone());
    assert_eq!(log.read(Position(0), usize::MAX).unwrap(), records[..first.0 as usize]);
    assert!(matches!(log.read(first, 1), Err(ReadError::Damaged(_))));
    assert_eq!(log.read(next, 1).unwrap()[0], records[next.0 as usize]);
    disk.remove(&path(FIRST)).unwrap();
    assert_eq!(refuses(&disk).position, Position(0));
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let (disk, _) = log_of_groups(3);
    let mut bytes = disk.bytes(&path(FIRST)).unwrap();
    bytes[8] = 7;
    let crc = crc32fast::hash(&bytes[..508]);
    bytes[508..512].copy_from_slice(&crc.to_le_bytes());
    disk.put(&path(FIRST), &bytes);
    let refused = SegmentLog::open(Arc::new(disk), Path::new(DIR), small()).err().unwrap();
    assert!(matches!(refused, OpenError::NewerFormat { version: 7, .. }), "{refused}");
}

#[test]
fn a_segment_of_another_ledger_is_damage() {
    let (disk, _) = log_of_groups(40);
    let (log, _) = open_on(disk.clone());
    let name = log.view().open.as_ref().unwrap().name.clone();
    let mut bytes = disk.bytes(&path(&name)).unwrap();
    bytes[12] ^= 0xff;
    let crc = crc32fast::hash(&bytes[..508]);
    bytes[508..512].copy_from_slice(&crc.to_le_bytes());
    disk.put(&path(&name), &bytes);
    assert!(refuses(&disk).reason.contains("another ledger"));
}

#[test]
fn an_entry_that_was_exchanged_with_all_its_checksums_breaks_the_chain() {
    let (disk, records) = log_of_groups(3);
    let mut bytes = disk.bytes(&path(FIRST)).unwrap();
    let uid = crate::types::LedgerUid([0xA7; 16]);
    let header = crate::log::frame::FrameHeader::decode(&bytes[512..], uid, Position(0)).unwrap();
    let mut forged = records[0].entry.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let mut frame = Vec::new();
    let header = crate::log::frame::FrameHeader { entry_crc: crc32fast::hash(&forged), ..header };
    crate::log::frame::encode(&mut frame, uid, Position(0), &header, &forged);
    bytes[512..512 + frame.len()].copy_from_slice(&frame);
    disk.put(&path(FIRST), &bytes);
    assert_eq!(refuses(&disk).position, Position(1));
    let (log, _) = open_on(disk);
    assert_eq!(log.read(Position(0), usize::MAX).unwrap().len(), 1, "the next one denies it");
}
