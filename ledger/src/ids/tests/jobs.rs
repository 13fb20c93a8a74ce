//! Work that is out of the house while the index is asked.

use super::super::job::Work;
use super::super::test_disk::{Failing, TestDisk};
use super::{do_all_jobs, feed, holds_what_it_covers, names, open, settled, small};
use crate::types::Position;

#[test]
fn every_id_is_found_while_a_job_is_out_before_and_after_it_ran() {
    let disk = TestDisk::new();
    let mut index = open(&disk, small());
    for unit in 1..60 {
        feed(&mut index, unit * 8 + unit % 8);
        while let Some(job) = index.next_job() {
            holds_what_it_covers(&index);
            let done = job.run().unwrap();
            holds_what_it_covers(&index);
            index.install(done);
            holds_what_it_covers(&index);
        }
    }
}

#[test]
fn one_job_is_out_at_a_time() {
    let mut index = open(&TestDisk::new(), small());
    feed(&mut index, 30);
    let job = index.next_job().unwrap();
    assert!(index.next_job().is_none());
    let done = job.run().unwrap();
    assert!(index.next_job().is_none());
    index.install(done);
    assert!(index.next_job().is_some());
}

#[test]
fn a_job_that_is_lost_is_given_out_again() {
    let disk = TestDisk::new();
    let mut index = open(&disk, small());
    for unit in 1..30 {
        feed(&mut index, unit * 8);
        // One job is lost before it ran, one after; a merge of which a slice is lost begins anew.
        drop(index.next_job());
        drop(index.next_job().map(|job| job.run().unwrap()));
        for _ in 0..unit % 7 {
            index.maintain().unwrap();
        }
        drop(index.next_job());
        do_all_jobs(&mut index);
        holds_what_it_covers(&index);
        assert_eq!(index.stats().memtable_entries, 0);
    }
}

#[test]
fn what_was_done_for_an_index_since_reset_is_left_aside() {
    let disk = TestDisk::new();
    for jobs_before in 0..12 {
        let mut index = settled(&disk, 8 * 9);
        feed(&mut index, 8 * 10);
        for _ in 0..jobs_before {
            index.maintain().unwrap();
        }
        let Some(job) = index.next_job() else { break };
        index.reset().unwrap();
        // The job may find its files gone; what it does all the same changes nothing.
        let done = job.run();
        assert!(index.next_job().is_none());
        if let Ok(done) = done {
            index.install(done);
        }
        assert_eq!((index.covered(), index.stats().runs), (Position(0), 0));
        assert_eq!(names(&disk), Vec::<String>::new());
    }
}

#[test]
fn a_long_merge_gives_way_to_a_full_table() {
    let mut index = open(&TestDisk::new(), small());
    feed(&mut index, 4 * 8);
    while index.paused.is_empty() {
        assert!(index.maintain().unwrap());
    }
    feed(&mut index, 5 * 8);
    let job = index.next_job().unwrap();
    assert!(matches!(job.work, Work::Flush(_)), "{job:?}");
    let done = job.run().unwrap();
    index.install(done);
    do_all_jobs(&mut index);
    holds_what_it_covers(&index);
}

#[test]
fn no_job_copies_more_records_than_a_slice() {
    let mut index = open(&TestDisk::new(), small());
    let mut slices = 0;
    feed(&mut index, 4 * 8);
    while let Some(job) = index.next_job() {
        let left = |index: &super::IdIndex| index.paused.iter().map(|m| m.entries_left()).min();
        let before = match &job.work {
            Work::Resume(merge, _) => Some(merge.entries_left()),
            Work::Merge(..) => Some(4 * 8),
            Work::Flush(_) | Work::Sweep(_) => None,
        };
        let done = job.run().unwrap();
        index.install(done);
        if let (Some(before), Some(after)) = (before, left(&index)) {
            assert!(before - after <= 5, "{before} to {after}");
            slices += 1;
        }
    }
    assert!(slices > 5, "32 records in slices of 5: {slices}");
}

#[test]
fn inputs_that_cannot_be_removed_are_removed_at_the_next_opening() {
    let disk = TestDisk::new();
    let mut index = open(&disk, small());
    feed(&mut index, 4 * 8);
    while index.superseded.is_empty() {
        assert!(index.maintain().unwrap());
    }
    disk.fail_from(disk.calls(), Failing::Without);
    assert!(index.maintain().is_err());
    disk.heal();
    holds_what_it_covers(&index);
    assert_eq!(names(&disk).len(), 5);
    let index = open(&disk, small());
    assert_eq!((names(&disk).len(), index.covered()), (1, Position(32)));
    holds_what_it_covers(&index);
}

#[test]
#[should_panic(expected = "in the order of the log")]
fn an_id_out_of_order_stops_the_program_rather_than_leave_a_gap() {
    let mut index = open(&TestDisk::new(), small());
    index.insert(super::key(1), Position(1));
}
