//! The judge and the log's engine are two readings of one page. Here they must agree: on whatever a crash leaves
//! behind, and on what somebody changed.

use std::path::Path;
use std::sync::Arc;

use super::logs::{DIR, Dice, each_crash, groups, last_segment, options, tamper, written};
use super::verify_each_way;
use super::writer::{UID, open_segment, plan, sealed_segment, segment_header};
use crate::disk::testing::MemoryDisk;
use crate::log::{Damage, FRAME_BYTES, LogStore, ReadError, Repair, SegmentLog};
use crate::types::{Link, Position};
use crate::verify::LedgerReport;

fn judged(disk: &MemoryDisk) -> Option<LedgerReport> {
    verify_each_way(disk, Path::new("d")).ledgers.pop()
}

fn opened(disk: &MemoryDisk) -> (SegmentLog, Option<Repair>) {
    SegmentLog::open(Arc::new(disk.clone()), Path::new(DIR), options()).unwrap()
}

/// The bytes that a repair cut off, up to the last that is not zero.
fn cut_off(disk: &MemoryDisk, repair: Option<&Repair>) -> u64 {
    let Some(repair) = repair else { return 0 };
    let bytes = disk.bytes(&Path::new(DIR).join(&repair.file)).unwrap();
    let cut = &bytes[repair.offset as usize..(repair.offset + repair.bytes) as usize];
    cut.iter().rposition(|b| *b != 0).map_or(0, |last| last as u64 + 1)
}

/// What the engine cannot read, one entry at a time.
fn unreadable(log: &SegmentLog) -> Vec<Damage> {
    let damage = |position| match log.read(Position(position), 1) {
        Err(ReadError::Damaged(damage)) => Some(damage),
        Err(ReadError::Io(e)) => panic!("{e}"),
        Ok(_) => None,
    };
    (0..log.tail().next.0).filter_map(damage).collect()
}

/// Whether the judge names the position that the engine names. Of a footer the engine knows only that it is not right;
/// the judge knows which entry it is not right about.
fn told(report: &LedgerReport, damage: &Damage) -> bool {
    let footer = damage.reason.contains("footer");
    report.damage.iter().any(|d| d.position == damage.position || (footer && d.file == damage.file))
}

/// Both say the same of a disk; gives what the judge says.
fn agreed(disk: &MemoryDisk, what: &str) -> LedgerReport {
    let report = judged(disk).unwrap();
    let engine = disk.copy();
    let (log, repair) = opened(&engine);
    let damage = log.damage();
    assert_eq!(report.ok(), damage.is_empty(), "{what}: {report:?}, but the engine: {damage:?} {repair:?}");
    if let Some(first) = damage.first() {
        assert!(told(&report, first), "{what}: {first} not in {:?}", report.damage);
        return report;
    }
    let tail = log.tail();
    assert_eq!((report.entries, report.head), (tail.next, tail.link), "{what}: {report:?} {repair:?}");
    assert_eq!(report.torn_bytes, cut_off(disk, repair.as_ref()), "{what}: {repair:?}");
    drop(log);
    let after = judged(&engine).unwrap();
    let expected = (vec![], 0, report.entries, report.head);
    assert_eq!((after.damage, after.torn_bytes, after.entries, after.head), expected, "{what}");
    report
}

#[test]
fn what_a_crash_leaves_is_judged_as_it_is_repaired() {
    let (mut clean, mut torn, mut last) = (0, 0, 0);
    each_crash(64, &mut |disk| {
        if judged(&disk).is_none() {
            assert_eq!(opened(&disk).0.tail().next, Position(0));
            return;
        }
        let report = agreed(&disk, "crash");
        assert_eq!(report.damage, []);
        *(if report.torn_bytes == 0 { &mut clean } else { &mut torn }) += 1;
        last = last.max(report.entries.0);
    });
    assert!(clean > 1000 && torn > 300, "{clean} {torn}");
    assert_eq!(last as usize, groups().iter().map(Vec::len).sum::<usize>());
}

#[test]
fn what_was_changed_in_the_open_segment_is_judged_as_the_engine_does() {
    let groups = groups();
    let (mut sound, mut torn, mut damaged) = (0, 0, 0);
    for count in 1..=groups.len() {
        let disk = MemoryDisk::new();
        written(disk.clone(), &groups[..count]);
        let path = last_segment(&disk);
        let bytes = disk.bytes(&path).unwrap();
        for seed in 0..250 {
            let mut dice = Dice(seed * 31 + count as u64);
            let mut changed = bytes.clone();
            tamper(&mut changed, &mut dice);
            disk.put(&path, &changed);
            let report = agreed(&disk, &format!("{count} groups, seed {seed}"));
            match (report.ok(), report.torn_bytes) {
                (false, _) => damaged += 1,
                (true, 0) => sound += 1,
                (true, _) => torn += 1,
            }
        }
    }
    assert!(sound > 100 && torn > 300 && damaged > 300, "{sound} {torn} {damaged}");
}

