//! What every log promises, asked of each engine.

/// Instantiates the suite: `log_store_contract!(name, an expression that makes an empty log)`.
macro_rules! log_store_contract {
    ($name:ident, $new:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn an_empty_log_ends_at_zero() {
                empty(&$new);
            }
            #[test]
            fn what_was_appended_is_read_back_with_links_and_batches() {
                reads_back(&$new);
            }
            #[test]
            fn an_append_elsewhere_than_at_the_end_is_refused_and_changes_nothing() {
                moved(&$new);
            }
            #[test]
            fn a_read_gives_one_entry_at_least_and_no_more_than_asked_for() {
                bounded(&$new);
            }
            #[test]
            fn entries_far_apart_are_read_in_the_order_in_which_they_are_asked_for() {
                far_apart(&$new);
            }
            #[test]
            fn a_group_that_does_not_continue_the_log_is_refused_and_changes_nothing() {
                unfit(&$new);
            }
        }
    };
}

use std::path::Path;
use std::sync::Arc;

use super::tests::Chain;
use super::{AppendError, LogStore, MemoryLog, SegmentLog, SegmentOptions, Tail};
use crate::disk::RealDisk;
use crate::disk::testing::MemoryDisk;
use crate::types::Position;

log_store_contract!(memory, MemoryLog::new());
log_store_contract!(segments, segments());
log_store_contract!(segments_on_a_real_disk, Real::new());
log_store_contract!(segments_packed_once_they_are_sealed, Packing(segments()));

fn segments() -> SegmentLog {
    let options =
        SegmentOptions { first_segment_bytes: 4096, segment_bytes_max: 8192, ..SegmentOptions::default() };
    SegmentLog::open(Arc::new(MemoryDisk::new()), Path::new("/l"), options).unwrap().0
}

/// A log and the directory that it lives in.
struct Real(SegmentLog, #[expect(dead_code, reason = "removed when dropped")] tempfile::TempDir);

impl Real {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = SegmentOptions { first_segment_bytes: 4096, ..SegmentOptions::default() };
        Self(SegmentLog::open(Arc::new(RealDisk), &dir.path().join("l"), options).unwrap().0, dir)
    }
}

impl LogStore for Real {
    fn tail(&self) -> Tail {
        self.0.tail()
    }
    fn append(&self, expected: Position, group: &[crate::entry::Record]) -> Result<Tail, AppendError> {
        self.0.append(expected, group)
    }
    fn read(&self, from: Position, max: usize) -> Result<Vec<crate::entry::Record>, super::ReadError> {
        self.0.read(from, max)
    }
    fn read_many(&self, positions: &[Position]) -> Result<Vec<crate::entry::Record>, super::ReadError> {
        self.0.read_many(positions)
    }
}

/// A log of which all is packed that can be, at any moment.
struct Packing(SegmentLog);

impl LogStore for Packing {
    fn tail(&self) -> Tail {
        self.0.tail()
    }
    fn append(&self, expected: Position, group: &[crate::entry::Record]) -> Result<Tail, AppendError> {
        let appended = self.0.append(expected, group);
        while self.0.pack_next(0, &|| true).unwrap().is_some() {}
        appended
    }
    fn read(&self, from: Position, max: usize) -> Result<Vec<crate::entry::Record>, super::ReadError> {
        self.0.read(from, max)
    }
    fn read_many(&self, positions: &[Position]) -> Result<Vec<crate::entry::Record>, super::ReadError> {
        self.0.read_many(positions)
    }
}

fn empty(log: &dyn LogStore) {
    assert_eq!(log.tail(), Tail::default());
    assert_eq!(log.read(Position(0), 1000).unwrap(), vec![]);
    assert_eq!(log.append(Position(0), &[]).unwrap(), Tail::default());
}

fn reads_back(log: &dyn LogStore) {
    let mut chain = Chain::new();
    let mut records = Vec::new();
    for n in 0..40 {
        let group = chain.group(&[1, 1 + n % 5], 100);
        let tail = log.append(log.tail().next, &group).unwrap();
        records.extend(group);
        assert_eq!((tail.next.0, tail.link), (records.len() as u64, records.last().unwrap().link));
        assert_eq!(tail, log.tail());
    }
    for from in 0..=records.len() {
        assert_eq!(log.read(Position(from as u64), usize::MAX).unwrap(), records[from..]);
    }
    assert_eq!(log.read(Position(u64::MAX), 10).unwrap(), vec![]);
}

fn moved(log: &dyn LogStore) {
    let group = Chain::new().group(&[2], 10);
    assert!(matches!(log.append(Position(1), &group), Err(AppendError::Moved { .. })));
    log.append(Position(0), &group).unwrap();
    assert!(matches!(log.append(Position(0), &group), Err(AppendError::Moved { .. })));
    assert_eq!(log.read(Position(0), usize::MAX).unwrap(), group);
}

fn bounded(log: &dyn LogStore) {
    let group = Chain::new().group(&[1; 30], 100);
    log.append(Position(0), &group).unwrap();
    assert_eq!(log.read(Position(3), 0).unwrap(), group[3..4]);
    let exactly = group[3].entry.len() + group[4].entry.len();
    assert_eq!(log.read(Position(3), exactly).unwrap(), group[3..5]);
    assert_eq!(log.read(Position(3), exactly - 1).unwrap(), group[3..4]);
}

fn far_apart(log: &dyn LogStore) {
    let mut chain = Chain::new();
    let mut records = Vec::new();
    for n in 0..60 {
        let group = chain.group(&[1, 1 + n % 9], 20 + 37 * usize::from(n % 7));
        log.append(log.tail().next, &group).unwrap();
        records.extend(group);
        // Again and again, while the log grows: what is remembered of it must stay true.
        for step in [1, 7, 61] {
            let positions: Vec<Position> =
                (0..records.len() as u64).rev().step_by(step).map(Position).collect();
            let asked: Vec<_> = positions.iter().map(|p| records[p.0 as usize].clone()).collect();
            assert_eq!(log.read_many(&positions).unwrap(), asked);
        }
    }
    assert!(records.len() > 200);
    let twice = log.read_many(&[Position(3), Position(90), Position(3)]).unwrap();
    assert_eq!(twice, [records[3].clone(), records[90].clone(), records[3].clone()]);
    assert_eq!(log.read_many(&[]).unwrap(), vec![]);
    for beyond in [records.len() as u64, u64::MAX] {
        assert!(log.read_many(&[Position(0), Position(beyond)]).is_err());
    }
}

fn unfit(log: &dyn LogStore) {
    let mut chain = Chain::new();
    let first = chain.group(&[2], 10);
    let second = chain.group(&[2], 10);
    log.append(Position(0), &first).unwrap();
    let stopped = |group| matches!(log.append(Position(2), group), Err(AppendError::Stopped(_)));
    assert!(stopped(&first[..]), "positions");
    assert!(stopped(&second[..1]), "part of a batch");
    log.append(Position(2), &second).unwrap();
    assert_eq!(log.tail().next, Position(4));
}
