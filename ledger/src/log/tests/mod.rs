//! The promises of the log, each tried on a disk that can be cut off, broken or tampered with.

mod chain;
mod crash;
mod early_end;
mod faults;
mod flips;
mod golden;
mod open;
mod packed;
mod roll;

use std::path::Path;
use std::sync::Arc;

use super::{AppendError, FoundLog, LogStore, Repair, SegmentLog, SegmentOptions};
use crate::disk::Disk;
use crate::disk::testing::{FaultyDisk, MemoryDisk};
use crate::entry::Record;
use crate::types::Position;

pub(super) use chain::Chain;

const DIR: &str = "/data/ledgers/default";

fn small() -> SegmentOptions {
    SegmentOptions { first_segment_bytes: 4096, segment_bytes_max: 16_384, protected_through: Position(0) }
}

fn open_on(disk: impl Disk) -> (SegmentLog, Option<Repair>) {
    SegmentLog::open(Arc::new(disk), Path::new(DIR), small()).unwrap()
}

/// Every entry of a log that can be read.
fn all(log: &dyn LogStore) -> Vec<Record> {
    let mut records = Vec::new();
    loop {
        let more = log.read(Position(records.len() as u64), 3000).unwrap();
        if more.is_empty() {
            return records;
        }
        records.extend(more);
    }
}

/// The entries of a log that is only looked at: nothing on the disk is touched, and it takes no appends.
fn only_seen(disk: &MemoryDisk) -> Vec<Record> {
    let disk = FaultyDisk::new(Arc::new(disk.clone()));
    let found = FoundLog::find(Arc::new(disk.clone()), Path::new(DIR), small()).unwrap();
    let (records, tail) = (all(found.log()), found.log().tail());
    let more = Chain::after(tail).group(&[1], 90);
    assert!(matches!(found.log().append(tail.next, &more), Err(AppendError::Stopped(_))));
    assert_eq!(disk.calls(), vec![]);
    records
}

/// What a reopened log must be: sound, a prefix of what was offered with every acknowledged entry in it, whole batches
/// only, ids complete; and it takes appends.
fn check_prefix(disk: &MemoryDisk, offered: &[Record], acknowledged: usize) {
    let seen = only_seen(disk);
    let (log, _) = open_on(disk.clone());
    assert_eq!(log.damage(), vec![]);
    let mut kept = all(&log);
    assert_eq!(seen, kept);
    assert!(kept.len() >= acknowledged, "{} of {acknowledged} acknowledged entries", kept.len());
    assert_eq!(kept[..], offered[..kept.len()]);
    assert!(kept.last().is_none_or(|r| r.batch.0 + 1 == r.batch.1), "part of a batch");
    let tail = log.tail();
    assert_eq!(tail.next, Position(kept.len() as u64));
    let more = Chain::after(tail).group(&[1, 2], 90);
    log.append(tail.next, &more).unwrap();
    kept.extend(more);
    drop(log);
    let (log, repair) = open_on(disk.clone());
    assert_eq!((log.damage(), repair), (vec![], None));
    assert_eq!(all(&log), kept);
    let mut ids = Vec::new();
    log.for_each_id(Position(0), &mut |key, position| ids.push((position, key))).unwrap();
    ids.sort_unstable();
    assert_eq!(ids, chain::ids(&kept));
}
