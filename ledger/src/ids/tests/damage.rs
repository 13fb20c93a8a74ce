//! Bytes that are not what was written: noticed, or without effect; never an id that is silently not there.

use std::path::Path;

use super::super::shelf::Identity;
use super::super::test_disk::{Failing, Survives, TestDisk};
use super::super::{IdIndex, IdsError, page};
use super::{DIR, do_all_jobs, feed, holds_what_it_covers, key, names, open, settled, small};
use crate::types::Position;

/// Every id that the index claims to cover is found, or the damage is reported. Returns whether it was.
fn no_id_is_missing(index: &IdIndex, what: &str) -> bool {
    let mut noticed = false;
    for n in 0..index.covered().0 {
        match index.candidates(key(n)) {
            Ok(found) => assert_eq!(found, [Position(n)], "{what}: id {n}"),
            Err(IdsError::Damaged { .. }) => noticed = true,
            Err(error) => panic!("{what}: {error}"),
        }
    }
    noticed
}

/// An index whose two runs, of 400 and 8 ids, have several pages and a filter of several words.
fn two_runs() -> TestDisk {
    let disk = TestDisk::new();
    let mut index = open(&disk, super::IdOptions { memtable_entries_max: 400, ..small() });
    feed(&mut index, 400);
    do_all_jobs(&mut index);
    let mut index = open(&disk, small());
    feed(&mut index, 408);
    do_all_jobs(&mut index);
    assert_eq!(names(&disk).len(), 2);
    disk
}

#[test]
fn a_flip_in_any_byte_of_a_run_is_noticed_and_hides_no_id() {
    let disk = two_runs();
    let name = names(&disk).remove(0);
    let path = Path::new(DIR).join(&name);
    let sound = disk.bytes(&path).unwrap();
    for offset in 0..sound.len() {
        let mut bytes = sound.clone();
        bytes[offset] ^= 1 << (offset % 8);
        disk.put(&path, bytes);
        let other = disk.after_power_cut(Survives::Everything);
        let index = open(&other, small());
        let noticed = no_id_is_missing(&index, &format!("offset {offset}"));
        assert!(noticed || index.covered() == Position(0), "offset {offset} was not noticed");
    }
}

#[test]
fn a_run_that_is_cut_or_extended_is_thrown_away() {
    let disk = two_runs();
    let name = names(&disk).remove(0);
    let path = Path::new(DIR).join(&name);
    let sound = disk.bytes(&path).unwrap();
    for bytes in [0, 1, 4095, 4096, sound.len() - 8, sound.len() - 1, sound.len() + 1, sound.len() + 4096] {
        let mut cut = sound.clone();
        cut.resize(bytes, 0);
        let other = disk.after_power_cut(Survives::Everything);
        other.put(&path, cut);
        assert_eq!(open(&other, small()).covered(), Position(0), "{bytes} bytes");
        assert_eq!(names(&other), Vec::<String>::new(), "what lies behind the gap goes as well");
    }
}

#[test]
fn a_sector_of_zeros_anywhere_in_a_run_is_noticed_and_hides_no_id() {
    let disk = two_runs();
    let name = names(&disk).remove(0);
    let path = Path::new(DIR).join(&name);
    let sound = disk.bytes(&path).unwrap();
    for sector in 0..sound.len() / 512 {
        let mut bytes = sound.clone();
        bytes[sector * 512..(sector + 1) * 512].fill(0);
        let changed = bytes != sound;
        disk.put(&path, bytes);
        let other = disk.after_power_cut(Survives::Everything);
        let index = open(&other, small());
        let noticed = no_id_is_missing(&index, &format!("sector {sector}"));
        assert_eq!(noticed || index.covered() == Position(0), changed, "sector {sector}");
    }
}

#[test]
fn pages_that_changed_places_are_noticed() {
    let disk = two_runs();
    let name = names(&disk).remove(0);
    let path = Path::new(DIR).join(&name);
    let mut bytes = disk.bytes(&path).unwrap();
    let (first, second) = bytes[4096..3 * 4096].split_at_mut(4096);
    first.swap_with_slice(second);
    disk.put(&path, bytes);
    let index = open(&disk, small());
    assert!(no_id_is_missing(&index, "swapped"));
}

#[test]
fn a_merge_that_meets_damage_says_so_and_a_reset_heals_it() {
    let disk = TestDisk::new();
    let mut index = open(&disk, small());
    feed(&mut index, 4 * 8);
    let victim = Path::new(DIR).join("00000000000000000008-00000000000000000015.run");
    while index.stats().memtable_entries > 0 {
        index.maintain().unwrap();
    }
    let mut bytes = disk.bytes(&victim).unwrap();
    bytes[4100] ^= 1;
    disk.put_in_place(&victim, bytes);
    let damaged = index.maintain();
    assert!(
        matches!(damaged, Err(IdsError::Damaged { ref file, .. }) if victim.ends_with(file)),
        "{damaged:?}"
    );
    assert!(matches!(index.candidates(key(9)), Err(IdsError::Damaged { .. })));
    index.reset().unwrap();
    assert_eq!((index.covered(), names(&disk)), (Position(0), Vec::new()));
    feed(&mut index, 4 * 8);
    do_all_jobs(&mut index);
    holds_what_it_covers(&index);
}

#[test]
fn a_disk_that_cannot_be_read_is_no_damage() {
    let disk = TestDisk::new();
    let index = settled(&disk, 80);
    disk.fail_from(disk.calls(), Failing::Without);
    assert!(matches!(index.candidates(key(3)), Err(IdsError::Io(_))));
    disk.heal();
    holds_what_it_covers(&index);
}

#[test]
fn a_reset_that_cannot_remove_the_files_says_so_and_the_index_is_usable() {
    let disk = TestDisk::new();
    let mut index = settled(&disk, 80);
    disk.fail_from(disk.calls(), Failing::Without);
    assert!(index.reset().is_err());
    assert_eq!(index.covered(), Position(0));
    feed(&mut index, 30);
    holds_what_it_covers(&index);
    disk.heal();
    do_all_jobs(&mut index);
    holds_what_it_covers(&index);
}

/// Changes the first page of a run of several pages, and seals it anew as a broken program might.
fn rewritten(change: impl Fn(&mut [u8])) -> TestDisk {
    let disk = two_runs();
    let name = names(&disk).remove(0);
    let identity = Identity { uid: super::UID, span: name.parse().unwrap() };
    let path = Path::new(DIR).join(name);
    let mut bytes = disk.bytes(&path).unwrap();
    let page = &mut bytes[4096..2 * 4096];
    change(page);
    page::seal(page, &identity, 0);
    disk.put(&path, bytes);
    disk
}

#[test]
fn a_page_that_contradicts_the_filter_is_noticed_even_if_its_check_is_right() {
    let disk = rewritten(|page| page[7] ^= 0x40);
    assert!(no_id_is_missing(&open(&disk, small()), "another key"));
}

#[test]
fn a_record_that_points_out_of_its_run_is_noticed() {
    let disk = rewritten(|page| page[10] = 1);
    assert!(no_id_is_missing(&open(&disk, small()), "another position"));
}

#[test]
fn a_merge_refuses_a_run_that_is_not_sorted() {
    let disk = rewritten(|page| page[..24].rotate_left(12));
    let mut index = open(&disk, small());
    feed(&mut index, 408 + 8 * 80);
    let merged = loop {
        match index.maintain() {
            Ok(true) => {}
            other => break other,
        }
    };
    assert!(matches!(merged, Err(IdsError::Damaged { .. })), "{merged:?}");
}
