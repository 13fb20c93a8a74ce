//! A file that ends early, as after a copy that was cut off.

use std::path::{Path, PathBuf};

use super::*;

/// A log in one open segment with groups of these batches, and the offset behind each group.
fn log_of(groups: &[&[u16]]) -> (MemoryDisk, Vec<Record>, Vec<usize>) {
    let disk = MemoryDisk::new();
    let (log, _) = open_on(disk.clone());
    let mut chain = Chain::new();
    let (mut records, mut ends) = (Vec::new(), Vec::new());
    for group in groups {
        let group = chain.group(group, 60);
        log.append(log.tail().next, &group).unwrap();
        records.extend(group);
        let bytes: usize = records.iter().map(|r| r.entry.len() + 21).sum();
        ends.push(512 + bytes);
    }
    (disk, records, ends)
}

fn segment() -> PathBuf {
    Path::new(DIR).join("log/00000000000000000000.seg")
}

#[test]
fn a_file_cut_at_any_byte_of_the_last_entry_or_batch_is_repaired_and_the_cut_bytes_are_kept() {
    for last in [&[1_u16][..], &[4][..], &[1, 1, 1][..]] {
        let (disk, records, ends) = log_of(&[&[1, 2], &[1], last]);
        let whole = disk.bytes(&segment()).unwrap();
        for cut in ends[1]..ends[2] {
            let disk = MemoryDisk::new();
            disk.put(&segment(), &whole[..cut]);
            let (log, repair) = open_on(disk.clone());
            let repair = repair.unwrap();
            assert_eq!(log.damage(), vec![], "{cut}");
            let next = usize::try_from(log.tail().next.0).unwrap();
            assert!(next >= 4 && next < records.len());
            let offset = usize::try_from(repair.offset).unwrap();
            assert!(offset >= ends[1] && offset <= cut);
            assert_eq!(repair.bytes as usize, cut - offset);
            if let Some(kept) = &repair.kept {
                assert_eq!(disk.bytes(&Path::new(DIR).join(kept)).unwrap(), whole[offset..cut]);
                let told = disk.bytes(&Path::new(DIR).join(kept.replace(".bin", ".json"))).unwrap();
                let told = String::from_utf8(told).unwrap();
                assert!(told.contains(&format!("\"position\":{next},")), "{told}");
                assert!(told.contains(&log.tail().link.to_string()));
            } else {
                assert_eq!(repair.bytes, 0);
            }
            assert_eq!(disk.bytes(&segment()).unwrap().len(), whole.len(), "its capacity is back");
            drop(log);
            check_prefix(&disk, &records, 4);
        }
    }
}

#[test]
fn a_sealed_segment_that_ends_early_within_its_footer_goes_on() {
    let disk = MemoryDisk::new();
    let (log, _) = open_on(disk.clone());
    let mut chain = Chain::new();
    let mut records = Vec::new();
    while log.view().sealed.is_empty() {
        let group = chain.group(&[2], 150);
        log.append(log.tail().next, &group).unwrap();
        records.extend(group);
    }
    let acknowledged = log.view().sealed[0].next.0 as usize;
    let whole = disk.bytes(&segment()).unwrap();
    let start = log.view().sealed[0].footer.unwrap() as usize;
    for cut in start..whole.len() {
        let disk = MemoryDisk::new();
        disk.put(&segment(), &whole[..cut]);
        check_prefix(&disk, &records, acknowledged);
    }
}

#[test]
fn nothing_that_a_checkpoint_covers_is_cut() {
    let (disk, records, ends) = log_of(&[&[1, 2], &[1], &[4]]);
    let whole = disk.bytes(&segment()).unwrap();
    for (protected, damaged) in [(4, false), (5, true), (8, true)] {
        let disk = MemoryDisk::new();
        disk.put(&segment(), &whole[..ends[2] - 10]);
        let options = SegmentOptions { protected_through: Position(protected), ..small() };
        let (log, repair) = SegmentLog::open(Arc::new(disk.clone()), Path::new(DIR), options).unwrap();
        assert_eq!((log.damage().len(), repair.is_none()), (usize::from(damaged), damaged));
        assert_eq!(all_until_damage(&log), records[..4]);
        if damaged {
            assert_eq!(log.damage()[0].position, Position(4));
            assert_eq!(disk.bytes(&segment()).unwrap(), whole[..ends[2] - 10], "nothing was written");
        }
    }
}

fn all_until_damage(log: &SegmentLog) -> Vec<Record> {
    log.read(Position(0), usize::MAX).unwrap()
}

#[test]
fn a_log_that_is_gone_altogether_is_damage_where_a_checkpoint_is_known() {
    let options = SegmentOptions { protected_through: Position(1), ..small() };
    let (log, _) = SegmentLog::open(Arc::new(MemoryDisk::new()), Path::new(DIR), options).unwrap();
    assert_eq!(log.damage().len(), 1);
    let group = Chain::new().group(&[1], 10);
    assert!(matches!(log.append(Position(0), &group), Err(crate::log::AppendError::Stopped(_))));
}
