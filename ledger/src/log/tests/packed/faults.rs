//! The disk fails, or the plug is pulled, at any call of packing.

use super::super::crash::each_crash;
use super::*;
use crate::disk::testing::{Failure, FaultyDisk};
use crate::disk::{Disk, Open};

/// A log of three sealed segments on a disk that can fail from here on.
fn faulty() -> (MemoryDisk, FaultyDisk, SegmentLog, Vec<Record>) {
    let (memory, log, records) = hot(3);
    drop(log);
    // All of it is durable.
    let memory = memory.crash(&mut |_| true);
    let disk = FaultyDisk::new(Arc::new(memory.clone()));
    let (log, _) = open_on(disk.clone());
    (memory, disk, log, records)
}

/// How many calls change the disk while a log is opened, and while a segment is packed.
fn calls() -> (usize, usize) {
    let (_, disk, log, _) = faulty();
    let before = disk.calls().len();
    pack(&log).unwrap();
    (before, disk.calls().len())
}

#[test]
fn whatever_call_of_packing_fails_and_however_every_entry_is_served_and_packing_can_be_tried_again() {
    let (from, to) = calls();
    assert!(to - from >= 6, "{from}..{to}");
    for n in from..to {
        for failure in Failure::ALL {
            let (memory, disk, log, records) = faulty();
            disk.fail_at(n, failure);
            let packed = log.pack_next(0, &|| true);
            let failed = &disk.calls()[n];
            // A rename that happened although it failed is found out, and is one.
            let renamed = failed.kind == "rename" && matches!(failure, Failure::Done | Failure::FullDone);
            let harmless = renamed || failed.kind == "remove";
            assert!(packed.is_err() || harmless, "{failed:?} {failure:?}");
            assert!(packed.is_ok() || !renamed, "{failed:?} {failure:?}");
            serves(&log, &records);
            for keep in [false, true] {
                check_prefix(&memory.crash(&mut |_| keep), &records, records.len());
            }
            assert!(pack(&log).is_some(), "{failed:?}");
            serves(&log, &records);
            check_prefix(&memory.crash(&mut |_| false), &records, records.len());
        }
    }
}

#[test]
fn a_full_disk_packs_nothing_and_loses_nothing() {
    let (memory, disk, log, records) = faulty();
    disk.set_full(true);
    assert!(matches!(log.pack_next(0, &|| true), Err(PackError::Io(_))));
    serves(&log, &records);
    assert!(!leftovers(&memory));
    disk.set_full(false);
    assert!(pack(&log).is_some());
}

#[test]
fn a_power_cut_at_any_call_of_packing_loses_nothing() {
    let (from, to) = calls();
    let (mut packed, mut plain) = (0, 0);
    for n in from..=to {
        let (memory, disk, log, records) = faulty();
        disk.cut_power_after(n);
        let _ = log.pack_next(0, &|| true);
        drop(log);
        each_crash(&memory, &mut |after| {
            let (log, repair) = open_on(after.clone());
            assert_eq!((log.damage(), repair, leftovers(&after)), (vec![], None, false), "call {n}");
            assert_eq!(all(&log), records, "call {n}");
            if log.packed().segments > 0 {
                packed += 1
            } else {
                plain += 1
            }
            drop(log);
            check_prefix(&after, &records, records.len());
        });
    }
    assert!(packed > 2 && plain > 20, "{packed} {plain}");
}

#[test]
fn what_reads_back_as_anything_else_than_the_segment_does_not_take_its_place() {
    let (disk, log, _) = hot(2);
    let path = path(Position(0));
    let bytes = disk.bytes(&path).unwrap();
    // Asked before the first block is compared: from then on the segment's own file reads differently.
    let changed = || {
        disk.open(&path, Open::Write).unwrap().write_at(&[bytes[700] ^ 1], 700).unwrap();
        true
    };
    let packed = log.pack_next(0, &changed);
    assert!(matches!(packed, Err(PackError::Differs(_))), "{packed:?}");
    assert_eq!(log.packed(), crate::log::PackedTotals::default());
    assert!(!leftovers(&disk));
}
