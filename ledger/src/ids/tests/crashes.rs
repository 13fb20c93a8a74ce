//! The disk fails, or the power goes, at any call.

use super::super::IdIndex;
use super::super::test_disk::{Failing, Survives, TestDisk};
use super::{do_all_jobs, feed, holds_what_it_covers, names, open, small};

const ENTRIES: u64 = 8 * 9 + 3;

/// Feeds everything and does the jobs; how far the disk lets it come.
fn live(index: &mut IdIndex) {
    while index.covered().0 < ENTRIES {
        let next = (index.covered().0 + 4).min(ENTRIES);
        feed(index, next);
        while matches!(index.maintain(), Ok(true)) {}
    }
}

fn calls_of_a_whole_life() -> u64 {
    let disk = TestDisk::new();
    live(&mut open(&disk, small()));
    disk.calls()
}

#[test]
fn a_power_cut_between_any_two_calls_leaves_a_prefix_that_is_true() {
    for call in 3..calls_of_a_whole_life() {
        for failing in [Failing::Without, Failing::With] {
            let disk = TestDisk::new();
            let mut index = open(&disk, small());
            disk.fail_from(call, failing);
            live(&mut index);
            for survives in [Survives::Synced, Survives::Names, Survives::Everything] {
                let after = disk.after_power_cut(survives);
                let mut index = open(&after, small());
                assert!(index.covered().0 <= ENTRIES, "call {call}, {failing:?}, {survives:?}");
                holds_what_it_covers(&index);
                feed(&mut index, ENTRIES);
                do_all_jobs(&mut index);
                holds_what_it_covers(&index);
            }
        }
    }
}

#[test]
fn what_a_job_has_written_survives_the_power_cut_that_follows() {
    let disk = TestDisk::new();
    let mut index = open(&disk, small());
    for unit in 1..40 {
        feed(&mut index, unit * 8);
        do_all_jobs(&mut index);
        for survives in [Survives::Synced, Survives::Names, Survives::Everything] {
            let after = open(&disk.after_power_cut(survives), small());
            assert_eq!(after.covered().0, unit * 8, "{survives:?}");
        }
    }
}

#[test]
fn a_power_cut_between_any_two_jobs_loses_no_run() {
    let disk = TestDisk::new();
    let mut index = open(&disk, small());
    for unit in 1..40 {
        feed(&mut index, unit * 8);
        while index.maintain().unwrap() {
            let on_disk = index.covered().0 - index.stats().memtable_entries;
            let after = open(&disk.after_power_cut(Survives::Synced), small());
            assert_eq!(after.covered().0, on_disk);
        }
    }
}

#[test]
fn while_writes_fail_look_ups_go_on_and_the_disk_is_tried_again_later() {
    for call in 3..calls_of_a_whole_life() {
        let disk = TestDisk::new();
        let mut index = open(&disk, small());
        disk.fail_from(call, Failing::With);
        live(&mut index);
        // Reads are spared from here on, as by a disk that is full.
        disk.heal();
        holds_what_it_covers(&index);
        do_all_jobs(&mut index);
        holds_what_it_covers(&index);
        assert!(index.stats().memtable_entries < 8, "everything that is full was written");
        drop(index);
        let again = open(&disk, small());
        assert_eq!(again.covered().0, ENTRIES / 8 * 8);
        holds_what_it_covers(&again);
    }
}

#[test]
fn after_one_call_that_failed_everything_is_written_all_the_same() {
    for call in 3..calls_of_a_whole_life() {
        for failing in [Failing::Without, Failing::With] {
            let disk = TestDisk::new();
            let mut index = open(&disk, small());
            disk.fail_once(call, failing);
            live(&mut index);
            do_all_jobs(&mut index);
            for survives in [Survives::Synced, Survives::Names, Survives::Everything] {
                let again = open(&disk.after_power_cut(survives), small());
                assert_eq!(again.covered().0, ENTRIES / 8 * 8, "call {call}, {failing:?}, {survives:?}");
                holds_what_it_covers(&again);
            }
        }
    }
}

#[test]
fn a_run_whose_name_may_not_last_is_taken_back() {
    for call in 3..calls_of_a_whole_life() {
        let disk = TestDisk::new();
        let mut index = open(&disk, small());
        feed(&mut index, 4 * 8);
        disk.fail_once(call, Failing::With);
        while index.maintain().unwrap_or(false) {}
        let live = index.runs.iter().chain(&index.superseded).map(|run| run.span().file_name());
        let live: Vec<_> = live.collect();
        disk.heal();
        let found = names(&disk);
        let strays: Vec<_> = found.iter().filter(|name| !live.contains(name) && is_new(name)).collect();
        assert_eq!(strays, Vec::<&String>::new(), "call {call}");
    }
}

/// Not one of the four units, whose files may stay where removing them failed.
fn is_new(name: &str) -> bool {
    !name.ends_with(".tmp") && name.contains("0000-00000000000000000031")
}