#[test]
fn a_flipped_bit_is_found_wherever_the_engine_finds_it() {
    let disk = MemoryDisk::new();
    written(disk.clone(), &groups());
    let paths: Vec<_> = disk.paths().into_iter().filter(|p| p.extension().is_some()).collect();
    assert!(paths.len() >= 3);
    for path in paths {
        let bits = disk.bytes(&path).unwrap().len() * 8;
        for bit in (0..bits).step_by(29) {
            disk.flip(&path, bit / 8, 1 << (bit % 8));
            let report = judged(&disk).unwrap();
            let (log, repair) = opened(&disk);
            let what = format!("{} bit {bit}", path.display());
            assert_eq!((report.ok(), report.torn_bytes, repair), (false, 0, None), "{what}");
            for damage in log.damage().into_iter().chain(unreadable(&log)) {
                assert!(told(&report, &damage), "{what}: {damage} not in {:?}", report.damage);
            }
            disk.flip(&path, bit / 8, 1 << (bit % 8));
        }
    }
    assert!(agreed(&disk, "nothing flipped").ok());
}

/// A disk with one segment.
fn holding(bytes: &[u8]) -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.put(&Path::new(DIR).join("log/00000000000000000000.seg"), bytes);
    disk
}

#[test]
fn an_entry_longer_than_its_segment_is_damage() {
    let (mut bytes, _) = open_segment(&plan(&[&[100], &[8000]]), 16_384);
    bytes.truncate(4096);
    bytes[..512].copy_from_slice(&segment_header(UID, 0, Link::default(), 4096));
    let report = agreed(&holding(&bytes), "longer");
    assert_eq!(report.damage.first().map(|d| d.position.0), Some(1));
}

#[test]
fn a_bit_that_fails_where_the_file_ends_early_is_part_of_the_tear() {
    let (mut bytes, offsets) = open_segment(&plan(&[&[100], &[300]]), 4096);
    bytes.truncate(offsets[2] as usize - 1);
    bytes[offsets[1] as usize + 150] ^= 1;
    let report = agreed(&holding(&bytes), "early");
    assert_eq!((report.damage, report.entries.0), (vec![], 1));
}

#[test]
fn a_footer_that_the_file_ends_in_is_torn() {
    let (bytes, offsets) = sealed_segment(&plan(&[&[100], &[300], &[30]]), 4096);
    for length in offsets[3] as usize..bytes.len() {
        let report = agreed(&holding(&bytes[..length]), &format!("length {length}"));
        assert_eq!((report.damage, report.entries.0), (vec![], 3), "length {length}");
    }
}

#[test]
fn a_footer_with_more_behind_it_is_damage_and_not_torn() {
    let (mut bytes, offsets) = sealed_segment(&plan(&[&[100], &[300], &[30]]), 4096);
    let footer = offsets[3].next_multiple_of(512) as usize;
    bytes.extend(b"more");
    bytes.resize(4096, 0);
    assert!(!agreed(&holding(&bytes), "whole").ok());
    bytes[footer + 30] ^= 0xFF;
    let report = agreed(&holding(&bytes), "changed");
    assert_eq!((report.ok(), report.torn_bytes), (false, 0));
}

#[test]
fn a_group_takes_the_bytes_that_it_is_measured_by() {
    let group = &groups()[..1];
    let disk = MemoryDisk::new();
    written(disk.clone(), group);
    let bytes = disk.bytes(&last_segment(&disk)).unwrap();
    let end = 512 + group[0].iter().map(|record| record.entry.len() + FRAME_BYTES).sum::<usize>();
    assert_eq!(bytes.iter().rposition(|b| *b != 0), Some(end - 1));
}

#[test]
fn files_of_version_1_are_sound() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/log-v1");
    let disk = MemoryDisk::new();
    disk.put(&Path::new(DIR).join("tail"), &std::fs::read(golden.join("tail")).unwrap());
    for file in std::fs::read_dir(golden.join("log")).unwrap() {
        let file = file.unwrap();
        let path = Path::new(DIR).join("log").join(file.file_name());
        disk.put(&path, &std::fs::read(file.path()).unwrap());
    }
    let report = judged(&disk).unwrap();
    assert_eq!((report.damage, report.torn_bytes, report.entries.0), (vec![], 0, 8));
    assert_eq!(report.published, Some(Position(8)));
}
