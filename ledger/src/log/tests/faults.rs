//! A disk that fails: no false acknowledgement, nothing written again to a file that failed, reads go on.

use super::*;
use crate::disk::testing::{Failure, FaultyDisk};
use crate::log::AppendError;

/// Appends groups until one fails or so many are done; gives what was offered and how much was acknowledged.
fn run(log: &SegmentLog, groups: usize, offered: &mut Vec<Record>) -> Result<(), AppendError> {
    let mut chain = Chain::after(log.tail());
    for n in 0..groups {
        let group = chain.group(if n % 3 == 0 { &[3] } else { &[1, 1] }, 180);
        offered.truncate(log.tail().next.0 as usize);
        offered.extend(group.clone());
        log.append(log.tail().next, &group)?;
    }
    Ok(())
}

const GROUPS: usize = 44;

fn calls_without_fault() -> usize {
    let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let (log, _) = open_on(disk.clone());
    run(&log, GROUPS, &mut Vec::new()).unwrap();
    assert!(log.view().sealed.len() >= 2);
    disk.calls().len()
}

#[test]
fn whatever_call_fails_and_however_nothing_acknowledged_is_lost_and_the_failed_file_is_left_alone() {
    for n in 0..calls_without_fault() {
        for failure in Failure::ALL {
            one_fault(n, failure);
        }
    }
}

fn one_fault(n: usize, failure: Failure) {
    let memory = MemoryDisk::new();
    let disk = FaultyDisk::new(Arc::new(memory.clone()));
    disk.fail_at(n, failure);
    let (log, _) = open_on(disk.clone());
    let mut offered = Vec::new();
    let result = run(&log, GROUPS, &mut offered);
    let acknowledged = log.tail().next.0 as usize;
    assert_eq!(all(&log), offered[..acknowledged], "{n} {failure:?}: reads go on");
    let failed = &disk.calls()[n];
    match result {
        // Only what nothing depends on may fail unnoticed.
        Ok(()) => assert!(failed.path.ends_with("tail") || failed.kind == "remove", "{failed:?}"),
        Err(AppendError::Full(_)) => {
            // It heals by itself, without reopening.
            run(&log, GROUPS, &mut offered).unwrap();
            assert_eq!(all(&log), offered);
        }
        Err(AppendError::Unknown(_)) => {
            assert!(["write", "sync", "set_len"].contains(&failed.kind), "{failed:?}");
            let calls = disk.calls().len();
            let group = Chain::after(log.tail()).group(&[1], 10);
            for _ in 0..3 {
                assert!(matches!(log.append(log.tail().next, &group), Err(AppendError::Stopped(_))));
            }
            assert_eq!(disk.calls().len(), calls, "nothing is written any more");
            assert_eq!(calls, n + 1, "not even once");
        }
        Err(other) => panic!("{n} {failure:?}: {other}"),
    }
    let acknowledged = log.tail().next.0 as usize;
    drop(log);
    check_prefix(&memory.crash(&mut |_| false), &offered, acknowledged);
    check_prefix(&memory.crash(&mut |_| true), &offered, acknowledged);
}

#[test]
fn a_full_disk_refuses_what_needs_room_and_heals_without_reopening() {
    let memory = MemoryDisk::new();
    let disk = FaultyDisk::new(Arc::new(memory.clone()));
    let (log, _) = open_on(disk.clone());
    let mut offered = Vec::new();
    for _ in 0..4 {
        disk.set_full(true);
        let refused = run(&log, 1000, &mut offered).err().unwrap();
        assert!(matches!(refused, AppendError::Full(_)), "{refused}");
        let tail = log.tail();
        for _ in 0..3 {
            assert!(matches!(run(&log, 1, &mut offered), Err(AppendError::Full(_))));
        }
        assert_eq!((log.tail(), memory.bytes(&Path::new(DIR).join("log/next.tmp"))), (tail, None));
        check_prefix(&memory.crash(&mut |_| false), &offered, tail.next.0 as usize);
        disk.set_full(false);
        run(&log, 3, &mut offered).unwrap();
    }
    assert_eq!(all(&log), offered);
    assert!(log.view().sealed.len() >= 3);
}

#[test]
fn preparing_ahead_on_a_full_disk_fails_alone_and_can_be_tried_again() {
    let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let (log, _) = open_on(disk.clone());
    let mut offered = Vec::new();
    run(&log, 1, &mut offered).unwrap();
    disk.set_full(true);
    log.prepare_next().unwrap_err();
    run(&log, 1, &mut offered).unwrap();
    disk.set_full(false);
    log.prepare_next().unwrap();
    disk.set_full(true);
    let mut refused = None;
    while refused.is_none() {
        refused = run(&log, 1, &mut offered).err();
    }
    assert_eq!(log.view().sealed.len(), 1, "the prepared segment needed no room");
}

/// A failed sync leaves bytes that only the system's cache has. A restart that serves them must first make them durable.
#[test]
fn what_a_restart_serves_survives_a_power_cut_right_after() {
    for n in 0..calls_without_fault() {
        for failure in [Failure::Lost, Failure::Done] {
            let memory = MemoryDisk::new();
            let disk = FaultyDisk::new(Arc::new(memory.clone()));
            disk.fail_at(n, failure);
            let (log, _) = open_on(disk);
            let _ = run(&log, GROUPS, &mut Vec::new());
            drop(log);
            let served = all(&open_on(memory.clone()).0);
            let after = memory.crash(&mut |_| false);
            assert_eq!(all(&open_on(after).0), served, "call {n} {failure:?}");
        }
    }
}
