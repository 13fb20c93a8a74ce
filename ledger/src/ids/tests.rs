//! What the index promises, each as a sentence. One file for each theme.

mod crashes;
mod damage;
mod figures;
mod format;
mod jobs;
mod model;
mod opening;

use std::path::Path;
use std::sync::Arc;

use super::test_disk::TestDisk;
use super::{IdIndex, IdOptions};
use crate::entry::IdKey;
use crate::types::{LedgerUid, Position};

/// The directory of the index on the test's disk.
const DIR: &str = "ids";
const UID: LedgerUid = LedgerUid(*b"the ledger's uid");

/// A key as uniform as a hash (SplitMix64 by S. Vigna).
pub(super) fn key(n: u64) -> IdKey {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    IdKey(z ^ (z >> 31))
}

/// Units of 8 ids, merges in slices of 5.
fn small() -> IdOptions {
    IdOptions { memtable_entries_max: 8, merge_slice_entries_max: 5, ..IdOptions::new(UID) }
}

fn open(disk: &TestDisk, options: IdOptions) -> IdIndex {
    IdIndex::open(Arc::new(disk.clone()), Path::new(DIR), options).unwrap()
}

/// Feeds keys 0, 1, 2, … up to position `end`.
fn feed(index: &mut IdIndex, end: u64) {
    while index.covered().0 < end {
        let position = index.covered();
        index.insert(key(position.0), position);
    }
}

fn do_all_jobs(index: &mut IdIndex) {
    while index.maintain().unwrap() {}
}

/// An index of `entries` ids with all its jobs done.
fn settled(disk: &TestDisk, entries: u64) -> IdIndex {
    let mut index = open(disk, small());
    while index.covered().0 < entries {
        let next = (index.covered().0 + 8).min(entries);
        feed(&mut index, next);
        do_all_jobs(&mut index);
    }
    index
}

/// Every id fed by [`feed`] and covered is found where it is, and no other is found.
fn holds_what_it_covers(index: &IdIndex) {
    for n in 0..index.covered().0 {
        assert_eq!(index.candidates(key(n)).unwrap(), [Position(n)]);
    }
    for n in index.covered().0..index.covered().0 + 50 {
        assert_eq!(index.candidates(key(n)).unwrap(), []);
    }
}

fn names(disk: &TestDisk) -> Vec<String> {
    crate::disk::Disk::list(disk, Path::new(DIR)).unwrap()
}
