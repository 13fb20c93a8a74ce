//! Which files are believed.

use std::path::{Path, PathBuf};

use super::super::IdOptions;
use super::super::test_disk::{Failing, TestDisk};
use super::{DIR, feed, holds_what_it_covers, names, open, settled, small};
use crate::types::{LedgerUid, Position};

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// Runs 0-7, 8-15, 16-23 on a disk, none of them merged.
fn three_runs() -> TestDisk {
    let disk = TestDisk::new();
    let mut index = open(&disk, small());
    feed(&mut index, 24);
    for _ in 0..3 {
        index.maintain().unwrap();
    }
    drop(index);
    assert_eq!(names(&disk).len(), 3);
    disk
}

#[test]
fn an_empty_directory_is_an_empty_index() {
    let index = open(&TestDisk::new(), small());
    assert_eq!(index.covered(), Position(0));
    holds_what_it_covers(&index);
}

#[test]
fn a_reopened_index_covers_what_is_in_runs() {
    let disk = TestDisk::new();
    drop(settled(&disk, 8 * 30 + 5));
    let index = open(&disk, small());
    assert_eq!(index.covered(), Position(8 * 30));
    holds_what_it_covers(&index);
}

#[test]
fn a_gap_ends_what_is_covered_and_what_lies_behind_it_goes() {
    let disk = three_runs();
    crate::disk::Disk::remove(&disk, &path("00000000000000000008-00000000000000000015.run")).unwrap();
    let index = open(&disk, small());
    assert_eq!(index.covered(), Position(8));
    assert_eq!(names(&disk), ["00000000000000000000-00000000000000000007.run"]);
    holds_what_it_covers(&index);
}

#[test]
fn where_the_outcome_of_a_merge_is_damaged_its_inputs_are_taken() {
    let disk = three_runs();
    disk.put(&path("00000000000000000000-00000000000000000015.run"), vec![7; 12_000]);
    let index = open(&disk, small());
    assert_eq!((index.covered(), names(&disk).len()), (Position(24), 3));
    holds_what_it_covers(&index);
}

#[test]
fn leftovers_go_and_files_of_others_stay() {
    let disk = three_runs();
    disk.put(&path("00000000000000000024-00000000000000000031.4.tmp"), vec![1; 100]);
    disk.put(&path("a letter.txt"), vec![2; 100]);
    disk.put(&path("0-7.run"), vec![2; 100]);
    let index = open(&disk, small());
    assert_eq!(index.covered(), Position(24));
    let kept = names(&disk);
    assert_eq!(kept.len(), 5);
    assert!(kept.contains(&"a letter.txt".to_owned()) && kept.contains(&"0-7.run".to_owned()));
}

#[test]
fn runs_of_another_ledger_are_not_believed() {
    let disk = three_runs();
    let index = open(&disk, IdOptions { uid: LedgerUid([9; 16]), ..small() });
    assert_eq!((index.covered(), names(&disk).len()), (Position(0), 0));
}

#[test]
fn a_run_under_the_name_of_another_is_not_believed() {
    let disk = three_runs();
    let second = disk.bytes(&path("00000000000000000008-00000000000000000015.run")).unwrap();
    disk.put(&path("00000000000000000000-00000000000000000007.run"), second);
    assert_eq!(open(&disk, small()).covered(), Position(0));
}

#[test]
fn a_newer_format_is_not_believed() {
    let disk = three_runs();
    let name = path("00000000000000000008-00000000000000000015.run");
    let mut bytes = disk.bytes(&name).unwrap();
    bytes[8] = 2;
    disk.put(&name, bytes);
    assert_eq!(open(&disk, small()).covered(), Position(8));
}

#[test]
fn an_opening_that_fails_leaves_what_the_next_one_needs() {
    for call in 0..40 {
        for failing in [Failing::Without, Failing::With] {
            let disk = three_runs();
            disk.fail_from(disk.calls() + call, failing);
            let broken = super::IdIndex::open(std::sync::Arc::new(disk.clone()), Path::new(DIR), small());
            drop(broken);
            disk.heal();
            let mut index = open(&disk, small());
            holds_what_it_covers(&index);
            feed(&mut index, 40);
            holds_what_it_covers(&index);
        }
    }
}

#[test]
fn the_unit_may_change_from_one_opening_to_the_next() {
    let disk = TestDisk::new();
    let mut end = 0;
    for unit in [8, 3, 20, 1, 7, 64, 5] {
        let mut index = open(&disk, IdOptions { memtable_entries_max: unit, ..small() });
        for _ in 0..20 {
            end += 5;
            feed(&mut index, end);
            while index.maintain().unwrap() {}
        }
        holds_what_it_covers(&index);
        assert!(index.stats().runs <= 2 * 4, "{:?}", index.stats());
    }
}

#[test]
fn after_a_change_of_the_unit_tables_end_where_the_new_plan_wants_them() {
    let disk = TestDisk::new();
    let mut index = open(&disk, IdOptions { memtable_entries_max: 5, ..small() });
    feed(&mut index, 5);
    index.maintain().unwrap();
    let mut index = open(&disk, small());
    feed(&mut index, 16);
    index.maintain().unwrap();
    index.maintain().unwrap();
    let firsts: Vec<_> = names(&disk).iter().map(|name| name[..20].parse::<u64>().unwrap()).collect();
    assert_eq!(firsts, [0, 5, 8]);
}
